"""Whom the workspaces serve, for an admin: one person at a time, and how many people in all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from intercom_bridge.connections import itop_client
from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopInstance, Workspace
from intercom_bridge.models.encryption import SecretUnreadable
from itop_client import Client, ItopError, OqlError, UnknownAttribute, containing, quote

from .evidence import positive, without_tag
from .person import FIELDS, Person
from .scope import Scope

Trouble = ItopError | SecretUnreadable | OqlError

MOST_PEOPLE = 10
MOST_WORDS = 6
WORD_LENGTH = 60
# Two scopes are compared by naming what one of them finds.
MOST_NAMED = 2000
SECONDS = 15.0


@dataclass(frozen=True)
class Verdict:
    """What one workspace says of one person. `serves` is None when its iTop could not say, for `reason`."""

    workspace: Workspace
    serves: bool | None
    reason: str


@dataclass(frozen=True)
class Served:
    """A person of an iTop, and what each of that iTop's workspaces says of them."""

    itop: ItopInstance
    person: Person
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Reach:
    """How many people a workspace's scope covers; None where that cannot be counted, for `reason`."""

    workspace: Workspace
    people: int | None
    reason: str = ""


@dataclass(frozen=True)
class Overlap:
    """How many people two workspaces both serve; None where that cannot be counted."""

    one: Workspace
    other: Workspace
    people: int | None


def who_serves(words: str, itop: ItopInstance) -> list[Served]:
    """The people whom an address, a number or a name leads to, at most ten. Raises ItopError, SecretUnreadable."""
    deadline = Deadline(SECONDS)
    client = itop_client(itop)
    workspaces = [(one, _scope(one, deadline)) for one in itop.workspaces.select_related("itop", "profile")]
    wanted = tuple(dict.fromkeys(code for _one, scope in workspaces if scope for code in scope.attributes()))
    people = _people(client, _meant(words), wanted, deadline)
    return [
        Served(itop, person, tuple(_verdict(one, scope, person) for one, scope in workspaces))
        for person in people
    ]


def _people(client: Client, meant: str, wanted: tuple[str, ...], deadline: Deadline) -> list[Person]:
    """With those of the `wanted` attributes that a person has in this iTop: one workspace's slip costs no other."""
    try:
        found = client.get(
            "Person",
            f"SELECT Person AS p WHERE {meant}",
            fields=tuple(dict.fromkeys((*FIELDS, *wanted))),
            limit=MOST_PEOPLE,
            deadline=deadline.remaining(),
        )
    except UnknownAttribute as refusal:
        if refusal.attribute not in wanted:
            raise
        rest = tuple(code for code in wanted if code != refusal.attribute)
        return _people(client, meant, rest, deadline)
    return [Person.of(one, wanted=wanted) for one in found]


def _meant(words: str) -> str:
    words = words.strip()
    if number := positive(words):
        return f"p.id = {number}"
    if "@" in words:
        addresses = [one for one in (words, without_tag(words)) if one]
        return " OR ".join(f"p.email = {quote(one)}" for one in addresses)
    named = (f"p.friendlyname LIKE {containing(one[:WORD_LENGTH])}" for one in words.split()[:MOST_WORDS])
    return " AND ".join(named) or "p.id = 0"


def _scope(workspace: Workspace, deadline: Deadline) -> Scope | None:
    """None where what stands there is no query: `_verdict` and `_reach` say so."""
    try:
        return Scope(workspace, itop_client(workspace.itop), deadline)
    except OqlError:
        return None


def _verdict(workspace: Workspace, scope: Scope | None, person: Person) -> Verdict:
    if scope is None:
        return Verdict(workspace, None, "Its scope is no query that can be used.")
    if missing := [code for code in scope.attributes() if code not in person.attributes]:
        return Verdict(
            workspace,
            None,
            f"Its scope asks for {missing[0]}, and a person in this iTop has no such attribute.",
        )
    try:
        serves = scope.serves(person)
    except (ItopError, OqlError) as error:
        return Verdict(workspace, None, f"Its iTop could not say: {error}")
    if serves and not workspace.enabled:
        return Verdict(
            workspace, False, "Its scope would serve this person, but the workspace is turned off."
        )
    return Verdict(workspace, serves, scope.reason(person, serves=serves))


def reaches(itop: ItopInstance) -> list[Reach]:
    """For each workspace of this iTop, how many people it serves. Raises SecretUnreadable."""
    deadline = Deadline(SECONDS)
    return [_reach(one, _scope(one, deadline)) for one in itop.workspaces.select_related("itop", "profile")]


def _reach(workspace: Workspace, scope: Scope | None) -> Reach:
    if scope is None:
        return Reach(workspace, None, "Its scope is no query that can be used.")
    try:
        people = scope.count()
    except (ItopError, OqlError) as error:
        return Reach(workspace, None, f"Its iTop could not say: {error}")
    return Reach(workspace, people, "" if people is not None else "It depends on who writes.")


def overlaps(itop: ItopInstance) -> Iterator[Overlap]:
    """Each two workspaces of this iTop that serve some people both, and those of which nobody can tell."""
    deadline = Deadline(SECONDS)
    scopes = [
        (one, scope)
        for one in itop.workspaces.select_related("itop", "profile")
        if (scope := _scope(one, deadline)) is not None
    ]
    for (one, scope), (other, other_scope) in combinations(scopes, 2):
        people = _both(scope, other_scope)
        if people != 0:
            yield Overlap(one, other, people)


def _both(one: Scope, other: Scope) -> int | None:
    try:
        if (condition := other.listed(MOST_NAMED)) is not None:
            return one.count(condition)
        if (condition := one.listed(MOST_NAMED)) is not None:
            return other.count(condition)
    except (ItopError, OqlError):
        return None
    return None
