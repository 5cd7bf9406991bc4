"""Canvas Kit for the Inbox: small frozen classes, whose fields are the properties in its JSON.

A component raises LimitError if it is built outside Canvas Kit's limits. The limits and property names follow
Intercom's OpenAPI 2.11 schemas and the component reference
(https://developers.intercom.com/docs/references/canvas-kit/). A dropdown has no action there; a single-select has.

Text for people is cleaned (control characters, lone surrogates), and short lines (titles, labels, options) are cut with
`…`, so that an unusual value in iTop cannot make a canvas that Intercom rejects.
"""

import json
import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from intercom_bridge.intercom.text import clean_text, cut

Json = dict[str, Any]

# Intercom's guidelines for Inbox apps allow the first canvas this many pixels.
MAX_FIRST_SCREEN_HEIGHT: Final = 400
# For `content` and for `stored_data`, each. Intercom says "64 KB"; the smaller interpretation is used.
MAX_BYTES: Final = 64_000
# Of a label, a title or an option. Intercom documents no limit; longer ones are unreadable in the panel.
MAX_LABEL_LENGTH: Final = 120
# Of a secondary line: a list item's subtitle, a data table's value, a placeholder.
MAX_LINE_LENGTH: Final = 240
# Shown for a blank value in a data table, whose values are required.
NO_VALUE: Final = "–"
ZERO_WIDTH_SPACE: Final = "\u200b"


class LimitError(ValueError):
    """A component outside Canvas Kit's limits. This is always a bug in the bridge."""


# --- Text -----------------------------------------------------------------------------------------


def shorten(text: str, limit: int) -> str:
    """Return the text on one line in at most `limit` characters, cut at a word with `…`."""
    return cut(" ".join(clean_text(text).split()), limit)


def shorten_to_line(text: str, width: int) -> str:
    """Return the text on one line of at most `width` columns; a wide character takes two."""
    shortened = shorten(text, width)
    while _width(shortened) > width:
        shortened = cut(shortened, len(shortened) - 1)
    return shortened


_URL = re.compile(r"https?://[^\s<>]+", re.IGNORECASE)
_MARKUP_IN_URL = re.compile(r"(?<=\*)(?=\*)|(?<=\])(?=\()")
_MARKUP = re.compile(r"(?<=\*)(?=\*)|(?<=\])(?=\()|(?<=_)(?=_)|(?<=`)(?=`)")


def escape_markdown(text: str) -> str:
    """Return text that Canvas Kit displays as it is, for any text of a person that is put into a `Text`.

    Canvas Kit knows `**bold**` and `[label](address)` and documents no way to escape them, so a zero-width space is
    inserted where one could form: between two `*`, between `]` and `(`, and, because other dialects use them, between
    two `_` and two backquotes. The result stays harmless next to other such text or between our own `**`. An http(s)
    address stays intact: only `**` and `](` are broken up in it.
    """
    pieces: list[str] = []
    end = 0
    for url in _URL.finditer(text):
        pieces.append(_MARKUP.sub(ZERO_WIDTH_SPACE, text[end : url.start()]))
        pieces.append(_MARKUP_IN_URL.sub(ZERO_WIDTH_SPACE, url.group()))
        end = url.end()
    pieces.append(_MARKUP.sub(ZERO_WIDTH_SPACE, text[end:]))
    escaped = _MARKUP_IN_URL.sub(ZERO_WIDTH_SPACE, "".join(pieces))
    # At an edge, markup could form together with the text next to it.
    if escaped.startswith(("*", "(")):
        escaped = ZERO_WIDTH_SPACE + escaped
    if escaped.endswith("*"):
        escaped += ZERO_WIDTH_SPACE
    return escaped


