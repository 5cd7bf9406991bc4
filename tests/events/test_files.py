"""Files that people add to a ticket, and pictures in entries, come to the conversation once, next to their text."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.events import added_files, message_files, poster
from intercom_bridge.events.files import attach_files, files_of_event
from intercom_bridge.events.message_files import MIN_FAILED_READS
from intercom_bridge.events.poll import poll_itop, poll_soon
from intercom_bridge.files.from_itop import pictures_of, write_embedded_picture
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import (
    EventRules,
    FileToIntercom,
    ItopPoll,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketSnapshot,
    Workspace,
)
from intercom_bridge.models.reason import ReasonCode
from itop_client import AttachmentFile, FileOwner, ItopUnreachableError, attach, list_attachments
from itop_client import Client as ItopClient
from sandbox.intercom import Intercom
from sandbox.intercom.files import png
from sandbox.itop import Itop
from sandbox.itop.files import File
from tests.teammate import Teammate

from . import fake_intercom
from .fake_intercom import once

Poll = Callable[[], None]
Work = Callable[[], None]

REPORT = File("report.txt", b"all of it", "text/plain")
SHOT = File("shot.png", png(60, 30), "image/png")


@pytest.fixture
def ticket(db: None, ticket: Ticket, poll: Poll) -> Ticket:
    """Return a linked ticket whose files are known."""
    poll()
    assert TicketSnapshot.objects.get().files is not None
    return ticket


@pytest.fixture
def look(poll: Poll) -> Callable[[], None]:
    """Return a function that asks iTop for changes and files, as a minute later."""

    def look() -> None:
        TicketSnapshot.objects.update(files_read_at=F("files_read_at") - dt.timedelta(minutes=2))
        poll()

    return look


def posted(intercom: Intercom) -> list[tuple[str, str, list[str]]]:
    """Return what the bridge posted: "note" or "comment", the text, and the names of the files."""
    parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)
    ours = set(OutgoingMessage.objects.exclude(part_id="").values_list("part_id", flat=True))
    return [
        (part.part_type, to_text(part.body or ""), [file.name for file in part.attachments])
        for part in parts
        if part.id in ours
    ]


def rules(**values: Any) -> None:
    EventRules.objects.update_or_create(workspace=Workspace.objects.get(), defaults=values)


def states() -> list[tuple[str, str]]:
    return list(FileToIntercom.objects.order_by("pk").values_list("state", "reason_code"))


def test_a_file_without_an_entry_is_a_note_once(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    look()
    look()
    ((kind, text, names),) = posted(intercom)
    assert (kind, names) == ("note", ["report.txt"])
    assert text.startswith("Jules Verne added a file to ticket R-000006") and "report.txt" in text
    event = TicketEvent.objects.get()
    assert (event.kind, event.author_email, event.is_by_agent) == ("file", "jules.verne@it.example", True)
    assert states() == [("posted", "")]


def test_several_files_are_one_sentence(ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll) -> None:
    itop.act(ticket.object_id, account="alice.martin", files=[REPORT, SHOT])
    look()
    ((_kind, text, names),) = posted(intercom)
    assert names == ["report.txt", "shot.png"]
    assert text.startswith("Alice Martin added 2 files to ticket R-000006")


def test_files_of_several_people_are_listed_by_person(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    itop.act(ticket.object_id, account="alice.martin", files=[SHOT])
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    look()
    ((_kind, text, names),) = posted(intercom)
    assert names == ["shot.png", "report.txt"]
    assert [line.split(" (")[0] for line in text.splitlines() if line][-4:] == [
        "Alice Martin",
        "shot.png",
        "Jules Verne",
        "report.txt",
    ]


def test_files_and_pictures_of_an_entry_are_posted_with_it(
    ticket: Ticket, itop: Itop, intercom: Intercom, poll: Poll
) -> None:
    itop.act(ticket.object_id, account="jverne", entry="<p>See this</p>", files=[REPORT], pictures=[SHOT])
    poll()
    ((kind, text, names),) = posted(intercom)
    assert (kind, sorted(names)) == ("note", ["picture-1.png", "report.txt"])
    assert "See this" in text and "added" not in text
    assert "download_inlineimage" not in OutgoingMessage.objects.get().body


def test_the_pictures_of_several_entries_have_different_names(
    ticket: Ticket, itop: Itop, intercom: Intercom, poll: Poll
) -> None:
    for text in ("First", "Second"):
        itop.act(ticket.object_id, account="jverne", entry=f"<p>{text}</p>", pictures=[SHOT, SHOT])
    poll()
    ((_kind, _text, names),) = posted(intercom)
    assert names == ["picture-1.png", "picture-2.png", "picture-3.png", "picture-4.png"]
    itop.act(ticket.object_id, account="jverne", entry="<p>Later</p>", pictures=[SHOT])
    poll()
    assert posted(intercom)[-1][2] == ["picture-1.png"]


def test_what_is_in_the_ticket_when_it_is_linked_and_what_clients_add_is_no_news(
    ticket: Ticket, itop: Itop, look: Poll, tmp_path: Any
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    attach(
        ItopClient(itop.url, token=itop.token),
        FileOwner("UserRequest", ticket.object_id, 4),
        AttachmentFile(path, "x.txt", "text/plain", 1),
        temp_id="Intercom file 1/0",
    )
    look()
    assert not TicketEvent.objects.exists()
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    TicketSnapshot.objects.update(files=None, files_read_at=None)
    look()
    assert not TicketEvent.objects.exists()


def test_files_go_to_the_customer_with_the_entry_only(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    rules(files="with_reply", public_entry="reply")
    itop.act(ticket.object_id, account="jverne", entry="<p>Read it</p>", files=[REPORT], pictures=[SHOT])
    look()
    ((kind, text, names),) = posted(intercom)
    assert (kind, sorted(names)) == ("comment", ["picture-1.png", "report.txt"])
    assert "UI.php" not in OutgoingMessage.objects.get().body
    assert "ajax" not in OutgoingMessage.objects.get().body
    itop.act(ticket.object_id, account="jverne", files=[SHOT])
    look()
    assert posted(intercom)[1][0] == "note"


def test_a_file_that_was_saved_with_a_private_entry_never_goes_to_the_customer(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    rules(files="with_reply", public_entry="reply")
    itop.act(ticket.object_id, account="jverne", entry="<p>Public</p>")
    itop.act(ticket.object_id, account="jverne", entry="<p>Secret</p>", log="private_log", files=[REPORT])
    look()
    assert [(kind, names) for kind, _text, names in posted(intercom)] == [
        ("note", ["report.txt"]),
        ("comment", []),
    ]
    assert TicketEvent.objects.get(kind="file").entry is None


def test_files_are_notes_although_their_entry_goes_to_the_customer(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    rules(files="note", public_entry="reply")
    itop.act(ticket.object_id, account="jverne", entry="<p>Read it</p>", pictures=[SHOT])
    look()
    (note, reply) = posted(intercom)
    assert (note[0], note[2]) == ("note", ["picture-1.png"])
    assert note[1].startswith("Pictures in the entry of Jules Verne in ticket R-000006")
    assert (reply[0], reply[2]) == ("comment", [])


def test_files_are_not_asked_for_if_nobody_wants_them(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    rules(files="nothing")
    itop.act(ticket.object_id, account="jverne", entry="<p>x</p>", files=[REPORT], pictures=[SHOT])
    itop.calls.clear()
    look()
    assert "Attachment" not in {name for _operation, name in itop.calls}
    assert [names for _kind, _text, names in posted(intercom)] == [[]]
    rules(files="note")
    look()
    assert len(posted(intercom)) == 1


def test_a_push_finds_a_file_at_once(ticket: Ticket, itop: Itop, intercom: Intercom, work: Work) -> None:
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    poll_soon(Ticket.objects.filter(pk=ticket.pk))
    work()
    assert len(posted(intercom)) == 1


def test_files_are_asked_for_once_a_minute(ticket: Ticket, itop: Itop, poll: Poll) -> None:
    asked = []
    for seconds in (0, 30, 31, 15, 15, 15):
        TicketSnapshot.objects.update(files_read_at=F("files_read_at") - dt.timedelta(seconds=seconds))
        itop.calls.clear()
        poll()
        asked.append(("core/get", "Attachment") in itop.calls)
    assert asked == [False, False, True, False, False, False]


def test_in_a_quiet_ticket_a_file_is_not_reported_before_its_entry(
    ticket: Ticket, talking: Teammate, itop: Itop, intercom: Intercom, poll: Poll, work: Work
) -> None:
    """iTop is asked for the files of all tickets together, also of those whose entries are not due to be read."""
    talking.link("R-000008")
    poll()
    OutgoingMessage.objects.all().delete()
    itop.act(ticket.object_id, account="jverne", entry="<p>See this</p>", files=[REPORT, SHOT])
    TicketSnapshot.objects.update(files_read_at=F("files_read_at") - dt.timedelta(minutes=6), poll_at=Now())
    later = Now() + dt.timedelta(minutes=4)
    TicketSnapshot.objects.filter(ticket=ticket).update(poll_at=later)
    ItopPoll.objects.update(due_at=Now())
    work()
    snapshot = TicketSnapshot.objects.get(ticket=ticket)
    assert snapshot.poll_at is not None
    assert snapshot.poll_at < timezone.now() + dt.timedelta(minutes=1), "it is no quiet ticket any more"
    poll()
    ((_kind, text, names),) = posted(intercom)
    assert text.startswith("Jules Verne wrote in ticket R-000006")
    assert names == ["report.txt", "shot.png"]


def test_an_entry_that_is_saved_while_itop_is_asked_is_reported_with_its_file(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules(files="with_reply", public_entry="reply")

    def save_and_ask(*args: Any, **options: Any) -> Any:
        if not itop.store.log(ticket.object_id):
            itop.act(ticket.object_id, account="jverne", entry="<p>See this</p>", files=[REPORT])
        return list_attachments(*args, **options)

    monkeypatch.setattr(f"{added_files.__name__}.list_attachments", save_and_ask)
    look()
    look()
    assert [(kind, names) for kind, _text, names in posted(intercom)] == [("comment", ["report.txt"])]


def test_files_that_are_being_saved_are_reported_together(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """iTop's console saves one file after the other."""
    steps = iter([REPORT, SHOT])

    def save_and_ask(*args: Any, **options: Any) -> Any:
        if "fields" not in options and (step := next(steps, None)):
            itop.act(ticket.object_id, account="jverne", files=[step])
        return list_attachments(*args, **options)

    monkeypatch.setattr(f"{added_files.__name__}.list_attachments", save_and_ask)
    look()
    assert not posted(intercom)
    look()
    look()
    assert [names for _kind, _text, names in posted(intercom)] == [["report.txt", "shot.png"]]


