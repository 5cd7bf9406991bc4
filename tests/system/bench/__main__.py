"""`python -m tests.system.bench`: measure the performance, each value beside its reference."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from itop_client import ItopError
from tests.system.bench.files import files_both_ways
from tests.system.bench.measures import Bench, acknowledgements, entries, identities, memory, sizes
from tests.system.bench.two_way import way_back
from tests.system.chaos.children import SystemTestError
from tests.system.program import interrupt_on_signals, run


class Command:
    """The command line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--rows", type=int, default=1_000_000, help="Rows of the large database.")
        parser.add_argument(
            "--seconds", type=float, default=12.0, help="Duration of each measurement (default: %(default)s)."
        )

        parser.add_argument(
            "--files", type=int, default=12, help="Files in each direction (default: %(default)s)."
        )
        parser.add_argument(
            "--megabytes", type=float, default=10.0, help="Size of each of them (default: %(default)s)."
        )
        parser.add_argument("--only-files", action="store_true", help="Measure nothing else.")

    def handle(self, rows: int, seconds: float, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        interrupt_on_signals()
        directory = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            with Bench(directory, print) as bench:
                try:
                    if not options["only_files"]:
                        _measure_messages(bench, rows, seconds)
                    files_both_ways(bench, options["files"], round(1_000_000 * options["megabytes"]))
                except (SystemTestError, ItopError, OSError) as trouble:
                    print(bench.children.log_excerpts())
                    raise SystemExit(f"The bench failed: {trouble}") from trouble
        except SystemTestError as trouble:
            raise SystemExit(f"The bench failed: {trouble}") from trouble
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _measure_messages(bench: Bench, rows: int, seconds: float) -> None:
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
    identities(bench, seconds / 3)
    print("")
    way_back(bench, seconds)
    print("")
    sizes(bench, 1_000, rows, seconds)
    print("")


if __name__ == "__main__":
    run(
        Command(),
        "bench",
        "Measures acknowledgements, log entries, the way back, a large database, files and memory with the service's "
        "own processes and a sandbox iTop, each beside its reference value. Prints the values only.",
    )
