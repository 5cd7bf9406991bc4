from __future__ import annotations

import json

import pytest

from intercom_bridge.datamodel import Attribute, Kind, TicketClass, Value
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.serialization import from_json, to_json

EVERYTHING = TicketClass(
    name="Repair",
    attributes={
        "wing": Attribute(code="wing", kind=Kind.LINE),
        "bench_id": Attribute(
            code="bench_id",
            kind=Kind.KEY,
            labels={"en": "Bench", "fr": "Établi"},
            values=(Value(code="1", labels={"en": "One"}), Value(code="2")),
            is_mandatory=True,
            is_read_only=True,
            default="7",
            limit=255,
            target_class="Bench",
            filter="SELECT Bench WHERE wing = :this->wing",
            depends_on=("wing", "title"),
        ),
    },
    details=("bench_id", "wing"),
    labels={"en": "Repair"},
)


@pytest.mark.parametrize(
    "ticket_class", [EVERYTHING, *BUILTIN_CLASSES.values()], ids=lambda ticket_class: ticket_class.name
)
def test_a_class_survives_a_round_trip(ticket_class: TicketClass) -> None:
    assert from_json(json.loads(json.dumps(to_json(ticket_class)))) == ticket_class


def test_attributes_keep_their_order() -> None:
    assert list(from_json(json.loads(json.dumps(to_json(EVERYTHING)))).attributes) == ["wing", "bench_id"]


def test_default_values_are_omitted() -> None:
    assert to_json(EVERYTHING)["attributes"][0] == {"code": "wing", "kind": "line"}