# Exactly once


def test_after_a_lost_answer_the_message_is_found_and_nothing_is_uploaded_twice(
    ticket: Ticket, itop: Itop, settings: Any
) -> None:
    settings.INTERCOM_API_URL = fake_intercom.URL
    # That of the stand-in, in which the ticket was linked.
    Workspace.objects.update(app_package_code="")
    with fake_intercom.running() as fake:
        fake.conversation(ticket.links.get().conversation.conversation_id)
        # Two saves with the same file: the same text.
        for _number in range(2):
            itop.act(ticket.object_id, account="jverne", files=[REPORT])
            TicketSnapshot.objects.update(poll_at=Now(), files_read_at=None)
            poll_itop(ItopPoll.objects.get())
        first, second = OutgoingMessage.objects.order_by("pk")
        for message in (first, second):
            # Executed, and the answer is lost.
            fake.after = once("note")
            _due(message)
            poster.post(message)
            message.refresh_from_db()
            assert (message.state, message.attempts) == ("waiting", 1)
            _due(message)
            poster.post(message)
            message.refresh_from_db()
            assert message.state == "posted"
        assert [call[0] for call in fake.calls] == ["note", "note"]
        assert [len(files) for files in fake.uploads] == [1, 1]
        assert first.part_id and first.part_id != second.part_id
    assert states() == [("posted", ""), ("posted", "")]


