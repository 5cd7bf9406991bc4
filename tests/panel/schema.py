"""Validate a canvas, written from Intercom's documentation and independent of the panel's code.

`check_canvas` is run on every response that any test gets from the Canvas endpoints. It knows the documented
property names, which of them are required, the enumerations and the limits, and rejects everything that is not
documented for the Inbox: https://developers.intercom.com/docs/references/canvas-kit/ (components, actions,
response objects).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

KILOBYTE = 1024
Check = Callable[[Any, str], None]


def fail(path: str, why: str) -> None:
    raise AssertionError(f"{path or 'answer'}: {why}")


def string(value: Any, path: str) -> None:
    if not isinstance(value, str):
        fail(path, f"must be a string, is {value!r}")
    for character in value:
        if (ord(character) < 32 and character not in "\n\t") or 0xD800 <= ord(character) <= 0xDFFF:
            fail(path, f"contains the character {ord(character):#x}")


def filled(value: Any, path: str) -> None:
    string(value, path)
    if not value.strip():
        fail(path, "is empty")


def flag(value: Any, path: str) -> None:
    if value is not True and value is not False:
        fail(path, f"must be true or false, is {value!r}")


def pixels(value: Any, path: str) -> None:
    if type(value) is not int or value <= 0:
        fail(path, f"must be a number of pixels, is {value!r}")


def enum(*allowed: str) -> Check:
    def check(value: Any, path: str) -> None:
        if value not in allowed:
            fail(path, f"{value!r} is not one of {allowed}")

    return check


def address(*schemes: str) -> Check:
    def check(value: Any, path: str) -> None:
        filled(value, path)
        try:
            parts = urlsplit(value)
        except ValueError as error:
            raise AssertionError(f"{path}: invalid address: {error}") from None
        if parts.scheme not in schemes or not parts.netloc or any(character.isspace() for character in value):
            fail(path, f"{value!r} is not a {'/'.join(schemes)} address")

    return check


def strings(value: Any, path: str) -> None:
    if not isinstance(value, list):
        fail(path, "must be an array")
    for index, text in enumerate(value):
        filled(text, f"{path}[{index}]")


def shaped(value: Any, path: str, required: dict[str, Check], optional: dict[str, Check]) -> None:
    if not isinstance(value, dict):
        fail(path, f"must be an object, is {value!r}")
    for name in required:
        if name not in value:
            fail(path, f"lacks {name!r}")
    known = required | optional
    for name, property_value in value.items():
        if name not in known:
            fail(f"{path}.{name}", "is not documented for the Inbox")
        known[name](property_value, f"{path}.{name}")


def action(*kinds: str) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            fail(path, "must be an object")
        kind = value.get("type")
        if kind not in kinds:
            fail(f"{path}.type", f"{kind!r} is not one of {kinds}")
        if kind == "url":
            shaped(value, path, {"type": string, "url": address("http", "https")}, {})
        else:
            shaped(value, path, {"type": string}, {})

    return check


def several(check_entry: Check, minimum: int, maximum: int | None = None) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            fail(path, "must be an array")
        if len(value) < minimum or (maximum is not None and len(value) > maximum):
            fail(path, f"has {len(value)} entries, outside of {minimum} to {maximum or 'any number'}")
        for index, entry in enumerate(value):
            check_entry(entry, f"{path}[{index}]")

    return check


def option(value: Any, path: str) -> None:
    shaped(value, path, {"type": enum("option"), "id": filled, "text": filled}, {"disabled": flag})


def field_value(value: Any, path: str) -> None:
    shaped(value, path, {"type": enum("field-value"), "field": filled, "value": filled}, {})


def item(value: Any, path: str) -> None:
    optional: dict[str, Check] = {
        "subtitle": string,
        "tertiary_text": string,
        "image": address("https"),
        "image_width": pixels,
        "image_height": pixels,
        "rounded_image": flag,
        "disabled": flag,
        "action": action("submit", "url"),
    }
    shaped(value, path, {"type": enum("item"), "id": filled, "title": filled}, optional)
    given = [name in value for name in ("image", "image_width", "image_height")]
    if any(given) and not all(given):
        fail(path, "image, image_width and image_height go together")


SAVE_STATE = enum("unsaved", "saved", "failed")
ALIGN = enum("left", "center", "right")
NO_MARGIN = enum("none")

COMPONENTS: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "text": (
        {"text": filled},
        {
            "id": filled,
            "align": ALIGN,
            "style": enum("header", "paragraph", "muted", "error"),
            "bottom_margin": NO_MARGIN,
        },
    ),
    "button": (
        {"id": filled, "label": filled, "action": action("submit", "url")},
        {"style": enum("primary", "secondary", "link"), "disabled": flag},
    ),
    "input": (
        {"id": filled},
        {
            "label": string,
            "placeholder": string,
            "value": string,
            "action": action("submit", "url"),
            "save_state": SAVE_STATE,
            "disabled": flag,
        },
    ),
    "textarea": (
        {"id": filled},
        {"label": string, "placeholder": string, "value": string, "error": flag, "disabled": flag},
    ),
    "dropdown": (
        {"id": filled, "options": several(option, 2, 10)},
        {"label": string, "value": filled, "save_state": SAVE_STATE, "disabled": flag},
    ),
    "single-select": (
        {"id": filled, "options": several(option, 2, 10)},
        {
            "label": string,
            "value": filled,
            "save_state": SAVE_STATE,
            "disabled": flag,
            "action": action("submit"),
        },
    ),
    "checkbox": (
        {"id": filled, "option": several(option, 1), "label": filled},
        {"value": strings, "save_state": SAVE_STATE, "disabled": flag},
    ),
    "list": ({"items": several(item, 1)}, {"disabled": flag}),
    "data-table": ({"items": several(field_value, 1)}, {}),
    "image": (
        {"url": address("https"), "width": pixels, "height": pixels},
        {
            "id": filled,
            "align": enum("left", "center", "right", "full_width"),
            "rounded": flag,
            "bottom_margin": NO_MARGIN,
            "action": action("url"),
        },
    ),
    "divider": ({}, {"id": filled}),
    "spacer": ({}, {"id": filled, "size": enum("xs", "s", "m", "l", "xl")}),
}


def component(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        fail(path, f"must be an object, is {value!r}")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in COMPONENTS:
        fail(f"{path}.type", f"{kind!r} is not a component of the Inbox")
    required, optional = COMPONENTS[kind]
    shaped(value, path, {"type": string} | required, optional)
    options = value.get("options") or value.get("option") or []
    ids = [entry["id"] for entry in options]
    if len(ids) != len(set(ids)):
        fail(path, f"two options share an id: {ids}")
    chosen = value.get("value")
    for value_id in chosen if isinstance(chosen, list) else [chosen]:
        if options and value_id is not None and value_id not in ids:
            fail(f"{path}.value", f"{value_id!r} is not one of the options {ids}")


def size(value: Any, path: str) -> None:
    length = len(json.dumps(value, ensure_ascii=True).encode())
    if length > 64 * KILOBYTE:
        fail(path, f"takes {length} bytes, more than 64 KB")


def stored(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        fail(path, "must be an object")
    size(value, path)


def content(value: Any, path: str) -> None:
    shaped(value, path, {"components": several(component, 1)}, {})
    size(value, path)
    ids: set[str] = set()
    for index, entry in enumerate(value["components"]):
        for holder in [entry, *entry.get("items", [])]:
            name = holder.get("id")
            if name is not None and name in ids:
                fail(f"{path}.components[{index}]", f"the id {name!r} is used twice")
            ids.add(name)


def canvas(value: Any, path: str) -> None:
    shaped(value, path, {"content": content}, {"stored_data": stored})


def completed(value: Any, path: str) -> None:
    shaped(value, path, {"type": enum("completed")}, {})


def check_canvas(answer: Any, *, first: bool = False) -> None:
    """Raise AssertionError, with the path of the fault, if `answer` is not a valid canvas for the Inbox.

    `answer` is the parsed body. `first` is for responses to Initialize: no primary button (the guidelines for
    Inbox apps). Their height (400 pixels at most) is not checked here: Intercom documents no heights.
    """
    shaped(answer, "answer", {"canvas": canvas}, {"event": completed})
    try:
        json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"answer: is not JSON: {error}") from None
    if first:
        for index, entry in enumerate(answer["canvas"]["content"]["components"]):
            if entry["type"] == "button" and entry.get("style", "primary") == "primary":
                fail(f"answer.canvas.content.components[{index}]", "no primary button on the first canvas")
