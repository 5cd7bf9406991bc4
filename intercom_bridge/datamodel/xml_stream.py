"""Read the classes and labels of iTop's compiled data model (data/datamodel-production.xml).

Format: https://www.itophub.io/wiki/page?id=latest:customization:xml_reference. The file has about 10 MB, most of which
are code, menus and profiles. The reader skips these, so it never holds the whole file as an element tree.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder

from .safe_xml import FileError, XmlReader

ROOT = "itop_design"
FILE = "data/datamodel-production.xml"
MAX_BYTES = 32 * 1024 * 1024
# iTop has translations into about 20 languages.
MAX_LANGUAGES = 50
# The reader adds this attribute to each <class>: the id of the enclosing class, or "".
NESTED_IN = "_within"

# What an element is, by the role of its parent element and its name. Other elements have the role "other".
# Up to iTop 3.0, a class may be nested in its parent class.
_ROLES = {
    ("", ROOT): ROOT,
    (ROOT, "classes"): "classes",
    ("classes", "class"): "class",
    ("class", "class"): "class",
    (ROOT, "dictionaries"): "dictionaries",
    ("dictionaries", "dictionary"): "dictionary",
    ("dictionary", "entries"): "entries",
    ("entries", "entry"): "entry",
}
# The languages of these dictionaries. Any other dictionary's language is the first word of its id: "EN US" is "en".
_LANGUAGE_VARIANTS = {"EN GB": "en-gb", "PT BR": "pt-br", "ZH CN": "zh-hans"}


class DataModelError(FileError):
    """The file is not a valid data model."""


def read_design(
    stream: BinaryIO, on_class: Callable[[Element], None], is_wanted: Callable[[str], bool]
) -> Mapping[str, Mapping[str, str]]:
    """Pass each <class> to `on_class`, and return the labels: dictionary key -> language -> text.

    Only labels of classes whose name `is_wanted` accepts are returned. `is_wanted` is called after the last call of
    `on_class`, because the classes precede the dictionaries. Texts that iTop marks as untranslated (~~) are omitted.
    Raise DataModelError if the file cannot be used.
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


class _OpenClass(NamedTuple):
    id: str
    builder: TreeBuilder


class _Reader(XmlReader):
    error = DataModelError
    advice = f"Choose iTop's {FILE}."
    max_depth = 100

    def __init__(self, on_class: Callable[[Element], None], is_wanted: Callable[[str], bool]) -> None:
        super().__init__()
        self.labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._on_class = on_class
        self._is_wanted = is_wanted
        # The roles of the open elements, outermost first. "" stands for the document.
        self._roles = [""]
        # The open <class> elements, outermost first.
        self._open_classes: list[_OpenClass] = []
        self._languages: set[str] = set()
        # The language of the current dictionary, and the id and the text of the current entry.
        self._language = ""
        self._entry_id = ""
        self._entry_text: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        role = self._role(name, attributes)
        self._roles.append(role)
        if role == "removed":
            return
        if role == "class":
            self._start_class(name, attributes)
        elif self._open_classes:
            self._open_classes[-1].builder.start(name, attributes)
        elif role == "dictionary":
            self._start_dictionary(attributes)
        elif role == "entry":
            self._entry_id = attributes.get("id", "")
            self._entry_text = []

    def end(self, name: str) -> None:
        role = self._roles.pop()
        if role == "entry":
            self._finish_entry()
        elif self._open_classes and role != "removed":
            self._open_classes[-1].builder.end(name)
            if role == "class":
                self._finish_class(self._open_classes.pop().builder.close())

    def text(self, text: str) -> None:
        if self._roles[-1] == "removed":
            return
        if self._open_classes:
            self._open_classes[-1].builder.data(text)
        elif self._entry_id:
            self._entry_text.append(text)

    def _role(self, name: str, attributes: Mapping[str, str]) -> str:
        parent_role = self._roles[-1]
        role = _ROLES.get((parent_role, name), "other")
        if not parent_role and role != ROOT:
            self.refuse(f"this is not a data model: it begins with <{name}>, not <{ROOT}>.")
        return "removed" if parent_role == "removed" or _is_removed(attributes) else role

    def _start_class(self, name: str, attributes: Mapping[str, str]) -> None:
        enclosing = self._open_classes[-1].id if self._open_classes else ""
        opened = _OpenClass(attributes.get("id", ""), TreeBuilder())
        opened.builder.start(name, {**attributes, NESTED_IN: enclosing})
        self._open_classes.append(opened)

    def _start_dictionary(self, attributes: Mapping[str, str]) -> None:
        self._language = _language(attributes.get("id", ""))
        self._languages.add(self._language)
        if len(self._languages) > MAX_LANGUAGES:
            self.refuse(f"the file has more than {MAX_LANGUAGES} languages.")

    def _finish_class(self, element: Element) -> None:
        name = element.get("id", "")
        if not name:
            raise DataModelError("a <class> has no id.", self.line)
        if self._languages:
            self.refuse(f"the class {name} comes after the dictionaries, but iTop writes classes first.")
        self._on_class(element)

    def _finish_entry(self) -> None:
        """Store the current entry if it is a label, for example "Class:UserRequest/Attribute:status"."""
        entry_id, self._entry_id = self._entry_id, ""
        prefix, _colon, path = entry_id.partition(":")
        class_name = path.partition("/")[0]
        text = "".join(self._entry_text).strip()
        # An id that ends with "+" belongs to a tooltip.
        is_label = prefix == "Class" and not entry_id.endswith("+")
        is_translated = bool(text) and not text.endswith("~~")
        if is_label and is_translated and self._language and self._is_wanted(class_name):
            self.labels[entry_id].setdefault(self._language, text)


def _is_removed(attributes: Mapping[str, str]) -> bool:
    """Return whether a module has removed this element. iTop leaves such an element in the file, with a mark."""
    alteration, delta = attributes.get("_alteration", ""), attributes.get("_delta", "")
    return alteration.startswith("remove") or delta.startswith("delete")


def _language(dictionary: str) -> str:
    """Return the language of a dictionary: `EN US` -> en."""
    return _LANGUAGE_VARIANTS.get(dictionary, dictionary.partition(" ")[0].lower())
