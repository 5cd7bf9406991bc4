"""Processes that are started, killed and restarted, and that always end with the test."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

START_SECONDS = 60.0
END_SECONDS = 12.0
LAST_LINES = 25
# Below the ephemeral range, so that a free port is not taken by an outgoing connection.
PORTS = range(20_000, 32_000)

# Linux only: if this process is killed, the child receives SIGTERM. preexec_fn is not safe with threads.
_END_WITH_PARENT = (
    "import ctypes, os, signal, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class SystemTestError(Exception):
    """The run failed. The text is a sentence that says why."""


def free_port() -> int:
    for port in random.sample(PORTS, 200):
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemTestError("No port is free between 20000 and 32000.")


def wait_until(happened: Callable[[], bool], what: str, seconds: float, step: float = 0.05) -> None:
    """Poll. Raise SystemTestError, naming `what` was waited for, after so many seconds."""
    ends = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > ends:
            raise SystemTestError(f"Waited {seconds:.0f} seconds for: {what}.")
        time.sleep(step)


@dataclass
class Child:
    """A process that can be restarted with the same arguments."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _END_WITH_PARENT, *self.arguments],
                cwd=self.directory,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL to the process and its children, so that nothing can clean up."""
        if self.process is not None:
            self.kills += 1
            _signal_group(self.process, signal.SIGKILL)
            self.process.wait()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise SystemTestError(f"The process “{self.name}” was never started.")
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def count(self, text: str) -> int:
        return self.output().count(text)


class Children:
    """A context manager that ends all processes started in it. Start them from the main thread only.

    (The kernel sends the signal of PR_SET_PDEATHSIG when the thread that started the child ends.)
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, name: str, *arguments: str, environment: Mapping[str, str], directory: Path) -> Child:
        """Run Python with these arguments; append the output to `<name>.log`."""
        log = self._logs / f"{name.replace(' ', '-')}.log"
        child = Child(name, arguments, environment, directory, log)
        self._children.append(child)
        child.start()
        return child

    def run(
        self,
        name: str,
        *arguments: str,
        environment: Mapping[str, str],
        directory: Path,
        seconds: float = START_SECONDS,
    ) -> None:
        """Run a process and wait for its end. Raise SystemTestError if it fails or takes longer."""
        child = self.start(name, *arguments, environment=environment, directory=directory)
        try:
            status = child.process.wait(seconds) if child.process else 1
        except subprocess.TimeoutExpired as error:
            raise SystemTestError(f"“{name}” did not end within {seconds:.0f} seconds.") from error
        if status:
            raise SystemTestError(f"“{name}” failed:\n{child.output()[-3000:]}")
        self._children.remove(child)

    def wait_for_address(self, child: Child, url: str) -> None:
        """Wait until a GET request of this address returns 200."""
        with requests.Session() as session:
            session.trust_env = False

            def responds() -> bool:
                self.check(child)
                try:
                    return session.get(url, timeout=2).status_code == 200
                except requests.RequestException:
                    return False

            wait_until(responds, f"{child.name} does not answer at {url}", START_SECONDS)

    def check(self, *children: Child) -> None:
        """Raise SystemTestError if one of these processes, by default any, has ended unexpectedly."""
        for child in children or self._children:
            if not child.is_running:
                status = child.process.returncode if child.process else None
                raise SystemTestError(f"The process “{child.name}” ended unexpectedly, with status {status}.")

    def log_excerpts(self) -> str:
        """Return the ends of all logs."""
        pieces = []
        for child in self._children:
            lines = child.output().splitlines()[-LAST_LINES:]
            pieces.append("\n".join([f"--- {child.log}", *(line[:400] for line in lines)]))
        return "\n".join(pieces)

    def end(self) -> None:
        """End the processes, the last one first. Kill those that do not end in time."""
        for child in reversed(self._children):
            if child.is_running and child.process is not None:
                child.process.terminate()
        ends = time.monotonic() + END_SECONDS
        for child in reversed(self._children):
            if child.process is None:
                continue
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, ends - time.monotonic()))
            # The whole group, even if its leader has ended: a web server has worker processes.
            _signal_group(child.process, signal.SIGKILL)
            child.process.wait()
        self._children.clear()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
