"""Before a ticket is created or linked, the panel says which files are copied, and those are copied."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.models import FileToItop, OutgoingMessage, Workspace
from sandbox.intercom import Intercom
from sandbox.intercom.files import File, png
from sandbox.itop import Itop
from tests.teammate import Teammate

Work = Callable[[], None]
Say = Callable[..., None]

SHOT = File("shot.png", png(40, 20))
LOG = File("gateway.log", b"line 1\nline 2\n")
NOTHING = ""


@pytest.fixture
def say(intercom: Intercom, talking: Teammate) -> Say:
    """Return a function with which somebody writes in Alice's conversation before its panel is opened."""
    conversation = intercom.conversation_of("Alice Martin")
    numbers = count(1)

    def say(*attachments: File, pictures: tuple[File, ...] = (), plain: bool = False, **more: Any) -> None:
        message: dict[str, Any] = {
            "body": "Please look",
            "created_at": int(time.time()) + next(numbers),
        } | more
        intercom.write(conversation.id, attachments=attachments, pictures=pictures, **message)
        talking.conversation = intercom.workspace.conversation_json(
            intercom.store.conversation(conversation.id), plain=plain
        )

    return say


def open_create(teammate: Teammate) -> Teammate:
    return teammate.open().click("Create a ticket")


def open_link(teammate: Teammate) -> Teammate:
    return teammate.open().send_click("link:UserRequest:6:ask")


SCREENS = pytest.mark.parametrize("open_screen", [open_create, open_link])


def announced(teammate: Teammate) -> str:
    """Return what the screen says about files, its lines joined."""
    lines = teammate.text.splitlines()
    return " ".join(line for line in lines if "copied, too" in line or line.startswith("Not copied"))


def copied(itop: Itop, work: Work) -> list[str]:
    """Let the workers finish; return the names of the files that are then in iTop, sorted."""
    work()
    FileToItop.objects.waiting().update(due_at=timezone.now() - dt.timedelta(seconds=1))
    work()
    found = itop.store.find("SELECT Attachment")[1]
    ours = [row for row in found if str(row["temp_id"]).startswith("Intercom file")]
    return sorted(str(itop.store.file(row, "contents")["filename"]) for row in ours)


@SCREENS
def test_without_files_nothing_is_announced(
    talking: Teammate, open_screen: Callable[[Teammate], Teammate]
) -> None:
    assert announced(open_screen(talking)) == NOTHING


@SCREENS
def test_one_file_is_announced_in_the_singular(
    talking: Teammate, say: Say, open_screen: Callable[[Teammate], Teammate]
) -> None:
    say(LOG)
    assert announced(open_screen(talking)) == "1 file of the messages is copied, too, if iTop accepts it."


@SCREENS
def test_attached_files_and_pictures_in_the_text_are_counted(
    talking: Teammate, say: Say, open_screen: Callable[[Teammate], Teammate]
) -> None:
    say(*[File(f"{number}.txt", b"x") for number in range(9)], pictures=(SHOT,))
    say(LOG, author="admin")
    assert (
        announced(open_screen(talking)) == "11 files of the messages are copied, too, if iTop accepts them."
    )


@SCREENS
def test_a_workspace_that_copies_no_files_announces_none(
    talking: Teammate, say: Say, open_screen: Callable[[Teammate], Teammate]
) -> None:
    Workspace.objects.update(copies_files=False)
    say(LOG)
    assert announced(open_screen(talking)) == NOTHING


@SCREENS
@pytest.mark.parametrize(
    ("with_notes", "expected"), [(False, NOTHING), (True, "1 file of the messages is copied")]
)
def test_files_of_notes_are_announced_only_if_they_are_copied(
    talking: Teammate, say: Say, open_screen: Callable[[Teammate], Teammate], with_notes: bool, expected: str
) -> None:
    Workspace.objects.update(copies_files_of_notes=with_notes)
    say(LOG, author="admin", note=True)
    open_screen(talking)
    assert expected in announced(talking) and bool(expected) == bool(announced(talking))


@SCREENS
def test_files_that_are_known_to_be_too_large_are_named(
    talking: Teammate, say: Say, open_screen: Callable[[Teammate], Teammate]
) -> None:
    Workspace.objects.update(max_file_mb=1)
    say(LOG, File("screen.mov", b"x" * 1_000_001))
    assert announced(open_screen(talking)) == (
        "1 file of the messages is copied, too, if iTop accepts it. "
        "Not copied, because it exceeds the 1 MB limit: screen.mov"
    )


