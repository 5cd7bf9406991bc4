"""The worker's main loop: look for due rows, hand them to threads, stop within the time that one write may take.

Every worker looks at the rows every second. A signal through Huey's queue makes it look at once; when the queue is
unreachable, only that is lost.
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
# After the queries for due rows, this many times as long passes before the next. Threads get the rows found before.
QUERY_PAUSE = 3
# Between two looks into the queue for a signal.
LISTEN_SECONDS = 0.1
AWAY_SECONDS = 1.0
CLEAN_UP_AT = dt.time(3, 17)

Key = tuple[Queue, int]


def next_clean_up(now: dt.datetime) -> dt.datetime:
    """Return the next time of CLEAN_UP_AT after `now`, in the zone of `now`."""
    today = now.replace(hour=CLEAN_UP_AT.hour, minute=CLEAN_UP_AT.minute, second=0, microsecond=0)
    return today if today > now else today + dt.timedelta(days=1)


class WorkerLoop:
    """Handles due rows in `threads` threads until `stop` is called."""

    def __init__(self, threads: int) -> None:
        self._thread_count = threads
        # One thread remains for others, so that they need not wait for a slow iTop of one workspace.
        self._max_of_workspace = max(1, threads - 1)
        # One customer's conversations leave most threads to other customers. One ticket uses one thread at most.
        self._max_of_customer = max(1, threads // 4)
        self._jobs: stdlib_queue.SimpleQueue[Key] = stdlib_queue.SimpleQueue()
        self._lock = threading.Lock()
        # The rows in progress, each with its workspace and customer if the queue has them.
        self._running: dict[Key, tuple[Hashable, Hashable]] = {}
        self._left_alone_until: dict[Key, float] = {}
        self._backlog: dict[Queue, list[Row]] = {queue: [] for queue in QUEUES}
        self._turns = {queue: Turns() for queue in QUEUES}
        self._queried_at: dict[Queue, float] = {}
        self._order = list(QUEUES)
        self._signal = threading.Event()
        self._look_at_everything = True
        self._is_database_unavailable = False

    def wake(self, topic: str) -> None:
        """Look for due rows now; with EVERYTHING also for those that are looked for once a minute."""
        if topic == EVERYTHING:
            self._look_at_everything = True
        self._signal.set()

    def stop(self) -> None:
        """Finish the writes in progress and start no others. Safe to call from a signal handler."""
        # Not `self._signal`: the main thread may hold its lock at this moment.
        writer.stopping.set()

    def run(self) -> None:
        """Work until stopped, then wait for the rows in progress.

        A row that takes longer than a write may take is abandoned: its lease expires, and the idempotency key in
        each write makes a repetition harmless.
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
                # Each handled row is a signal: the queries must not take the time of those that handle rows.
                query_at = time.monotonic() + QUERY_PAUSE * (time.monotonic() - began)
                seconds = POLL_SECONDS
            if timezone.localtime() >= clean_up_at:
                clean_up_at = next_clean_up(timezone.localtime())
                nightly = (clean_up, "worker.clean_up_failed")
                threading.Thread(target=_run_safely, args=nightly, name="clean up", daemon=True).start()
            self._signal.wait(seconds)
            self._signal.clear()
        ends = time.monotonic() + settings.WRITE_SECONDS + 0.5
        while self._running and time.monotonic() < ends:
            time.sleep(0.02)
        if self._running:
            log.warning("worker.left_unfinished", rows=len(self._running))

    def _dispatch(self) -> None:
        """Hand out as many due rows as there are free threads. The queues take turns at being first."""
        close_old_connections()
        look_at_everything, self._look_at_everything = self._look_at_everything, False
        self._order.append(self._order.pop(0))
        try:
            for queue in self._order:
                self._query(queue, force=look_at_everything)
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
            self._left_alone_until = {k: until for k, until in self._left_alone_until.items() if until > now}
            for queue in self._order:
                if self._backlog[queue]:
                    self._hand_out(queue)

    def _query(self, queue: Queue, *, force: bool) -> None:
        now = time.monotonic()
        if not force and now - self._queried_at.get(queue, -queue.every) < queue.every:
            return
        self._queried_at[queue] = now
        rows = queue.due().values_list(
            "pk", queue.workspace or "pk", queue.customer or Value(None, CharField())
        )
        self._backlog[queue] = self._turns[queue].in_order(Row(*row) for row in rows[: queue.max_rows])

    def _hand_out(self, queue: Queue) -> None:
        running = sum(running is queue for running, _ in self._running)
        of_workspace = Counter(workspace for workspace, _ in self._running.values())
        of_customer = Counter(customer for _, customer in self._running.values())
        left: list[Row] = []
        for row in self._backlog[queue]:
            key = (queue, row.pk)
            workspace, customer = (row.workspace, row.party) if queue.workspace else (key, key)
            is_full = len(self._running) >= self._thread_count or running >= (
                queue.max_running or self._thread_count
            )
            if (
                is_full
                or of_workspace[workspace] >= self._max_of_workspace
                or of_customer[customer] >= self._max_of_customer
            ):
                left.append(row)
            elif key not in self._running and key not in self._left_alone_until:
                self._running[key] = (workspace, customer)
                self._turns[queue].take(row)
                running += 1
                of_workspace[workspace] += 1
                of_customer[customer] += 1
                self._jobs.put(key)
        self._backlog[queue] = left

    def _work(self) -> None:
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
            # It may have made other rows due, and a thread is free.
            self._signal.set()

    def _listen(self) -> None:
        """Run the tasks in Huey's queue, which pass signals of other processes on to `wake`."""
        is_away = False
        while not writer.stopping.is_set():
            try:
                task = wake_queue.huey.dequeue()
                if task is not None:
                    wake_queue.huey.execute(task)
            except Exception as error:  # noqa: BLE001 - any error of the queue's library
                if not is_away:
                    log.error("queue.unavailable", error=type(error).__name__, detail=str(error)[:200])
                is_away = True
                time.sleep(AWAY_SECONDS)
                continue
            if is_away:
                is_away = False
                log.info("queue.available")
                wake(EVERYTHING)
            if task is None:
                time.sleep(LISTEN_SECONDS)


def _send_alerts() -> None:
    """Send the operators' e-mails until the worker is stopped, whatever happens to one of them."""
    while not writer.stopping.wait(CHECK_SECONDS):
        _run_safely(send_alerts, "worker.alerts_failed")


def _run_safely(work: Callable[[], object], failure: str) -> None:
    """Do the work, and log an exception as `failure`."""
    try:
        work()
    except Exception:
        log.exception(failure)
    finally:
        close_old_connections()
