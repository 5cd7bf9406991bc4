"""The worker's table of queues: a failing row stops no other, and is left alone for a while."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge import wake
from intercom_bridge.models import ItopInstance
from intercom_bridge.worker import queues
from intercom_bridge.worker.queues import FAILED_ROW_SECONDS, STILL_DUE_SECONDS, Queue, run_row
from tests.worker import due_rows, prepared, run_until_idle


@pytest.fixture
def rows(db: None) -> list[ItopInstance]:
    return [
        ItopInstance.objects.create(name=name, url=f"https://{name}.example.com", token="t") for name in "abc"
    ]


def queue_of(handle: Callable[[Any], float | None]) -> Queue:
    """Return a queue of the instances that are not marked, by their time zone, as handled."""
    return Queue("test", lambda: ItopInstance.objects.exclude(time_zone="Asia/Tokyo").order_by("pk"), handle)


def mark(row: ItopInstance) -> None:
    ItopInstance.objects.filter(pk=row.pk).update(time_zone="Asia/Tokyo")


def test_a_row_whose_handler_fails_is_left_alone_for_a_minute_and_stops_no_other(
    rows: list[ItopInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_a(row: ItopInstance) -> None:
        if row.name == "a":
            raise ZeroDivisionError
        mark(row)

    queue = queue_of(fail_for_a)
    assert run_row(queue, rows[0].pk) == FAILED_ROW_SECONDS
    monkeypatch.setattr(queues, "QUEUES", (queue,))
    run_until_idle()
    assert [row.name for row in queue.due()] == ["a"]


def test_a_row_that_stays_due_is_left_alone_for_as_long_as_its_handler_says(rows: list[ItopInstance]) -> None:
    assert run_row(queue_of(lambda row: None), rows[0].pk) == STILL_DUE_SECONDS
    assert run_row(queue_of(lambda row: 7.0), rows[0].pk) == 7.0
    assert run_row(queue_of(lambda row: 0.0), rows[0].pk) == 0.0
    assert run_row(queue_of(mark), rows[0].pk) == 0.0


def test_a_row_that_is_no_longer_due_is_not_handled(rows: list[ItopInstance]) -> None:
    mark(rows[0])
    handled: list[ItopInstance] = []
    assert run_row(queue_of(handled.append), rows[0].pk) == 0.0
    assert handled == []


@pytest.mark.parametrize("queue", queues.QUEUES, ids=lambda queue: queue.name)
def test_the_worker_of_the_tests_asks_what_the_queue_asks(queue: Queue, time_machine: Any) -> None:
    time_machine.move_to(dt.datetime(2026, 2, 5, 17, 5, 3, 123456, dt.UTC), tick=False)
    question = prepared(queue)
    assert question is not None
    sql, parameters = queue.due().values_list("pk", flat=True).query.sql_with_params()
    assert (question.sql, question.parameters_at(timezone.now())) == (sql, list(parameters))


def test_a_query_that_is_not_the_same_every_time_is_built_every_time(rows: list[ItopInstance]) -> None:
    names = iter("xyza")
    queue = Queue("test", lambda: ItopInstance.objects.filter(name=next(names)), lambda row: None)
    assert due_rows(queue) == []
    assert due_rows(queue) == [rows[0].pk]


def test_a_failing_receiver_does_not_disturb_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(topic: str) -> None:
        raise ConnectionError(topic)

    monkeypatch.setattr(wake, "_receivers", [fail])
    wake.wake(wake.INCOMING)
