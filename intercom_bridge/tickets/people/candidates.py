"""Find the persons whom a teammate can choose from if the bridge does not know who the contact is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
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
# Separates the contact from the digest in the key of cached candidates.
_AMONG = ", among "


@dataclass(frozen=True)
class Candidates:
    """Persons in the workspace's scope, active persons first. `has_more`: iTop has more than these."""

    people: tuple[Person, ...] = ()
    has_more: bool = False


def search_people(context: PanelContext, text: str) -> Candidates:
    """Return the persons in whose name or e-mail address each word of `text` occurs."""
    if not text.strip():
        return Candidates()
    return _find_candidates(context, lambda alias: words_condition(text, alias, ("friendlyname", "email")))


def suggest_people(context: PanelContext, candidate_ids: Iterable[int], *, exclude: int = 0) -> Candidates:
    """Return the persons with these ids. Without ids, return the persons with the contact's e-mail address or name.

    `exclude`: the id of a person who is left out of a search by address or name, or 0. The result is cached for twenty
    seconds.
    """
    contact, workspace = context.request.contact, context.workspace
    candidate_ids = sorted(set(candidate_ids))
    evidence = Evidence.of(contact, workspace)
    name_words = contact.name.split()[:MAX_TERMS]
    cache_key = json.dumps([workspace.scope, candidate_ids, exclude, str(evidence), name_words])
    digest = hashlib.sha256(cache_key.encode()).hexdigest()
    question = f"{match_question(workspace, contact.id)}{_AMONG}{digest}"
    answer = CachedAnswer.objects.fresh(context.itop, question, FAILURE_CACHE_SECONDS) if contact.id else None
    if answer is not None:
        people = tuple(Person(**person) for person in answer.value["people"])
        return Candidates(people, answer.value["has_more"])
    if candidate_ids:
        candidates = _find_candidates(context, lambda alias: f"{alias}.id IN ({ids(candidate_ids)})")
    elif _similarity_condition(context, "p", exclude):
        candidates = _find_candidates(context, lambda alias: _similarity_condition(context, alias, exclude))
    else:
        candidates = Candidates()
    if contact.id:
        stored = {"people": [asdict(person) for person in candidates.people], "has_more": candidates.has_more}
        CachedAnswer.objects.store(context.itop, question, stored)
    return candidates


def _find_candidates(context: PanelContext, condition: Callable[[str], str]) -> Candidates:
    people, has_more = find_people(context, condition, MAX_SHOWN)
    active_first = sorted(people, key=lambda person: not person.is_active)
    return Candidates(tuple(active_first), has_more)


def _similarity_condition(context: PanelContext, alias: str, exclude: int) -> str:
    """Return OQL for the persons with the contact's e-mail address or name. Return "" if the contact has neither."""
    contact = context.request.contact
    conditions = Evidence.of(contact, context.workspace).email_conditions(alias)
    name_condition = words_condition(contact.name, alias, ("friendlyname",))
    if name_condition:
        conditions.append(f"({name_condition})")
    condition = " OR ".join(conditions)
    return f"({condition}) AND {alias}.id != {exclude}" if condition and exclude else condition


def forget_candidates(itop: ItopInstance) -> int:
    """Delete all cached candidates of an iTop. Return their number."""
    cached = CachedAnswer.objects.filter(itop=itop, question__startswith="who is ", question__contains=_AMONG)
    return cached.delete()[0]


def words_condition(text: str, alias: str, codes: Iterable[str]) -> str:
    """Return OQL for objects in which each word of `text` occurs in one of these attributes. "" if there is no word."""
    word_conditions = []
    for word in text.split()[:MAX_TERMS]:
        pattern = containing(word[:MAX_TERM_LENGTH])
        in_any_attribute = " OR ".join(f"{alias}.{code} LIKE {pattern}" for code in codes)
        word_conditions.append(f"({in_any_attribute})")
    return " AND ".join(word_conditions)
