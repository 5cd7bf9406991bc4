"""A profile held against a class of the data model."""

from __future__ import annotations

import io
from typing import Any

import pytest

from intercom_bridge.datamodel import TicketClass
from intercom_bridge.datamodel.fit import Fit
from intercom_bridge.datamodel.reader import read_data_model
from intercom_bridge.datamodel.stock import STOCK_CLASSES
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


def test_a_profile_that_fits_has_no_mistakes_and_lacks_nothing(repair: TicketClass) -> None:
    fit = Fit(profile(), repair)
    assert fit.mistakes() == {}
    assert fit.lacking() == []


@pytest.mark.parametrize("name", ["UserRequest", "Incident"])
def test_a_new_profile_fits_the_stock_classes(name: str) -> None:
    fit = Fit(TicketProfile(name="Stock", ticket_class=name), STOCK_CLASSES[name])
    mistakes = dict(fit.mistakes())
    if name == "Incident":
        assert mistakes.pop("excluded_states") == ["Incident has no state rejected."]
    assert mistakes == {}
    assert fit.lacking() == []


@pytest.mark.parametrize(
    ("fields", "at", "words"),
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
            "parts_list is of a type that a form cannot",
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
            "In the order of iTop's own page: stage, wing_id, bench_id.",
        ),
        ({"subtitle_attribute": "titel"}, "subtitle_attribute", "no attribute titel. Did you mean title?"),
        (
            {"excluded_states": ["close"]},
            "excluded_states",
            "Repair has no state close. Did you mean closed?",
        ),
        (
            {"attributes_mapping": {}},
            "attributes_mapping",
            "Repair has no attribute status. Say here which one is its status.",
        ),
        (
            {"attributes_mapping": {"status": "stage", "intercom_ref": "intercom"}},
            "attributes_mapping",
            "has no attribute intercom. Say here which one is its intercom_ref.",
        ),
    ],
)
def test_what_does_not_fit_is_said_at_its_field(
    repair: TicketClass, fields: dict[str, Any], at: str, words: str
) -> None:
    mistakes = Fit(profile(**fields), repair).mistakes()
    assert list(mistakes) == [at]
    assert words in " ".join(mistakes[at])


def test_what_itop_adds_to_every_class_can_be_shown(repair: TicketClass) -> None:
    shown = ["finalclass", "bench_id_friendlyname", "parts_list", "clock"]
    assert Fit(profile(details_attributes=shown), repair).mistakes() == {}
    assert "details_attributes" in Fit(profile(details_attributes=["note_friendlyname"]), repair).mistakes()


def test_a_form_lacks_what_a_new_ticket_needs_and_nobody_gives(repair: TicketClass) -> None:
    # Not stage and hurry, which have defaults; nor org_id and caller_id, which the bridge fills in.
    assert Fit(profile(form_attributes=["title"]), repair).lacking() == ["description", "wing_id", "bench_id"]


def test_what_does_not_fit_is_replaced_by_what_does_and_the_rest_is_left(repair: TicketClass) -> None:
    one = profile(
        form_attributes=["count", "title", "service_id"],
        details_attributes=["stage", "service_id"],
        subtitle_attribute="summary",
        excluded_states=["rejected", "closed"],
    )
    changed = Fit(one, repair).adapt()
    assert changed == ["form_attributes", "details_attributes", "subtitle_attribute", "excluded_states"]
    assert one.form_attributes == ["count", "title", "description", "wing_id", "bench_id"]
    assert one.details_attributes == ["stage", "wing_id", "bench_id"]
    assert one.subtitle_attribute == "title"
    assert one.excluded_states == ["closed"]
    assert Fit(one, repair).mistakes() == {}


def test_a_profile_that_fits_is_left_as_it_is(repair: TicketClass) -> None:
    one = profile()
    assert Fit(one, repair).adapt() == []
    assert one.form_attributes == FITTING["form_attributes"]


def test_a_class_without_a_page_shows_its_attributes_in_their_order(repair: TicketClass) -> None:
    pageless = TicketClass(name="Repair", attributes=repair.attributes)
    assert Fit(profile(), pageless).details()[:3] == ["ref", "description", "stage"]
    assert len(Fit(profile(), pageless).details()) == 12


def test_a_default_stands_for_a_field_that_the_form_lacks(repair: TicketClass) -> None:
    asked = [code for code in FITTING["form_attributes"] if code != "wing_id"]
    assert Fit(profile(form_attributes=asked), repair).lacking() == ["wing_id"]
    assert Fit(profile(form_attributes=asked, defaults={"wing_id": "3"}), repair).lacking() == []


def test_a_default_for_an_attribute_that_there_is_not_is_a_mistake(repair: TicketClass) -> None:
    (sentence,) = Fit(profile(defaults={"bench": "3"}), repair).mistakes()["defaults"]
    assert "bench_id" in sentence
