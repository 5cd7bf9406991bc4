"""A worker's heartbeat: a row in the database. A thread renews it while the process runs, and deletes it at the end."""

from __future__ import annotations

import os
import socket
import threading

import structlog
from django.db import DatabaseError, close_old_connections, connection

from intercom_bridge.models import WorkerHeartbeat

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 10.0


def process_name() -> str:
    """Return this process's name, which is unique among all workers: "host:process id"."""
    return f"{_host()}:{os.getpid()}"


def is_alive_here() -> bool:
    """Return whether a worker on this host or in this container has a recent heartbeat."""
    return WorkerHeartbeat.objects.alive().filter(name__startswith=f"{_host()}:").exists()


def _host() -> str:
    return socket.gethostname()[:180]  # the column of the name has room for it and the process id


class Heartbeat:
    """Context manager that records a heartbeat every ten seconds.

    If the database cannot be reached, this is logged and the next heartbeat tries again. The worker continues.
    """

    def __init__(self) -> None:
        self.name = process_name()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(1)

    def _run(self) -> None:
        is_first = True
        try:
            while True:
                close_old_connections()
                try:
                    WorkerHeartbeat.objects.beat(self.name, is_first=is_first)
                    is_first = False
                except DatabaseError as error:
                    log.warning("heartbeat.missed", error=type(error).__name__)
                if self._ended.wait(HEARTBEAT_SECONDS):
                    break
            WorkerHeartbeat.objects.filter(name=self.name).delete()
        except DatabaseError as error:
            log.warning("heartbeat.not_removed", error=type(error).__name__)
        finally:
            connection.close()
