"""What `make` starts, with which settings, and that it ends all of it. Stand-ins for Python and gunicorn tell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from settings.environment import BASE_DIR

from .started import surroundings

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Each says what it was started with. The worker lives until it is told to end, and says so. Its sleep is ended with
# KILL: TERM can meet it between fork and exec, where the shell's own trap still holds, and is lost.
PYTHON = """#!/bin/sh
echo "python $DJANGO_SETTINGS_MODULE $*" >> "$LOG"
[ "$2" = worker ] || exit 0
trap 'echo "worker ended" >> "$LOG"; kill -KILL $!; exit 0' TERM
sleep 60 & echo "worker is $$" >> "$LOG"
wait
"""
GUNICORN = """#!/bin/sh
echo "gunicorn $DJANGO_SETTINGS_MODULE $*" >> "$LOG"
[ -z "$FAILS" ] || { until grep -q 'worker is' "$LOG"; do sleep 0.02; done; exit 3; }
trap 'echo "gunicorn ended" >> "$LOG"; kill -KILL $!; exit 0' TERM
sleep 60 & echo "gunicorn is $$" >> "$LOG"
wait
"""

Make = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def make(tmp_path: Path, log: Path) -> Iterator[Make]:
    for name, text in (("python", PYTHON), ("gunicorn", GUNICORN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "installed").touch()
    log.touch()

    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        outside = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # when these tests are run by make
        known = {name: value for name, value in surroundings().items() if name not in outside}
        process = subprocess.Popen(
            ["make", f"VENV={tmp_path}", f"BIN={tmp_path}", *arguments],
            cwd=BASE_DIR,
            env=known | {"LOG": str(log)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(log: Path, words: str) -> str:
    """The line with these words, once it is there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if words in line:
                return line
        time.sleep(0.02)
    raise AssertionError(f"no “{words}” in:\n{log.read_text()}")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_make_defaults_to_development_s_settings(make: Make) -> None:
    for target in ("demo", "run"):
        said, _ = make("-n", "-p", target).communicate(timeout=30)
        assert re.search(r"^DJANGO_SETTINGS_MODULE = settings\.development$", said, re.MULTILINE)
        recipe, _ = make("-n", target).communicate(timeout=30)
        assert "settings." not in recipe.replace("settings.wsgi", "")


def test_tests_and_linters_have_their_own_whatever_is_in_the_environment(make: Make) -> None:
    for target in ("test", "lint"):
        recipe, _ = make("-n", target, DJANGO_SETTINGS_MODULE="settings.production").communicate(timeout=30)
        assert "DJANGO_SETTINGS_MODULE=settings.testing " in recipe


@pytest.mark.parametrize(
    ("variables", "used"),
    [
        ({}, "settings.development"),
        ({"DJANGO_SETTINGS_MODULE": "settings.production"}, "settings.production"),
    ],
)
def test_the_demo_gets_the_settings_that_were_named(
    make: Make, log: Path, variables: dict[str, str], used: str
) -> None:
    assert make("demo", "ONCE=1", **variables).wait(30) == 0
    assert log.read_text() == f"python {used} manage.py demo --once\n"


def test_run_ends_the_worker_and_tells_when_the_service_fails(make: Make, log: Path) -> None:
    running = make("run", FAILS="1")
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 2 and "Error 3" in said, said
    started = log.read_text()
    assert "python settings.development manage.py migrate" in started
    assert "gunicorn settings.development settings.wsgi" in started
    assert "worker ended" in started


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_both_when_it_is_ended(make: Make, log: Path, ending: signal.Signals) -> None:
    """Ctrl-C reaches the whole group of processes; SIGTERM, as `kill` sends it, make alone."""
    running = make("run")
    pids = [int(wait_for(log, f"{name} is").split()[-1]) for name in ("worker", "gunicorn")]
    if ending == signal.SIGINT:
        os.killpg(running.pid, ending)
    else:
        running.send_signal(ending)
    running.communicate(timeout=30)
    wait_for(log, "gunicorn ended")
    wait_for(log, "worker ended")
    end = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(is_alive, pids))
