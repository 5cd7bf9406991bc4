"""Once an hour, what no poll finds is found: deleted tickets, and changes that iTop dated before others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.events.poll import poll_itop
from intercom_bridge.models import (
    Delivery,
    ItopPoll,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
)
from sandbox.itop import Itop

from .conftest import Agent, make_due
from .test_poll import contents, kinds, link_many

Poll = Callable[[], None]


def sweep_due(days: int = 0) -> None:
    """Make the sweep due; the last one was on the same day unless `days` are given."""
    last = timezone.now() - dt.timedelta(days=days) if days else None
    ItopPoll.objects.update(swept_at=last or timezone.now() - dt.timedelta(hours=1, seconds=1))


def is_gone() -> bool:
    """Return whether the only ticket counts as deleted in iTop."""
    return Ticket.objects.get().gone_at is not None


@pytest.fixture(autouse=True)
def noon(time_machine: Any) -> None:
    """Let the last sweep be on the same day."""
    time_machine.move_to(timezone.now().replace(hour=12, minute=0))


def test_a_sweep_costs_one_more_call(ticket: Ticket, itop: Itop, poll: Poll) -> None:
    poll()
    sweep_due()
    make_due()
    itop.calls.clear()
    poll_itop(ItopPoll.objects.get())
    assert itop.calls == [("core/get", "UserRequest")] * 2
    assert not ItopPoll.objects.get().is_sweep_due


def test_changes_after_itops_clock_was_set_back_are_found(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    clock = itop.store.clock
    itop.store.clock = lambda: clock() + 3 * 3600
    agent.write(ticket, "three hours ahead")
    poll()
    itop.store.clock = clock
    agent.write(ticket, "the clock is right again")
    poll()
    assert contents() == ["<p>three hours ahead</p>"]
    sweep_due()
    poll()
    assert contents()[1:] == ["<p>the clock is right again</p>"]
    # Now later changes are found without a sweep.
    agent.write(ticket, "later")
    poll()
    assert contents()[2:] == ["<p>later</p>"]


def test_a_deleted_ticket_is_reported_once(ticket: Ticket, itop: Itop, agent: Agent, poll: Poll) -> None:
    agent.delete(ticket)
    poll()
    assert kinds() == []
    sweep_due()
    poll()
    assert is_gone() and kinds() == []
    poll()
    assert kinds() == ["gone"]
    assert TicketSnapshot.objects.get().poll_at is None
    itop.calls.clear()
    sweep_due()
    poll()
    assert kinds() == ["gone"]


def announcements() -> list[str]:
    """Return the kinds of notes that say that the ticket is gone."""
    bodies = OutgoingMessage.objects.order_by("pk").values_list("body", flat=True)
    texts = {"was deleted in iTop": "event", "no longer exists in iTop": "failure"}
    return [kind for body in bodies for text, kind in texts.items() if text in body]


def test_a_message_to_a_ticket_that_was_reported_as_deleted_leaves_no_further_note(
    ticket: Ticket, agent: Agent, poll: Poll, customer_writes: Callable[[str], Delivery]
) -> None:
    agent.delete(ticket)
    sweep_due()
    poll()
    poll()
    assert announcements() == ["event"]
    delivery = customer_writes("Anybody there?")
    assert (delivery.state, delivery.reason_code) == ("failed", "ticket_not_found")
    assert announcements() == ["event"]


def test_a_deleted_ticket_is_not_reported_again_after_a_note_about_a_message(
    ticket: Ticket, agent: Agent, poll: Poll, customer_writes: Callable[[str], Delivery]
) -> None:
    poll()
    agent.delete(ticket)
    customer_writes("Anybody there?")
    assert announcements() == ["failure"]
    poll()
    assert kinds() == ["gone"]
    assert announcements() == ["failure"]


def test_a_ticket_that_was_back_and_is_deleted_again_is_reported_again(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, customer_writes: Callable[[str], Delivery]
) -> None:
    poll()
    row = itop.store.load("UserRequest", ticket.object_id)
    assert row is not None
    agent.delete(ticket)
    customer_writes("Anybody there?")
    itop.store.insert_row(row)
    poll()
    assert not is_gone()
    agent.delete(ticket)
    sweep_due()
    poll()
    poll()
    assert announcements() == ["failure", "event"]


def test_a_ticket_that_the_writer_did_not_find_is_not_back_because_of_a_poll(
    ticket: Ticket, agent: Agent, poll: Poll
) -> None:
    poll()
    agent.delete(ticket)
    Ticket.objects.update(gone_at=timezone.now())
    poll()
    assert is_gone()
    assert kinds() == ["gone"]


def test_a_ticket_that_the_writer_did_not_find_is_back_when_a_poll_reads_it(
    ticket: Ticket, poll: Poll
) -> None:
    poll()
    Ticket.objects.update(gone_at=timezone.now())
    poll()
    assert not is_gone()
    assert kinds() == []


def test_a_ticket_that_comes_back_is_followed_again(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    """The account had lost the right to see it."""
    row = itop.store.load("UserRequest", ticket.object_id)
    assert row is not None
    agent.delete(ticket)
    sweep_due()
    poll()
    poll()
    itop.store.insert_row(row)
    agent.write(ticket, "here again")
    sweep_due()
    poll()
    assert not is_gone()
    assert kinds() == ["gone", "public_entry"]


def test_many_tickets_that_disappear_together_are_a_problem_of_the_account(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    tickets = link_many(ticket, itop, 11)
    poll()
    for each in tickets:
        agent.delete(each)
    sweep_due()
    poll()
    poll()
    row = ItopPoll.objects.get()
    assert (row.reason_code, row.reason_detail) == ("tickets_not_visible", "11")
    assert row.succeeded_at is not None and kinds() == []
    Ticket.objects.exclude(gone_at=None).update(gone_at=timezone.now() - dt.timedelta(days=1, seconds=1))
    poll()
    assert kinds() == ["gone"] * 11


def test_a_ticket_that_is_not_polled_any_more_is_looked_at_once_a_day(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    long_ago = timezone.now() - dt.timedelta(days=9)
    agent.change(ticket, status="closed")
    poll()
    TicketLink.objects.update(created_at=long_ago)
    TicketSnapshot.objects.update(poll_at=None, active_at=long_ago)
    agent.change(ticket, status="assigned")
    sweep_due()
    poll()
    assert kinds() == ["closed"]
    sweep_due(days=1)
    poll()
    assert kinds() == ["closed", "reopened"]


def test_an_unlinked_ticket_is_forgotten(ticket: Ticket, itop: Itop, poll: Poll) -> None:
    TicketLink.objects.all().delete()
    sweep_due()
    poll()
    assert not TicketSnapshot.objects.exists()
    itop.calls.clear()
    poll()
    assert itop.calls == []


def test_a_failed_sweep_is_repeated_and_loses_nothing(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    agent.write(ticket, "one")
    sweep_due()
    itop.faults.add("error500", operation="core/get", count=1)
    poll()
    row = ItopPoll.objects.get()
    assert row.reason_code and row.is_sweep_due and contents() == []
    poll()
    assert contents() == ["<p>one</p>"] and not ItopPoll.objects.get().is_sweep_due
    assert TicketEvent.objects.count() == 1
