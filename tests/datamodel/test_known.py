"""What is known of a class of tickets, with an imported data model and without one."""

from __future__ import annotations

import pytest
from django.utils import translation
from pytest_django import DjangoAssertNumQueries

from intercom_bridge import labels
from intercom_bridge.datamodel import Attribute, Kind, TicketClass, Value
from intercom_bridge.datamodel.known import attribute_label, class_label, ticket_class_of, value_label
from intercom_bridge.datamodel.stock import STOCK_CLASSES
from intercom_bridge.datamodel.stored import to_json
from intercom_bridge.models import ItopInstance, LearnedClass
from intercom_bridge.models.ticket_profile import TicketProfile

REPAIR = TicketClass(
    name="Repair",
    attributes={
        "urgency": Attribute(
            code="urgency",
            kind=Kind.ENUM,
            labels={"en": "Hurry", "fr": "Urgence"},
            values=(
                Value(code="1", labels={"en": "Now"}),
                Value(code="2"),
                Value(code="x"),
            ),
        ),
        "team_id": Attribute(code="team_id", kind=Kind.KEY, labels={"pt-br": "Equipe"}),
        "wing": Attribute(code="wing", kind=Kind.LINE, labels={"de": "Flügel"}),
    },
    labels={"en": "Repair order", "fr": "Ordre de réparation"},
)


@pytest.fixture
def itop(db: None) -> ItopInstance:
    return ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t0ken")


def test_an_imported_class_is_what_its_data_model_says(
    itop: ItopInstance, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    LearnedClass.objects.create(itop=itop, name="Repair", definition=to_json(REPAIR), file_name="a.xml")
    with django_assert_num_queries(1):
        assert ticket_class_of(itop, "Repair") == REPAIR


def test_an_imported_user_request_hides_the_stock_one_of_its_own_itop_only(itop: ItopInstance) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    own = TicketClass(name="UserRequest", attributes={"title": Attribute(code="title", kind=Kind.LINE)})
    LearnedClass.objects.create(itop=itop, name="UserRequest", definition=to_json(own), file_name="a.xml")
    assert ticket_class_of(itop, "UserRequest") == own
    assert ticket_class_of(other, "UserRequest") == STOCK_CLASSES["UserRequest"]


def test_of_any_other_class_nothing_is_known(itop: ItopInstance) -> None:
    assert ticket_class_of(itop, "Repair") == TicketClass(name="Repair", attributes={})


def test_the_stock_class_says_what_a_form_has_to_ask() -> None:
    stock = STOCK_CLASSES["UserRequest"]
    title, description = stock.attributes["title"], stock.attributes["description"]
    assert (title.kind, title.is_mandatory, title.limit) == (Kind.LINE, True, 255)
    assert (description.kind, description.is_mandatory) == (Kind.HTML, True)
    service, subcategory = stock.attributes["service_id"], stock.attributes["servicesubcategory_id"]
    assert (service.kind, service.target_class, service.depends_on) == (Kind.KEY, "Service", ("org_id",))
    assert "cc.org_id = :this->org_id" in service.filter
    assert subcategory.depends_on == ("service_id", "request_type")
    assert ":this->service_id" in subcategory.filter
    assert "ISNULL(:this->request_type)" in subcategory.filter
    assert stock.attributes["public_log"].kind is Kind.LOG
    assert stock.attributes["priority"].is_read_only


def test_stock_classes_have_what_a_new_profile_asks_for_and_shows() -> None:
    profile = TicketProfile()
    for stock in STOCK_CLASSES.values():
        codes = {*profile.form_attributes, *profile.details_attributes, profile.subtitle_attribute}
        assert codes <= set(stock.attributes)
        assert set(stock.details) <= set(stock.attributes)


def test_stock_enums_have_the_values_that_are_named_in_the_panel_s_languages() -> None:
    for code, choices in labels.CHOICES.items():
        values = STOCK_CLASSES["UserRequest"].attributes[code].values
        assert [one.code for one in values] == list(choices)
    assert "request_type" not in STOCK_CLASSES["Incident"].attributes


@pytest.mark.parametrize(
    ("language", "code", "label"),
    [
        ("fr", "urgency", "Urgence"),  # learned, in the language
        ("en", "urgency", "Hurry"),
        ("de", "urgency", "Hurry"),  # learned, in English
        ("en-gb", "urgency", "Hurry"),
        ("pt-br", "team_id", "Equipe"),
        ("pt", "team_id", "Equipe"),  # of another country, but in the language
        ("en", "team_id", "Team"),  # nobody has said it in English: as in stock iTop
        ("en", "wing", "Wing"),  # nor does stock iTop have it: the code, readable
        ("en", "not_there_id", "Not there"),
    ],
)
def test_an_attribute_is_called_what_the_data_model_calls_it(language: str, code: str, label: str) -> None:
    with translation.override(language):
        assert attribute_label(REPAIR, code) == label


@pytest.mark.parametrize(
    ("value", "label"),
    [("1", "Now"), ("2", "High"), ("x", "x"), ("gone", "gone")],
)
def test_a_value_is_called_what_the_data_model_calls_it(value: str, label: str) -> None:
    with translation.override("en"):
        assert value_label(REPAIR, "urgency", value) == label


def test_a_value_of_an_attribute_that_is_not_known_stays_as_it_is() -> None:
    assert value_label(REPAIR, "colour", "red") == "red"


def test_without_a_language_labels_are_english() -> None:
    with translation.override(None):
        assert attribute_label(REPAIR, "urgency") == "Hurry"


def test_a_class_is_called_what_the_data_model_calls_it() -> None:
    with translation.override("fr"):
        assert class_label(REPAIR) == "Ordre de réparation"
    assert class_label(STOCK_CLASSES["Incident"]) == "Incident"
