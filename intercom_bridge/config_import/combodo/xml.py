"""Read the extension's parameters from iTop's XML data model.

Follows https://www.itophub.io/wiki/page?id=latest:customization:xml_reference (module parameters): an element's `type`
is string (the default), int, bool, hash or array. In a hash the key is the element's `id`, or else its name, because a
name cannot start with a digit. In an array the order counts. A document type declaration is refused, and with it every
entity that a file could declare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from intercom_bridge.config_import.values import ConfigError, SourceValue
from intercom_bridge.datamodel.safe_xml import XmlReader

from .source import MAX_DEPTH, MODULE


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    line: int
    children: list[_Element] = field(default_factory=list)
    text: str = ""

    @property
    def is_deleted(self) -> bool:
        """Return whether this removes an element from the data model instead of defining one."""
        return self.attributes.get("_delta", "").startswith("delete")

    def walk(self) -> Iterator[_Element]:
        yield self
        for child in self.children:
            yield from child.walk()


class _Reader(XmlReader):
    error = ConfigError
    max_depth = MAX_DEPTH

    def __init__(self) -> None:
        super().__init__()
        self.document = _Element("", {}, 0)
        self._open = [self.document]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = _Element(name, attributes, self.line)
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        self._open.pop()

    def text(self, text: str) -> None:
        self._open[-1].text += text


def read_parameters(data: bytes) -> Mapping[str | int, SourceValue]:
    """Return the extension's parameters. Raise ConfigError if there are none, or for invalid or unsafe XML."""
    reader = _Reader()
    reader.parse(data)
    elements = [
        element
        for element in reader.document.walk()
        if element.name == "parameters" and element.attributes.get("id") == MODULE
    ]
    if not elements:
        raise ConfigError(
            f'there is no <parameters id="{MODULE}"> in this file. Give the data model that contains it '
            "(<itop_design><module_parameters>...)."
        )
    if len(elements) > 1:
        raise ConfigError(
            f'<parameters id="{MODULE}"> occurs twice in this file. Remove one of them.', elements[1].line
        )
    parameters = elements[0]
    if parameters.is_deleted:
        raise ConfigError(
            f'_delta="{parameters.attributes["_delta"]}" deletes the parameters: there is nothing to import.',
            parameters.line,
        )
    return _read_hash(parameters)


def _read_value(element: _Element) -> SourceValue:
    kind = element.attributes.get("type", "hash" if element.children else "string")
    if kind == "hash":
        return SourceValue(_read_hash(element), element.line)
    if kind == "array":
        _reject_text(element)
        members = [_read_value(child) for child in element.children if not child.is_deleted]
        return SourceValue(dict(enumerate(members)), element.line)
    if element.children:
        raise ConfigError(
            f'<{element.name} type="{kind}"> contains elements. Write type="hash" or type="array".',
            element.line,
        )
    return SourceValue(_read_scalar(element, kind), element.line)


def _read_scalar(element: _Element, kind: str) -> str | int | bool:
    text = element.text.strip()
    if kind == "string":
        return text
    if kind == "bool":
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off", ""):
            return False
        raise ConfigError(f"<{element.name}> is neither true nor false.", element.line)
    if kind == "int":
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError(f"<{element.name}> is not a whole number.", element.line) from error
    raise ConfigError(
        f'<{element.name}> has the type "{kind}". Supported are string, int, bool, hash and array.',
        element.line,
    )


def _read_hash(element: _Element) -> dict[str | int, SourceValue]:
    _reject_text(element)
    members: dict[str | int, SourceValue] = {}
    for child in element.children:
        if child.is_deleted:
            continue
        key = child.attributes.get("id") or child.name
        if key in members:
            raise ConfigError(f"{key} occurs twice in <{element.name}>. Remove one of them.", child.line)
        members[key] = _read_value(child)
    return members


def _reject_text(element: _Element) -> None:
    if element.text.strip():
        raise ConfigError(f"<{element.name}> contains text where elements are expected.", element.line)
