"""Canvas Kit for the Inbox as small frozen classes, one `to_json` each.

A component refuses to be built outside Canvas Kit's limits: `LimitError` says which component, which field
and why. The limits and property names follow Intercom's OpenAPI 2.11 schemas and the component reference
(https://developers.intercom.com/docs/references/canvas-kit/). Two traps are worth knowing: a checkbox keeps
its choices under `option`, in the singular, and a dropdown has no action.

Everything a person reads is cleaned on its way out (control characters, lone surrogates), and short lines
(titles, labels, choices) are cut with `…`, so that a strange value in iTop cannot make a canvas that Intercom
refuses.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from ..intercom.text import clean_text, cut

Json = dict[str, Any]

FIRST_SCREEN_HEIGHT: Final = 400
"""Pixels the first canvas may take, by Intercom's guidelines for Inbox apps."""

MAX_BYTES: Final = 64_000
"""Of `content` and of `stored_data`, each. Intercom says "64 KB"; this is the smaller reading of it."""

LABEL_LENGTH: Final = 120
"""Characters of a label, a title or a choice.

Intercom documents no limit; longer ones are unreadable in the panel.
"""

LINE_LENGTH: Final = 240
"""Characters of a secondary line: a list item's subtitle, a data table's value, a placeholder."""

NOTHING: Final = "–"
"""Stands for a blank value in a data table, whose values are required."""

ZERO_WIDTH: Final = "\u200b"


class LimitError(ValueError):
    """A component outside Canvas Kit's limits. A mistake of ours, never the teammate's."""


# --- Text helpers ---------------------------------------------------------------------------------


def shorten(text: str, limit: int) -> str:
    """The text on one line in at most `limit` characters, cut at a word with `…`."""
    return cut(" ".join(clean_text(text).split()), limit)


_URL = re.compile(r"https?://[^\s<>]+", re.IGNORECASE)
_CONSTRUCT = re.compile(r"(?<=\*)(?=\*)|(?<=\])(?=\()")
_CONSTRUCT_OUTSIDE_URLS = re.compile(r"(?<=\*)(?=\*)|(?<=\])(?=\()|(?<=_)(?=_)|(?<=`)(?=`)")


def inert(text: str) -> str:
    """Data as it reads, with no Markdown in it: for any text of a person that goes into a `Text`.

    Canvas Kit knows `**bold**` and `[label](address)` and documents no way to escape them, so a zero-width
    space is put where one could form: between two `*`, between `]` and `(`, and, since other dialects use
    them, between two `_` and two backquotes. Ordinary text is returned as it is. It stays harmless when put
    next to other such text or between our own `**`. A bare http(s) address stays one: only `**` and `](` are
    broken up in it.
    """
    pieces: list[str] = []
    end = 0
    for url in _URL.finditer(text):
        pieces.append(_CONSTRUCT_OUTSIDE_URLS.sub(ZERO_WIDTH, text[end : url.start()]))
        pieces.append(_CONSTRUCT.sub(ZERO_WIDTH, url.group()))
        end = url.end()
    pieces.append(_CONSTRUCT_OUTSIDE_URLS.sub(ZERO_WIDTH, text[end:]))
    result = _CONSTRUCT.sub(ZERO_WIDTH, "".join(pieces))
    # What stands at an edge could form a construct with whatever comes to stand beside it.
    if result.startswith(("*", "(")):
        result = ZERO_WIDTH + result
    if result.endswith("*"):
        result += ZERO_WIDTH
    return result


def link(label: str, url: str) -> str:
    """Markdown for a `Text`: the label, made inert, opening an http(s) address. Raises LimitError as OpenUrl
    does.

    Square brackets cannot be escaped within a label, so they become round ones there.
    """
    address = OpenUrl(url).url.replace("(", "%28").replace(")", "%29").replace("*", "%2A")
    return f"[{inert(label.replace('[', '(').replace(']', ')'))}]({address})"


# --- Checks ---------------------------------------------------------------------------------------


def _refuse(owner: object, why: str) -> LimitError:
    name = getattr(owner, "id", "")
    return LimitError(f"{type(owner).__name__}{f' {name!r}' if name else ''}: {why}")


