"""What iTop said a moment ago is not asked again, and what it said last is there while it does not answer."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import (
    Delivery,
    ItopAnswer,
    KnownTickets,
    PersonMatch,
    Secret,
    Submission,
    Ticket,
    TicketLink,
    Workspace,
)
from intercom_bridge.sync.intake import take_in_batch
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate, conversation, notify, part

Work = Callable[[], None]
Wait = Callable[[float], None]

TICKETS = ("core/get", "UserRequest")
BOB = ALICE | {"id": "another-contact", "email": "bob.durand@acme.example", "name": "Bob Durand"}
ELSEWHERE = conversation() | {"id": "another-conversation"}


@pytest.fixture
def wait(time_machine: Any) -> Wait:
    """Lets so many seconds pass for the clock on the wall."""
    passed = 0.0

    def pass_by(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        time_machine.move_to(began + dt.timedelta(seconds=passed))

    began = dt.datetime.now(dt.UTC)
    return pass_by


def calls(itop: Itop, teammate: Teammate) -> list[tuple[str, str]]:
    """What the first screen asks of iTop now."""
    itop.calls.clear()
    teammate.open()
    return list(itop.calls)


# A moment ago


def test_the_first_screen_asks_nothing_within_twenty_seconds(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    first = teammate.open().text
    wait(19)
    assert calls(itop, teammate) == []
    assert teammate.text == first
    wait(2)
    assert calls(itop, teammate) == [TICKETS]


def test_lists_and_their_pages_ask_nothing_either(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    itop.calls.clear()
    teammate.click("ongoing tickets").click("Back").click("ongoing tickets")
    assert "R-000008 · Assigned" in teammate.text
    assert itop.calls == []


def test_a_link_is_seen_at_once(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008")
    assert calls(itop, teammate) == [TICKETS]
    assert "1 linked ticket" in teammate.text
    assert calls(itop, teammate) == []
    assert "1 linked ticket" in teammate.text


def test_a_link_that_another_process_undoes_is_seen_at_once(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008").open()
    TicketLink.objects.all().delete()
    assert calls(itop, teammate) == [TICKETS]
    assert "No ticket is linked yet" in teammate.text


def test_a_created_ticket_is_seen_at_once_in_every_conversation_of_the_person(
    teammate: Teammate, client: Client
) -> None:
    elsewhere = Teammate(client, **ELSEWHERE)
    assert "5 ongoing tickets" in elsewhere.open().text
    teammate.open().click("Create a ticket").click("Create the ticket")
    assert "6 ongoing tickets" in teammate.open().text
    assert "6 ongoing tickets" in elsewhere.open().text


def test_what_the_worker_writes_into_a_ticket_has_it_asked_for_again(
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
    assert "R-000008 · Pending" in teammate.click("ongoing tickets").text


def test_a_pause_is_seen_at_once_and_asks_nothing(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008").open()
    itop.calls.clear()
    assert "The sync is paused" in teammate.click("Pause the sync").text
    assert "The sync is on" in teammate.click("Resume the sync").text
    assert itop.calls == []


def test_a_changed_profile_has_it_asked_again(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    teammate.open()
    workspace.profile.excluded_states = ["rejected", "closed", "assigned"]
    workspace.profile.save()
    assert calls(itop, teammate) == [TICKETS]
    assert "3 ongoing tickets" in teammate.text


def test_nobody_is_shown_what_was_said_of_somebody_else(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    teammate.contact = BOB
    assert TICKETS in calls(itop, teammate)
    assert "1 ongoing ticket" in teammate.text and "Bob Durand" in teammate.text


def test_the_services_to_choose_from_are_asked_for_every_five_minutes(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    teammate.open().click("Create a ticket")
    for seconds, asked in ((290, 0), (11, 1), (290, 0)):
        wait(seconds)
        itop.calls.clear()
        teammate.send_click("create")
        assert itop.calls.count(("core/get", "Service")) == asked


# While it does not answer

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
    """Has iTop go away, each time in another way."""

    def go() -> None:
        if request.param == "refused":
            itop.faults.away = True
        elif request.param in ("bad token", "lost key"):
            workspace.itop.token = "wrong" if request.param == "bad token" else Secret("of a lost key")
            workspace.itop.save()
        else:
            monkeypatch.setattr("intercom_bridge.canvas.panel.ANSWER_SECONDS", 0.4)
            itop.faults.add(request.param, seconds=3.0)

    return go


def test_the_first_screen_says_what_is_known_and_how_old_that_is(
    teammate: Teammate, itop: Itop, away: Callable[[], None], time_machine: Any
) -> None:
    time_machine.move_to(dt.datetime(2026, 11, 24, 14, 3, tzinfo=dt.UTC))
    teammate.link("R-000008").open()
    time_machine.move_to(dt.datetime(2026, 11, 24, 14, 33, tzinfo=dt.UTC))
    away()
    began = time.monotonic()
    teammate.open()
    assert time.monotonic() - began < 1.4
    assert "what it said on 24 Nov 2026 14:03." in teammate.text
    assert "Alice Martin" in teammate.text
    assert "1 linked ticket" in teammate.text and "5 ongoing tickets" in teammate.text
    assert teammate.offers("Retry") and teammate.offers("Pause the sync")
    assert not teammate.offers("Create a ticket")


def test_while_itop_is_away_the_first_screen_counts_what_waits_and_asks_for_nobody(
    client: Client, teammate: Teammate, away: Callable[[], None], wait: Wait
) -> None:
    teammate.link("R-000008").open()
    wait(60)
    away()
    notify(client, part(37358198350, "<p>one</p>"), part(37358198351, "<p>two</p>"))
    assert take_in_batch()
    teammate.open()
    assert "0 of 2 messages in R-000008" in teammate.text
    # Where an admin has to do something there is room for no more.
    assert "2 waiting" in teammate.text or "admin has to" in teammate.text
    assert "Acme Corp" in teammate.text and "Not this person?" not in teammate.text


@pytest.mark.parametrize("verb", ["linked", "ongoing"])
def test_lists_and_their_tickets_say_what_is_known(
    teammate: Teammate, away: Callable[[], None], wait: Wait, verb: str
) -> None:
    teammate.link("R-000008").open()
    wait(60)
    away()
    teammate.send_click(f"{verb}:1")
    assert "what it said on" in teammate.text
    assert "R-000008 · Assigned\nScreen flickers" in teammate.text
    assert teammate.find("Retry")["id"] == f"{verb}:1"
    teammate.click("R-000008")
    for words in ("R-000008", "Assigned", "Screen flickers", "Linked to this conversation", "it said on"):
        assert words in teammate.text
    assert teammate.find("Retry")["id"] == "ticket:UserRequest:8"
    assert teammate.find("Back")["id"] == f"{verb}:1"


def test_where_nothing_is_known_a_sentence_says_so(teammate: Teammate, away: Callable[[], None]) -> None:
    away()
    teammate.open()
    assert "Nothing was changed" in teammate.text and "messages" in teammate.text
    assert "it said on" not in teammate.text
    assert teammate.offers("Retry")


def test_where_nothing_is_known_the_sync_is_still_in_reach(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008")
    KnownTickets.objects.all().delete()
    PersonMatch.objects.all().delete()
    itop.faults.away = True
    teammate.open().click("How the sync stands").click("Pause the sync")
    assert "The sync is paused" in teammate.text
    TicketLink.objects.all().delete()
    assert not teammate.open().offers("How the sync stands")


def test_the_retry_shows_what_itop_says_now(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    teammate.open()
    itop.faults.away = False
    teammate.click("Retry")
    assert "it said on" not in teammate.text and teammate.offers("Create a ticket")


def test_what_needs_no_itop_is_done_without_it(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.link("R-000008").open()
    wait(3600)
    itop.faults.away = True
    assert "The sync is paused" in teammate.open().click("Pause the sync").text
    assert not TicketLink.objects.get().sync_on
    assert "The sync is on" in teammate.open().click("Resume the sync").text
    assert TicketLink.objects.get().sync_on
    assert "How the sync stands" in teammate.open().click("The sync is on").text


def test_a_ticket_that_was_linked_since_has_its_reference(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    teammate.click("Create a ticket").click("Create the ticket")
    ref = Ticket.objects.get().ref
    wait(60)
    itop.faults.away = True
    assert "1 linked ticket" in teammate.open().text
    teammate.click("1 linked ticket")
    assert f"{ref} · state not known" in teammate.text
    assert "state not known" in teammate.click(ref).text


def test_a_ticket_that_nobody_has_listed_is_not_known(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    for component_id in ("ticket:UserRequest:7", "ticket:Change:8", "ticket:UserRequest:x"):
        teammate.send_click(component_id)
        assert "it said on" not in teammate.text
        assert list(teammate.clickable())


def test_a_new_conversation_of_the_person_knows_the_ongoing_ones(
    teammate: Teammate, client: Client, itop: Itop, wait: Wait
) -> None:
    teammate.link("R-000008").open()
    wait(3600)
    itop.faults.away = True
    elsewhere = Teammate(client, **ELSEWHERE).open()
    assert "5 ongoing tickets" in elsewhere.text and "No ticket is linked yet" in elsewhere.text


def test_a_refusal_is_no_silence(teammate: Teammate, workspace: Workspace, wait: Wait) -> None:
    teammate.open()
    wait(60)
    workspace.profile.attributes_mapping = {"caller_id": "no_such_code"}
    workspace.profile.save()
    teammate.open()
    assert "iTop refused the request" in teammate.text and "it said on" not in teammate.text


def test_what_itop_can_only_refuse_again_is_for_an_admin_and_offers_no_retry(
    teammate: Teammate, workspace: Workspace, wait: Wait
) -> None:
    teammate.open().click("Create a ticket")
    wait(60)
    workspace.profile.attributes_mapping = {"caller_id": "no_such_code"}
    workspace.profile.save()
    teammate.send_click("ticket:UserRequest:8", {"Title": "Typed already"})
    assert "What you filled in is kept" in teammate.text and "tell an admin" in teammate.text
    assert not teammate.offers("Retry") and teammate.offers("Home, without the form")
    workspace.profile.attributes_mapping = {}
    workspace.profile.save()
    assert teammate.click("Back to the form").field("Title")["value"] == "Typed already"


def test_a_ticket_opened_from_the_form_keeps_what_was_typed_while_itop_is_away(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    teammate.link("R-000008").open().click("Create a ticket")
    teammate.click("Create the ticket", Title="Screen flickers")
    assert teammate.offers("R-000008")
    wait(60)
    itop.faults.away = True
    teammate.click("R-000008", Title="Screen flickers badly")
    assert "it said on" in teammate.text
    itop.faults.away = False
    teammate.click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers badly"


# Whom it may be shown to


def test_another_contact_is_not_shown_it(teammate: Teammate, itop: Itop, wait: Wait) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    for contact in (BOB, ALICE | {"email": "somebody.else@acme.example"}, ALICE | {"id": "x"}):
        teammate.contact = contact
        assert "Alice" not in teammate.open().text and "it said on" not in teammate.text


def test_one_who_is_matched_to_another_person_now_is_not_shown_it(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    PersonMatch.objects.update(person_id=41, name="Bob Durand")
    assert "it said on" not in teammate.open().text


def test_what_was_said_under_another_scope_is_not_shown(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    narrow, wide = "SELECT Organization WHERE id = 4", workspace.scope
    for scope in (narrow, wide):  # iTop says of both that the person is in it; the list is the wide one's.
        workspace.scope = scope
        workspace.save()
        teammate.open()
    wait(60)
    itop.faults.away = True
    assert "it said on" in teammate.open().text
    workspace.scope = narrow
    workspace.save()
    assert "it said on" not in teammate.open().text


def test_it_is_shown_as_long_as_the_last_word_on_the_scope_was_yes(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    teammate.open()
    wait(3600)
    itop.faults.away = True
    assert "it said on" in teammate.open().text
    ItopAnswer.objects.filter(question__startswith="scope: ").update(value=False)
    assert "it said on" not in teammate.open().text and "Alice" not in teammate.text
    ItopAnswer.objects.all().delete()
    assert "it said on" not in teammate.open().text


def test_another_workspace_does_not_know_it(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    workspace.pk = None
    workspace.workspace_id = teammate.workspace_id = "other5678"
    workspace.save()
    assert KnownTickets.objects.count() == 1
    assert "it said on" not in teammate.open().text


def test_a_workspace_that_moved_to_another_itop_does_not_know_it(
    teammate: Teammate, workspace: Workspace, itop: Itop, wait: Wait
) -> None:
    teammate.open()
    wait(60)
    itop.faults.away = True
    workspace.itop.url = itop.url + "/other"
    workspace.itop.save()
    assert "it said on" not in teammate.open().text


def test_a_creation_that_is_under_way_is_told_of_all_the_same(
    teammate: Teammate, itop: Itop, wait: Wait
) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create the ticket")
    wait(60)
    itop.faults.away = True
    assert Submission.objects.get().state == "creating"
    assert "A ticket is on its way" in teammate.open().text
