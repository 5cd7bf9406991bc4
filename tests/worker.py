"""What a worker does, in the test's own thread."""

from __future__ import annotations

from intercom_bridge.worker import queues


def run_until_idle() -> None:
    """Do all that is due, one row after the other, as a worker's loop does it with threads."""
    left_alone: set[tuple[queues.Queue, int]] = set()
    while True:
        due = [(queue, pk) for queue in queues.QUEUES for pk in queue.due().values_list("pk", flat=True)]
        todo = [row for row in due if row not in left_alone]
        if not todo:
            return
        left_alone.update((queue, pk) for queue, pk in todo if queues.run_row(queue, pk))
