"""What failed for good is announced in its conversation, once per reason and ticket."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.files import to_itop
from intercom_bridge.models import Delivery, FileToItop, OutgoingMessage, Ticket, TicketCreation, Workspace
from intercom_bridge.sync import files
from intercom_bridge.sync.intake import process_batch
from intercom_bridge.tickets.creation import attempt
from sandbox.intercom import Intercom
from sandbox.intercom.files import File
from sandbox.itop import Itop
from tests.linked import store_link
from tests.sync.conftest import Write
from tests.sync.copies import attachments, later
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(talking: Teammate, itop: Itop) -> Ticket:
    """Return a ticket that is linked to Alice's conversation in the stand-in for Intercom."""
    return store_link(talking, itop, "R-000006").ticket


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


# --- Files ---

PROGRAM = File("setup.exe", b"MZ\x90\x00" + b"\0" * 200)
LARGE = File("big <1>.bin", b"x" * 1_000_001)
SMALL = File("small.txt", b"small")


def bodies(intercom: Intercom) -> list[str]:
    return [str(note.body) for note in notes(intercom)]


def test_the_failed_files_of_a_message_leave_one_note(
    linked: Ticket, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(max_file_mb=1)
    write(PROGRAM, SMALL, LARGE)
    work()
    (body,) = bodies(intercom)
    assert "2 files of a message could not be copied to ticket" in body and linked.ref in body
    assert "<b>setup.exe</b>: The workspace does not copy files of this type." in body
    assert "<b>big _1_.bin</b>: The file is larger than the workspace's limit." in body
    assert "small.txt" not in body
    assert "The files are still in this conversation." in body
    assert "download it here and attach it in iTop" in body
    assert "Try again" not in body
    # Another message has a note of its own, and the same one has no second note.
    FileToItop.objects.all().retry_now()
    work()
    assert len(bodies(intercom)) == 1
    write(PROGRAM)
    work()
    second = bodies(intercom)[-1]
    assert len(bodies(intercom)) == 2
    assert "A file of a message could not be copied" in second and "The file is still in this" in second


def test_a_message_with_a_file_for_a_deleted_ticket_leaves_one_note(
    linked: Ticket, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.store.remove(linked.ticket_class, linked.object_id)
    write(SMALL)
    work()
    assert [row.reason_code for row in (FileToItop.objects.get(), Delivery.objects.get())] == [
        "ticket_not_found",
        "ticket_not_found",
    ]
    (body,) = bodies(intercom)
    assert "A message could not be copied" in body and "The ticket no longer exists in iTop." in body


def test_the_note_waits_until_each_file_has_been_tried(
    linked: Ticket, write: Write, intercom: Intercom, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    Workspace.objects.update(max_file_mb=1)
    write(PROGRAM, LARGE)
    process_batch()
    later()
    for row in FileToItop.objects.to_copy():
        assert not OutgoingMessage.objects.exists()
        files.copy_file(row)
    body = OutgoingMessage.objects.get().body
    assert "setup.exe" in body and "big _1_.bin" in body


def test_of_two_workers_with_files_of_a_message_the_second_one_queues_the_note(
    linked: Ticket, write: Write, intercom: Intercom, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    Workspace.objects.update(max_file_mb=1)
    write(PROGRAM, LARGE)
    process_batch()
    later()
    first, second = FileToItop.objects.to_copy()
    copy = to_itop.copy

    def copy_while_another_worker_fails(row: FileToItop, seconds: float, **options: Any) -> None:
        if row == first:
            files.copy_file(second)
            assert not OutgoingMessage.objects.exists()
        copy(row, seconds, **options)

    monkeypatch.setattr(files, "copy", copy_while_another_worker_fails)
    files.copy_file(first)
    assert "2 files" in OutgoingMessage.objects.get().body


def test_a_file_that_is_retried_does_not_delay_the_note_about_another(
    linked: Ticket, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    intercom.faults.add("error", path="/i/o/", status=503, count=1)
    write(SMALL, PROGRAM)
    work()
    (body,) = bodies(intercom)
    assert "setup.exe" in body and "small.txt" not in body
    later()
    work()
    assert [row["name"] for row in attachments(itop)] == ["small.txt"]
    assert len(bodies(intercom)) == 1


@pytest.mark.parametrize(
    ("kind", "to_do"),
    [
        ("too_large", "download it here and attach it in iTop"),
        ("check", "open Sync status in the panel and click “Try again”"),
    ],
)
def test_a_file_that_itop_refuses_leaves_a_note(
    kind: str, to_do: str, linked: Ticket, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    itop.faults.add(kind, operation="core/create", class_name="Attachment")
    write(SMALL)
    work()
    (body,) = bodies(intercom)
    assert "small.txt" in body and to_do in body
    assert "HTTP 413" not in body


def test_the_note_about_a_full_ticket_says_how_full_it_is(
    linked: Ticket, write: Write, intercom: Intercom, work: Work
) -> None:
    Workspace.objects.update(max_ticket_files_mb=1)
    write(File("a.bin", b"x" * 1_000_001))
    work()
    (body,) = bodies(intercom)
    assert "reached the workspace's size limit" in body and "(1 MB)" in body


def test_a_file_in_quarantine_is_not_said_to_be_in_the_conversation(
    linked: Ticket, write: Write, intercom: Intercom, work: Work
) -> None:
    intercom.faults.add("quarantined", path="/i/o/", status=403)
    write(SMALL)
    work()
    (body,) = bodies(intercom)
    assert "It may be in quarantine because of a virus." in body
    assert "ask the customer to send it again" in body
    assert "still in this conversation" not in body and "Try again" not in body


def test_each_ticket_has_a_note_about_its_files(
    linked: Ticket, talking: Teammate, write: Write, intercom: Intercom, work: Work
) -> None:
    talking.link("R-000008")
    write(PROGRAM)
    work()
    assert sorted("R-000006" in body for body in bodies(intercom)) == [False, True]


def test_a_file_that_was_deleted_in_intercom_leaves_no_note(
    linked: Ticket, talking: Teammate, write: Write, intercom: Intercom, work: Work
) -> None:
    part = write(SMALL)
    intercom.store.redact(talking.conversation["id"], part["id"])
    work()
    assert FileToItop.objects.get().reason_code == "file_gone"
    assert not OutgoingMessage.objects.exists()


def test_what_is_retried_or_left_out_on_purpose_leaves_no_note_about_files(
    linked: Ticket, write: Write, intercom: Intercom, work: Work
) -> None:
    intercom.faults.add("error", path="/i/o/", status=503)
    write(SMALL)
    write(SMALL, author="admin", note=True)
    work()
    assert set(FileToItop.objects.values_list("state", flat=True)) == {"waiting", "skipped"}
    assert not OutgoingMessage.objects.exists()


def test_a_workspace_without_notes_about_failures_has_none_about_files(
    linked: Ticket, write: Write, work: Work
) -> None:
    Workspace.objects.update(announce_failures=False)
    write(PROGRAM)
    work()
    assert FileToItop.objects.get().state == "failed"
    assert not OutgoingMessage.objects.exists()


def test_a_long_list_of_failed_files_is_cut(
    linked: Ticket, write: Write, intercom: Intercom, work: Work
) -> None:
    write(*[File(f"setup{number}.exe", PROGRAM.content) for number in range(12)])
    work()
    later()
    work()
    (body,) = bodies(intercom)
    assert "12 files" in body and "setup9.exe" in body
    assert "setup10.exe" not in body and "…" in body
