"""The files of a redacted message are deleted in iTop, whatever was happening to them, and the private log says so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from intercom_bridge.files import to_itop
from intercom_bridge.models import FileToItop, ItopInstance, TicketLink, Workspace, job
from intercom_bridge.sync import files
from intercom_bridge.sync.intake import process_batch
from itop_client import ItopNoResponseError, attachments
from sandbox.intercom import Intercom
from sandbox.intercom.files import File, png
from sandbox.itop import Itop
from tests.sync.conftest import Write
from tests.teammate import notify

SHOT = File("shot.png", png(40, 20))
TEXT = File("gateway.log", b"line 1\nline 2\n")
Work = Callable[[], None]
Redact = Callable[[dict[str, Any]], None]


@pytest.fixture
def redact(client: Client, linked: TicketLink) -> Redact:
    """Return a function with which a teammate redacts a message, and Intercom notifies the bridge."""

    def send(part: dict[str, Any]) -> None:
        notify(
            client,
            {**part, "body": "", "attachments": [], "redacted": True},
            topic="conversation_part.redacted",
            notification_id=f"redaction of {part['id']}",
            id=linked.conversation.conversation_id,
        )
        process_batch()

    return send


def copies(itop: Itop) -> list[dict[str, Any]]:
    found = []
    for class_name in ("Attachment", "InlineImage"):
        found += itop.store.find(f"SELECT {class_name} WHERE temp_id LIKE 'Intercom file%'")[1]
    return found


def notice(itop: Itop, link: TicketLink) -> str:
    return str(itop.store.log(link.ticket.object_id, "private_log")[-1]["message"])


def later(seconds: float = 600) -> time_machine.travel:
    return time_machine.travel(timezone.now() + dt.timedelta(seconds=seconds), tick=True)


def test_the_notice_says_what_is_deleted_and_what_stays(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work
) -> None:
    part = write(TEXT, pictures=(SHOT,))
    work()
    redact(part)
    work()
    assert not copies(itop)
    assert notice(itop, linked) == (
        f"<p>A message from {part['author']['name']} was redacted in Intercom. Its 2 files are being deleted from "
        "this ticket. The bridge cannot remove the text from this ticket's log, and cannot recall e-mails that iTop "
        "has sent with it.</p>"
    )


def test_the_notice_says_that_files_are_kept(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work
) -> None:
    Workspace.objects.update(deletes_redacted_files=False)
    part = write(TEXT)
    work()
    redact(part)
    work()
    assert len(copies(itop)) == 1
    assert "Its file stays in this ticket: the workspace keeps the files" in notice(itop, linked)
    assert "deleted" not in notice(itop, linked)


def test_a_file_that_was_never_copied_is_not_mentioned(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)
    part = write(TEXT)
    process_batch()
    FileToItop.objects.update(due_at=timezone.now() + dt.timedelta(hours=1))
    work()
    redact(part)
    with later():
        work()
    assert not copies(itop)
    assert "file" not in notice(itop, linked)
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code, row.name, row.url) == ("skipped", "redacted", "", "")


def test_a_copy_that_is_being_made_is_deleted_afterwards(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write(TEXT)
    copy = to_itop.copy

    def copy_and_redact(row: FileToItop, seconds: float, **options: Any) -> None:
        copy(row, seconds, **options)
        redact(part)

    monkeypatch.setattr("intercom_bridge.sync.files.copy", copy_and_redact)
    work()
    assert not copies(itop)
    row = FileToItop.objects.get()
    assert (row.state, row.name, row.attempt_log[-1]["outcome"]) == ("removed", "", "written")


def test_a_copy_that_is_being_made_can_be_kept(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.objects.update(deletes_redacted_files=False)
    part = write(TEXT)
    copy = to_itop.copy

    def copy_and_redact(row: FileToItop, seconds: float, **options: Any) -> None:
        copy(row, seconds, **options)
        redact(part)

    monkeypatch.setattr("intercom_bridge.sync.files.copy", copy_and_redact)
    work()
    (kept,) = copies(itop)
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code, row.name) == ("skipped", "file_kept", "")
    assert row.attachment_id == int(kept["id"])


def test_a_file_that_is_claimed_when_its_message_is_redacted_is_not_copied(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write(TEXT)
    claim = job.claim

    def claim_and_redact(row: FileToItop, seconds: float) -> bool:
        is_mine = claim(row, seconds)
        redact(part)
        return is_mine

    monkeypatch.setattr("intercom_bridge.sync.files.claim", claim_and_redact)
    work()
    assert not copies(itop)
    assert FileToItop.objects.get().reason_code == "redacted"


@pytest.mark.parametrize("when", ["during the attempt", "after it"])
def test_an_upload_that_lands_late_is_deleted(
    when: str,
    linked: TicketLink,
    write: Write,
    redact: Redact,
    itop: Itop,
    work: Work,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """iTop executes the upload after the bridge has given up on it, and after the redaction."""
    part = write(TEXT)
    attach = attachments.attach
    landing: list[Callable[[], object]] = []

    def send_and_lose(client: Any, owner: Any, file: Any, **options: Any) -> Any:
        kept = tmp_path / "upload"
        kept.write_bytes(file.path.read_bytes())
        landing.append(
            lambda: attach(client, owner, replace(file, path=kept), **options | {"deadline": 10.0})
        )
        if when == "during the attempt":
            redact(part)
        raise ItopNoResponseError("lost")

    monkeypatch.setattr(to_itop, "attach", send_and_lose)
    work()
    if when == "after it":
        redact(part)
    ItopInstance.objects.update(paused_until=None)
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.is_redacted) == ("waiting", True)
    assert row.due_at > timezone.now() + dt.timedelta(seconds=5)
    (land,) = landing
    land()
    assert len(copies(itop)) == 1
    with later():
        work()
    assert not copies(itop)
    assert FileToItop.objects.get().state == "removed"


def test_files_found_in_the_conversation_after_the_redaction_are_not_copied(
    linked: TicketLink,
    write: Write,
    redact: Redact,
    intercom: Intercom,
    itop: Itop,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = write(pictures=(SHOT,), plain=True)
    read = to_itop._read_parts

    def read_and_redact(row: FileToItop, seconds: float) -> Any:
        found = list(read(row, seconds))
        redact(part)
        return found

    monkeypatch.setattr(to_itop, "_read_parts", read_and_redact)
    work()
    with later():
        work()
    assert not copies(itop)
    assert not FileToItop.objects.exclude(state="skipped").exists()


def test_a_deletion_that_itop_does_not_allow_can_be_retried(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work
) -> None:
    part = write(TEXT)
    work()
    FileToItop.objects.update(created_at=timezone.now() - dt.timedelta(days=90))
    itop.faults.add("read_only", operation="core/delete", class_name="Attachment")
    redact(part)
    work()
    row = FileToItop.objects.get()
    # The retry time begins with the redaction, not with the message.
    assert (row.state, row.reason_code) == ("waiting", "itop_not_allowed")
    with later(8 * 86_400):
        work()
        assert FileToItop.objects.get().state == "failed"
        itop.faults.clear()
        assert FileToItop.objects.all().retry_now() == 1
        work()
    assert not copies(itop)
    assert FileToItop.objects.get().state == "removed"


def test_each_of_several_copies_is_deleted(
    linked: TicketLink, write: Write, redact: Redact, itop: Itop, work: Work
) -> None:
    """Two creations at exactly the same time both succeed."""
    part = write(TEXT)
    work()
    (copy,) = itop.store.find("SELECT Attachment WHERE temp_id LIKE 'Intercom file%'")[1]
    same = {name: copy[name] for name in ("item_class", "item_id", "item_org_id", "temp_id")}
    itop.store.insert("Attachment", **same)
    assert len(copies(itop)) == 2
    redact(part)
    work()
    assert not copies(itop)