def _require_text(owner: object, *fields: str) -> None:
    for name in fields:
        value = getattr(owner, name)
        if not isinstance(value, str):
            raise _refuse(owner, f"{name} must be a string, not {type(value).__name__}")
        if not clean_text(value).strip():
            raise _refuse(owner, f"{name} is empty")


def _require_id(owner: object) -> None:
    _require_text(owner, "id")
    name = getattr(owner, "id")  # noqa: B009
    if name != clean_text(name):
        raise _refuse(owner, "id holds control characters")


def _require_strings(owner: object, *fields: str) -> None:
    for name in fields:
        value = getattr(owner, name)
        if not isinstance(value, str):
            raise _refuse(owner, f"{name} must be a string, not {type(value).__name__}")


def _require_one_of(owner: object, name: str, allowed: Iterable[str]) -> None:
    value = getattr(owner, name)
    if value not in allowed:
        raise _refuse(owner, f"{name} {value!r} is none of {', '.join(repr(one) for one in allowed)}")


def _require_pixels(owner: object, *fields: str) -> None:
    for name in fields:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise _refuse(owner, f"{name} must be a positive number of pixels")


def _require_url(owner: object, name: str, schemes: tuple[str, ...]) -> None:
    url = getattr(owner, name)
    if not isinstance(url, str) or url != clean_text(url) or re.search(r"\s", url):
        raise _refuse(owner, f"{name} is not an address")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise _refuse(owner, f"{name} is not an address: {error}") from None
    if parts.scheme.lower() not in schemes or not host:
        raise _refuse(owner, f"{name} must be an address with {' or '.join(schemes)}")


def _without_blanks(properties: Json) -> Json:
    """Optional properties that say nothing are left out: "" and False are Canvas Kit's own defaults."""
    return {key: value for key, value in properties.items() if value not in ("", False, None)}


# --- Heights --------------------------------------------------------------------------------------
# Intercom publishes no heights. These are generous ones for the Inbox panel at its narrowest, so that a
# canvas whose sum is within FIRST_SCREEN_HEIGHT is certainly not higher.

PADDING: Final = 16
LINE: Final = 20
CHARACTERS_A_LINE: Final = 30
LABEL: Final = 24
FIELD: Final = 40
AREA: Final = 100
MARGIN: Final = 12
SPACES: Final[Mapping[str, int]] = {"xs": 8, "s": 16, "m": 24, "l": 32, "xl": 48}
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def _lines(text: str, characters: int = CHARACTERS_A_LINE) -> int:
    """Lines that the text takes in the panel; wide characters (East Asian, emoji) count as two."""
    visible = _LINK.sub(r"\1", clean_text(text)).replace("**", "").replace(ZERO_WIDTH, "")
    return sum(max(1, math.ceil(_width(line) / characters)) for line in visible.split("\n"))


def _width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def _label_height(label: str) -> int:
    return LABEL * _lines(label) if label else 0


# --- Actions --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Sends the canvas back to us, with the values of all of its fields, whatever was clicked."""

    def to_json(self) -> Json:
        return {"type": "submit"}


@dataclass(frozen=True)
class OpenUrl:
    """Opens an http(s) address in a new tab."""

    url: str

    def __post_init__(self) -> None:
        _require_url(self, "url", ("http", "https"))

    def to_json(self) -> Json:
        return {"type": "url", "url": self.url}


Action = Submit | OpenUrl
Align = Literal["left", "center", "right"]
SaveState = Literal["", "unsaved", "saved", "failed"]
"""`saved` locks the field, whatever `disabled` says. "" leaves the property out."""

ALIGNS: Final = ("left", "center", "right")
SAVE_STATES: Final = ("", "unsaved", "saved", "failed")
BOTTOM_MARGINS: Final = ("", "none")


# --- Components -----------------------------------------------------------------------------------


class Component(ABC):
    """What may stand in a canvas."""

    @abstractmethod
    def to_json(self) -> Json:
        """The component as Canvas Kit reads it."""

    @abstractmethod
    def pixels(self) -> int:
        """Pixels that it takes in the Inbox panel, over-estimated."""

    def ids(self) -> tuple[str, ...]:
        """Its own id and those of the list items in it; they come back as `component_id`."""
        name = getattr(self, "id", "")
        return (name,) if name else ()


