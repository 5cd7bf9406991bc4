"""The XML reader of config_import, and the recognition of formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from intercom_bridge.config_import import ConfigError, Source, read_file
from intercom_bridge.config_import.combodo.xml import read_parameters

from .plain_values import without_lines


def parameters_of(members: str) -> dict[object, object]:
    """Return what the reader makes of the members of <parameters>."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<itop_design version="3.1">\n<module_parameters>\n'
        f'<parameters id="combodo-intercom-integration" _delta="define">\n{members}\n</parameters>\n'
        "</module_parameters>\n</itop_design>"
    )
    return {key: without_lines(value) for key, value in read_parameters(xml.encode()).items()}


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<a>text</a>", {"a": "text"}),
        ('<a type="string"> text </a>', {"a": "text"}),
        ("<a><![CDATA[SELECT A WHERE x < 'y' & z]]></a>", {"a": "SELECT A WHERE x < 'y' & z"}),
        ("<a>SELECT A WHERE b &lt; 1 AND c = &quot;d&quot;</a>", {"a": 'SELECT A WHERE b < 1 AND c = "d"'}),
        (
            "<sync_app.ticket.class>UserRequest</sync_app.ticket.class>",
            {"sync_app.ticket.class": "UserRequest"},
        ),
        (
            '<a type="int">12</a><b type="bool">true</b><c type="bool">false</c>',
            {"a": 12, "b": True, "c": False},
        ),
        ('<a type="array"><x>one</x><x id="9">two</x></a>', {"a": {0: "one", 1: "two"}}),
        ('<a type="hash"><x>one</x><y>two</y></a>', {"a": {"x": "one", "y": "two"}}),
        ("<a><x>one</x></a>", {"a": {"x": "one"}}),
        ('<a type="hash"><w id="8bcd1234">one</w></a>', {"a": {"8bcd1234": "one"}}),
        ("<a/>", {"a": ""}),
        ('<a type="array"/><b type="hash"/>', {"a": {}, "b": {}}),
        ('<a>1</a><b _delta="delete"/>', {"a": "1"}),
        ("<!-- <a>1</a> --><b>2</b>", {"b": "2"}),
    ],
)
def test_values_are_read_by_their_type(xml: str, expected: object) -> None:
    assert parameters_of(xml) == expected


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ('<a type="int">x</a>', "Line 5: <a> is not a whole number"),
        ('<a type="bool">maybe</a>', "neither true nor false"),
        ('<a type="float">1</a>', 'has the type "float"'),
        ('<a type="string"><b>1</b></a>', "contains elements"),
        ('<a type="hash">text</a>', "contains text where elements are expected"),
        ('<a type="hash"><b>1</b>text</a>', "contains text where elements are expected"),
        ("<a>1</a>\n<a>2</a>", "Line 6: a occurs twice in <parameters>"),
        ("<a>", "Line 6: this is not well-formed XML"),
        ("<a>" * 60 + "</a>" * 60, "nested too deep"),
        ("<a>&unknown;</a>", "undefined entity"),
    ],
)
def test_invalid_values_are_refused_with_a_message(xml: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parameters_of(xml)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        "<!DOCTYPE x>",
    ],
)
def test_a_dtd_is_refused_whatever_it_declares(dtd: str) -> None:
    xml = f'<?xml version="1.0"?>\n{dtd}\n<parameters id="combodo-intercom-integration"><a>1</a></parameters>'
    with pytest.raises(ConfigError, match="Line 2: a DTD or an entity is declared here"):
        read_parameters(xml.encode())


def test_a_data_model_without_the_module_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no <parameters id="):
        read_parameters(
            b'<itop_design><module_parameters><parameters id="x"/></module_parameters></itop_design>'
        )


def test_parameters_that_a_delta_deletes_are_not_imported() -> None:
    with pytest.raises(ConfigError, match="deletes the parameters"):
        read_parameters(b'<a><parameters id="combodo-intercom-integration" _delta="delete"/></a>')


def test_the_same_parameters_twice_are_refused() -> None:
    parameters = '<parameters id="combodo-intercom-integration"><a>1</a></parameters>'
    with pytest.raises(ConfigError, match="occurs twice in this file"):
        read_parameters(f"<x>{parameters}{parameters}</x>".encode())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<?php\n'combodo-intercom-integration' => array('a' => 'php');", "php"),
        (b"\xef\xbb\xbf'combodo-intercom-integration' => array('a' => 'php')", "php"),
        (b"\n <parameters id='combodo-intercom-integration'><a>xml</a></parameters>", "xml"),
        (
            b"\xef\xbb\xbf<?xml version='1.0'?><parameters id='combodo-intercom-integration'><a>xml</a></parameters>",
            "xml",
        ),
        ("<parameters id='combodo-intercom-integration'><a>xml</a></parameters>".encode("utf-16"), "xml"),
    ],
    ids=["php", "php with BOM", "xml", "xml with BOM", "xml in UTF-16"],
)
def test_the_format_is_recognised_by_the_content(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "file.txt"
    file.write_bytes(content)
    source = read_file(file)
    assert isinstance(source, Source)
    assert without_lines(source.parameters["a"]) == expected


def test_a_file_in_another_encoding_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.php"
    file.write_bytes(b"<?php\n// caf\xe9\n")
    with pytest.raises(ConfigError, match="Line 2: the file is not UTF-8"):
        read_file(file)


def test_the_message_for_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.php cannot be read: No such file"):
        read_file(tmp_path / "nowhere.php")
