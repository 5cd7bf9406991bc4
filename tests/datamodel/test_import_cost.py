"""Reading a data model takes linear time: four times as much of anything takes about four times as long."""

from __future__ import annotations

import io
import time

import pytest

from intercom_bridge.datamodel import safe_xml, xml_reader, xml_stream
from intercom_bridge.datamodel.xml_reader import read_data_model
from intercom_bridge.datamodel.xml_stream import DataModelError
from tests.cases.cost import takes_linear_time

from .design_file import DICTIONARIES, TICKET, design

LENGTH = 30_000
# Copying the flags of all previous states is cheap: it takes more of them to see it.
LENGTHS = {"states that inherit flags": 400_000, "nested classes": 10_000}
JOB = '<class id="Job"><parent>Ticket</parent>'
LIFECYCLE = (
    "<properties><fields_semantic><state_attribute>stage</state_attribute></fields_semantic></properties>"
    '<fields><field id="stage"><default_value>s0</default_value></field></fields><lifecycle><states>'
)
STATE = (
    '<state id="s%d"><flags><attribute id="a%d"><x/></attribute></flags>'
    "<inherit_flags_from>s%n</inherit_flags_from></state>"
)
FIELDS = '<field id="x"/>' * 50

# The text before, the repeated text, and the text after it, within <classes>. %d is replaced with the number of
# the repetition, and %n with the next one.
PATTERNS: dict[str, tuple[str, str, str]] = {
    "parents that follow": ("", '<class id="C%d"><parent>C%n</parent></class>', f"{JOB}</class>"),
    "parents that precede": ("", '<class id="C%n"><parent>C%d</parent></class>', f"{JOB}</class>"),
    "heirs": (f"{JOB}<fields>{FIELDS}</fields></class>", '<class id="C%d"><parent>Job</parent></class>', ""),
    "nested classes": (JOB, '<class id="C%d"/>', "</class>"),
    "the same class": ("", f"{JOB}</class>", ""),
    "small elements": (JOB, "<x/>", "</class>"),
    "small elements elsewhere": (f"{JOB}</class></classes>", "<x/>", "<classes>"),
    "fields": (f"{JOB}<fields>", '<field id="f%d"/>', "</fields></class>"),
    "values": (
        f'{JOB}<fields><field id="x" xsi:type="AttributeEnum"><values>',
        '<value id="%d"/>',
        "</values></field></fields></class>",
    ),
    "states that inherit flags": (f"{JOB}{LIFECYCLE}", STATE, "</states></lifecycle></class>"),
    "details": (
        f"{JOB}<presentation><details><items>",
        '<item id="a%d"/>',
        "</items></details></presentation></class>",
    ),
    "attributes of XML": (f"{JOB}<x", ' a%d=""', "/></class>"),
    "a long attribute": (f'{JOB}<x a="', "xxxxxxxxxx", '"/></class>'),
    "pieces of text": (f"{JOB}<parent>", "&amp;<!-- -->", "</parent></class>"),
}


def seconds(pattern: str, length: int) -> float:
    before, repeated, behind = PATTERNS[pattern]
    texts = (
        repeated.replace("%d", str(number)).replace("%n", str(number + 1))
        for number in range(length // len(repeated))
    )
    stream = io.BytesIO(design(TICKET, before, *texts, behind))
    start = time.process_time()
    try:
        model = read_data_model(stream)
    except DataModelError as error:
        assert "has more than 100 ancestors" in str(error)
    else:
        assert "Job" in model.classes
    return time.process_time() - start


@pytest.mark.parametrize("pattern", PATTERNS)
def test_time_grows_linearly(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setattr(xml_reader, "MAX_CLASSES", 10**9)
    monkeypatch.setattr(xml_reader, "MAX_MERGE_COST", 10**9)
    length = LENGTHS.get(pattern, LENGTH)
    assert takes_linear_time(lambda factor: seconds(pattern, factor * length))


def chain(number: int) -> bytes:
    """Return a data model in which each class but the first is the abstract parent of the previous one."""
    parents = [f"C{index}" for index in range(1, number)]
    abstract = "<properties><abstract>true</abstract></properties>"
    return design(
        TICKET,
        '<class id="C0"><parent>C1</parent></class>',
        *(
            f'<class id="{name}"><parent>{parent}</parent>{abstract}</class>'
            for name, parent in zip(parents, [*parents[1:], "Ticket"], strict=True)
        ),
    )


def test_a_long_chain_of_parents_is_read() -> None:
    # Above C0 are 98 other classes, Ticket and cmdbAbstractObject, which is not in the file.
    assert set(read_data_model(io.BytesIO(chain(99))).classes) == {"C0"}


@pytest.mark.parametrize("number", [100, 101, 900])
def test_a_longer_chain_is_refused(number: int) -> None:
    with pytest.raises(DataModelError, match=r"the class C\d+ has more than 100 ancestors. Choose iTop's"):
        read_data_model(io.BytesIO(chain(number)))


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(DataModelError, match="the file has more than 1,000 classes"):
        read_data_model(io.BytesIO(design(TICKET, f"{JOB}</class>" * 1_000)))


def test_a_million_elements_are_refused_early() -> None:
    start = time.process_time()
    with pytest.raises(DataModelError, match="more than 500,000 elements; a data model has about 100,000"):
        read_data_model(io.BytesIO(design(TICKET, JOB, "<x/>" * 1_000_000, "</class>")))
    assert time.process_time() - start < 6


def test_classes_that_inherit_too_much_are_refused() -> None:
    fields = "".join(f'<field id="f{number}"/>' for number in range(5_000))
    heirs = "".join(f'<class id="C{number}"><parent>Job</parent></class>' for number in range(500))
    start = time.process_time()
    with pytest.raises(DataModelError, match="the ticket classes inherit more than those of any iTop"):
        read_data_model(io.BytesIO(design(TICKET, f"{JOB}<fields>{fields}</fields></class>", heirs)))
    assert time.process_time() - start < 3


def test_too_many_languages_are_refused() -> None:
    many = "".join(f'<dictionary id="{number}"/>' for number in range(xml_stream.MAX_LANGUAGES))
    with pytest.raises(DataModelError, match="the file has more than 50 languages"):
        read_data_model(
            io.BytesIO(design(dictionaries=DICTIONARIES.replace("</dictionaries>", f"{many}</dictionaries>")))
        )


def test_the_limits_are_well_above_a_real_file() -> None:
    assert safe_xml.MAX_ELEMENTS >= 4 * 102_304
    assert xml_reader.MAX_CLASSES >= 4 * 112
    assert xml_reader.MAX_MERGE_COST >= 50 * 9_048
    assert xml_stream.MAX_BYTES >= 3 * 9_454_725
