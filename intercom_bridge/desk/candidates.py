"""Among whom a teammate picks, when it is not known who a contact is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import ItopAnswer, ItopInstance, Workspace
from itop_client import containing, ids

from .evidence import Evidence
from .person import NOBODY_SECONDS, Person, question_who
from .scope import Scope

SHOWN = 10
MOST_WORDS = 6
WORD_LENGTH = 60
_AMONG = ", among "


@dataclass(frozen=True)
class Candidates:
    """`more`: there are others who would fit as well."""

    people: tuple[Person, ...] = ()
    more: bool = False

    @classmethod
    def of(cls, people: Iterable[Person], more: bool) -> Candidates:
        return cls(tuple(sorted(people, key=lambda one: not one.is_active)), more)


def search(words: str, scope: Scope) -> Candidates:
    """The people with each of the words in their name or address."""
    wanted = words.split()[:MOST_WORDS]
    if not wanted:
        return Candidates()
    return Candidates.of(*scope.people(lambda alias: _holds(wanted, alias, ("friendlyname", "email")), SHOWN))


def likely(
    contact: Contact, workspace: Workspace, scope: Scope, known: Iterable[int], without: int = 0
) -> Candidates:
    """The people with the `known` ids; if there are none, those with the contact's address or name. Without either
    nobody is asked. `without` is an id that is not looked for. Within twenty seconds it is not asked twice."""
    known = sorted(set(known))
    evidence = Evidence.of(contact, workspace)
    name = contact.name.split()[:MOST_WORDS]
    terms = json.dumps([workspace.scope, known, without, str(evidence), name])
    question = f"{question_who(workspace, contact.id)}{_AMONG}{hashlib.sha256(terms.encode()).hexdigest()}"
    answer = ItopAnswer.objects.fresh(workspace.itop, question, NOBODY_SECONDS) if contact.id else None
    if answer is not None:
        return Candidates(tuple(Person(**one) for one in answer.value["people"]), answer.value["more"])

    def fulfil(alias: str) -> str:
        if known:
            return f"{alias}.id IN ({ids(known)})"
        found = evidence.email_conditions(alias)
        if name:
            found.append(f"({_holds(name, alias, ('friendlyname',))})")
        condition = " OR ".join(found)
        return f"({condition}) AND {alias}.id != {without}" if without and condition else condition

    found = Candidates.of(*scope.people(fulfil, SHOWN)) if fulfil("p") else Candidates()
    if contact.id:
        people = [asdict(one) for one in found.people]
        ItopAnswer.objects.keep(workspace.itop, question, {"people": people, "more": found.more})
    return found


def forget_candidates(itop: ItopInstance) -> int:
    """Has iTop asked anew for whom any contact may be; answers how many answers went."""
    kept = ItopAnswer.objects.filter(itop=itop, question__startswith="who is ", question__contains=_AMONG)
    return kept.delete()[0]


def _holds(words: Iterable[str], alias: str, attributes: Iterable[str]) -> str:
    return " AND ".join(
        "("
        + " OR ".join(f"{alias}.{code} LIKE {containing(word[:WORD_LENGTH])}" for code in attributes)
        + ")"
        for word in words
    )
