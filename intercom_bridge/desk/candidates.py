"""Among whom a teammate picks, when it is not known who a contact is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import Workspace
from itop_client import containing, ids

from .evidence import Evidence
from .person import Person
from .scope import Scope

SHOWN = 10
MOST_WORDS = 6
WORD_LENGTH = 60


@dataclass(frozen=True)
class Candidates:
    """The likeliest first; `total` counts those that are not among them too."""

    people: tuple[Person, ...] = ()
    total: int = 0


def search(words: str, scope: Scope) -> Candidates:
    """The people with each of the words in their name or address."""
    wanted = words.split()[:MOST_WORDS]
    if not wanted:
        return Candidates()
    people, total = scope.people(lambda alias: _holds(wanted, alias, ("friendlyname", "email")), SHOWN)
    return Candidates(tuple(sorted(people, key=lambda one: not one.is_active)), total)


def likely(
    contact: Contact, workspace: Workspace, scope: Scope, known: Iterable[int], without: int = 0
) -> Candidates:
    """The people with the `known` ids, with the contact's address, or of its name. Asks nobody if there is none of
    these. `without` is an id that is not looked for."""
    evidence = Evidence.of(contact, workspace)
    known = set(known)
    name = contact.name.split()[:MOST_WORDS]

    def fulfil(alias: str) -> str:
        found = [f"{alias}.id IN ({ids(sorted(known))})"] if known else []
        found += evidence.email_conditions(alias)
        if name:
            found.append(f"({_holds(name, alias, ('friendlyname',))})")
        condition = " OR ".join(found)
        return f"({condition}) AND {alias}.id != {without}" if without and condition else condition

    if not fulfil("p"):
        return Candidates()
    people, total = scope.people(fulfil, SHOWN)
    people.sort(key=lambda one: (one.id not in known, not one.is_active))
    return Candidates(tuple(people), total)


def _holds(words: Iterable[str], alias: str, attributes: Iterable[str]) -> str:
    return " AND ".join(
        "("
        + " OR ".join(f"{alias}.{code} LIKE {containing(word[:WORD_LENGTH])}" for code in attributes)
        + ")"
        for word in words
    )
