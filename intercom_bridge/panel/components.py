"""The components of Intercom's Canvas Kit for the Inbox: frozen classes whose fields are the properties in its JSON.

The property names and limits follow Intercom's OpenAPI 2.11 schemas and the component reference
(https://developers.intercom.com/docs/references/canvas-kit/). A component that violates a limit raises LimitError.

An unusual value from iTop must not lead to a canvas that Intercom rejects. Text for people is therefore cleaned of
control characters and lone surrogates, and short lines (titles, labels, options) are cut with `…`.
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
# The limit of `content`, and also of `stored_data`. Intercom says "64 KB", which is 64,000 or 65,536 bytes.
MAX_BYTES: Final = 64_000
# For a label, a title or an option. Intercom documents no limit, but longer texts are unreadable in the panel.
MAX_LABEL_LENGTH: Final = 120
# For a secondary line: a list item's subtitle, a data table's value, a placeholder.
MAX_LINE_LENGTH: Final = 240
# Displayed for a blank value in a data table, because Canvas Kit requires a value.
NO_VALUE: Final = "–"
ZERO_WIDTH_SPACE: Final = "\u200b"


class LimitError(ValueError):
    """A component violates a limit of Canvas Kit. This is always a bug in the bridge."""


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
# These match the positions between two characters that would form markup together.
_MARKUP_IN_URL = re.compile(r"(?<=\*)(?=\*)|(?<=\])(?=\()")
_MARKUP = re.compile(r"(?<=\*)(?=\*)|(?<=\])(?=\()|(?<=_)(?=_)|(?<=`)(?=`)")


def escape_markdown(text: str) -> str:
    """Return a text that Canvas Kit displays in a `Text` exactly as given. Use it for every text that people wrote.

    Canvas Kit displays `**bold**` and `[label](address)`, and documents no way to escape them. A zero-width space is
    therefore inserted between two `*`, and between `]` and `(`. Outside of http(s) addresses, two `_` and two
    backquotes are separated, too, because they are markup in other Markdown dialects. The result may be put next to
    another escaped text, or between our own `**`.
    """
    pieces: list[str] = []
    end = 0
    for url in _URL.finditer(text):
        pieces.append(_MARKUP.sub(ZERO_WIDTH_SPACE, text[end : url.start()]))
        pieces.append(_MARKUP_IN_URL.sub(ZERO_WIDTH_SPACE, url.group()))
        end = url.end()
    pieces.append(_MARKUP.sub(ZERO_WIDTH_SPACE, text[end:]))
    # Once more, because markup may have formed where two pieces meet.
    escaped = _MARKUP_IN_URL.sub(ZERO_WIDTH_SPACE, "".join(pieces))
    # At its edges, the text could form markup together with the text next to it.
    if escaped.startswith(("*", "(")):
        escaped = ZERO_WIDTH_SPACE + escaped
    if escaped.endswith("*"):
        escaped += ZERO_WIDTH_SPACE
    return escaped


def markdown_link(label: str, url: str) -> str:
    """Return a link to an http(s) address in Markdown, for a `Text`. Raise LimitError if OpenUrl does not accept it.

    Square brackets cannot be escaped within a label, so they become round ones.
    """
    address = OpenUrl(url).url.replace("(", "%28").replace(")", "%29").replace("*", "%2A")
    label = escape_markdown(label.replace("[", "(").replace("]", ")"))
    return f"[{label}]({address})"


# --- Checks ---------------------------------------------------------------------------------------


def _limit_error(element: object, problem: str) -> LimitError:
    component_id = getattr(element, "id", "")
    name = f"{type(element).__name__} {component_id!r}" if component_id else type(element).__name__
    return LimitError(f"{name}: {problem}")


class Element:
    """Anything with a type in Canvas Kit: a component, a part of a component, or an action."""

    TYPE: ClassVar[str]
    REQUIRED: ClassVar[tuple[str, ...]] = ()
    # The maximum lengths of properties that are a single line.
    LIMITS: ClassVar[Mapping[str, int]] = {}

    def __post_init__(self) -> None:
        for name in self.REQUIRED:
            value = getattr(self, name)
            if not value or (isinstance(value, str) and not clean_text(value).strip()):
                raise _limit_error(self, f"{name} is empty")
            if name == "id" and value != clean_text(value):
                raise _limit_error(self, "id contains control characters")

    def to_json(self) -> Json:
        """Return the JSON. Properties that are "", False or None are left out: these are Canvas Kit's defaults."""
        properties = {item.name: self._property(item.name) for item in fields(self)}  # type: ignore[arg-type]
        present = {name: value for name, value in properties.items() if value not in ("", False, None)}
        return {"type": self.TYPE} | present

    def _property(self, name: str) -> Any:
        """Return a property's JSON value: text cleaned and cut to its limit, and elements as JSON."""
        value = getattr(self, name)
        if isinstance(value, str):
            return shorten(value, self.LIMITS[name]) if name in self.LIMITS else clean_text(value)
        if isinstance(value, tuple):
            return [element.to_json() for element in value]
        return value.to_json() if isinstance(value, Element) else value


# --- Heights --------------------------------------------------------------------------------------
# Intercom publishes no heights. These are estimates in pixels for the Inbox panel at its narrowest. They are generous,
# so that a canvas with an estimated height of MAX_FIRST_SCREEN_HEIGHT is not higher in the Inbox.

