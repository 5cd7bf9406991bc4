"""Start the demo's processes, wait for them, and end them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests

START_SECONDS = 40.0
END_SECONDS = 12.0
LAST_LINES = 40


class DemoError(Exception):
    """The demo cannot continue. The text is a sentence that says why."""


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


def require_free(ports: Mapping[str, int]) -> None:
    """Raise DemoError if another program listens on one of these ports. `ports` maps options to ports."""
    for option, port in ports.items():
        if not 0 < port < 65536:
            raise DemoError(f"{option} has to be between 1 and 65535, not {port}.")
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoError(
                    f"Port {port} is in use. Stop the program that uses it, or choose another port with {option}."
                ) from error


_stop_requested = threading.Event()


def request_stop(*_: object) -> NoReturn:
    """Handle a signal: end the demo.

    The KeyboardInterrupt is not enough: Python ignores an exception that a signal handler raises while an object is
    being deleted. So everything that waits also checks the event (`raise_if_stopped`).
    """
    _stop_requested.set()
    raise KeyboardInterrupt


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt if the demo was asked to end."""
    if _stop_requested.is_set():
        raise KeyboardInterrupt


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until the condition is true. After so many seconds, raise a DemoError that contains `what`."""
    ends = time.monotonic() + seconds
    while not condition():
        raise_if_stopped()
        if time.monotonic() > ends:
            raise DemoError(f"Waited {seconds:.0f} seconds without success: {what}.")
        time.sleep(0.05)


class Processes:
    """A context manager that ends, on exit, all processes that were started in it."""

    def __init__(self, logs: Path, environment: Mapping[str, str], directory: Path) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._directory = directory
        self._children: list[_Child] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        """Run Python with these arguments. Its output goes to `<name>.log`."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._directory,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C must not reach the children, because `end` ends them in the right order.
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        self._children.append(_Child(name, process, log))

    def wait_for_address(self, name: str, url: str) -> None:
        """Wait until a GET of this address returns 200."""
        with requests.Session() as session:
            session.trust_env = False

            def responds() -> bool:
                self.check()
                try:
                    return session.get(url, timeout=2).status_code == 200
                except requests.RequestException:
                    return False

            wait_until(responds, f"{name} does not answer at {url}", START_SECONDS)

    def wait_for_output(self, name: str, text: str) -> None:
        """Wait until the log of this process contains this text."""
        log = self._logs / f"{name}.log"

        def is_printed() -> bool:
            self.check()
            return text in log.read_text(encoding="utf-8", errors="replace")

        wait_until(is_printed, f"{name} does not start", START_SECONDS)

    def check(self) -> None:
        """Raise DemoError if one of the processes has ended."""
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                raise DemoError(f"The process “{child.name}” ended unexpectedly with status {status}.")

    def log_tails(self) -> str:
        """Return the last lines of all logs."""
        pieces = []
        for child in self._children:
            lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
            pieces.append("\n".join([f"--- {child.log}", *lines]))
        return "\n".join(pieces)

    def end(self) -> None:
        """End all processes, the last started first. Kill those that do not end in time."""
        for child in reversed(self._children):
            _signal(child.process, signal.SIGTERM)
        ends = time.monotonic() + END_SECONDS
        for child in reversed(self._children):
            try:
                child.process.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(child.process, signal.SIGKILL)
                child.process.wait()
        self._children.clear()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            # Kill the whole group: a web server has worker processes.
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)


def _end_with_parent() -> None:
    """Make the kernel end the child with its parent, even if the parent is killed (only on Linux)."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
