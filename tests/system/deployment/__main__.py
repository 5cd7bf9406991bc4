"""`python -m tests.system.deployment`: run the service from the files in deploy/ on this machine."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.system.chaos.children import SystemTestError
from tests.system.deployment.installation import Installation, NotAvailableError
from tests.system.deployment.story import Story
from tests.system.program import interrupt_on_signals, run


class Command:
    """The command line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--directory",
            type=Path,
            default=None,
            help="An empty directory, which is kept (default: temporary).",
        )

    def handle(self, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        interrupt_on_signals()
        directory = (options["directory"] or Path(tempfile.mkdtemp(prefix="production-check-"))).resolve()
        if directory.exists() and any(directory.iterdir()):
            raise SystemExit(f"{directory} is not empty. Choose another --directory.")
        began = time.monotonic()
        try:
            with Installation(directory) as installation:
                self._run(Story(installation))
        except NotAvailableError as absent:
            if options["directory"] is None:
                shutil.rmtree(directory)
            raise SystemExit(f"The production check cannot run here. {absent}") from absent
        except SystemTestError as trouble:
            print(f"        {trouble}\nThe logs are in {directory}")
            sys.exit(1)
        except KeyboardInterrupt:
            print("Stopped. No process is left running.")
            sys.exit(130)
        if options["directory"] is None:
            shutil.rmtree(directory)
        print(f"It took {time.monotonic() - began:.0f} seconds: no problem found.")

    def _run(self, story: Story) -> None:
        for title, step in story.steps():
            try:
                more = step()
            except BaseException:
                print(f"failed  {title}")
                raise
            print(f"ok      {title}{f' ({more})' if more else ''}")


if __name__ == "__main__":
    run(
        Command(),
        "deployment",
        "Starts the service from the files in deploy/ (systemd units, nginx site, environment file), behind "
        "nginx and TLS, with PostgreSQL and Redis; sends messages while everything restarts, backs "
        "up, destroys and restores. Exit status 1 unless each step went well and no message was lost or duplicated.",
    )
