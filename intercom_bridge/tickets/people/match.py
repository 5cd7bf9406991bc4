"""Find the Person in iTop who is the conversation's Intercom contact."""

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
# A failed match is cached for a short time only, because an admin may be adding the person to iTop right now.
FAILURE_CACHE_SECONDS = 20.0
MAX_CANDIDATES = 50


def find_person(context: PanelContext) -> Person:
    """Return the contact's Person. The result is kept for the rest of the request.

    Raise PersonNotResolvedError if a teammate has to choose the person. Raise OutOfScopeError if the person is not in
    the workspace's scope. Raise ItopError.
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
    """Return the contact's Person from our tables, without asking iTop.

    Raise CacheMissError if the tables do not say who the person is, or whether the person is in scope.
    """
    person = _usable_match(context, _stored_match(context))
    if person is None or not serves(context, person, cached_only=True):
        raise CacheMissError
    return person


def pick_person(context: PanelContext, person_id: int) -> Person:
    """Store a teammate's choice of the contact's person. It is valid until somebody changes it.

    If the same person was chosen before, the first teammate remains the one who chose. Raise PersonNotResolvedError if
    Intercom did not name the contact, if iTop does not have the person, or if the person is out of scope.
    """
    if not context.request.contact.id:
        raise PersonNotResolvedError(MatchFailure.NOTHING_TO_GO_BY)
    person = get_person(context, person_id)
    if person is None:
        raise PersonNotResolvedError(MatchFailure.GONE)
    if not serves(context, person):
        raise PersonNotResolvedError(MatchFailure.OUTSIDE)
    same_picks = picks_of(context, person_id)
    earlier_pick = same_picks.first()
    picked_by = earlier_pick.picked_by if earlier_pick else context.request.admin.name[:200]
    person = replace(person, how=PersonMatch.How.CHOSEN, picked_by=picked_by)
    if earlier_pick:
        same_picks.update(**_columns(person))
    else:
        columns = _match_columns(context, person, Evidence.of(context.request.contact, context.workspace))
        PersonMatch.objects.update_or_create(
            workspace=context.workspace,
            contact_id=context.request.contact.id[:64],
            defaults=columns | {"picked_at": timezone.now()},
        )
    # This stores the conversation's contact, by which `_replaced_contact` notices a merge of the contact later.
    get_or_create_conversation(context)
    context.memo["find_person"] = person
    return person


def picks_of(context: PanelContext, person_id: int) -> QuerySet[PersonMatch]:
    """Return a queryset of the contact's match. It is empty unless a teammate chose this person for the contact."""
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
    """Return the cache key of a failed match. The cache keys of the contact's candidates begin with it."""
    return f"who is {contact_id} of workspace {workspace.pk}"


def cached_match_answers(contact_id: str, workspace: Workspace) -> Q:
    """Return a filter that finds a contact's failed matches and candidates in CachedAnswer."""
    question = match_question(workspace, contact_id)
    return Q(question=question) | Q(question__startswith=f"{question},")


def _match(context: PanelContext) -> Person:
    """Return the person that a teammate chose, or else the only person that all of the contact's data point to."""
    match = _stored_match(context)
    stored_person = _usable_match(context, match)
    fresh_since = timezone.now() - dt.timedelta(seconds=MATCH_CACHE_SECONDS)
    if match is not None and stored_person is not None and match.matched_at >= fresh_since:
        return stored_person
    if match is not None and match.is_chosen and not match.merged_from:
        return _refresh_pick(context, match)
    evidence = Evidence.of(context.request.contact, context.workspace)
    try:
        person = _match_or_repeat_failure(context, evidence)
    except PersonNotResolvedError as error:
        pick = _pick_for_merged_contact(context, match, error)
        if pick is None:
            raise
        return _refresh_pick(context, pick)
    _store_match(context, person, evidence)
    return person