def test_many_files_that_are_too_large_are_three_names_and_a_number(talking: Teammate, say: Say) -> None:
    Workspace.objects.update(max_file_mb=1)
    say(*[File(f"{number}.mov", b"x" * 1_000_001) for number in range(5)])
    expected = "Not copied, because they exceed the 1 MB limit: 0.mov, 1.mov, 2.mov and 2 more"
    assert announced(open_create(talking)) == expected


@SCREENS
def test_what_the_bridge_posted_itself_is_not_announced(
    talking: Teammate, say: Say, intercom: Intercom, open_screen: Callable[[Teammate], Teammate]
) -> None:
    """A file that came from iTop does not go back there."""
    say(LOG, author="admin", body="From another ticket")
    row = intercom.store.parts(intercom.conversation_of("Alice Martin").id)[-1]
    open_link(talking).click("Link without earlier messages")
    talking.open().send_click("unlink:UserRequest:6:yes")
    OutgoingMessage.objects.update(part_id=row.id, state="posted")
    assert announced(open_screen(talking)) == NOTHING


def test_files_that_a_text_only_mentions_are_announced_without_a_number(talking: Teammate, say: Say) -> None:
    say(LOG)
    say(pictures=(SHOT,), plain=True)
    expected = "The messages' files are copied, too, if iTop accepts them."
    assert announced(open_create(talking)) == expected


def test_a_form_that_has_only_a_part_of_the_conversation_names_no_number(
    talking: Teammate, say: Say, intercom: Intercom
) -> None:
    say(LOG)
    talking.conversation["conversation_parts"]["conversation_parts"] = []
    expected = "The messages' files are copied, too, if iTop accepts them."
    assert announced(open_create(talking)) == expected
    # The question reads the whole conversation.
    assert "1 file of the messages is copied" in announced(open_link(talking))
    intercom.faults.add("error", path="/conversations", status=503)
    assert announced(open_link(talking)) == expected
    assert "did not return the conversation" in talking.text
    Workspace.objects.update(copies_files=False)
    assert announced(open_link(talking)) == NOTHING


def test_what_the_form_announces_is_copied(talking: Teammate, say: Say, itop: Itop, work: Work) -> None:
    Workspace.objects.update(max_file_mb=1)
    say(LOG, File("screen.mov", b"x" * 1_000_001), pictures=(SHOT,))
    say(File("secret.txt", b"x"), author="admin", note=True)
    open_create(talking)
    assert "2 files of the messages are copied" in announced(talking) and "screen.mov" in announced(talking)
    talking.click("Create ticket", Title="Gateway")
    assert copied(itop, work) == ["gateway.log", "shot.png"]
    assert "2 of 3 files copied; screen.mov exceeds the 1 MB limit" in talking.open().text


def test_the_form_without_the_conversation_copies_no_file(
    talking: Teammate, say: Say, itop: Itop, work: Work
) -> None:
    say(LOG)
    open_create(talking).click("Create ticket", Title="Gateway", **{"Conversation so far": "no"})
    assert copied(itop, work) == []


@pytest.mark.parametrize(
    ("button", "names"),
    [("Link and copy", ["gateway.log", "shot.png"]), ("Link without earlier messages", [])],
)
def test_what_the_question_announces_is_copied_with_the_messages_only(
    talking: Teammate, say: Say, itop: Itop, work: Work, button: str, names: list[str]
) -> None:
    say(LOG, pictures=(SHOT,))
    open_link(talking)
    assert "2 files of the messages are copied" in announced(talking)
    talking.click(button)
    assert copied(itop, work) == names


def test_the_sentence_stands_between_the_messages_and_the_buttons(talking: Teammate, say: Say) -> None:
    say(LOG)
    lines = open_link(talking).text.splitlines()
    places = [
        next(number for number, line in enumerate(lines) if words in line)
        for words in (
            "This conversation so far",
            "copied, too",
            "Link and copy",
            "Link without earlier messages",
        )
    ]
    assert places == sorted(places)
    lines = open_create(talking).text.splitlines()
    choice, button = lines.index("Conversation so far"), lines.index("Create ticket")
    assert choice < lines.index(announced(talking)) < button


def test_names_from_outside_do_not_change_how_the_sentence_reads(talking: Teammate, say: Say) -> None:
    Workspace.objects.update(max_file_mb=1)
    say(File("\u202efdp.**b** [x](https://e.example) " + "n" * 200 + ".exe", b"x" * 1_000_001))
    text = announced(open_create(talking))
    assert "\u202e" not in text and "](" not in text and "**" not in text
    assert len(text) < 110
