"""`manage.py bench`: what it costs, each number beside the one it has to be compared with."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from itop_client import ItopError
from sandbox.bench.measures import Bench, acknowledgements, entries, memory, sizes
from sandbox.chaos.children import Trouble


class Command(BaseCommand):
    help = (
        "Measures acknowledgements, log entries, a large database and memory with the service's own processes "
        "and a sandbox iTop, each beside what it has to be compared with. Prints; judges nothing."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rows", type=int, default=1_000_000, help="Of the large database.")
        parser.add_argument(
            "--seconds", type=float, default=12.0, help="For each number (default: %(default)s)."
        )

    def handle(self, *args: Any, rows: int, seconds: float, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _end)
        directory = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            with Bench(directory, self.stdout.write) as bench:
                try:
                    web = acknowledgements(bench, seconds)
                    self.stdout.write("")
                    worker = entries(bench)
                    self.stdout.write("")
                    self.stdout.write("Memory after this, resident")
                    self.stdout.write(f"  web      {memory(web)}")
                    self.stdout.write(f"  worker   {memory(worker)}")
                    self.stdout.write("")
                    web.kill()
                    worker.kill()
                    sizes(bench, 1_000, rows, seconds)
                except (Trouble, ItopError, OSError) as trouble:
                    self.stdout.write(bench.children.last_words())
                    raise CommandError(f"The bench failed: {trouble}") from trouble
        except Trouble as trouble:
            raise CommandError(f"The bench failed: {trouble}") from trouble
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _end(*_: object) -> NoReturn:
    # Asked twice, it still tidies up: that takes a few seconds.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
