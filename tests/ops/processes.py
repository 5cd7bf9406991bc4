"""Run the processes of the service with their own directory, database, queue and free ports."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from intercom_bridge.intercom.signature import webhook_signature
from sandbox.itop.seed import TOKEN
from settings.env import BASE_DIR
from tests.secret_detector import detector
from tests.teammate import SECRET, WORKSPACE, notification, part

DATABASE = "bridge.sqlite3"
# R-000006 of the sandbox's iTop.
TICKET = 6
FIRST_PART = 37358198350

SET_UP = """
import sys
import django; django.setup()
from intercom_bridge.models import *
itop = ItopInstance.objects.create(name="Sandbox", url="-", token=sys.argv[1], time_zone="Europe/Paris")
workspace = Workspace.objects.create(
    workspace_id=sys.argv[2], client_secret=sys.argv[3], itop=itop,
    profile=TicketProfile.objects.create(name="Requests"),
)
conversation = Conversation.objects.find_or_create(workspace, "215472621202693")
ticket = Ticket.objects.create(itop=itop, ticket_class="UserRequest", object_id=int(sys.argv[4]), ref="R-000006")
TicketLink.objects.create(conversation=conversation, ticket=ticket, attributes_synced=True)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(happened: Callable[[], object], what: str, seconds: float) -> float:
    """Poll until `happened` returns something true, and return the seconds that took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, f"waited {seconds} seconds for {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def environment_of(directory: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "DJANGO_SETTINGS_MODULE": "tests.ops.settings",
        "INSTANCE_DIRECTORY": str(directory),
        "DATABASE_URL": f"sqlite:///{directory / DATABASE}",
        "PYTHONUNBUFFERED": "1",
    }


def run(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=BASE_DIR, env=environment, check=True, timeout=60)


@functools.cache
def _with_conversation(migrated: Path) -> Path:
    """Return a copy of the database with the conversation, its ticket, and an iTop whose address is to be set."""
    directory = migrated.parent / "with-conversation"
    directory.mkdir()
    shutil.copy(migrated, directory / DATABASE)
    run(environment_of(directory), "-c", SET_UP, TOKEN, WORKSPACE, SECRET, str(TICKET))
    with contextlib.closing(sqlite3.connect(directory / DATABASE)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return directory / DATABASE


class Instance:
    """The service with one conversation, linked to a ticket of the sandbox's iTop, and the started processes."""

    def __init__(self, directory: Path, migrated: Path, itop_url: str, **environment: str) -> None:
        """Copy the migrated database and create the conversation in the copy."""
        self.directory = directory
        self.environment = environment_of(directory) | environment
        self.url = ""
        self.children: list[subprocess.Popen[bytes]] = []
        self._session = requests.Session()
        self._session.trust_env = False
        shutil.copy(_with_conversation(migrated), directory / DATABASE)
        with self._database() as database:
            database.execute("UPDATE intercom_bridge_itopinstance SET url = ?", [itop_url])

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("wb") as out:
            child = subprocess.Popen(
                arguments,
                cwd=BASE_DIR,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.children.append(child)
        return child

    def start_worker(self) -> subprocess.Popen[bytes]:
        child = self.start("worker", sys.executable, "manage.py", "worker", "--threads", "4")
        wait_until(lambda: "Worker started" in self.log("worker"), "the worker to start", 40)
        return child

    def start_web(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        arguments = ("-m", "gunicorn", "settings.wsgi")
        self.start(
            "web", sys.executable, *arguments, BIND=f"127.0.0.1:{port}", WEB_CONCURRENCY="1", WEB_THREADS="4"
        )
        wait_until(self._responds, "the web process to respond", 40)

    def _responds(self) -> bool:
        try:
            return self._session.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def post_message(self, number: int) -> tuple[int, float]:
        """Send a signed notification with the message `number`; return the status and the duration in seconds."""
        raw = json.dumps(notification(part(FIRST_PART + number, f"<p>{number}</p>"))).encode()
        began = time.monotonic()
        response = self._session.post(
            f"{self.url}/webhooks/intercom",
            data=raw,
            headers={"Content-Type": "application/json", "X-Hub-Signature": webhook_signature(raw, SECRET)},
            timeout=20,
        )
        return response.status_code, time.monotonic() - began

    def record_messages(self, count: int) -> None:
        """Store `count` notifications as a web process does; the first message has number 0."""
        with self._database() as database:
            (workspace,) = database.execute("SELECT id FROM intercom_bridge_workspace").fetchone()
            for number in range(count):
                payload = notification(part(FIRST_PART + number, f"<p>{number}</p>"))
                row = (
                    workspace,
                    payload["id"],
                    payload["topic"],
                    payload["data"]["item"]["id"],
                    json.dumps(payload).encode(),
                )
                database.execute(
                    "INSERT INTO intercom_bridge_webhookevent (workspace_id, notification_id, topic, conversation_id,"
                    " body, times_received, received_at, state, reason_code, reason_detail, attempts, due_at)"
                    " VALUES (?, ?, ?, ?, ?, 1, '2026-01-10 12:00:00', 'received', '', '', 0, '2026-01-10 12:00:00')",
                    row,
                )

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        path = self.directory / DATABASE
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as database, database:
            yield database

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self._database() as database:
            return database.execute(sql).fetchall()

    def states(self) -> list[str]:
        """Return the states of the deliveries in writing order."""
        rows = self.ask("SELECT state FROM intercom_bridge_delivery ORDER BY part_created_at")
        return [state for (state,) in rows]

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for file in self.directory.glob("*.log"):
            detector.scan(f"output of a process ({file.name})", file.read_bytes())
