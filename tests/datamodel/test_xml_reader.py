"""Read iTop's compiled data model."""

from __future__ import annotations

import io

import pytest

from intercom_bridge.datamodel import Attribute, Kind, TicketClass, xml_stream
from intercom_bridge.datamodel.xml_reader import DataModel, read_data_model
from intercom_bridge.datamodel.xml_stream import DataModelError

from .design_file import BENCH, DICTIONARIES, REPAIR, TICKET, design


def read(data: bytes, *also: str) -> DataModel:
    return read_data_model(io.BytesIO(data), also)


@pytest.fixture(scope="module")
def repair() -> TicketClass:
    return read(design()).classes["Repair"]


@pytest.fixture(scope="module")
def lift_repair() -> TicketClass:
    return read(design()).classes["LiftRepair"]


def fields(inner: str) -> dict[str, Attribute]:
    """Return the attributes of a ticket class with these fields."""
    job = f'<class id="Job"><parent>Ticket</parent><fields>{inner}</fields></class>'
    return dict(read(design(TICKET, job)).classes["Job"].attributes)


# Which classes


def test_every_concrete_ticket_class_is_read() -> None:
    model = read(design())
    assert set(model.classes) == {"Repair", "LiftRepair"}
    assert set(model.names) == {"Ticket", "Repair", "LiftRepair", "Bench"}


def test_an_abstract_class_is_skipped_but_its_descendants_are_read() -> None:
    abstract = REPAIR.replace("<abstract>false", "<abstract>true", 1)
    assert set(read(design(TICKET, abstract)).classes) == {"LiftRepair"}
    ticket = TICKET.replace("<abstract>true", "<abstract>false")
    assert "Ticket" not in read(design(ticket, REPAIR)).classes


def test_a_named_class_is_read_if_the_file_contains_it() -> None:
    model = read(design(), "Bench", "Repair", "Boat")
    assert list(model.classes) == ["LiftRepair", "Repair", "Bench"]
    assert model.classes["Bench"].attributes["name"].labels == {"en": "Bench name", "it": "Nome"}


def test_the_languages_are_those_of_the_labels() -> None:
    assert read(design()).languages == ("de", "en", "en-gb", "es", "fr")


def test_a_class_nested_in_its_parent_is_read(lift_repair: TicketClass) -> None:
    assert "bench_id" in lift_repair.attributes
    assert "load" in lift_repair.attributes


def test_a_removed_class_is_ignored() -> None:
    gone = '<class id="Gone" _alteration="removed"><parent>Ticket</parent></class>'
    assert "Gone" not in read(design(TICKET, REPAIR, gone)).names


# Attributes


def test_attributes_are_inherited_from_the_nearest_class(
    repair: TicketClass, lift_repair: TicketClass
) -> None:
    assert (repair.attributes["note"].kind, repair.attributes["note"].default) == (Kind.TEXT, "none")
    assert (lift_repair.attributes["note"].kind, lift_repair.attributes["note"].is_mandatory) == (
        Kind.LINE,
        True,
    )
    assert list(lift_repair.attributes)[:3] == ["ref", "org_id", "caller_id"]
    assert "old_code" not in repair.attributes


@pytest.mark.parametrize(
    ("code", "kind", "limit"),
    [
        ("ref", Kind.LINE, 255),
        ("description", Kind.HTML, 65535),
        ("note", Kind.TEXT, 65535),
        ("story", Kind.HTML, 0),
        ("page", Kind.HTML, 65535),
        ("manual", Kind.LINE, 2048),
        ("count", Kind.INTEGER, 0),
        ("due", Kind.DATE, 0),
        ("seen", Kind.DATETIME, 0),
        ("stage", Kind.ENUM, 0),
        ("mood", Kind.ENUM, 0),
        ("bench_id", Kind.KEY, 0),
        ("above_id", Kind.KEY, 0),
        ("public_log", Kind.LOG, 0),
        ("parts_list", Kind.OTHER, 0),
        ("clock", Kind.OTHER, 0),
    ],
)
def test_each_attribute_type_has_a_kind_and_a_limit(
    repair: TicketClass, code: str, kind: Kind, limit: int
) -> None:
    assert (repair.attributes[code].kind, repair.attributes[code].limit) == (kind, limit)


