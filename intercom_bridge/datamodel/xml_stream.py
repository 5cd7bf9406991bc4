"""Read the classes and labels of iTop's compiled data model (data/datamodel-production.xml) as a stream.

Format: https://www.itophub.io/wiki/page?id=latest:customization:xml_reference. The file is about 10 MB, most of it
code, menus and profiles; one class at a time is held as elements. DTDs and entity declarations are rejected.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

ROOT = "itop_design"
FILE = "data/datamodel-production.xml"
MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 100
CHUNK = 64 * 1024

_CLASSES = (ROOT, "classes")
_DICTIONARY = (ROOT, "dictionaries", "dictionary")
_ENTRY = (*_DICTIONARY, "entries", "entry")
# Dictionaries that are kept apart from the main one of their language.
_LANGUAGE_VARIANTS = {"EN GB": "en-gb", "PT BR": "pt-br", "ZH CN": "zh-hans"}
_UNEXPECTED_END = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
}


class DataModelError(Exception):
    """The file is not a valid data model. The message says what to do; `line` 0 means no particular line."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"Line {line}: {message}" if line else message)
        self.line = line


def safe_parser(
    *,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
    refuse: Callable[..., NoReturn],
) -> expat.XMLParserType:
    """Return an expat parser for untrusted XML. It calls `refuse`, which must raise, for a DTD or an entity."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    return parser


@dataclass(frozen=True, kw_only=True)
class ClassDesign:
    """The elements of a class, without those of its parents."""

    name: str
    parent: str
    is_abstract: bool
    fields: tuple[Element, ...]
    states: tuple[Element, ...]
    state_attribute: str
    details: tuple[Element, ...]


def read_design(
    stream: BinaryIO, on_class: Callable[[ClassDesign], None], is_wanted: Callable[[str], bool]
) -> Mapping[str, Mapping[str, str]]:
    """Pass each class to `on_class`; return the labels of wanted classes: dictionary key -> language -> text.

    Classes precede the dictionaries, so `is_wanted(class)` is called after all classes are known. Texts that iTop
    marks as untranslated (~~) are omitted. Raise DataModelError.
    """
    reader = _Reader(on_class, is_wanted)
    size = 0
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size > MAX_BYTES:
            raise DataModelError(
                f"the file is larger than {MAX_BYTES // 1024 // 1024} MB; a data model has about 10 MB. "
                f"Choose iTop's {FILE}."
            )
        reader.feed(chunk)
    if not size:
        raise DataModelError(f"the file is empty. Choose iTop's {FILE}.")
    return reader.finish()


class _Reader:
    def __init__(self, on_class: Callable[[ClassDesign], None], is_wanted: Callable[[str], bool]) -> None:
        self._on_class = on_class
        self._is_wanted = is_wanted
        self._labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._path: list[str] = []
        # The open classes, outermost first: up to iTop 3.0, a class may be nested in its parent.
        self._open: list[tuple[int, str, TreeBuilder]] = []
        self._removed_at = 0
        self._language = ""
        self._key = ""
        self._text: list[str] = []
        self._dictionaries_began = False
        self._parser = safe_parser(start=self._start, end=self._end, text=self._data, refuse=self._refuse)

    def feed(self, chunk: bytes) -> None:
        self._parse(chunk, final=False)

    def finish(self) -> Mapping[str, Mapping[str, str]]:
        self._parse(b"", final=True)
        return self._labels

    def _parse(self, chunk: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(chunk, final)
        except expat.ExpatError as error:
            if error.code in _UNEXPECTED_END:
                raise DataModelError(
                    "the file ends here, in the middle of the data model. Copy it again.", error.lineno
                ) from error
            raise DataModelError(
                f"this is not well-formed XML: {expat.ErrorString(error.code)}. Choose iTop's {FILE}.",
                error.lineno,
            ) from error
        except (ValueError, LookupError) as error:  # raised for an unknown encoding
            raise DataModelError(
                "the encoding of this XML is unknown. Save it as UTF-8 and try again."
            ) from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        path.append(name)
        if len(path) == 1 and name != ROOT:
            raise DataModelError(
                f"this is not a data model: it begins with <{name}>, not <{ROOT}>. Choose iTop's {FILE}.",
                self._line,
            )
        if len(path) > MAX_DEPTH:
            raise DataModelError("the elements are nested too deeply.", self._line)
        if self._removed_at:
            return
        if _is_removed(attributes):
            self._removed_at = len(path)
        elif name == "class" and tuple(path[:2]) == _CLASSES and set(path[2:]) == {"class"}:
            parent = self._open[-1][1] if self._open else ""
            builder = TreeBuilder()
            builder.start(name, {**attributes, "_within": parent})
            self._open.append((len(path), attributes.get("id", ""), builder))
        elif self._open:
            self._open[-1][2].start(name, attributes)
        elif tuple(path) == _DICTIONARY:
            self._dictionaries_began = True
            self._language = _language(attributes.get("id", ""))
        elif tuple(path) == _ENTRY:
            self._key = attributes.get("id", "")
            self._text = []

    def _end(self, name: str) -> None:
        path = self._path
        if self._removed_at:
            if self._removed_at == len(path):
                self._removed_at = 0
        elif self._open:
            depth, _class, builder = self._open[-1]
            builder.end(name)
            if depth == len(path):
                self._open.pop()
                self._finish_class(builder.close())
        elif tuple(path) == _ENTRY:
            self._finish_entry()
        path.pop()

    def _data(self, text: str) -> None:
        if self._removed_at:
            return
        if self._open:
            self._open[-1][2].data(text)
        elif self._key:
            self._text.append(text)

    def _finish_class(self, element: Element) -> None:
        name = element.get("id", "")
        if not name:
            raise DataModelError("a <class> has no id.", self._line)
        if self._dictionaries_began:
            raise DataModelError(
                f"the class {name} follows the dictionaries, which iTop never writes. Choose iTop's own {FILE}.",
                self._line,
            )
        self._on_class(
            ClassDesign(
                name=name,
                parent=_text(element, "parent") or element.get("_within", ""),
                is_abstract=_text(element, "properties/abstract") == "true",
                fields=tuple(element.findall("fields/field")),
                states=tuple(element.findall("lifecycle/states/state")),
                state_attribute=_text(element, "properties/fields_semantic/state_attribute")
                or _text(element, "lifecycle/attribute"),
                details=tuple(element.findall("presentation/details/items/item")),
            )
        )

    def _finish_entry(self) -> None:
        key, self._key = self._key, ""
        kind, _colon, rest = key.partition(":")
        name = rest.partition("/")[0]
        text = "".join(self._text).strip()
        is_label = kind == "Class" and not key.endswith("+") and bool(text) and not text.endswith("~~")
        if is_label and self._language and self._is_wanted(name):
            self._labels[key].setdefault(self._language, text)

    @property
    def _line(self) -> int:
        return self._parser.CurrentLineNumber

    def _refuse(self, *_: object) -> NoReturn:
        raise DataModelError(
            f"a DTD or an entity is declared here. A data model has none: choose iTop's {FILE}.", self._line
        )


def _is_removed(attributes: Mapping[str, str]) -> bool:
    """Return whether the element only records that a module has removed it."""
    return attributes.get("_alteration", "").startswith("remove") or attributes.get("_delta", "").startswith(
        "delete"
    )


def _language(dictionary: str) -> str:
    """Return the language of a dictionary: `EN US` -> en."""
    return _LANGUAGE_VARIANTS.get(dictionary, dictionary.partition(" ")[0].lower())


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
