from __future__ import annotations

import json

import pytest

from intercom_bridge.datamodel import Attribute, Kind, TicketClass, Value
from intercom_bridge.datamodel.stock import STOCK_CLASSES
from intercom_bridge.datamodel.stored import from_json, to_json

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


@pytest.mark.parametrize("ticket_class", [EVERYTHING, *STOCK_CLASSES.values()], ids=lambda one: one.name)
def test_a_class_comes_back_as_it_was(ticket_class: TicketClass) -> None:
    assert from_json(json.loads(json.dumps(to_json(ticket_class)))) == ticket_class


def test_attributes_keep_their_order() -> None:
    assert list(from_json(json.loads(json.dumps(to_json(EVERYTHING)))).attributes) == ["wing", "bench_id"]


def test_what_has_its_default_takes_no_room() -> None:
    assert to_json(EVERYTHING)["attributes"][0] == {"code": "wing", "kind": "line"}
