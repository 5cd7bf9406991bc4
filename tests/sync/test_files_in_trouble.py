"""Nothing is copied twice, to a wrong ticket or never, if a worker dies, a disk is full or a link changes meanwhile."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from intercom_bridge.files import to_itop
from intercom_bridge.models import Conversation, Delivery, FileToItop, ItopInstance, TicketLink
from intercom_bridge.models.job import claim
from intercom_bridge.sync import files
from intercom_bridge.sync.intake import process_batch
from intercom_bridge.sync.writer import write_due
from itop_client import attach
from sandbox.intercom import Intercom
from sandbox.intercom.files import File
from sandbox.itop import Itop
from tests.sync.conftest import Write
from tests.sync.copies import SHOT, TEXT, attachments, entries, inline_images, kill, later, waiting_file
from tests.teammate import Teammate, notify

Work = Callable[[], None]


@pytest.fixture
def without_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave all files to the workers."""
    monkeypatch.setattr(files, "HEAD_START_SECONDS", 0.0)


# --- Workers that die, and several of them ---


@pytest.mark.usefixtures("without_head_start")
def test_a_copy_that_a_killed_worker_has_made_is_found(
    linked: TicketLink,
    write: Write,
    intercom: Intercom,
    itop: Itop,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(pictures=(SHOT,))
    process_batch()
    with monkeypatch.context() as killed:
        killed.setattr(files, "_save", kill)
        with pytest.raises(KeyboardInterrupt):
            files.copy_file(waiting_file())
    (attached,) = attachments(itop)
    row = FileToItop.objects.get()
    assert (row.state, row.attempts, row.attachment_id) == ("waiting", 1, None)
    # Another worker waits until the killed one cannot have a request running.
    ends = dt.timedelta(seconds=files.ATTEMPT_SECONDS + 10)
    assert row.due_at > timezone.now() + ends
    later()
    work()
    row.refresh_from_db()
    assert (row.state, row.attachment_id) == ("copied", int(attached["id"]))
    assert (row.name, row.size) == ("shot.png", len(SHOT.content))
    assert len(attachments(itop)) == 1
    assert len(intercom.downloads) == 1


def test_a_writer_that_is_killed_after_a_copy_writes_the_entry_and_copies_nothing_twice(
    linked: TicketLink, write: Write, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(entries(itop, linked))
    write(TEXT, pictures=(SHOT,))
    process_batch()
    with monkeypatch.context() as killed:
        killed.setattr(files, "_save", kill)
        with pytest.raises(KeyboardInterrupt):
            write_due(linked.ticket)
    assert len(attachments(itop)) == 1
    work()
    assert len(entries(itop, linked)) == before + 1
    later()
    work()
    assert sorted(row["name"] for row in attachments(itop)) == ["gateway.log", "shot.png"]
    assert len(entries(itop, linked)) == before + 1
    assert set(FileToItop.objects.values_list("state", flat=True)) == {"copied"}


@pytest.mark.usefixtures("without_head_start")
def test_of_two_workers_one_copies_the_file(
    linked: TicketLink, write: Write, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(TEXT)
    process_batch()
    first, second = waiting_file(), waiting_file()
    first.due_at = second.due_at
    copy = to_itop.copy

    def copy_while_another_worker_comes(row: FileToItop, seconds: float, **options: Any) -> None:
        files.copy_file(second)
        assert FileToItop.objects.to_copy().count() == 0
        copy(row, seconds, **options)

    monkeypatch.setattr(files, "copy", copy_while_another_worker_comes)
    files.copy_file(first)
    files.copy_file(second)
    assert len(attachments(itop)) == 1
    row = FileToItop.objects.get()
    assert (row.state, row.attempts) == ("copied", 1)


# --- Outcomes that are not known ---


@pytest.mark.usefixtures("without_head_start")
@pytest.mark.parametrize("author", ["contact", "admin"], ids=["known person", "nobody in iTop"])
def test_an_upload_that_itop_executes_late_is_not_repeated(
    author: str, linked: TicketLink, write: Write, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a person, nothing but waiting protects: the lookup before the creation would still find nothing."""
    monkeypatch.setattr(files, "ATTEMPT_SECONDS", 1.0)
    write(TEXT, author=author)
    process_batch()
    itop.faults.add("late", operation="core/create", class_name="Attachment", seconds=2.0, count=1)
    files.copy_file(waiting_file())
    row = FileToItop.objects.get()
    assert row.attempt_log[-1]["outcome"] == "unknown"
    assert row.due_at > timezone.now() + dt.timedelta(seconds=9)
    assert not attachments(itop)
    ItopInstance.objects.update(paused_until=None)
    work()
    assert itop.wait_idle()
    assert len(attachments(itop)) == 1
    with time_machine.travel(timezone.now() + dt.timedelta(minutes=1), tick=True):
        work()
    assert len(attachments(itop)) == 1
    assert FileToItop.objects.get().state == "copied"


@pytest.mark.usefixtures("without_head_start")
def test_try_again_waits_for_the_end_of_a_request_of_unknown_outcome(
    linked: TicketLink, write: Write, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ATTEMPT_SECONDS", 1.0)
    monkeypatch.setattr(files, "MAX_ATTEMPTS", 1)
    write(TEXT, author="admin")
    process_batch()
    itop.faults.add("late", operation="core/create", class_name="Attachment", seconds=2.0, count=1)
    files.copy_file(waiting_file())
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("failed", "too_many_attempts")
    assert FileToItop.objects.all().retry_now() == 1
    row.refresh_from_db()
    assert row.due_at > timezone.now() + dt.timedelta(seconds=8)
    ItopInstance.objects.update(paused_until=None)
    work()
    assert itop.wait_idle()
    with time_machine.travel(timezone.now() + dt.timedelta(minutes=1), tick=True):
        work()
    assert len(attachments(itop)) == 1


def test_try_again_waits_for_nothing_if_itop_has_answered(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    itop.faults.add("too_large", operation="core/create", class_name="Attachment", count=1)
    write(TEXT)
    work()
    assert FileToItop.objects.get().state == "failed"
    assert FileToItop.objects.all().retry_now() == 1
    work()
    assert len(attachments(itop)) == 1


# --- The end of all attempts ---


@pytest.mark.parametrize("what", ["message", "conversation"])
def test_a_file_that_was_deleted_in_intercom_fails_with_its_reason(
    what: str, linked: TicketLink, write: Write, intercom: Intercom, itop: Itop, work: Work
) -> None:
    part = write(TEXT)
    process_batch()
    conversation_id = linked.conversation.conversation_id
    if what == "message":
        intercom.store.redact(conversation_id, part["id"])
    else:
        intercom.store.delete_conversation(conversation_id)
        intercom.workspace.addresses.clock_offset += 3600
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("failed", "file_gone")
    assert not attachments(itop)
    assert "gateway.log" in entries(itop, linked)[-1]


@pytest.mark.parametrize(
    ("days", "state", "code"), [(6, "waiting", "file_not_downloaded"), (8, "failed", "gave_up")]
)
def test_a_file_is_given_up_after_a_week(
    days: int,
    state: str,
    code: str,
    linked: TicketLink,
    write: Write,
    intercom: Intercom,
    itop: Itop,
    work: Work,
) -> None:
    intercom.faults.add("error", path="/i/o/", status=503)
    write(TEXT)
    work()
    FileToItop.objects.update(created_at=timezone.now() - dt.timedelta(days=days))
    later()
    work()
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == (state, code)
    assert "503" in row.reason_detail
    intercom.faults.clear()
    if state == "failed":
        assert FileToItop.objects.all().retry_now() == 1
    later()
    work()
    assert len(attachments(itop)) == 1


# --- The bridge's own disk ---


def as_a_file(path: Path) -> Path:
    (path / "file").touch()
    return path / "file" / "below"


def as_read_only(path: Path) -> Path:
    path.chmod(0o500)
    return path


@pytest.mark.parametrize(
    "unusable",
    [
        as_a_file,
        pytest.param(
            as_read_only, marks=pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
        ),
    ],
)
def test_a_directory_that_cannot_be_used_delays_the_file_and_not_the_message(
    unusable: Callable[[Path], Path],
    linked: TicketLink,
    write: Write,
    itop: Itop,
    work: Work,
    settings: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    usable, settings.FILES_DIR = settings.FILES_DIR, unusable(tmp_path)
    write(TEXT, body="It does not start")
    work()
    assert "It does not start" in entries(itop, linked)[-1]
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("waiting", "file_not_stored")
    assert "a temporary file could not be created" in row.reason_detail
    # However often it fails: an operator may need a night to notice.
    FileToItop.objects.update(attempts=files.MAX_ATTEMPTS + 5)
    later()
    work()
    assert FileToItop.objects.get().state == "waiting"
    settings.FILES_DIR = usable
    later()
    work()
    assert [attached["data"] for attached in attachments(itop)] == [TEXT.content]


def test_a_downloaded_file_that_cannot_be_read_delays_the_file_and_not_the_message(
    linked: TicketLink, write: Write, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:

    def attach_what_is_gone(client: Any, owner: Any, file: Any, **options: Any) -> Any:
        file.path.unlink()
        return attach(client, owner, file, **options)

    with monkeypatch.context() as broken:
        broken.setattr(to_itop, "attach", attach_what_is_gone)
        write(TEXT, body="It does not start")
        work()
    assert "It does not start" in entries(itop, linked)[-1]
    row = FileToItop.objects.get()
    assert (row.state, row.reason_code) == ("waiting", "file_not_stored")
    assert row.reason_detail == "No such file or directory"
    later()
    work()
    assert len(attachments(itop)) == 1


# --- Messages of others, and messages whose notification was lost ---


def test_files_of_a_message_whose_notification_was_lost_are_copied_once(
    linked: TicketLink, intercom: Intercom, itop: Itop, work: Work, client: Client
) -> None:
    conversation = linked.conversation
    written = intercom.write(
        conversation.conversation_id,
        body="Please look",
        attachments=(TEXT,),
        pictures=(SHOT,),
        created_at=int(time.time()) + 60,
    )
    work()
    assert not attachments(itop)
    Conversation.objects.filter(pk=conversation.pk).compare_within(0)
    work()
    later()
    work()
    assert sorted(row["name"] for row in attachments(itop)) == ["gateway.log", "shot.png"]
    assert "class=Attachment" in entries(itop, linked)[-1]
    # It was only late.
    shown = intercom.workspace.conversation_json(intercom.store.conversation(conversation.conversation_id))
    (part,) = (row for row in shown["conversation_parts"]["conversation_parts"] if row["id"] == written.id)
    notify(client, part, id=conversation.conversation_id)
    Conversation.objects.filter(pk=conversation.pk).compare_within(0)
    work()
    later()
    work()
    assert len(attachments(itop)) == 2
    assert len(inline_images(itop)) == 1


def test_files_of_a_bot_are_not_copied(linked: TicketLink, write: Write, itop: Itop, work: Work) -> None:
    write(TEXT, author="bot")
    work()
    assert Delivery.objects.latest("pk").reason_code == "bot_message"
    assert not FileToItop.objects.exists()
    assert not attachments(itop)


# --- Tickets that are unlinked ---


def unlink(teammate: Teammate) -> Teammate:
    return teammate.open().click("R-000006").click("Unlink").click("Unlink")


def work_later(work: Work) -> None:
    later()
    work()
    later()
    work()


def test_files_of_a_waiting_message_are_not_copied_to_an_unlinked_ticket(
    linked: TicketLink, talking: Teammate, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT, pictures=(SHOT,))
    process_batch()
    unlink(talking)
    work_later(work)
    assert not attachments(itop)
    talking.click("Undo")
    work_later(work)
    assert sorted(row["name"] for row in attachments(itop)) == ["gateway.log", "shot.png"]
    assert len(inline_images(itop)) == 1


@pytest.fixture
def waiting(linked: TicketLink, write: Write, intercom: Intercom, work: Work) -> FileToItop:
    """Return the file of a message that is in the ticket already."""
    intercom.faults.add("error", path="/i/o/", status=503)
    write(TEXT)
    work()
    intercom.faults.clear()
    row = FileToItop.objects.get()
    assert (Delivery.objects.latest("pk").state, row.state) == ("written", "waiting")
    return row


def test_a_waiting_file_of_a_written_message_is_not_copied_to_an_unlinked_ticket(
    waiting: FileToItop, talking: Teammate, itop: Itop, work: Work
) -> None:
    unlink(talking)
    work_later(work)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.reason_code) == ("skipped", "unlinked")
    assert not attachments(itop)
    talking.click("Undo")
    work_later(work)
    assert [row["data"] for row in attachments(itop)] == [TEXT.content]


def test_a_failed_file_cannot_be_retried_for_an_unlinked_ticket(
    waiting: FileToItop, talking: Teammate, itop: Itop, work: Work
) -> None:
    FileToItop.objects.update(state="failed", reason_code="too_many_attempts", attempts=files.MAX_ATTEMPTS)
    unlink(talking)
    assert FileToItop.objects.all().retry_now() == 0
    talking.click("Undo")
    work_later(work)
    assert len(attachments(itop)) == 1


def test_a_waiting_file_is_copied_if_the_ticket_is_linked_again_with_a_copy(
    waiting: FileToItop, talking: Teammate, itop: Itop, work: Work
) -> None:
    unlink(talking)
    work_later(work)
    talking.link("R-000006", copy=True)
    work_later(work)
    assert len([row for row in attachments(itop) if row["name"] == "gateway.log"]) == 1


@pytest.mark.parametrize("reason", ["unlinked", "sync_paused"])
def test_files_whose_content_was_erased_are_copied_with_their_message(
    reason: str,
    linked: TicketLink,
    talking: Teammate,
    write: Write,
    intercom: Intercom,
    itop: Itop,
    work: Work,
) -> None:
    """After a month, nothing is stored any more of what was skipped. Intercom has it."""
    write(TEXT, pictures=(SHOT,))
    process_batch()
    unlink(talking)
    Delivery.objects.all().erase_content()
    FileToItop.objects.all().erase_content(reason_code=reason)
    talking.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    talking.link("R-000006", copy=True)
    work_later(work)
    assert sorted(row["name"] for row in attachments(itop)) == ["gateway.log", "shot.png"]
    assert {row["author"]["name"] for row in FileToItop.objects.values("author")} == {"Alice Martin"}


@pytest.mark.parametrize("fails", [False, True])
def test_a_ticket_that_is_unlinked_during_an_attempt_gets_no_further_one(
    fails: bool,
    waiting: FileToItop,
    talking: Teammate,
    intercom: Intercom,
    itop: Itop,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = to_itop.copy
    if fails:
        intercom.faults.add("error", path="/i/o/", status=503)

    def copy_and_unlink(row: FileToItop, seconds: float, **options: Any) -> None:
        try:
            copy(row, seconds, **options)
        finally:
            unlink(talking)

    with monkeypatch.context() as unlinking:
        unlinking.setattr(files, "copy", copy_and_unlink)
        files.copy_file(waiting_file())
    intercom.faults.clear()
    work_later(work)
    waiting.refresh_from_db()
    assert waiting.state == ("skipped" if fails else "copied")
    assert waiting.attempts == 2
    assert len(attachments(itop)) == (0 if fails else 1)
    talking.click("Undo")
    work_later(work)
    assert len(attachments(itop)) == 1


@pytest.mark.usefixtures("without_head_start")
def test_a_file_that_is_skipped_when_it_is_claimed_is_not_copied(
    linked: TicketLink, write: Write, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(TEXT)
    process_batch()

    def claim_and_skip(row: FileToItop, seconds: float) -> bool:
        is_mine = claim(row, seconds)
        FileToItop.objects.all().skip("skipped_by_admin")
        return is_mine

    monkeypatch.setattr(files, "claim", claim_and_skip)
    files.copy_file(waiting_file())
    assert not attachments(itop)
    assert FileToItop.objects.get().reason_code == "skipped_by_admin"


def test_the_files_of_a_merged_conversation_are_still_copied_when_its_link_moves(
    waiting: FileToItop, talking: Teammate, itop: Itop, work: Work
) -> None:
    from intercom_bridge.tickets.links.unlink import remove_link

    assert remove_link(TicketLink.objects.get(), removed_by="Ada", is_moved=True) is not None
    work_later(work)
    assert len(attachments(itop)) == 1


def test_two_files_with_the_same_name_are_both_copied(
    linked: TicketLink, write: Write, itop: Itop, work: Work
) -> None:
    write(TEXT, File(TEXT.name, b"another"))
    work()
    assert [row["data"] for row in attachments(itop)] == [TEXT.content, b"another"]
