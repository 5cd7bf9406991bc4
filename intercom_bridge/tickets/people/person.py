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
    """`how` is a PersonMatch.How value, or "" for a candidate. `attributes` are those that a scope asks for."""

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
    def from_itop(cls, found: ItopObject, how: str = "", extra: tuple[str, ...] = ()) -> Person:
        """Build from an object that was queried with FIELDS and the `extra` attributes; iTop may lack some of those."""
        return cls(
            id=found.id,
            name=found.text("friendlyname"),
            email=found.text("email"),
            org_id=found.integer("org_id"),
            org_name=found.text("org_name"),
            how=how,
            is_active=found.text("status") != "inactive",
            attributes={code: found.text(code) for code in extra if code in found.fields},
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
