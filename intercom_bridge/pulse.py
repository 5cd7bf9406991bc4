"""A worker's pulse: a row that says it lives, renewed from a thread of its own, removed when it ends as it should."""

from __future__ import annotations

import os
import socket
import threading

import structlog
from django.db import DatabaseError, close_old_connections, connection

from intercom_bridge.models import WorkerPulse

log = structlog.get_logger(__name__)

BEAT_SECONDS = 10.0


def name_of_this_process() -> str:
    return f"{socket.gethostname()[:180]}:{os.getpid()}"


class Pulse:
    """A context: beats every ten seconds until it is left.

    A database that is away for a while stops neither the worker nor its pulse; the next beat tries again.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name or name_of_this_process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(1)

    def _run(self) -> None:
        started = False
        try:
            while True:
                started = self._beat(anew=not started) or started
                if self._ended.wait(BEAT_SECONDS):
                    break
            WorkerPulse.objects.filter(name=self.name).delete()
        except DatabaseError as error:
            log.warning("pulse.not_removed", error=type(error).__name__)
        finally:
            connection.close()

    def _beat(self, *, anew: bool) -> bool:
        close_old_connections()
        try:
            WorkerPulse.objects.beat(self.name, anew=anew)
        except DatabaseError as error:
            log.warning("pulse.missed", error=type(error).__name__)
            return False
        return True
