"""The first screen says at once how the linked tickets are, and what needs attention."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import CachedTickets, Delivery, Ticket, TicketLink
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def items(teammate: Teammate) -> list[dict[str, Any]]:
    return [entry for component in teammate.components for entry in component.get("items", [])]


def row(teammate: Teammate, ref: str) -> list[str]:
    """Return the lines of a linked ticket."""
    found = next(entry for entry in items(teammate) if entry["title"].startswith(ref))
    return [found[key] for key in ("title", "subtitle", "tertiary_text") if found.get(key)]


def link_directly(itop_id: int, ref: str) -> None:
    """Link one more ticket to the conversation."""
    link = TicketLink.objects.get(ticket__ref="R-000008")
    ticket = Ticket.objects.create(
        itop=link.ticket.itop, ticket_class="UserRequest", object_id=itop_id, ref=ref
    )
    TicketLink.objects.create(conversation=link.conversation, ticket=ticket)


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    store_link(teammate, itop, "R-000008")
    return teammate


@pytest.fixture
def foreign(itop: Itop) -> dict[str, Any]:
    """Return a ticket of another organization."""
    return next(ticket for ticket in itop.store.all("UserRequest") if ticket["org_id"] == 5)


# The linked tickets


def test_a_linked_ticket_that_nobody_works_on_is_displayed_with_its_status_only(
    linked: Teammate, itop: Itop
) -> None:
    itop.store.update("UserRequest", 8, agent_id=0, team_id=0, status="new")
    CachedTickets.objects.all().delete()
    linked.open()
    assert row(linked, "R-000008")[1] == "New"


def test_a_linked_ticket_is_displayed_with_title_status_and_agent(linked: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, agent_id=42, team_id=0)
    agent = itop.store.load("Person", 42)
    assert agent is not None
    name = f"{agent['first_name']} {agent['name']}"
    CachedTickets.objects.all().delete()
    assert row(linked.open(), "R-000008") == ["R-000008 · Screen flickers", f"Assigned · {name}"]
    assert "Screen flickers" in linked.click("R-000008").text and linked.offers("Unlink")


def test_without_an_agent_the_team_is_displayed(linked: Teammate, itop: Itop) -> None:
    team = itop.store.all("Team")[0]
    itop.store.update("UserRequest", 8, agent_id=0, team_id=team["id"])
    CachedTickets.objects.all().delete()
    assert row(linked.open(), "R-000008")[1] == f"Assigned · {team['name']}"


def test_caller_and_organization_are_displayed_where_they_differ(
    linked: Teammate, itop: Itop, foreign: dict[str, Any]
) -> None:
    link_directly(foreign["id"], foreign["ref"])
    linked.open()
    caller = itop.store.load("Person", foreign["caller_id"])
    assert caller is not None
    owner = row(linked, foreign["ref"])[2]
    assert owner.startswith(f"{caller['first_name']} {caller['name']}") and "Globex" in owner
    assert len(row(linked, "R-000008")) == 2
    itop.store.update("UserRequest", 8, caller_id=41)
    CachedTickets.objects.all().delete()
    assert row(linked.open(), "R-000008")[2] == "Bob Durand"


def test_of_more_than_three_linked_tickets_three_are_displayed_and_closed_ones_last(
    linked: Teammate, itop: Itop
) -> None:
    is_open = {"new", "assigned", "pending"}
    others = [
        ticket
        for ticket in itop.store.all("UserRequest")
        if ticket["caller_id"] == 40 and ticket["id"] != 8 and ticket["status"] in is_open
    ]
    for ticket in others[:2]:
        link_directly(ticket["id"], ticket["ref"])
    itop.store.update("UserRequest", 8, status="closed")
    assert not linked.open().offers("linked tickets")
    assert [entry["title"][:8] for entry in items(linked) if entry["id"].startswith("ticket:")][
        -1
    ] == "R-000008"
    link_directly(others[2]["id"], others[2]["ref"])
    linked.open()
    shown = [entry["title"][:8] for entry in items(linked) if entry["id"].startswith("ticket:")]
    assert len(shown) == 3 and "R-000008" not in shown
    assert "R-000008" in linked.click("All 4 linked tickets").text


def test_of_many_closed_tickets_two_are_named_and_the_others_counted(linked: Teammate, itop: Itop) -> None:
    others = [
        ticket for ticket in itop.store.all("UserRequest") if ticket["caller_id"] == 40 and ticket["id"] != 8
    ]
    for ticket in others[:3]:
        link_directly(ticket["id"], ticket["ref"])
        itop.store.update("UserRequest", ticket["id"], status="new")
    for object_id in (8, others[0]["id"], others[1]["id"]):
        itop.store.update("UserRequest", object_id, status="closed")
    assert re.search(r"R-\d+, R-\d+, and 1 more are closed", linked.open().text)


def test_the_tickets_are_displayed_without_a_further_call(linked: Teammate, itop: Itop) -> None:
    link_directly(7, "R-000007")
    itop.calls.clear()
    linked.open()
    assert itop.calls == [("core/get", "UserRequest")]


# Open and resolved tickets


def test_resolved_tickets_are_not_counted_as_open(teammate: Teammate, itop: Itop) -> None:
    assert "4 open tickets, 1 resolved" in teammate.open().text
    itop.store.update("UserRequest", 8, status="resolved")
    CachedTickets.objects.all().delete()
    assert "3 open tickets, 2 resolved" in teammate.open().text
    teammate.click("3 open tickets")
    assert (
        "Open and resolved tickets of Alice Martin" in teammate.text
        and "R-000008 · Resolved" in teammate.text
    )


# The sync


def test_while_all_is_well_the_sync_line_has_no_numbers(client: Client, linked: Teammate, work: Work) -> None:
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    linked.open()
    line = next(entry for entry in items(linked) if entry["id"] == "sync")
    assert line["title"] == "Sync on" and "tertiary_text" not in line
    assert line["subtitle"].startswith("iTop checked on ")


def test_a_pause_and_what_it_left_out_are_separate_lines(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.open().click("Pause sync")
    notify(client, part(37358198350, "<p>x</p>"), part(37358198351, "<p>y</p>"))
    work()
    linked.open()
    line = next(entry for entry in items(linked) if entry["id"] == "sync")
    assert line["title"] == "Sync paused"
    assert (line["subtitle"], line["tertiary_text"]) == (
        "New messages are not copied",
        "2 messages left out so far",
    )


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("log_full", "Find a ticket"), ("ticket_not_found", "Find a ticket"), ("gave_up", "Try again")],
)
@pytest.mark.parametrize("tickets", [1, 5])
def test_a_failure_is_the_first_line_with_its_whole_reason_and_the_remedy(
    client: Client, linked: Teammate, itop: Itop, work: Work, code: str, remedy: str, tickets: int
) -> None:
    for number in range(1, tickets):
        link_directly(number, f"R-00000{number}")
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    Delivery.objects.filter(ticket__ref="R-000008").update(state="failed", reason_code=code)
    if code == "ticket_not_found":
        itop.store.remove("UserRequest", 8)
        Ticket.objects.filter(ref="R-000008").update(gone_at=timezone.now())
    linked.open()
    first = linked.components[0]
    label = Delivery.objects.filter(state="failed")[0].get_reason_code_display()
    assert first["style"] == "error" and first["text"] == f"1 message could not be copied: {label}"
    assert linked.components[1]["label"] == remedy
    assert "Sync on" not in linked.text and "Sync status" in linked.text
    assert linked.offers("Create a ticket") and "Not this person?" in linked.text


def test_the_question_who_it_is_stays_when_space_is_short(
    client: Client, linked: Teammate, work: Work
) -> None:
    for number in range(1, 5):
        link_directly(number, f"R-00000{number}")
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    Delivery.objects.update(state="failed", reason_code="rejected", reason_detail="very long " * 30)
    assert linked.open().offers("Not this person?") and "Acme Corp" not in linked.text
    assert "Search by name" in linked.click("Not this person?").text
