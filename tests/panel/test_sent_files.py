"""Which files of an agent's entry go to the customer when a teammate sends it: announced before, and sent once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from intercom_bridge.models import (
    Conversation,
    EventRules,
    FileToIntercom,
    ItopPoll,
    OutgoingMessage,
    Participant,
    Ticket,
    TicketLink,
    TicketSnapshot,
    Workspace,
)
from sandbox.intercom import Intercom
from sandbox.intercom.files import png
from sandbox.itop import Itop
from sandbox.itop.files import File
from tests.linked import store_link
from tests.teammate import Teammate

Work = Callable[[], None]

REPORT = File("report.txt", b"all of it", "text/plain")
SHOT = File("shot.png", png(60, 30), "image/png")


@pytest.fixture
def look(work: Work) -> Work:
    """Return a function that asks iTop for changes and files, and does what follows."""

    def look() -> None:
        TicketSnapshot.objects.update(
            poll_at=Now(), files_read_at=F("files_read_at") - dt.timedelta(minutes=2)
        )
        ItopPoll.objects.update(due_at=Now())
        work()

    return look


@pytest.fixture
def ticket(talking: Teammate, itop: Itop) -> Ticket:
    """Return a linked ticket whose files are known. The workspace sends files with what goes to the customer."""
    rules(files="with_reply")
    return store_link(talking, itop, "R-000008").ticket


def rules(**values: Any) -> None:
    EventRules.objects.update_or_create(workspace=Workspace.objects.get(), defaults=values)


def write(itop: Itop, ticket: Ticket, *files: File, pictures: tuple[File, ...] = ()) -> None:
    itop.act(
        ticket.object_id, account="jverne", entry="<p>Read it</p>", files=list(files), pictures=list(pictures)
    )


def open_form(teammate: Teammate) -> Teammate:
    return teammate.open().send_click("news").click("Send to the customer")


def announced(teammate: Teammate) -> str:
    """Return what the screen says about files."""
    words = ("with the message", "so the message only", "not sent:")
    return " ".join(line for line in teammate.text.splitlines() if any(word in line for word in words))


def to_customer(intercom: Intercom) -> list[list[str]]:
    """Return the names of the files of each message to the customer that the bridge posted."""
    ours = set(OutgoingMessage.objects.filter(is_note=False).values_list("part_id", flat=True))
    parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)
    return [sorted(file.name for file in part.attachments) for part in parts if part.id in ours]


def test_the_files_of_an_entry_are_announced_and_go_along_once(
    talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, look: Work, work: Work
) -> None:
    write(itop, ticket, REPORT, pictures=(SHOT,))
    look()
    open_form(talking)
    text = announced(talking)
    assert text.startswith("2 files go with the message: ")
    assert "report.txt" in text and "picture-1.png" in text
    lines = talking.text.splitlines()
    assert lines.index("Read it") < lines.index(text) < lines.index("Send")
    form = talking.canvas
    talking.click("Send")
    assert "Sent to the customer" in talking.text and announced(talking) == text
    # The answer was lost, or the teammate has clicked twice.
    talking.again()
    talking.canvas = form
    talking.click("Send")
    assert "Already sent" in talking.text
    work()
    talking.again()
    work()
    assert to_customer(intercom) == [["picture-1.png", "report.txt"]]
    assert FileToIntercom.objects.filter(message__is_note=False).count() == 2
    sent = OutgoingMessage.objects.get(is_note=False)
    assert sent.body.count("report.txt") == 1
    # What was posted names the file, so that it is not announced any more.
    talking.open().click("answered")
    assert "You sent it to the customer" in talking.text and announced(talking) == ""


@pytest.mark.parametrize(
    ("files", "expected"),
    [("note", "1 file is not sent: this workspace sends no files to customers."), ("nothing", "")],
)
def test_other_rules_keep_the_files_from_the_customer_and_the_form_says_so(
    talking: Teammate,
    ticket: Ticket,
    itop: Itop,
    intercom: Intercom,
    look: Work,
    work: Work,
    files: str,
    expected: str,
) -> None:
    rules(files=files)
    write(itop, ticket, REPORT)
    look()
    assert announced(open_form(talking)) == expected
    talking.click("Send")
    assert announced(talking) == expected
    work()
    assert to_customer(intercom) == [[]]
    assert "report.txt" not in OutgoingMessage.objects.get(is_note=False).body


def test_an_entry_without_files_announces_none(
    talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, look: Work, work: Work
) -> None:
    write(itop, ticket)
    # Added on its own: it belongs to no entry.
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    look()
    assert announced(open_form(talking)) == ""
    talking.click("Send")
    work()
    assert to_customer(intercom) == [[]]


def test_of_many_files_the_form_names_three(
    talking: Teammate, ticket: Ticket, itop: Itop, look: Work
) -> None:
    write(itop, ticket, *[File(f"{number}.txt", b"x", "text/plain") for number in range(5)])
    look()
    assert announced(open_form(talking)) == "5 files go with the message: 0.txt, 1.txt, 2.txt and 2 more"


def test_names_that_are_not_known_yet_are_a_number(
    talking: Teammate, ticket: Ticket, itop: Itop, look: Work, work: Work, intercom: Intercom
) -> None:
    write(itop, ticket, REPORT, pictures=(SHOT,))
    look()
    FileToIntercom.objects.filter(source="picture").update(name="")
    assert announced(open_form(talking)) == "2 files go with the message: report.txt and 1 more"
    FileToIntercom.objects.update(name="")
    assert announced(open_form(talking)) == "2 files go with the message."
    talking.click("Send")
    work()
    assert to_customer(intercom) == [["picture-1.png", "report.txt"]]


def test_a_file_that_intercom_did_not_get_is_announced_as_named_only(
    talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, look: Work, work: Work, settings: Any
) -> None:
    settings.MAX_FILE_TO_INTERCOM_MB = 1
    write(itop, ticket, File("a.bin", b"x" * 1_100_000), REPORT)
    look()
    assert announced(open_form(talking)) == (
        "1 file goes with the message: report.txt "
        "1 file could not be posted before, so the message only names it."
    )
    talking.click("Send")
    work()
    assert to_customer(intercom) == [["report.txt"]]
    assert "a.bin: too large to be sent here" in OutgoingMessage.objects.get(is_note=False).body


def test_a_rule_that_changes_while_the_form_is_open_counts_when_it_is_sent(
    talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, look: Work, work: Work
) -> None:
    write(itop, ticket, REPORT)
    look()
    open_form(talking)
    rules(files="note")
    talking.click("Send")
    assert "not sent: this workspace sends no files" in announced(talking)
    work()
    assert to_customer(intercom) == [[]]


def test_a_message_to_all_conversations_has_no_files(
    talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, look: Work, work: Work
) -> None:
    """It is a text of the teammate's, and not an entry of the ticket."""
    write(itop, ticket, REPORT)
    look()
    other = intercom.store.start_conversation([intercom.contact("Rosa Delgado").id], "<p>Me too</p>")
    conversation = Conversation.objects.find_or_create(Workspace.objects.get(), other.id)
    Participant.objects.record(conversation, [intercom.contact("Rosa Delgado").id])
    TicketLink.objects.create(conversation=conversation, ticket=ticket)
    talking.open().click("R-000008").click("Write to all 2 conversations")
    target = talking.find("Next")["id"]
    talking.submit(target, {"broadcast:text": "It is solved", "broadcast:kind": "reply"})
    talking.click("Send to 2 customers")
    work()
    assert OutgoingMessage.objects.filter(broadcast__isnull=False, state="posted").count() == 2
    assert not FileToIntercom.objects.filter(message__broadcast__isnull=False).exists()
    assert to_customer(intercom) == [[]]


def test_the_news_name_the_files_of_an_answer_and_those_added_alone(
    talking: Teammate, ticket: Ticket, itop: Itop, look: Work
) -> None:
    """An answer with many files stays the newest change, and the only one of its save."""
    write(itop, ticket, *[File(f"{number}.txt", b"x", "text/plain") for number in range(12)])
    look()
    assert talking.open().offers("Jules Verne answered")
    talking.click("answered")
    assert "Files: 0.txt, 1.txt, 2.txt and 9 more" in talking.text
    assert "added a file" not in talking.text
    itop.act(ticket.object_id, account="jverne", files=[REPORT])
    look()
    talking.open().send_click("news")
    (line,) = [text["text"] for text in talking.components if "added a file" in text.get("text", "")]
    assert line.endswith("Files: report.txt")
    assert talking.offers("Send to the customer")
    FileToIntercom.objects.erase_content()
    assert "Files:" not in talking.open().send_click("news").text
