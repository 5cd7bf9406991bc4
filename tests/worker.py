"""What a worker does, in the test's own thread."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.utils import timezone

from intercom_bridge.worker import queues

LONG_AGO = dt.datetime(2000, 1, 1, 12, 30, 15, 123456, dt.UTC)
DAY = dt.timedelta(days=1)


def run_until_idle() -> None:
    """Do all that is due, one row after the other, as a worker's loop does it with threads."""
    left_alone: set[tuple[queues.Queue, int]] = set()
    while True:
        due = [(queue, pk) for queue in queues.QUEUES for pk in due_rows(queue)]
        todo = [row for row in due if row not in left_alone]
        if not todo:
            return
        left_alone.update((queue, pk) for queue, pk in todo if queues.run_row(_prepared_queue(queue), pk))


def due_rows(queue: queues.Queue) -> list[int]:
    """Return the primary keys of the queue's rows that are due.

    All queues are asked very often, and building a query takes much more processor time than executing it. So it is
    built once.
    """
    question = prepared(queue)
    if question is None:
        return list(queue.due().values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(question.sql, question.parameters_at(timezone.now()))
        return [pk for (pk,) in cursor.fetchall()]


@cache
def _prepared_queue(queue: queues.Queue) -> queues.Queue:
    """Return the queue with a cheap answer to the question whether a row is still due."""
    due: Any = _Due(queue)
    return replace(queue, due=lambda: due)


@dataclass(frozen=True)
class _Due:
    """The due rows of a queue, with the methods of a QuerySet that `run_row` uses."""

    queue: queues.Queue
    pk: int = 0

    def filter(self, *, pk: int) -> _Due:
        return replace(self, pk=pk)

    def first(self) -> Any:
        return self.queue.due().filter(pk=self.pk).first()

    def exists(self) -> bool:
        question = prepared(self.queue)
        if question is None:
            return self.queue.due().filter(pk=self.pk).exists()
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT %s IN ({question.sql})", [self.pk, *question.parameters_at(timezone.now())]
            )
            return bool(cursor.fetchone()[0])


@dataclass(frozen=True)
class _SinceNow:
    """A parameter that is a time, relative to the time at which the query is executed."""

    difference: dt.timedelta


@dataclass(frozen=True)
class Question:
    """A queue's query for the primary keys of its due rows."""

    sql: str
    parameters: tuple[Any, ...]

    def parameters_at(self, now: dt.datetime) -> list[Any]:
        return [
            connection.ops.adapt_datetimefield_value(now + parameter.difference)
            if isinstance(parameter, _SinceNow)
            else parameter
            for parameter in self.parameters
        ]


@cache
def prepared(queue: queues.Queue) -> Question | None:
    """Return the queue's query, found by comparing those of two days.

    Return None if they differ by more than times that are a day later.
    """
    try:
        (sql, parameters), (sql_next_day, parameters_next_day) = (
            _compiled_at(queue, LONG_AGO),
            _compiled_at(queue, LONG_AGO + DAY),
        )
    except EmptyResultSet:
        return None
    if sql != sql_next_day:
        return None
    found: list[Any] = []
    for parameter, next_day in zip(parameters, parameters_next_day, strict=True):
        if parameter == next_day:
            found.append(parameter)
            continue
        try:
            difference = _time(parameter) - LONG_AGO
            is_a_day_later = _time(next_day) - LONG_AGO == difference + DAY
        except (AttributeError, ValueError):
            return None
        if not is_a_day_later:
            return None
        found.append(_SinceNow(difference))
    return Question(sql, tuple(found))


def _compiled_at(queue: queues.Queue, now: dt.datetime) -> tuple[str, tuple[Any, ...]]:
    with mock.patch.object(timezone, "now", lambda: now):
        compiled: tuple[str, tuple[Any, ...]] = (
            queue.due().values_list("pk", flat=True).query.sql_with_params()
        )
    return compiled


def _time(parameter: Any) -> dt.datetime:
    """Return the time in a parameter; SQLite's times are texts."""
    time: dt.datetime = dt.datetime.fromisoformat(parameter) if isinstance(parameter, str) else parameter
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
