"""Look up iTop accounts: the account that a message is written under, and whether a person can log in to the portal."""

from collections.abc import Iterable, Sequence

import structlog

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.payloads import Author
from intercom_bridge.models import CachedAnswer, ItopInstance, PersonMatch
from itop_client import Client, Deadline, ItopPermissionError, ItopRejectedError, quote

log = structlog.get_logger(__name__)

# The bridge notices within this time that an account was created or removed in iTop.
CACHE_SECONDS = 3600.0
LOOKUP_BATCH = 100
# The cache key of an address's account begins with this.
ACCOUNT_QUESTION = "account of "
# iTop lets only accounts with this profile into its portal.
PORTAL_PROFILE = "Portal user"


def accounts_of_authors(
    itop: ItopInstance, authors: Sequence[tuple[int, Author]], *, deadline: float
) -> list[int]:
    """Return the iTop account of each author, 0 if there is none or the bridge may not set authors.

    authors: the primary key of the workspace and the author. Raise ItopError if iTop cannot answer now.
    """
    # Only Administrators may set another account as the author. None means that this is not known yet.
    if itop.is_administrator is False:
        return [0] * len(authors)
    signed_in = _signed_in_emails(itop, {author.id for _workspace_pk, author in authors})
    emails = [
        signed_in.get((workspace_pk, author.id), author.email if _may_have_account(author) else "")
        for workspace_pk, author in authors
    ]
    if not any(emails):
        return [0] * len(authors)
    accounts = _accounts_of(itop, emails, deadline=deadline)
    return [accounts.get(_normalized(email), 0) for email in emails]


def _may_have_account(author: Author) -> bool:
    """Return whether an iTop account may be looked up by the author's e-mail address.

    A lead's address is not used, because Intercom lets visitors enter any address.
    """
    return author.type in ("admin", "user")


def _normalized(email: str) -> str:
    return email.strip().casefold()


def _accounts_of(itop: ItopInstance, emails: Iterable[str], *, deadline: float) -> dict[str, int]:
    """Return the account ids by lower-case address. Leave out addresses with no enabled account, or with several.

    iTop's query may also match similar addresses, because é equals e in its database's collation. Only addresses that
    differ in case at most are accepted. Raise ItopError if iTop cannot answer now.
    """
    wanted = {_normalized(email) for email in emails} - {""}
    accounts: dict[str, int] = {}
    unknown = []
    for email in sorted(wanted):
        cached = CachedAnswer.objects.fresh(itop, question_about(email), CACHE_SECONDS)
        if cached is None:
            unknown.append(email)
        elif cached.value:  # 0 is cached for an address without a usable account
            accounts[email] = cached.value
    client, budget = itop_client(itop), Deadline(deadline)
    for start in range(0, len(unknown), LOOKUP_BATCH):
        accounts |= _look_up(itop, client, unknown[start : start + LOOKUP_BATCH], budget.remaining())
    return accounts


def _signed_in_emails(itop: ItopInstance, contact_ids: Iterable[str]) -> dict[tuple[int, str], str]:
    """Return the e-mail addresses of contacts who signed in through iTop, by (workspace pk, contact id).

    iTop's address is more reliable than Intercom's, which the contact may have entered.
    """
    matches = PersonMatch.objects.filter(
        itop=itop, contact_id__in=set(contact_ids), how=PersonMatch.How.ITOP
    ).exclude(email="")
    return {
        (workspace, contact): email
        for workspace, contact, email in matches.values_list("workspace_id", "contact_id", "email")
    }


def forget_accounts(itop: ItopInstance) -> int:
    """Delete the cached accounts, so that they are looked up again. Return how many were deleted."""
    return CachedAnswer.objects.filter(itop=itop, question__startswith=ACCOUNT_QUESTION).delete()[0]


def existing_accounts(client: Client, account_ids: Iterable[int], *, deadline: float) -> set[int]:
    """Return the ids of the accounts that still exist in iTop. Return an empty set if the bridge may not read them."""
    wanted = ", ".join(quote(account_id) for account_id in sorted(account_ids))
    try:
        users = client.get(
            "User", f"SELECT User AS u WHERE u.id IN ({wanted})", fields=("id",), deadline=deadline
        )
    except (ItopRejectedError, ItopPermissionError):
        return set()
    return {user.id for user in users}


def has_portal_account(itop: ItopInstance, client: Client, person_id: int, *, deadline: float) -> bool:
    """Return whether the person can log in to iTop's portal. Return False if the bridge may not read accounts.

    Raise ItopError if iTop cannot answer now.
    """
    question = portal_question(person_id)
    cached = CachedAnswer.objects.fresh(itop, question, CACHE_SECONDS)
    if cached is not None:
        return bool(cached.value)
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


def portal_question(person_id: int) -> str:
    """Return the cache key of a person's portal account."""
    return f"portal account of person {person_id}"


def _look_up(itop: ItopInstance, client: Client, emails: list[str], deadline: float) -> dict[str, int]:
    """Query iTop for the accounts of these lower-case addresses, and cache the result. See `_accounts_of`."""
    addresses = ", ".join(quote(email) for email in emails)
    query = f"SELECT User AS u WHERE u.email IN ({addresses}) AND u.status != 'disabled'"
    try:
        users = client.get("User", query, fields=("id", "email"), deadline=deadline)
    except ItopRejectedError as error:
        # In this data model, a User has no `email` or `status`. Messages are written without an author's account.
        log.warning("authors.lookup_rejected", itop=itop.name, reason=error.detail[:200])
        return {}
    except ItopPermissionError:
        # The bridge's account may not read accounts, so it is no Administrator and cannot set authors either.
        itop.learn(is_administrator=False)
        return {}
    ids_by_email: dict[str, list[int]] = {email: [] for email in emails}
    for user in users:
        email = _normalized(user.text("email"))
        if email in ids_by_email:
            ids_by_email[email].append(user.id)
    accounts = {}
    for email, ids in ids_by_email.items():
        user_id = ids[0] if len(ids) == 1 else 0
        CachedAnswer.objects.store(itop, question_about(email), user_id)
        if user_id:
            accounts[email] = user_id
    return accounts


def question_about(email: str) -> str:
    """Return the cache key of an address's account."""
    return f"{ACCOUNT_QUESTION}{email}"
