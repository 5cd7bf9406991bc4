"""Workers as processes of their own on the tests' database, which can be killed in the middle of their work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.models import (
    Delivery,
    FileToItop,
    ItopPoll,
    OutgoingMessage,
    Ticket,
    TicketSnapshot,
    WebhookEvent,
)
from settings.env import BASE_DIR
from tests.ops.processes import wait_until
from tests.secret_detector import detector

SECONDS = 40.0


class Workers:
    """One worker at a time. Call `end` at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    @property
    def _log(self) -> Path:
        return self._directory / f"worker-{self._count}.log"

    def start(self) -> None:
        self._count += 1
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.ops.settings",
            "INSTANCE_DIRECTORY": str(self._directory),
            "DATABASE_URL": _database_url(),
            "FIELD_ENCRYPTION_KEYS": ",".join(settings.FIELD_ENCRYPTION_KEYS),
            "INTERCOM_API_URL": settings.INTERCOM_API_URL,
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("REDIS_URL", None)
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "worker", "--threads", "4"],
                cwd=BASE_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: b"Worker started" in self._log.read_bytes(), "the worker to start", SECONDS)

    def kill(self) -> None:
        """Kill the worker, and let the time pass for which it has claimed its rows."""
        assert self._process is not None and self._process.poll() is None, self._log.read_text()
        self._process.kill()
        self._process.wait()
        Ticket.objects.update(lease_token="", lease_until=None)
        for model in (WebhookEvent, Delivery, FileToItop, OutgoingMessage):
            rows = model._default_manager.filter(due_at__gt=timezone.now())
            # Not by the database's clock: SQLite's has milliseconds, with which a claim would not find the row.
            rows.update(due_at=timezone.now())
        poll_now()

    def restart(self) -> None:
        """Stop the worker as systemd does, and start the next."""
        self._terminate()
        self.start()

    def end(self) -> None:
        self._terminate()
        for log in self._directory.glob("worker-*.log"):
            detector.scan(f"output of a worker ({log.name})", log.read_bytes())

    def _terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(SECONDS)


def poll_now() -> None:
    """Let a worker ask iTop for changes now."""
    TicketSnapshot.objects.update(poll_at=Now())
    ItopPoll.objects.update(due_at=Now(), lease_until=None)


def wait_until_idle() -> None:
    """Wait until no message and no file waits."""
    queues = (WebhookEvent.objects, Delivery.objects, FileToItop.objects, OutgoingMessage.objects)
    wait_until(lambda: not any(queue.waiting().exists() for queue in queues), "the worker to finish", SECONDS)


def _database_url() -> str:
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    login = f"{quote(values['USER'])}:{quote(values['PASSWORD'])}"
    return f"postgres://{login}@{values['HOST']}:{values['PORT'] or 5432}/{values['NAME']}"
