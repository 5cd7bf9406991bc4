"""The scope of a workspace: an OQL query that decides which persons and tickets the workspace may see.

Which persons are in scope depends on the class that the query selects:
- Organization: the persons of the organizations that the query finds.
- Person or Contact: the persons that the query finds.
- User and its subclasses: the persons to whom the found accounts belong.
- Any other class: a person is in scope if the query, filled in for the person, finds at least one object.
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

# A scope without a condition contains every person who has an organization, so the bridge need not ask iTop.
_UNRESTRICTED = re.compile(r"SELECT\s+`?(Organization|Person|Contact)`?", re.IGNORECASE)
# A scope refers to the contact's person as `:current_contact_id` or `:current_contact->attribute`.
_CONTACT = "current_contact"
# Cached, because a list of tickets parses the same scope once per ticket.
_parse = functools.lru_cache(maxsize=200)(parse)


class ScopeKind(enum.Enum):
    """A kind of scope, by the class that it selects.

    `attribute`: where a selected object has the id of the organization (ORGANIZATION) or the person (PERSON, ACCOUNT).
    """

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
        """Whether the scope selects persons or their accounts, and not organizations."""
        return self in (ScopeKind.PERSON, ScopeKind.ACCOUNT)


def person_attributes(workspace: Workspace) -> tuple[str, ...]:
    """Return the codes of the person's attributes that the scope refers to as `:current_contact->code`."""
    placeholders = _parse(workspace.scope).placeholders
    return tuple(sorted(name.split("->", 1)[1] for name in placeholders if "->" in name))


def serves(context: PanelContext, person: Person, *, cached_only: bool = False) -> bool:
    """Return whether the person is in scope. Raise ItopError.

    If `cached_only` is set, do not ask iTop. A person for whom no answer is cached then counts as out of scope.
    """
    query = _filled(context, person)
    kind = ScopeKind.of(query)
    if kind is ScopeKind.OTHER:
        return _finds_any(context, query, cached_only=cached_only)
    object_id = person.id if kind.selects_persons else person.org_id
    return _contains(context, query, kind, object_id, cached_only=cached_only)


def has_ticket(context: PanelContext, ticket: ItopObject, person: Person) -> bool:
    """Return whether the ticket is in scope. `person` is the contact's Person.

    It depends on what the scope selects:
    - Persons or accounts: the ticket's caller must be `person` or in scope.
    - Organizations: the ticket's organization must be that of `person` or in scope.
    - Anything else: the ticket's organization must be that of `person`.
    """
    query = _filled(context, person)
    kind = ScopeKind.of(query)
    name, own_id = _owner(kind, person)
    owner_id = ticket.integer(context.profile.code(name))
    if owner_id == own_id:
        return True
    return kind is not ScopeKind.OTHER and _contains(context, query, kind, owner_id)


def ticket_condition(context: PanelContext, alias: str, person: Person) -> str:
    """Return an OQL condition that selects the tickets for which `has_ticket` is True. `alias` is the ticket's alias.

    Return "" if the scope cannot be part of another query. Then the caller has to check each ticket.
    """
    query = _filled(context, person)
    kind = ScopeKind.of(query)
    name, own_id = _owner(kind, person)
    owner = f"{alias}.{context.profile.code(name)}"
    if kind is ScopeKind.OTHER:
        return f"{owner} = {own_id}"
    if _is_unrestricted(query):
        return f"{owner} > 0"
    try:
        # Accounts refer to persons. The other kinds select the persons or organizations themselves.
        through = kind.attribute if kind is ScopeKind.ACCOUNT else ""
        return f"({owner} = {own_id} OR {query.as_membership_condition(owner, through=through)})"
    except OqlError:
        return ""


def _owner(kind: ScopeKind, person: Person) -> tuple[str, int]:
    """Return the ticket attribute that decides whether a ticket is in scope, and its value in the person's tickets."""
    return ("caller_id", person.id) if kind.selects_persons else ("org_id", person.org_id)


def find_people(
    context: PanelContext, condition: Callable[[str], str], limit: int, optional: Collection[str] = ()
) -> tuple[list[Person], bool]:
    """Return at most `limit` persons who are in scope and meet a condition, and whether iTop has more that meet it.

    `condition` returns OQL for a person's alias. The persons have the `optional` attributes that iTop has.
    If the scope can be part of the query, this takes one query. If the scope selects another class or depends on the
    person, it takes one more query for each person found.
    """
    scope_query = people_query(context.workspace, condition)
    query = scope_query or parse(f"SELECT Person AS p WHERE {condition('p')}")
    scope_attributes = () if scope_query else person_attributes(context.workspace)
    found = get_objects(
        context,
        query.class_name,
        str(query),
        fields=(*FIELDS, *scope_attributes),
        optional=optional,
        limit=limit,
    )
    people = [Person.from_itop(item, extra=(*scope_attributes, *optional)) for item in found]
    if scope_query is None:
        people = [person for person in people if serves(context, person)]
    return people, found.total > limit


def people_query(  # noqa: PLR0911 - one per kind of scope
    workspace: Workspace, condition: Callable[[str], str]
) -> Query | None:
    """Return a query for the persons who are in scope and meet a condition.

    `condition` returns OQL for a person's alias. Return None if one query cannot express the scope.
    """
    query = _parse(workspace.scope)
    if query.placeholders:
        return None
    if _is_unrestricted(query):
        return parse(f"SELECT Person AS p WHERE {condition('p')}")
    match ScopeKind.of(query):
        case ScopeKind.PERSON if query.class_name == "Contact":
            # A Contact is a Person or a Team.
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
    """Return the scope with the person's values in place of `:current_contact`.

    iTop must not fill them in, because for iTop the current contact is the one of the bridge's account.
    """
    values: dict[str, str | int] = {f"{_CONTACT}_id": person.id}
    attributes = {**person.attributes, "org_id": person.org_id, "email": person.email}
    values |= {f"{_CONTACT}->{code}": value for code, value in attributes.items()}
    return _parse(context.workspace.scope).fill(values)


def _contains(
    context: PanelContext, query: Query, kind: ScopeKind, object_id: int, *, cached_only: bool = False
) -> bool:
    """Return whether the scope contains the organization or person with this id. The id 0 means that there is none."""
    if _is_unrestricted(query):
        return object_id > 0
    return _finds_any(context, query.narrow(kind.attribute, object_id), cached_only=cached_only)


def _finds_any(context: PanelContext, query: Query, *, cached_only: bool) -> bool:
    """Return whether iTop finds an object with this query. If `cached_only` is set, do not ask iTop."""
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