def test_what_was_not_executed_is_uploaded_again_with_the_same_text(
    ticket: Ticket, itop: Itop, settings: Any
) -> None:
    settings.INTERCOM_API_URL = fake_intercom.URL
    with fake_intercom.running() as fake:
        conversation_id = ticket.links.get().conversation.conversation_id
        fake.conversation(conversation_id)
        itop.act(ticket.object_id, account="jverne", files=[REPORT])
        TicketSnapshot.objects.update(poll_at=Now(), files_read_at=None)
        poll_itop(ItopPoll.objects.get())
        message = OutgoingMessage.objects.get()
        fake.before = once("note")
        poster.post(message)
        message.refresh_from_db()
        body = message.body
        _due(message)
        poster.post(message)
        message.refresh_from_db()
        assert (message.state, message.body) == ("posted", body)
        assert body.count("report.txt") == 1
        (files,) = fake.uploads
        assert base64.b64decode(files[0]["data"]) == REPORT.content


def test_files_that_intercom_rejects_are_named(ticket: Ticket, itop: Itop, settings: Any) -> None:
    settings.INTERCOM_API_URL = fake_intercom.URL
    with fake_intercom.running() as fake:
        fake.conversation(ticket.links.get().conversation.conversation_id)
        itop.act(ticket.object_id, account="jverne", files=[REPORT])
        TicketSnapshot.objects.update(poll_at=Now(), files_read_at=None)
        poll_itop(ItopPoll.objects.get())
        fake.before = once("note", (413, {}, "<html>too large</html>"))
        poster.post(OutgoingMessage.objects.get())
        assert OutgoingMessage.objects.get().state == "posted"
        assert fake.uploads == [[]]
    assert states() == [("linked", ReasonCode.INTERCOM_REJECTED)]