def markdown_link(label: str, url: str) -> str:
    """Return Markdown for a `Text`: the escaped label, opening an http(s) address. Raise LimitError as OpenUrl does.

    Square brackets cannot be escaped within a label, so they become round ones.
    """
    address = OpenUrl(url).url.replace("(", "%28").replace(")", "%29").replace("*", "%2A")
    return f"[{escape_markdown(label.replace('[', '(').replace(']', ')'))}]({address})"


# --- Checks ---------------------------------------------------------------------------------------


def _limit_error(owner: object, problem: str) -> LimitError:
    name = getattr(owner, "id", "")
    return LimitError(f"{type(owner).__name__}{f' {name!r}' if name else ''}: {problem}")


class Element:
    """Anything with a type in Canvas Kit: a component, a part of one, or an action."""

    TYPE: ClassVar[str]
    REQUIRED: ClassVar[tuple[str, ...]] = ()
    # The maximum lengths of properties that are a single line.
    LIMITS: ClassVar[Mapping[str, int]] = {}

    def __post_init__(self) -> None:
        for name in self.REQUIRED:
            value = getattr(self, name)
            if not (clean_text(value).strip() if isinstance(value, str) else value):
                raise _limit_error(self, f"{name} is empty")
            if name == "id" and value != clean_text(value):
                raise _limit_error(self, "id contains control characters")

    def to_json(self) -> Json:
        """Return Canvas Kit's JSON, without properties that have Canvas Kit's own defaults, "" and False."""
        properties = {item.name: self._property(item.name) for item in fields(self)}  # type: ignore[arg-type]
        present = {key: value for key, value in properties.items() if value not in ("", False, None)}
        return {"type": self.TYPE} | present

    def _property(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, str):
            return shorten(value, self.LIMITS[name]) if name in self.LIMITS else clean_text(value)
        if isinstance(value, tuple):
            return [element.to_json() for element in value]
        return value.to_json() if isinstance(value, Element) else value


# --- Heights --------------------------------------------------------------------------------------
# Intercom publishes no heights. These are generous for the Inbox panel at its narrowest, so that a canvas whose sum is
# within MAX_FIRST_SCREEN_HEIGHT is certainly not higher.

PADDING: Final = 16
LINE_HEIGHT: Final = 20
LINE_WIDTH: Final = 30
LABEL_HEIGHT: Final = 24
FIELD_HEIGHT: Final = 40
AREA_HEIGHT: Final = 100
MARGIN: Final = 12
_LINK = re.compile(r"\[([^\[\]]*+)\]\([^()]*+\)")


def _count_lines(text: str, width: int = LINE_WIDTH) -> int:
    """Return the number of lines that the text takes in the panel."""
    visible = _LINK.sub(r"\1", clean_text(text)).replace("**", "").replace(ZERO_WIDTH_SPACE, "")
    return sum(max(1, math.ceil(_width(line) / width)) for line in visible.split("\n"))


def _width(line: str) -> int:
    """Return the number of columns; a wide character (East Asian, emoji) takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


# --- Actions --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submit(Element):
    """Send the canvas back to us, with the values of all its fields, whatever was clicked."""

    TYPE = "submit"


@dataclass(frozen=True)
class OpenUrl(Element):
    """Open an http(s) address in a new tab."""

    TYPE = "url"

    url: str

    def __post_init__(self) -> None:
        if self.url != clean_text(self.url) or re.search(r"\s", self.url):
            raise _limit_error(self, "url is not an address")
        try:
            parts = urlsplit(self.url)
            host = parts.hostname
        except ValueError as error:
            raise _limit_error(self, f"url is not an address: {error}") from None
        if parts.scheme.lower() not in ("http", "https") or not host:
            raise _limit_error(self, "url must be an address with http or https")


Action = Submit | OpenUrl
SaveState = Literal["", "failed"]


# --- Components -----------------------------------------------------------------------------------


class Component(Element, ABC):
    """A part of a canvas."""

    @abstractmethod
    def estimated_height(self) -> int:
        """Return an upper estimate of the component's height in the Inbox panel, in pixels."""

    def ids(self) -> tuple[str, ...]:
        """Return its own id and those of its list items. They come back as `component_id`."""
        name = getattr(self, "id", "")
        return (name,) if name else ()


