"""Walk over every reachable screen, with various amounts of data: each click has a valid response and a way back."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import (
    Conversation,
    Delivery,
    EventKind,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
    Workspace,
)
from sandbox.itop import Itop
from tests.cases.walk import Walk, name
from tests.teammate import ALICE, Teammate


@dataclass(frozen=True)
class World:
    """The number of people with the customer's address, and of their tickets, services and subcategories."""

    people: int
    things: int
    called: int = 0

    def fill(self, itop: Itop) -> dict[str, Any]:
        """Add the person to iTop and return the contact in Intercom."""
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
            # The first service has as many subcategories as there are services; the others have 0, 1, 2, …
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


WORLDS = [World(people=1, things=0), World(people=1, things=1), World(people=1, things=11, called=1)]
# Nobody, two people, and more than a screen lists, from whom a teammate picks the customer.
CROWDS = [World(people=0, things=1), World(people=2, things=1), World(people=200, things=1, called=2)]
# After this many clicks a person is chosen, and the further screens are the same as for a customer with one person.
CHOICE_DEPTH = 3
LARGE = [World(people=1, things=200, called=number) for number in (2, 3)]


def walked(world: World, itop: Itop, client: Client, *, messages: bool = False) -> Walk:
    teammate = Teammate(client, world.fill(itop))
    if messages:
        teammate.open().click("open ticket").click("R-").click("Link to").click("without earlier")
        _messages()
    return Walk(teammate).go()


def _messages() -> None:
    link = TicketLink.objects.get()
    for number, (state, code, detail) in enumerate(
        (
            ("written", "", ""),
            ("waiting", "itop_unavailable", name(3)),
            ("failed", "rejected", name(2) * 10),
            ("skipped", "sync_paused", ""),
        )
    ):
        Delivery.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind="part",
            part_id=str(37358198390 + number),
            part_created_at=1_768_999_000 + number,
            state=state,
            reason_code=code,
            reason_detail=detail,
            log="public_log",
        )
    for number, kind in enumerate(EventKind.values):
        TicketEvent.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind=kind,
            key=f"public_log:{number}:x",
            # As long as the bridge stores it (events/record.py). SQLite would accept more.
            author_name=name(number)[:200],
            after=name(3),
            content=f"<p>{name(2) * 10}</p>",
        )
    solution = {"solution": f"<p>{name(2) * 10}</p>", "status": "resolved"}
    TicketSnapshot.objects.update_or_create(ticket=link.ticket, defaults=solution)
    Conversation.objects.update(posting_stopped_at=timezone.now())
    Workspace.objects.update(access_token="token")


@pytest.mark.parametrize("world", WORLDS[:2], ids=str)
def test_each_click_has_a_valid_response_and_a_way_back(
    world: World, workspace: Any, itop: Itop, client: Client
) -> None:
    walk = walked(world, itop, client)
    assert walk.places_without_a_way_home() == []
    assert {"create", "form"} <= walk.verbs
    if world.things:
        assert {"ongoing", "ticket", "link", "sync", "pause", "resume"} <= walk.verbs


@pytest.mark.parametrize("world", CROWDS, ids=str)
def test_each_click_on_the_way_to_a_person_has_a_valid_response_and_a_way_back(
    world: World, workspace: Any, itop: Itop, client: Client
) -> None:
    walk = Walk(Teammate(client, world.fill(itop)), CHOICE_DEPTH).go()
    assert walk.places_without_a_way_home() == []
    assert "who" in walk.verbs
    if world.people:
        assert {"create", "find"} <= walk.verbs


def test_each_sync_click_has_a_valid_response(workspace: Any, itop: Itop, client: Client) -> None:
    walk = walked(WORLDS[2], itop, client, messages=True)
    assert walk.places_without_a_way_home() == []
    assert {"try-again", "write-left-out", "forget-left-out", "pause", "resume", "sync"} <= walk.verbs
    assert {"news", "send", "send-now", "resume-posting"} <= walk.verbs
    assert {"ongoing", "ticket", "link", "create", "form"} <= walk.verbs


def test_each_click_has_a_valid_response_while_itop_is_away(
    workspace: Any, itop: Itop, client: Client, time_machine: Any
) -> None:
    teammate = Teammate(client, WORLDS[2].fill(itop))
    teammate.open().click("open ticket").click("R-").click("Link to").click("without earlier")
    teammate.open()
    _messages()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60))
    itop.faults.away = True
    walk = Walk(teammate).go()
    assert walk.places_without_a_way_home() == []
    assert {"ongoing", "ticket", "sync", "pause", "resume"} <= walk.verbs


@pytest.mark.walk
@pytest.mark.parametrize("world", LARGE, ids=str)
def test_each_click_has_a_valid_response_with_hundreds_of_objects(
    world: World, workspace: Any, itop: Itop, client: Client
) -> None:
    assert walked(world, itop, client, messages=True).places_without_a_way_home() == []
