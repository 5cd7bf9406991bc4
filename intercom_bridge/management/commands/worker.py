from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections
from huey.api import Task
from structlog.contextvars import bind_contextvars, clear_contextvars

from intercom_bridge.metrics import add_up_the_dead
from intercom_bridge.pulse import Pulse
from intercom_bridge.sync.consumer import GracefulConsumer
from intercom_bridge.sync.tasks import huey, sweep

# Python's own is five times as long.
SWITCH_SECONDS = 0.001


def _fresh_connections(*_: Any) -> None:
    """Between requests Django does this by itself; a worker's threads live longer than connections do."""
    close_old_connections()


def _name_the_task(task: Task) -> None:
    """In each line of the log that the task causes. Threads do one after the other."""
    clear_contextvars()
    bind_contextvars(task=f"{task.name}:{task.id[:8]}")


class Command(BaseCommand):
    help = "Runs a worker: takes in what Intercom sent and writes it to iTop. Start as many as you like."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--threads",
            type=int,
            default=settings.WORKER_THREADS,
            help="How many tickets are written at the same time (default: %(default)s).",
        )

    def handle(self, *args: Any, threads: int, **options: Any) -> None:
        huey.pre_execute()(_fresh_connections)
        huey.pre_execute()(_name_the_task)
        if settings.METRICS_DIR:
            add_up_the_dead(settings.METRICS_DIR)
        # Threads that come back from iTop or the database, many times a second, are not to wait for one that computes.
        sys.setswitchinterval(SWITCH_SECONDS)
        consumer = GracefulConsumer(
            huey,
            workers=threads,
            initial_delay=0.05,
            backoff=1.2,
            # What a thread that found nothing sleeps at most, where the queue is a file.
            max_delay=0.25,
            scheduler_interval=1,
        )
        consumer.listen_to_signals()
        with Pulse():
            sweep()
            self.stdout.write(f"Worker started with {threads} threads; stop it with Ctrl-C or SIGTERM.")
            consumer.run()
