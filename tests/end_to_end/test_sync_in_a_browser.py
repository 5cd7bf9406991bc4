"""Sync status on the panel, and what the panel says while iTop is away, slow, or ill."""

from __future__ import annotations

import re
from typing import Any

import pytest

from intercom_bridge.models import Delivery
from sandbox.itop import Itop
from tests.browser import browser_test
from tests.teammate import half_a_minute_passes

from . import inbox as words
from .inbox import Inbox
from .logs import messages

pytestmark = browser_test

DATE = re.compile(r"\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d\b")


# The sync status


def test_the_sync_status_shows_the_number_of_messages_and_the_last_date(inbox: Inbox) -> None:
    inbox.open("Alice Martin").link("R-000008")
    inbox.say("The first of these").say("The second of these", "Reply").reload()
    inbox.click(words.SYNC).sees(re.compile("2 of 2 messages copied to R-000008"))
    assert DATE.search(inbox.text)


def test_messages_during_a_pause_are_left_out_and_can_be_written_later(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008").say("The first of these").reload()
    inbox.click(words.PAUSE)
    assert inbox.offers(words.RESUME) and not inbox.offers(words.PAUSE)
    inbox.say("The second of these").say("The third of these").reload().sees(
        re.compile("2 messages left out")
    )
    inbox.click(words.RESUME)
    assert not any("second" in message for message in messages(itop, 8))
    inbox.click(words.WRITE_THEM).work()
    inbox.reload().click(words.SYNC).sees(re.compile("3 of 3 messages copied to R-000008"))
    assert ["second" in messages(itop, 8)[-2], "third" in messages(itop, 8)[-1]] == [True, True]


def test_messages_that_were_left_out_can_stay_left_out(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008").go_home()
    inbox.click(words.PAUSE).say("My password is swordfish").reload().click(words.RESUME)
    inbox.click(words.LEAVE_THEM).work()
    assert not inbox.offers(words.WRITE_THEM)
    inbox.say("Forget the last one").reload()
    assert not any("swordfish" in message for message in messages(itop, 8))
    assert "Forget the last one" in messages(itop, 8)[-1]


def test_a_failed_message_is_shown_with_its_reason_and_retried_with_one_click(
    inbox: Inbox, itop: Itop
) -> None:
    inbox.open("Alice Martin").link("R-000008")
    itop.faults.add("check", operation="core/update")
    inbox.say("Not now").say("Nor this").reload()
    inbox.sees(re.compile("2 messages could not be copied"))
    inbox.click(words.SYNC).sees("Please telephone first")
    itop.faults.clear()
    before = len(messages(itop, 8))
    inbox.click(words.TRY_AGAIN).work()
    assert messages(itop, 8)[before:] == ["<p>Not now</p>", "<p>Nor this</p>"]
    inbox.go_home()
    inbox.reload().click(words.SYNC).sees(re.compile("2 of 2 messages copied to R-000008"))
    assert not inbox.offers(words.TRY_AGAIN)


def test_one_message_for_two_tickets_is_in_both(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008").go_home()
    inbox.link("R-000006").say("For both of them").reload().click(words.SYNC)
    for ref, number in (("R-000008", 8), ("R-000006", 6)):
        inbox.sees(ref)
        assert "For both of them" in messages(itop, number)[-1]


# Always an answer


# tests/panel/test_known_tickets.py and test_panel.py try the other ways, without a browser.
@pytest.fixture(params=["away", "html"])
def ill(request: pytest.FixtureRequest, itop: Itop, time_machine: Any) -> Any:
    """Lets iTop fall ill, in one of the ways in which it does, half a minute after it was last asked."""

    def fall_ill() -> None:
        half_a_minute_passes(time_machine)
        if request.param == "away":
            itop.faults.away = True
        else:
            itop.faults.add(request.param)

    return fall_ill


def test_without_itop_the_panel_shows_known_tickets_and_can_retry(inbox: Inbox, itop: Itop, ill: Any) -> None:
    inbox.open("Alice Martin").sees(words.ONGOING)
    ill()
    inbox.reload().sees(words.ONGOING)
    assert DATE.search(inbox.text) and inbox.offers(words.RETRY) and not inbox.is_home
    # The list is behind its line as ever, and a ticket behind its own.
    inbox.click(words.ONGOING).sees("R-000008")
    assert DATE.search(inbox.text)
    inbox.click("R-000008").sees("Screen flickers")
    assert DATE.search(inbox.text) and inbox.offers(words.RETRY)
    itop.faults.clear()
    inbox.click(words.RETRY).sees("Can you send a picture?")
    inbox.go_home()


def test_without_itop_and_known_tickets_the_panel_says_so_and_can_retry(
    inbox: Inbox, itop: Itop, ill: Any
) -> None:
    ill()
    inbox.open("Alice Martin")
    assert inbox.offers(words.RETRY) and "iTop" in inbox.text
    itop.faults.clear()
    inbox.click(words.RETRY).sees(words.ONGOING)


def test_the_panel_does_not_wait_for_an_unresponsive_itop(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").sees(words.ONGOING)
    half_a_minute_passes(time_machine)
    # Intercom gives up after ten seconds, and the page would say so.
    itop.faults.add("late", seconds=60)
    inbox.reload().sees(words.ONGOING)
    assert DATE.search(inbox.text) and inbox.offers(words.RETRY)


def test_the_panel_does_not_wait_for_an_itop_that_drips_its_response(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").sees(words.ONGOING)
    half_a_minute_passes(time_machine)
    itop.faults.add("drip", seconds=1)
    inbox.reload().sees(words.ONGOING)
    assert DATE.search(inbox.text) and inbox.offers(words.RETRY)


def test_the_form_keeps_its_input_when_itop_fails(inbox: Inbox, itop: Itop, ill: Any) -> None:
    before = len(itop.store.all("UserRequest"))
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "Typed before it fell ill")
    ill()
    inbox.click(words.CREATE)
    itop.faults.clear()
    assert len(itop.store.all("UserRequest")) == before
    inbox.click(re.compile(f"{words.RETRY}|{words.LOOK_AGAIN}")).work()
    if inbox.offers(words.LOOK_AGAIN):
        inbox.click(words.LOOK_AGAIN)
    inbox.sees("created")
    made = itop.store.all("UserRequest")
    assert len(made) == before + 1
    assert max(made, key=lambda ticket: ticket["id"])["title"] == "Typed before it fell ill"


def test_a_ticket_created_without_a_response_is_created_once(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    before = len(itop.store.all("UserRequest"))
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "It takes its time")
    # It is made at once, and iTop says so when nobody listens any more.
    itop.faults.add("slow", operation="core/create", count=1, seconds=60)
    inbox.click(words.CREATE)
    assert inbox.offers(words.LOOK_AGAIN)
    half_a_minute_passes(time_machine)
    inbox.work()
    inbox.click(words.LOOK_AGAIN).sees("created")
    assert len(itop.store.all("UserRequest")) == before + 1


def test_messages_wait_while_itop_is_away_and_are_written_when_it_is_back(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").link("R-000008")
    itop.faults.away = True
    inbox.say("While you were out").reload().click(words.SYNC).sees(re.compile("waiting", re.I))
    itop.faults.away = False
    Delivery.objects.waiting().update(due_at="2020-01-01T00:00:00Z")
    half_a_minute_passes(time_machine)
    inbox.work()
    assert "While you were out" in messages(itop, 8)[-1]
