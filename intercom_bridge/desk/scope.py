"""Whom a workspace serves: its OQL, evaluated for one person or one ticket."""

from __future__ import annotations

import re
from collections.abc import Callable

from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopAnswer, Workspace
from itop_client import Client, Found, ItopObject, OqlError, Query, ids, parse

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
        found = self._found(asked, tuple(dict.fromkeys((*FIELDS, *wanted))), most)
        people = [Person.of(one, wanted=wanted) for one in found]
        if query is None:
            people = [person for person in people if self.serves(person)]
        return people, found.total > most

    def count(self, fulfil: Callable[[str], str] = lambda person: f"{person}.id > 0") -> int | None:
        """How many people are served and fulfil a condition; None where that depends on who writes."""
        query = self._of_people(fulfil)
        return None if query is None else self._found(query, ("id",), 1).total

    def listed(self, most: int) -> Callable[[str], str] | None:
        """A condition on a person, "is served", which names all that the scope finds.

        None where it finds more than so many, or depends on who writes.
        """
        if self._query.placeholders:
            return None
        if _EVERYBODY.fullmatch(str(self._query)):
            return lambda person: f"{person}.id > 0"
        is_account = self._query.class_name in _ACCOUNTS
        if not is_account and self._query.class_name not in ("Organization", *_PEOPLE):
            return None
        code = "contactid" if is_account else "id"
        found = self._found(self._query, (code,), most)
        if found.total > most:
            return None
        those = ids(one.integer(code) if is_account else one.id for one in found)
        own = "org_id" if self._query.class_name == "Organization" else "id"
        return lambda person: f"{person}.{own} IN ({those})"

    def _found(self, query: Query, fields: tuple[str, ...], limit: int) -> Found:
        return self._client.get(
            query.class_name, str(query), fields=fields, limit=limit, deadline=self._deadline.remaining()
        )

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

    def reason(self, person: Person, *, serves: bool) -> str:
        """Why it serves the person, or does not, for an admin."""
        match self._query.class_name:
            case "Organization" if not person.org_id:
                return "The person has no organization, and the scope is on organizations."
            case "Organization":
                whose = f"The person's organization, {person.org_name or person.org_id},"
                return f"{whose} is {'' if serves else 'not '}one of those that the scope finds."
            case class_name if class_name in _PEOPLE:
                return f"The person is {'' if serves else 'not '}one of those that the scope finds."
            case class_name if class_name in _ACCOUNTS:
                whose = "An account" if serves else "No account"
                return f"{whose} of this person is one of those that the scope finds."
            case class_name:
                return f"For this person the scope finds {'a' if serves else 'no'} {class_name}."

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
        found = self._found(query, ("id",), 1)
        ItopAnswer.objects.keep(itop, question, found.total > 0)
        return found.total > 0

    @staticmethod
    def _question(query: Query) -> str:
        return f"scope: {query}"
