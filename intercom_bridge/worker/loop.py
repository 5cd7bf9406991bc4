"""The worker's main loop: look for due rows, hand them to threads, stop within the time that one write may take.

Every worker queries for due rows every second. A signal through Huey's queue makes it query at once. If the queue is
unreachable, rows only wait for the next query.
"""

from __future__ import annotations

import datetime as dt
import queue as stdlib_queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models import CharField, Value
from django.utils import timezone
from structlog.contextvars import bind_contextvars, clear_contextvars

from intercom_bridge import queue as wake_queue
from intercom_bridge.ops.alerts import CHECK_SECONDS, send_alerts
from intercom_bridge.sync import writer
from intercom_bridge.wake import EVERYTHING, wake

from .queues import QUEUES, Queue, clean_up, run_row
from .turns import Row, Turns

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
# After the queries for due rows, the loop waits for this many times as long as they took before it queries again. In
# the meantime, threads get rows that the last queries have found.
QUERY_PAUSE = 3
# The time between two looks into Huey's queue.
LISTEN_SECONDS = 0.1
# The time between two looks into Huey's queue while it is unreachable.
AWAY_SECONDS = 1.0
CLEAN_UP_AT = dt.time(3, 17)

# A row, by its queue and primary key.
Key = tuple[Queue, int]


def next_clean_up(now: dt.datetime) -> dt.datetime:
    """Return the next time after `now` at which it is CLEAN_UP_AT, in the time zone of `now`."""
    today = now.replace(hour=CLEAN_UP_AT.hour, minute=CLEAN_UP_AT.minute, second=0, microsecond=0)
    return today if today > now else today + dt.timedelta(days=1)


