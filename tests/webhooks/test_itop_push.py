"""iTop's push requests: who may send them, and what they do."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from intercom_bridge import wake
from intercom_bridge.models import (
    Conversation,
    ItopInstance,
    ItopPoll,
    Secret,
    Ticket,
    TicketLink,
    TicketSnapshot,
    Workspace,
    encryption,
)
from intercom_bridge.views import itop_push
from sandbox.itop import Itop

BODY = {"class": "UserRequest", "id": "42"}


@pytest.fixture
def secret(workspace: Workspace) -> str:
    return workspace.itop.renew_push_secret()


@pytest.fixture
def snapshot(workspace: Workspace) -> TicketSnapshot:
    """Return the snapshot of linked ticket 42, which is not due for an hour."""
    later = timezone.now() + dt.timedelta(hours=1)
    ticket = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=42, ref="R-000042"
    )
    conversation = Conversation.objects.create(workspace=workspace, conversation_id="2154")
    TicketLink.objects.create(ticket=ticket, conversation=conversation)
    ItopPoll.objects.create(itop=workspace.itop, due_at=later)
    return TicketSnapshot.objects.create(ticket=ticket, poll_at=later)


def push(itop: ItopInstance | str, secret: str, body: Any = BODY) -> Any:
    public_id = itop if isinstance(itop, str) else itop.public_id
    return Client(raise_request_exception=False).post(
        f"/webhooks/itop/{public_id}", body, "application/json", headers={"Authorization": f"Bearer {secret}"}
    )


def is_due(snapshot: TicketSnapshot) -> bool:
    snapshot.refresh_from_db()
    poll = ItopPoll.objects.get()
    now = timezone.now()
    return bool(snapshot.poll_at and snapshot.poll_at <= now and poll.due_at <= now)


def test_a_push_makes_the_linked_ticket_due_and_wakes_a_worker(
    workspace: Workspace, secret: str, snapshot: TicketSnapshot, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(wake, "_receivers", [woken.append])
    response = push(workspace.itop, secret)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert is_due(snapshot)
    # Not "everything": that has queries of seconds made again.
    assert woken == [wake.INCOMING]
    # iTop waits for the response, so nothing is asked there.
    assert itop.calls == []


def test_a_ticket_that_was_closed_long_ago_is_polled_again(
    workspace: Workspace, secret: str, snapshot: TicketSnapshot
) -> None:
    TicketSnapshot.objects.update(poll_at=None)
    push(workspace.itop, secret)
    assert is_due(snapshot)


@pytest.mark.parametrize("body", [BODY | {"id": "43"}, BODY | {"class": "Incident"}], ids=["id", "class"])
def test_another_ticket_is_answered_alike_and_changes_nothing(
    workspace: Workspace, secret: str, snapshot: TicketSnapshot, body: dict[str, str]
) -> None:
    assert push(workspace.itop, secret, body).content == push(workspace.itop, secret).content
    snapshot.poll_at = later = timezone.now() + dt.timedelta(hours=1)
    snapshot.save()
    push(workspace.itop, secret, body)
    snapshot.refresh_from_db()
    assert snapshot.poll_at == later


def test_a_ticket_that_is_no_longer_linked_is_not_polled(
    workspace: Workspace, secret: str, snapshot: TicketSnapshot
) -> None:
    TicketLink.objects.all().delete()
    assert push(workspace.itop, secret).status_code == 200
    assert not is_due(snapshot)


def test_the_secret_of_one_itop_does_not_poll_tickets_of_another(
    workspace: Workspace, snapshot: TicketSnapshot
) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t")
    assert push(other, other.renew_push_secret()).status_code == 200
    assert not is_due(snapshot)


def test_refusals_are_alike(workspace: Workspace, secret: str, snapshot: TicketSnapshot) -> None:
    without = ItopInstance.objects.create(name="Without a secret", url="https://x.example.com", token="t")
    unreadable = ItopInstance.objects.create(name="Unreadable", url="https://y.example.com", token="t")
    ItopInstance.objects.filter(pk=unreadable.pk).update(push_secret=Secret("not a ciphertext"))
    public_id = workspace.itop.public_id
    answers = [
        push(workspace.itop, "wrong"),
        push(workspace.itop, ""),
        push(workspace.itop, f"{secret}x"),
        push(workspace.itop, "é"),
        push("00000000", secret),
        push(without, ""),
        push(without, secret),
        push(unreadable, ""),
        Client().post(f"/webhooks/itop/{public_id}", BODY, "application/json"),
        Client().get(f"/webhooks/itop/{public_id}"),
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (401, b'{"detail":"The secret does not match."}')
    }
    assert not is_due(snapshot)
    workspace.itop.refresh_from_db()
    assert workspace.itop.push_received_at is None


def test_an_unknown_itop_takes_the_same_work(workspace: Workspace, secret: str) -> None:
    without = ItopInstance.objects.create(name="Without a secret", url="https://x.example.com", token="t")
    push("00000000", "wrong")  # creates the random secret
    for itop in (workspace.itop, "00000000", without):
        with patch.object(encryption, "cipher", side_effect=encryption.cipher) as decrypted:
            push(itop, "wrong")
        assert decrypted.call_count == 1


def test_the_replaced_secret_is_refused(workspace: Workspace, secret: str, snapshot: TicketSnapshot) -> None:
    renewed = workspace.itop.renew_push_secret()
    assert push(workspace.itop, secret).status_code == 401
    assert push(workspace.itop, renewed).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"class": "UserRequest"}',
        {"class": "UserRequest", "id": "0 OR 1"},
        {"class": "UserRequest", "id": "9" * 19},
        {"class": "UserRequest", "id": "²"},
        {"class": "User Request", "id": "42"},
        {"class": ["UserRequest"], "id": "42"},
        {"class": "UserRequest", "id": "42", "more": "x" * itop_push.MAX_BODY_BYTES},
    ],
)
def test_a_body_that_names_no_ticket_is_refused(
    workspace: Workspace, secret: str, snapshot: TicketSnapshot, body: Any
) -> None:
    assert push(workspace.itop, secret, body).status_code == 400
    assert not is_due(snapshot)


def test_only_the_class_and_the_id_are_read(
    workspace: Workspace, secret: str, snapshot: TicketSnapshot
) -> None:
    more = {"status": "closed", "public_log": "<p>Forged</p>", "id": 42}
    assert push(workspace.itop, secret, BODY | more).status_code == 200
    before = TicketSnapshot.objects.values("status", "entries", "last_update").get()
    assert before == {"status": "", "entries": {}, "last_update": ""}
    assert is_due(snapshot)


def test_the_last_push_is_stored_once_a_minute(workspace: Workspace, secret: str) -> None:
    began = timezone.now().replace(microsecond=0)
    stored = []
    with time_machine.travel(began, tick=False) as clock:
        for seconds in (0, 59, 60):
            clock.move_to(began + dt.timedelta(seconds=seconds))
            push(workspace.itop, secret)
            workspace.itop.refresh_from_db()
            received = workspace.itop.push_received_at
            assert received
            stored.append(int((received - began).total_seconds()))
    assert stored == [0, 0, 60]


def test_pushes_are_limited_per_itop(
    workspace: Workspace, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itop_push, "MAX_PER_SECOND", 0.2)
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t")
    with time_machine.travel(timezone.now(), tick=False):
        # Refused requests are not counted: only the sender can use up its limit.
        codes = [push(workspace.itop, each).status_code for each in ("wrong", secret, secret, secret)]
        assert codes == [401, 200, 200, 429]
        assert push(other, other.renew_push_secret()).status_code == 200


def test_a_database_that_does_not_respond_is_said_so(workspace: Workspace, secret: str) -> None:
    with patch.object(ItopInstance, "note_push", side_effect=OperationalError):
        assert push(workspace.itop, secret).status_code == 503
