"""A flood in one conversation or workspace takes the turn of no other."""

from __future__ import annotations

from typing import Any

from intercom_bridge.models import Ticket
from intercom_bridge.worker.loop import WorkerLoop
from intercom_bridge.worker.queues import Queue
from intercom_bridge.worker.turns import MAX_REMEMBERED, Turns


def test_workspaces_take_turns_however_many_rows_each_has() -> None:
    rows = [(pk, "flooded") for pk in range(50)] + [(100, "quiet"), (101, "quiet"), (200, "third")]
    order = Turns().in_order(rows)
    assert {workspace for _pk, workspace in order[:3]} == {"flooded", "quiet", "third"}
    assert {workspace for _pk, workspace in order[3:5]} == {"flooded", "quiet"}
    assert len(order) == len(rows)


def test_what_had_its_turn_longest_ago_comes_first() -> None:
    turns = Turns()
    for pk in (3, 1, 2):
        turns.take((pk, "same"))
    assert [pk for pk, _ in turns.in_order([(1, "same"), (2, "same"), (3, "same")])] == [3, 1, 2]
    assert turns.in_order([(1, "same"), (2, "same"), (4, "same")])[0] == (4, "same")
    turns.take((9, "other"))
    turns.take((3, "same"))
    assert turns.in_order([(1, "same"), (9, "other")])[0] == (9, "other")


def test_only_so_many_turns_are_remembered() -> None:
    turns = Turns()
    for pk in range(MAX_REMEMBERED + 50):
        turns.take((pk, "same"))
    assert len(turns._last_turns) == MAX_REMEMBERED
    assert turns.in_order([(MAX_REMEMBERED, "same"), (0, "same")])[0] == (0, "same")


def handed_out(threads: int, queue: Queue, rows: list[tuple[int, Any]]) -> list[int]:
    """Return the rows that a loop hands to its threads at once."""
    loop = WorkerLoop(threads)
    loop._backlog[queue] = rows
    loop._turns[queue] = Turns()
    loop._hand_out(queue)
    return [loop._jobs.get_nowait()[1] for _ in range(loop._jobs.qsize())]


def test_one_workspace_leaves_a_thread_for_others() -> None:
    tickets = Queue("test", Ticket.objects.all, lambda _: None, workspace="workspace")
    flood = [(pk, "flooded") for pk in range(20)]
    assert handed_out(4, tickets, flood) == [0, 1, 2]
    assert handed_out(4, tickets, [*flood, (100, "quiet")]) == [0, 1, 2, 100]
    assert handed_out(1, tickets, flood) == [0]


def test_rows_without_a_workspace_use_all_threads() -> None:
    rows = [(pk, pk) for pk in range(20)]
    assert handed_out(4, Queue("test", Ticket.objects.all, lambda _: None), rows) == [0, 1, 2, 3]
