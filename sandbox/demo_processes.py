"""The demo's processes: started, waited for, and ended whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

START_SECONDS = 40.0
END_SECONDS = 12.0
LAST_LINES = 40


class DemoTrouble(Exception):
    """The demo cannot go on; the text says why, in a sentence."""


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


def require_free(ports: Mapping[str, int]) -> None:
    """Raises DemoTrouble when something listens on one of these ports already; `ports` is option -> port."""
    for option, port in ports.items():
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoTrouble(
                    f"Port {port} is taken. Stop what uses it, or choose another one with {option}."
                ) from error


def wait_until(happened: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Looks again and again. Raises DemoTrouble, naming `what` was waited for, after so many seconds."""
    ends = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > ends:
            raise DemoTrouble(f"Waited {seconds:.0f} seconds in vain: {what}.")
        time.sleep(0.05)


class Processes:
    """A context: on leaving it, all that was started in it is ended."""

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
        """Runs Python with these arguments; what it prints goes to `<name>.log`."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._directory,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us alone; we end them, in order.
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        self._children.append(_Child(name, process, log))

    def wait_for_address(self, name: str, url: str) -> None:
        """Until a GET of this address answers 200."""
        with requests.Session() as session:
            session.trust_env = False

            def answers() -> bool:
                self.check()
                try:
                    return session.get(url, timeout=2).status_code == 200
                except requests.RequestException:
                    return False

            wait_until(answers, f"{name} does not answer at {url}", START_SECONDS)

    def wait_for_words(self, name: str, words: str) -> None:
        """Until the log of this process holds these words."""
        log = self._logs / f"{name}.log"

        def said() -> bool:
            self.check()
            return words in log.read_text(encoding="utf-8", errors="replace")

        wait_until(said, f"{name} does not start", START_SECONDS)

    def check(self) -> None:
        """Raises DemoTrouble when one of them has ended by itself."""
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                raise DemoTrouble(f"The process “{child.name}” ended by itself, with status {status}.")

    def last_words(self) -> str:
        """The ends of all logs."""
        pieces = []
        for child in self._children:
            lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
            pieces.append("\n".join([f"--- {child.log}", *lines]))
        return "\n".join(pieces)

    def end(self) -> None:
        """The one that was started last ends first. Those that do not end in time are killed."""
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
            # The whole group when it is to be killed: a web server has workers of its own.
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)


def _end_with_parent() -> None:
    """Linux only: even when we are killed outright, the child is asked to end."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