@dataclass(frozen=True, kw_only=True)
class Text(Component):
    """A paragraph. Its Markdown is bold (`**x**`) and links (`[x](url)`) and nothing else: see `inert`."""

    text: str
    style: Literal["header", "paragraph", "muted", "error"] = "paragraph"
    STYLES: ClassVar = ("header", "paragraph", "muted", "error")
    align: Align = "left"
    id: str = ""
    bottom_margin: Literal["", "none"] = ""

    def __post_init__(self) -> None:
        _require_text(self, "text")
        _require_strings(self, "id")
        _require_one_of(self, "style", self.STYLES)
        _require_one_of(self, "align", ALIGNS)
        _require_one_of(self, "bottom_margin", BOTTOM_MARGINS)

    def to_json(self) -> Json:
        return {
            "type": "text",
            "text": clean_text(self.text),
            "style": self.style,
            "align": self.align,
        } | _without_blanks({"id": self.id, "bottom_margin": self.bottom_margin})

    def pixels(self) -> int:
        margin = 4 if self.bottom_margin == "none" else 16
        if self.style == "header":
            return 24 * _lines(self.text, CHARACTERS_A_LINE - 4) + margin
        return LINE * _lines(self.text) + margin


@dataclass(frozen=True, kw_only=True)
class Button(Component):
    """A button.

    Canvas Kit's own default style is `primary`, which the first canvas of an Inbox app must not use.
    """

    id: str
    label: str
    action: Action
    style: Literal["primary", "secondary", "link"] = "secondary"
    STYLES: ClassVar = ("primary", "secondary", "link")
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_text(self, "label")
        _require_one_of(self, "style", self.STYLES)

    def to_json(self) -> Json:
        return {
            "type": "button",
            "id": self.id,
            "label": shorten(self.label, LABEL_LENGTH),
            "style": self.style,
            "action": self.action.to_json(),
        } | _without_blanks({"disabled": self.disabled})

    def pixels(self) -> int:
        frame = 16 if self.style == "link" else 28
        return frame + LINE * _lines(shorten(self.label, LABEL_LENGTH))


@dataclass(frozen=True, kw_only=True)
class Input(Component):
    """A line to type in. With an action it has a button of its own at its end."""

    id: str
    label: str = ""
    placeholder: str = ""
    value: str = ""
    action: Submit | None = None
    save_state: SaveState = ""
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_strings(self, "label", "placeholder", "value")
        _require_one_of(self, "save_state", SAVE_STATES)

    def to_json(self) -> Json:
        return {"type": "input", "id": self.id} | _without_blanks(
            {
                "label": shorten(self.label, LINE_LENGTH),
                "placeholder": shorten(self.placeholder, LINE_LENGTH),
                # A line break in a one-line field is lost in the browser without a word; a space at least
                # reads well.
                "value": clean_text(self.value).replace("\n", " "),
                "action": self.action.to_json() if self.action else None,
                "save_state": self.save_state,
                "disabled": self.disabled,
            }
        )

    def pixels(self) -> int:
        return _label_height(self.label) + FIELD + MARGIN


@dataclass(frozen=True, kw_only=True)
class TextArea(Component):
    """Several lines to type in. It has `error` where the other fields have a save state, and no action."""

    id: str
    label: str = ""
    placeholder: str = ""
    value: str = ""
    error: bool = False
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_strings(self, "label", "placeholder", "value")

    def to_json(self) -> Json:
        return {"type": "textarea", "id": self.id} | _without_blanks(
            {
                "label": shorten(self.label, LINE_LENGTH),
                "placeholder": shorten(self.placeholder, LINE_LENGTH),
                "value": clean_text(self.value),
                "error": self.error,
                "disabled": self.disabled,
            }
        )

    def pixels(self) -> int:
        return _label_height(self.label) + AREA + MARGIN


