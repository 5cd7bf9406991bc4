"""Each message is written once and in order, by one writer per ticket, whatever iTop does."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom import html
from intercom_bridge.models import (
    Delivery,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.sync import writer
from intercom_bridge.sync.intake import process_batch, process_event
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def entries(itop: Itop, ticket: Ticket) -> list[str]:
    return [entry["message"] for entry in itop.store.log(ticket.object_id)]


def write_all(ticket: Ticket) -> None:
    """Write for as many turns as it takes."""
    while writer.write_due(ticket):
        pass


def now_due() -> None:
    """End the wait of the message and close the circuit breaker."""
    Delivery.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


@pytest.mark.parametrize("kind", ["drop_after", "error500", "html", "maintenance", "drop_before", "reset"])
def test_a_write_of_unknown_outcome_is_repeated_and_in_the_log_once(
    client: Client, ticket: Ticket, itop: Itop, work: Work, kind: str
) -> None:
    before = len(entries(itop, ticket))
    itop.faults.add(kind, operation="core/update", count=1)
    notify(client, part(37358198350, "<p>once</p>"))
    work()
    delivery = Delivery.objects.get()
    assert delivery.state == "waiting" and delivery.attempts == 1
    kept = delivery.item
    now_due()
    work()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.item) == ("written", kept)
    assert entries(itop, ticket)[before:] == ["<p>once</p>"]


def test_a_timed_out_request_that_runs_later_writes_once(
    client: Client, ticket: Ticket, itop: Itop, work: Work, settings: Any
) -> None:
    before = len(entries(itop, ticket))
    settings.WRITE_SECONDS = 0.3
    itop.faults.add("late", operation="core/update", count=1, seconds=0.8)
    notify(client, part(37358198350, "<p>late</p>"))
    work()
    assert Delivery.objects.get().state == "waiting"
    assert itop.wait_idle(5)
    now_due()
    work()
    assert Delivery.objects.get().reason_code == "already_written"
    assert entries(itop, ticket)[before:] == ["<p>late</p>"]


def test_a_message_that_is_skipped_during_its_failing_attempt_stays_skipped(
    client: Client, ticket: Ticket, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_entry = writer.log_item

    def skip_meanwhile(*args: Any, **options: Any) -> Any:
        Delivery.objects.update(state=Delivery.State.SKIPPED, reason_code="unlinked")
        return create_entry(*args, **options)

    monkeypatch.setattr(writer, "log_item", skip_meanwhile)
    itop.store.remove("UserRequest", ticket.object_id)
    notify(client, part(37358198350, "<p>skipped</p>"))
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason_code, delivery.attempts) == ("skipped", "unlinked", 1)
    assert not OutgoingMessage.objects.exists()


@pytest.fixture
def tracked(client: Client, ticket: Ticket, work: Work) -> Ticket:
    """Return a ticket of an iTop that records changes, so that only the idempotency key protects its writes."""
    notify(client, part(37358198349, "<p>before</p>"))
    work()
    assert ItopInstance.objects.get().tracked_logs == {"UserRequest.public_log": True}
    return ticket


@pytest.mark.parametrize("runs_after", [0.8, 2.0])
def test_a_late_first_attempt_and_its_repetition_write_one_entry(
    client: Client, tracked: Ticket, itop: Itop, work: Work, settings: Any, runs_after: float
) -> None:
    """It may run before or after the repetition, because iTop checks the key when it executes a request."""
    before = len(entries(itop, tracked))
    settings.WRITE_SECONDS = 0.3
    itop.faults.add("late", operation="core/update", count=1, seconds=runs_after)
    notify(client, part(37358198350, "<p>late</p>"))
    work()
    assert Delivery.objects.get(part_id="37358198350").state == "waiting"
    if runs_after < 1:
        assert itop.wait_idle(5)
    settings.WRITE_SECONDS = 8.0
    now_due()
    work()
    assert Delivery.objects.get(part_id="37358198350").state == "written"
    assert itop.wait_idle(5)
    assert entries(itop, tracked)[before:] == ["<p>late</p>"]


def test_later_messages_wait_for_a_postponed_one(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    before = len(entries(itop, ticket))
    itop.faults.add("error500", operation="core/update", count=1)
    notify(client, part(37358198350, "<p>first</p>"))
    work()
    notify(client, part(37358198351, "<p>second</p>"))
    work()
    assert entries(itop, ticket)[before:] == []
    now_due()
    work()
    assert entries(itop, ticket)[before:] == ["<p>first</p>", "<p>second</p>"]


def test_an_older_message_that_arrives_late_is_written_at_once_with_its_own_time(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198360, "<p>newer</p>"))
    work()
    notify(client, part(37358198350, "<p>older</p>"))
    work()
    last = itop.store.log(ticket.object_id)[-2:]
    assert [entry["message"] for entry in last] == ["<p>newer</p>", "<p>older</p>"]
    assert last[1]["date"] < last[0]["date"]


def test_a_deleted_ticket_fails_its_messages_and_blocks_no_other_ticket(
    client: Client, teammate: Teammate, ticket: Ticket, itop: Itop, work: Work
) -> None:
    teammate.link("R-000008")
    itop.store.remove("UserRequest", ticket.object_id)
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    gone = Delivery.objects.get(ticket=ticket)
    assert (gone.state, gone.reason_code) == ("failed", "ticket_not_found")
    assert Delivery.objects.exclude(ticket=ticket).get().state == "written"


def test_a_message_is_written_to_a_closed_ticket_with_a_remark(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    before = len(entries(itop, ticket))
    itop_client(ticket.itop).update(
        ticket.ticket_class, ticket.object_id, {"status": "closed"}, comment="an agent"
    )
    notify(client, part(37358198350, "<p>it is back</p>"))
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason_code, delivery.reason_detail) == (
        "written",
        "ticket_closed",
        "closed",
    )
    assert entries(itop, ticket)[before:] == ["<p>it is back</p>"]


def test_a_full_log_fails_with_its_reason(client: Client, ticket: Ticket, itop: Itop, work: Work) -> None:
    filler = [{"message": f"<p>{n}</p>", "date": "2026-01-01 00:00:00"} for n in range(300)]
    itop_client(ticket.itop).update(
        ticket.ticket_class, ticket.object_id, {"public_log": {"items": filler}}, comment="fill"
    )
    notify(client, *(part(37358198350 + number, f"<p>{number}</p>") for number in range(80)))
    work()
    states = list(Delivery.objects.in_order().values_list("state", "reason_code"))
    assert states[0] == ("written", "")
    assert states[-1] == ("failed", "log_full")


def test_while_another_writer_holds_the_ticket_nothing_is_written(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    before = len(entries(itop, ticket))
    lease = take_lease(ticket, 60)
    assert lease is not None
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    assert entries(itop, ticket)[before:] == []
    lease.release()
    work()
    assert entries(itop, ticket)[before:] == ["<p>x</p>"]


def test_a_message_that_comes_just_before_the_lease_is_released_is_written(
    client: Client, ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(entries(itop, ticket))
    release = Lease.release

    def release_late(lease: Lease) -> None:
        monkeypatch.setattr(Lease, "release", release)
        notify(client, part(37358198351, "<p>y</p>"))
        process_batch()
        assert not writer.write_due(ticket)  # Another worker finds the lease taken.
        lease.release()

    notify(client, part(37358198350, "<p>x</p>"))
    process_batch()
    monkeypatch.setattr(Lease, "release", release_late)
    writer.write_due(ticket)
    assert entries(itop, ticket)[before:] == ["<p>x</p>", "<p>y</p>"]


def test_a_lease_has_one_holder_until_it_expires(ticket: Ticket) -> None:
    first = take_lease(ticket, 60)
    assert first is not None
    assert take_lease(ticket, 60) is None
    assert first.renew(-1)
    second = take_lease(ticket, 60)
    assert second is not None
    assert not first.renew(60)
    first.release()  # Has no effect, because the lease has another holder.
    assert take_lease(ticket, 60) is None
    assert second.renew(60)


def test_a_writer_that_lost_its_lease_stops_before_the_next_write(
    client: Client, ticket: Ticket, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(entries(itop, ticket))
    for number in (50, 51, 52):
        notify(client, part(37358198300 + number, f"<p>{number}</p>"))
    original = writer.append
    stolen: list[bool] = []

    def append_and_lose(*args: Any, **kwargs: Any) -> Any:
        done = original(*args, **kwargs)
        if not stolen:
            Ticket.objects.filter(pk=ticket.pk).update(
                lease_token="another", lease_until=timezone.now() + dt.timedelta(minutes=1)
            )
            stolen.append(True)
        return done

    monkeypatch.setattr(writer, "append", append_and_lose)
    work()
    assert entries(itop, ticket)[before:] == ["<p>50</p>"]


@pytest.mark.django_db(transaction=True)
def test_many_writers_at_once_write_everything_once_and_in_order(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.link("R-000006")
    OutgoingMessage.objects.all().delete()
    work()
    ticket = TicketLink.objects.get().ticket
    before = len(entries(itop, ticket))
    for number in range(20):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    writer_ready = threading.Barrier(4)
    while process_batch():
        pass

    def write() -> None:
        writer_ready.wait(10)
        try:
            write_all(Ticket.objects.select_related("itop").get(pk=ticket.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert entries(itop, ticket)[before:] == [f"<p>{number}</p>" for number in range(20)]


def test_a_newer_event_processed_first_does_not_overtake_an_unprocessed_older_one(
    client: Client, ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both arrive while the writer processes earlier events, and another worker processes the newer one first."""
    before = len(entries(itop, ticket))
    original = writer.process_unprocessed
    came: list[Any] = []

    def and_then_two_come(unread: Any, *more: Any) -> bool:
        handled = original(unread, *more)
        if not came:
            came.append(notify(client, part(37358198350, "<p>older</p>")))
            came.append(notify(client, part(37358198351, "<p>newer</p>")))
            process_event(WebhookEvent.objects.latest("pk"))
        return handled

    monkeypatch.setattr(writer, "process_unprocessed", and_then_two_come)
    notify(client, part(37358198349, "<p>first</p>"))
    process_event(WebhookEvent.objects.get())
    notify(client, part(37358198348, "<p>unread</p>"))
    write_all(ticket)
    texts = ["<p>unread</p>", "<p>first</p>", "<p>older</p>", "<p>newer</p>"]
    assert entries(itop, ticket)[before:] == texts


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by how much there is")
def test_the_query_for_unprocessed_events_uses_the_partial_index(ticket: Ticket) -> None:
    """It runs before each entry, and a workspace may have a million events."""
    with take_lease(ticket, 10) or pytest.fail("the lease is free") as lease:
        plans = [
            WebhookEvent.objects.unprocessed_of(ticket).explain(),
            writer._next_delivery(ticket, lease).explain(),
        ]
    assert all("webhook_event_unread (conversation_id=? AND workspace_id=?)" in plan for plan in plans), (
        "\n".join(plans)
    )


