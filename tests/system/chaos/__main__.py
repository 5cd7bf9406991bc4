"""`python -m tests.system.chaos`: run the scenarios with real processes and count the results from outside."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from settings.env import BASE_DIR
from tests.system.chaos.children import SystemTestError
from tests.system.chaos.environment import POSTGRESQL, SQLITE, Environment, NotAvailableError, Waits
from tests.system.chaos.scenarios import SCENARIOS, SHORT, WHOLE, Scenario, ScenarioContext
from tests.system.chaos.testbed import RealItop
from tests.system.program import interrupt_on_signals, run

ENVIRONMENTS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}


class Command:
    """The command line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        numbers = [scenario.number for scenario in SCENARIOS]
        parser.add_argument("--scenarios", type=int, nargs="+", choices=numbers, default=numbers)
        parser.add_argument("--short", action="store_true", help="Run a small version of each, for CI.")
        parser.add_argument(
            "--on", choices=sorted(ENVIRONMENTS), help="Only this database (default: both, side by side)."
        )
        parser.add_argument("--itop-url", default="", help="Run 1, 2, 5 and 6 against this real iTop.")
        parser.add_argument(
            "--itop-token-env", default="", help="The environment variable that holds its account's token."
        )
        parser.add_argument("--itop-person", default="", help="E-mail address of the person to write as.")
        parser.add_argument(
            "--itop-time-zone", default="UTC", help="Time zone of the real iTop (default: %(default)s)."
        )
        parser.add_argument("--directory", type=Path, default=None, help="Default: a temporary one.")

    def handle(self, **options: Any) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        interrupt_on_signals()
        real = _real_itop(options)
        try:
            if options["on"] or real:
                good = self._run_environment(ENVIRONMENTS[options["on"] or "sqlite"], options, real)
            else:
                good = self._run_both(options)
        except KeyboardInterrupt:
            print("Stopped. No process is left running.")
            sys.exit(130)
        if not good:
            sys.exit(1)

    # --- Both environments, one process each, in parallel ---

    def _run_both(self, options: dict[str, Any]) -> bool:
        began = time.monotonic()
        print(f"The service's waits: {Waits()}")
        print("(WRITE_SECONDS is 8, UNKNOWN_OUTCOME_SECONDS 10, VERIFY_AFTER_SECONDS 180 elsewhere.)")
        arguments = ["--scenarios", *map(str, options["scenarios"])] + (
            ["--short"] if options["short"] else []
        )
        environments = []
        try:
            for name in ENVIRONMENTS:
                environments.append(self._start_environment(name, arguments, options["directory"]))
            statuses = [environment.wait() for environment, _ in environments]
        finally:
            for environment, reader in environments:
                environment.terminate()
                environment.wait()
                reader.join(5)
        good = not any(statuses)
        verdict = "nothing lost, duplicated or out of order" if good else "FAILED"
        print(f"It took {time.monotonic() - began:.0f} seconds: {verdict}.")
        return good

    def _start_environment(
        self, name: str, arguments: list[str], directory: Path | None
    ) -> tuple[subprocess.Popen[str], threading.Thread]:
        own = ["--directory", str(directory / name)] if directory else []
        environment = subprocess.Popen(
            [sys.executable, "-m", "tests.system.chaos", "--on", name, *arguments, *own],
            cwd=BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

        def relay() -> None:
            for line in environment.stdout or ():
                print(line.rstrip("\n"))

        reader = threading.Thread(target=relay, daemon=True)
        reader.start()
        return environment, reader

    # --- One environment ---

    def _run_environment(self, kind: str, options: dict[str, Any], real: RealItop | None) -> bool:
        directory = (options["directory"] or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
        if directory.exists() and any(directory.iterdir()):
            raise SystemExit(f"{directory} is not empty. Choose another --directory.")
        waits = Waits(1.5, 1.5, 4.0) if options["short"] else Waits()
        if real:
            waits = Waits(5.0, 5.0, 10.0)
        if options["short"] or real or options["on"]:
            print(f"{kind}: the service's waits: {waits}; logs in {directory}")
        chosen = [
            scenario
            for scenario in SCENARIOS
            if scenario.number in options["scenarios"] and _is_applicable(scenario, kind, real)
        ]
        good = True
        try:
            with Environment(kind, directory, waits) as environment:
                context = ScenarioContext(environment, SHORT if options["short"] else WHOLE, real)
                for scenario in chosen:
                    environment.waits = scenario.waits or waits
                    good &= self._run_scenario(scenario, context)
        except NotAvailableError as absent:
            numbers = " ".join(str(scenario.number) for scenario in chosen)
            print(f"{kind}: SKIPPED scenarios {numbers}: {absent}")
            return True
        except SystemTestError as error:
            print(f"{kind}: FAILED: {error}")
            return False
        if good and not options["directory"]:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"{kind}: the logs are in {directory}")
        return good

    def _run_scenario(self, scenario: Scenario, context: ScenarioContext) -> bool:
        began = time.monotonic()
        name = f"{scenario.number}  {context.environment.kind:<10}  {scenario.title:<46}"
        try:
            result = scenario.run(context)
        except SystemTestError as error:
            print(f"{name}  FAILED after {time.monotonic() - began:.0f} s: {error}")
            return False
        result.seconds = time.monotonic() - began
        print(f"{name}  {result.line()}")
        for problem in result.problems:
            print(f"   !  {problem}")
        if not result.is_good:
            print(f"   !  Scenario {scenario.number} on {context.environment.kind} failed.")
        return result.is_good


def _is_applicable(scenario: Scenario, kind: str, real: RealItop | None) -> bool:
    if real is not None:
        return scenario.with_real_itop
    return scenario.on_postgresql or kind == SQLITE


def _real_itop(options: dict[str, Any]) -> RealItop | None:
    if not options["itop_url"]:
        return None
    token = os.environ.get(options["itop_token_env"] or "", "")
    if not token:
        raise SystemExit(
            "With --itop-url, --itop-token-env has to name an environment variable with the token."
        )
    return RealItop(options["itop_url"], token, options["itop_person"], options["itop_time_zone"])


if __name__ == "__main__":
    run(
        Command(),
        "chaos",
        "Runs twelve scenarios with the service's own processes, a sandbox iTop that loses updates and a sandbox "
        "Intercom, and prints how many entries each sent, wrote, duplicated, reordered and restored. Exit "
        "status 1 if any was lost, duplicated or out of order.",
    )
