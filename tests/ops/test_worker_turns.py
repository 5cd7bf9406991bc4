"""A flood in one conversation or workspace takes the turn of no other."""

from __future__ import annotations

from intercom_bridge.models import Ticket
from intercom_bridge.worker.loop import WorkerLoop
from intercom_bridge.worker.queues import Queue
from intercom_bridge.worker.turns import MAX_REMEMBERED, Row, Turns


def test_workspaces_take_turns_however_many_rows_each_has() -> None:
    rows = [Row(pk, "flooded") for pk in range(50)]
    rows += [Row(100, "quiet"), Row(101, "quiet"), Row(200, "third")]
    order = Turns().in_order(rows)
    assert {row.workspace for row in order[:3]} == {"flooded", "quiet", "third"}
    assert {row.workspace for row in order[3:5]} == {"flooded", "quiet"}
    assert len(order) == len(rows)


def test_what_had_its_turn_longest_ago_comes_first() -> None:
    turns = Turns()
    for pk in (3, 1, 2):
        turns.take(Row(pk, "same"))
    assert [row.pk for row in turns.in_order([Row(1, "same"), Row(2, "same"), Row(3, "same")])] == [3, 1, 2]
    assert turns.in_order([Row(1, "same"), Row(2, "same"), Row(4, "same")])[0].pk == 4
    turns.take(Row(9, "other"))
    turns.take(Row(3, "same"))
    assert turns.in_order([Row(1, "same"), Row(9, "other")])[0].pk == 9


def test_a_customer_with_many_conversations_delays_others_of_the_workspace_by_one_row() -> None:
    rows = [Row(pk, "same", "flooding") for pk in range(50)]
    rows += [Row(100, "same", "quiet"), Row(101, "same", "quiet"), Row(200, "same")]
    turns = Turns()
    order = turns.in_order(rows)
    assert {row.customer for row in order[:3]} == {"flooding", "quiet", None}
    assert {row.customer for row in order[3:5]} == {"flooding", "quiet"}
    turns.take(Row(7, "same", "flooding"))
    order = turns.in_order(rows)
    assert [row.customer for row in order[:3]].index("flooding") == 2
    assert order[-1].pk == 7


def test_customers_of_different_workspaces_are_different() -> None:
    turns = Turns()
    turns.take(Row(1, "first", "5f"))
    turns.take(Row(2, "second", "6a"))
    rows = [Row(3, "second", "5f"), Row(2, "second", "6a"), Row(1, "first", "5f")]
    assert [row.pk for row in turns.in_order(rows)] == [1, 3, 2]


def test_only_so_many_turns_are_remembered() -> None:
    turns = Turns()
    for pk in range(MAX_REMEMBERED + 50):
        turns.take(Row(pk, "same"))
    assert len(turns._last_turns) == MAX_REMEMBERED
    assert turns.in_order([Row(MAX_REMEMBERED, "same"), Row(0, "same")])[0].pk == 0


def handed_out(threads: int, queue: Queue, rows: list[Row]) -> list[int]:
    """Return the rows that a loop hands to its threads at once."""
    loop = WorkerLoop(threads)
    loop._backlog[queue] = rows
    loop._turns[queue] = Turns()
    loop._hand_out(queue)
    return [loop._jobs.get_nowait()[1] for _ in range(loop._jobs.qsize())]


def test_one_workspace_leaves_a_thread_for_others() -> None:
    tickets = Queue("test", Ticket.objects.all, lambda _: None, workspace="workspace")
    flood = [Row(pk, "flooded") for pk in range(20)]
    assert handed_out(4, tickets, flood) == [0, 1, 2]
    assert handed_out(4, tickets, [*flood, Row(100, "quiet")]) == [0, 1, 2, 100]
    assert handed_out(1, tickets, flood) == [0]


def test_one_customer_leaves_threads_for_others_of_the_workspace() -> None:
    tickets = Queue("test", Ticket.objects.all, lambda _: None, workspace="workspace", customer="customer")
    flood = [Row(pk, "same", "flooding") for pk in range(20)]
    assert handed_out(8, tickets, flood) == [0, 1]
    assert handed_out(8, tickets, [*flood, Row(100, "same", "quiet")]) == [0, 1, 100]
    assert handed_out(1, tickets, flood) == [0]


def test_rows_without_a_workspace_use_all_threads() -> None:
    rows = [Row(pk, pk) for pk in range(20)]
    assert handed_out(4, Queue("test", Ticket.objects.all, lambda _: None), rows) == [0, 1, 2, 3]
