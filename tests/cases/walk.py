"""A breadth-first walk over every screen of the panel that clicks can reach."""

from __future__ import annotations

import copy
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from intercom_bridge.panel.click import Click
from intercom_bridge.panel.router import ROUTES
from tests.teammate import Teammate

MAX_DEPTH = 6
MAX_BYTES = 64 * 1024
# Names that a careless screen would display wrongly.
NAMES = (
    "Paper jam",
    "🖨️ 🚀 👩‍👩‍👧‍👦",
    "شاشة سوداء عند التشغيل",
    "**bold** [click](https://evil.example) __x__ `y`",
    "<script>alert(1)</script> & ünïcödé",
    "W" * 255,
    "株式会社エイビーシーデザイン研究所",
    "a: b, c; 'd' \"e\" \\ \u200b",
)

# Screens with equal keys count as one place.
PlaceKey = tuple[tuple[str, str], frozenset[tuple[str, str]], frozenset[str], str]


def name(number: int) -> str:
    return NAMES[number % len(NAMES)]


@dataclass
class Place:
    """A screen that the walk reached. `clicks` maps each click on it to the place that it leads to."""

    canvas: dict[str, Any]
    depth: int
    path: tuple[str, ...]
    clicks: dict[str, PlaceKey] = field(default_factory=dict)


class Walk:
    """Click everything on every screen, up to `max_depth` clicks from the first one.

    Screens are one place if the same kind of click led to them and they offer the same clicks, show the same kinds of
    components and store the same keys. A request is not repeated until a click changes rows. Each screen is checked:
    small enough, no dead end, no internal error, and no Markdown from names.
    """

    def __init__(self, teammate: Teammate, max_depth: int = MAX_DEPTH) -> None:
        self.teammate = teammate
        self.max_depth = max_depth
        self.places: dict[PlaceKey, Place] = {}
        self.targets: dict[str, PlaceKey] = {}
        self.version = 0

    def go(self) -> Walk:
        todo = deque([self._arrive("home", Place({}, 0, ()), self.teammate.open)])
        seen = set(todo)
        while todo:
            place = self.places[todo.popleft()]
            for component_id in list(self._submits(place.canvas)):
                request = self._request_of(place.canvas, component_id)
                if request not in self.targets:
                    target = self._arrive(component_id, place, partial(self._click, place, component_id))
                    if _changes_rows(component_id):
                        self.targets = {}
                    self.targets[request] = target
                target = place.clicks[component_id] = self.targets[request]
                if target not in seen and self.places[target].depth < self.max_depth:
                    seen.add(target)
                    todo.append(target)
        return self

    def _arrive(self, component_id: str, origin: Place, act: Callable[[], object]) -> PlaceKey:
        path = (*origin.path, component_id)
        act()
        canvas = copy.deepcopy(self.teammate.canvas)
        self.version = canvas["stored_data"]["version"]
        assert len(json.dumps({"canvas": canvas}).encode()) < MAX_BYTES, f"{path} is too large"
        assert "our mistake" not in self.teammate.text, f"{path}\n{self.teammate.text}"
        assert "Unknown action" not in self.teammate.text, f"{path} leads nowhere"
        for component in canvas["content"]["components"]:
            text = component.get("text", "")
            assert not re.search(r"\]\(http|\*\*bold\*\*", text), f"{path} has Markdown from a name"
        assert list(self._submits(canvas)), f"{path} is a dead end:\n{self.teammate.text}"
        key = self._key(component_id, canvas)
        self.places.setdefault(key, Place(canvas, origin.depth + 1 if origin.path else 0, path))
        return key

    def _click(self, place: Place, component_id: str) -> None:
        """Fill in every empty field, choose the last option of every choice, and click."""
        self.teammate.canvas = copy.deepcopy(place.canvas)
        # As if the screen had been displayed just now: a click on an outdated one changes nothing.
        self.teammate.canvas.setdefault("stored_data", {})["version"] = self.version
        typed = {}
        for number, component in enumerate(self.teammate.fields()):
            if component["type"] in ("input", "textarea"):
                typed[component["id"]] = component.get("value") or name(number)[:100]
            elif component["type"] in ("dropdown", "single-select"):
                typed[component["id"]] = component.get("value") or component["options"][-1]["id"]
        self.teammate.submit(component_id, typed)

    def _request_of(self, canvas: dict[str, Any], component_id: str) -> str:
        """Return the parts of the request that a click on this screen sends: its ID, the stored data and the fields."""
        self.teammate.canvas = canvas
        stored = {name: value for name, value in canvas.get("stored_data", {}).items() if name != "version"}
        fields = [(component["id"], component.get("value")) for component in self.teammate.fields()]
        return json.dumps([component_id, stored, fields], sort_keys=True)

    def _submits(self, canvas: dict[str, Any]) -> Iterator[str]:
        self.teammate.canvas = canvas
        yield from [
            component["id"]
            for component in self.teammate.clickable()
            if component["action"]["type"] == "submit"
        ]

    def _key(self, component_id: str, canvas: dict[str, Any]) -> PlaceKey:
        stored = {
            key: sorted(value.get("values", value)) if isinstance(value, dict) else type(value).__name__
            for key, value in canvas.get("stored_data", {}).items()
        }
        return (
            _kind_of_click(component_id),
            frozenset(_kind_of_click(submit) for submit in self._submits(canvas)),
            frozenset(component["type"] for component in canvas["content"]["components"]),
            json.dumps(stored, sort_keys=True),
        )

    @property
    def verbs(self) -> set[str]:
        """The verbs of all clicks."""
        return {Click.parse(click).verb for place in self.places.values() for click in place.clicks}

    def places_without_a_way_home(self) -> list[tuple[str, ...]]:
        """Return the paths of places from which no clicks lead to the first screen.

        The clicks of the deepest places were not tried: one of them only has to offer a way back.
        """
        reached = {key for key, place in self.places.items() if place.path == ("home",)}
        reached |= {key for key in self.places if key[0] == ("home", "")}
        while True:
            more = {
                key
                for key, place in self.places.items()
                if key not in reached and (set(place.clicks.values()) & reached or _offers_home(key, place))
            }
            if not more:
                return [place.path for key, place in self.places.items() if key not in reached]
            reached |= more


def _offers_home(key: PlaceKey, place: Place) -> bool:
    return not place.clicks and any(
        verb in ("home", "linked", "ongoing", "find", "sync", "form", "ticket") for verb, _ in key[1]
    )


def _changes_rows(component_id: str) -> bool:
    verb = Click.parse(component_id).verb
    return verb == "who" or any(
        route.mutates for name, route in ROUTES.items() if name.partition(":")[0] == verb
    )


def _kind_of_click(component_id: str) -> tuple[str, str]:
    click = Click.parse(component_id)
    return click.verb, click.argument(0) if click.verb == "form" else ""
