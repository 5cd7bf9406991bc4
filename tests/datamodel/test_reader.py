"""What is read of the data model that iTop compiles."""

from __future__ import annotations

import io

import pytest

from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel import design as design_module
from intercom_bridge.datamodel.design import DataModelError
from intercom_bridge.datamodel.reader import DataModel, read_data_model

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
    """The attributes of a ticket class with these fields."""
    one = f'<class id="Job"><parent>Ticket</parent><fields>{inner}</fields></class>'
    return dict(read(design(TICKET, one)).classes["Job"].attributes)


# Which classes


def test_every_class_of_tickets_that_can_have_objects_is_learned() -> None:
    model = read(design())
    assert set(model.classes) == {"Repair", "LiftRepair"}
    assert set(model.names) == {"Ticket", "Repair", "LiftRepair", "Bench"}


def test_of_a_class_that_has_no_objects_only_the_descendants_are_learned() -> None:
    abstract = REPAIR.replace("<abstract>false", "<abstract>true", 1)
    assert set(read(design(TICKET, abstract)).classes) == {"LiftRepair"}
    ticket = TICKET.replace("<abstract>true", "<abstract>false")
    assert "Ticket" not in read(design(ticket, REPAIR)).classes


def test_a_named_class_is_learned_too_and_one_that_is_not_there_is_not() -> None:
    model = read(design(), "Bench", "Repair", "Boat")
    assert list(model.classes) == ["LiftRepair", "Repair", "Bench"]
    assert model.classes["Bench"].attributes["name"].labels == {"en": "Bench name", "it": "Nome"}


def test_the_languages_are_those_of_the_labels_of_what_was_learned() -> None:
    assert read(design()).languages == ("de", "en", "en-gb", "es", "fr")


def test_a_class_may_stand_within_its_parent_as_older_itops_write_it(lift_repair: TicketClass) -> None:
    assert "bench_id" in lift_repair.attributes
    assert "load" in lift_repair.attributes


def test_a_removed_class_is_not_there() -> None:
    gone = '<class id="Gone" _alteration="removed"><parent>Ticket</parent></class>'
    assert "Gone" not in read(design(TICKET, REPAIR, gone)).names


# Attributes


def test_attributes_are_inherited_and_the_nearest_class_decides(
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
def test_each_type_has_its_kind_and_its_limit(repair: TicketClass, code: str, kind: Kind, limit: int) -> None:
    assert (repair.attributes[code].kind, repair.attributes[code].limit) == (kind, limit)


def test_a_decimal_and_its_default(lift_repair: TicketClass) -> None:
    assert lift_repair.attributes["load"].kind is Kind.DECIMAL
    assert lift_repair.attributes["load"].default == "1.5"


def test_a_type_that_nobody_knows_can_not_be_asked_for() -> None:
    assert fields('<field id="x" xsi:type="AttributeHologram"/>')["x"].kind is Kind.OTHER


def test_an_external_key_says_where_it_points_and_what_its_choices_depend_on(repair: TicketClass) -> None:
    bench = repair.attributes["bench_id"]
    assert bench.target_class == "Bench"
    assert bench.filter == (
        "SELECT Bench WHERE wing_id = :this->wing_id AND (ISNULL(:this->hurry) OR hurry = :this->hurry)"
    )
    assert bench.depends_on == ("wing_id", "hurry")
    assert repair.attributes["caller_id"].filter == "SELECT Person WHERE org_id = :this->org_id"
    assert (repair.attributes["wing_id"].filter, repair.attributes["wing_id"].default) == ("", "")


def test_a_hierarchical_key_points_to_the_class_that_has_it(lift_repair: TicketClass) -> None:
    assert lift_repair.attributes["above_id"].target_class == "Repair"


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("stage", ["planned", "at work", "closed"]),  # by rank
        ("hurry", ["b", "a"]),  # as it stands in the file
        ("colour", ["g", "z", "r"]),  # by label: Apple, z, Zinnober
        ("origin", ["chat", "web"]),  # by code
    ],
)
def test_the_values_of_an_enum_have_the_order_of_the_data_model(
    repair: TicketClass, code: str, values: list[str]
) -> None:
    assert [one.code for one in repair.attributes[code].values] == values


# A new ticket


def test_what_may_not_be_empty_is_mandatory(repair: TicketClass) -> None:
    assert repair.attributes["title"].is_mandatory
    assert not repair.attributes["note"].is_mandatory


def test_the_flags_of_the_state_a_ticket_begins_in_count_too(repair: TicketClass) -> None:
    assert repair.attributes["caller_id"].is_mandatory
    assert repair.attributes["count"].is_read_only
    assert not repair.attributes["title"].is_read_only  # only when it is closed


def test_a_state_inherits_flags_but_not_of_what_it_names_itself(repair: TicketClass) -> None:
    assert repair.attributes["ref"].is_read_only
    assert repair.attributes["bench_id"].is_mandatory
    assert not repair.attributes["colour"].is_mandatory


def test_a_class_without_a_lifecycle_has_its_parent_s(lift_repair: TicketClass) -> None:
    assert lift_repair.attributes["bench_id"].is_mandatory


