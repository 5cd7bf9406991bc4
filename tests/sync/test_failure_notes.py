"""What failed for good is announced in its conversation, once per reason and ticket."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, OutgoingMessage, Ticket, TicketCreation, TicketLink, Workspace
from intercom_bridge.tickets.creation import attempt
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(talking: Teammate, work: Work) -> Ticket:
    """Return a ticket that is linked to Alice's conversation in the stand-in for Intercom."""
    talking.link("R-000006")
    OutgoingMessage.objects.all().delete()
    work()
    return TicketLink.objects.get().ticket


def say(client: Client, teammate: Teammate, number: int, **more: Any) -> None:
    body = f"<p>message {number}</p>"
    at = int(time.time()) + 60 + number
    notify(client, part(37358198400 + number, body, created_at=at, **more), id=teammate.conversation["id"])


def notes(intercom: Intercom) -> list[Any]:
    parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)
    return [each for each in parts if each.part_type == "note" and "could not" in (each.body or "")]


def test_a_refused_message_leaves_one_note_for_all_with_the_same_reason(
    client: Client, talking: Teammate, linked: Ticket, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add("check", operation="core/update")
    for number in range(3):
        say(client, talking, number)
        work()
    assert Delivery.objects.filter(state="failed").count() == 3
    (note,) = notes(intercom)
    assert "A message could not be copied to ticket" in note.body and linked.ref in note.body
    assert "iTop rejected the request." in note.body
    assert "The message is safe in this conversation." in note.body
    assert "Try again" in note.body


def test_another_reason_or_another_ticket_gets_a_note_of_its_own(
    client: Client, talking: Teammate, linked: Ticket, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add("check", operation="core/update")
    talking.link("R-000008")
    say(client, talking, 1)
    work()
    assert len(notes(intercom)) == 2
    itop.faults.clear()
    itop.faults.add("too_large", operation="core/update")
    say(client, talking, 2)
    work()
    bodies = [note.body for note in notes(intercom)]
    assert len(bodies) == 4
    assert sum("Copy the text to the ticket by hand" in body for body in bodies) == 2


def test_the_note_is_written_by_the_owner_of_the_access_token_and_not_copied_to_the_ticket(
    client: Client, talking: Teammate, linked: Ticket, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add("check", operation="core/update", count=1)
    say(client, talking, 1)
    work()
    (note,) = notes(intercom)
    assert note.author_id == intercom.store.admins()[0].id
    author = {"type": "admin", "id": note.author_id, "name": "Owner", "email": "owner@acme.example"}
    notify(
        client,
        part(
            int(note.id),
            note.body,
            author,
            part_type="note",
            created_at=int(time.time()) + 90,
            app_package_code=note.app_package_code,
        ),
        topic="conversation.admin.noted",
        id=talking.conversation["id"],
    )
    work()
    assert Delivery.objects.get(part_id=note.id).reason_code == "own_message"


def test_what_is_retried_by_itself_leaves_no_note(
    client: Client, talking: Teammate, linked: Ticket, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add("maintenance", operation="core/update")
    say(client, talking, 1)
    work()
    assert Delivery.objects.get().state == "waiting"
    assert OutgoingMessage.objects.count() == 0


def test_a_message_given_up_after_a_week_leaves_a_note(
    client: Client, talking: Teammate, linked: Ticket, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add("maintenance", operation="core/update")
    say(client, talking, 1)
    work()
    now = timezone.now()
    Delivery.objects.update(queued_at=now - dt.timedelta(days=8), due_at=now)
    linked.itop.__class__.objects.update(paused_until=now)
    work()
    assert Delivery.objects.get().reason_code == "gave_up"
    assert len(notes(intercom)) == 1


def test_a_workspace_can_switch_the_notes_off(
    client: Client, talking: Teammate, linked: Ticket, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(announce_failures=False)
    itop.faults.add("check", operation="core/update")
    say(client, talking, 1)
    work()
    assert Delivery.objects.get().state == "failed"
    assert OutgoingMessage.objects.count() == 0


def test_the_note_is_in_the_workspaces_language_and_escapes_what_itop_says(
    client: Client, talking: Teammate, linked: Ticket, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intercom_bridge.sync import writer
    from itop_client import ItopRejectedError

    def refuse(*_: Any, **__: Any) -> Any:
        raise ItopRejectedError("No <b>way</b>")

    Workspace.objects.update(language="de")
    monkeypatch.setattr(writer, "append", refuse)
    say(client, talking, 1)
    work()
    body = OutgoingMessage.objects.get().body
    assert "iTop hat die Anfrage abgelehnt" in body
    assert "No &lt;b&gt;way&lt;/b&gt;" in body


def test_a_creation_that_fails_in_the_background_leaves_a_note(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add("drop_after", operation="core/create", count=1)
    itop.faults.add("drop_before", operation="core/create")
    talking.open().click("Create a ticket").click("Create ticket").click("Create anyway")
    creation = TicketCreation.objects.get()
    assert creation.state == "creating"
    now = timezone.now()
    TicketCreation.objects.update(created_at=now - attempt.MAX_RETRY_TIME - dt.timedelta(1), due_at=now)
    itop.faults.clear()
    itop.faults.add("maintenance")
    work()
    itop.faults.clear()
    work()
    creation.refresh_from_db()
    assert (creation.state, creation.reason_code) == ("refused", "gave_up")
    (note,) = notes(intercom)
    assert "The ticket that Ada Reyes submitted could not be created." in note.body


def test_a_creation_that_is_refused_at_the_form_leaves_no_note(
    talking: Teammate, itop: Itop, work: Work
) -> None:
    itop.faults.add("check", operation="core/create")
    talking.open().click("Create a ticket").click("Create ticket").click("Create anyway")
    work()
    assert TicketCreation.objects.get().state == "refused"
    assert OutgoingMessage.objects.count() == 0
