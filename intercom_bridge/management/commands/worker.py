import signal
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from intercom_bridge import __version__
from intercom_bridge.ops.checks import TAG
from intercom_bridge.ops.heartbeat import Heartbeat, is_alive_here
from intercom_bridge.wake import set_receiver
from intercom_bridge.worker.loop import WorkerLoop

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Run a worker: process notifications from Intercom and write messages to iTop. Several can run at once."
    # As the web server does. Django's own checks would import every page of the admin and the panel.
    requires_system_checks = [TAG]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--threads",
            type=int,
            default=settings.WORKER_THREADS,
            help="How many tickets are written at the same time (default: %(default)s).",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="Start no worker. Exit with status 1 if no worker on this host or in this container has been alive in "
            "the last two minutes.",
        )

    def handle(self, *args: Any, threads: int, check: bool, **options: Any) -> None:
        if check:
            if not is_alive_here():
                raise CommandError("No worker on this host is alive.")
            return
        loop = WorkerLoop(threads)
        set_receiver(loop.wake)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: loop.stop())
        with Heartbeat():
            # Logged and not printed: standard output may be buffered until the worker ends.
            log.info("Worker started", version=__version__, threads=threads)
            loop.run()
