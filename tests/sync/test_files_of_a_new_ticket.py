"""The files of a conversation are attached to the ticket that is created from it, each once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import FileToItop, TicketCreation, TicketLink, Workspace
from sandbox.intercom import Intercom
from sandbox.intercom.files import File, png
from sandbox.itop import Itop
from tests.sync.copies import SHOT, TEXT, attachments, entries, later
from tests.teammate import Teammate, notify

Work = Callable[[], None]
Begin = Callable[..., str]
FIRST = File("first.log", b"the first message's file")
SENTENCE = "[The file is among this ticket's attachments.]"
SENTENCE_FOR_SEVERAL = "[The files are among this ticket's attachments.]"


@pytest.fixture
def begin(intercom: Intercom, talking: Teammate) -> Begin:
    """Return a function with which Alice begins a conversation, the teammate's. It returns the id."""
    (alice,) = (contact for contact in intercom.store.contacts() if contact.name == "Alice Martin")

    def start(*attachments: File, pictures: tuple[File, ...] = ()) -> str:
        begun = intercom.workspace.begin(
            alice, body="It does not start", attachments=attachments, pictures=pictures
        )
        talking.conversation = {"id": begun.id}
        return begun.id

    return start


def create(teammate: Teammate, intercom: Intercom) -> None:
    """Create a ticket from the conversation as it is now."""
    conversation = intercom.store.conversation(teammate.conversation["id"])
    teammate.conversation = intercom.workspace.conversation_json(conversation)
    teammate.open().click("Create a ticket").click("Create ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")


def names(itop: Itop) -> list[str]:
    return sorted(row["name"] for row in attachments(itop))


def finish(work: Work) -> None:
    TicketCreation.objects.waiting().update(due_at=timezone.now())
    for _ in range(2):
        work()
        later()
    work()


def test_the_files_of_the_first_and_of_the_copied_messages_are_attached_once(
    talking: Teammate, begin: Begin, intercom: Intercom, itop: Itop, work: Work, client: Client
) -> None:
    conversation_id = begin(FIRST, pictures=(SHOT,))
    intercom.write(conversation_id, body="Here is the log", attachments=(TEXT,))
    intercom.write(
        conversation_id, author="admin", body="Thank you", attachments=(File("guide.pdf", b"%PDF-1"),)
    )
    create(talking, intercom)
    finish(work)
    assert names(itop) == ["first.log", "gateway.log", "guide.pdf", "shot.png"]
    link = TicketLink.objects.get()
    assert {int(row["item_id"]) for row in attachments(itop)} == {link.ticket.object_id}
    assert [row["data"] for row in attachments(itop) if row["name"] == "first.log"] == [FIRST.content]
    # A notification about a copied message comes late.
    shown = intercom.workspace.conversation_json(intercom.store.conversation(conversation_id))
    for part in shown["conversation_parts"]["conversation_parts"]:
        notify(client, part, id=conversation_id)
    finish(work)
    assert len(attachments(itop)) == 4
    assert set(FileToItop.objects.values_list("state", flat=True)) == {"copied"}


@pytest.mark.parametrize("kind", ["drop_after", "drop_before", "error500"])
def test_files_are_attached_once_if_the_outcome_of_the_creation_was_unknown(
    kind: str, talking: Teammate, begin: Begin, intercom: Intercom, itop: Itop, work: Work
) -> None:
    begin(FIRST, pictures=(SHOT,))
    before = len(itop.store.all("UserRequest"))
    itop.faults.add(kind, operation="core/create", class_name="UserRequest", count=1)
    create(talking, intercom)
    assert TicketCreation.objects.get().state == "creating"
    work()
    assert not FileToItop.objects.exists()
    finish(work)
    assert len(itop.store.all("UserRequest")) == before + 1
    assert names(itop) == ["first.log", "shot.png"]
    assert {int(row["item_id"]) for row in attachments(itop)} == {TicketLink.objects.get().ticket.object_id}


def test_an_entry_says_that_its_files_are_among_the_attachments(
    talking: Teammate, begin: Begin, intercom: Intercom, itop: Itop, work: Work
) -> None:
    """The entries are written with the ticket, and the files later, so they cannot be linked."""
    conversation_id = begin(FIRST)
    intercom.write(conversation_id, body="No file")
    intercom.write(conversation_id, body="Two", attachments=(TEXT,), pictures=(SHOT,))
    create(talking, intercom)
    finish(work)
    first, without, both = entries(itop, TicketLink.objects.get())
    assert first == f"<p>It does not start</p><p>[File: first.log]</p><p>{SENTENCE}</p>"
    assert without == "<p>No file</p>"
    assert both.endswith(f"<p>[File: gateway.log]</p><p>{SENTENCE_FOR_SEVERAL}</p>")
    assert "[Picture: shot.png]" in both


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (FIRST, {"copies_files": False}),
        (File("big.bin", b"x" * 1_000_001), {"max_file_mb": 1}),
        (File("setup.exe", b"MZ\x90\x00" + b"\0" * 200), {}),
    ],
)
def test_an_entry_does_not_promise_what_is_known_to_be_left_out(
    file: File,
    change: dict[str, Any],
    talking: Teammate,
    begin: Begin,
    intercom: Intercom,
    itop: Itop,
    work: Work,
) -> None:
    Workspace.objects.update(**change)
    begin(file)
    create(talking, intercom)
    finish(work)
    (entry,) = entries(itop, TicketLink.objects.get())
    assert entry == f"<p>It does not start</p><p>[File: {file.name}]</p>"
    assert not attachments(itop)


def test_the_entry_of_a_note_does_not_promise_its_files(
    talking: Teammate, begin: Begin, intercom: Intercom, itop: Itop, work: Work
) -> None:
    conversation_id = begin()
    intercom.write(conversation_id, author="admin", body="Look", note=True, attachments=(TEXT,))
    create(talking, intercom)
    finish(work)
    assert entries(itop, TicketLink.objects.get(), "private_log") == ["<p>Look</p><p>[File: gateway.log]</p>"]
    assert not attachments(itop)


def test_files_whose_addresses_expired_before_the_ticket_existed_are_attached(
    talking: Teammate, begin: Begin, intercom: Intercom, itop: Itop, work: Work
) -> None:
    begin(FIRST, pictures=(File("wide.png", png(80, 10)),))
    itop.faults.add("error500", operation="core/create", class_name="UserRequest", count=1)
    create(talking, intercom)
    intercom.workspace.addresses.clock_offset += 3600
    TicketCreation.objects.update(created_at=timezone.now() - dt.timedelta(hours=1))
    finish(work)
    assert names(itop) == ["first.log", "wide.png"]