def test_a_decimal_has_a_default(lift_repair: TicketClass) -> None:
    assert lift_repair.attributes["load"].kind is Kind.DECIMAL
    assert lift_repair.attributes["load"].default == "1.5"


def test_an_unknown_attribute_type_is_not_editable() -> None:
    assert fields('<field id="x" xsi:type="AttributeHologram"/>')["x"].kind is Kind.OTHER


def test_an_external_key_has_a_target_a_filter_and_dependencies(repair: TicketClass) -> None:
    bench = repair.attributes["bench_id"]
    assert bench.target_class == "Bench"
    assert bench.filter == (
        "SELECT Bench WHERE wing_id = :this->wing_id AND (ISNULL(:this->hurry) OR hurry = :this->hurry)"
    )
    assert bench.depends_on == ("wing_id", "hurry")
    assert repair.attributes["caller_id"].filter == "SELECT Person WHERE org_id = :this->org_id"
    assert (repair.attributes["wing_id"].filter, repair.attributes["wing_id"].default) == ("", "")


def test_a_hierarchical_key_points_to_its_own_class(lift_repair: TicketClass) -> None:
    assert lift_repair.attributes["above_id"].target_class == "Repair"


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("stage", ["planned", "at work", "closed"]),  # by rank
        ("hurry", ["b", "a"]),  # file order
        ("colour", ["g", "z", "r"]),  # by label: Apple, z, Zinnober
        ("origin", ["chat", "web"]),  # by code
    ],
)
def test_enum_values_are_sorted_as_the_data_model_says(
    repair: TicketClass, code: str, values: list[str]
) -> None:
    assert [value.code for value in repair.attributes[code].values] == values


# A new ticket


def test_an_attribute_that_may_not_be_null_is_mandatory(repair: TicketClass) -> None:
    assert repair.attributes["title"].is_mandatory
    assert not repair.attributes["note"].is_mandatory


def test_flags_of_the_initial_state_apply(repair: TicketClass) -> None:
    assert repair.attributes["caller_id"].is_mandatory
    assert repair.attributes["count"].is_read_only
    assert not repair.attributes["title"].is_read_only  # only when it is closed


def test_a_state_inherits_flags_of_attributes_it_does_not_list(repair: TicketClass) -> None:
    assert repair.attributes["ref"].is_read_only
    assert repair.attributes["bench_id"].is_mandatory
    assert not repair.attributes["colour"].is_mandatory


def test_a_class_without_a_lifecycle_has_its_parents(lift_repair: TicketClass) -> None:
    assert lift_repair.attributes["bench_id"].is_mandatory


def test_a_cycle_of_states_is_tolerated() -> None:
    circle = REPAIR.replace(
        '<state id="drawn">', '<state id="drawn"><inherit_flags_from>planned</inherit_flags_from>'
    )
    assert read(design(TICKET, circle)).classes["Repair"].attributes["bench_id"].is_mandatory


def test_the_state_attribute_of_older_itops_is_found() -> None:
    older = REPAIR.replace(
        "<fields_semantic><state_attribute>stage</state_attribute></fields_semantic>", ""
    ).replace("<lifecycle>", "<lifecycle><attribute>stage</attribute>")
    assert read(design(TICKET, older)).classes["Repair"].attributes["bench_id"].is_mandatory


def test_a_computed_date_is_neither_a_default_nor_mandatory(repair: TicketClass) -> None:
    assert (repair.attributes["seen"].default, repair.attributes["seen"].is_mandatory) == ("", False)
    assert repair.attributes["due"].default == "2026-01-31"


def test_a_meta_enum_is_read_only(repair: TicketClass) -> None:
    assert repair.attributes["mood"].is_read_only


# Labels


