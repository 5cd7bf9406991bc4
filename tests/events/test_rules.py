"""What a conversation hears of changes in iTop."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db.models import F

from intercom_bridge.events.note import note_body
from intercom_bridge.events.rules import MAX_LISTED, MAX_MESSAGES, PERIOD, resume
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import (
    Conversation,
    EventKind,
    EventRules,
    OutgoingMessage,
    TicketCreation,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
    Workspace,
)

from .rows import event, planned


def test_the_events_of_a_save_are_one_note(link: TicketLink) -> None:
    entry = event(link, EventKind.PUBLIC_ENTRY, author_name="Jules", content="<p>x</p>")
    pending = event(link, EventKind.PENDING, after="Pending")
    (note,) = planned(entry, pending)
    assert note.is_note and note.once_key == f"event:{entry.pk}"
    assert note.body == note_body([entry, pending], link.conversation)
    assert {entry.message_id, pending.message_id} == {note.pk}


def test_by_default_nothing_is_sent_to_a_customer(link: TicketLink) -> None:
    messages = planned(*(event(link, kind, content="<p>x</p>") for kind in EventKind.values))
    assert [message.is_note for message in messages] == [True]
    silent = TicketEvent.objects.filter(message=None).values_list("kind", "reason_code")
    kinds = ("private_entry", "assignment", "closed", "reopened")
    assert sorted(silent) == sorted((kind, "not_reported") for kind in kinds)


def test_notes_and_replies_of_a_save_are_two_messages(link: TicketLink) -> None:
    entry = event(link, EventKind.PUBLIC_ENTRY, content="<p>x</p>")
    resolved = event(link, EventKind.RESOLVED, content="<p>y</p>")
    note, reply = planned(entry, resolved, resolved="reply")
    assert (note.is_note, reply.is_note) == (True, False)
    assert (entry.message, resolved.message) == (note, reply)
    assert "Your ticket R-000012 was resolved" in reply.body and "UI.php" not in reply.body
    assert not note.reopens and not reply.reopens


ALICE, BOB, UNKNOWN = 40, 41, 50


@pytest.mark.parametrize(
    ("created_for", "caller", "is_note"),
    [
        (ALICE, str(ALICE), False),
        (ALICE, str(BOB), True),
        (ALICE, "0", False),
        (ALICE, "", False),
        (UNKNOWN, str(BOB), False),
        (None, str(BOB), False),
        (0, str(BOB), False),
    ],
)
def test_once_a_ticket_has_another_caller_its_texts_are_not_sent_to_the_customer(
    link: TicketLink, created_for: int | None, caller: str, is_note: bool
) -> None:
    """In iTop, a ticket can be handed to another person, even of another organization."""
    Workspace.objects.update(default_caller_id=UNKNOWN)
    if created_for is not None:
        TicketCreation.objects.create(
            conversation=link.conversation,
            ticket=link.ticket,
            caller_id=created_for,
            ticket_class="UserRequest",
        )
    TicketSnapshot.objects.update_or_create(ticket=link.ticket, defaults={"caller_id": caller})
    (message,) = planned(event(link, EventKind.PUBLIC_ENTRY, content="<p>x</p>"), public_entry="reply")
    assert message.is_note is is_note


@pytest.mark.parametrize("kind", ["private_entry", "customer_entry"])
def test_customers_never_hear_of_internal_changes_whatever_the_rules_say(link: TicketLink, kind: str) -> None:
    (message,) = planned(event(link, kind, content="<p>x</p>"), **{kind: "reply"})
    assert message.is_note


@pytest.mark.parametrize(
    ("rules", "assign_to"),
    [
        ({}, {}),
        ({"assign_to": "team", "assign_to_team_id": "7"}, {"type": "team", "id": "7"}),
        ({"assign_to": "linked_by"}, {"type": "linked_by"}),
        ({"assign_to": "last_teammate"}, {"type": "last_teammate"}),
    ],
)
def test_a_change_that_reopens_the_conversation_is_noted(
    link: TicketLink, rules: dict[str, Any], assign_to: dict[str, str]
) -> None:
    """Closed tickets are not reported by default."""
    (note,) = planned(event(link, EventKind.CLOSED), reopens_on=["closed"], **rules)
    assert (note.is_note, note.reopens, note.assign_to) == (True, True, assign_to)
    (other,) = planned(event(link, EventKind.PUBLIC_ENTRY))
    assert not other.reopens


def test_what_a_colleague_of_the_customer_wrote_is_noted_and_never_sent(link: TicketLink) -> None:
    entry = event(link, EventKind.PUBLIC_ENTRY, content="<p>Please hurry</p>", is_by_agent=False)
    (note,) = planned(entry, public_entry="reply")
    assert note.is_note


def test_a_reply_that_reopens_the_conversation_is_preceded_by_a_note_with_the_reason(
    link: TicketLink,
) -> None:
    resolved = event(link, EventKind.RESOLVED, content="<p>y</p>")
    note, reply = planned(resolved, resolved="reply", reopens_on=["resolved"])
    assert (note.is_note, note.reopens, reply.is_note, reply.reopens) == (True, True, False, False)
    assert "was resolved" in to_text(note.body)
    assert resolved.message == reply


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"merged_away_at": 1_768_000_000}, "conversation_merged"),
        ({"reconcile_code": "conversation_deleted"}, "conversation_deleted"),
        ({"posting_stopped_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "posting_stopped"),
    ],
)
def test_where_nothing_can_be_posted_the_event_says_why(
    link: TicketLink, changes: dict[str, Any], code: str
) -> None:
    Conversation.objects.update(**changes)
    entry, closed = event(link, EventKind.PUBLIC_ENTRY), event(link, EventKind.CLOSED)
    assert planned(entry, closed) == []
    assert (entry.reason_code, closed.reason_code) == (code, "not_reported")


def test_without_an_access_token_nothing_is_planned(link: TicketLink) -> None:
    link.conversation.workspace.access_token = ""
    link.conversation.workspace.save()
    entry = event(link, EventKind.PUBLIC_ENTRY)
    assert planned(entry) == []
    assert entry.reason_code == "no_access_token"


def flood(link: TicketLink) -> list[TicketEvent]:
    """Plan as many messages as are allowed."""
    events = [event(link, EventKind.PUBLIC_ENTRY) for _ in range(MAX_MESSAGES)]
    for row in events:
        planned(row)
    return events


def test_too_many_messages_in_a_few_minutes_stop_the_posting_with_one_last_note(link: TicketLink) -> None:
    elsewhere = Conversation.objects.find_or_create(link.conversation.workspace, "999")
    other = TicketLink.objects.create(conversation=elsewhere, ticket=link.ticket)
    assert all(row.message_id for row in flood(link))
    further, later = event(link, EventKind.PUBLIC_ENTRY), event(link, EventKind.PUBLIC_ENTRY)
    (last,) = planned(further)
    assert last.is_note and "30 messages" in last.body and "within 5 minutes" in last.body
    assert planned(later) == []
    assert {further.reason_code, later.reason_code} == {"posting_stopped"}
    assert further.message is None
    assert len(planned(event(other, EventKind.PUBLIC_ENTRY))) == 1


def test_messages_over_a_longer_time_do_not_stop_the_posting(link: TicketLink) -> None:
    flood(link)
    OutgoingMessage.objects.update(created_at=F("created_at") - PERIOD)
    assert len(planned(event(link, EventKind.PUBLIC_ENTRY))) == 1
    assert Conversation.objects.get().posting_stopped_at is None


def test_resuming_posts_one_note_about_all_that_was_held_back(link: TicketLink) -> None:
    flood(link)
    held_back = [event(link, EventKind.PUBLIC_ENTRY, author_name="Jules") for _ in range(MAX_LISTED)]
    silent, resolved = event(link, EventKind.CLOSED), event(link, EventKind.RESOLVED, content="<p>Done</p>")
    for row in (*held_back, silent, resolved):
        planned(row)
    conversation = Conversation.objects.get()
    assert resume(conversation)
    note = OutgoingMessage.objects.order_by("pk").last()
    assert note and note.is_note
    assert note.body.count("<li>Jules wrote in ticket") == MAX_LISTED
    assert note.body.endswith("<li>Further changes: 1.</li></ul>") and "Done" not in note.body
    reported = TicketEvent.objects.filter(message=note)
    assert set(reported) == {*held_back, resolved}
    assert set(reported.values_list("reason_code", flat=True)) == {""}
    silent.refresh_from_db()
    assert silent.message is None
    # The messages before count no more, and the next flood is noticed again.
    assert all(row.message_id for row in flood(link))
    assert "30 messages" in planned(event(link, EventKind.PUBLIC_ENTRY))[0].body


def test_only_a_stopped_conversation_is_resumed_and_only_once(link: TicketLink) -> None:
    assert not resume(link.conversation)
    flood(link)
    planned(event(link, EventKind.PUBLIC_ENTRY))
    first, second = Conversation.objects.get(), Conversation.objects.get()
    assert (resume(first), resume(second)) == (True, False)
    assert OutgoingMessage.objects.filter(once_key__startswith="resumed:").count() == 1


def test_resuming_says_nothing_about_a_ticket_that_is_no_longer_linked(link: TicketLink) -> None:
    flood(link)
    held_back = event(link, EventKind.RESOLVED)
    planned(held_back)
    link.delete()
    assert resume(Conversation.objects.get())
    held_back.refresh_from_db()
    assert held_back.message is None
    note = OutgoingMessage.objects.get(once_key__startswith="resumed:")
    assert note.body == "<p>Posting has resumed.</p>"


def test_rules_are_those_of_the_workspace(link: TicketLink) -> None:
    EventRules.objects.create(workspace=link.conversation.workspace, public_entry="nothing")
    entry = event(link, EventKind.PUBLIC_ENTRY)
    assert planned(entry) == []
    assert entry.reason_code == "not_reported"
