"""Find out which person wrote an entry: an agent or the ticket's caller."""

from typing import TypedDict, cast

import structlog

from intercom_bridge.models import CachedAnswer, ItopInstance
from itop_client import Client, Found, ItopPermissionError, ItopRejectedError, LogEntry, quote

from .change import EventAuthor

log = structlog.get_logger(__name__)

# An account rarely moves to another person.
CACHE_SECONDS = 24 * 3600.0
QUESTION = "person of account "


class Person(TypedDict):
    """The person of an account; all empty if it has none, or if the bridge's account may not read it."""

    id: int
    name: str
    email: str


def author_of(itop: ItopInstance, client: Client, entry: LogEntry, caller: EventAuthor) -> EventAuthor:
    """Return the author of an entry of a ticket with this caller. Raise ItopError if iTop cannot answer now.

    A REST client can write in the name of somebody without an account. Then only the name is known.
    """
    name = entry.user_login[:200]
    if not entry.user_id:
        return EventAuthor(name=name, is_customer=bool(name) and name.casefold() == caller.name.casefold())
    person = _person_of(itop, client, entry.user_id)
    return EventAuthor(
        name=name or person["name"],
        email=person["email"],
        person_id=person["id"],
        is_customer=bool(person["id"]) and person["id"] == caller.person_id,
    )


def _person_of(itop: ItopInstance, client: Client, account_id: int) -> Person:
    """Return the account's person (recording 269)."""
    question = f"{QUESTION}{account_id}"
    cached = CachedAnswer.objects.fresh(itop, question, CACHE_SECONDS)
    if cached is not None:
        return cast("Person", cached.value)
    query = f"SELECT Person AS p JOIN User AS u ON u.contactid = p.id WHERE u.id = {quote(account_id)}"
    try:
        found = client.get("Person", query, fields=("id", "friendlyname", "email"))
    except (ItopPermissionError, ItopRejectedError) as error:
        log.warning("authors.person_unreadable", itop=itop.name, error=type(error).__name__)
        found = Found(0)
    person = Person(id=0, name="", email="")
    for row in found:
        person = Person(id=row.id, name=row.text("friendlyname")[:200], email=row.text("email")[:254])
    CachedAnswer.objects.store(itop, question, person)
    return person