def test_a_writer_stops_when_its_turn_is_over_so_that_other_tickets_are_written(
    client: Client, ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(entries(itop, ticket))
    for number in range(3):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    process_batch()
    monkeypatch.setattr(writer, "TURN_SECONDS", 0.0)
    assert writer.write_due(ticket)
    assert entries(itop, ticket)[before:] == ["<p>0</p>"]
    with take_lease(ticket, 10) or pytest.fail("the lease is free"):
        pass
    write_all(ticket)
    assert entries(itop, ticket)[before:] == ["<p>0</p>", "<p>1</p>", "<p>2</p>"]


def test_a_writer_leaves_many_unprocessed_events_to_others_and_writes_nothing_before_them(
    client: Client, ticket: Ticket, itop: Itop
) -> None:
    before = len(entries(itop, ticket))
    numbers = list(range(24))
    # The latest arrived first, so that all events have to be processed before any message is written.
    for number in reversed(numbers):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    process_event(WebhookEvent.objects.earliest("pk"))
    assert not writer.write_due(ticket)
    assert Delivery.objects.count() == 1
    for _ in range(2):
        process_batch()
    assert 1 < Delivery.objects.count() < len(numbers)
    assert entries(itop, ticket)[before:] == []
    write_all(ticket)
    assert entries(itop, ticket)[before:] == [f"<p>{number}</p>" for number in numbers]


def test_nothing_is_written_while_events_cannot_be_read(
    client: Client, ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(itop, ticket)
    notify(client, part(37358198349, "<p>first</p>"))
    process_event(WebhookEvent.objects.get())
    notify(client, part(37358198348, "<p>unread</p>"))
    monkeypatch.setattr(writer, "process_unprocessed", lambda *_: False)
    write_all(ticket)
    assert entries(itop, ticket) == before


def test_a_rejected_login_is_a_failure_of_the_instance_and_not_of_the_message(
    client: Client, ticket: Ticket, workspace: Workspace, work: Work
) -> None:
    ticket.itop.token = "wrong"
    ticket.itop.save()
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    delivery = Delivery.objects.get()
    assert delivery.state == "waiting"
    assert delivery.reason_code == "itop_login_refused"
    assert "Invalid login" in delivery.reason_detail
    assert delivery.due_at > timezone.now()


def test_a_message_too_long_for_the_log_ends_with_the_conversations_address(
    client: Client, ticket: Ticket, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "MAX_BODY_LENGTH", 100)
    notify(client, part(37358198350, f"<p>{'word ' * 50}</p>"))
    work()
    assert TicketLink.objects.get().conversation.url in entries(itop, ticket)[-1]


def test_a_response_that_is_not_known_has_a_reason_of_its_own(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.faults.add("forbidden", operation="core/update", count=1)
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    assert Delivery.objects.get().reason_code == "itop_unknown_response"


def test_only_messages_older_than_an_adopted_link_may_be_in_the_log_already(
    client: Client, ticket: Ticket
) -> None:
    TicketLink.objects.update(linked_by="", since_part_at=0)
    now = int(timezone.now().timestamp())
    notify(client, part(37358198350, "<p>older</p>", created_at=now - 3600))
    notify(client, part(37358198351, "<p>newer</p>", created_at=now + 3600))
    process_batch()
    assert list(Delivery.objects.in_order().values_list("may_be_in_log", flat=True)) == [True, False]
    TicketLink.objects.update(linked_by="Ada")
    notify(client, part(37358198352, "<p>of a teammate's link</p>", created_at=now - 3600))
    process_batch()
    assert not Delivery.objects.get(part_id="37358198352").may_be_in_log
