"""A customer's message reopens a resolved ticket, and a note says that nobody sees it in a closed one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.translation import get_language

from intercom_bridge.models import (
    Delivery,
    EventRules,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
    Workspace,
)
from intercom_bridge.sync import reopen
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import ADA, Teammate, author_of, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(talking: Teammate, itop: Itop) -> Ticket:
    """Return a ticket that is linked to Alice's conversation in the stand-in for Intercom."""
    return store_link(talking, itop, "R-000006").ticket


@pytest.fixture
def reopening(workspace: Workspace) -> EventRules:
    return EventRules.objects.create(workspace=workspace, reopens_tickets=True)


@pytest.fixture
def say(client: Client, talking: Teammate, work: Work) -> Callable[..., None]:
    """Return a function that sends the customer's next message and works until it is written."""
    numbers = iter(range(1, 50))

    def send(author: dict[str, Any] | None = None, **more: Any) -> None:
        number = next(numbers)
        more.setdefault("created_at", int(time.time()) + 60 + number)
        message = part(37358198400 + number, f"<p>message {number}</p>", author, **more)
        notify(client, message, id=talking.conversation["id"])
        work()

    return send


def status(itop: Itop, ticket: Ticket) -> str:
    row = itop.store.load("UserRequest", ticket.object_id)
    assert row is not None
    return str(row["status"])


def set_status(itop: Itop, ticket: Ticket, code: str) -> None:
    itop.store.update("UserRequest", ticket.object_id, status=code)


def last_delivery() -> Delivery:
    delivery = Delivery.objects.order_by("pk").last()
    assert delivery is not None
    return delivery


def stimuli(itop: Itop) -> int:
    return sum(operation == "core/apply_stimulus" for operation, _class in itop.calls)


def notes() -> list[str]:
    return list(OutgoingMessage.objects.filter(is_note=True).order_by("pk").values_list("body", flat=True))


def now_due() -> None:
    Delivery.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


# Resolved tickets


def test_a_customers_message_reopens_a_resolved_ticket(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any
) -> None:
    set_status(itop, linked, "resolved")
    say()
    assert status(itop, linked) == "assigned"
    delivery = last_delivery()
    assert (delivery.state, delivery.reason_code) == ("written", "ticket_reopened")
    assert notes() == []


def test_by_default_a_resolved_ticket_stays_resolved(linked: Ticket, itop: Itop, say: Any) -> None:
    set_status(itop, linked, "resolved")
    say()
    assert status(itop, linked) == "resolved"
    assert last_delivery().reason_code == "" and notes() == []


@pytest.mark.parametrize("code", ["assigned", "closed"])
def test_a_ticket_in_another_state_is_not_reopened(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any, code: str
) -> None:
    set_status(itop, linked, code)
    say()
    assert status(itop, linked) == code and stimuli(itop) == 0


def test_teammates_messages_and_notes_reopen_nothing(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any
) -> None:
    set_status(itop, linked, "resolved")
    say(author_of(ADA))
    say(author_of(ADA), part_type="note")
    assert [each.state for each in Delivery.objects.all()] == ["written", "written"]
    assert status(itop, linked) == "resolved"


def test_a_message_from_before_the_link_reopens_nothing(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any
) -> None:
    TicketLink.objects.update(since_part_at=0, since_part_order=0)
    set_status(itop, linked, "resolved")
    say(created_at=int(time.time()) - 3600)
    assert last_delivery().state == "written" and status(itop, linked) == "resolved"


def test_a_message_from_a_pause_that_is_copied_later_reopens_nothing(
    talking: Teammate, linked: Ticket, reopening: EventRules, itop: Itop, say: Any, work: Work
) -> None:
    talking.open().send_click("pause")
    set_status(itop, linked, "resolved")
    say(created_at=int(time.time()))
    TicketLink.objects.update(pauses=[{"since": time.time() - 60, "until": time.time() + 60}], sync_on=True)
    Delivery.objects.left_out_by_pause().write_after_all()
    work()
    assert last_delivery().state == "written" and status(itop, linked) == "resolved"


@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_a_write_of_unknown_outcome_reopens_the_ticket_once(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any, work: Work, kind: str
) -> None:
    set_status(itop, linked, "resolved")
    itop.faults.add(kind, operation="core/update", count=1)
    say()
    now_due()
    work()
    assert last_delivery().state == "written" and status(itop, linked) == "assigned"
    assert stimuli(itop) == 1