def test_states_that_inherit_from_each_other_are_read_all_the_same() -> None:
    circle = REPAIR.replace(
        '<state id="drawn">', '<state id="drawn"><inherit_flags_from>planned</inherit_flags_from>'
    )
    assert read(design(TICKET, circle)).classes["Repair"].attributes["bench_id"].is_mandatory


def test_the_state_attribute_of_older_itops_is_found() -> None:
    older = REPAIR.replace(
        "<fields_semantic><state_attribute>stage</state_attribute></fields_semantic>", ""
    ).replace("<lifecycle>", "<lifecycle><attribute>stage</attribute>")
    assert read(design(TICKET, older)).classes["Repair"].attributes["bench_id"].is_mandatory


def test_a_date_that_itop_computes_is_neither_shown_nor_missed(repair: TicketClass) -> None:
    assert (repair.attributes["seen"].default, repair.attributes["seen"].is_mandatory) == ("", False)
    assert repair.attributes["due"].default == "2026-01-31"


def test_what_another_enum_decides_cannot_be_written(repair: TicketClass) -> None:
    assert repair.attributes["mood"].is_read_only


# Labels


def test_labels_are_inherited_in_each_language_from_the_nearest_class(repair: TicketClass) -> None:
    assert repair.attributes["title"].labels == {"en": "Job", "fr": "Titre & objet", "de": "Titel"}


def test_what_is_not_translated_yet_or_empty_is_no_label(repair: TicketClass) -> None:
    assert repair.attributes["description"].labels == {"en": "Description"}


def test_values_have_labels(lift_repair: TicketClass) -> None:
    values = {one.code: one.labels for one in lift_repair.attributes["hurry"].values}
    assert values == {"a": {"en": "At once", "fr": "Tout de suite"}, "b": {"en": "Whenever"}}


def test_a_class_has_its_own_name_and_not_its_parent_s(repair: TicketClass, lift_repair: TicketClass) -> None:
    assert repair.labels == {"en": "Repair", "es": "Reparación"}
    assert lift_repair.labels == {"fr": "Réparation d'ascenseur"}


# The page


def test_details_are_in_the_order_of_itop_s_page(repair: TicketClass) -> None:
    assert repair.details == ("stage", "title", "wing_id", "bench_id", "public_log")


def test_a_class_without_a_page_has_its_parent_s(lift_repair: TicketClass) -> None:
    assert lift_repair.details == ("stage", "title", "wing_id", "bench_id", "public_log")


# What is refused

DOCTYPE = b'<!DOCTYPE itop_design [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>\n<itop_design>&b;</itop_design>'
EXTERNAL = b'<!DOCTYPE x SYSTEM "file:///etc/passwd">\n<itop_design/>'
ROUND = (
    '<class id="A"><parent>B</parent></class><class id="B"><parent>C</parent></class>'
    '<class id="C"><parent>B</parent></class>'
)


@pytest.mark.parametrize(
    ("data", "words"),
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
        (b'<?xml version="1.0" encoding="klingon"?><itop_design/>', "the encoding of this XML is not known"),
        (DOCTYPE, "Line 1: a DTD or an entity is declared here"),
        (EXTERNAL, "Line 1: a DTD or an entity is declared here"),
        (b"<itop_design>&nbsp;</itop_design>", "undefined entity"),
        (b"<itop_design>" + b"<a>" * 200, "nested too deep"),
        (b"<itop_design><module_parameters/></itop_design>", "there are no classes in this file"),
        (design(BENCH), "no class in this file descends from Ticket"),
        (design(REPAIR), "Ticket, a parent of LiftRepair, is not in this file: it is one module's part"),
        (design(TICKET, "<class><parent>Ticket</parent></class>"), "a <class> has no id"),
        (
            design(TICKET).replace(b"</itop_design>", f"<classes>{REPAIR}</classes></itop_design>".encode()),
            "LiftRepair stands after the dictionaries",
        ),
    ],
    ids=lambda one: one[:40] if isinstance(one, str) else "",
)
def test_what_is_no_data_model_is_refused_in_plain_words(data: bytes, words: str) -> None:
    with pytest.raises(DataModelError) as caught:
        read(data)
    assert words in str(caught.value)


def test_a_class_that_descends_from_itself_is_refused() -> None:
    with pytest.raises(DataModelError, match="its own parent's parent"):
        read(design(TICKET, REPAIR, ROUND), "A")


def test_a_file_larger_than_any_data_model_is_refused_before_it_is_read_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(design_module, "MAX_BYTES", 1024 * 1024)
    endless = io.BytesIO(b"<itop_design>" + b"<a/>" * 1_000_000)
    with pytest.raises(DataModelError, match="larger than 1 MB"):
        read_data_model(endless)
    assert endless.tell() < 1_200_000


def test_dictionaries_are_read_of_learned_classes_only() -> None:
    model = read(design(dictionaries=DICTIONARIES.replace('id="DE DE"', 'id=""')))
    assert model.languages == ("en", "en-gb", "es", "fr")
