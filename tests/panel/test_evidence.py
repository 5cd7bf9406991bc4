"""The evidence of a contact: the iTop people it can match, and addresses without their tags."""

from __future__ import annotations

from typing import Any

import pytest

from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import PersonMatch, Workspace
from intercom_bridge.tickets.people.evidence import Evidence, parse_id, without_tag
from itop_client import ItopObject

How = PersonMatch.How


def evidence(external_id_attribute: str = "", **contact: Any) -> Evidence:
    return Evidence.of(Contact(**contact), Workspace(external_id_attribute=external_id_attribute))


def person(number: int, email: str = "", class_name: str = "Person", **fields: str) -> ItopObject:
    return ItopObject(class_name, number, {"email": email, **fields})


@pytest.mark.parametrize(
    ("email", "mailbox"),
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
def test_the_tag_of_an_address_is_removed(email: str, mailbox: str) -> None:
    assert without_tag(email) == mailbox


def test_a_contact_without_evidence_produces_no_conditions() -> None:
    assert evidence().conditions("p") == []
    assert evidence(external_id="user-40").conditions("p") == []
    assert evidence("id", external_id="user-40").conditions("p") == []
    assert (
        evidence(custom_attributes={"itop_contact_id": "x", "itop_contact_class": "Person"}).conditions("p")
        == []
    )


def test_each_piece_of_evidence_produces_one_condition() -> None:
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


def test_findings_are_grouped_by_method_strongest_first() -> None:
    found = [
        person(40),
        person(41, employee_number="E1"),
        person(42, "JO@x.example"),
        person(43, "jo@x.example"),
    ]
    contact_evidence = evidence(
        "employee_number",
        external_id="E1",
        email="jo+x@x.example",
        custom_attributes={"itop_contact_id": "40"},
    )
    assert contact_evidence.findings(found) == [
        (How.ATTRIBUTES, {40}),
        (How.EXTERNAL_ID, {41}),
        (How.EMAIL, {42, 43}),
    ]
    assert contact_evidence.findings([*found, person(44, "Jo+X@x.example")])[2] == (How.EMAIL, {44})


def test_values_that_only_itops_collation_considers_equal_do_not_match() -> None:
    contact_evidence = evidence("employee_number", external_id="E1", email="zoe@x.example")
    assert contact_evidence.findings([person(40, "zoé@x.example", employee_number="é1")]) == []
    assert contact_evidence.findings([person(40, employee_number="e1")]) == []


def test_a_person_of_a_different_class_does_not_match() -> None:
    stated = {"itop_contact_id": "40", "itop_contact_class": "Customer"}
    assert evidence(custom_attributes=stated).findings([person(40)]) == []
    found = [person(40, class_name="Customer")]
    assert evidence(custom_attributes=stated).findings(found) == [(How.ATTRIBUTES, {40})]


def test_different_evidence_has_a_different_text_that_fits_its_column() -> None:
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
    assert len({str(other) for other in others}) == len(others)
    assert str(evidence(email="JO@x.example")) == str(others[0])


@pytest.mark.parametrize("value", [0, -1, "", None, "x", "1.5", 1.5, "٤", "1" * 19, []])
def test_an_invalid_id_is_parsed_as_zero(value: object) -> None:
    assert parse_id(value) == 0
