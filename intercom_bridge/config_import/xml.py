"""iTop's XML data model: <module_parameters><parameters id="combodo-intercom-integration"> ... read as Nodes.

Follows https://www.itophub.io/wiki/page?id=latest:customization:xml_reference (module parameters): an element's
`type` is string (default), int, bool, hash or array; in a hash the element's name is the key, or its `id` where
it has one, since a name can start with no digit; in an array the order counts. A DTD, and with it every entity
that a file could declare, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from intercom_bridge.safe_xml import safe_parser

from .source import MAX_DEPTH, MODULE, ConfigError, Node


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    line: int
    children: list[_Element] = field(default_factory=list)
    text: str = ""


def read_parameters(data: bytes) -> Mapping[str | int, Node]:
    """The parameters of our module. Raises ConfigError when there are none, or when it is not XML that is safe."""
    found = [element for element in _walk(_parse(data)) if _is_ours(element)]
    if not found:
        raise ConfigError(
            f'there is no <parameters id="{MODULE}"> in this file. Give the data model that holds it '
            "(<itop_design><module_parameters>...)."
        )
    if len(found) > 1:
        raise ConfigError(
            f'<parameters id="{MODULE}"> stands in the file twice. Keep the one that counts.', found[1].line
        )
    if found[0].attributes.get("_delta", "").startswith("delete"):
        raise ConfigError(
            f'_delta="{found[0].attributes["_delta"]}" deletes the parameters: there is nothing to import.',
            found[0].line,
        )
    children = _hash(found[0]).children
    return children or {}


def _is_ours(element: _Element) -> bool:
    return element.name == "parameters" and element.attributes.get("id") == MODULE


def _walk(root: _Element) -> list[_Element]:
    found, todo = [], [root]
    while todo:
        element = todo.pop()
        found.append(element)
        todo.extend(reversed(element.children))
    return found


def _node(element: _Element) -> Node:
    kind = element.attributes.get("type", "hash" if element.children else "string")
    if kind == "hash":
        return _hash(element)
    if kind == "array":
        _refuse_text(element)
        return Node({index: _node(child) for index, child in enumerate(_kept(element))}, element.line)
    if element.children:
        raise ConfigError(
            f'<{element.name} type="{kind}"> holds elements. Write type="hash" or type="array".', element.line
        )
    text = element.text.strip()
    if kind == "string":
        return Node(text, element.line)
    if kind == "bool":
        if text.lower() in ("true", "1", "yes", "on"):
            return Node(True, element.line)
        if text.lower() in ("false", "0", "no", "off", ""):
            return Node(False, element.line)
        raise ConfigError(f"<{element.name}> is neither true nor false.", element.line)
    if kind == "int":
        try:
            return Node(int(text), element.line)
        except ValueError as error:
            raise ConfigError(f"<{element.name}> is not a whole number.", element.line) from error
    raise ConfigError(
        f'<{element.name}> has the type "{kind}". Known are string, int, bool, hash and array.', element.line
    )


def _hash(element: _Element) -> Node:
    _refuse_text(element)
    members: dict[str | int, Node] = {}
    for child in _kept(element):
        key = child.attributes.get("id") or child.name
        if key in members:
            raise ConfigError(f"{key} stands in <{element.name}> twice. Keep one of them.", child.line)
        members[key] = _node(child)
    return Node(members, element.line)


def _kept(element: _Element) -> list[_Element]:
    """The members, without those that a delta takes out of the data model."""
    return [one for one in element.children if not one.attributes.get("_delta", "").startswith("delete")]


def _refuse_text(element: _Element) -> None:
    if element.text.strip():
        raise ConfigError(f"<{element.name}> holds text where elements are expected.", element.line)


def _parse(data: bytes) -> _Element:
    top = _Element("", {}, 0)
    stack = [top]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise ConfigError("the elements are nested too deep.", parser.CurrentLineNumber)
        element = _Element(name, attributes, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: object) -> NoReturn:
        raise ConfigError(
            "a DTD or an entity is declared here. A data model needs none, so it is not read.",
            parser.CurrentLineNumber,
        )

    parser = safe_parser(start=start, end=end, text=text, refuse=refuse)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ConfigError(
            f"this is not well-formed XML: {expat.ErrorString(error.code)}.", error.lineno
        ) from error
    except (ValueError, LookupError) as error:  # what expat says to an encoding that Python cannot give it
        raise ConfigError("the encoding of this XML is not known. Save it as UTF-8 and try again.") from error
    return top.children[0]
