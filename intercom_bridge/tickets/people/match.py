"""Find the iTop Person that an Intercom contact is."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.client import IntercomError
from intercom_bridge.models import CachedAnswer, Participant, PersonMatch, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.tickets.context import PanelContext, get_objects
from intercom_bridge.tickets.conversation import FETCH_SECONDS, find_conversation, get_or_create_conversation
from intercom_bridge.tickets.errors import (
    CacheMissError,
    MatchFailure,
    OutOfScopeError,
    PersonNotResolvedError,
)
from intercom_bridge.tickets.scope import person_attributes, serves
from itop_client import Found, UnknownAttributeError

from .evidence import Evidence
from .person import FIELDS, Person

log = structlog.get_logger(__name__)

# A match is used for this long without asking iTop again.
MATCH_CACHE_SECONDS = 600.0
# A failed match is kept no longer than a list of tickets, because an admin may be adding the person right now.
FAILURE_CACHE_SECONDS = 20.0
MAX_CANDIDATES = 50


def find_person(context: PanelContext) -> Person:
    """Return the contact's Person, who is in the scope of the workspace. Take at most one query to iTop, once.

    Raise PersonNotResolvedError, OutOfScopeError or ItopError.
    """
    if "find_person" not in context.memo:
        person = _match(context)
        if not serves(context, person):
            if person.how == PersonMatch.How.CHOSEN:
                raise PersonNotResolvedError(MatchFailure.OUTSIDE, picked_by=person.picked_by)
            raise OutOfScopeError(f"{person.name} is not in the scope of {context.workspace}")
        context.memo["find_person"] = person
    found: Person = context.memo["find_person"]
    return found


def find_cached_person(context: PanelContext) -> Person:
    """Return the contact's Person as last known, without asking iTop. Raise CacheMissError."""
    person = _usable_match(context, _stored_match(context))
    if person is None or not serves(context, person, cached_only=True):
        raise CacheMissError
    return person


def pick_person(context: PanelContext, person_id: int) -> Person:
    """Store a teammate's choice: the contact is this person, until someone changes it.

    A person who was chosen before keeps the teammate who chose them first. Raise PersonNotResolvedError if the person
    does not exist or is out of scope.
    """
    if not context.request.contact.id:
        raise PersonNotResolvedError(MatchFailure.NOTHING_TO_GO_BY)
    person = get_person(context, person_id)
    if person is None:
        raise PersonNotResolvedError(MatchFailure.GONE)
    if not serves(context, person):
        raise PersonNotResolvedError(MatchFailure.OUTSIDE)
    picks = picks_of(context, person_id)
    earlier = picks.first()
    picked_by = earlier.picked_by if earlier else context.request.admin.name[:200]
    person = replace(person, how=PersonMatch.How.CHOSEN, picked_by=picked_by)
    if earlier:
        picks.update(**_columns(person))
    else:
        columns = _match_columns(context, person, Evidence.of(context.request.contact, context.workspace))
        PersonMatch.objects.update_or_create(
            workspace=context.workspace,
            contact_id=context.request.contact.id[:64],
            defaults=columns | {"picked_at": timezone.now()},
        )
    # Remembered, so that the choice stays with the conversation if its contact is merged into another.
    get_or_create_conversation(context)
    context.memo["find_person"] = person
    return person


def picks_of(context: PanelContext, person_id: int) -> QuerySet[PersonMatch]:
    """Return the contact's match if a teammate chose this person."""
    return PersonMatch.objects.filter(
        workspace=context.workspace,
        itop=context.itop,
        contact_id=context.request.contact.id[:64],
        how=PersonMatch.How.CHOSEN,
        person_id=person_id,
    )


def expire_match(context: PanelContext) -> None:
    """Make the next request ask iTop who the contact is."""
    contact_id, workspace = context.request.contact.id, context.workspace
    CachedAnswer.objects.filter(cached_match_answers(contact_id, workspace), itop=context.itop).delete()
    expired = timezone.now() - dt.timedelta(seconds=MATCH_CACHE_SECONDS)
    PersonMatch.objects.filter(
        workspace=workspace, contact_id=contact_id[:64], matched_at__gt=expired
    ).update(matched_at=expired)


def match_question(workspace: Workspace, contact_id: str) -> str:
    """Return the key of a cached failure to match. The keys of cached candidates begin with it."""
    return f"who is {contact_id} of workspace {workspace.pk}"


def cached_match_answers(contact_id: str, workspace: Workspace) -> Q:
    """Return a filter for CachedAnswer: failed matches of a contact, and their candidates."""
    question = match_question(workspace, contact_id)
    return Q(question=question) | Q(question__startswith=f"{question},")


