import signal
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from intercom_bridge import __version__
from intercom_bridge.ops.heartbeat import Heartbeat
from intercom_bridge.wake import set_receiver
from intercom_bridge.worker.loop import WorkerLoop

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Run a worker until SIGTERM or Ctrl-C."""

    help = "Run a worker: process what Intercom sent and write it to iTop. Start as many as you like."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--threads`."""
        parser.add_argument(
            "--threads",
            type=int,
            default=settings.WORKER_THREADS,
            help="How many tickets are written at the same time (default: %(default)s).",
        )

    def handle(self, *args: Any, threads: int, **options: Any) -> None:
        """Run the loop in this thread."""
        loop = WorkerLoop(threads)
        set_receiver(loop.wake)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.stop())
        with Heartbeat():
            # A log line, because standard output is buffered: it would appear when the worker ends.
            log.info("Worker started", version=__version__, threads=threads)
            loop.run()