def test_labels_are_inherited_in_each_language_from_the_nearest_class(repair: TicketClass) -> None:
    assert repair.attributes["title"].labels == {"en": "Job", "fr": "Titre & objet", "de": "Titel"}


def test_untranslated_and_empty_labels_are_omitted(repair: TicketClass) -> None:
    assert repair.attributes["description"].labels == {"en": "Description"}


def test_values_have_labels(lift_repair: TicketClass) -> None:
    values = {value.code: value.labels for value in lift_repair.attributes["hurry"].values}
    assert values == {"a": {"en": "At once", "fr": "Tout de suite"}, "b": {"en": "Whenever"}}


def test_a_class_label_is_not_inherited(repair: TicketClass, lift_repair: TicketClass) -> None:
    assert repair.labels == {"en": "Repair", "es": "Reparación"}
    assert lift_repair.labels == {"fr": "Réparation d'ascenseur"}


# The page


def test_details_are_in_page_order(repair: TicketClass) -> None:
    assert repair.details == ("stage", "title", "wing_id", "bench_id", "public_log")


def test_a_class_without_a_page_has_its_parents(lift_repair: TicketClass) -> None:
    assert lift_repair.details == ("stage", "title", "wing_id", "bench_id", "public_log")


# Invalid files

DOCTYPE = b'<!DOCTYPE itop_design [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>\n<itop_design>&b;</itop_design>'
EXTERNAL = b'<!DOCTYPE x SYSTEM "file:///etc/passwd">\n<itop_design/>'
CYCLE = (
    '<class id="A"><parent>B</parent></class><class id="B"><parent>C</parent></class>'
    '<class id="C"><parent>B</parent></class>'
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the file is empty"),
        (
            b"<html><body/></html>",
            "Line 1: this is not a data model: it begins with <html>, not <itop_design>",
        ),
        (b"$MySettings = array();", "Line 1: this is not well-formed XML"),
        (design()[:4000], "the file ends here, in the middle of the data model"),
        (design() + b"<more/>", "not well-formed XML: junk after document element"),
        (b"<itop_design><classes></itop_design>", "mismatched tag"),
        (b"\x00\x01\x02\x03" * 50, "not well-formed XML"),
        (b'<?xml version="1.0" encoding="klingon"?><itop_design/>', "the encoding of this XML is unknown"),
        (DOCTYPE, "Line 1: a DTD or an entity is declared here"),
        (EXTERNAL, "Line 1: a DTD or an entity is declared here"),
        (b"<itop_design>&nbsp;</itop_design>", "undefined entity"),
        (b"<itop_design>" + b"<a>" * 200, "nested too deep"),
        (b"<itop_design><module_parameters/></itop_design>", "there are no classes in this file"),
        (design(BENCH), "no class in this file descends from Ticket"),
        (
            design(REPAIR),
            "Ticket, an ancestor of LiftRepair, is not in this file: the file belongs to a single module",
        ),
        (design(TICKET, "<class><parent>Ticket</parent></class>"), "a <class> has no id"),
        (
            design(TICKET).replace(b"</itop_design>", f"<classes>{REPAIR}</classes></itop_design>".encode()),
            "LiftRepair comes after the dictionaries",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_an_invalid_file_is_rejected(data: bytes, text: str) -> None:
    with pytest.raises(DataModelError) as caught:
        read(data)
    assert text in str(caught.value)


def test_a_cycle_of_parents_is_rejected() -> None:
    with pytest.raises(DataModelError, match="its own ancestor"):
        read(design(TICKET, REPAIR, CYCLE), "A")


def test_a_file_that_is_too_large_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_stream, "MAX_BYTES", 1024 * 1024)
    endless = io.BytesIO(b"<itop_design>" + b"<a/>" * 1_000_000)
    with pytest.raises(DataModelError, match="larger than 1 MB"):
        read_data_model(endless)
    assert endless.tell() < 1_200_000


def test_a_dictionary_without_a_language_is_ignored() -> None:
    model = read(design(dictionaries=DICTIONARIES.replace('id="DE DE"', 'id=""')))
    assert model.languages == ("en", "en-gb", "es", "fr")
