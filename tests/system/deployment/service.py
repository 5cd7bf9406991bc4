"""One process as systemd would run it: started, reloaded and stopped by the commands of its unit file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.system.chaos.children import SystemTestError, wait_until

from .unit import Unit

# What systemd does between fork and exec: the socket is file 3, LISTEN_PID the process's own number. If this
# process is killed, the child receives SIGTERM (Linux only).
_START = (
    "import ctypes, os, signal, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"
    "if sys.argv[1] != '-':\n"
    "    os.dup2(int(sys.argv[1]), 3)\n"
    "    os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


class Service:
    def __init__(
        self,
        unit: Unit,
        directory: Path,
        environment: Mapping[str, str],
        log: Path,
        listens: socket.socket | None = None,
    ) -> None:
        self.unit = unit
        self.log = log
        self._directory = directory
        self._environment = dict(environment)
        self._socket = listens
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, text: str, times: int = 1) -> None:
        """Start the process, and wait until its log contains `text` `times` times more than before."""
        wanted = self.output().count(text) + times
        number = "-" if self._socket is None else str(self._socket.fileno())
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, number, *self.unit.command("ExecStart")],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if self._socket is None else (self._socket.fileno(),),
            )
        self.wait_for(text, wanted)

    def reload(self) -> None:
        subprocess.run(
            self.unit.command("ExecReload", MAINPID=str(self._running.pid)), check=True, timeout=10
        )

    def stop(self) -> None:
        """Terminate the process and wait for its end."""
        self.terminate()
        self.wait()

    def terminate(self) -> None:
        self._running.terminate()

    def wait(self) -> None:
        """Wait for the end. Raise SystemTestError if systemd would have killed the process."""
        seconds = float(self.unit.value("TimeoutStopSec"))
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            raise SystemTestError(f"{self.unit.name} did not end within {seconds:.0f} seconds.") from None

    def kill(self) -> None:
        """Kill the process and all its children immediately."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait_for(self, text: str, times: int) -> None:
        def logged() -> bool:
            if self._running.poll() is not None:
                raise SystemTestError(f"{self.unit.name} ended unexpectedly:\n{self.output()[-3000:]}")
            return self.output().count(text) >= times

        wait_until(logged, f"{self.unit.name} says “{text}” for the {times}. time", 60)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SystemTestError(f"{self.unit.name} was never started.")
        return self._process
