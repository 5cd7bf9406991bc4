"""A worker's heartbeat, and what reports that there is none."""

from __future__ import annotations

import datetime as dt
import socket
import threading

import pytest
import time_machine
from django.core.checks import CheckMessage
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from intercom_bridge import __version__
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    TicketProfile,
    WebhookEvent,
    WorkerHeartbeat,
    Workspace,
)
from intercom_bridge.ops import checks, heartbeat, readiness

NOW = dt.datetime(2026, 1, 10, 12, 0, tzinfo=dt.UTC)


def at(seconds: float) -> time_machine.travel:
    return time_machine.travel(NOW + dt.timedelta(seconds=seconds), tick=False)


@pytest.fixture
def conversation(db: None) -> Conversation:
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        itop=ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t"),
        profile=TicketProfile.objects.create(name="Requests"),
        client_secret="a-client-secret",
        access_token="an-access-token",
    )
    return Conversation.objects.create(workspace=workspace, conversation_id="1")


def create_due_row(conversation: Conversation, kind: str = "notification") -> None:
    """Create a row that is due now."""
    if kind == "notification":
        WebhookEvent.objects.create(
            workspace=conversation.workspace, notification_id="n", topic="x", body=b""
        )
    elif kind == "delivery":
        ticket = Ticket.objects.create(
            itop=conversation.workspace.itop, ticket_class="UserRequest", object_id=1, ref="R-000001"
        )
        Delivery.objects.create(
            ticket=ticket, conversation=conversation, kind="part", part_id="1", part_created_at=1
        )
    elif kind == "submission":
        TicketCreation.objects.create(
            conversation=conversation,
            form_key="k",
            ticket_class="UserRequest",
            caller_id=1,
            idempotency_key="m",
        )
    else:
        OutgoingMessage.objects.create(conversation=conversation, admin_id="1", body="x")


def ready(client: Client) -> tuple[int, list[str]]:
    response = client.get("/readyz")
    return response.status_code, response.json().get("reasons", [])


def warnings() -> list[CheckMessage]:
    return [
        message
        for message in checks.check_rows(databases=["default"])
        if message.id == "intercom_bridge.W116"
    ]


# The heartbeat


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_is_renewed_while_the_worker_runs_and_deleted_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beats = threading.Semaphore(0)
    beat = type(WorkerHeartbeat.objects.all()).beat

    def counted(self: object, name: str, *, is_first: bool = False) -> None:
        beat(self, name, is_first=is_first)  # type: ignore[arg-type]
        beats.release()

    monkeypatch.setattr(type(WorkerHeartbeat.objects), "beat", counted)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    with heartbeat.Heartbeat() as running:
        assert all(beats.acquire(timeout=5) for _ in range(3))
        row = WorkerHeartbeat.objects.get()
        assert row.name == running.name == heartbeat.process_name()
        assert row.beat_at >= row.started_at
    assert not WorkerHeartbeat.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_unreachable_database_does_not_end_the_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded = threading.Event()
    errors = iter([OperationalError("away"), OperationalError("away")])

    def fails_twice(name: str, *, is_first: bool = False) -> None:
        # Once it has succeeded, the thread may beat again before it is told to end.
        assert is_first or succeeded.is_set()
        for error in errors:
            raise error
        succeeded.set()

    monkeypatch.setattr(WorkerHeartbeat.objects, "beat", fails_twice)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    with heartbeat.Heartbeat():
        assert succeeded.wait(5)


def test_a_heartbeat_updates_the_row_and_a_restart_updates_its_start(db: None) -> None:
    with at(0):
        WorkerHeartbeat.objects.beat("here:1", is_first=True)
    with at(10):
        WorkerHeartbeat.objects.beat("here:1")
    row = WorkerHeartbeat.objects.get()
    assert (row.started_at, row.beat_at) == (NOW, NOW + dt.timedelta(seconds=10))
    with at(20):
        WorkerHeartbeat.objects.beat("here:1", is_first=True)
    assert WorkerHeartbeat.objects.get().started_at == NOW + dt.timedelta(seconds=20)


def test_a_stale_heartbeat_is_deleted_after_a_day(db: None) -> None:
    with at(0):
        WorkerHeartbeat.objects.beat("killed:1")
    with at(86_000):
        WorkerHeartbeat.objects.beat("here:2")
    assert WorkerHeartbeat.objects.count() == 2
    with at(86_500):
        WorkerHeartbeat.objects.beat("here:2")
    assert WorkerHeartbeat.objects.get().name == "here:2"


# Reports


def test_without_due_work_no_worker_is_needed(client: Client, conversation: Conversation) -> None:
    assert ready(client) == (200, [])
    assert warnings() == []
    assert client.get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("kind", ["notification", "delivery", "submission", "posting"])
def test_work_that_waits_for_two_minutes_without_a_worker_is_reported(
    client: Client, conversation: Conversation, kind: str
) -> None:
    with at(0):
        create_due_row(conversation, kind)
    with at(119):
        assert ready(client) == (200, [])
        assert warnings() == []
    with at(121):
        status, reasons = ready(client)
        assert status == 503
        [reason] = reasons
        assert "2026-01-10 12:00:00 UTC" in reason
        [warning] = warnings()
        assert warning.msg == reasons[0]
        assert "manage.py worker" in str(warning.hint)


def test_waiting_work_is_not_reported_while_a_worker_is_alive(
    client: Client, conversation: Conversation
) -> None:
    with at(0):
        create_due_row(conversation)
        WorkerHeartbeat.objects.beat("here:1")
    with at(119):
        assert ready(client) == (200, [])
    with at(300):
        assert ready(client)[0] == 503
        WorkerHeartbeat.objects.beat("there:2")
        assert ready(client) == (200, [])


def test_postponed_work_is_not_reported(client: Client, conversation: Conversation) -> None:
    with at(0):
        create_due_row(conversation, "delivery")
        Delivery.objects.update(due_at=timezone.now() + dt.timedelta(minutes=10))
    with at(300):
        assert ready(client) == (200, [])


def test_missing_migrations_are_reported(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "migrations_missing", lambda: True)
    assert ready(client) == (503, ["The database is not migrated. Run: python manage.py migrate"])


def test_migrations_are_compared_with_the_database(db: None) -> None:
    assert not readiness.migrations_missing()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
    assert readiness.migrations_missing()


def test_an_unreachable_database_is_reported(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("connection refused: password=secret")

    with connection.execute_wrapper(away):
        assert ready(client) == (503, ["The database cannot be reached."])


def test_healthz_needs_no_database(client: Client) -> None:
    response = client.get("/healthz").json()
    assert (response["status"], response["version"]) == ("ok", __version__)
    assert client.post("/readyz").status_code == 405


@pytest.mark.django_db
def test_a_container_is_healthy_while_a_worker_of_its_own_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "ours")
    with at(0):
        WorkerHeartbeat.objects.beat("ours-2:1")
        with pytest.raises(CommandError, match="No worker on this host is alive."):
            call_command("worker", "--check")
        WorkerHeartbeat.objects.beat(heartbeat.process_name())
        call_command("worker", "--check")
    with at(121), pytest.raises(CommandError):
        call_command("worker", "--check")
