"""ProfileCheck: a ticket profile compared with a class of the data model."""

from __future__ import annotations

import io
from typing import Any

import pytest

from intercom_bridge.datamodel import TicketClass
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.profile_check import ProfileCheck
from intercom_bridge.datamodel.xml_reader import read_data_model
from intercom_bridge.models import TicketProfile

from .design_file import design

FITTING: dict[str, Any] = {
    "name": "Repairs",
    "ticket_class": "Repair",
    "attributes_mapping": {"status": "stage"},
    "form_attributes": ["title", "description", "wing_id", "bench_id"],
    "excluded_states": ["closed"],
    "subtitle_attribute": "title",
    "details_attributes": ["stage", "bench_id"],
}


@pytest.fixture(scope="module")
def repair() -> TicketClass:
    return read_data_model(io.BytesIO(design())).classes["Repair"]


def profile(**fields: Any) -> TicketProfile:
    return TicketProfile(**{**FITTING, **fields})


def test_a_fitting_profile_has_no_mistakes_and_no_missing_attributes(repair: TicketClass) -> None:
    check = ProfileCheck(profile(), repair)
    assert check.mistakes() == {}
    assert check.missing() == []


@pytest.mark.parametrize("name", ["UserRequest", "Incident"])
def test_a_new_profile_fits_the_built_in_classes(name: str) -> None:
    check = ProfileCheck(TicketProfile(name="Stock", ticket_class=name), BUILTIN_CLASSES[name])
    mistakes = dict(check.mistakes())
    if name == "Incident":
        assert mistakes.pop("excluded_states") == ["Incident has no state rejected."]
    assert mistakes == {}
    assert check.missing() == []


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        (
            {"form_attributes": ["title", "wing"]},
            "form_attributes",
            "Repair has no attribute wing. Did you mean wing_id?",
        ),
        (
            {"form_attributes": ["title", "qqq"]},
            "form_attributes",
            "Repair has no attribute qqq. A form that",
        ),
        (
            {"form_attributes": ["title", "parts_list"]},
            "form_attributes",
            "parts_list has a type that cannot be a form field",
        ),
        ({"form_attributes": ["title", "public_log"]}, "form_attributes", "public_log is a log"),
        ({"form_attributes": ["friendlyname"]}, "form_attributes", "Repair has no attribute friendlyname."),
        (
            {"form_attributes": ["parts_list", "title", "nope"]},
            "form_attributes",
            "A form that fits: title, description, wing_id, bench_id.",
        ),
        (
            {"details_attributes": ["stage", "statge"]},
            "details_attributes",
            "Repair has no attribute statge. Did you mean stage?",
        ),
        (
            {"details_attributes": ["nope"]},
            "details_attributes",
            "Attributes that fit, in the order of iTop's page: stage, wing_id, bench_id.",
        ),
        ({"subtitle_attribute": "titel"}, "subtitle_attribute", "no attribute titel. Did you mean title?"),
        (
            {"excluded_states": ["close"]},
            "excluded_states",
            "Repair has no state close. Did you mean closed?",
        ),
        ({"attributes_mapping": {}}, "attributes_mapping", "Repair has no attribute status. Map status to"),
        (
            {"attributes_mapping": {"status": "stage", "intercom_ref": "intercom"}},
            "attributes_mapping",
            "has no attribute intercom. Map intercom_ref to",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value and " " not in value else "",
)
def test_a_mistake_is_reported_at_its_field(
    repair: TicketClass, fields: dict[str, Any], field: str, text: str
) -> None:
    mistakes = ProfileCheck(profile(**fields), repair).mistakes()
    assert list(mistakes) == [field]
    assert text in " ".join(mistakes[field])


def test_attributes_that_itop_adds_to_every_class_are_valid_details(repair: TicketClass) -> None:
    codes = ["finalclass", "bench_id_friendlyname", "parts_list", "clock"]
    assert ProfileCheck(profile(details_attributes=codes), repair).mistakes() == {}
    assert (
        "details_attributes"
        in ProfileCheck(profile(details_attributes=["note_friendlyname"]), repair).mistakes()
    )