def test_a_message_that_was_written_earlier_reopens_nothing_that_an_agent_resolved_since(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any, work: Work
) -> None:
    set_status(itop, linked, "resolved")
    say()
    # The bridge was killed before it stored the outcome, and an agent resolved the ticket again.
    set_status(itop, linked, "resolved")
    Delivery.objects.update(state="waiting")
    now_due()
    work()
    assert last_delivery().reason_code == "already_written"
    assert status(itop, linked) == "resolved"


@pytest.mark.parametrize("kind", ["check", "error500", "read_only"])
def test_a_failed_reopening_does_not_fail_the_message_and_is_noted(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any, kind: str
) -> None:
    set_status(itop, linked, "resolved")
    itop.faults.add(kind, operation="core/apply_stimulus")
    say()
    delivery = last_delivery()
    assert (delivery.state, delivery.reason_code) == ("written", "ticket_not_reopened")
    assert delivery.reason_detail
    say()
    (note,) = notes()
    assert linked.ref in note and "could not reopen it" in note
    itop.faults.clear()
    say()
    assert status(itop, linked) == "assigned"


@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_a_reopening_of_unknown_outcome_is_repeated(
    linked: Ticket, reopening: EventRules, itop: Itop, say: Any, kind: str
) -> None:
    set_status(itop, linked, "resolved")
    itop.faults.add(kind, operation="core/apply_stimulus", count=1)
    say()
    assert status(itop, linked) == "assigned" and notes() == []
    assert last_delivery().reason_code == "ticket_reopened"


# Closed tickets


def test_a_message_to_a_closed_ticket_is_noted_once(linked: Ticket, itop: Itop, say: Any) -> None:
    set_status(itop, linked, "closed")
    say()
    say()
    (note,) = notes()
    assert linked.ref in note and "nobody will see it there" in note and "follow-up" in note
    assert last_delivery().reason_code == "ticket_closed"


def test_it_is_noted_again_after_the_ticket_was_reopened_and_closed(
    linked: Ticket, itop: Itop, say: Any
) -> None:
    set_status(itop, linked, "closed")
    say()
    link = TicketLink.objects.get()
    TicketEvent.objects.create(
        ticket=linked, conversation=link.conversation, kind="reopened", key="status:2026-11-28:new"
    )
    say()
    say()
    assert len(notes()) == 2


def test_a_teammates_message_to_a_closed_ticket_is_not_noted(linked: Ticket, itop: Itop, say: Any) -> None:
    set_status(itop, linked, "closed")
    say(author_of(ADA))
    assert notes() == [] and last_delivery().reason_code == "ticket_closed"


def test_it_is_not_noted_while_another_linked_ticket_is_open(
    talking: Teammate, linked: Ticket, itop: Itop, say: Any, work: Work
) -> None:
    talking.link("R-000008")
    work()
    OutgoingMessage.objects.all().delete()
    for ticket, code in ((linked, "closed"), (Ticket.objects.exclude(pk=linked.pk).get(), "assigned")):
        TicketSnapshot.objects.update_or_create(ticket=ticket, defaults={"status": code})
    set_status(itop, linked, "closed")
    say()
    assert notes() == []
    TicketSnapshot.objects.update(status="closed")
    say()
    assert len(notes()) == 1


def test_the_note_is_in_the_language_of_the_workspace(
    workspace: Workspace, linked: Ticket, itop: Itop, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopen, "_", lambda text: f"{get_language()}: {text}")
    workspace.language = "fr"
    workspace.save()
    set_status(itop, linked, "closed")
    say()
    assert "<p>fr: " in notes()[0]


def test_a_workspace_without_such_notes_gets_none(
    workspace: Workspace, linked: Ticket, itop: Itop, say: Any
) -> None:
    workspace.announce_failures = False
    workspace.save()
    set_status(itop, linked, "closed")
    say()
    assert notes() == []


def test_the_note_reaches_the_conversation(
    linked: Ticket, intercom: Intercom, itop: Itop, say: Any, work: Work
) -> None:
    set_status(itop, linked, "closed")
    say()
    work()
    parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)
    assert any("nobody will see it there" in (each.body or "") for each in parts if each.part_type == "note")
