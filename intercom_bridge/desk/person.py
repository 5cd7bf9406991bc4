"""Which iTop Person an Intercom contact is, and how we know."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from intercom_bridge.deadline import Deadline
from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import PersonMatch, Workspace
from itop_client import Client, ItopObject, quote

from .errors import NobodyFound

# Who a contact is costs no call for so long.
REMEMBERED_SECONDS = 600.0
MOST_CANDIDATES = 50

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Person:
    id: int
    name: str
    email: str
    org_id: int
    org_name: str
    how: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def who_is(
    contact: Contact, workspace: Workspace, client: Client, deadline: Deadline, wanted: tuple[str, ...]
) -> Person:
    """By the contact's itop_contact_id, else by e-mail if exactly one Person has it: one call, or none.

    `wanted` are further attributes to know of the person. Raises NobodyFound, ItopError.
    """
    return _remembered(contact, workspace, wanted) or _asked(contact, workspace, client, deadline, wanted)


def last_known(contact: Contact, workspace: Workspace, wanted: tuple[str, ...]) -> Person | None:
    """Who the contact was when iTop was last asked, however long ago that is. Asks nobody."""
    return _remembered(contact, workspace, wanted, seconds=None)


def _evidence(contact: Contact) -> str:
    """What a match is made from: another address on the contact makes it void."""
    attributes = contact.custom_attributes
    return "|".join(
        str(part)[:100]
        for part in (
            attributes.get("itop_contact_class") or "",
            attributes.get("itop_contact_id") or "",
            contact.email.strip().casefold(),
        )
    )


def _remembered(
    contact: Contact,
    workspace: Workspace,
    wanted: tuple[str, ...],
    seconds: float | None = REMEMBERED_SECONDS,
) -> Person | None:
    matches = PersonMatch.objects.filter(
        workspace=workspace, contact_id=contact.id[:64], evidence=_evidence(contact)
    )
    if seconds is not None:
        matches = matches.filter(matched_at__gte=timezone.now() - dt.timedelta(seconds=seconds))
    match = matches.first()
    if match is None or not set(wanted) <= set(match.attributes):
        return None
    return Person(
        id=match.person_id,
        name=match.name,
        email=match.email,
        org_id=match.org_id,
        org_name=match.org_name,
        how=match.how,
        attributes=match.attributes,
    )


def _asked(
    contact: Contact, workspace: Workspace, client: Client, deadline: Deadline, wanted: tuple[str, ...]
) -> Person:
    email = contact.email.strip()
    person_id = positive(contact.custom_attributes.get("itop_contact_id"))
    stated_class = str(contact.custom_attributes.get("itop_contact_class") or "Person")
    conditions = []
    if person_id and _CLASS.fullmatch(stated_class):
        conditions.append(f"p.id = {person_id}")
    if email:
        conditions.append(f"p.email = {quote(email)}")
    if not conditions:
        raise NobodyFound(0, email)
    found = client.get(
        "Person",
        f"SELECT Person AS p WHERE {' OR '.join(conditions)}",
        fields=("id", "friendlyname", "email", "org_id", "org_name", "status", *wanted),
        limit=MOST_CANDIDATES,
        deadline=deadline.remaining(),
    )
    classes = (stated_class,) if stated_class not in ("Person", "Contact") else ()
    by_id = [one for one in found if one.id == person_id and one.class_name in (classes or (one.class_name,))]
    if by_id:
        return _remember(contact, workspace, by_id[0], PersonMatch.How.ATTRIBUTES, wanted)
    # iTop compares as its database's collation does, where é equals e; an address is meant to the letter.
    by_email = [one for one in found if email and one.text("email").strip().casefold() == email.casefold()]
    if len(by_email) > 1:
        by_email = [one for one in by_email if one.text("status") != "inactive"] or by_email
    if len(by_email) != 1:
        raise NobodyFound(len(by_email), email)
    return _remember(contact, workspace, by_email[0], PersonMatch.How.EMAIL, wanted)


def _remember(
    contact: Contact, workspace: Workspace, found: ItopObject, how: str, wanted: tuple[str, ...]
) -> Person:
    person = Person(
        id=found.id,
        name=found.text("friendlyname"),
        email=found.text("email"),
        org_id=found.integer("org_id"),
        org_name=found.text("org_name"),
        how=how,
        attributes={code: found.text(code) for code in wanted},
    )
    if contact.id:
        PersonMatch.objects.update_or_create(
            workspace=workspace,
            contact_id=contact.id[:64],
            defaults={
                "evidence": _evidence(contact),
                "how": how,
                "person_id": person.id,
                "name": person.name[:255],
                "email": person.email[:320],
                "org_id": person.org_id,
                "org_name": person.org_name[:255],
                "attributes": dict(person.attributes),
                "matched_at": timezone.now(),
            },
        )
    return person


def positive(value: object) -> int:
    """The number that an id is, 0 for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
