"""One writer a ticket, in order, each entry once, whatever iTop does."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from intercom_bridge import reasons
from intercom_bridge.connections import itop_client
from intercom_bridge.models import (
    Delivery,
    ItopInstance,
    Notification,
    Posting,
    Ticket,
    TicketLink,
    Workspace,
)
from intercom_bridge.models.lease import take_lease
from intercom_bridge.sync import intake, tasks, writer
from intercom_bridge.sync.intake import take_in, take_in_batch
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def entries(itop: Itop, ticket: Ticket) -> list[str]:
    return [one["message"] for one in itop.store.log(ticket.object_id)]


def now_due() -> None:
    """The waits are over: the message's, and the pause of its iTop."""
    Delivery.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


@pytest.mark.parametrize("kind", ["drop_after", "error500", "html", "maintenance", "drop_before", "reset"])
def test_a_write_of_unknown_outcome_is_repeated_and_stands_in_the_log_once(
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


def test_a_request_that_we_gave_up_on_and_that_runs_later_writes_once(
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
    assert "an earlier try had arrived" in Delivery.objects.get().reason
    assert entries(itop, ticket)[before:] == ["<p>late</p>"]


@pytest.fixture
def tracked(client: Client, ticket: Ticket, work: Work) -> Ticket:
    """A ticket of an iTop that is known to keep changes: from now on the key in each write is all that guards it."""
    notify(client, part(37358198349, "<p>before</p>"))
    work()
    assert ItopInstance.objects.get().tracked_logs == {"UserRequest.public_log": True}
    return ticket


@pytest.mark.parametrize("runs_after", [0.8, 2.0])
def test_a_first_try_that_runs_late_and_its_repeat_write_one_entry(
    client: Client, tracked: Ticket, itop: Itop, work: Work, settings: Any, runs_after: float
) -> None:
    """Before the repeat, and after it: iTop looks at the key when it executes."""
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


def test_later_messages_wait_behind_one_that_could_not_be_written(
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
    assert [one["message"] for one in last] == ["<p>newer</p>", "<p>older</p>"]
    assert last[1]["date"] < last[0]["date"]


def test_a_ticket_that_is_gone_fails_with_its_reason_and_stops_no_other(
    client: Client, teammate: Teammate, ticket: Ticket, itop: Itop, work: Work
) -> None:
    teammate.link("R-000008")
    itop.store.remove("UserRequest", ticket.object_id)
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    gone = Delivery.objects.get(ticket=ticket)
    assert (gone.state, gone.reason) == ("failed", reasons.TICKET_GONE)
    assert Delivery.objects.exclude(ticket=ticket).get().state == "written"


def test_a_closed_ticket_is_written_all_the_same_and_says_so(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    before = len(entries(itop, ticket))
    itop_client(ticket.itop).update(
        ticket.ticket_class, ticket.object_id, {"status": "closed"}, comment="an agent"
    )
    notify(client, part(37358198350, "<p>it is back</p>"))
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason) == (
        "written",
        "The ticket is no longer open (closed). The message was written all the same.",
    )
    assert entries(itop, ticket)[before:] == ["<p>it is back</p>"]


def test_a_full_log_fails_with_its_reason(client: Client, ticket: Ticket, itop: Itop, work: Work) -> None:
    filler = [{"message": f"<p>{n}</p>", "date": "2026-01-01 00:00:00"} for n in range(300)]
    itop_client(ticket.itop).update(
        ticket.ticket_class, ticket.object_id, {"public_log": {"items": filler}}, comment="fill"
    )
    notify(client, *(part(37358198350 + number, f"<p>{number}</p>") for number in range(80)))
    work()
    states = list(Delivery.objects.in_order().values_list("state", "reason"))
    assert states[0] == ("written", "")
    assert states[-1] == ("failed", reasons.LOG_FULL)


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


def test_a_lease_is_taken_by_one_and_can_be_taken_over_when_its_time_is_over(ticket: Ticket) -> None:
    first = take_lease(ticket, 60)
    assert first is not None
    assert take_lease(ticket, 60) is None
    assert first.renew(-1)
    second = take_lease(ticket, 60)
    assert second is not None
    assert not first.renew(60)
    first.release()  # Releases nothing that it does not hold.
    assert take_lease(ticket, 60) is None
    assert second.renew(60)


def test_a_writer_that_lost_its_lease_stops_before_the_next_write(
    client: Client, ticket: Ticket, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(entries(itop, ticket))
    for number in (50, 51, 52):
        notify(client, part(37358198300 + number, f"<p>{number}</p>"))
    original = writer.append
    stolen = []

    def append_and_lose(*args: Any, **kwargs: Any) -> bool:
        done = original(*args, **kwargs)
        if not stolen:
            Ticket.objects.filter(pk=ticket.pk).update(
                lease_token="somebody else", lease_until=timezone.now() + dt.timedelta(minutes=1)
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
    Posting.objects.all().delete()
    work()
    ticket = TicketLink.objects.get().ticket
    before = len(entries(itop, ticket))
    for number in range(20):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    writer_ready = threading.Barrier(4)
    take_in_batch()

    def write() -> None:
        writer_ready.wait(10)
        try:
            writer.write_due(Ticket.objects.select_related("itop").get(pk=ticket.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert entries(itop, ticket)[before:] == [f"<p>{number}</p>" for number in range(20)]


def test_what_another_worker_took_in_first_does_not_overtake_an_older_message_that_is_unread(
    client: Client, ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both come while the writer is looking at what came before them; somebody else is quick with the newer one."""
    before = len(entries(itop, ticket))
    original, came = writer.take_in_all, []

    def and_then_two_come(unread: Any, *more: Any) -> bool:
        handled = original(unread, *more)
        if not came:
            came.append(notify(client, part(37358198350, "<p>older</p>")))
            came.append(notify(client, part(37358198351, "<p>newer</p>")))
            take_in(Notification.objects.order_by("pk").last())
        return handled

    monkeypatch.setattr(writer, "take_in_all", and_then_two_come)
    notify(client, part(37358198349, "<p>first</p>"))
    take_in(Notification.objects.get())
    notify(client, part(37358198348, "<p>unread</p>"))
    writer.write_due(ticket)
    texts = ["<p>unread</p>", "<p>first</p>", "<p>older</p>", "<p>newer</p>"]
    assert entries(itop, ticket)[before:] == texts


def test_a_long_row_of_notifications_keeps_no_writer_waiting(
    client: Client, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    left_when_woken: list[int] = []
    monkeypatch.setattr(intake, "BATCH", 1)
    monkeypatch.setattr(
        tasks, "write_ticket", lambda _: left_when_woken.append(Notification.objects.due().count())
    )
    tasks.take_in.call_local()
    assert left_when_woken == [2, 1, 0]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by how much there is")
def test_what_came_in_for_a_ticket_is_looked_up_in_an_index_of_what_is_unread(ticket: Ticket) -> None:
    """It is asked before each entry, and a workspace has a million notifications."""
    with take_lease(ticket, 10) or pytest.fail("nobody else holds it") as lease:
        plans = [
            Notification.objects.unread_of(ticket).explain(),
            writer._next_of_holder(ticket, lease).explain(),
        ]
    assert all("notification_unread (conversation_id=? AND workspace_id=?)" in plan for plan in plans), (
        "\n".join(plans)
    )


def test_while_the_database_cannot_say_what_came_in_nothing_is_written(
    client: Client, ticket: Ticket, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(itop, ticket)
    notify(client, part(37358198349, "<p>first</p>"))
    take_in(Notification.objects.get())
    notify(client, part(37358198348, "<p>unread</p>"))
    monkeypatch.setattr(writer, "take_in_all", lambda *_: False)
    assert writer.write_due(ticket).again_in == writer.TAKE_IN_AGAIN_SECONDS
    assert entries(itop, ticket) == before


def test_an_account_that_may_not_write_is_the_instances_trouble_not_the_messages(
    client: Client, ticket: Ticket, workspace: Workspace, work: Work
) -> None:
    ticket.itop.token = "wrong"
    ticket.itop.save()
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    delivery = Delivery.objects.get()
    assert delivery.state == "waiting"
    assert "Invalid login" in delivery.reason
    assert delivery.due_at > timezone.now()
