"""Persons that a teammate can choose from when it is not known who a contact is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from intercom_bridge.models import CachedAnswer, ItopInstance
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.scope import find_people
from itop_client import containing, ids

from .evidence import Evidence
from .match import FAILURE_CACHE_SECONDS, match_question
from .person import Person

MAX_SHOWN = 10
MAX_TERMS = 6
MAX_TERM_LENGTH = 60
_AMONG = ", among "


@dataclass(frozen=True)
class Candidates:
    """Persons in the scope of the workspace, active ones first. `has_more`: iTop has more than `people`."""

    people: tuple[Person, ...] = ()
    has_more: bool = False

    @classmethod
    def of(cls, people: Iterable[Person], has_more: bool) -> Candidates:
        return cls(tuple(sorted(people, key=lambda person: not person.is_active)), has_more)


def search_people(context: PanelContext, text: str) -> Candidates:
    """Return the persons with each word of `text` in their name or e-mail address."""
    if not text.strip():
        return Candidates()
    codes = ("friendlyname", "email")
    return Candidates.of(*find_people(context, lambda alias: words_condition(text, alias, codes), MAX_SHOWN))


def suggest_people(context: PanelContext, candidate_ids: Iterable[int], *, exclude: int = 0) -> Candidates:
    """Return the persons with these ids; without ids, those with the contact's e-mail address or name.

    `exclude` is the id of a person who is not the contact. Ask iTop at most once in twenty seconds.
    """
    contact, workspace = context.request.contact, context.workspace
    candidate_ids = sorted(set(candidate_ids))
    evidence = Evidence.of(contact, workspace)
    name_terms = contact.name.split()[:MAX_TERMS]
    terms = json.dumps([workspace.scope, candidate_ids, exclude, str(evidence), name_terms])
    question = f"{match_question(workspace, contact.id)}{_AMONG}{hashlib.sha256(terms.encode()).hexdigest()}"
    answer = CachedAnswer.objects.fresh(context.itop, question, FAILURE_CACHE_SECONDS) if contact.id else None
    if answer is not None:
        people = tuple(Person(**person) for person in answer.value["people"])
        return Candidates(people, answer.value["has_more"])

    def condition(alias: str) -> str:
        if candidate_ids:
            return f"{alias}.id IN ({ids(candidate_ids)})"
        conditions = evidence.email_conditions(alias)
        if name_terms:
            conditions.append(f"({words_condition(contact.name, alias, ('friendlyname',))})")
        any_of = " OR ".join(conditions)
        return f"({any_of}) AND {alias}.id != {exclude}" if exclude and any_of else any_of

    found = Candidates.of(*find_people(context, condition, MAX_SHOWN)) if condition("p") else Candidates()
    if contact.id:
        value = {"people": [asdict(person) for person in found.people], "has_more": found.has_more}
        CachedAnswer.objects.store(context.itop, question, value)
    return found


def forget_candidates(itop: ItopInstance) -> int:
    """Delete all cached candidates of an iTop. Return their number."""
    cached = CachedAnswer.objects.filter(itop=itop, question__startswith="who is ", question__contains=_AMONG)
    return cached.delete()[0]


def words_condition(text: str, alias: str, codes: Iterable[str]) -> str:
    """Return OQL: each word of `text` is in one of these attributes. Return "" without a word."""
    return " AND ".join(
        "(" + " OR ".join(f"{alias}.{code} LIKE {containing(term[:MAX_TERM_LENGTH])}" for code in codes) + ")"
        for term in text.split()[:MAX_TERMS]
    )
