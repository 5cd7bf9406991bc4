"""A walk over every screen that can be reached, in worlds of every size: each click has an answer, and a way back."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.canvas.click import Click
from intercom_bridge.models import Delivery, TicketLink
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate

DEEPEST = 6
SECONDS = 5.0
BYTES = 64 * 1024

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


def name(number: int) -> str:
    return NAMES[number % len(NAMES)]


@dataclass(frozen=True)
class World:
    """So many persons have the customer's address; each has so many tickets, services and subcategories."""

    people: int
    things: int
    called: int = 0

    def fill(self, itop: Itop) -> dict[str, Any]:
        """Puts it into iTop; answers the contact in Intercom."""
        store = itop.store
        org = store.insert("Organization", name=name(self.called), code="W")["id"]
        email = "somebody@walk.example"
        people = [
            store.insert(
                "Person", first_name=name(self.called + number), name=name(number), org_id=org, email=email
            )["id"]
            for number in range(self.people)
        ]
        contract = store.insert(
            "CustomerContract", name="Walk", org_id=org, provider_id=3, status="production"
        )
        for number in range(self.things):
            service = store.insert("Service", name=name(number), org_id=3, status="production")["id"]
            store.insert(
                "lnkCustomerContractToService", customercontract_id=contract["id"], service_id=service
            )
            # Of the first one as many subcategories as there are services; of the others none, one, two ...
            for other in range(self.things if number == 0 else min(number - 1, 12)):
                store.insert(
                    "ServiceSubcategory",
                    name=name(other),
                    service_id=service,
                    status="production",
                    request_type="incident",
                )
            for person in people[:1]:
                ref = store.take_number("ref")
                store.insert(
                    "UserRequest",
                    ref=f"R-{ref:06d}",
                    title=name(number),
                    description=f"<p>{'long ' * 600}</p>" if number % 3 == 0 else "<p>x</p>",
                    org_id=org,
                    caller_id=person,
                    status=("new", "assigned", "pending")[number % 3],
                    service_id=service,
                    impact="3",
                    urgency="3",
                    start_date="2026-10-25 02:30:00",
                    last_update=store.now(),
                )
        return ALICE | {"id": "walker", "email": email, "name": name(self.called)}


@dataclass
class Place:
    """A screen somebody came to, and where each click on it led."""

    canvas: dict[str, Any]
    depth: int
    way: tuple[str, ...]
    clicks: dict[str, tuple[Any, ...]] = field(default_factory=dict)


class Walk:
    """Breadth first. Screens that come of the same kind of click, offer the same and keep the same are one place."""

    def __init__(self, teammate: Teammate) -> None:
        self.teammate = teammate
        self.places: dict[tuple[Any, ...], Place] = {}

    def go(self) -> Walk:
        todo = deque([self._arrive("home", Place({}, 0, ()), self.teammate.open)])
        seen = set(todo)
        while todo:
            place = self.places[todo.popleft()]
            for component_id in list(self._submits(place.canvas)):
                there = self._arrive(
                    component_id, place, lambda here=place, to=component_id: self._click(here, to)
                )
                place.clicks[component_id] = there
                if there not in seen and self.places[there].depth < DEEPEST:
                    seen.add(there)
                    todo.append(there)
        return self

    def _arrive(self, component_id: str, before: Place, act: Any) -> tuple[Any, ...]:
        way = (*before.way, component_id)
        began = time.monotonic()
        act()
        took = time.monotonic() - began
        canvas = copy.deepcopy(self.teammate.canvas)
        assert took < SECONDS, f"{way} took {took:.1f} s"
        assert len(json.dumps({"canvas": canvas}).encode()) < BYTES, f"{way} is too large"
        assert "our mistake" not in self.teammate.text, f"{way}\n{self.teammate.text}"
        assert "This button is not known" not in self.teammate.text, f"{way} leads nowhere"
        for one in canvas["content"]["components"]:
            assert not re.search(r"\]\(http|\*\*bold\*\*", one.get("text", "")), (
                f"{way} has Markdown of others"
            )
        assert list(self._submits(canvas)), f"{way} is a dead end:\n{self.teammate.text}"
        key = self._kind(component_id, canvas)
        self.places.setdefault(key, Place(canvas, before.depth + 1 if before.way else 0, way))
        return key

    def _click(self, place: Place, component_id: str) -> None:
        """With something typed into each field that is empty, and the last choice of each that has choices."""
        self.teammate.canvas = copy.deepcopy(place.canvas)
        typed = {}
        for number, one in enumerate(self.teammate.fields()):
            if one["type"] in ("input", "textarea"):
                typed[one["id"]] = one.get("value") or name(number)[:100]
            elif one["type"] in ("dropdown", "single-select"):
                typed[one["id"]] = one.get("value") or one["options"][-1]["id"]
        base = self.teammate._base()
        self.teammate.send(
            "/canvas-kit/submit",
            base
            | {"component_id": component_id, "input_values": typed, "current_canvas": self.teammate.canvas},
        )

    def _submits(self, canvas: dict[str, Any]) -> Iterator[str]:
        self.teammate.canvas = canvas
        yield from [one["id"] for one in self.teammate.clickable() if one["action"]["type"] == "submit"]

    def _kind(self, component_id: str, canvas: dict[str, Any]) -> tuple[Any, ...]:
        offered = {_kind_of_click(one) for one in self._submits(canvas)}
        kinds = {one["type"] for one in canvas["content"]["components"]}
        stored = {
            key: sorted(value.get("values", value)) if isinstance(value, dict) else type(value).__name__
            for key, value in canvas.get("stored_data", {}).items()
        }
        return (
            _kind_of_click(component_id),
            frozenset(offered),
            frozenset(kinds),
            json.dumps(stored, sort_keys=True),
        )

    @property
    def verbs(self) -> set[str]:
        """What was clicked."""
        return {Click.read(one).verb for place in self.places.values() for one in place.clicks}

    def without_a_way_home(self) -> list[tuple[str, ...]]:
        """Places from which no clicks lead to the first screen; of those at the edge, one has to be offered."""
        home = {key for key, place in self.places.items() if place.way == ("home",)}
        home |= {key for key in self.places if key[0] == ("home", "")}
        reached = set(home)
        while True:
            more = {
                key
                for key, place in self.places.items()
                if key not in reached and (set(place.clicks.values()) & reached or _offers_home(key, place))
            }
            if not more:
                return [place.way for key, place in self.places.items() if key not in reached]
            reached |= more