@dataclass(frozen=True, kw_only=True)
class Option:
    """One choice of a dropdown, a single select or a checkbox. Its id is what comes back, never its text."""

    id: str
    text: str
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_text(self, "text")

    def to_json(self) -> Json:
        return {"type": "option", "id": self.id, "text": shorten(self.text, LABEL_LENGTH)} | _without_blanks(
            {"disabled": self.disabled}
        )


def _require_options(owner: Component, options: tuple[Option, ...], fewest: int, most: int | None) -> None:
    if len(options) < fewest or (most is not None and len(options) > most):
        room = f"{fewest} to {most}" if most else f"at least {fewest}"
        raise _refuse(owner, f"takes {room} options, not {len(options)}")
    seen: set[str] = set()
    for option in options:
        if option.id in seen:
            raise _refuse(owner, f"two options have the id {option.id!r}")
        seen.add(option.id)


def _require_chosen(owner: Component, chosen: Iterable[str], options: tuple[Option, ...]) -> None:
    known = {option.id for option in options}
    for value in chosen:
        if value not in known:
            raise _refuse(owner, f"the value {value!r} is none of its options")


@dataclass(frozen=True, kw_only=True)
class Dropdown(Component):
    """A list of choices to unfold. It has no action; `value` is an option's id, or "" for none yet."""

    id: str
    options: tuple[Option, ...]
    MIN_OPTIONS: ClassVar = 2
    MAX_OPTIONS: ClassVar = 10
    label: str = ""
    value: str = ""
    save_state: SaveState = ""
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_strings(self, "label", "value")
        _require_options(self, self.options, self.MIN_OPTIONS, self.MAX_OPTIONS)
        _require_chosen(self, [self.value] if self.value else [], self.options)
        _require_one_of(self, "save_state", SAVE_STATES)

    def to_json(self) -> Json:
        return {
            "type": "dropdown",
            "id": self.id,
            "options": [option.to_json() for option in self.options],
        } | _without_blanks(
            {
                "label": shorten(self.label, LINE_LENGTH),
                "value": self.value,
                "save_state": self.save_state,
                "disabled": self.disabled,
            }
        )

    def pixels(self) -> int:
        return _label_height(self.label) + FIELD + MARGIN


@dataclass(frozen=True, kw_only=True)
class SingleSelect(Component):
    """Choices that are all in sight, one to pick.

    With an action the canvas is sent as soon as one is picked.
    """

    id: str
    options: tuple[Option, ...]
    MIN_OPTIONS: ClassVar = 2
    MAX_OPTIONS: ClassVar = 10
    label: str = ""
    value: str = ""
    action: Submit | None = None
    save_state: SaveState = ""
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_strings(self, "label", "value")
        _require_options(self, self.options, self.MIN_OPTIONS, self.MAX_OPTIONS)
        _require_chosen(self, [self.value] if self.value else [], self.options)
        _require_one_of(self, "save_state", SAVE_STATES)

    def to_json(self) -> Json:
        return {
            "type": "single-select",
            "id": self.id,
            "options": [option.to_json() for option in self.options],
        } | _without_blanks(
            {
                "label": shorten(self.label, LINE_LENGTH),
                "value": self.value,
                "action": self.action.to_json() if self.action else None,
                "save_state": self.save_state,
                "disabled": self.disabled,
            }
        )

    def pixels(self) -> int:
        return _label_height(self.label) + FIELD * len(self.options) + MARGIN


@dataclass(frozen=True, kw_only=True)
class Checkbox(Component):
    """Choices to tick. The label is always sent (the reference calls it optional, the schema required).

    In JSON the choices stand under `option`, in the singular; that is Intercom's name for them.
    """

    id: str
    label: str
    options: tuple[Option, ...]
    MIN_OPTIONS: ClassVar = 1
    value: tuple[str, ...] = ()
    save_state: SaveState = ""
    disabled: bool = False

    def __post_init__(self) -> None:
        _require_id(self)
        _require_text(self, "label")
        _require_options(self, self.options, self.MIN_OPTIONS, None)
        if isinstance(self.value, str):
            raise _refuse(self, "value must be several option ids, not one string")
        _require_chosen(self, self.value, self.options)
        _require_one_of(self, "save_state", SAVE_STATES)

    def to_json(self) -> Json:
        return (
            {
                "type": "checkbox",
                "id": self.id,
                "label": shorten(self.label, LINE_LENGTH),
                "option": [option.to_json() for option in self.options],
            }
            | ({"value": list(self.value)} if self.value else {})
            | _without_blanks({"save_state": self.save_state, "disabled": self.disabled})
        )

    def pixels(self) -> int:
        rows = sum(_lines(shorten(option.text, LABEL_LENGTH)) for option in self.options)
        return _label_height(self.label) + (LINE + 8) * rows + MARGIN


