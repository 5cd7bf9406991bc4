"""The circuit breaker: while an iTop fails, no message fails, and one probe at a time is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopInstance, Ticket, TicketLink
from intercom_bridge.sync import circuit_breaker
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


@pytest.fixture
def tickets(teammate: Teammate, itop: Itop, work: Work) -> list[Ticket]:
    """Return the two tickets that the conversation is linked to: R-000006 and R-000008."""
    first = store_link(teammate, itop, "R-000006")
    second = TicketLink.objects.create(
        conversation=first.conversation,
        ticket=Ticket.objects.create(
            itop=first.ticket.itop, ticket_class="UserRequest", object_id=8, ref="R-000008"
        ),
        linked_by=first.linked_by,
        since_part_at=first.since_part_at,
        since_part_order=first.since_part_order,
        attributes_synced=True,
    )
    work()
    return [first.ticket, second.ticket]


def state_of(itop: Itop) -> ItopInstance:
    return ItopInstance.objects.get()


def wait_is_over() -> None:
    Delivery.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


def test_a_failure_opens_the_circuit_breaker_with_its_reason_and_fails_no_message(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work
) -> None:
    itop.faults.add("maintenance", operation="core/update")
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    paused = state_of(itop)
    assert paused.paused_until is not None and paused.paused_since is not None
    assert paused.failures_in_a_row == 1
    assert paused.pause_code
    # The message of one ticket was attempted, that of the other only waits.
    assert sorted(Delivery.objects.values_list("state", "attempts")) == [("waiting", 0), ("waiting", 1)]


def test_no_request_is_sent_while_the_circuit_breaker_is_open(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work
) -> None:
    ItopInstance.objects.update(paused_until=timezone.now() + dt.timedelta(minutes=5))
    notify(client, part(37358198350, "<p>x</p>"))
    itop.calls.clear()
    work()
    assert itop.calls == []


def test_a_successful_probe_closes_the_circuit_breaker_for_all_messages(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work
) -> None:
    itop.faults.add("maintenance", operation="core/update", count=2)
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    wait_is_over()
    work()
    assert state_of(itop).failures_in_a_row == 2
    assert sum(Delivery.objects.values_list("attempts", flat=True)) == 2
    wait_is_over()
    work()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"written"}
    healthy = state_of(itop)
    assert (healthy.paused_until, healthy.failures_in_a_row, healthy.pause_code) == (None, 0, "")


def test_a_write_that_became_due_before_the_circuit_breaker_opened_is_not_sent(tickets: list[Ticket]) -> None:
    paused_until = timezone.now() + dt.timedelta(minutes=1)
    ItopInstance.objects.update(paused_until=paused_until)
    assert not circuit_breaker.claim_write(ItopInstance.objects.get())
    assert ItopInstance.objects.get().paused_until == paused_until


def test_only_one_worker_sends_the_probe(tickets: list[Ticket]) -> None:
    ItopInstance.objects.update(paused_until=timezone.now() - dt.timedelta(seconds=1))
    first, second = ItopInstance.objects.get(), ItopInstance.objects.get()
    assert circuit_breaker.claim_write(first)
    assert not circuit_breaker.claim_write(second)


def test_the_backoff_grows_with_each_failure_up_to_ten_minutes() -> None:
    for failures in range(1, 40):
        longest = min(600.0, 0.5 * 2.0 ** (failures - 1))
        assert 0.75 * longest <= circuit_breaker.backoff_seconds(failures, 0.5) <= longest


def test_a_message_that_fails_while_itop_accepts_others_does_not_block_later_ones(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intercom_bridge.sync import writer
    from itop_client import UnclassifiedError

    original = writer.append

    def poisoned(client_: Any, ticket_class: str, ticket_id: int, log: str, item: Any, **more: Any) -> Any:
        if ticket_id == tickets[0].object_id and "poison" in item["message"]:
            raise UnclassifiedError("HTTP 500")
        return original(client_, ticket_class, ticket_id, log, item, **more)

    monkeypatch.setattr(writer, "append", poisoned)
    notify(client, part(37358198350, "<p>poison</p>"))
    notify(client, part(37358198351, "<p>later</p>"))
    for number in range(8):
        notify(client, part(37358198360 + number, f"<p>{number}</p>"))
        work()
        ItopInstance.objects.update(last_success_at=timezone.now())
        wait_is_over()
    work()
    failed = Delivery.objects.get(ticket=tickets[0], part_id="37358198350")
    assert failed.state == "failed"
    assert failed.reason_code == "message_specific"
    assert Delivery.objects.get(ticket=tickets[0], part_id="37358198351").state == "written"
    assert Delivery.objects.exclude(pk=failed.pk).exclude(state="written").count() == 0


@pytest.mark.parametrize("kind", ["forbidden", "error500", "drop_before", "too_large", "check"])
def test_a_message_that_itop_never_accepts_delays_no_other(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work, kind: str
) -> None:
    """At night, when nothing else is written, as well as by day."""
    itop.faults.add(kind, operation="core/update", contains="OR 1=1")
    TicketLink.objects.exclude(ticket=tickets[0]).delete()
    notify(client, part(37358198350, "<p>' OR 1=1</p>"))
    for _ in range(6):
        work()
        assert state_of(itop).paused_until is None
        Delivery.objects.waiting().update(due_at=timezone.now())
    bad = Delivery.objects.get()
    assert bad.state == "failed"
    assert bad.attempts == (1 if kind in ("too_large", "check") else 5)
    notify(client, part(37358198351, "<p>later</p>"))
    work()
    assert Delivery.objects.get(part_id="37358198351").state == "written"


def test_if_messages_of_several_tickets_fail_it_is_the_instance(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work
) -> None:
    """A full disk, for example: iTop can be read, but no message can be written."""
    itop.faults.add("error500", operation="core/update")
    notify(client, part(37358198350, "<p>x</p>"))
    for _ in range(20):
        work()
        wait_is_over()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"waiting"}
    assert state_of(itop).failures_in_a_row > 5
    itop.faults.clear()
    work()
    wait_is_over()
    work()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"written"}


def test_a_message_fails_after_seven_days_of_retries_and_not_before(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work
) -> None:
    itop.faults.add("html", operation="core/update")
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    Delivery.objects.update(queued_at=timezone.now() - dt.timedelta(days=6, hours=23))
    wait_is_over()
    work()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"waiting"}
    Delivery.objects.update(queued_at=timezone.now() - dt.timedelta(days=7, minutes=1))
    for _ in range(2):
        wait_is_over()
        work()
    assert set(Delivery.objects.values_list("state", flat=True)) == {"failed"}
    assert Delivery.objects.first().reason_code == "gave_up"  # type: ignore[union-attr]


def test_missing_change_tracking_is_detected_and_nothing_is_written_twice(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itop.store, "record_op", lambda *args, **kwargs: None)
    notify(client, part(37358198350, "<p>first</p>"))
    work()
    assert state_of(itop).tracked_logs == {"UserRequest.public_log": False}
    itop.faults.add("drop_after", operation="core/update", count=1)
    notify(client, part(37358198351, "<p>second</p>"))
    work()
    wait_is_over()
    work()
    for ticket in tickets:
        bodies = [entry["message"] for entry in itop.store.log(ticket.object_id)]
        assert bodies[-2:] == ["<p>first</p>", "<p>second</p>"]
        assert bodies.count("<p>second</p>") == 1
    assert Delivery.objects.filter(reason_code="already_written").count() == 1


def test_change_tracking_is_detected_with_one_query(
    client: Client, tickets: list[Ticket], itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    assert state_of(itop).tracked_logs == {"UserRequest.public_log": True}
    itop.calls.clear()
    notify(client, part(37358198351, "<p>y</p>"))
    work()
    assert itop.calls == [("core/update", "UserRequest")] * 2