def _pick_for_merged_contact(
    context: PanelContext, match: PersonMatch | None, error: PersonNotResolvedError
) -> PersonMatch | None:
    """Return a teammate's choice for a contact that Intercom has merged into this one, or None.

    `match` is this contact's stored match. `error` says why the contact's own data do not identify one person.
    Delete the choice if these data contradict it.
    """
    if match is None and (merged_id := _replaced_contact(context)):
        PersonMatch.objects.follow_merge(context.workspace, merged_id, context.request.contact.id[:64])
        match = _stored_match(context)
    if match is None or not match.merged_from:
        return None
    # The contact's own data may fit several persons. The choice may decide between them, but not name anybody else.
    is_one_of_several = error.failure is MatchFailure.SEVERAL and match.person_id in error.candidates
    if error.candidates and not is_one_of_several:
        match.delete()
        return None
    return match


def _replaced_contact(context: PanelContext) -> str:
    """Return the id of the contact that Intercom has merged into this one, or "" if there seems to be none.

    Intercom's notification of the merge can be lost, and in some API versions it does not name the merged contact.
    Therefore a merge is also inferred from the conversation, if all of the following is true:
    - This contact is now the conversation's only one, and the conversation never had two at the same time.
    - A teammate chose a person for exactly one earlier contact of the conversation.
    - Intercom no longer has the earlier contact. (Not checked without an access token.) If Intercom still has it, a
      teammate has replaced the conversation's participant instead.
    """
    request = context.request
    conversation = find_conversation(context)
    if conversation is None:
        return ""
    if request.conversation.contact_ids != (request.contact.id,):
        # Stored, because no merge may be inferred later if the conversation had several contacts at the same time.
        Participant.objects.record(conversation, request.conversation.contact_ids)
        return ""
    participants = Participant.objects.filter(conversation=conversation)
    earlier = participants.exclude(contact_id=request.contact.id[:64]).values("contact_id")
    picks = PersonMatch.objects.filter(
        workspace=context.workspace, itop=context.itop, how=PersonMatch.How.CHOSEN, contact_id__in=earlier
    )
    picked_ids = list(picks.values_list("contact_id", flat=True)[:2])
    if len(picked_ids) != 1 or participants.filter(in_group=True).exists():
        return ""
    if context.workspace.access_token:
        try:
            seconds = min(FETCH_SECONDS, context.deadline.remaining())
            still_exists = intercom_client(context.workspace).has_contact(picked_ids[0], deadline=seconds)
        except (IntercomError, SecretDecryptionError) as error:
            log.warning("person_match.merge_unknown", error=type(error).__name__)
            return ""
        if still_exists:
            # With this mark, the next request infers no merge and does not ask Intercom again.
            participants.update(in_group=True)
            return ""
    return picked_ids[0]


def _stored_match(context: PanelContext) -> PersonMatch | None:
    return PersonMatch.objects.filter(
        workspace=context.workspace, itop=context.itop, contact_id=context.request.contact.id[:64]
    ).first()


def _usable_match(context: PanelContext, match: PersonMatch | None) -> Person | None:
    """Return the match's person, or None if the match cannot be used.

    It cannot be used for one of these reasons:
    - The contact's data have changed since, and no teammate chose the person.
    - The match lacks an attribute that the scope needs.
    - The match was moved here from a merged contact, and was not compared with this contact's data yet.
    """
    if match is None or match.merged_from:
        return None
    evidence = Evidence.of(context.request.contact, context.workspace)
    is_valid = match.is_chosen or match.evidence == str(evidence)
    is_complete = set(person_attributes(context.workspace)) <= set(match.attributes)
    return Person.from_match(match) if is_valid and is_complete else None


def get_person(context: PanelContext, person_id: int) -> Person | None:
    """Return the person with this id, or None if iTop has no such person. The scope is not checked. Raise ItopError."""
    scope_attributes = person_attributes(context.workspace)
    query = f"SELECT Person AS p WHERE p.id = {person_id}"
    found = get_objects(context, "Person", query, fields=(*FIELDS, *scope_attributes))
    return next((Person.from_itop(item, extra=scope_attributes) for item in found), None)