def test_a_mandatory_attribute_without_a_value_is_missing(repair: TicketClass) -> None:
    # stage and hurry have defaults; the bridge fills in org_id and caller_id.
    assert ProfileCheck(profile(form_attributes=["title"]), repair).missing() == [
        "description",
        "wing_id",
        "bench_id",
    ]


def test_autofill_replaces_only_codes_that_do_not_fit(repair: TicketClass) -> None:
    changing = profile(
        form_attributes=["count", "title", "service_id"],
        details_attributes=["stage", "service_id"],
        subtitle_attribute="summary",
        excluded_states=["rejected", "closed"],
    )
    changed = ProfileCheck(changing, repair).autofill()
    assert changed == ["form_attributes", "details_attributes", "subtitle_attribute", "excluded_states"]
    assert changing.form_attributes == ["count", "title", "description", "wing_id", "bench_id"]
    assert changing.details_attributes == ["stage", "wing_id", "bench_id"]
    assert changing.subtitle_attribute == "title"
    assert changing.excluded_states == ["closed"]
    assert ProfileCheck(changing, repair).mistakes() == {}


def test_autofill_leaves_a_fitting_profile_unchanged(repair: TicketClass) -> None:
    fitting = profile()
    assert ProfileCheck(fitting, repair).autofill() == []
    assert fitting.form_attributes == FITTING["form_attributes"]


def test_details_of_a_class_without_a_page_are_its_attributes(repair: TicketClass) -> None:
    pageless = TicketClass(name="Repair", attributes=repair.attributes)
    assert ProfileCheck(profile(), pageless).details()[:3] == ["ref", "description", "stage"]
    assert len(ProfileCheck(profile(), pageless).details()) == 12


def test_a_default_replaces_a_form_field(repair: TicketClass) -> None:
    form = [code for code in FITTING["form_attributes"] if code != "wing_id"]
    assert ProfileCheck(profile(form_attributes=form), repair).missing() == ["wing_id"]
    assert ProfileCheck(profile(form_attributes=form, defaults={"wing_id": "3"}), repair).missing() == []


def test_a_default_for_an_unknown_attribute_is_a_mistake(repair: TicketClass) -> None:
    (sentence,) = ProfileCheck(profile(defaults={"bench": "3"}), repair).mistakes()["defaults"]
    assert "bench_id" in sentence


@pytest.mark.parametrize(
    ("defaults", "sentence"),
    [
        (
            {"urgency": "9"},
            "urgency has no value “9”. Its values: 1 (Critical), 2 (High), 3 (Medium), 4 (Low).",
        ),
        ({"urgency": 9}, "urgency has no value “9”."),
        ({"service_id": "Printing"}, "service_id needs the ID of a Service, a number, not “Printing”."),
        ({"service_id": 0}, "service_id needs the ID of a Service"),
        (
            {"start_date": "tomorrow"},
            "start_date needs a date and time, like 2026-12-31 23:59:00, not “tomorrow”.",
        ),
        ({"title": "x" * 256}, "title can have at most 255 characters; its default has 256."),
        ({"urgensy": "1"}, "UserRequest has no attribute urgensy. Did you mean urgency?"),
    ],
)
def test_default_values_are_checked(defaults: dict[str, Any], sentence: str) -> None:
    stock = TicketProfile(name="Stock", defaults=defaults)
    mistakes = ProfileCheck(stock, BUILTIN_CLASSES["UserRequest"]).mistakes()
    assert list(mistakes) == ["defaults"]
    assert len(mistakes["defaults"]) == 1
    assert mistakes["defaults"][0].startswith(sentence)


@pytest.mark.parametrize(
    "defaults",
    [
        {"urgency": 1},
        {"urgency": "4", "service_id": 12},
        {"start_date": "2026-12-31"},
        {"title": "x" * 255},
        {},
    ],
)
def test_allowed_default_values_are_no_mistakes(defaults: dict[str, Any]) -> None:
    stock = TicketProfile(name="Stock", defaults=defaults)
    assert ProfileCheck(stock, BUILTIN_CLASSES["UserRequest"]).mistakes() == {}
