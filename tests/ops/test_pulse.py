"""A worker's pulse, and who notices that there is none."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import time_machine
from django.core.checks import CheckMessage
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from intercom_bridge import checks, pulse, readiness
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    Notification,
    Posting,
    Submission,
    Ticket,
    TicketProfile,
    WorkerPulse,
    Workspace,
)

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


def wait_for_something(conversation: Conversation, kind: str = "notification") -> None:
    """Something is due at this moment."""
    if kind == "notification":
        Notification.objects.create(
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
        Submission.objects.create(
            conversation=conversation, form_key="k", ticket_class="UserRequest", caller_id=1, marker="m"
        )
    else:
        Posting.objects.create(conversation=conversation, admin_id="1", body="x")


def ready(client: Client) -> tuple[int, list[str]]:
    response = client.get("/readyz")
    return response.status_code, response.json().get("reasons", [])


def warnings() -> list[CheckMessage]:
    return [one for one in checks.check_rows(databases=["default"]) if one.id == "intercom_bridge.W116"]


# The pulse


@pytest.mark.django_db(transaction=True)
def test_a_worker_beats_from_a_thread_of_its_own_and_takes_its_row_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beaten = threading.Semaphore(0)
    beat = type(WorkerPulse.objects.all()).beat

    def counted(self: object, name: str, *, anew: bool = False) -> None:
        beat(self, name, anew=anew)  # type: ignore[arg-type]
        beaten.release()

    monkeypatch.setattr(type(WorkerPulse.objects), "beat", counted)
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.01)
    with pulse.Pulse() as living:
        assert all(beaten.acquire(timeout=5) for _ in range(3))
        row = WorkerPulse.objects.get()
        assert row.name == living.name == pulse.name_of_this_process()
        assert row.beat_at >= row.started_at
    assert not WorkerPulse.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_ends_no_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = threading.Event()
    tries = iter([OperationalError("away"), OperationalError("away")])

    def fails_twice(name: str, *, anew: bool = False) -> None:
        assert anew
        for trouble in tries:
            raise trouble
        beaten.set()

    monkeypatch.setattr(WorkerPulse.objects, "beat", fails_twice)
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.01)
    with pulse.Pulse():
        assert beaten.wait(5)


def test_a_beat_moves_the_row_and_a_new_start_begins_it_anew(db: None) -> None:
    with at(0):
        WorkerPulse.objects.beat("here:1", anew=True)
    with at(10):
        WorkerPulse.objects.beat("here:1")
    row = WorkerPulse.objects.get()
    assert (row.started_at, row.beat_at) == (NOW, NOW + dt.timedelta(seconds=10))
    with at(20):
        WorkerPulse.objects.beat("here:1", anew=True)
    assert WorkerPulse.objects.get().started_at == NOW + dt.timedelta(seconds=20)


def test_a_dead_worker_s_row_is_removed_after_a_day(db: None) -> None:
    with at(0):
        WorkerPulse.objects.beat("killed:1")
    with at(86_000):
        WorkerPulse.objects.beat("here:2")
    assert WorkerPulse.objects.count() == 2
    with at(86_500):
        WorkerPulse.objects.beat("here:2")
    assert WorkerPulse.objects.get().name == "here:2"


# Who notices


def test_with_nothing_to_do_no_worker_is_missed(client: Client, conversation: Conversation) -> None:
    assert ready(client) == (200, [])
    assert warnings() == []
    assert client.get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("kind", ["notification", "delivery", "submission", "posting"])
def test_work_that_waits_for_two_minutes_without_a_worker_is_noticed(
    client: Client, conversation: Conversation, kind: str
) -> None:
    with at(0):
        wait_for_something(conversation, kind)
    with at(119):
        assert ready(client) == (200, [])
        assert warnings() == []
    with at(121):
        status, reasons = ready(client)
        assert status == 503
        assert reasons == [
            "No worker has lived for two minutes, and work has been waiting since 2026-01-10 12:00:00 UTC."
        ]
        [warning] = warnings()
        assert warning.msg == reasons[0]
        assert "manage.py worker" in str(warning.hint)


def test_a_worker_that_lives_is_trusted_with_what_waits(client: Client, conversation: Conversation) -> None:
    with at(0):
        wait_for_something(conversation)
        WorkerPulse.objects.beat("here:1")
    with at(119):
        assert ready(client) == (200, [])
    with at(300):
        assert ready(client)[0] == 503
        WorkerPulse.objects.beat("there:2")
        assert ready(client) == (200, [])


def test_work_that_is_put_off_is_not_waiting(client: Client, conversation: Conversation) -> None:
    with at(0):
        wait_for_something(conversation, "delivery")
        Delivery.objects.update(due_at=timezone.now() + dt.timedelta(minutes=10))
    with at(300):
        assert ready(client) == (200, [])


def test_missing_migrations_are_said(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "is_behind", lambda: True)
    assert ready(client) == (503, ["The database is not migrated. Run: python manage.py migrate"])


def test_migrations_are_looked_for_in_the_database(db: None) -> None:
    assert not readiness.is_behind()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
    assert readiness.is_behind()


def test_a_database_that_cannot_be_reached_is_said(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("connection refused: password=secret")

    with connection.execute_wrapper(away):
        assert ready(client) == (503, ["The database cannot be reached."])


def test_the_process_answers_without_the_database(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.post("/readyz").status_code == 405
