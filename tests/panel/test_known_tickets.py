"""Responses of iTop are cached for a short time, and displayed with their age while iTop is away."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import (
    CachedAnswer,
    CachedTickets,
    Delivery,
    PersonMatch,
    Secret,
    Ticket,
    TicketCreation,
    TicketLink,
    Workspace,
)
from intercom_bridge.panel.screens.link import CONFIRMED
from intercom_bridge.sync.intake import process_batch
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate, conversation, notify, part

Work = Callable[[], None]
Wait = Callable[[float], None]

TICKETS = ("core/get", "UserRequest")
BOB = ALICE | {"id": "another-contact", "email": "bob.durand@acme.example", "name": "Bob Durand"}
ELSEWHERE = conversation() | {"id": "another-conversation"}


@pytest.fixture
def wait(time_machine: Any) -> Wait:
    """Return a function that advances the clock by a number of seconds."""
    passed = 0.0

    def advance(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        time_machine.move_to(began + dt.timedelta(seconds=passed))

    began = dt.datetime.now(dt.UTC)
    return advance


def calls(itop: Itop, teammate: Teammate) -> list[tuple[str, str]]:
    """Return the requests that the first screen sends to iTop."""
    itop.calls.clear()
    teammate.open()
    return list(itop.calls)


# The short cache


def test_the_first_screen_makes_no_calls_within_twenty_seconds(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    first = teammate.open().text
    wait(19)
    assert calls(itop, teammate) == []
    assert teammate.text == first
    wait(2)
    assert calls(itop, teammate) == [TICKETS]


def test_lists_and_their_pages_make_no_calls(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    itop.calls.clear()
    teammate.click("open tickets").click("Back").click("open tickets")
    assert "R-000008 · Assigned" in teammate.text
    assert itop.calls == []


def test_a_new_link_is_displayed_immediately(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008")
    assert calls(itop, teammate) == [TICKETS]
    assert "R-000008 · " in teammate.text
    assert calls(itop, teammate) == []
    assert "R-000008 · " in teammate.text


def test_a_link_removed_by_another_process_disappears_immediately(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008").open()
    TicketLink.objects.all().delete()
    assert calls(itop, teammate) == [TICKETS]
    assert "No linked tickets" in teammate.text


def test_a_created_ticket_appears_in_every_conversation_of_the_person(
    teammate: Teammate, client: Client
) -> None:
    elsewhere = Teammate(client, **ELSEWHERE)
    assert "4 open tickets, 1 resolved" in elsewhere.open().text
    teammate.open().click("Create a ticket").click("Create ticket")
    assert "5 open tickets, 1 resolved" in teammate.open().text
    assert "5 open tickets, 1 resolved" in elsewhere.open().text


def test_a_write_by_the_worker_invalidates_the_cached_ticket(
    teammate: Teammate, client: Client, itop: Itop, work: Work, wait: Wait
) -> None:
    teammate.link("R-000008")
    work()
    teammate.open()
    wait(5)
    assert calls(itop, teammate) == []
    notify(client, part(37358198350, "<p>still broken</p>"))
    work()
    assert Delivery.objects.get().state == "written"
    itop.store.update("UserRequest", 8, status="pending")
    assert calls(itop, teammate) == [TICKETS]
    assert "R-000008 · Pending" in teammate.click("open tickets").text


def test_a_pause_is_displayed_immediately_without_a_call(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008").open()
    itop.calls.clear()
    assert "Sync paused" in teammate.click("Pause sync").text
    assert "Sync on" in teammate.click("Resume sync").text
    assert itop.calls == []


def test_a_changed_profile_invalidates_the_cache(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    teammate.open()
    workspace.profile.excluded_states = ["rejected", "closed", "assigned"]
    workspace.profile.save()
    assert calls(itop, teammate) == [TICKETS]
    assert "2 open tickets, 1 resolved" in teammate.text


def test_cached_tickets_are_not_displayed_for_another_person(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    teammate.contact = BOB
    assert TICKETS in calls(itop, teammate)
    assert "1 open ticket" in teammate.text and "Bob Durand" in teammate.text


def test_the_services_are_cached_for_five_minutes(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open().click("Create a ticket")
    for seconds, expected in ((290, 0), (11, 1), (290, 0)):
        wait(seconds)
        itop.calls.clear()
        teammate.send_click("create")
        assert itop.calls.count(("core/get", "Service")) == expected


# While iTop is away

KINDS = [
    "refused",
    "error500",
    "html",
    "maintenance",
    "drop_before",
    "reset",
    "slow",
    "drip",
    "bad token",
    "lost key",
]


@pytest.fixture(params=KINDS)
def away(
    request: pytest.FixtureRequest, itop: Itop, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Return a function that makes iTop fail, in a different way per parameter."""

    def go() -> None:
        if request.param == "refused":
            itop.faults.away = True
        elif request.param in ("bad token", "lost key"):
            workspace.itop.token = "wrong" if request.param == "bad token" else Secret("of a lost key")
            workspace.itop.save()
        else:
            monkeypatch.setattr("intercom_bridge.panel.router.RESPONSE_SECONDS", 0.4)
            itop.faults.add(request.param, seconds=3.0)

    return go


