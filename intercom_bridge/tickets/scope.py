"""The scope of a workspace: its OQL, evaluated for one person or one ticket.

A scope on Organization contains the persons of the organizations found; on Person or Contact the persons found; on
User the persons who own an account found; on any other class it contains a person if it finds at least one object.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Collection

from intercom_bridge.models import CachedAnswer, Workspace
from itop_client import ItopObject, OqlError, Query, parse

from .context import PanelContext, get_objects
from .people.person import FIELDS, Person

CACHE_SECONDS = 600.0

# These contain every person that has an organization, so iTop need not be asked.
_UNRESTRICTED = re.compile(r"SELECT\s+`?(Organization|Person|Contact)`?", re.IGNORECASE)
_CONTACT = "current_contact"
# A list asks once per ticket.
_parse = functools.lru_cache(maxsize=200)(parse)


class ScopeKind(enum.Enum):
    """A kind of scope: the classes that it selects, and the attribute with the id of an organization or a person."""

    ORGANIZATION = ("Organization",), "id"
    PERSON = ("Person", "Contact"), "id"
    ACCOUNT = ("User", "UserInternal", "UserLocal", "UserLDAP", "UserExternal", "UserToken"), "contactid"
    OTHER = (), ""

    def __init__(self, classes: tuple[str, ...], attribute: str) -> None:
        self.classes = classes
        self.attribute = attribute

    @classmethod
    def of(cls, query: Query) -> ScopeKind:
        return next((kind for kind in cls if query.class_name in kind.classes), cls.OTHER)

    @property
    def selects_persons(self) -> bool:
        """Return whether the scope selects single persons, itself or by their accounts, and not organizations."""
        return self in (ScopeKind.PERSON, ScopeKind.ACCOUNT)


def person_attributes(workspace: Workspace) -> tuple[str, ...]:
    """Return the attributes of the contact's person that the scope refers to, besides its id."""
    placeholders = _parse(workspace.scope).placeholders
    return tuple(sorted(name.split("->", 1)[1] for name in placeholders if "->" in name))


def serves(context: PanelContext, person: Person, *, cached_only: bool = False) -> bool:
    """Return whether the person is in scope. With `cached_only` ask the cache, where a missing answer means no.

    Raise ItopError.
    """
    query = _filled(context, person)
    kind = ScopeKind.of(query)
    if kind is ScopeKind.OTHER:
        return _finds_any(context, query, cached_only=cached_only)
    value = person.id if kind.selects_persons else person.org_id
    return _contains(context, query, kind, value, cached_only=cached_only)


def has_ticket(context: PanelContext, ticket: ItopObject, person: Person) -> bool:
    """Return whether the ticket is in scope.

    It is if its organization is (scope on Organization), if its caller is (scope on persons or accounts), or if its
    organization is the current person's (any other scope).
    """
    query = _filled(context, person)
    kind = ScopeKind.of(query)
    name, own = ("caller_id", person.id) if kind.selects_persons else ("org_id", person.org_id)
    value = ticket.integer(context.profile.code(name))
    return value == own or (kind is not ScopeKind.OTHER and _contains(context, query, kind, value))


def ticket_condition(context: PanelContext, alias: str, person: Person) -> str:
    """Return the rule of `has_ticket` as an OQL condition on the ticket called `alias`.

    Return "" if the scope cannot be part of another query; then each ticket has to be checked.
    """
    query = _filled(context, person)
    kind = ScopeKind.of(query)
    name, own = ("caller_id", person.id) if kind.selects_persons else ("org_id", person.org_id)
    column = f"{alias}.{context.profile.code(name)}"
    if kind is ScopeKind.OTHER:
        return f"{column} = {own}"
    if _is_unrestricted(query):
        return f"{column} > 0"
    try:
        through = kind.attribute if kind is ScopeKind.ACCOUNT else ""
        return f"({column} = {own} OR {query.as_membership_condition(column, through=through)})"
    except OqlError:
        return ""


def find_people(
    context: PanelContext, condition: Callable[[str], str], limit: int, optional: Collection[str] = ()
) -> tuple[list[Person], bool]:
    """Return persons who are in scope and meet a condition, and whether iTop had more than `limit` to check.

    `condition` returns OQL, given a person's alias. The persons have those of the `optional` attributes that iTop has.
    One query; if the scope cannot be part of it, because it is on another class or depends on the person, one more for
    each person found.
    """
    query = people_query(context.workspace, condition)
    candidates = query or parse(f"SELECT Person AS p WHERE {condition('p')}")
    needed = () if query else person_attributes(context.workspace)
    found = get_objects(
        context,
        candidates.class_name,
        str(candidates),
        fields=(*FIELDS, *needed),
        optional=optional,
        limit=limit,
    )
    people = [Person.from_itop(item, extra=(*needed, *optional)) for item in found]
    if query is None:
        people = [person for person in people if serves(context, person)]
    return people, found.total > limit


def people_query(  # noqa: PLR0911 - one per kind of scope
    workspace: Workspace, condition: Callable[[str], str]
) -> Query | None:
    """Return the scope as a query on persons who meet a condition, or None if it cannot be written so."""
    query = _parse(workspace.scope)
    if query.placeholders:
        return None
    if _is_unrestricted(query):
        return parse(f"SELECT Person AS p WHERE {condition('p')}")
    match ScopeKind.of(query):
        case ScopeKind.PERSON if query.class_name == "Contact":
            return query.filtered(
                lambda contact: f"({condition(contact)}) AND {contact}.finalclass != 'Team'"
            )
        case ScopeKind.PERSON:
            return query.filtered(condition)
        case ScopeKind.ORGANIZATION:
            return query.joined_to(
                "Person", lambda organization, person: f"{person}.org_id = {organization}.id", condition
            )
        case ScopeKind.ACCOUNT:
            return query.joined_to(
                "Person", lambda user, person: f"{user}.contactid = {person}.id", condition
            )
        case ScopeKind.OTHER:
            return None


def _is_unrestricted(query: Query) -> bool:
    return _UNRESTRICTED.fullmatch(str(query).strip()) is not None


def _filled(context: PanelContext, person: Person) -> Query:
    """Return the scope with the person's values. iTop would insert those of the API account's contact."""
    values: dict[str, str | int] = {f"{_CONTACT}_id": person.id}
    attributes = {**person.attributes, "org_id": person.org_id, "email": person.email}
    values |= {f"{_CONTACT}->{code}": value for code, value in attributes.items()}
    return _parse(context.workspace.scope).fill(values)


def _contains(
    context: PanelContext, query: Query, kind: ScopeKind, value: int, *, cached_only: bool = False
) -> bool:
    if _is_unrestricted(query):
        return value > 0
    return _finds_any(context, query.narrow(kind.attribute, value), cached_only=cached_only)


def _finds_any(context: PanelContext, query: Query, *, cached_only: bool) -> bool:
    question = f"scope: {query}"
    if cached_only:
        answer = CachedAnswer.objects.of_any_age(context.itop, question)
        return answer is not None and bool(answer.value)
    answer = CachedAnswer.objects.fresh(context.itop, question, CACHE_SECONDS)
    if answer is not None:
        return bool(answer.value)
    found = get_objects(context, query.class_name, str(query), fields=("id",), limit=1)
    CachedAnswer.objects.store(context.itop, question, found.total > 0)
    return found.total > 0
