"""The validator that checks every canvas of the tests is itself tested here."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from .schema import check_canvas

OPTIONS = [{"type": "option", "id": "low", "text": "Low"}, {"type": "option", "id": "high", "text": "High"}]
GOOD: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": "**Hello**", "style": "header", "align": "left"},
    "button": {"type": "button", "id": "b", "label": "Go", "style": "link", "action": {"type": "submit"}},
    "input": {"type": "input", "id": "i", "label": "Name", "action": {"type": "submit"}},
    "textarea": {"type": "textarea", "id": "t", "error": True},
    "dropdown": {"type": "dropdown", "id": "d", "options": OPTIONS, "value": "low"},
    "single-select": {"type": "single-select", "id": "s", "options": OPTIONS, "action": {"type": "submit"}},
    "checkbox": {"type": "checkbox", "id": "c", "label": "Flags", "option": OPTIONS, "value": ["low"]},
    "list": {
        "type": "list",
        "items": [
            {"type": "item", "id": "x", "title": "X", "action": {"type": "url", "url": "https://x.example"}}
        ],
    },
    "data-table": {"type": "data-table", "items": [{"type": "field-value", "field": "a", "value": "b"}]},
    "image": {"type": "image", "url": "https://x.example/i.png", "width": 10, "height": 10},
    "divider": {"type": "divider"},
    "spacer": {"type": "spacer", "size": "xl"},
}


def canvas(*components: Any) -> dict[str, Any]:
    return {"canvas": {"content": {"components": list(components)}, "stored_data": {"v": 1}}}


@pytest.mark.parametrize("kind", GOOD)
def test_a_documented_component_is_accepted(kind: str) -> None:
    check_canvas(canvas(GOOD[kind]))


def test_all_documented_components_together_are_accepted() -> None:
    check_canvas(canvas(*GOOD.values()))
    check_canvas({**canvas(*GOOD.values()), "event": {"type": "completed"}})


def eleven() -> list[dict[str, str]]:
    return [{"type": "option", "id": str(number), "text": "x"} for number in range(11)]


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("text", {"text": ""}),
    ("text", {"text": None}),
    ("text", {"text": "a\x00"}),
    ("text", {"text": "a\ud800"}),
    ("text", {"style": "bold"}),
    ("text", {"id": ""}),
    ("text", {"bottom_margin": "small"}),
    ("text", {"type": "html"}),
    ("text", {"type": ["text"]}),
    ("text", {"color": "red"}),
    ("button", {"label": ""}),
    ("button", {"action": None}),
    ("button", {"action": {"type": "sheet", "url": "https://x.example"}}),
    ("button", {"action": {"type": "url"}}),
    ("button", {"action": {"type": "url", "url": "javascript:alert(1)"}}),
    ("button", {"action": {"type": "url", "url": "/relative"}}),
    ("button", {"action": {"type": "submit", "url": "https://x.example"}}),
    ("button", {"style": "danger"}),
    ("button", {"disabled": "false"}),
    ("input", {"id": None}),
    ("input", {"value": 3}),
    ("input", {"save_state": ""}),
    ("textarea", {"save_state": "failed"}),
    ("textarea", {"action": {"type": "submit"}}),
    ("dropdown", {"options": OPTIONS[:1]}),
    ("dropdown", {"options": eleven(), "value": "1"}),
    ("dropdown", {"options": [*OPTIONS, OPTIONS[0]]}),
    ("dropdown", {"value": "medium"}),
    ("dropdown", {"value": ""}),
    ("dropdown", {"action": {"type": "submit"}}),
    ("dropdown", {"options": [{"id": "a", "text": "A"}, OPTIONS[0]]}),
    ("single-select", {"options": OPTIONS[:1]}),
    ("single-select", {"options": eleven()}),
    ("checkbox", {"options": OPTIONS}),
    ("checkbox", {"option": []}),
    ("checkbox", {"label": ""}),
    ("checkbox", {"value": "low"}),
    ("checkbox", {"value": ["other"]}),
    ("list", {"items": []}),
    ("list", {"items": [{"type": "item", "id": "x", "title": ""}]}),
    ("list", {"items": [{"type": "item", "title": "X"}]}),
    ("list", {"items": [{"type": "item", "id": "x", "title": "X", "image": "https://x.example/i.png"}]}),
    (
        "list",
        {"items": [{"type": "item", "id": "x", "title": "X"}, {"type": "item", "id": "x", "title": "Y"}]},
    ),
    ("list", {"id": "l"}),
    ("data-table", {"items": []}),
    ("data-table", {"items": [{"type": "field-value", "field": "a", "value": 3}]}),
    ("data-table", {"items": [{"type": "field-value", "field": "a", "value": ""}]}),
    ("data-table", {"id": "t"}),
    ("image", {"url": "http://x.example/i.png"}),
    ("image", {"width": "10"}),
    ("image", {"height": 0}),
    ("image", {"width": True}),
    ("image", {"action": {"type": "submit"}}),
    ("divider", {"size": "s"}),
    ("spacer", {"size": "xxl"}),
]


@pytest.mark.parametrize(("kind", "change"), FAULTS)
def test_an_undocumented_component_is_rejected(kind: str, change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match=r"components\[0\]"):
        check_canvas(canvas({**copy.deepcopy(GOOD[kind]), **change}))


def test_a_missing_required_property_is_rejected() -> None:
    for kind, required in {
        "text": ["text", "type"],
        "button": ["id", "label", "action"],
        "dropdown": ["id", "options"],
        "checkbox": ["id", "option", "label"],
        "image": ["url", "width", "height"],
    }.items():
        for name in required:
            component = copy.deepcopy(GOOD[kind])
            del component[name]
            with pytest.raises(AssertionError):
                check_canvas(canvas(component))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "canvas",
        {},
        {"canvas": None},
        {"canvas": {}},
        {"canvas": {"content": {}}},
        {"canvas": {"content": {"components": []}}},
        {"canvas": {"content": {"components": {}}}},
        {"canvas": {"content": {"components": [None]}}},
        {"content": {"components": [{"type": "divider"}]}},
        {"canvas": {"content": {"components": [{"type": "divider"}]}, "stored_data": []}},
        {"canvas": {"content": {"components": [{"type": "divider"}]}, "content_url": "https://x.example"}},
        {"canvas": {"content": {"components": [{"type": "divider"}]}}, "error": "no"},
        {"canvas": {"content": {"components": [{"type": "divider"}]}, "stored_data": {"x": float("nan")}}},
        {"canvas": {"content": {"components": [{"type": "divider"}]}, "stored_data": {"x": "y" * 66_000}}},
        {"canvas": {"content": {"components": [{"type": "text", "text": "y" * 66_000}]}}},
        {"canvas": {"content": {"components": [{"type": "text", "text": "é" * 11_000}]}}},
    ],
)
def test_an_invalid_canvas_is_rejected(answer: Any) -> None:
    with pytest.raises(AssertionError):
        check_canvas(answer)


def test_duplicate_ids_are_rejected() -> None:
    button = GOOD["button"]
    with pytest.raises(AssertionError, match="twice"):
        check_canvas(canvas(button, {"type": "divider", "id": "b"}))
    with pytest.raises(AssertionError, match="twice"):
        check_canvas(canvas(button, {"type": "list", "items": [{"type": "item", "id": "b", "title": "B"}]}))


def test_the_first_canvas_has_no_primary_button_even_by_default() -> None:
    button = {"type": "button", "id": "b", "label": "Go", "action": {"type": "submit"}}
    check_canvas(canvas(button))
    for style in ({}, {"style": "primary"}):
        with pytest.raises(AssertionError, match="primary"):
            check_canvas(canvas({**button, **style}), first=True)
    check_canvas(canvas({**button, "style": "secondary"}), first=True)
