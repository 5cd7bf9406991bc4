"""After a merge of conversations, changes and files that were not posted come to the conversation that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from intercom_bridge.events import message_files, poster
from intercom_bridge.events.files import add_file_rows
from intercom_bridge.events.record import report_after_merge
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import (
    Conversation,
    EventKind,
    EventRules,
    FileToIntercom,
    OutgoingMessage,
    TicketEvent,
    TicketLink,
)
from intercom_bridge.models.event_rules import rules_of

from . import fake_intercom
from .fake_intercom import FakeIntercom, error
from .rows import event, planned

TARGET = "222"
REPLIES = ("note", "comment")
PICTURE = '<p>See <img src="data:image/png;base64,iVBORw0KGgo="></p>'
CHANGES = pytest.mark.parametrize("kinds", [["public_entry"], ["public_entry", "status"]])


@pytest.fixture
def fake(link: TicketLink, settings: Any) -> Iterator[FakeIntercom]:
    settings.INTERCOM_API_URL = fake_intercom.URL
    with fake_intercom.running() as running:
        for conversation_id in (link.conversation.conversation_id, TARGET):
            running.conversation(conversation_id)
        yield running


def save_in_itop(link: TicketLink, kinds: list[str], *, content: str = PICTURE, files: str = "note") -> None:
    """Store messages about one save: an agent's entry with a picture is a reply, everything else is a note."""
    EventRules.objects.create(workspace=link.conversation.workspace, files=files, public_entry="reply")
    events = [
        event(link, kind, author_name="Jules", after="Pending", content=content if "entry" in kind else "")
        for kind in kinds
    ]
    add_file_rows(events, rules_of(link.conversation.workspace))
    planned(*events)


def move_link(link: TicketLink, merged_at: int = 1_770_000_000) -> Conversation:
    """Merge the link's conversation away, and move the link. Return the conversation that goes on."""
    source = link.conversation
    Conversation.objects.filter(pk=source.pk).update(merged_away_at=merged_at)
    source.refresh_from_db()
    target = Conversation.objects.find_or_create(source.workspace, TARGET)
    link.conversation, link.since_part_at, link.since_part_order = target, merged_at, 0
    link.save()
    report_after_merge(source, link)
    return target


def post_all() -> None:
    while rows := list(OutgoingMessage.objects.next_due()):
        for row in rows:
            poster.post(row)


def posted_in_target(fake: FakeIntercom) -> list[tuple[str, str]]:
    return [(part["part_type"], to_text(part["body"])) for part in fake.conversation(TARGET)["parts"]]


def assert_all_is_posted_once(fake: FakeIntercom, kinds: list[str]) -> None:
    parts = posted_in_target(fake)
    (reply,) = [text for kind, text in parts if kind == "comment"]
    assert "See" in reply
    notes = "\n".join(text for kind, text in parts if kind == "note")
    assert notes.count("picture-1.png (") == 1
    assert notes.count("The status of ticket") == kinds.count("status")
    assert [[file["name"] for file in files] for files in fake.uploads if files] == [["picture-1.png"]]
    assert FileToIntercom.objects.get().state == "posted"
    assert not OutgoingMessage.objects.retriable().exists(), "nothing is reported to the operators"


@CHANGES
def test_pictures_of_a_reply_are_posted_in_the_target(
    link: TicketLink, fake: FakeIntercom, kinds: list[str]
) -> None:
    save_in_itop(link, kinds)
    move_link(link)
    post_all()
    assert_all_is_posted_once(fake, kinds)


@CHANGES
def test_pictures_of_a_reply_are_posted_in_the_target_if_their_note_was_being_posted(
    link: TicketLink, fake: FakeIntercom, kinds: list[str]
) -> None:
    save_in_itop(link, kinds)
    source = link.conversation.conversation_id

    # The note is attempted with its picture and then without it.
    refusals = iter(["with the picture", "without it"])

    def merge(kind: str) -> fake_intercom.Answer | None:
        if kind != "note" or next(refusals, None) is None:
            return None
        if not fake.conversation(source)["parts"]:
            merged = fake.add_part(source, part_type="merged_secondary_conversation", body=None)
            move_link(link, merged["created_at"])
        return error(422, "unprocessable", "cannot reply")

    fake.before = merge
    post_all()
    assert_all_is_posted_once(fake, kinds)
    assert fake.bodies(source) == [None]


@CHANGES
def test_pictures_of_a_reply_are_posted_in_the_target_if_intercom_refused_their_note_before(
    link: TicketLink, fake: FakeIntercom, kinds: list[str]
) -> None:
    save_in_itop(link, kinds)
    source = link.conversation.conversation_id
    merged = fake.add_part(source, part_type="merged_secondary_conversation", body=None)
    fake.before = lambda kind: error(422, "unprocessable", "cannot reply") if kind in REPLIES else None
    post_all()
    fake.before = lambda _kind: None
    move_link(link, merged["created_at"])
    post_all()
    assert_all_is_posted_once(fake, kinds)


def test_the_rest_of_the_files_of_a_posted_reply_is_a_reply_in_the_target(
    link: TicketLink, fake: FakeIntercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_files, "MAX_FILES", 1)
    save_in_itop(
        link,
        ["public_entry"],
        content=PICTURE + PICTURE.replace("iVBORw0KGgo=", "iVBORw0KGgoA"),
        files="with_reply",
    )
    poster.post(OutgoingMessage.objects.get())
    move_link(link)
    post_all()
    (reply,) = posted_in_target(fake)
    assert reply[0] == "comment"
    assert reply[1].startswith("More files of ticket R-000012:") and "picture-2.png" in reply[1]
    assert [[file["name"] for file in files] for files in fake.uploads] == [
        ["picture-1.png"],
        ["picture-2.png"],
    ]


def test_the_rest_of_the_files_is_not_posted_after_the_sync_was_paused(
    link: TicketLink, fake: FakeIntercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_files, "MAX_FILES", 1)
    content = PICTURE + PICTURE.replace("iVBORw0KGgo=", "iVBORw0KGgoA")
    save_in_itop(link, ["public_entry"], content=content, files="with_reply")
    poster.post(OutgoingMessage.objects.get())
    move_link(link)
    TicketLink.objects.update(sync_on=False)
    post_all()
    assert posted_in_target(fake) == []
    assert OutgoingMessage.objects.latest("pk").reason_code == "sync_paused"


@CHANGES
def test_pictures_are_not_posted_again_if_the_target_has_their_entry(
    link: TicketLink, fake: FakeIntercom, kinds: list[str]
) -> None:
    save_in_itop(link, kinds)
    entry = TicketEvent.objects.get(kind=EventKind.PUBLIC_ENTRY)
    target = Conversation.objects.find_or_create(link.conversation.workspace, TARGET)
    fields = {"content": PICTURE, "is_by_agent": True, "author_name": "Jules"}
    TicketEvent.objects.create(
        ticket=link.ticket, conversation=target, kind=entry.kind, key=entry.key, **fields
    )
    move_link(link)
    post_all()
    assert fake.uploads == [[]] * kinds.count("status")