@dataclass(frozen=True, kw_only=True)
class Text(Component):
    """A paragraph. Its Markdown is bold (`**x**`) and links (`[x](url)`) only: see `escape_markdown`."""

    TYPE = "text"
    REQUIRED = ("text",)

    text: str
    style: Literal["header", "paragraph", "muted", "error"] = "paragraph"
    align: Literal["left"] = "left"
    bottom_margin: Literal["", "none"] = ""

    def estimated_height(self) -> int:
        margin = 4 if self.bottom_margin == "none" else 16
        if self.style == "header":
            return 24 * _count_lines(self.text, LINE_WIDTH - 4) + margin
        return LINE_HEIGHT * _count_lines(self.text) + margin


@dataclass(frozen=True, kw_only=True)
class Button(Component):
    """A button. Canvas Kit's own default style is `primary`, which the first canvas of an Inbox app must not use."""

    TYPE = "button"
    REQUIRED = ("id", "label")
    LIMITS = {"label": MAX_LABEL_LENGTH}

    id: str
    label: str
    action: Action
    style: Literal["primary", "secondary", "link"] = "secondary"

    def estimated_height(self) -> int:
        frame = 16 if self.style == "link" else 28
        return frame + LINE_HEIGHT * _count_lines(shorten(self.label, MAX_LABEL_LENGTH))


@dataclass(frozen=True, kw_only=True)
class FormComponent(Component):
    """A component that a value is entered into."""

    REQUIRED = ("id",)
    LIMITS = {"label": MAX_LINE_LENGTH, "placeholder": MAX_LINE_LENGTH}
    HEIGHT: ClassVar[int] = FIELD_HEIGHT

    id: str
    label: str = ""
    value: str = ""

    def estimated_height(self) -> int:
        label_height = LABEL_HEIGHT * _count_lines(self.label) if self.label else 0
        return label_height + self.HEIGHT + MARGIN


@dataclass(frozen=True, kw_only=True)
class Input(FormComponent):
    """A single line. With an action it has its own button at its end."""

    TYPE = "input"

    placeholder: str = ""
    action: Submit | None = None
    save_state: SaveState = ""

    def _property(self, name: str) -> Any:
        value = super()._property(name)
        # The browser removes line breaks from a single line; a space is easier to read.
        return value.replace("\n", " ") if name == "value" else value


@dataclass(frozen=True, kw_only=True)
class TextArea(FormComponent):
    """Several lines. It has `error` where the other fields have a save state, and no action."""

    TYPE = "textarea"
    HEIGHT = AREA_HEIGHT

    error: bool = False


@dataclass(frozen=True, kw_only=True)
class Option(Element):
    """An option of a dropdown or a single-select. Its id is what comes back."""

    TYPE = "option"
    REQUIRED = ("id", "text")
    LIMITS = {"text": MAX_LABEL_LENGTH}

    id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ChoiceComponent(FormComponent):
    """A choice of one option. `value` is an option's id, or "" if none is selected."""

    MIN_OPTIONS: ClassVar = 2
    MAX_OPTIONS: ClassVar = 10

    options: tuple[Option, ...]
    save_state: SaveState = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.options)
        if not self.MIN_OPTIONS <= count <= self.MAX_OPTIONS:
            allowed = f"{self.MIN_OPTIONS} to {self.MAX_OPTIONS}"
            raise _limit_error(self, f"takes {allowed} options, not {count}")
        ids = {option.id for option in self.options}
        if len(ids) < count:
            raise _limit_error(self, "two options have the same id")
        if self.value and self.value not in ids:
            raise _limit_error(self, f"the value {self.value!r} is not one of its options")


@dataclass(frozen=True, kw_only=True)
class Dropdown(ChoiceComponent):
    """A list of options to open. It has no action."""

    TYPE = "dropdown"


