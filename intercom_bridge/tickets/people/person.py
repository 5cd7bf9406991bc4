"""A Person in iTop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intercom_bridge.models import PersonMatch
from itop_client import ItopObject

FIELDS = ("id", "friendlyname", "email", "org_id", "org_name", "status")


@dataclass(frozen=True, kw_only=True)
class Person:
    """A Person as iTop or a stored match describes it.

    how: how the contact was matched to this person, a value of PersonMatch.How. "" if the person is not matched.
    attributes: further attributes, by code, that the workspace's scope refers to.
    """

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
    def from_itop(cls, person: ItopObject, how: str = "", extra: tuple[str, ...] = ()) -> Person:
        """Build from an object that was queried with FIELDS and, if iTop has them, the `extra` attributes."""
        return cls(
            id=person.id,
            name=person.text("friendlyname"),
            email=person.text("email"),
            org_id=person.integer("org_id"),
            org_name=person.text("org_name"),
            how=how,
            is_active=person.text("status") != "inactive",
            attributes={code: person.text(code) for code in extra if code in person.fields},
        )

    @classmethod
    def from_match(cls, match: PersonMatch) -> Person:
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