@dataclass(frozen=True, kw_only=True)
class Item:
    """A line of a list. With an action it can be clicked, and its id comes back as `component_id`.

    An image needs its width and height (pixels) with it, and an https address.
    """

    id: str
    title: str
    subtitle: str = ""
    tertiary_text: str = ""
    image: str = ""
    image_width: int = 0
    image_height: int = 0
    rounded_image: bool = False
    disabled: bool = False
    action: Action | None = None

    def __post_init__(self) -> None:
        _require_id(self)
        _require_text(self, "title")
        _require_strings(self, "subtitle", "tertiary_text", "image")
        if self.image:
            _require_url(self, "image", ("https",))
            _require_pixels(self, "image_width", "image_height")
        elif self.image_width or self.image_height:
            raise _refuse(self, "has the size of an image but no image")

    def to_json(self) -> Json:
        return {"type": "item", "id": self.id, "title": shorten(self.title, LABEL_LENGTH)} | _without_blanks(
            {
                "subtitle": shorten(self.subtitle, LINE_LENGTH),
                "tertiary_text": shorten(self.tertiary_text, LINE_LENGTH),
                "image": self.image,
                "image_width": self.image_width or None,
                "image_height": self.image_height or None,
                "rounded_image": self.rounded_image,
                "disabled": self.disabled,
                "action": self.action.to_json() if self.action else None,
            }
        )

    def pixels(self) -> int:
        lines = _lines(shorten(self.title, LABEL_LENGTH))
        lines += sum(
            _lines(shorten(line, LINE_LENGTH)) for line in (self.subtitle, self.tertiary_text) if line
        )
        return max(LINE * lines, self.image_height) + 16


