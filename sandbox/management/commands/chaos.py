"""`manage.py chaos`: everything that goes wrong, with real processes, counted from the outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox.chaos.children import Trouble
from sandbox.chaos.lane import POSTGRESQL, SQLITE, Lane, NotAtHand, Waits
from sandbox.chaos.scenarios import SCENARIOS, SHORT, WHOLE, Play, Scenario
from sandbox.chaos.stage import RealItop
from settings.environment import BASE_DIR

LANES = {"sqlite": SQLITE, "postgresql": POSTGRESQL}


class Command(BaseCommand):
    help = (
        "Plays seven scenarios with the service's own processes, a sandbox iTop that loses updates and a sandbox "
        "Intercom, and prints for each how many entries were sent, kept, doubled, out of order, restored. Exit "
        "status 1 unless all were kept, none doubled, none out of order."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        numbers = [scenario.number for scenario in SCENARIOS]
        parser.add_argument("--scenarios", type=int, nargs="+", choices=numbers, default=numbers)
        parser.add_argument("--short", action="store_true", help="A small version of each, for CI.")
        parser.add_argument(
            "--on", choices=sorted(LANES), help="Only this database (default: both, side by side)."
        )
        parser.add_argument(
            "--itop-url", default="", help="Plays 1, 2, 5 and 6 against this iTop, a real one."
        )
        parser.add_argument(
            "--itop-token-env", default="", help="The environment variable that holds its account's token."
        )
        parser.add_argument("--itop-person", default="", help="E-mail address of the person to write as.")
        parser.add_argument(
            "--itop-time-zone", default="UTC", help="Of the real iTop (default: %(default)s)."
        )
        parser.add_argument("--directory", type=Path, default=None, help="Default: a temporary one.")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _end)
        real = _real_itop(options)
        try:
            if options["on"] or real:
                good = self._play_lane(LANES[options["on"] or "sqlite"], options, real)
            else:
                good = self._play_both(options)
        except KeyboardInterrupt:
            self.stdout.write("Stopped; nothing of it is running any more.")
            sys.exit(130)
        if not good:
            sys.exit(1)

    # --- Both lanes: a process for each, side by side ---

    def _play_both(self, options: dict[str, Any]) -> bool:
        began = time.monotonic()
        self.stdout.write(f"The service's waits: {Waits()}")
        self.stdout.write(
            "(WRITE_SECONDS is 8, UNKNOWN_OUTCOME_SECONDS 10, CHECK_AFTER_SECONDS 180 elsewhere.)"
        )
        arguments = ["--scenarios", *map(str, options["scenarios"])] + (
            ["--short"] if options["short"] else []
        )
        lanes = []
        try:
            for name in LANES:
                lanes.append(self._start_lane(name, arguments, options["directory"]))
            statuses = [lane.wait() for lane, _ in lanes]
        finally:
            for lane, reader in lanes:
                lane.terminate()
                lane.wait()
                reader.join(5)
        good = not any(statuses)
        verdict = "all kept, nothing doubled, nothing out of order" if good else "NOT as it should be"
        self.stdout.write(f"It took {time.monotonic() - began:.0f} seconds: {verdict}.")
        return good

    def _start_lane(
        self, name: str, arguments: list[str], directory: Path | None
    ) -> tuple[subprocess.Popen[str], threading.Thread]:
        own = ["--directory", str(directory / name)] if directory else []
        lane = subprocess.Popen(
            [sys.executable, str(BASE_DIR / "manage.py"), "chaos", "--on", name, *arguments, *own],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

        def relay() -> None:
            for line in lane.stdout or ():
                self.stdout.write(line.rstrip("\n"))

        reader = threading.Thread(target=relay, daemon=True)
        reader.start()
        return lane, reader

    # --- One lane ---

    def _play_lane(self, kind: str, options: dict[str, Any], real: RealItop | None) -> bool:
        directory = (options["directory"] or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
        if directory.exists() and any(directory.iterdir()):
            raise CommandError(f"{directory} is not empty. Choose another --directory.")
        waits = Waits(1.5, 1.5, 4.0) if options["short"] else Waits()
        if real:
            waits = Waits(5.0, 5.0, 10.0)
        if options["short"] or real or options["on"]:
            self.stdout.write(f"{kind}: the service's waits: {waits}; logs in {directory}")
        chosen = [one for one in SCENARIOS if one.number in options["scenarios"] and _fits(one, kind, real)]
        good = True
        try:
            with Lane(kind, directory, waits) as lane:
                play = Play(lane, SHORT if options["short"] else WHOLE, real)
                for scenario in chosen:
                    lane.waits = scenario.waits or waits
                    good &= self._play(scenario, play)
        except NotAtHand as absent:
            numbers = " ".join(str(one.number) for one in chosen)
            self.stdout.write(f"{kind}: SKIPPED scenarios {numbers}: {absent}")
            return True
        except Trouble as trouble:
            self.stdout.write(f"{kind}: FAILED: {trouble}")
            return False
        if good and not options["directory"]:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            self.stdout.write(f"{kind}: the logs are in {directory}")
        return good

    def _play(self, scenario: Scenario, play: Play) -> bool:
        began = time.monotonic()
        name = f"{scenario.number}  {play.lane.kind:<10}  {scenario.title:<46}"
        try:
            score = scenario.play(play)
        except Trouble as trouble:
            self.stdout.write(f"{name}  FAILED after {time.monotonic() - began:.0f} s: {trouble}")
            return False
        score.seconds = time.monotonic() - began
        self.stdout.write(f"{name}  {score.line()}")
        for complaint in score.complaints:
            self.stdout.write(f"   !  {complaint}")
        if not score.is_good:
            self.stdout.write(f"   !  Scenario {scenario.number} on {play.lane.kind} is NOT as it should be.")
        return score.is_good


def _fits(scenario: Scenario, kind: str, real: RealItop | None) -> bool:
    if real is not None:
        return scenario.with_real_itop
    return scenario.on_postgresql or kind == SQLITE


def _real_itop(options: dict[str, Any]) -> RealItop | None:
    if not options["itop_url"]:
        return None
    token = os.environ.get(options["itop_token_env"] or "", "")
    if not token:
        raise CommandError(
            "With --itop-url, --itop-token-env has to name an environment variable with the token."
        )
    return RealItop(options["itop_url"], token, options["itop_person"], options["itop_time_zone"])


def _end(*_: object) -> NoReturn:
    # Asked twice, it still tidies up: that takes a few seconds.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