PADDING: Final = 16
LINE_HEIGHT: Final = 20
# In columns. A wide character takes two.
LINE_WIDTH: Final = 30
LABEL_HEIGHT: Final = 24
FIELD_HEIGHT: Final = 40
AREA_HEIGHT: Final = 100
MARGIN: Final = 12
_LINK = re.compile(r"\[([^\[\]]*+)\]\([^()]*+\)")


def _count_lines(text: str, width: int = LINE_WIDTH) -> int:
    """Return the number of lines, of `width` columns each, that a text with Markdown takes in the panel."""
    visible = _LINK.sub(r"\1", clean_text(text)).replace("**", "").replace(ZERO_WIDTH_SPACE, "")
    return sum(max(1, math.ceil(_width(line) / width)) for line in visible.split("\n"))


def _width(line: str) -> int:
    """Return the number of columns; a wide character (East Asian, emoji) takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


# --- Actions --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submit(Element):
    """Send us a Submit request, with the id of the clicked component and the values of all fields of the canvas."""

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
        """Return the ids of what can be clicked or entered in the component. A click sends one as `component_id`."""
        component_id = getattr(self, "id", "")
        return (component_id,) if component_id else ()


@dataclass(frozen=True, kw_only=True)
class Text(Component):
    """A paragraph with Markdown, which is only `**bold**` and `[label](address)`. See `escape_markdown`."""

    TYPE = "text"
    REQUIRED = ("text",)

    text: str
    style: Literal["header", "paragraph", "muted", "error"] = "paragraph"
    align: Literal["left"] = "left"
    bottom_margin: Literal["", "none"] = ""

    def estimated_height(self) -> int:
        margin = 4 if self.bottom_margin == "none" else 16
        if self.style == "header":
            # The letters of a header are larger.
            return 24 * _count_lines(self.text, LINE_WIDTH - 4) + margin
        return LINE_HEIGHT * _count_lines(self.text) + margin


@dataclass(frozen=True, kw_only=True)
class Button(Component):
    """A button. Intercom does not allow style `primary`, Canvas Kit's default, in the first canvas of an Inbox app."""

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
    """A component for input."""

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
    """A single line of text. An action adds a button at its end."""

    TYPE = "input"

    placeholder: str = ""
    action: Submit | None = None
    save_state: SaveState = ""

    def _property(self, name: str) -> Any:
        value = super()._property(name)
        # The browser would remove line breaks, and so join the words around them.
        return value.replace("\n", " ") if name == "value" else value


@dataclass(frozen=True, kw_only=True)
class TextArea(FormComponent):
    """Several lines of text. Instead of a save state, it has the property `error`. It has no action."""

    TYPE = "textarea"
    HEIGHT = AREA_HEIGHT

    error: bool = False


@dataclass(frozen=True, kw_only=True)
class Option(Element):
    """An option of a dropdown or a single-select. Its id is the value that Intercom sends for the field."""

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
    """Options in a list that opens on a click. It cannot have an action, so a choice is sent with the next click."""

    TYPE = "dropdown"


@dataclass(frozen=True, kw_only=True)
class SingleSelect(ChoiceComponent):
    """Options that are all visible. If it has an action, a choice is a click with the single-select's id."""

    TYPE = "single-select"

    action: Submit | None = None

    def estimated_height(self) -> int:
        extra_lines = sum(_count_lines(option.text) - 1 for option in self.options)
        options_height = FIELD_HEIGHT * len(self.options) + LINE_HEIGHT * extra_lines
        # FormComponent's height contains one field, which the options replace.
        return super().estimated_height() - self.HEIGHT + options_height


@dataclass(frozen=True, kw_only=True)
class Item(Element):
    """An item of a list. If it has an action, it can be clicked."""

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
    """A row of a data table: a name and its value. Canvas Kit requires a value, so a dash replaces a blank one."""

    TYPE = "field-value"
    REQUIRED = ("field",)
    LIMITS = {"field": MAX_LABEL_LENGTH, "value": MAX_LINE_LENGTH}

    field: str
    value: str

    def to_json(self) -> Json:
        # Element.to_json leaves a blank value out.
        return {"value": NO_VALUE} | super().to_json()


@dataclass(frozen=True, kw_only=True)
class DataTable(Component):
    """A table of names and values. The Inbox cuts a long value, and shows all of it when the mouse is over it."""

    TYPE = "data-table"
    REQUIRED = ("items",)

    items: tuple[Field, ...]

    def estimated_height(self) -> int:
        return (LINE_HEIGHT + 8) * len(self.items) + MARGIN


# --- The canvas -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """The response to Initialize or Submit. It replaces everything that the panel displays.

    Intercom sends `stored_data` back with the next Submit, and then forgets it. An invalid canvas raises LimitError.
    """

    components: tuple[Component, ...]
    stored_data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.components:
            raise _limit_error(self, "takes at least one component")
        ids: set[str] = set()
        for component in self.components:
            for component_id in component.ids():
                if component_id in ids:
                    raise _limit_error(self, f"two components have the id {component_id!r}")
                ids.add(component_id)
        for name, value in self.to_json()["canvas"].items():
            try:
                # Non-ASCII characters are escaped, which takes the most bytes. Intercom cannot count more.
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
    """Return an upper estimate of the height of a canvas with these components in the Inbox panel, in pixels."""
    return PADDING + sum(component.estimated_height() for component in components)