def test_the_first_screen_displays_cached_data_with_its_age(
    teammate: Teammate, itop: Itop, away: Callable[[], None], time_machine: Any
) -> None:
    time_machine.move_to(dt.datetime(2026, 11, 24, 14, 3, tzinfo=dt.UTC))
    teammate.link("R-000008").open()
    time_machine.move_to(dt.datetime(2026, 11, 24, 14, 33, tzinfo=dt.UTC))
    away()
    began = time.monotonic()
    teammate.open()
    assert time.monotonic() - began < 1.4
    assert "data is from 24 Nov 2026 14:03." in teammate.text
    assert "Alice Martin" in teammate.text
    assert "R-000008 · Screen flickers" in teammate.text and "4 open tickets, 1 resolved" in teammate.text
    assert teammate.offers("Retry") and teammate.offers("Pause sync")
    assert not teammate.offers("Create a ticket")


def test_while_itop_is_away_the_first_screen_counts_waiting_messages(
    client: Client, teammate: Teammate, away: Callable[[], None], wait: Wait
) -> None:
    teammate.link("R-000008").open()
    wait(60)
    away()
    notify(client, part(37358198350, "<p>one</p>"), part(37358198351, "<p>two</p>"))
    assert process_batch()
    teammate.open()
    # A notice for an admin leaves no space for more.
    assert "2 messages waiting" in teammate.text or "admin must" in teammate.text
    assert "Acme Corp" in teammate.text and "Not this person?" not in teammate.text


@pytest.mark.parametrize("verb", ["linked", "ongoing"])
def test_lists_and_tickets_display_cached_data(
    teammate: Teammate, away: Callable[[], None], wait: Wait, verb: str
) -> None:
    teammate.link("R-000008").open()
    wait(60)
    away()
    teammate.send_click(f"{verb}:1")
    assert "This data is from" in teammate.text
    assert "R-000008 · Assigned\nScreen flickers" in teammate.text
    assert teammate.find("Retry")["id"] == f"{verb}:1"
    teammate.click("R-000008")
    for text in ("R-000008", "Assigned", "Screen flickers", "Linked to this conversation", "data is from"):
        assert text in teammate.text
    assert teammate.find("Retry")["id"] == "ticket:UserRequest:8"
    assert teammate.find("Back")["id"] == f"{verb}:1"


def test_missing_cached_data_is_reported(teammate: Teammate, away: Callable[[], None]) -> None:
    away()
    teammate.open()
    assert "Nothing was changed" in teammate.text and "messages" in teammate.text
    assert "This data is from" not in teammate.text
    assert teammate.offers("Retry")


