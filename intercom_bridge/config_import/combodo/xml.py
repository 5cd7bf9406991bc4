"""Read the extension's parameters from iTop's XML data model.

Follows https://www.itophub.io/wiki/page?id=latest:customization:xml_reference (module parameters). An element's `type`
is string (the default), int, bool, hash or array. The key of a member of a hash is the element's `id`, or its name if
it has no `id`: an element's name cannot start with a digit. The members of an array have no keys.

A document type declaration is refused. So a file cannot declare entities, which could expand to a huge size.
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, TreeBuilder

from intercom_bridge.config_import.values import MAX_DEPTH, MODULE, ConfigError, SourceValue, parse_boolean
from intercom_bridge.datamodel.safe_xml import XmlReader

# The attribute in which we store an element's line. A name with spaces cannot occur in a file.
_LINE = "line of the file"


class _Reader(XmlReader):
    """Builds elements that have their line as an attribute."""

    error = ConfigError
    max_depth = MAX_DEPTH

    def __init__(self) -> None:
        super().__init__()
        self.builder = TreeBuilder()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.builder.start(name, {**attributes, _LINE: str(self.line)})

    def end(self, name: str) -> None:
        self.builder.end(name)

    def text(self, text: str) -> None:
        self.builder.data(text)


def read_parameters(data: bytes) -> Mapping[str | int, SourceValue]:
    """Return the extension's parameters. Raise ConfigError if there are none, or if the XML is invalid or unsafe."""
    reader = _Reader()
    reader.parse(data)
    document = reader.builder.close()
    elements = [element for element in document.iter("parameters") if element.get("id") == MODULE]
    if not elements:
        raise ConfigError(
            f'there is no <parameters id="{MODULE}"> in this file. Use the data model that contains this element '
            "(<itop_design><module_parameters>...)."
        )
    if len(elements) > 1:
        raise _error(
            f'<parameters id="{MODULE}"> occurs twice in this file. Remove one of them.', elements[1]
        )
    parameters = elements[0]
    if _is_deleted(parameters):
        raise _error(
            f'_delta="{parameters.get("_delta")}" deletes the parameters: there is nothing to import.',
            parameters,
        )
    return _read_hash(parameters)


def _read_value(element: Element) -> SourceValue:
    kind = element.get("type", "hash" if len(element) else "string")
    if kind == "hash":
        return SourceValue(_read_hash(element), _line(element))
    if kind == "array":
        _reject_text(element)
        members = [_read_value(child) for child in element if not _is_deleted(child)]
        return SourceValue(dict(enumerate(members)), _line(element))
    if len(element):
        raise _error(
            f'<{element.tag} type="{kind}"> contains elements. Write type="hash" or type="array".', element
        )
    return SourceValue(_read_scalar(element, kind), _line(element))


def _read_scalar(element: Element, kind: str) -> str | int | bool:
    text = (element.text or "").strip()
    if kind == "string":
        return text
    if kind == "bool":
        boolean = parse_boolean(text)
        if boolean is None:
            raise _error(f"<{element.tag}> is neither true nor false.", element)
        return boolean
    if kind == "int":
        try:
            return int(text)
        except ValueError as error:
            raise _error(f"<{element.tag}> is not a whole number.", element) from error
    raise _error(
        f'<{element.tag}> has the type "{kind}". Supported are string, int, bool, hash and array.', element
    )


def _read_hash(element: Element) -> dict[str | int, SourceValue]:
    _reject_text(element)
    members: dict[str | int, SourceValue] = {}
    for child in element:
        if _is_deleted(child):
            continue
        key = child.get("id") or child.tag
        if key in members:
            raise _error(f"{key} occurs twice in <{element.tag}>. Remove one of them.", child)
        members[key] = _read_value(child)
    return members


def _reject_text(element: Element) -> None:
    """Raise ConfigError if there is text between the children."""
    texts = (element.text, *(child.tail for child in element))
    if any(text and text.strip() for text in texts):
        raise _error(f"<{element.tag}> contains text where elements are expected.", element)


def _is_deleted(element: Element) -> bool:
    """Return whether the element removes parameters from the data model, like _delta="delete", and defines none."""
    return element.get("_delta", "").startswith("delete")


def _line(element: Element) -> int:
    return int(element.get(_LINE, "0"))


def _error(message: str, element: Element) -> ConfigError:
    return ConfigError(message, _line(element))
