"""Whom a workspace serves: its OQL, evaluated for one person or one ticket."""

from __future__ import annotations

import re
from collections.abc import Callable

from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopAnswer, Workspace
from itop_client import Client, ItopObject, OqlError, Query, parse

from .person import FIELDS, Person

# A verdict costs no call for so long.
REMEMBERED_SECONDS = 600.0

# Everybody with an organization is in this one: nothing to ask.
_EVERYBODY = re.compile(r"SELECT\s+`?(Organization|Person|Contact)`?", re.IGNORECASE)
_PEOPLE = ("Person", "Contact")
_ACCOUNTS = ("User", "UserInternal", "UserLocal", "UserLDAP", "UserExternal", "UserToken")
_CONTACT = "current_contact"


class Scope:
    """Bound to a workspace. Methods raise ItopError when iTop cannot say."""

    def __init__(self, workspace: Workspace, client: Client, deadline: Deadline) -> None:
        self._workspace = workspace
        self._client = client
        self._deadline = deadline
        self._query = parse(workspace.scope)

    def attributes(self) -> tuple[str, ...]:
        """What it wants to know of the end user's contact beside its id."""
        return tuple(sorted(name.split("->", 1)[1] for name in self._query.placeholders if "->" in name))

    def serves(self, person: Person) -> bool:
        """On Organization it must contain the person's, on Person or Contact the person, on User an account of
        theirs, on any other class at least one object."""
        query = self._filled(person)
        if query.class_name == "Organization":
            return self._holds(query, "id", person.org_id)
        if query.class_name in _PEOPLE:
            return self._holds(query, "id", person.id)
        if query.class_name in _ACCOUNTS:
            return self._holds(query, "contactid", person.id)
        return self._holds(query)

    def people(self, fulfil: Callable[[str], str], most: int) -> tuple[list[Person], bool]:
        """Those who are served and fulfil a condition; True when iTop had more than so many to look at.

        `fulfil` makes the condition, given what a person is called in the query. One call; where the scope cannot be
        asked in the same breath (its class is another, or it depends on the person), one more for each of the found.
        """
        query = self._of_people(fulfil)
        asked = query or parse(f"SELECT Person AS p WHERE {fulfil('p')}")
        wanted = () if query else self.attributes()
        found = self._client.get(
            asked.class_name,
            str(asked),
            fields=tuple(dict.fromkeys((*FIELDS, *wanted))),
            limit=most,
            deadline=self._deadline.remaining(),
        )
        people = [Person.of(one, wanted=wanted) for one in found]
        if query is None:
            people = [person for person in people if self.serves(person)]
        return people, found.total > most

    def _of_people(self, fulfil: Callable[[str], str]) -> Query | None:
        """The scope as a query on people, or None where it cannot be put so."""
        if self._query.placeholders:
            return None
        if _EVERYBODY.fullmatch(str(self._query)):
            return parse(f"SELECT Person AS p WHERE {fulfil('p')}")
        match self._query.class_name:
            case "Person":
                return self._query.that(fulfil)
            case "Contact":
                return self._query.that(
                    lambda contact: f"({fulfil(contact)}) AND {contact}.finalclass != 'Team'"
                )
            case "Organization":
                return self._query.reach(
                    "Person", lambda organization, person: f"{person}.org_id = {organization}.id", fulfil
                )
            case class_name if class_name in _ACCOUNTS:
                return self._query.reach(
                    "Person", lambda user, person: f"{user}.contactid = {person}.id", fulfil
                )
        return None

    def has_ticket(self, ticket: ItopObject, person: Person) -> bool:
        """A ticket is in when its organization is (scope on Organization), its caller is (on people), or its
        organization is the current person's (any other)."""
        profile = self._workspace.profile
        org_id = ticket.integer(profile.code("org_id"))
        caller_id = ticket.integer(profile.code("caller_id"))
        query = self._filled(person)
        if query.class_name == "Organization":
            return org_id == person.org_id or self._holds(query, "id", org_id)
        if query.class_name in _PEOPLE:
            return caller_id == person.id or self._holds(query, "id", caller_id)
        if query.class_name in _ACCOUNTS:
            return caller_id == person.id or self._holds(query, "contactid", caller_id)
        return org_id == person.org_id

    def of_tickets(self, alias: str, person: Person) -> str:
        """What `has_ticket` asks, as a condition on the ticket called `alias` in a query of its class.

        "" where the scope cannot stand within another query: then each ticket found is to be asked about.
        """
        code = self._workspace.profile.code
        organization, caller = f"{alias}.{code('org_id')}", f"{alias}.{code('caller_id')}"
        query = self._filled(person)
        is_everybody = _EVERYBODY.fullmatch(str(query).strip()) is not None
        try:
            if query.class_name == "Organization":
                theirs = f"{organization} = {person.org_id}"
                return f"{organization} > 0" if is_everybody else f"({theirs} OR {query.holds(organization)})"
            theirs = f"{caller} = {person.id}"
            if query.class_name in _PEOPLE:
                return f"{caller} > 0" if is_everybody else f"({theirs} OR {query.holds(caller)})"
            if query.class_name in _ACCOUNTS:
                return f"({theirs} OR {query.holds(caller, through='contactid')})"
        except OqlError:
            return ""
        return f"{organization} = {person.org_id}"

    def _filled(self, person: Person) -> Query:
        """With the end user filled in: iTop would put the API account's contact."""
        values: dict[str, str | int] = {f"{_CONTACT}_id": person.id}
        known = {**person.attributes, "org_id": person.org_id, "email": person.email}
        return self._query.fill(values | {f"{_CONTACT}->{code}": value for code, value in known.items()})

    def _holds(self, query: Query, attribute: str = "", value: int = 0) -> bool:
        """Whether it finds anything when narrowed to the one object."""
        if attribute == "id" and _EVERYBODY.fullmatch(str(query).strip()):
            return value > 0
        if attribute:
            query = query.narrow(attribute, value)
        return self._verdict(query)

    def _verdict(self, query: Query) -> bool:
        """Whether it finds anything, as iTop says or has said lately."""
        itop = self._workspace.itop
        question = self._question(query)
        answer = ItopAnswer.objects.fresh(itop, question, REMEMBERED_SECONDS)
        if answer is not None:
            return bool(answer.value)
        found = self._client.get(
            query.class_name, str(query), fields=("id",), limit=1, deadline=self._deadline.remaining()
        )
        ItopAnswer.objects.keep(itop, question, found.total > 0)
        return found.total > 0

    @staticmethod
    def _question(query: Query) -> str:
        return f"scope: {query}"
