"""`python -m tests.system.bench`: measure the performance, each value beside its reference."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import django

from itop_client import ItopError
from tests.system.bench.measures import (
    Bench,
    acknowledgements,
    entries,
    memory,
    sizes,
)
from tests.system.chaos.children import SystemTestError


class Command:
    """The command line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--rows", type=int, default=1_000_000, help="Rows of the large database.")
        parser.add_argument(
            "--seconds", type=float, default=12.0, help="Duration of each measurement (default: %(default)s)."
        )

    def handle(self, rows: int, seconds: float, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _end)
        directory = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            with Bench(directory, print) as bench:
                try:
                    web = acknowledgements(bench, seconds)
                    print("")
                    worker = entries(bench)
                    print("")
                    print("Memory after this, resident")
                    print(f"  web      {memory(web)}")
                    print(f"  worker   {memory(worker)}")
                    print("")
                    web.kill()
                    worker.kill()
                    sizes(bench, 1_000, rows, seconds)
                except (SystemTestError, ItopError, OSError) as trouble:
                    print(bench.children.log_excerpts())
                    raise SystemExit(f"The bench failed: {trouble}") from trouble
        except SystemTestError as trouble:
            raise SystemExit(f"The bench failed: {trouble}") from trouble
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _end(*_: object) -> NoReturn:
    # Ignore further signals: the cleanup takes a few seconds.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.development")
    django.setup()
    command = Command()
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.bench",
        description=(
            "Measures acknowledgements, log entries, a large database and memory with the service's own processes "
            "and a sandbox iTop, each beside its reference value. Prints the values only."
        ),
    )
    command.add_arguments(parser)
    command.handle(**vars(parser.parse_args()))