# Too many, too large, not readable


def test_more_than_ten_files_are_posted_in_further_messages(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll
) -> None:
    files = [File(f"{number}.txt", b"x", "text/plain") for number in range(23)]
    itop.act(ticket.object_id, account="jverne", files=files)
    look()
    messages = posted(intercom)
    assert [len(names) for _kind, _text, names in messages] == [10, 10, 3]
    assert [name for _kind, _text, names in messages for name in names] == [file.name for file in files]
    assert messages[1][1].startswith("More files of ticket R-000006")


def test_files_that_are_too_large_together_are_posted_in_further_messages(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_files, "MAX_POST_BYTES", 2_000)
    files = [File(f"{number}.txt", b"x" * 1_500, "text/plain") for number in range(3)]
    itop.act(ticket.object_id, account="jverne", files=files)
    look()
    assert [names for _kind, _text, names in posted(intercom)] == [["0.txt"], ["1.txt"], ["2.txt"]]


def test_a_file_that_is_too_large_is_named_and_linked(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, settings: Any
) -> None:
    settings.MAX_FILE_TO_INTERCOM_MB = 1
    itop.act(ticket.object_id, account="jverne", files=[File("a.bin", b"x" * 1_100_000), REPORT])
    look()
    ((_kind, text, names),) = posted(intercom)
    assert names == ["report.txt"]
    assert "a.bin: too large to be sent here" in text or "too large to be sent here" in text
    assert "class=Attachment&amp;field=contents&amp;id=" in OutgoingMessage.objects.get().body
    assert states() == [("linked", ReasonCode.FILE_TOO_LARGE_FOR_INTERCOM), ("posted", "")]


