"""Read the classes and labels of iTop's compiled data model (data/datamodel-production.xml).

Format: https://www.itophub.io/wiki/page?id=latest:customization:xml_reference. The file is about 10 MB, most of it
code, menus and profiles; one class at a time is held as elements.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder

from .safe_xml import FileError, XmlReader

ROOT = "itop_design"
FILE = "data/datamodel-production.xml"
MAX_BYTES = 32 * 1024 * 1024
# iTop has translations into about 20 languages.
MAX_LANGUAGES = 50

# The role of an element, by its parent's role and its name. Up to iTop 3.0, a class may be nested in its parent.
_KINDS = {
    ("", ROOT): ROOT,
    (ROOT, "classes"): "classes",
    ("classes", "class"): "class",
    ("class", "class"): "class",
    (ROOT, "dictionaries"): "dictionaries",
    ("dictionaries", "dictionary"): "dictionary",
    ("dictionary", "entries"): "entries",
    ("entries", "entry"): "entry",
}
# Dictionaries that are kept apart from the main one of their language.
_LANGUAGE_VARIANTS = {"EN GB": "en-gb", "PT BR": "pt-br", "ZH CN": "zh-hans"}


class DataModelError(FileError):
    """The file is not a valid data model."""


def read_design(
    stream: BinaryIO, on_class: Callable[[Element], None], is_wanted: Callable[[str], bool]
) -> Mapping[str, Mapping[str, str]]:
    """Pass each <class> to `on_class`; return the labels of wanted classes: dictionary key -> language -> text.

    Classes precede the dictionaries, so `is_wanted(class)` is called after all classes are known. Texts that iTop
    marks as untranslated (~~) are omitted. Raise DataModelError.
    """
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataModelError(
            f"the file is larger than {MAX_BYTES // 1024 // 1024} MB; a data model has about 10 MB. "
            f"Choose iTop's {FILE}."
        )
    if not data:
        raise DataModelError(f"the file is empty. Choose iTop's {FILE}.")
    reader = _Reader(on_class, is_wanted)
    reader.parse(data)
    return reader.labels


class _Reader(XmlReader):
    error = DataModelError
    advice = f"Choose iTop's {FILE}."
    max_depth = 100

    def __init__(self, on_class: Callable[[Element], None], is_wanted: Callable[[str], bool]) -> None:
        super().__init__()
        self.labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._on_class = on_class
        self._is_wanted = is_wanted
        # The kinds of the open elements.
        self._kinds = [""]
        # The open classes, outermost first.
        self._open: list[tuple[str, TreeBuilder]] = []
        self._languages: set[str] = set()
        self._language = ""
        self._key = ""
        self._text: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        parent = self._kinds[-1]
        kind = _KINDS.get((parent, name), "other")
        if not parent and kind != ROOT:
            self.refuse(f"this is not a data model: it begins with <{name}>, not <{ROOT}>.")
        if parent == "removed" or _is_removed(attributes):
            kind = "removed"
        elif kind == "class":
            within = self._open[-1][0] if self._open else ""
            self._open.append((attributes.get("id", ""), TreeBuilder()))
            self._open[-1][1].start(name, {**attributes, "_within": within})
        elif self._open:
            self._open[-1][1].start(name, attributes)
        elif kind == "dictionary":
            self._language = _language(attributes.get("id", ""))
            self._languages.add(self._language)
            if len(self._languages) > MAX_LANGUAGES:
                self.refuse(f"the file has more than {MAX_LANGUAGES} languages.")
        elif kind == "entry":
            self._key = attributes.get("id", "")
            self._text = []
        self._kinds.append(kind)

    def end(self, name: str) -> None:
        kind = self._kinds.pop()
        if kind == "entry":
            self._finish_entry()
        elif self._open and kind != "removed":
            self._open[-1][1].end(name)
            if kind == "class":
                self._finish_class(self._open.pop()[1].close())

    def text(self, text: str) -> None:
        if self._kinds[-1] == "removed":
            return
        if self._open:
            self._open[-1][1].data(text)
        elif self._key:
            self._text.append(text)

    def _finish_class(self, element: Element) -> None:
        name = element.get("id", "")
        if not name:
            raise DataModelError("a <class> has no id.", self.line)
        if self._languages:
            self.refuse(f"the class {name} follows the dictionaries, which iTop never writes.")
        self._on_class(element)

    def _finish_entry(self) -> None:
        key, self._key = self._key, ""
        kind, _colon, rest = key.partition(":")
        name = rest.partition("/")[0]
        text = "".join(self._text).strip()
        is_label = kind == "Class" and not key.endswith("+") and bool(text) and not text.endswith("~~")
        if is_label and self._language and self._is_wanted(name):
            self.labels[key].setdefault(self._language, text)


def _is_removed(attributes: Mapping[str, str]) -> bool:
    """Return whether the element only records that a module has removed it."""
    return attributes.get("_alteration", "").startswith("remove") or attributes.get("_delta", "").startswith(
        "delete"
    )


def _language(dictionary: str) -> str:
    """Return the language of a dictionary: `EN US` -> en."""
    return _LANGUAGE_VARIANTS.get(dictionary, dictionary.partition(" ")[0].lower())