def _match(context: PanelContext) -> Person:
    """Return the person that a teammate chose, or the only one that all evidence agrees on."""
    match = _stored_match(context)
    person = _usable_match(context, match)
    fresh_since = timezone.now() - dt.timedelta(seconds=MATCH_CACHE_SECONDS)
    if match is not None and person is not None and match.matched_at >= fresh_since:
        return person
    if match is not None and match.is_chosen and not match.merged_from:
        return _refresh_pick(context, match)
    evidence = Evidence.of(context.request.contact, context.workspace)
    try:
        person = _match_or_recall(context, evidence)
    except PersonNotResolvedError as error:
        if (pick := _pick_for_merged_contact(context, match, error)) is not None:
            return _refresh_pick(context, pick)
        raise
    _store_match(context, person, evidence)
    return person


def _pick_for_merged_contact(
    context: PanelContext, match: PersonMatch | None, error: PersonNotResolvedError
) -> PersonMatch | None:
    """Return the person that a teammate chose for a contact that was merged into this one.

    `error` says why the contact's own data do not identify one person. If they point to several, and the chosen one
    is not among them, the choice is deleted.
    """
    if match is None and (merged_id := _replaced_contact(context)):
        PersonMatch.objects.follow_merge(context.workspace, merged_id, context.request.contact.id[:64])
        match = _stored_match(context)
    if match is None or not match.merged_from:
        return None
    is_candidate = error.failure is MatchFailure.SEVERAL and match.person_id in error.candidates
    if error.candidates and not is_candidate:
        match.delete()
        return None
    return match


def _replaced_contact(context: PanelContext) -> str:
    """Return the contact that Intercom has merged into this one, as far as the conversation shows it, or "".

    The notification of a merge can be lost, and does not name the merged contact in all versions of the API. A person
    was chosen for the contact, who was the conversation's only one, as this contact is now. If Intercom still has the
    contact, a teammate has replaced a participant by another.
    """
    request = context.request
    conversation = find_conversation(context)
    if conversation is None:
        return ""
    if request.conversation.contact_ids != (request.contact.id,):
        Participant.objects.note(conversation, request.conversation.contact_ids)
        return ""
    participants = Participant.objects.filter(conversation=conversation)
    others = participants.exclude(contact_id=request.contact.id[:64]).values("contact_id")
    picks = PersonMatch.objects.filter(
        workspace=context.workspace, itop=context.itop, how=PersonMatch.How.CHOSEN, contact_id__in=others
    )
    picked_ids = list(picks.values_list("contact_id", flat=True)[:2])
    if len(picked_ids) != 1 or participants.filter(in_group=True).exists():
        return ""
    if context.workspace.access_token:
        try:
            seconds = min(FETCH_SECONDS, context.deadline.remaining())
            is_other = intercom_client(context.workspace).has_contact(picked_ids[0], deadline=seconds)
        except (IntercomError, SecretDecryptionError) as error:
            log.warning("person_match.merge_unknown", error=type(error).__name__)
            return ""
        if is_other:
            participants.update(in_group=True)
            return ""
    return picked_ids[0]


def _stored_match(context: PanelContext) -> PersonMatch | None:
    return PersonMatch.objects.filter(
        workspace=context.workspace, itop=context.itop, contact_id=context.request.contact.id[:64]
    ).first()


def _usable_match(context: PanelContext, match: PersonMatch | None) -> Person | None:
    """Return the stored person, with the scope's attributes, if a teammate chose it or the evidence is the same."""
    if match is None or match.merged_from:
        return None
    evidence = Evidence.of(context.request.contact, context.workspace)
    if not (match.is_chosen or match.evidence == str(evidence)):
        return None
    is_complete = set(person_attributes(context.workspace)) <= set(match.attributes)
    return Person.from_match(match) if is_complete else None


def get_person(context: PanelContext, person_id: int) -> Person | None:
    """Return the person with this id, in scope or not. Raise ItopError."""
    extra = person_attributes(context.workspace)
    query = f"SELECT Person AS p WHERE p.id = {person_id}"
    found = get_objects(context, "Person", query, fields=(*FIELDS, *extra))
    return next((Person.from_itop(item, extra=extra) for item in found), None)


def _refresh_pick(context: PanelContext, match: PersonMatch) -> Person:
    """Return the chosen person with the current data of iTop."""
    person = get_person(context, match.person_id)
    if person is None:
        raise PersonNotResolvedError(
            MatchFailure.GONE,
            name=match.name,
            picked_by=match.picked_by,
            picked_at=match.picked_at,
            email=match.email,
        )
    person = replace(person, how=match.how, picked_by=match.picked_by)
    # Not if a teammate has chosen someone else since the row was read.
    picks_of(context, match.person_id).filter(pk=match.pk).update(**_columns(person))
    return person


