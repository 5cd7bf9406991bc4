"""Changes are stored once per conversation, together with the messages about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from intercom_bridge.events import record as record_module
from intercom_bridge.events.compare import Change, EventAuthor
from intercom_bridge.events.record import record
from intercom_bridge.models import (
    EventKind,
    EventRules,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
    Workspace,
)

from .conftest import Agent

Poll = Callable[[], None]
AT = dt.datetime(2026, 11, 27, 22, 25, 34, tzinfo=dt.UTC)


def entry(text: str, *, at: dt.datetime = AT, author: str = "Jules Verne") -> Change:
    return Change(
        kind="public_entry",
        key=f"public_log:0:{text}",
        happened_at=at,
        author=EventAuthor(name=author, email="jules.verne@it.example", person_id=9),
        content=f"<p>{text}</p>",
    )


@pytest.fixture
def child(ticket: Ticket) -> Ticket:
    """Return another ticket that is linked to the same conversation."""
    child = Ticket.objects.create(itop=ticket.itop, ticket_class="UserRequest", object_id=8, ref="R-000008")
    TicketLink.objects.create(
        ticket=child, conversation=TicketLink.objects.get().conversation, attributes_synced=True
    )
    TicketSnapshot.objects.create(ticket=child)
    return child


def test_a_change_is_stored_once(ticket: Ticket) -> None:
    (event,) = record(ticket, [entry("one")], {"status": "assigned"})
    assert record(ticket, [entry("one")], {"status": "resolved"}) == []
    assert (TicketEvent.objects.get(), OutgoingMessage.objects.get()) == (event, event.message)
    assert TicketSnapshot.objects.get().status == "resolved"


def test_events_messages_and_snapshot_are_stored_together_or_not_at_all(
    ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = TicketSnapshot.objects.values().get()

    def fail(*_: Any) -> Any:
        raise ValueError

    monkeypatch.setattr(record_module, "plan", fail)
    with pytest.raises(ValueError):
        record(ticket, [entry("one")], {"status": "resolved"})
    assert not TicketEvent.objects.exists() and not OutgoingMessage.objects.exists()
    assert TicketSnapshot.objects.values().get() == before


def test_what_the_rules_do_not_report_is_stored_with_the_reason(ticket: Ticket, workspace: Workspace) -> None:
    EventRules.objects.create(workspace=workspace, public_entry="nothing")
    (event,) = record(ticket, [entry("one")], {})
    assert (event.reason_code, event.message) == ("not_reported", None)


def test_private_entries_are_not_stored_for_those_who_do_not_want_them(ticket: Ticket) -> None:
    assert record(ticket, [Change("private_entry", "private_log:0:x", content="<p>internal</p>")], {}) == []
    assert not TicketEvent.objects.exists()


def test_an_entry_that_itop_copied_from_the_parent_is_reported_once(ticket: Ticket, child: Ticket) -> None:
    record(ticket, [entry("We found the cause")], {})
    copied = AT + dt.timedelta(seconds=3)
    (event,) = record(child, [entry("We found the cause", at=copied)], {})
    assert (event.reason_code, event.message) == ("reported_with_parent", None)
    assert OutgoingMessage.objects.count() == 1


def resolved(solution: str) -> Change:
    return Change(
        EventKind.RESOLVED, f"status:{solution}", AT, before="assigned", after="resolved", content=solution
    )


def test_a_child_that_was_resolved_with_its_parent_is_reported_with_it(ticket: Ticket, child: Ticket) -> None:
    record(ticket, [resolved("<p>A new cable</p>")], {})
    link = f"[[{ticket.ticket_class}:{ticket.object_id}|{ticket.ref}]]"
    (event,) = record(child, [resolved(f"<p>Automatically resolved from {link}</p>")], {})
    assert (event.reason_code, event.message) == ("reported_with_parent", None)


def test_a_child_whose_own_solution_names_no_resolved_ticket_is_reported(
    ticket: Ticket, child: Ticket
) -> None:
    record(ticket, [resolved("<p>A new cable</p>")], {})
    (event,) = record(child, [resolved("<p>See [[UserRequest:4711|R-004711]]</p>")], {})
    assert event.message is not None


@pytest.mark.parametrize(
    "other",
    [
        entry("We found another cause"),
        entry("We found the cause", author="Agatha Christie"),
        entry("We found the cause", at=AT + dt.timedelta(seconds=6)),
    ],
)
def test_an_entry_that_only_resembles_one_of_another_ticket_is_reported(
    ticket: Ticket, child: Ticket, other: Change
) -> None:
    record(ticket, [entry("We found the cause")], {})
    (event,) = record(child, [other], {})
    assert event.message is not None


def test_a_copied_entry_is_recognised_in_a_poll(
    ticket: Ticket, child: Ticket, agent: Agent, poll: Poll
) -> None:
    poll()
    agent.write(ticket, "We found the cause")
    agent.write(child, "We found the cause")
    poll()
    codes = TicketEvent.objects.order_by("pk").values_list("reason_code", flat=True)
    assert list(codes) == ["", "reported_with_parent"]


def test_a_ticket_without_links_gets_no_events(ticket: Ticket) -> None:
    TicketLink.objects.all().delete()
    assert record(ticket, [entry("one")], {"status": "resolved"}) == []
    assert TicketSnapshot.objects.get().status == "resolved"


def test_erased_events_keep_their_keys_and_no_words(ticket: Ticket) -> None:
    assigned = Change("assignment", "assignment:x", before="Jules Verne", after="Agatha Christie")
    record(ticket, [entry("one"), assigned], {})
    assert TicketEvent.objects.all().erase_content() == 2
    for event in TicketEvent.objects.all():
        words = [event.author_name, event.author_email, event.before, event.after, event.content]
        assert words == [""] * 5 and event.key and event.cleaned_at
    assert record(ticket, [entry("one"), assigned], {}) == []
