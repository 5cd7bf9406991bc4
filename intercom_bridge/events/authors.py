"""Find out who wrote an entry: the ticket's caller, an agent, or somebody else, such as a colleague of the caller."""

from dataclasses import replace
from typing import Any

import structlog

from intercom_bridge.models import CachedAnswer, ItopInstance
from itop_client import Client, Found, ItopPermissionError, ItopRejectedError, quote

from .compare import EventAuthor

log = structlog.get_logger(__name__)

# An account rarely moves to another person.
CACHE_SECONDS = 24 * 3600.0
QUESTION = "person of account "


def author_of(
    itop: ItopInstance, client: Client, account_id: int, name: str, caller: EventAuthor
) -> EventAuthor:
    """Return the author of a change in iTop, and whether it is the ticket's caller.

    `account_id` and `name` are those that iTop recorded. The `account_id` is 0 for an entry that a REST client wrote
    under a name without an account.
    Raise ItopError if iTop cannot answer now.
    """
    name = name[:200]
    if not account_id:
        return EventAuthor(name=name, is_customer=bool(name) and name.casefold() == caller.name.casefold())
    person = _person_of(itop, client, account_id)
    is_customer = bool(person.person_id) and person.person_id == caller.person_id
    return replace(person, name=name or person.name, is_customer=is_customer)


def _person_of(itop: ItopInstance, client: Client, account_id: int) -> EventAuthor:
    """Return the account's person (recording 269): unknown if it has none, or the bridge's account may not read it."""
    question = f"{QUESTION}{account_id}"
    cached = CachedAnswer.objects.fresh(itop, question, CACHE_SECONDS)
    if cached is None:
        person = _read_person(itop, client, account_id)
        CachedAnswer.objects.store(itop, question, person)
    else:
        person = cached.value
    return EventAuthor(person["name"], person["email"], person["id"], is_agent=person["is_agent"])


def _read_person(itop: ItopInstance, client: Client, account_id: int) -> dict[str, Any]:
    persons = "SELECT Person AS p JOIN User AS u ON u.contactid = p.id"
    is_asked = f"WHERE u.id = {quote(account_id)}"
    try:
        found = client.get("Person", f"{persons} {is_asked}", fields=("id", "friendlyname", "email"))
        # Only a member of a team can be a ticket's agent.
        members = f"{persons} JOIN lnkPersonToTeam AS l ON l.person_id = p.id {is_asked}"
        is_agent = bool(found) and bool(client.get("Person", members, limit=1).total)
    except (ItopPermissionError, ItopRejectedError) as error:
        log.warning("authors.person_unreadable", itop=itop.name, error=type(error).__name__)
        found, is_agent = Found(0), False
    for row in found:
        name, email = row.text("friendlyname")[:200], row.text("email")[:254]
        return {"id": row.id, "name": name, "email": email, "is_agent": is_agent}
    return {"id": 0, "name": "", "email": "", "is_agent": False}
