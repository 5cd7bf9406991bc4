"""Processes that are started, killed and started again, and ended whatever happens."""

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
# Below the range that the kernel gives to outgoing connections: a port that was free stays so.
PORTS = range(20_000, 32_000)

# Linux only: should we be killed outright, the child is asked to end. Not a preexec_fn: we run threads.
_END_WITH_PARENT = (
    "import ctypes, os, signal, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Trouble(Exception):
    """It cannot go on; the text says why, in a sentence."""


def free_port() -> int:
    for port in random.sample(PORTS, 200):
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Trouble("No port is free between 20000 and 32000.")


def wait_until(happened: Callable[[], bool], what: str, seconds: float, step: float = 0.05) -> None:
    """Looks again and again. Raises Trouble, naming `what` was waited for, after so many seconds."""
    ends = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > ends:
            raise Trouble(f"Waited {seconds:.0f} seconds in vain: {what}.")
        time.sleep(step)


@dataclass
class Child:
    """One process: how it is started, and the one that runs now."""

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
        """SIGKILL to it and to all that it has started: nothing of it can tidy up."""
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
            raise Trouble(f"The process “{self.name}” was never started.")
        return self.process.pid

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def count(self, words: str) -> int:
        return self.said().count(words)


class Children:
    """A context: on leaving it, all that was started in it is ended. Start them from the main thread only.

    (The kernel's promise to end a child with its parent means the thread that started it.)
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, name: str, *arguments: str, environment: Mapping[str, str], directory: Path) -> Child:
        """Runs Python with these arguments; what it prints is added to `<name>.log`."""
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
        """Runs it to its end. Raises Trouble when it fails or takes longer."""
        child = self.start(name, *arguments, environment=environment, directory=directory)
        try:
            status = child.process.wait(seconds) if child.process else 1
        except subprocess.TimeoutExpired as error:
            raise Trouble(f"“{name}” did not end within {seconds:.0f} seconds.") from error
        if status:
            raise Trouble(f"“{name}” failed:\n{child.said()[-3000:]}")
        self._children.remove(child)

    def wait_for_address(self, child: Child, url: str) -> None:
        """Until a GET of this address answers 200."""
        with requests.Session() as session:
            session.trust_env = False

            def answers() -> bool:
                self.check(child)
                try:
                    return session.get(url, timeout=2).status_code == 200
                except requests.RequestException:
                    return False

            wait_until(answers, f"{child.name} does not answer at {url}", START_SECONDS)

    def check(self, *children: Child) -> None:
        """Raises Trouble when one of these (without any: of all) has ended by itself."""
        for child in children or self._children:
            if not child.is_running:
                status = child.process.returncode if child.process else None
                raise Trouble(f"The process “{child.name}” ended by itself, with status {status}.")

    def last_words(self) -> str:
        """The ends of all logs."""
        pieces = []
        for child in self._children:
            lines = child.said().splitlines()[-LAST_LINES:]
            pieces.append("\n".join([f"--- {child.log}", *(line[:400] for line in lines)]))
        return "\n".join(pieces)

    def end(self) -> None:
        """The one that was started last ends first. Those that do not end in time are killed."""
        for child in reversed(self._children):
            if child.is_running and child.process is not None:
                child.process.terminate()
        ends = time.monotonic() + END_SECONDS
        for child in reversed(self._children):
            if child.process is None:
                continue
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, ends - time.monotonic()))
            # The whole group, whether or not its leader has gone: a web server has workers of its own.
            _signal_group(child.process, signal.SIGKILL)
            child.process.wait()
        self._children.clear()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