@dataclass(frozen=True, kw_only=True)
class SingleSelect(ChoiceComponent):
    """Options that are all visible. With an action, choosing one is a click, and its own id is the `component_id`."""

    TYPE = "single-select"

    action: Submit | None = None

    def estimated_height(self) -> int:
        options = (FIELD_HEIGHT + LINE_HEIGHT * (_count_lines(option.text) - 1) for option in self.options)
        return super().estimated_height() - self.HEIGHT + sum(options)


@dataclass(frozen=True, kw_only=True)
class Item(Element):
    """An item of a list. With an action it can be clicked, and its id comes back as `component_id`."""

    TYPE = "item"
    REQUIRED = ("id", "title")
    LIMITS = {"title": MAX_LABEL_LENGTH, "subtitle": MAX_LINE_LENGTH, "tertiary_text": MAX_LINE_LENGTH}

    id: str
    title: str
    subtitle: str = ""
    tertiary_text: str = ""
    disabled: bool = False
    action: Action | None = None

    def estimated_height(self) -> int:
        texts = (shorten(getattr(self, name), limit) for name, limit in self.LIMITS.items())
        return LINE_HEIGHT * sum(_count_lines(text) for text in texts if text) + 16


@dataclass(frozen=True, kw_only=True)
class List(Component):
    """Items, one below the other. A list has no id of its own."""

    TYPE = "list"
    REQUIRED = ("items",)

    items: tuple[Item, ...]

    def estimated_height(self) -> int:
        return sum(item.estimated_height() for item in self.items) + MARGIN

    def ids(self) -> tuple[str, ...]:
        return tuple(item.id for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Field(Element):
    """A row of a data table. Values are required, so a blank one is displayed as a dash."""

    TYPE = "field-value"
    REQUIRED = ("field",)
    LIMITS = {"field": MAX_LABEL_LENGTH, "value": MAX_LINE_LENGTH}

    field: str
    value: str

    def to_json(self) -> Json:
        return {"value": NO_VALUE} | super().to_json()


@dataclass(frozen=True, kw_only=True)
class DataTable(Component):
    """Names and values. The Inbox cuts a long value and shows all of it on hover. No id, no actions."""

    TYPE = "data-table"
    REQUIRED = ("items",)

    items: tuple[Field, ...]

    def estimated_height(self) -> int:
        return (LINE_HEIGHT + 8) * len(self.items) + MARGIN


# --- The canvas -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """The response to Initialize or Submit. It replaces everything that the panel displays.

    `stored_data` comes back with the next submit only. Raise LimitError if there is no component, if two ids are the
    same, if `stored_data` is not JSON, or if either part is larger than MAX_BYTES.
    """

    components: tuple[Component, ...]
    stored_data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.components:
            raise _limit_error(self, "takes at least one component")
        seen: set[str] = set()
        for component in self.components:
            for name in component.ids():
                if name in seen:
                    raise _limit_error(self, f"two components have the id {name!r}")
                seen.add(name)
        for name, value in self.to_json()["canvas"].items():
            try:
                # Escaped as ASCII: the largest of the sizes that an encoder on either side could count.
                size = len(json.dumps(value, allow_nan=False))
            except (TypeError, ValueError, RecursionError) as error:
                raise _limit_error(self, f"{name} is not JSON: {error}") from None
            if size > MAX_BYTES:
                raise _limit_error(self, f"{name} takes {size} bytes of {MAX_BYTES}")

    def to_json(self) -> Json:
        """Return the whole response body."""
        return {
            "canvas": {
                "content": {"components": [component.to_json() for component in self.components]},
                "stored_data": dict(self.stored_data),
            }
        }


def estimated_height(components: Iterable[Component]) -> int:
    """Return the pixels that a canvas of these takes in the Inbox panel, overestimated."""
    return PADDING + sum(component.estimated_height() for component in components)
