"""`manage.py production_check`: the files in deploy/, played on this machine."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox.chaos.children import Trouble
from sandbox.production.installation import Installation, NotAtHand
from sandbox.production.story import Story


class Command(BaseCommand):
    help = (
        "Starts the service from the files in deploy/ (systemd's units, nginx' site, the environment file), behind "
        "nginx and TLS, with PostgreSQL and Redis; sends messages while everything is reloaded and restarted, backs "
        "up, destroys and restores. Exit status 1 unless each step went well and no message was lost or doubled."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--directory", type=Path, default=None, help="An empty one, kept (default: temporary)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _end)
        directory = (options["directory"] or Path(tempfile.mkdtemp(prefix="production-check-"))).resolve()
        if directory.exists() and any(directory.iterdir()):
            raise CommandError(f"{directory} is not empty. Choose another --directory.")
        began = time.monotonic()
        try:
            with Installation(directory) as installation:
                self._play(Story(installation))
        except NotAtHand as absent:
            if options["directory"] is None:
                shutil.rmtree(directory)
            raise CommandError(f"The production check cannot be played here. {absent}") from absent
        except Trouble as trouble:
            self.stdout.write(f"        {trouble}\nThe logs are in {directory}")
            sys.exit(1)
        except KeyboardInterrupt:
            self.stdout.write("Stopped; nothing of it is running any more.")
            sys.exit(130)
        if options["directory"] is None:
            shutil.rmtree(directory)
        self.stdout.write(f"It took {time.monotonic() - began:.0f} seconds: all as it should be.")

    def _play(self, story: Story) -> None:
        for title, step in story.steps():
            try:
                more = step()
            except BaseException:
                self.stdout.write(f"failed  {title}")
                raise
            self.stdout.write(f"ok      {title}{f' ({more})' if more else ''}")


def _end(*_: object) -> NoReturn:
    # Asked twice, it still tidies up.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