def test_the_sync_page_is_available_without_cached_data(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008")
    CachedTickets.objects.all().delete()
    PersonMatch.objects.all().delete()
    itop.faults.away = True
    teammate.open().click("Sync status").click("Pause sync")
    assert "Sync is paused" in teammate.text
    TicketLink.objects.all().delete()
    assert not teammate.open().offers("Sync status")


def test_a_retry_displays_current_data(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    teammate.open()
    itop.faults.away = False
    teammate.click("Retry")
    assert "This data is from" not in teammate.text and teammate.offers("Create a ticket")


def test_actions_without_itop_work_while_it_is_away(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.link("R-000008").open()
    wait(3600)
    itop.faults.away = True
    assert "Sync is paused" in teammate.open().click("Pause sync").text
    assert not TicketLink.objects.get().sync_on
    assert "Sync is on" in teammate.open().click("Resume sync").text
    assert TicketLink.objects.get().sync_on
    assert "Sync status" in teammate.open().click("Sync on").text


def test_a_ticket_linked_after_caching_has_its_reference(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    teammate.click("Create a ticket").click("Create ticket")
    ref = Ticket.objects.get().ref
    wait(60)
    itop.faults.away = True
    assert f"{ref} · The export button does nothing\nunknown state" in teammate.open().text
    teammate.send_click("linked:1")
    assert f"{ref} · unknown state" in teammate.text and "Alice Martin · Acme Corp" in teammate.text
    assert "unknown state" in teammate.click(ref).text


def test_a_foreign_ticket_linked_after_caching_keeps_its_owner(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    foreign = next(ticket for ticket in itop.store.all("UserRequest") if ticket["org_id"] == 5)
    caller = itop.store.load("Person", foreign["caller_id"]) or {}
    owner = f"{caller['first_name']} {caller['name']} · Globex & Söhne"
    teammate.open().send_click(f"link:UserRequest:{foreign['id']}:from-now-on:{CONFIRMED}")
    wait(60)
    itop.faults.away = True
    assert foreign["ref"] in teammate.open().text and caller["name"] in teammate.text
    assert owner in teammate.send_click("linked:1").text
    assert f"Another organization's ticket: {owner}" in teammate.click(foreign["ref"]).text


def test_a_ticket_that_was_never_listed_is_not_cached(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    for component_id in ("ticket:UserRequest:7", "ticket:Change:8", "ticket:UserRequest:x"):
        teammate.send_click(component_id)
        assert "This data is from" not in teammate.text
        assert list(teammate.clickable())


def test_a_new_conversation_uses_the_cached_ongoing_tickets(
    teammate: Teammate, client: Client, itop: Itop, wait: Wait
) -> None:
    teammate.link("R-000008").open()
    wait(3600)
    itop.faults.away = True
    elsewhere = Teammate(client, **ELSEWHERE).open()
    assert "4 open tickets, 1 resolved" in elsewhere.text and "No linked tickets" in elsewhere.text


def test_a_rejection_is_not_handled_as_an_outage(
    teammate: Teammate, workspace: Workspace, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    workspace.profile.attributes_mapping = {"caller_id": "no_such_code"}
    workspace.profile.save()
    teammate.open()
    assert "iTop rejected the request" in teammate.text and "This data is from" not in teammate.text


def test_a_permanent_rejection_refers_to_an_admin_without_a_retry(
    teammate: Teammate, workspace: Workspace, wait: Wait
) -> None:
    teammate.open().click("Create a ticket")
    wait(60)
    workspace.profile.attributes_mapping = {"caller_id": "no_such_code"}
    workspace.profile.save()
    teammate.send_click("ticket:UserRequest:8", {"Title": "Typed already"})
    assert "Your input is kept" in teammate.text and "tell an admin" in teammate.text
    assert not teammate.offers("Retry") and teammate.offers("Discard the form")
    workspace.profile.attributes_mapping = {}
    workspace.profile.save()
    assert teammate.click("Back to the form").field("Title")["value"] == "Typed already"


def test_a_ticket_opened_from_the_form_keeps_the_input_during_an_outage(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    teammate.link("R-000008").open().click("Create a ticket")
    teammate.click("Create ticket", Title="Screen flickers")
    assert teammate.offers("R-000008")
    wait(60)
    itop.faults.away = True
    teammate.click("R-000008")
    assert "This data is from" in teammate.text
    itop.faults.away = False
    teammate.click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers"


# Isolation


def test_another_contact_does_not_see_cached_tickets(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    for contact in (BOB, ALICE | {"email": "somebody.else@acme.example"}, ALICE | {"id": "x"}):
        teammate.contact = contact
        assert "Alice" not in teammate.open().text and "This data is from" not in teammate.text


def test_a_contact_matched_to_another_person_does_not_see_cached_tickets(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    PersonMatch.objects.update(person_id=41, name="Bob Durand")
    assert "This data is from" not in teammate.open().text


def test_tickets_cached_under_another_scope_are_not_displayed(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    narrow, wide = "SELECT Organization WHERE id = 4", workspace.scope
    for scope in (narrow, wide):  # The person is in both scopes; the list belongs to the wide one.
        workspace.scope = scope
        workspace.save()
        teammate.open()
    wait(60)
    itop.faults.away = True
    assert "This data is from" in teammate.open().text
    workspace.scope = narrow
    workspace.save()
    assert "This data is from" not in teammate.open().text


def test_cached_tickets_are_displayed_while_the_last_scope_check_passed(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    teammate.open()
    wait(3600)
    itop.faults.away = True
    assert "This data is from" in teammate.open().text
    CachedAnswer.objects.filter(question__startswith="scope: ").update(value=False)
    assert "This data is from" not in teammate.open().text and "Alice" not in teammate.text
    CachedAnswer.objects.all().delete()
    assert "This data is from" not in teammate.open().text


def test_another_workspace_does_not_see_cached_tickets(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    workspace.pk = None
    workspace.workspace_id = teammate.workspace_id = "other5678"
    workspace.save()
    assert CachedTickets.objects.count() == 1
    assert "This data is from" not in teammate.open().text


def test_tickets_of_the_previous_itop_are_not_displayed(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    workspace.itop.url = itop.url + "/other"
    workspace.itop.save()
    assert "This data is from" not in teammate.open().text


def test_a_pending_creation_is_displayed_during_an_outage(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create ticket")
    wait(60)
    itop.faults.away = True
    assert TicketCreation.objects.get().state == "creating"
    assert "A ticket is being created" in teammate.open().text
