"""What a contact says of who it is: whom it can lead to, and what is left of an address without its tag."""

from __future__ import annotations

from typing import Any

import pytest

from intercom_bridge.desk.evidence import Evidence, positive, without_tag
from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import PersonMatch, Workspace
from itop_client import ItopObject

How = PersonMatch.How


def evidence(external_id_attribute: str = "", **contact: Any) -> Evidence:
    return Evidence.of(Contact(**contact), Workspace(external_id_attribute=external_id_attribute))


def person(number: int, email: str = "", class_name: str = "Person", **fields: str) -> ItopObject:
    return ItopObject(class_name, number, {"email": email, **fields})


@pytest.mark.parametrize(
    ("email", "box"),
    [
        ("jo+support@x.example", "jo@x.example"),
        ("jo+a+b@x.example", "jo@x.example"),
        ("jo+@x.example", "jo@x.example"),
        ("Jo+A@X.example", "Jo@X.example"),
        ("jo@x.example", ""),
        ("+support@x.example", ""),
        ("jo@x+y.example", ""),
        ('"jo+x"@x.example', ""),
        ("jo+support", ""),
        ("", ""),
    ],
)
def test_a_tag_ends_the_name_of_a_box(email: str, box: str) -> None:
    assert without_tag(email) == box


def test_nothing_leads_to_nobody() -> None:
    assert evidence().conditions("p") == []
    assert evidence(external_id="user-40").conditions("p") == []
    assert evidence("id", external_id="user-40").conditions("p") == []
    assert (
        evidence(custom_attributes={"itop_contact_id": "x", "itop_contact_class": "Person"}).conditions("p")
        == []
    )


def test_all_there_is_makes_one_condition_each() -> None:
    everything = evidence(
        "employee_number",
        external_id="o'40",
        email=" Jo+x@x.example ",
        custom_attributes={"itop_contact_id": 40.0},
    )
    assert everything.conditions("p") == [
        "p.id = 40",
        "p.employee_number = 'o\\'40'",
        "p.email = 'Jo+x@x.example'",
        "p.email = 'Jo@x.example'",
    ]


def test_each_kind_of_evidence_points_to_its_own_the_strongest_first() -> None:
    found = [
        person(40),
        person(41, employee_number="E1"),
        person(42, "JO@x.example"),
        person(43, "jo@x.example"),
    ]
    said = evidence(
        "employee_number",
        external_id="E1",
        email="jo+x@x.example",
        custom_attributes={"itop_contact_id": "40"},
    )
    assert said.findings(found) == [(How.ATTRIBUTES, {40}), (How.EXTERNAL_ID, {41}), (How.EMAIL, {42, 43})]
    assert said.findings([*found, person(44, "Jo+X@x.example")])[2] == (How.EMAIL, {44})


def test_what_itop_takes_for_the_same_and_is_not_leads_to_nobody() -> None:
    said = evidence("employee_number", external_id="E1", email="zoe@x.example")
    assert said.findings([person(40, "zoé@x.example", employee_number="é1")]) == []
    assert said.findings([person(40, employee_number="e1")]) == []


def test_a_person_of_another_class_than_was_stated_is_not_meant() -> None:
    stated = {"itop_contact_id": "40", "itop_contact_class": "Customer"}
    assert evidence(custom_attributes=stated).findings([person(40)]) == []
    found = [person(40, class_name="Customer")]
    assert evidence(custom_attributes=stated).findings(found) == [(How.ATTRIBUTES, {40})]


def test_any_other_evidence_reads_otherwise_and_fits_its_column() -> None:
    long = "x" * 500
    same = evidence("a", external_id=long, email=long, custom_attributes={"itop_contact_class": long})
    assert len(str(same)) <= PersonMatch._meta.get_field("evidence").max_length  # type: ignore[operator]
    others = [
        evidence(email="jo@x.example"),
        evidence(email="jo+x@x.example"),
        evidence("id", external_id="40"),
        evidence("a", external_id="40"),
        evidence("a", external_id="41"),
        evidence(custom_attributes={"itop_contact_id": "40"}),
        evidence(custom_attributes={"itop_contact_id": "40", "itop_contact_class": "Customer"}),
    ]
    assert len({str(one) for one in others}) == len(others)
    assert str(evidence(email="JO@x.example")) == str(others[0])


@pytest.mark.parametrize("value", [0, -1, "", None, "x", "1.5", 1.5, "٤", "1" * 19, []])
def test_what_is_no_id_is_none(value: object) -> None:
    assert positive(value) == 0
