"""Find out who wrote an entry or added a file: the ticket's caller, an agent, or somebody else."""

from dataclasses import replace
from typing import Any

import structlog

from intercom_bridge.models import CachedAnswer, ItopInstance
from itop_client import Client, ItopPermissionError, ItopRejectedError, quote

from .compare import EventAuthor

log = structlog.get_logger(__name__)

# A day is short enough, because an account rarely moves to another person.
CACHE_SECONDS = 24 * 3600.0
QUESTION = "person of account "


def author_of(
    itop: ItopInstance, client: Client, account_id: int, name: str, caller: EventAuthor
) -> EventAuthor:
    """Return the author of a change of a ticket with this `caller`. Raise ItopError if iTop cannot answer now.

    iTop recorded `account_id` and `name` with the change. The `account_id` is 0 if a REST client wrote the entry under
    a name without an account.
    """
    name = name[:200]
    if not account_id:
        return EventAuthor(name=name, is_customer=bool(name) and name.casefold() == caller.name.casefold())
    person = _person_of(itop, client, account_id)
    is_customer = bool(person.person_id) and person.person_id == caller.person_id
    return replace(person, name=name or person.name, is_customer=is_customer)


def _person_of(itop: ItopInstance, client: Client, account_id: int) -> EventAuthor:
    """Return the account's person.

    The result is empty if the account has no person, or if the bridge's account is not allowed to read it.
    """
    question = f"{QUESTION}{account_id}"
    cached = CachedAnswer.objects.fresh(itop, question, CACHE_SECONDS)
    if cached is None:
        person = _read_person(itop, client, account_id)
        CachedAnswer.objects.store(itop, question, person)
    else:
        person = cached.value
    return EventAuthor(person["name"], person["email"], person["id"], is_agent=person["is_agent"])


def _read_person(itop: ItopInstance, client: Client, account_id: int) -> dict[str, Any]:
    """Return the account's person as a JSON value for the cache. Its id is 0 if the person is unknown."""
    unknown = {"id": 0, "name": "", "email": "", "is_agent": False}
    select = "SELECT Person AS p JOIN User AS u ON u.contactid = p.id"
    where = f"WHERE u.id = {quote(account_id)}"
    try:
        persons = client.get("Person", f"{select} {where}", fields=("id", "friendlyname", "email")).objects
        if not persons:
            return _read_member(client, account_id) or unknown
        # In iTop, only a member of a team can be a ticket's agent.
        in_team = f"{select} JOIN lnkPersonToTeam AS l ON l.person_id = p.id {where}"
        is_agent = client.get("Person", in_team, limit=1).total > 0
    except (ItopPermissionError, ItopRejectedError) as error:
        log.warning("authors.person_unreadable", itop=itop.name, error=type(error).__name__)
        return unknown
    name, email = persons[0].text("friendlyname")[:200], persons[0].text("email")[:254]
    return {"id": persons[0].id, "name": name, "email": email, "is_agent": is_agent}


def _read_member(client: Client, account_id: int) -> dict[str, Any] | None:
    """Return the account's person if this is a member of a team, from the membership, which has no e-mail address.

    An account that is limited to the customers' organizations cannot read the agents' Persons, but it can read who is
    in a team: iTop applies the limit only to the class that a query returns, and a membership has no organization.
    """
    query = (
        "SELECT lnkPersonToTeam AS l JOIN Person AS p ON l.person_id = p.id JOIN User AS u ON u.contactid = p.id"
        f" WHERE u.id = {quote(account_id)}"
    )
    fields = ("person_id", "person_id_friendlyname")
    for membership in client.get("lnkPersonToTeam", query, fields=fields, limit=1):
        name = membership.text("person_id_friendlyname")[:200]
        return {"id": membership.integer("person_id"), "name": name, "email": "", "is_agent": True}
    return None