def _refresh_pick(context: PanelContext, match: PersonMatch) -> Person:
    """Read the chosen person from iTop again, and update the match. Raise PersonNotResolvedError if iTop has none."""
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
    # The filter by person keeps the row unchanged if a teammate has chosen someone else in the meantime.
    picks_of(context, match.person_id).filter(pk=match.pk).update(**_columns(person))
    return person


def _match_or_repeat_failure(context: PanelContext, evidence: Evidence) -> Person:
    """Return the person that the evidence identifies. Cache a failure, and raise it again while it is fresh.

    Successes are stored by `_store_match`. Failures are cached because many contacts are leads whom iTop does not know.
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
            failed_match = {
                "evidence": evidence_text,
                "failure": error.failure.name,
                "candidates": list(error.candidates),
            }
            CachedAnswer.objects.store(context.itop, question, failed_match)
        raise


def _match_by_evidence(context: PanelContext, evidence: Evidence) -> Person:
    """Return the only person that all of the evidence points to. Raise PersonNotResolvedError."""
    if not evidence.conditions("p"):
        raise PersonNotResolvedError(MatchFailure.NOTHING_TO_GO_BY)
    found, usable_evidence = _search_by_evidence(context, evidence)
    findings = usable_evidence.findings(found)
    if not findings:
        raise PersonNotResolvedError(MatchFailure.UNKNOWN, email=evidence.email)
    id_sets = [ids for _how, ids in findings]
    found_by_any, found_by_all = set.union(*id_sets), set.intersection(*id_sets)
    if not found_by_all:
        raise PersonNotResolvedError(
            MatchFailure.CONTRADICTION, email=evidence.email, candidates=found_by_any
        )
    strongest_how, _ids = findings[0]
    scope_attributes = person_attributes(context.workspace)
    people = [
        Person.from_itop(item, strongest_how, scope_attributes) for item in found if item.id in found_by_all
    ]
    active = [person for person in people if person.is_active]
    if len(people) > 1 and active:
        people = active
    if len(people) > 1:
        candidate_ids = [person.id for person in people]
        raise PersonNotResolvedError(MatchFailure.SEVERAL, email=evidence.email, candidates=candidate_ids)
    return people[0]


def _search_by_evidence(context: PanelContext, evidence: Evidence) -> tuple[Found, Evidence]:
    """Return the persons that any of the evidence points to, and the evidence that the search has used.

    If iTop lacks the attribute for external ids that the workspace names, the external id is left out.
    """
    external_codes = [evidence.external_attribute] if evidence.external_attribute else []
    codes = (*FIELDS, *person_attributes(context.workspace), *external_codes)
    any_condition = " OR ".join(evidence.conditions("p"))
    try:
        found = get_objects(
            context, "Person", f"SELECT Person AS p WHERE {any_condition}", fields=codes, limit=MAX_CANDIDATES
        )
    except UnknownAttributeError as error:
        if not evidence.external_attribute or error.attribute != evidence.external_attribute:
            raise
        log.warning("person_match.unknown_attribute", attribute=error.attribute)
        rest = replace(evidence, external_id="", external_attribute="")
        if not rest.conditions("p"):
            raise PersonNotResolvedError(MatchFailure.NOTHING_TO_GO_BY) from error
        return _search_by_evidence(context, rest)
    return found, evidence


def _store_match(context: PanelContext, person: Person, evidence: Evidence) -> None:
    """Store whom the evidence identifies, unless a teammate has chosen a person in the meantime.

    A choice is replaced if it is for another iTop, or if it was made for a merged contact.
    """
    contact_id = context.request.contact.id[:64]
    if not contact_id:
        return
    columns = _match_columns(context, person, evidence) | {"picked_at": None}
    stored = PersonMatch.objects.filter(workspace=context.workspace, contact_id=contact_id)
    replaceable = stored.exclude(how=PersonMatch.How.CHOSEN, itop=context.itop, merged_from="")
    if not replaceable.update(**columns):
        PersonMatch.objects.get_or_create(
            workspace=context.workspace, contact_id=contact_id, defaults=columns
        )


def _columns(person: Person) -> dict[str, Any]:
    """Return the columns of a match that are read from iTop each time."""
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