def test_a_file_that_is_read_and_not_sent_has_its_name_without_the_history(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """iTop's history is for Administrators."""
    monkeypatch.setattr(f"{message_files.__name__}.name_in_history", lambda *_args, **_options: "")
    Workspace.objects.update(forbidden_file_types="exe")
    files = [File("empty.txt", b"", "text/plain"), File("tool.exe", b"MZ\0\0", "application/octet-stream")]
    itop.act(ticket.object_id, account="jverne", files=files)
    look()
    ((_kind, text, names),) = posted(intercom)
    assert not names
    assert "empty.txt" in text and "tool.exe" in text
    assert states() == [("linked", "file_empty"), ("linked", "file_type_forbidden")]


def test_a_message_waits_five_minutes_for_an_itop_that_does_not_work(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    monkeypatch.setattr("intercom_bridge.files.from_itop.read_attachment", _unreachable)
    look()
    message = OutgoingMessage.objects.get()
    assert (message.state, message.attempts) == ("waiting", 0)
    assert message.reason_code == ReasonCode.ITOP_UNREACHABLE
    OutgoingMessage.objects.update(created_at=timezone.now() - dt.timedelta(minutes=6))
    for _ in range(MIN_FAILED_READS - 1):
        assert posted(intercom) == []
        _due(message)
        work()
    ((_kind, text, names),) = posted(intercom)
    assert names == [] and "could not be sent here" in text
    assert states() == [("linked", ReasonCode.FILE_NOT_READABLE)]


def test_an_old_message_waits_for_an_itop_that_was_not_asked_before(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    with monkeypatch.context() as unreachable:
        unreachable.setattr("intercom_bridge.files.from_itop.read_attachment", _unreachable)
        look()
        # As if a worker had taken it and was killed.
        OutgoingMessage.objects.update(created_at=timezone.now() - dt.timedelta(minutes=6), reason_code="")
        _due(OutgoingMessage.objects.get())
        work()
    assert posted(intercom) == []
    _due(OutgoingMessage.objects.get())
    work()
    ((_kind, _text, names),) = posted(intercom)
    assert names == [REPORT.name]


def _unreachable(*_args: Any, **_more: Any) -> Any:
    raise ItopUnreachableError("refused")


def _due(message: OutgoingMessage) -> None:
    OutgoingMessage.objects.filter(pk=message.pk).update(due_at=timezone.now() - dt.timedelta(seconds=1))


# A teammate sends an entry to the customer


def test_a_teammates_message_carries_the_files_of_the_entry(
    ticket: Ticket, itop: Itop, intercom: Intercom, look: Poll, work: Work
) -> None:
    rules(files="with_reply")
    itop.act(ticket.object_id, account="jverne", entry="<p>Read it</p>", files=[REPORT], pictures=[SHOT])
    look()
    entry = TicketEvent.objects.get(kind="public_entry")
    assert len(files_of_event(entry)) == 2
    message = OutgoingMessage.objects.create(
        conversation=entry.conversation, once_key="sent:1", body="<p>Read it</p>"
    )
    attach_files(message, entry)
    work()
    note, reply = posted(intercom)
    assert (note[0], reply[0]) == ("note", "comment")
    assert sorted(note[2]) == sorted(reply[2]) == ["picture-1.png", "report.txt"]
    assert len(files_of_event(entry)) == 2


# Pictures in a text


@pytest.mark.parametrize(
    "address",
    [
        "http://itop.example/pages/ajax.document.php?operation=download_inlineimage&amp;id=7&amp;s=abc123",
        "../pages/ajax.document.php?operation=download_inlineimage&amp;s=abc123&amp;id=7",
    ],
)
def test_a_picture_is_known_by_its_id_and_secret(address: str) -> None:
    (picture,) = pictures_of(f'<figure><img alt="a>b" src="{address}"></figure><p>x</p>')
    assert (picture.image_id, picture.secret) == (7, "abc123")


@pytest.mark.parametrize("parameters", ["", ";charset=utf-8", ";a=b;c=d"])
def test_the_content_of_an_embedded_picture_is_decoded(tmp_path: Path, parameters: str) -> None:
    path = tmp_path / "picture"
    data = f"data:image/png{parameters};base64,{base64.b64encode(png(2, 2)).decode()}"
    file = write_embedded_picture(data, path, 1000)
    assert (path.read_bytes(), file.size, file.content_type) == (png(2, 2), len(png(2, 2)), "image/png")
    write_embedded_picture(f"data:image/svg+xml{parameters},%3Csvg/%3E", path, 1000)
    assert path.read_bytes() == b"<svg/>"


def test_a_picture_in_the_text_itself_is_found_and_other_addresses_are_not() -> None:
    data = base64.b64encode(png(2, 2)).decode()
    markup = (
        f'<img src="https://elsewhere.example/a.png"><img src="data:image/png;base64,{data}">'
        '<img src="http://i/pages/ajax.document.php?operation=download_document&amp;id=7&amp;s=x">'
        '<img src="http://i/pages/ajax.document.php?operation=download_inlineimage&amp;id=7%20OR&amp;s=x">'
    )
    (picture,) = pictures_of(markup)
    assert picture.image_id == 0 and picture.data.endswith(data)
