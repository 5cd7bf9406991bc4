from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections
from huey.consumer import Consumer

from intercom_bridge.sync import writer
from intercom_bridge.sync.tasks import huey, sweep


class GracefulConsumer(Consumer):
    """SIGTERM, as systemd and Docker send it, means what SIGINT means to Huey: finish what is in hand, then go."""

    def _handle_stop_signal(self, sig_num: int, frame: Any) -> None:
        writer.stopping.set()
        self._handle_interrupt_signal_gevent(sig_num, frame)


def _fresh_connections(*_: Any) -> None:
    """Between requests Django does this by itself; a worker's threads live longer than connections do."""
    close_old_connections()


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
        sweep()
        self.stdout.write(f"Worker started with {threads} threads; stop it with Ctrl-C or SIGTERM.")
        GracefulConsumer(
            huey,
            workers=threads,
            initial_delay=0.05,
            backoff=1.2,
            max_delay=0.8,
            scheduler_interval=1,
        ).run()
