"""Find the iTop account that a message is written under, and whether it opens the portal."""

from collections.abc import Iterable

import structlog

from intercom_bridge.models import CachedAnswer, ItopInstance, PersonMatch
from itop_client import Client, Deadline, ItopPermissionError, ItopRejectedError, quote

log = structlog.get_logger(__name__)

# An account that is created or removed in iTop is noticed within this time.
CACHE_SECONDS = 3600.0
LOOKUP_BATCH = 100
QUESTION = "account of "
# iTop lets only accounts with this profile into its portal.
PORTAL_PROFILE = "Portal user"


def accounts_of(
    itop: ItopInstance, client: Client, emails: Iterable[str], *, deadline: float
) -> dict[str, int]:
    """Return the account id by lower-case address, for addresses that have exactly one enabled account.

    iTop compares as its database's collation does, where é equals e. Only an address that is equal except for case
    counts. Raise ItopError if iTop cannot answer now.
    """
    wanted = {email.strip().casefold() for email in emails if email.strip()}
    accounts: dict[str, int] = {}
    unknown = []
    for email in sorted(wanted):
        cached = CachedAnswer.objects.fresh(itop, question_about(email), CACHE_SECONDS)
        if cached is None:
            unknown.append(email)
        elif cached.value:
            accounts[email] = cached.value
    budget = Deadline(deadline)
    for start in range(0, len(unknown), LOOKUP_BATCH):
        accounts |= _look_up(itop, client, unknown[start : start + LOOKUP_BATCH], budget.remaining())
    return accounts


def signed_in_emails(itop: ItopInstance, contact_ids: Iterable[str]) -> dict[tuple[int, str], str]:
    """Return the address that iTop has for contacts who signed in there, by workspace and contact.

    It is more reliable than the address that Intercom has, which the contact may have entered.
    """
    matches = PersonMatch.objects.filter(
        itop=itop, contact_id__in=set(contact_ids), how=PersonMatch.How.ITOP
    ).exclude(email="")
    return {
        (workspace, contact): email
        for workspace, contact, email in matches.values_list("workspace_id", "contact_id", "email")
    }


def forget_accounts(itop: ItopInstance) -> int:
    """Delete the cached accounts, because one of them no longer exists. Return how many there were."""
    return CachedAnswer.objects.filter(itop=itop, question__startswith=QUESTION).delete()[0]


def existing_accounts(client: Client, account_ids: Iterable[int], *, deadline: float) -> set[int]:
    """Return those of the accounts that iTop has; none of them if it does not allow the question."""
    wanted = ", ".join(quote(account_id) for account_id in sorted(account_ids))
    try:
        users = client.get(
            "User", f"SELECT User AS u WHERE u.id IN ({wanted})", fields=("id",), deadline=deadline
        )
    except (ItopRejectedError, ItopPermissionError):
        return set()
    return {user.id for user in users}


def has_portal_account(itop: ItopInstance, client: Client, person_id: int, *, deadline: float) -> bool:
    """Return whether the person can log in to iTop's portal; False if the bridge's account may not read that.

    Raise ItopError if iTop cannot answer now.
    """
    question = portal_question(person_id)
    cached = CachedAnswer.objects.fresh(itop, question, CACHE_SECONDS)
    if cached is None:
        query = (
            "SELECT User AS u JOIN Person AS p ON u.contactid = p.id"
            f" JOIN URP_UserProfile AS r ON r.userid = u.id WHERE p.id = {quote(person_id)}"
            f" AND u.status = 'enabled' AND r.profile = {quote(PORTAL_PROFILE)}"
        )
        try:
            has_account = client.get("User", query, fields=("id",), limit=1, deadline=deadline).total > 0
        except (ItopRejectedError, ItopPermissionError) as error:
            log.warning("authors.portal_lookup_rejected", itop=itop.name, reason=error.detail[:200])
            has_account = False
        CachedAnswer.objects.store(itop, question, has_account)
        return has_account
    return bool(cached.value)


def portal_question(person_id: int) -> str:
    """Return the cache key of a person's portal account."""
    return f"portal account of person {person_id}"


def _look_up(itop: ItopInstance, client: Client, emails: list[str], deadline: float) -> dict[str, int]:
    addresses = ", ".join(quote(email) for email in emails)
    query = f"SELECT User AS u WHERE u.email IN ({addresses}) AND u.status != 'disabled'"
    found: dict[str, list[int]] = {email: [] for email in emails}
    try:
        users = client.get("User", query, fields=("id", "email"), deadline=deadline)
    except ItopRejectedError as error:
        # This data model has no such attributes. No message waits or fails for that.
        log.warning("authors.lookup_rejected", itop=itop.name, reason=error.detail[:200])
        return {}
    except ItopPermissionError:
        # An account that cannot read accounts is not Administrator, so it cannot set authors either.
        itop.learn(is_administrator=False)
        return {}
    for user in users:
        found.get(user.text("email").strip().casefold(), []).append(user.id)
    accounts = {}
    for email, ids in found.items():
        user_id = ids[0] if len(ids) == 1 else 0
        CachedAnswer.objects.store(itop, question_about(email), user_id)
        if user_id:
            accounts[email] = user_id
    return accounts


def question_about(email: str) -> str:
    """Return the cache key of an address."""
    return f"{QUESTION}{email}"
