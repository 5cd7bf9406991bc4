"""A merged conversation is reported, and its links are moved with one click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.events.compare import Change, EventAuthor
from intercom_bridge.events.record import record
from intercom_bridge.models import (
    Conversation,
    Delivery,
    EventKind,
    EventRules,
    FileToIntercom,
    ItopInstance,
    LinkRemoval,
    OutgoingMessage,
    Secret,
    TicketEvent,
    TicketLink,
    Workspace,
)
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, conversation, notify, part

Work = Callable[[], None]

MERGED_AT = 1_770_000_000
AWAY = part(37358199001, "", part_type="merged_secondary_conversation", created_at=MERGED_AT)
IN = part(37358199002, "", part_type="merged_primary_conversation", created_at=MERGED_AT + 1)


@pytest.fixture
def source(teammate: Teammate, itop: Itop, work: Work) -> Teammate:
    """Return a teammate in a conversation that is linked to R-000008 and was merged into 222."""
    store_link(teammate, itop, "R-000008")
    teammate.conversation = conversation(AWAY)
    teammate.open()
    work()
    return teammate


@pytest.fixture
def target(client: Client) -> Teammate:
    """Return a teammate in conversation 222, the target of the merge."""
    other = Teammate(client)
    other.conversation = conversation(IN, id="222")
    return other


def linked_to() -> list[str]:
    return list(TicketLink.objects.values_list("conversation__conversation_id", flat=True))


def new_entries(itop: Itop) -> list[str]:
    return [entry["message"] for entry in itop.store.log(8)][3:]


def test_the_target_of_a_merge_offers_to_move_the_link(source: Teammate, target: Teammate) -> None:
    source.open()
    target.open().click("Another conversation was merged into this one")
    assert (
        "Conversation 215472621202693 was merged into this one. Its linked tickets: R-000008." in target.text
    )
    assert "Moved: R-000008" in target.click("Move the link").text
    assert linked_to() == ["222"]
    assert "R-000008 · Screen flickers" in target.click("Done").text
    assert "merged" not in target.text and "merged" not in source.open().text


def test_the_merged_conversation_reports_the_merge(source: Teammate) -> None:
    assert "Merged into another conversation" in source.open().text
    assert not source.offers("Pause sync") and "Sync on" not in source.text
    source.click("Sync status")
    assert "merged into another one, which receives the new messages" in source.text
    assert not source.offers("Pause sync") and "Sync on" not in source.text
    assert "Intercom does not say which conversation" in source.click("Merged into another").text
    assert "Create a ticket" in source.click("Back").text


@pytest.mark.parametrize(
    "named",
    [
        "222",
        " https://app.intercom.com/a/inbox/x/inbox/shared/all/conversation/222 ",
        "https://app.intercom.com/a/inbox/x/inbox/admin/5017690/conversation/222#part_id=comment-222-7",
        "https://app.intercom.com/a/inbox/x/inbox/conversation/222?view=/9",
    ],
)
def test_a_link_can_be_moved_by_entering_the_target_conversation(source: Teammate, named: str) -> None:
    source.open().click("Merged into another")
    source.send_click("move-away", {"ID or URL": named})
    assert "Moved: R-000008" in source.text
    assert linked_to() == ["222"]


@pytest.mark.parametrize("named", ["no id", "215472621202693"])
def test_an_invalid_target_moves_nothing_and_keeps_the_input(source: Teammate, named: str) -> None:
    source.open().click("Merged into another")
    source.send_click("move-away", {"ID or URL": named})
    assert "Nothing was changed" in source.text and source.offers("Back")
    assert source.field("ID or URL")["value"] == named
    assert linked_to() == ["215472621202693"]


@pytest.mark.parametrize("named", ["", "   "])
def test_an_empty_target_is_reported(source: Teammate, named: str) -> None:
    source.open().click("Merged into another")
    source.send_click("move-away", {"ID or URL": named})
    assert "Enter the ID of the other conversation" in source.text
    assert linked_to() == ["215472621202693"]


def test_a_link_moved_to_a_paused_conversation_is_paused(source: Teammate, target: Teammate) -> None:
    source.open()
    target.link("R-000006").open().send_click("pause")
    target.click("merged into this one").click("Move the link")
    links = TicketLink.objects.filter(conversation__conversation_id="222")
    assert sorted(links.values_list("ticket__ref", "sync_on")) == [("R-000006", False), ("R-000008", False)]


def test_two_links_are_moved_together(source: Teammate, target: Teammate) -> None:
    source.link("R-000006").open()
    target.open().click("merged into this one")
    assert target.offers("Move the links")


def test_both_conversations_get_a_note_with_the_name_of_the_teammate(
    source: Teammate, target: Teammate
) -> None:
    source.open()
    target.open().click("merged into this one").click("Move the link")
    notes = dict(OutgoingMessage.objects.order_by("pk").values_list("conversation__conversation_id", "body"))
    assert (
        "Ada Reyes moved ticket" in notes["222"] and "here from conversation 215472621202693" in notes["222"]
    )
    assert "to conversation 222" in notes["215472621202693"]
    assert LinkRemoval.objects.get().unlinked_by == "Ada Reyes"


def test_waiting_messages_are_written_and_new_ones_follow_after_a_merge(
    client: Client, source: Teammate, target: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>before</p>"))
    itop.faults.away = True
    work()
    itop.faults.away = False
    source.open()
    target.open().click("merged into this one").click("Move the link")
    notify(client, part(37358199100, "<p>older</p>", created_at=MERGED_AT - 5), id="222")
    notify(client, part(37358199101, "<p>after</p>", created_at=MERGED_AT + 5), id="222")
    notify(client, part(37358199102, "<p>elsewhere</p>", created_at=MERGED_AT + 6))
    Delivery.objects.waiting().update(due_at="2020-01-01T00:00:00Z")
    ItopInstance.objects.update(paused_until=None)
    work()
    assert new_entries(itop) == ["<p>before</p>", "<p>after</p>"]
    row = itop.store.load("UserRequest", 8) or {}
    assert row["intercom_ref"] == "222"


def test_merges_at_different_times_are_distinguished(
    client: Client, source: Teammate, target: Teammate
) -> None:
    source.open()
    target.conversation = conversation(IN | {"created_at": MERGED_AT + 60}, id="222")
    assert "merged" not in target.open().text
    target.send_click(f"move-here:{Conversation.objects.get().pk}")
    assert "no links to move" in target.text
    assert linked_to() == ["215472621202693"]


def test_the_entered_target_is_verified_with_intercom(
    source: Teammate, workspace: Workspace, intercom: Any
) -> None:
    workspace.access_token = intercom.token
    workspace.save()
    other = intercom.conversation_of("Alice Martin")
    source.open().click("Merged into another")
    for named in (other, "404404404"):
        source.send_click("move-away", {"ID or URL": str(named)})
        assert "was not merged into the one that you entered" in source.text
    assert linked_to() == ["215472621202693"]


@pytest.mark.parametrize(
    ("token", "fault", "advice"),
    [
        ("another", None, "An admin must renew the access token"),
        (Secret("not a ciphertext"), None, "An admin must renew the access token"),
        ("another", "error", "Intercom is not responding"),
    ],
    ids=["refused", "unreadable", "unreachable"],
)
def test_a_failed_verification_moves_nothing(
    source: Teammate, intercom: Intercom, token: str | Secret, fault: str | None, advice: str
) -> None:
    Workspace.objects.update(access_token=token)
    if fault:
        intercom.faults.add(fault, path="/conversations/222", status=502)
    source.open().click("Merged into another")
    source.send_click("move-away", {"ID or URL": "222"})
    assert advice in source.text and "Nothing was changed" in source.text
    assert linked_to() == ["215472621202693"]


def test_a_move_copies_messages_that_arrived_after_the_merge(
    client: Client, source: Teammate, target: Teammate, itop: Itop, work: Work
) -> None:
    source.open()
    notify(client, part(37358199101, "<p>after the merge</p>", created_at=MERGED_AT + 5), id="222")
    work()
    target.open().click("merged into this one").click("Move the link")
    work()
    assert [entry["message"] for entry in itop.store.log(8)][3:] == ["<p>after the merge</p>"]


def test_a_move_writes_messages_that_waited_for_the_old_link(
    client: Client, source: Teammate, target: Teammate, itop: Itop, work: Work
) -> None:
    source.open()
    notify(client, part(37358198350, "<p>before the merge</p>"))
    target.open().click("merged into this one").click("Move the link")
    work()
    assert [entry["message"] for entry in itop.store.log(8)][3:] == ["<p>before the merge</p>"]


def test_what_the_merged_conversation_was_not_told_is_reported_in_the_target(
    source: Teammate, target: Teammate
) -> None:
    Workspace.objects.update(access_token="token")
    source.open()
    away = Conversation.objects.get(conversation_id="215472621202693")
    ticket, now = TicketLink.objects.get().ticket, timezone.now()
    assert away.merged_away_at
    record(ticket, [Change(EventKind.PUBLIC_ENTRY, "public_log:9:x", now, content="<p>First</p>")], {})
    # These were recorded before the bridge knew of the merge: one was posted, the other one still waits.
    Conversation.objects.filter(pk=away.pk).update(merged_away_at=0)
    record(ticket, [Change(EventKind.PUBLIC_ENTRY, "public_log:8:x", now, content="<p>Told</p>")], {})
    OutgoingMessage.objects.filter(events__isnull=False).update(state="posted", part_id="1")
    record(ticket, [Change(EventKind.PENDING, "status:1:pending", now, content="Parts")], {})
    Conversation.objects.filter(pk=away.pk).update(merged_away_at=away.merged_away_at)
    target.open().click("merged into this one").click("Move the link")
    there = list(TicketEvent.objects.filter(conversation__conversation_id="222").order_by("pk"))
    assert [event.kind for event in there] == ["public_entry", "pending"]
    (message,) = {event.message for event in there}
    assert message is not None
    assert (message.state, message.conversation.conversation_id) == ("waiting", "222")
    assert "First" in message.body and "Parts" in message.body and "Told" not in message.body
    assert not OutgoingMessage.objects.waiting().filter(conversation=away, once_key__gt="").exists()


PICTURE = '<p>See</p><img src="https://itop.example/pages/ajax.document.php?operation=download_inlineimage&amp;id=7&amp;s=ab12">'
AGENT = EventAuthor(name="Jules Verne", email="jules.verne@it.example", is_agent=True)


@pytest.fixture
def pictures_are_notes(workspace: Workspace) -> None:
    """Send an agent's entries to the customer, and the pictures in them to the teammates."""
    Workspace.objects.update(access_token="token")
    EventRules.objects.create(workspace=workspace, files="note", public_entry="reply")


