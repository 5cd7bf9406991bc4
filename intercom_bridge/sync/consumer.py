"""Huey's consumer, as patient as the rest: a queue that is away ends nothing, and SIGTERM ends it in time."""

from __future__ import annotations

import datetime as dt
import time
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from huey.consumer import Consumer, Scheduler, Worker

from . import writer
from .tasks import sweep

log = structlog.get_logger(__name__)

# A dequeue that waits for a task waits for a second. None sooner than this means: the queue is away.
WAITED_SECONDS = 0.5
MINUTE = 60.0


class PatientWorker(Worker):
    """Takes tasks from the queue. Huey's own would ask a Redis that refuses connections thousands of times a second."""

    def loop(self, now: dt.datetime | None = None) -> None:
        began = time.monotonic()
        try:
            task = self.huey.dequeue()
        except Exception:  # noqa: BLE001 - whatever the queue's library raises; the scheduler reports it
            task = None
        if task is None:
            if time.monotonic() - began < WAITED_SECONDS:
                self.sleep()
            return
        self.delay = self.default_delay
        try:
            self.huey.execute(task, now)
        except Exception as error:  # noqa: BLE001 - of the queue's: a task's own is logged by Huey
            # The rows know what is to be done; the next sweep finds it.
            log.warning("task.lost", task=task.name, error=type(error).__name__)


class PatientScheduler(Scheduler):
    """Moves what is due into the queue, and has everything looked at once the queue is back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_away = False

    def loop(self, now: dt.datetime | None = None) -> None:
        began = time.monotonic()
        try:
            self._move(began, now)
        except Exception as error:  # noqa: BLE001 - whatever the queue's library raises
            if not self._is_away:
                log.error("queue.away", error=type(error).__name__, detail=str(error)[:200])
            self._is_away = True
        time.sleep(max(0.0, began + self.interval - time.monotonic()))

    def _move(self, began: float, now: dt.datetime | None) -> None:
        for task in self.huey.read_schedule(now):
            self.huey.enqueue(task)
        if self._is_away:
            # What was to wake somebody meanwhile is lost.
            sweep()
            self._is_away = False
            log.info("queue.back")
        if self._next_periodic <= began:
            self._next_periodic += MINUTE * (1 + (began - self._next_periodic) // MINUTE)
            self.enqueue_periodic_tasks(now)


class GracefulConsumer(Consumer):
    """SIGTERM, as systemd and Docker send it, and Ctrl-C: finish the writes in hand, begin no other, go."""

    worker_class = PatientWorker
    scheduler_class = PatientScheduler

    def listen_to_signals(self) -> None:
        """From now on, and not only once it runs: it then ends before it begins."""
        self._set_signal_handlers()

    def _handle_interrupt_signal_gevent(self, sig_num: int, frame: FrameType | None) -> None:
        writer.stopping.set()
        super()._handle_interrupt_signal_gevent(sig_num, frame)

    def _handle_stop_signal(self, sig_num: int, frame: FrameType | None) -> None:
        self._handle_interrupt_signal_gevent(sig_num, frame)

    def stop(self, graceful: bool = False) -> None:
        """Waits for as long as a write may take.

        What takes longer is left: its lease ends by itself, and the key in each write makes a repeat harmless.
        """
        writer.stopping.set()
        self.stop_flag.set()
        ends = time.monotonic() + settings.WRITE_SECONDS + 0.5
        for _, thread in self.worker_threads:
            thread.join(max(0.0, ends - time.monotonic()))
        left = [thread.name for _, thread in self.worker_threads if thread.is_alive()]
        if left:
            log.warning("worker.left_unfinished", threads=len(left))