class WorkerLoop:
    """Handles due rows in `threads` threads until `stop` is called. Times in attributes are of the monotonic clock."""

    def __init__(self, threads: int) -> None:
        self._thread_count = threads
        # One thread remains for other workspaces, so that they need not wait if one workspace's iTop is slow.
        self._max_of_workspace = max(1, threads - 1)
        # Most threads remain for other customers, even if one customer writes in many conversations.
        self._max_of_customer = max(1, threads // 4)
        self._jobs: stdlib_queue.SimpleQueue[Key] = stdlib_queue.SimpleQueue()
        # Protects `_running` and `_left_alone_until`, which all threads change.
        self._lock = threading.Lock()
        # The rows in progress, each with its workspace and customer.
        self._running: dict[Key, tuple[Hashable, Hashable]] = {}
        self._left_alone_until: dict[Key, float] = {}
        # The due rows that the last query of each queue found and no thread has got yet.
        self._backlog: dict[Queue, list[Row]] = {queue: [] for queue in QUEUES}
        self._turns = {queue: Turns() for queue in QUEUES}
        self._queried_at: dict[Queue, float] = {}
        self._order = list(QUEUES)
        self._signal = threading.Event()
        self._query_everything = True
        self._is_database_unavailable = False

    def wake(self, topic: str) -> None:
        """Query for due rows now. With the topic EVERYTHING, also query the queues that usually wait a minute."""
        if topic == EVERYTHING:
            self._query_everything = True
        self._signal.set()

    def stop(self) -> None:
        """Finish the writes in progress and start no others. Safe to call from a signal handler."""
        # Not `self._signal`: the main thread may hold its lock at this moment.
        writer.stopping.set()

    def run(self) -> None:
        """Work until stopped, then wait for the rows in progress, but not longer than a write may take.

        A row that takes longer is abandoned. Its lease expires, and another worker repeats it. The idempotency key
        makes the repetition of a write harmless.
        """
        for number in range(self._thread_count):
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True).start()
        threading.Thread(target=self._listen, name="wake listener", daemon=True).start()
        if settings.ALERT_EMAILS:
            threading.Thread(target=_send_alerts, name="alerts", daemon=True).start()
        clean_up_at = next_clean_up(timezone.localtime())
        query_at = 0.0
        while not writer.stopping.is_set():
            began = time.monotonic()
            if began < query_at:
                self._hand_out_all()
                seconds = query_at - began
            else:
                self._dispatch()
                # The loop runs again after each handled row. Without the pause, it would do nothing but query.
                query_at = time.monotonic() + QUERY_PAUSE * (time.monotonic() - began)
                seconds = POLL_SECONDS
            if timezone.localtime() >= clean_up_at:
                clean_up_at = next_clean_up(timezone.localtime())
                clean_up_args = (clean_up, "worker.clean_up_failed")
                threading.Thread(target=_run_safely, args=clean_up_args, name="clean up", daemon=True).start()
            self._signal.wait(seconds)
            self._signal.clear()
        self._wait_for_rows_in_progress()

    def _wait_for_rows_in_progress(self) -> None:
        wait_until = time.monotonic() + settings.WRITE_SECONDS + 0.5
        while self._running and time.monotonic() < wait_until:
            time.sleep(0.02)
        if self._running:
            log.warning("worker.left_unfinished", rows=len(self._running))

    def _dispatch(self) -> None:
        """Query for due rows and hand them to free threads. Each call begins with another queue."""
        close_old_connections()
        query_everything, self._query_everything = self._query_everything, False
        self._order.append(self._order.pop(0))
        try:
            for queue in self._order:
                self._query(queue, force=query_everything)
        except DatabaseError as error:
            if not self._is_database_unavailable:
                log.error("worker.database_unavailable", error=type(error).__name__)
            self._is_database_unavailable = True
            return
        self._is_database_unavailable = False
        self._hand_out_all()

    def _hand_out_all(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._left_alone_until = {
                key: until for key, until in self._left_alone_until.items() if until > now
            }
            for queue in self._order:
                if self._backlog[queue]:
                    self._hand_out(queue)

    def _query(self, queue: Queue, *, force: bool) -> None:
        """Replace the queue's backlog with the rows that are due now, if the last query is old enough (see `every`)."""
        now = time.monotonic()
        last_query = self._queried_at.get(queue)
        if not force and last_query is not None and now - last_query < queue.every:
            return
        self._queried_at[queue] = now
        # If workspaces do not take turns, each row counts as a workspace of its own.
        workspace, customer = queue.workspace or "pk", queue.customer or Value(None, CharField())
        rows = queue.due().values_list("pk", workspace, customer)[: queue.max_rows]
        self._backlog[queue] = self._turns[queue].in_order(Row(*row) for row in rows)

    def _hand_out(self, queue: Queue) -> None:
        """Hand rows of the backlog to free threads, as far as the limits allow. The lock must be held."""
        running_of_queue = sum(running_queue is queue for running_queue, _pk in self._running)
        of_workspace = Counter(workspace for workspace, _customer in self._running.values())
        of_customer = Counter(customer for _workspace, customer in self._running.values())
        max_of_queue = queue.max_running or self._thread_count
        remaining: list[Row] = []
        for row in self._backlog[queue]:
            key = (queue, row.pk)
            # If the workspaces of a queue do not take turns, each row counts as a workspace and a customer of its own.
            workspace, customer = (row.workspace, row.party) if queue.workspace else (key, key)
            is_full = len(self._running) >= self._thread_count or running_of_queue >= max_of_queue
            is_over_share = (
                of_workspace[workspace] >= self._max_of_workspace
                or of_customer[customer] >= self._max_of_customer
            )
            if is_full or is_over_share:
                remaining.append(row)
            elif key not in self._running and key not in self._left_alone_until:
                self._running[key] = (workspace, customer)
                self._turns[queue].take(row)
                running_of_queue += 1
                of_workspace[workspace] += 1
                of_customer[customer] += 1
                self._jobs.put(key)
        # Rows that are in progress or left alone are dropped. A later query finds them again if they are still due.
        self._backlog[queue] = remaining

    def _work(self) -> None:
        """Handle rows in a thread of its own, as long as the process lives."""
        while True:
            queue, pk = self._jobs.get()
            close_old_connections()
            clear_contextvars()
            bind_contextvars(task=f"{queue.name}:{pk}")
            seconds = 0.0 if writer.stopping.is_set() else run_row(queue, pk)
            with self._lock:
                self._running.pop((queue, pk), None)
                if seconds:
                    self._left_alone_until[queue, pk] = time.monotonic() + seconds
            # This thread is free, and the row may have made other rows due.
            self._signal.set()

    def _listen(self) -> None:
        """Run the tasks in Huey's queue, which pass signals of other processes on to `wake`."""
        is_unreachable = False
        while not writer.stopping.is_set():
            try:
                task = wake_queue.huey.dequeue()
                if task is not None:
                    wake_queue.huey.execute(task)
            except Exception as error:  # noqa: BLE001 - any error of the queue's library
                if not is_unreachable:
                    log.error("queue.unavailable", error=type(error).__name__, detail=str(error)[:200])
                is_unreachable = True
                time.sleep(AWAY_SECONDS)
                continue
            if is_unreachable:
                is_unreachable = False
                log.info("queue.available")
                wake(EVERYTHING)
            if task is None:
                time.sleep(LISTEN_SECONDS)


def _send_alerts() -> None:
    """Send e-mails to the operators until the worker is stopped. An error is logged and does not end the loop."""
    while not writer.stopping.wait(CHECK_SECONDS):
        _run_safely(send_alerts, "worker.alerts_failed")


def _run_safely(work: Callable[[], object], log_event: str) -> None:
    """Do the work. Log an exception under this event name."""
    try:
        work()
    except Exception:
        log.exception(log_event)
    finally:
        close_old_connections()