@pytest.fixture
def untold(source: Teammate, pictures_are_notes: None) -> Conversation:
    """Return the merged conversation, in which a reply and a note with its picture wait to be posted."""
    away = Conversation.objects.get(conversation_id="215472621202693")
    # They were recorded before the bridge knew of the merge.
    Conversation.objects.filter(pk=away.pk).update(merged_away_at=0)
    change = Change(EventKind.PUBLIC_ENTRY, "public_log:9:x", timezone.now(), content=PICTURE, author=AGENT)
    record(TicketLink.objects.get().ticket, [change], {})
    Conversation.objects.filter(pk=away.pk).update(merged_away_at=away.merged_away_at)
    assert waiting_in(away) == ["event", "files"]
    return away


def waiting_in(conversation: Conversation) -> list[str]:
    """Return the kinds of the messages about iTop that wait in a conversation."""
    waiting = OutgoingMessage.objects.waiting().filter(conversation=conversation, once_key__gt="")
    return sorted(key.partition(":")[0] for key in waiting.values_list("once_key", flat=True))


@pytest.mark.parametrize("was_tried", [False, True])
def test_the_pictures_of_an_entry_are_posted_where_the_entry_is(
    was_tried: bool, untold: Conversation, target: Teammate, work: Work
) -> None:
    if was_tried:
        OutgoingMessage.objects.filter(conversation=untold, once_key__gt="").update(
            state="failed", reason_code="conversation_merged"
        )
    target.open().click("merged into this one").click("Move the link")
    there = Conversation.objects.get(conversation_id="222")
    assert waiting_in(untold) == []
    assert waiting_in(there) == ["event", "files"]
    row = FileToIntercom.objects.get()
    assert row.message is not None and row.message.conversation == there
    assert row.message.once_key.startswith("files:") and row.event.conversation == there


