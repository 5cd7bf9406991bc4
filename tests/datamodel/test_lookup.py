"""Look up ticket classes and labels, with and without an imported data model."""

from __future__ import annotations

import pytest
from django.utils import translation
from pytest_django import DjangoAssertNumQueries

from intercom_bridge.datamodel import Attribute, Kind, TicketClass, Value, builtin_labels
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.lookup import attribute_label, class_label, ticket_class_of, value_label
from intercom_bridge.datamodel.serialization import to_json
from intercom_bridge.models import ImportedClass, ItopInstance
from intercom_bridge.models.ticket_profile import TicketProfile

REPAIR = TicketClass(
    name="Repair",
    attributes={
        "urgency": Attribute(
            code="urgency",
            kind=Kind.ENUM,
            labels={"en": "Hurry", "fr": "Urgence"},
            values=(Value(code="1", labels={"en": "Now"}), Value(code="2"), Value(code="x")),
        ),
        "team_id": Attribute(code="team_id", kind=Kind.KEY, labels={"pt-br": "Equipe"}),
        "wing": Attribute(code="wing", kind=Kind.LINE, labels={"de": "Flügel"}),
    },
    labels={"en": "Repair order", "fr": "Ordre de réparation"},
)


@pytest.fixture
def itop(db: None) -> ItopInstance:
    return ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t0ken")


def test_an_imported_class_is_found_with_one_query(
    itop: ItopInstance, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ImportedClass.objects.create(itop=itop, name="Repair", definition=to_json(REPAIR), file_name="a.xml")
    with django_assert_num_queries(1):
        assert ticket_class_of(itop, "Repair") == REPAIR


def test_an_imported_class_replaces_the_built_in_one_for_its_itop_only(itop: ItopInstance) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    own = TicketClass(name="UserRequest", attributes={"title": Attribute(code="title", kind=Kind.LINE)})
    ImportedClass.objects.create(itop=itop, name="UserRequest", definition=to_json(own), file_name="a.xml")
    assert ticket_class_of(itop, "UserRequest") == own
    assert ticket_class_of(other, "UserRequest") == BUILTIN_CLASSES["UserRequest"]


def test_an_unknown_class_has_no_attributes(itop: ItopInstance) -> None:
    assert ticket_class_of(itop, "Repair") == TicketClass(name="Repair", attributes={})


def test_the_built_in_class_describes_its_form_fields() -> None:
    built_in = BUILTIN_CLASSES["UserRequest"]
    title, description = built_in.attributes["title"], built_in.attributes["description"]
    assert (title.kind, title.is_mandatory, title.limit) == (Kind.LINE, True, 255)
    assert (description.kind, description.is_mandatory) == (Kind.HTML, True)
    service, subcategory = built_in.attributes["service_id"], built_in.attributes["servicesubcategory_id"]
    assert (service.kind, service.target_class, service.depends_on) == (Kind.KEY, "Service", ("org_id",))
    assert "cc.org_id = :this->org_id" in service.filter
    assert subcategory.depends_on == ("service_id", "request_type")
    assert ":this->service_id" in subcategory.filter
    assert "ISNULL(:this->request_type)" in subcategory.filter
    assert built_in.attributes["public_log"].kind is Kind.LOG
    assert built_in.attributes["priority"].is_read_only


def test_built_in_classes_have_the_attributes_of_a_new_profile() -> None:
    profile = TicketProfile()
    for built_in in BUILTIN_CLASSES.values():
        codes = {*profile.form_attributes, *profile.details_attributes, profile.subtitle_attribute}
        assert codes <= set(built_in.attributes)
        assert set(built_in.details) <= set(built_in.attributes)


def test_built_in_enums_have_the_translated_values() -> None:
    for code, choices in builtin_labels.CHOICES.items():
        values = BUILTIN_CLASSES["UserRequest"].attributes[code].values
        assert [value.code for value in values] == list(choices)
    assert "request_type" not in BUILTIN_CLASSES["Incident"].attributes


@pytest.mark.parametrize(
    ("language", "code", "label"),
    [
        ("fr", "urgency", "Urgence"),  # imported, in the language
        ("en", "urgency", "Hurry"),
        ("de", "urgency", "Hurry"),  # imported, in English
        ("en-gb", "urgency", "Hurry"),
        ("pt-br", "team_id", "Equipe"),
        ("pt", "team_id", "Equipe"),  # another country's variant of the language
        ("en", "team_id", "Team"),  # no English label: the built-in one
        ("en", "wing", "Wing"),  # unknown to a standard iTop: made from the code
        ("en", "not_there_id", "Not there"),
    ],
)
def test_an_attribute_label_comes_from_the_data_model(language: str, code: str, label: str) -> None:
    with translation.override(language):
        assert attribute_label(REPAIR, code) == label


@pytest.mark.parametrize(("value", "label"), [("1", "Now"), ("2", "High"), ("x", "x"), ("gone", "gone")])
def test_a_value_label_comes_from_the_data_model(value: str, label: str) -> None:
    with translation.override("en"):
        assert value_label(REPAIR, "urgency", value) == label


def test_a_value_of_an_unknown_attribute_is_unchanged() -> None:
    assert value_label(REPAIR, "colour", "red") == "red"


def test_labels_are_english_when_no_language_is_active() -> None:
    with translation.override(None):
        assert attribute_label(REPAIR, "urgency") == "Hurry"


def test_a_class_label_comes_from_the_data_model() -> None:
    with translation.override("fr"):
        assert class_label(REPAIR) == "Ordre de réparation"
    assert class_label(BUILTIN_CLASSES["Incident"]) == "Incident"
