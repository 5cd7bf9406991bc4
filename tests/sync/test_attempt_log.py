"""The attempt log of deliveries and ticket creations."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopInstance, Ticket, TicketCreation
from intercom_bridge.models.job import MAX_LOGGED_ATTEMPTS, MAX_REASON_DETAIL
from itop_client import ItopUnreachableError
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def outcomes(row: Delivery | TicketCreation) -> list[str]:
    return [attempt["outcome"] for attempt in row.attempt_log]


def waits_are_over() -> None:
    Delivery.objects.update(due_at=timezone.now())
    TicketCreation.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


def test_a_first_attempt_that_succeeds_is_logged_with_its_time(
    client: Client, ticket: Ticket, work: Work
) -> None:
    before = time.time()
    notify(client, part(37358198350, "<p>once</p>"))
    work()
    [attempt] = Delivery.objects.get().attempt_log
    assert (attempt["outcome"], attempt["code"], attempt["detail"]) == ("written", "", "")
    assert before - 1 <= attempt["at"] <= time.time() + 1


def test_an_attempt_of_unknown_outcome_and_its_repetition_are_logged_in_order(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.faults.add("drop_after", operation="core/update", count=1)
    notify(client, part(37358198350, "<p>once</p>"))
    work()
    assert outcomes(Delivery.objects.get()) == ["unknown"]
    waits_are_over()
    work()
    delivery = Delivery.objects.get()
    assert outcomes(delivery) == ["unknown", "written"]
    assert [attempt["code"] for attempt in delivery.attempt_log] == ["itop_no_response", "already_written"]


def test_a_rejection_is_logged_with_the_message_of_itop_and_kept_on_a_retry(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.store.remove("UserRequest", ticket.object_id)
    notify(client, part(37358198350, "<p>too late</p>"))
    work()
    assert outcomes(Delivery.objects.get()) == ["refused"]
    assert Delivery.objects.all().retry_now() == 1
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, outcomes(delivery)) == ("failed", ["refused", "refused"])
    assert str(ticket.object_id) in delivery.attempt_log[0]["detail"]


def test_a_message_that_is_skipped_during_an_attempt_keeps_the_attempt(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.faults.add("error500", operation="core/update", count=1)
    itop.pause = lambda: None if Delivery.objects.all().skip("skipped_by_admin") else None
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    itop.pause = lambda: None
    assert len(Delivery.objects.get().attempt_log) == 1


def test_only_the_latest_attempts_are_kept_and_long_details_are_cut() -> None:
    delivery = Delivery()
    for number in range(MAX_LOGGED_ATTEMPTS + 5):
        delivery.log_failed_attempt(ItopUnreachableError(f"{number} " + "x" * 1000))
    assert [attempt["detail"].split()[0] for attempt in delivery.attempt_log] == [
        str(number) for number in range(5, MAX_LOGGED_ATTEMPTS + 5)
    ]
    assert set(outcomes(delivery)) == {"trouble"}
    assert {len(attempt["detail"]) for attempt in delivery.attempt_log} == {MAX_REASON_DETAIL}


def test_logging_an_attempt_needs_no_additional_statement(client: Client, ticket: Ticket, work: Work) -> None:
    notify(client, part(37358198349, "<p>the first, which finds out what iTop can do</p>"))
    work()
    notify(client, part(37358198350, "<p>a</p>"), part(37358198351, "<p>b</p>"))
    with CaptureQueriesContext(connection) as queries:
        work()
    updates = [
        query["sql"] for query in queries if query["sql"].startswith('UPDATE "intercom_bridge_delivery"')
    ]
    kept = [sql for sql in updates if '"attempt_log"' in sql]
    # Each delivery is updated once when it is rendered and once with its outcome.
    assert (len(updates), len(kept)) == (4, 2)


def press(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")


def test_a_creation_of_unknown_outcome_keeps_its_attempts(teammate: Teammate, itop: Itop, work: Work) -> None:
    itop.faults.add("drop_after", operation="core/create", count=1)
    press(teammate)
    assert outcomes(TicketCreation.objects.get()) == ["unknown"]
    waits_are_over()
    work()
    submission = TicketCreation.objects.get()
    assert (submission.state, outcomes(submission)) == ("created", ["unknown", "written"])
    assert submission.attempt_log[1]["code"] == "already_written"


@pytest.mark.parametrize(("waits", "becomes_due"), [(600, True), (5, False)])
def test_a_creation_is_released_unless_itop_may_still_execute_the_last_request(
    teammate: Teammate, itop: Itop, waits: int, becomes_due: bool
) -> None:
    itop.faults.add("drop_after", operation="core/create", count=1)
    press(teammate)
    submission = TicketCreation.objects.get()
    now = timezone.now()
    tried_at = now.timestamp() - (60 if becomes_due else 1)
    submission.attempt_log = [{"at": tried_at, "outcome": "unknown", "code": "", "detail": "x"}]
    submission.due_at = now + dt.timedelta(seconds=waits)
    submission.save()
    assert TicketCreation.objects.all().release_postponed() == 1
    assert TicketCreation.objects.due().exists() is becomes_due
