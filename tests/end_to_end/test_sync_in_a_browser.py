"""How the sync stands on the panel, and what the panel says while iTop is away, slow, or ill."""

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
from .logs import empty, fill_up, messages

pytestmark = browser_test

DATE = re.compile(r"\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d\b")


# How it stands


def test_how_many_messages_are_in_the_ticket_is_said_in_numbers_with_the_date_of_the_last(
    inbox: Inbox,
) -> None:
    inbox.open("Alice Martin").link("R-000008")
    inbox.say("The first of these").say("The second of these", "Reply").reload()
    inbox.sees(re.compile("2 of 2 messages in R-000008"))
    inbox.click(words.SYNC).sees(re.compile("2 of 2 messages in R-000008"))
    assert DATE.search(inbox.text)


def test_pausing_leaves_out_what_comes_and_after_resuming_it_can_be_written_after_all(
    inbox: Inbox, itop: Itop
) -> None:
    inbox.open("Alice Martin").link("R-000008").say("The first of these").reload()
    inbox.click(words.PAUSE)
    assert inbox.offers(words.RESUME) and not inbox.offers(words.PAUSE)
    inbox.say("The second of these").say("The third of these").reload().sees(re.compile("2 left out"))
    inbox.click(words.RESUME)
    assert not any("second" in one for one in messages(itop, 8))
    inbox.click(words.WRITE_THEM).work()
    inbox.reload().sees(re.compile("3 of 3 messages in R-000008"))
    assert ["second" in messages(itop, 8)[-2], "third" in messages(itop, 8)[-1]] == [True, True]


def test_what_was_left_out_may_stay_left_out(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008").go_home()
    inbox.click(words.PAUSE).say("My password is swordfish").reload().click(words.RESUME)
    inbox.click(words.LEAVE_THEM).work()
    assert not inbox.offers(words.WRITE_THEM)
    inbox.say("Forget the last one").reload()
    assert not any("swordfish" in one for one in messages(itop, 8))
    assert "Forget the last one" in messages(itop, 8)[-1]


def test_what_could_not_be_written_is_counted_with_its_reason_and_is_tried_again_with_one_click(
    inbox: Inbox, itop: Itop
) -> None:
    inbox.open("Alice Martin").link("R-000008")
    fill_up(itop, 8)
    inbox.say("No room for this one").say("Nor for this one").reload()
    inbox.sees(re.compile("2 messages could not be written"))
    inbox.click(words.SYNC).sees(re.compile(r"\bfull\b"))
    empty(itop, 8)
    inbox.click(words.TRY_AGAIN).work()
    assert ["No room for this" in messages(itop, 8)[0], "Nor for" in messages(itop, 8)[1]] == [True, True]
    inbox.go_home()
    inbox.reload().sees(re.compile("2 of 2 messages in R-000008"))
    assert not inbox.offers(words.TRY_AGAIN)


def test_one_message_for_two_tickets_is_in_both(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008").go_home()
    inbox.link("R-000006").say("For both of them").reload().click(words.SYNC)
    for ref, number in (("R-000008", 8), ("R-000006", 6)):
        inbox.sees(ref)
        assert "For both of them" in messages(itop, number)[-1]


# Always an answer


@pytest.fixture(params=["away", "error500", "maintenance", "html", "drop_before"])
def ill(request: pytest.FixtureRequest, itop: Itop, time_machine: Any) -> Any:
    """Lets iTop fall ill, in one of the ways in which it does, half a minute after it was last asked."""

    def fall_ill() -> None:
        half_a_minute_passes(time_machine)
        if request.param == "away":
            itop.faults.away = True
        else:
            itop.faults.add(request.param)

    return fall_ill


def test_while_itop_is_ill_the_panel_says_what_it_knew_and_when_and_retry_works_once_it_is_well(
    inbox: Inbox, itop: Itop, ill: Any
) -> None:
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


def test_where_nothing_is_known_of_an_itop_that_is_ill_there_is_a_plain_word_and_a_retry(
    inbox: Inbox, itop: Itop, ill: Any
) -> None:
    ill()
    inbox.open("Alice Martin")
    assert inbox.offers(words.RETRY) and "iTop" in inbox.text
    itop.faults.clear()
    inbox.click(words.RETRY).sees(words.ONGOING)


def test_an_itop_that_says_nothing_for_a_minute_is_not_waited_for(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").sees(words.ONGOING)
    half_a_minute_passes(time_machine)
    # Intercom gives up after ten seconds, and the page would say so.
    itop.faults.add("late", seconds=60)
    inbox.reload().sees(words.ONGOING)
    assert DATE.search(inbox.text) and inbox.offers(words.RETRY)


def test_an_itop_that_drips_its_answer_is_not_waited_for(inbox: Inbox, itop: Itop, time_machine: Any) -> None:
    inbox.open("Alice Martin").sees(words.ONGOING)
    half_a_minute_passes(time_machine)
    itop.faults.add("drip", seconds=1)
    inbox.reload().sees(words.ONGOING)
    assert DATE.search(inbox.text) and inbox.offers(words.RETRY)


def test_a_form_that_meets_an_itop_that_is_ill_keeps_what_was_typed(
    inbox: Inbox, itop: Itop, ill: Any
) -> None:
    before = len(itop.store.all("UserRequest"))
    inbox.open("Alice Martin").click(words.CREATE_A_TICKET).fill("Title", "Typed before it fell ill")
    ill()
    inbox.click(words.CREATE)
    itop.faults.clear()
    assert len(itop.store.all("UserRequest")) == before
    inbox.click(re.compile(f"{words.RETRY}|{words.LOOK_AGAIN}")).work()
    if inbox.offers(words.LOOK_AGAIN):
        inbox.click(words.LOOK_AGAIN)
    inbox.sees("is created")
    made = itop.store.all("UserRequest")
    assert len(made) == before + 1
    assert max(made, key=lambda one: one["id"])["title"] == "Typed before it fell ill"


def test_a_ticket_that_itop_makes_without_saying_so_is_on_its_way_and_made_once(
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
    inbox.click(words.LOOK_AGAIN).sees("is created")
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
