"""A ticket class as JSON, as the row of a learned class holds it. What has its default is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from .attribute import Attribute, Kind, TicketClass, Value


def to_json(ticket_class: TicketClass) -> dict[str, Any]:
    """The class as what JSON can hold; `from_json` makes the same class of it again."""
    return {
        **_told(ticket_class),
        "attributes": [
            {
                **_told(one),
                "kind": one.kind.value,
                **({"values": [_told(value) for value in one.values]} if one.values else {}),
            }
            for one in ticket_class.attributes.values()
        ],
    }


def from_json(data: Mapping[str, Any]) -> TicketClass:
    """The class that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    attributes = [_attribute(one) for one in data["attributes"]]
    return TicketClass(
        name=data["name"],
        attributes={one.code: one for one in attributes},
        details=tuple(data.get("details", ())),
        labels=data.get("labels", {}),
    )


def _attribute(data: Mapping[str, Any]) -> Attribute:
    return Attribute(
        **{
            **data,
            "kind": Kind(data["kind"]),
            "values": tuple(Value(**one) for one in data.get("values", ())),
            "depends_on": tuple(data.get("depends_on", ())),
        }
    )


def _told(one: Any) -> dict[str, Any]:
    """The fields that differ from their default; tuples as lists."""
    told = {}
    for field in fields(one):
        value = getattr(one, field.name)
        if value != _default(field):
            told[field.name] = list(value) if isinstance(value, tuple) else value
    return told


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