def _offers_home(key: tuple[Any, ...], place: Place) -> bool:
    return not place.clicks and any(
        verb in ("home", "linked", "ongoing", "find", "sync", "form", "ticket") for verb, _ in key[1]
    )


def _kind_of_click(component_id: str) -> tuple[str, str]:
    clicked = Click.read(component_id)
    return clicked.verb, clicked.argument(0) if clicked.verb == "form" else ""


WORLDS = [World(people=1, things=0), World(people=1, things=1), World(people=1, things=11, called=1)]
CROWDS = [
    World(people=0, things=1),
    World(people=2, things=1),
    World(people=11, things=1, called=2),
    World(people=200, things=1),
]
LARGE = [World(people=1, things=200, called=number) for number in (2, 3)]


def walked(world: World, itop: Itop, client: Client, *, messages: bool = False) -> Walk:
    teammate = Teammate(client, world.fill(itop))
    if messages:
        teammate.open().click("ongoing").click("R-").click("Link to").click("from now on")
        _messages()
    return Walk(teammate).go()


def _messages() -> None:
    link = TicketLink.objects.get()
    for number, (state, reason) in enumerate(
        (("written", ""), ("waiting", name(3)), ("failed", name(2) * 10), ("skipped", "the sync is paused"))
    ):
        Delivery.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind="part",
            part_id=str(37358198390 + number),
            part_created_at=1_768_999_000 + number,
            state=state,
            reason=reason,
            log="public_log",
        )


@pytest.mark.parametrize("world", [*WORLDS, *CROWDS], ids=str)
def test_each_click_has_an_answer_and_a_way_back(
    world: World, workspace: Any, itop: Itop, client: Client
) -> None:
    walk = walked(world, itop, client)
    assert walk.without_a_way_home() == []
    if world.people == 1:
        assert {"create", "form"} <= walk.verbs
    if world.people == 1 and world.things:
        assert {"ongoing", "linked", "ticket", "link", "sync", "pause", "resume"} <= walk.verbs


def test_each_click_about_the_sync_has_an_answer_too(workspace: Any, itop: Itop, client: Client) -> None:
    walk = walked(WORLDS[2], itop, client, messages=True)
    assert walk.without_a_way_home() == []
    assert {
        "try-again",
        "write-left-out",
        "forget-left-out",
        "pause",
        "resume",
        "sync",
        "create",
    } <= walk.verbs


def test_each_click_has_an_answer_while_itop_is_away(
    workspace: Any, itop: Itop, client: Client, time_machine: Any
) -> None:
    teammate = Teammate(client, WORLDS[2].fill(itop))
    teammate.open().click("ongoing").click("R-").click("Link to").click("from now on")
    teammate.open()
    _messages()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60))
    itop.faults.away = True
    walk = Walk(teammate).go()
    assert walk.without_a_way_home() == []
    assert {"linked", "ongoing", "ticket", "sync", "pause", "resume"} <= walk.verbs


@pytest.mark.walk
@pytest.mark.parametrize("world", LARGE, ids=str)
def test_each_click_has_an_answer_where_there_are_hundreds(
    world: World, workspace: Any, itop: Itop, client: Client
) -> None:
    assert walked(world, itop, client, messages=True).without_a_way_home() == []