def test_the_pictures_of_an_entry_that_was_told_are_posted_in_the_target(
    untold: Conversation, target: Teammate
) -> None:
    OutgoingMessage.objects.filter(once_key__startswith="event:").update(state="posted", part_id="1")
    target.open().click("merged into this one").click("Move the link")
    there = Conversation.objects.get(conversation_id="222")
    assert (waiting_in(untold), waiting_in(there)) == ([], ["files"])


def test_pictures_that_the_merged_conversation_has_are_not_posted_again(
    untold: Conversation, target: Teammate
) -> None:
    OutgoingMessage.objects.filter(once_key__gt="").update(state="posted", part_id="1")
    target.open().click("merged into this one").click("Move the link")
    there = Conversation.objects.get(conversation_id="222")
    assert (waiting_in(untold), waiting_in(there)) == ([], [])


def test_pictures_that_both_conversations_were_to_be_told_of_are_posted_once(
    source: Teammate, target: Teammate, pictures_are_notes: None
) -> None:
    away = Conversation.objects.get(conversation_id="215472621202693")
    target.link("R-000008")
    there = Conversation.objects.get(conversation_id="222")
    OutgoingMessage.objects.all().delete()
    Conversation.objects.filter(pk=away.pk).update(merged_away_at=0)
    change = Change(EventKind.PUBLIC_ENTRY, "public_log:9:x", timezone.now(), content=PICTURE, author=AGENT)
    record(TicketLink.objects.filter(conversation=there).get().ticket, [change], {})
    Conversation.objects.filter(pk=away.pk).update(merged_away_at=away.merged_away_at)
    assert waiting_in(there) == ["event", "files"]
    target.open().click("merged into this one").click("Move the link")
    assert waiting_in(there) == ["event", "files"]
