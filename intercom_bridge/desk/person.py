"""Which iTop Person an Intercom contact is, and how we know."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from intercom_bridge.deadline import Deadline
from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import ItopAnswer, PersonMatch, Workspace
from itop_client import Client, Found, ItopObject, UnknownAttribute

from .errors import NobodyFound, Why
from .evidence import Evidence

log = structlog.get_logger(__name__)

# Who a contact is costs no call for so long.
REMEMBERED_SECONDS = 600.0
MOST_CANDIDATES = 50
# That nobody was found costs no call for as long as a list of tickets; an admin may be making the person just now.
NOBODY_SECONDS = 20.0

FIELDS = ("id", "friendlyname", "email", "org_id", "org_name", "status")


@dataclass(frozen=True, kw_only=True)
class Person:
    id: int
    name: str
    email: str
    org_id: int
    org_name: str
    how: str
    picked_by: str = ""
    is_active: bool = True
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, found: ItopObject, how: str = "", wanted: tuple[str, ...] = ()) -> Person:
        """From an answer that holds FIELDS and what is `wanted` beside them."""
        return cls(
            id=found.id,
            name=found.text("friendlyname"),
            email=found.text("email"),
            org_id=found.integer("org_id"),
            org_name=found.text("org_name"),
            how=how,
            is_active=found.text("status") != "inactive",
            attributes={code: found.text(code) for code in wanted},
        )

    @classmethod
    def kept(cls, match: PersonMatch) -> Person:
        return cls(
            id=match.person_id,
            name=match.name,
            email=match.email,
            org_id=match.org_id,
            org_name=match.org_name,
            how=match.how,
            picked_by=match.picked_by,
            attributes=match.attributes,
        )


def who_is(
    contact: Contact, workspace: Workspace, client: Client, deadline: Deadline, wanted: tuple[str, ...]
) -> Person:
    """Whom a teammate picked; else the one person whom all that the contact says leads to: one call, or none.

    `wanted` are further attributes to know of the person. Raises NobodyFound, ItopError.
    """
    evidence = Evidence.of(contact, workspace)
    match = _match(workspace, contact)
    known = _known(match, evidence, wanted)
    since = timezone.now() - dt.timedelta(seconds=REMEMBERED_SECONDS)
    if match is not None and known is not None and match.matched_at >= since:
        return known
    if match is not None and match.is_chosen:
        return _chosen(match, client, deadline, wanted)
    _refuse_if_nobody_was_found_just_now(contact, workspace, evidence)
    try:
        person = _found(evidence, client, deadline, wanted)
    except NobodyFound as nobody:
        _remember_nobody(nobody, contact, workspace, evidence)
        raise
    _keep(person, workspace, contact, evidence)
    return person


def question_who(workspace: Workspace, contact_id: str) -> str:
    """What is kept about nobody having been found, and about whom it may be, begins like this."""
    return f"who is {contact_id} of workspace {workspace.pk}"


def _refuse_if_nobody_was_found_just_now(contact: Contact, workspace: Workspace, evidence: Evidence) -> None:
    """A lead that iTop does not know is looked at as often as a customer, and asks as little."""
    question = question_who(workspace, contact.id)
    answer = ItopAnswer.objects.fresh(workspace.itop, question, NOBODY_SECONDS) if contact.id else None
    if answer is not None and answer.value.get("evidence") == str(evidence):
        candidates = answer.value["candidates"]
        raise NobodyFound(Why[answer.value["why"]], email=evidence.email, candidates=candidates)


def _remember_nobody(nobody: NobodyFound, contact: Contact, workspace: Workspace, evidence: Evidence) -> None:
    if contact.id and nobody.why is not Why.NOTHING_TO_GO_BY:
        said = {"evidence": str(evidence), "why": nobody.why.name, "candidates": list(nobody.candidates)}
        ItopAnswer.objects.keep(workspace.itop, question_who(workspace, contact.id), said)


def last_known(contact: Contact, workspace: Workspace, wanted: tuple[str, ...]) -> Person | None:
    """Who the contact was when iTop was last asked, however long ago that is. Asks nobody."""
    return _known(_match(workspace, contact), Evidence.of(contact, workspace), wanted)


def _known(match: PersonMatch | None, evidence: Evidence, wanted: tuple[str, ...]) -> Person | None:
    """A pick, or what was found by the same evidence, with all that is wanted."""
    if match is None or not (match.is_chosen or match.evidence == str(evidence)):
        return None
    return Person.kept(match) if set(wanted) <= set(match.attributes) else None


def person_by_id(
    person_id: int, client: Client, deadline: Deadline, wanted: tuple[str, ...]
) -> ItopObject | None:
    found = client.get(
        "Person",
        f"SELECT Person AS p WHERE p.id = {person_id}",
        fields=(*FIELDS, *wanted),
        deadline=deadline.remaining(),
    )
    return next(iter(found), None)


def ask_anew(contact: Contact, workspace: Workspace) -> None:
    """Has iTop asked at once, whatever it just said: somebody may have been added, or moved."""
    ItopAnswer.objects.filter(answers_about(contact.id, workspace), itop=workspace.itop).delete()
    long_ago = timezone.now() - dt.timedelta(seconds=REMEMBERED_SECONDS)
    PersonMatch.objects.filter(
        workspace=workspace, contact_id=contact.id[:64], matched_at__gt=long_ago
    ).update(matched_at=long_ago)


def answers_about(contact_id: str, workspace: Workspace) -> Q:
    """What is kept about nobody having been found, and about whom it may be."""
    question = question_who(workspace, contact_id)
    return Q(question=question) | Q(question__startswith=f"{question},")


def pick(person: Person, contact: Contact, workspace: Workspace, teammate: str) -> Person:
    """Remembers, until somebody says otherwise, that the contact is this person.

    Picked once more, the person stays the choice of whoever picked them first.
    """
    if (standing := picked_as(person.id, contact, workspace)) is not None:
        known = replace(person, how=standing.how, picked_by=standing.picked_by)
        _picks(person.id, contact, workspace).update(**_columns(known))
        return known
    picked = replace(person, how=PersonMatch.How.CHOSEN, picked_by=teammate[:200])
    PersonMatch.objects.update_or_create(
        workspace=workspace,
        contact_id=contact.id[:64],
        defaults=_columns(picked)
        | {
            "itop": workspace.itop,
            "evidence": str(Evidence.of(contact, workspace)),
            "picked_by": picked.picked_by,
            "picked_at": timezone.now(),
        },
    )
    return picked


def picked_as(person_id: int, contact: Contact, workspace: Workspace) -> Person | None:
    """The person as a teammate picked them for the contact; None when nobody did."""
    match = _picks(person_id, contact, workspace).first()
    return Person.kept(match) if match is not None else None


def undo_pick(person_id: int, contact: Contact, workspace: Workspace) -> None:
    """Forgets that a teammate picked this person, if one did."""
    _picks(person_id, contact, workspace).delete()


def _picks(person_id: int, contact: Contact, workspace: Workspace) -> QuerySet[PersonMatch]:
    return PersonMatch.objects.filter(
        workspace=workspace,
        itop=workspace.itop,
        contact_id=contact.id[:64],
        how=PersonMatch.How.CHOSEN,
        person_id=person_id,
    )


def _match(workspace: Workspace, contact: Contact) -> PersonMatch | None:
    return PersonMatch.objects.filter(
        workspace=workspace, itop=workspace.itop, contact_id=contact.id[:64]
    ).first()


def _chosen(match: PersonMatch, client: Client, deadline: Deadline, wanted: tuple[str, ...]) -> Person:
    """The person who was picked, as iTop knows them now."""
    found = person_by_id(match.person_id, client, deadline, wanted)
    if found is None:
        raise NobodyFound(
            Why.GONE, name=match.name, picked_by=match.picked_by, picked_at=match.picked_at, email=match.email
        )
    person = replace(Person.of(found, match.how, wanted), picked_by=match.picked_by)
    # Unless somebody has picked another one meanwhile.
    PersonMatch.objects.filter(pk=match.pk, how=PersonMatch.How.CHOSEN, person_id=match.person_id).update(
        **_columns(person)
    )
    return person


def _found(evidence: Evidence, client: Client, deadline: Deadline, wanted: tuple[str, ...]) -> Person:
    """The one person in whom all the evidence meets."""
    if not evidence.conditions("p"):
        raise NobodyFound(Why.NOTHING_TO_GO_BY)
    found, evidence = _ask(evidence, client, deadline, wanted)
    findings = evidence.findings(found)
    if not findings:
        raise NobodyFound(Why.UNKNOWN, email=evidence.email)
    everybody = set[int]().union(*(ids for _how, ids in findings))
    fitting = everybody.intersection(*(ids for _how, ids in findings))
    if not fitting:
        raise NobodyFound(Why.CONTRADICTION, email=evidence.email, candidates=everybody)
    people = [Person.of(one, findings[0][0], wanted) for one in found if one.id in fitting]
    if len(people) > 1:
        people = [person for person in people if person.is_active] or people
    if len(people) > 1:
        raise NobodyFound(Why.SEVERAL, email=evidence.email, candidates=(one.id for one in people))
    return people[0]


def _ask(
    evidence: Evidence, client: Client, deadline: Deadline, wanted: tuple[str, ...]
) -> tuple[Found, Evidence]:
    """Whom any of the evidence leads to, and the evidence that could be asked for."""
    fields = dict.fromkeys((*FIELDS, *wanted, evidence.external_attribute or "id"))
    try:
        found = client.get(
            "Person",
            f"SELECT Person AS p WHERE {' OR '.join(evidence.conditions('p'))}",
            fields=tuple(fields),
            limit=MOST_CANDIDATES,
            deadline=deadline.remaining(),
        )
    except UnknownAttribute as refusal:
        # A workspace that names an attribute which this iTop lacks costs that evidence, not the panel.
        if not evidence.external_attribute or refusal.attribute != evidence.external_attribute:
            raise
        log.warning("person.no_such_attribute", attribute=refusal.attribute)
        rest = replace(evidence, external_id="", external_attribute="")
        if not rest.conditions("p"):
            raise NobodyFound(Why.NOTHING_TO_GO_BY) from refusal
        return _ask(rest, client, deadline, wanted)
    return found, evidence


def _keep(person: Person, workspace: Workspace, contact: Contact, evidence: Evidence) -> None:
    if not contact.id:
        return
    columns = _columns(person) | {
        "itop": workspace.itop,
        "evidence": str(evidence),
        "picked_by": "",
        "picked_at": None,
    }
    rows = PersonMatch.objects.filter(workspace=workspace, contact_id=contact.id[:64])
    # What a teammate has picked meanwhile, in this iTop, stands.
    if not rows.exclude(how=PersonMatch.How.CHOSEN, itop=workspace.itop).update(**columns):
        PersonMatch.objects.get_or_create(workspace=workspace, contact_id=contact.id[:64], defaults=columns)


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
    }