@dataclass(frozen=True, kw_only=True)
class List(Component):
    """Lines, one below the other. A list has no id of its own; its items have."""

    items: tuple[Item, ...]
    MIN_ITEMS: ClassVar = 1
    disabled: bool = False

    def __post_init__(self) -> None:
        if len(self.items) < self.MIN_ITEMS:
            raise _refuse(self, "takes at least one item")

    def to_json(self) -> Json:
        return {"type": "list", "items": [item.to_json() for item in self.items]} | _without_blanks(
            {"disabled": self.disabled}
        )

    def pixels(self) -> int:
        return sum(item.pixels() for item in self.items) + MARGIN

    def ids(self) -> tuple[str, ...]:
        return tuple(item.id for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A row of a data table: a name and its value.

    A blank value shows as a dash, since values are required.
    """

    field: str
    value: str

    def __post_init__(self) -> None:
        _require_text(self, "field")
        _require_strings(self, "value")

    def to_json(self) -> Json:
        return {
            "type": "field-value",
            "field": shorten(self.field, LABEL_LENGTH),
            "value": shorten(self.value, LINE_LENGTH) or NOTHING,
        }


@dataclass(frozen=True, kw_only=True)
class DataTable(Component):
    """Names and values.

    The Inbox cuts a long value and shows the whole of it when hovered. No id, no actions.
    """

    items: tuple[Field, ...]
    MIN_ITEMS: ClassVar = 1

    def __post_init__(self) -> None:
        if len(self.items) < self.MIN_ITEMS:
            raise _refuse(self, "takes at least one field")

    def to_json(self) -> Json:
        return {"type": "data-table", "items": [item.to_json() for item in self.items]}

    def pixels(self) -> int:
        return (LINE + 8) * len(self.items) + MARGIN


@dataclass(frozen=True, kw_only=True)
class Image(Component):
    """An image by its https address, with its size in pixels. It may open an address, and do nothing else."""

    url: str
    width: int
    height: int
    id: str = ""
    align: Literal["left", "center", "right", "full_width"] = "left"
    ALIGNS: ClassVar = ("left", "center", "right", "full_width")
    rounded: bool = False
    bottom_margin: Literal["", "none"] = ""
    action: OpenUrl | None = None

    def __post_init__(self) -> None:
        _require_url(self, "url", ("https",))
        _require_pixels(self, "width", "height")
        _require_strings(self, "id")
        _require_one_of(self, "align", self.ALIGNS)
        _require_one_of(self, "bottom_margin", BOTTOM_MARGINS)
        if self.action is not None and not isinstance(self.action, OpenUrl):
            raise _refuse(self, "an image's action can only open an address")

    def to_json(self) -> Json:
        return {
            "type": "image",
            "url": self.url,
            "width": self.width,
            "height": self.height,
            "align": self.align,
        } | _without_blanks(
            {
                "id": self.id,
                "rounded": self.rounded,
                "bottom_margin": self.bottom_margin,
                "action": self.action.to_json() if self.action else None,
            }
        )

    def pixels(self) -> int:
        drawn = self.height
        if self.align == "full_width":  # small ones are drawn larger than they are
            drawn = max(drawn, math.ceil(self.height * 400 / self.width))
        return drawn + 16


@dataclass(frozen=True, kw_only=True)
class Divider(Component):
    """A line across the panel."""

    id: str = ""

    def __post_init__(self) -> None:
        _require_strings(self, "id")

    def to_json(self) -> Json:
        return {"type": "divider"} | _without_blanks({"id": self.id})

    def pixels(self) -> int:
        return 24


@dataclass(frozen=True, kw_only=True)
class Spacer(Component):
    """Room between two components."""

    id: str = ""
    size: Literal["xs", "s", "m", "l", "xl"] = "s"

    def __post_init__(self) -> None:
        _require_strings(self, "id")
        _require_one_of(self, "size", SPACES)

    def to_json(self) -> Json:
        return {"type": "spacer", "size": self.size} | _without_blanks({"id": self.id})

    def pixels(self) -> int:
        return SPACES[self.size]


# --- The canvas -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """An answer to Initialize or Submit: it replaces the whole of what the panel shows.

    `stored_data` comes back with the next submit, and only then. Raises LimitError when there is no
    component, when two ids are the same, when `stored_data` is not JSON, or when either part is larger than
    MAX_BYTES.
    """

    components: tuple[Component, ...]
    stored_data: Mapping[str, Any] = field(default_factory=dict)
    MAX_BYTES: ClassVar = MAX_BYTES

    def __post_init__(self) -> None:
        if not self.components:
            raise _refuse(self, "takes at least one component")
        seen: set[str] = set()
        for component in self.components:
            for name in component.ids():
                if name in seen:
                    raise _refuse(self, f"two components have the id {name!r}")
                seen.add(name)
        canvas = self.to_json()["canvas"]
        for name in ("content", "stored_data"):
            size = self._size(name, canvas[name])
            if size > self.MAX_BYTES:
                raise _refuse(self, f"{name} takes {size} bytes, of {self.MAX_BYTES}")

    def _size(self, name: str, value: Json) -> int:
        # Escaped as ASCII: the largest of the ways in which a JSON encoder of either side could count it.
        try:
            return len(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise _refuse(self, f"{name} is not JSON: {error}") from None

    def to_json(self) -> Json:
        """The whole body of the answer."""
        return {
            "canvas": {
                "content": {"components": [component.to_json() for component in self.components]},
                "stored_data": dict(self.stored_data),
            }
        }

    def height(self) -> int:
        """Pixels that it takes in the Inbox panel, over-estimated.

        The first one may have FIRST_SCREEN_HEIGHT.
        """
        return height_of(self.components)


def height_of(components: Iterable[Component]) -> int:
    """Pixels that a canvas of these takes in the Inbox panel, over-estimated."""
    return PADDING + sum(component.pixels() for component in components)