def _match_or_recall(context: PanelContext, evidence: Evidence) -> Person:
    """Return the person that the evidence identifies. A failure is cached, and raised again for a while.

    That saves a query: a lead that iTop does not know is opened as often as a customer.
    """
    contact_id, evidence_text = context.request.contact.id, str(evidence)
    question = match_question(context.workspace, contact_id)
    cached = CachedAnswer.objects.fresh(context.itop, question, FAILURE_CACHE_SECONDS) if contact_id else None
    if cached is not None and cached.value["evidence"] == evidence_text:
        failure, candidates = MatchFailure[cached.value["failure"]], cached.value["candidates"]
        raise PersonNotResolvedError(failure, email=evidence.email, candidates=candidates)
    try:
        return _match_by_evidence(context, evidence)
    except PersonNotResolvedError as error:
        if contact_id and error.failure is not MatchFailure.NOTHING_TO_GO_BY:
            value = {
                "evidence": evidence_text,
                "failure": error.failure.name,
                "candidates": list(error.candidates),
            }
            CachedAnswer.objects.store(context.itop, question, value)
        raise


def _match_by_evidence(context: PanelContext, evidence: Evidence) -> Person:
    if not evidence.conditions("p"):
        raise PersonNotResolvedError(MatchFailure.NOTHING_TO_GO_BY)
    found, evidence = _search_by_evidence(context, evidence)
    findings = evidence.findings(found)
    if not findings:
        raise PersonNotResolvedError(MatchFailure.UNKNOWN, email=evidence.email)
    candidates = set[int]().union(*(ids for _how, ids in findings))
    matching = candidates.intersection(*(ids for _how, ids in findings))
    if not matching:
        raise PersonNotResolvedError(MatchFailure.CONTRADICTION, email=evidence.email, candidates=candidates)
    extra = person_attributes(context.workspace)
    people = [Person.from_itop(item, findings[0][0], extra) for item in found if item.id in matching]
    if len(people) > 1:
        people = [person for person in people if person.is_active] or people
    if len(people) > 1:
        raise PersonNotResolvedError(
            MatchFailure.SEVERAL, email=evidence.email, candidates=(person.id for person in people)
        )
    return people[0]


def _search_by_evidence(context: PanelContext, evidence: Evidence) -> tuple[Found, Evidence]:
    """Return the persons that any of the evidence finds, and the evidence that iTop could search for."""
    extra = (*person_attributes(context.workspace), evidence.external_attribute or "id")
    try:
        found = get_objects(
            context,
            "Person",
            f"SELECT Person AS p WHERE {' OR '.join(evidence.conditions('p'))}",
            fields=(*FIELDS, *extra),
            limit=MAX_CANDIDATES,
        )
    except UnknownAttributeError as error:
        # If the workspace names an attribute that this iTop lacks, continue with the rest of the evidence.
        if not evidence.external_attribute or error.attribute != evidence.external_attribute:
            raise
        log.warning("person_match.unknown_attribute", attribute=error.attribute)
        rest = replace(evidence, external_id="", external_attribute="")
        if not rest.conditions("p"):
            raise PersonNotResolvedError(MatchFailure.NOTHING_TO_GO_BY) from error
        return _search_by_evidence(context, rest)
    return found, evidence


def _store_match(context: PanelContext, person: Person, evidence: Evidence) -> None:
    contact_id = context.request.contact.id[:64]
    if not contact_id:
        return
    columns = _match_columns(context, person, evidence) | {"picked_at": None}
    rows = PersonMatch.objects.filter(workspace=context.workspace, contact_id=contact_id)
    # A choice that a teammate made in this iTop since the row was read is kept.
    if not rows.exclude(how=PersonMatch.How.CHOSEN, itop=context.itop, merged_from="").update(**columns):
        PersonMatch.objects.get_or_create(
            workspace=context.workspace, contact_id=contact_id, defaults=columns
        )


def _columns(person: Person) -> dict[str, Any]:
    return {
        "how": person.how,
        "person_id": person.id,
        "name": person.name[:255],
        "email": person.email[:320],
        "org_id": person.org_id,
        "org_name": person.org_name[:255],
        "attributes": dict(person.attributes),
        "matched_at": timezone.now(),
        "merged_from": "",
    }


def _match_columns(context: PanelContext, person: Person, evidence: Evidence) -> dict[str, Any]:
    return _columns(person) | {"itop": context.itop, "evidence": str(evidence), "picked_by": person.picked_by}
