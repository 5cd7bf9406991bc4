"""Messages about changes in iTop: in whose name, in which order, and how their conversation is reopened."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import requests
from django.db import connections
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from intercom_bridge.events import poster
from intercom_bridge.events.files import add_file_rows
from intercom_bridge.events.teammates import teammates
from intercom_bridge.intercom.client import IntercomClient
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import (
    Broadcast,
    Conversation,
    Delivery,
    EventKind,
    EventRules,
    OutgoingMessage,
    TicketEvent,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.ops import metrics
from tests.teammate import notification, notify, part, post_webhook

from . import fake_intercom
from .fake_intercom import ADA, CODE, JULES, OWNER, FakeIntercom, error, once
from .rows import event, planned

REASON = "Because of this change, the conversation was reopened."


@pytest.fixture
def fake(link: TicketLink, settings: Any) -> Iterator[FakeIntercom]:
    settings.INTERCOM_API_URL = fake_intercom.URL
    TicketLink.objects.update(linked_by=f"T{ADA}")
    with fake_intercom.running() as running:
        running.conversation(link.conversation.conversation_id)
        yield running


def run() -> None:
    """Post what is due until nothing is."""
    while rows := list(OutgoingMessage.objects.next_due()):
        for row in rows:
            poster.post(row)


def retry() -> None:
    OutgoingMessage.objects.waiting().update(due_at=timezone.now() - dt.timedelta(seconds=1))
    run()


def entry(link: TicketLink, text: str = "x", **fields: Any) -> OutgoingMessage:
    return planned(event(link, EventKind.PUBLIC_ENTRY, content=f"<p>{text}</p>", **fields))[0]


def set_rules(link: TicketLink, **rules: Any) -> None:
    EventRules.objects.update_or_create(workspace=link.conversation.workspace, defaults=rules)


def outcome(message: OutgoingMessage) -> tuple[str, str]:
    message.refresh_from_db()
    return message.state, message.reason_code


# --- Order ---


def test_messages_are_posted_while_redis_cannot_be_reached(
    link: TicketLink, fake: FakeIntercom, settings: Any
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            # Nothing listens there.
            "LOCATION": "redis://127.0.0.1:1",
        }
    }
    message = entry(link, author_email="jules@example.com")
    run()
    assert outcome(message) == ("posted", "")


def test_a_customers_message_is_not_taken_for_a_lost_reply_with_the_same_words(
    link: TicketLink, fake: FakeIntercom
) -> None:
    reply = OutgoingMessage.objects.create(conversation=link.conversation, body="<p>Thanks!</p>")
    fake.before = once("comment")
    run()
    fake.add_part(
        link.conversation.conversation_id,
        part_type="comment",
        body="<p>Thanks!</p>",
        author={"type": "user", "id": "5"},
    )
    retry()
    assert outcome(reply) == ("posted", "")
    assert fake.calls == [("comment", link.conversation.conversation_id, OWNER)]


def test_what_waits_is_not_posted_after_the_sync_was_paused(link: TicketLink, fake: FakeIntercom) -> None:
    set_rules(link, public_entry="reply")
    reply = entry(link)
    fake.before = once("comment", (503, {}, "down"))
    run()
    link.switch(on=False, at=timezone.now().timestamp())
    retry()
    assert outcome(reply) == ("failed", "sync_paused")
    assert fake.bodies(link.conversation.conversation_id) == []


def test_messages_are_posted_in_order_although_the_first_one_fails_at_first(
    link: TicketLink, fake: FakeIntercom
) -> None:
    for number in range(3):
        entry(link, f"text {number}")
    fake.before = once("note", (503, {}, "down"))
    run()
    assert fake.bodies(link.conversation.conversation_id) == []
    retry()
    texts = [body.partition("text ")[2][0] for body in fake.bodies(link.conversation.conversation_id)]
    assert texts == ["0", "1", "2"]


def test_a_message_that_another_worker_has_is_left_to_it(link: TicketLink, fake: FakeIntercom) -> None:
    message = entry(link)
    same = OutgoingMessage.objects.get()
    poster.post(message)
    poster.post(same)
    assert len(fake.bodies(link.conversation.conversation_id)) == 1


def test_a_worker_that_read_a_message_before_another_one_tried_to_post_it_leaves_it(
    link: TicketLink, fake: FakeIntercom
) -> None:
    message = entry(link)
    read_before = OutgoingMessage.objects.get()
    fake.after = once("note")
    poster.post(message)
    OutgoingMessage.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
    poster.post(read_before)
    assert len(fake.bodies(link.conversation.conversation_id)) == 1


def test_a_worker_whose_clock_is_ahead_does_not_take_what_another_one_is_posting(
    link: TicketLink, fake: FakeIntercom, time_machine: Any
) -> None:
    first = entry(link, "first")
    entry(link, "second")
    fake.after = once("note")
    poster.post(first)
    # As if the call still lasted.
    OutgoingMessage.objects.filter(pk=first.pk).update(due_at=Now() + dt.timedelta(minutes=1))
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5))
    assert not OutgoingMessage.objects.next_due().exists()
    for row in OutgoingMessage.objects.waiting():
        poster.post(row)
    assert len(fake.bodies(link.conversation.conversation_id)) == 1


def test_a_note_that_can_still_be_withdrawn_does_not_delay_others(
    link: TicketLink, fake: FakeIntercom
) -> None:
    in_a_minute = timezone.now() + dt.timedelta(minutes=1)
    OutgoingMessage.objects.create(
        conversation=link.conversation, is_note=True, body="<p>unlinked</p>", due_at=in_a_minute
    )
    message = entry(link)
    run()
    assert outcome(message) == ("posted", "")
    assert OutgoingMessage.objects.waiting().count() == 1


# --- Once ---


@pytest.mark.parametrize("kind", ["note", "conversations"])
def test_an_unknown_outcome_is_looked_up_by_app_text_and_time(
    link: TicketLink, fake: FakeIntercom, kind: str
) -> None:
    """The texts are the same each time; a teammate has typed it too."""
    Workspace.objects.update(app_package_code=CODE)
    key = link.conversation.conversation_id
    first = entry(link)
    run()
    again = entry(link)
    for fields in ({"app_package_code": None}, {"created_at": 1_768_000_000}, {"part_type": "comment"}):
        fake.add_part(key, **{"part_type": "note", "body": first.body, "app_package_code": CODE, **fields})
    before = len(fake.bodies(key))
    fake.after = once("note")
    run()
    assert outcome(again)[0] == "waiting"
    if kind == "conversations":
        fake.before = once("conversations")
        retry()
        assert outcome(again)[0] == "waiting"
    retry()
    assert outcome(again) == ("posted", "")
    assert len(fake.bodies(key)) == before + 1
    assert again.part_id == fake.conversation(key)["parts"][-1]["id"]


def test_a_part_that_a_webhook_has_named_since_the_message_was_read_is_found(
    link: TicketLink, fake: FakeIntercom
) -> None:
    message = entry(link)
    fake.after = once("note")
    run()
    OutgoingMessage.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
    message.refresh_from_db()
    part_id = fake.conversation(link.conversation.conversation_id)["parts"][0]["id"]
    OutgoingMessage.objects.update(part_id=part_id)
    poster.post(message)
    assert outcome(message) == ("posted", "")
    assert len(fake.bodies(link.conversation.conversation_id)) == 1


def test_a_message_of_unknown_outcome_waits_because_intercom_may_still_be_executing_it(
    link: TicketLink, fake: FakeIntercom
) -> None:
    message = entry(link)
    fake.after = once("note")
    run()
    message.refresh_from_db()
    assert (message.due_at - timezone.now()).total_seconds() > 8


def test_what_was_not_executed_is_posted_again(link: TicketLink, fake: FakeIntercom) -> None:
    """A teammate has typed the same text meanwhile."""
    Workspace.objects.update(app_package_code=CODE)
    message = entry(link)
    fake.before = once("note")
    run()
    fake.add_part(link.conversation.conversation_id, part_type="note", body=message.body)
    retry()
    assert outcome(message) == ("posted", "")
    assert len(fake.bodies(link.conversation.conversation_id)) == 2


@pytest.mark.parametrize("code", ["", CODE])
def test_our_note_that_returns_before_the_answer_is_not_copied_to_the_ticket(
    client: Client, link: TicketLink, fake: FakeIntercom, work: Callable[[], None], code: str
) -> None:
    Workspace.objects.update(app_package_code=code)
    key = link.conversation.conversation_id
    message = entry(link)

    def notify_at_once(kind: str) -> None:
        if kind == "note":
            posted = fake.conversation(key)["parts"][-1]
            echo = part(5, posted["body"], part_type="note", author={"type": "admin", "id": OWNER})
            echo |= {"id": posted["id"], "app_package_code": CODE}
            body = json.dumps(notification(echo, topic="conversation.admin.noted", id=key)).encode()
            assert post_webhook(client, body).status_code == 200
            from intercom_bridge.sync.intake import process_batch

            process_batch()

    fake.after = notify_at_once
    run()
    work()
    assert outcome(message) == ("posted", "")
    assert WebhookEvent.objects.get().state in ("handled", "skipped")
    assert [(row.state, row.reason_code) for row in Delivery.objects.all()] == [("skipped", "own_message")]


def test_a_webhook_tells_the_part_of_a_message_of_unknown_outcome(
    client: Client, link: TicketLink, fake: FakeIntercom, work: Callable[[], None]
) -> None:
    key = link.conversation.conversation_id
    message = entry(link)
    fake.after = once("note")
    run()
    posted = fake.conversation(key)["parts"][-1]
    echo = part(5, posted["body"], part_type="note") | {"id": posted["id"], "app_package_code": CODE}
    notify(client, echo, topic="conversation.admin.noted", id=key)
    WebhookEvent.objects.update(received_at=timezone.now() - dt.timedelta(hours=1))
    work()
    message.refresh_from_db()
    assert message.part_id == posted["id"]
    assert Delivery.objects.get().reason_code == "own_message"
    retry()
    assert outcome(message) == ("posted", "")
    assert len(fake.bodies(key)) == 1


# --- Outcomes ---


@pytest.mark.parametrize(
    ("answer", "code", "detail"),
    [
        (error(404, "not_found", "Resource Not Found"), "conversation_deleted", ""),
        (error(422, "unprocessable", "User is blocked"), "intercom_rejected", "User is blocked"),
        (error(400, "parameter_invalid", "Conversation is closed"), "intercom_rejected", "is closed"),
    ],
)
def test_a_rejection_is_final_and_the_next_message_has_its_turn(
    link: TicketLink, fake: FakeIntercom, answer: fake_intercom.Answer, code: str, detail: str
) -> None:
    first, second = entry(link, "first"), entry(link, "second")
    fake.before = once("note", answer)
    Conversation.objects.update(reconcile_at=None)
    run()
    assert outcome(first) == ("failed", code)
    assert detail in first.reason_detail
    assert outcome(second) == ("posted", "")
    assert Conversation.objects.get().reconcile_at is not None
    assert OutgoingMessage.objects.retriable().exists() is (code == "intercom_rejected")


def test_a_rejection_by_a_merged_conversation_says_so(link: TicketLink, fake: FakeIntercom) -> None:
    key = link.conversation.conversation_id
    fake.add_part(key, part_type="merged_secondary_conversation", body=None)
    message, later = entry(link), entry(link)
    fake.before = once("note", error(422, "unprocessable", "cannot reply"))
    run()
    assert outcome(message) == ("failed", "conversation_merged")
    assert outcome(later) == ("failed", "conversation_merged")
    assert fake.calls == []
    assert planned(event(link, EventKind.PUBLIC_ENTRY)) == []


def test_a_note_refused_because_of_a_merge_is_posted_where_its_link_was_moved_meanwhile(
    link: TicketLink, fake: FakeIntercom
) -> None:
    source = link.conversation
    fake.conversation("222")
    message = entry(link, "since the merge")

    def meet(kind: str) -> fake_intercom.Answer | None:
        if kind != "note" or fake.conversation(source.conversation_id)["parts"]:
            return None
        merged = fake.add_part(source.conversation_id, part_type="merged_secondary_conversation", body=None)
        target = Conversation.objects.find_or_create(source.workspace, "222")
        TicketLink.objects.filter(pk=link.pk).update(conversation=target, since_part_at=merged["created_at"])
        return error(422, "unprocessable", "cannot reply")

    fake.before = meet
    run()
    assert outcome(message) == ("failed", "conversation_merged")
    (body,) = fake.bodies("222")
    assert "since the merge" in body
    assert TicketEvent.objects.get().conversation.conversation_id == "222"


def test_the_text_of_a_broadcast_is_kept_for_another_conversation_of_its_customer(
    link: TicketLink, fake: FakeIntercom
) -> None:
    broadcast = Broadcast.objects.create(ticket=link.ticket, form_key="k", admin_id=ADA)
    message = OutgoingMessage.objects.create(
        conversation=link.conversation, admin_id=ADA, body="<p>x</p>", broadcast=broadcast
    )
    fake.conversations.clear()
    run()
    assert outcome(message) == ("failed", "conversation_deleted")
    assert (message.body, message.cleaned_at) == ("<p>x</p>", None)


def test_a_disabled_workspace_and_one_without_a_token_post_later(
    link: TicketLink, fake: FakeIntercom
) -> None:
    message, workspace = entry(link), Workspace.objects.get()
    for changes, code in (
        ({"enabled": False}, "workspace_disabled"),
        ({"enabled": True, "access_token": ""}, "no_access_token"),
    ):
        for name, value in changes.items():
            setattr(workspace, name, value)
        workspace.save()
        retry()
        assert outcome(message) == ("waiting", code)
        assert message.attempts == 0
    workspace.access_token = "token"
    workspace.save()
    retry()
    assert outcome(message) == ("posted", "")


def test_nothing_is_posted_once_the_ticket_is_unlinked(link: TicketLink, fake: FakeIntercom) -> None:
    message = entry(link)
    link.delete()
    run()
    assert outcome(message) == ("failed", "not_linked")
    assert fake.calls == []


@pytest.mark.parametrize("is_executed", [True, False])
def test_a_link_that_is_removed_while_a_note_is_being_posted(
    link: TicketLink, fake: FakeIntercom, is_executed: bool
) -> None:
    message = entry(link)

    def meet(kind: str) -> None:
        if kind == "note":
            TicketLink.objects.all().delete()
            raise requests.ReadTimeout("lost")

    if is_executed:
        fake.after = meet
    else:
        fake.before = meet
    run()
    fake.before = fake.after = lambda _kind: None
    retry()
    assert outcome(message) == (("posted", "") if is_executed else ("failed", "not_linked"))
    # It is recognised when it comes back, and not copied to another ticket of the conversation.
    assert bool(message.part_id) is is_executed
    assert len(fake.calls) == is_executed


def test_the_seconds_from_save_to_post_are_measured(link: TicketLink, fake: FakeIntercom) -> None:
    def value(name: str) -> float:
        labels = {"workspace": link.conversation.workspace.workspace_id}
        return metrics.registry.get_sample_value(f"bridge_event_seconds_{name}", labels) or 0.0

    count, seconds = value("count"), value("sum")
    entry(link, happened_at=timezone.now() - dt.timedelta(seconds=40))
    # iTop's clock is ahead, and a save of unknown time.
    entry(link, happened_at=timezone.now() + dt.timedelta(hours=1))
    entry(link)
    run()
    assert value("count") == count + 2
    assert 40 <= value("sum") - seconds < 50


@pytest.mark.parametrize(
    ("status", "code"), [(401, "intercom_token_refused"), (403, "intercom_token_refused")]
)
def test_a_token_that_loses_its_permission_loses_no_message(
    link: TicketLink, fake: FakeIntercom, status: int, code: str
) -> None:
    first, second = entry(link, "first"), entry(link, "second")
    fake.before = lambda kind: error(status, "forbidden", "no") if kind == "note" else None
    run()
    assert (outcome(first), outcome(second)) == (("waiting", code), ("waiting", ""))
    fake.before = lambda _kind: None
    retry()
    assert (outcome(first), outcome(second)) == (("posted", ""), ("posted", ""))


def test_an_error_of_intercom_does_not_fail_a_message_while_no_other_is_posted(
    link: TicketLink, fake: FakeIntercom
) -> None:
    message = entry(link)
    fake.before = lambda kind: (503, {}, "down") if kind == "note" else None
    OutgoingMessage.objects.update(attempts=poster.MAX_ATTEMPTS)
    retry()
    assert outcome(message) == ("waiting", "intercom_unavailable")
    elsewhere = Conversation.objects.find_or_create(link.conversation.workspace, "999")
    OutgoingMessage.objects.create(conversation=elsewhere, body="x", state="posted")
    retry()
    assert outcome(message) == ("failed", "intercom_unavailable")


def test_a_message_fails_when_intercom_has_not_worked_for_a_week(
    link: TicketLink, fake: FakeIntercom
) -> None:
    message = entry(link)
    fake.before = lambda kind: (503, {}, "down") if kind == "note" else None
    OutgoingMessage.objects.update(created_at=timezone.now() - poster.MAX_AGE)
    retry()
    assert outcome(message)[0] == "failed"


# --- In whose name ---


def test_an_agents_entry_is_posted_in_the_name_of_the_teammate_with_the_same_address(
    link: TicketLink, fake: FakeIntercom
) -> None:
    set_rules(link, post_as_admin_id=ADA)
    entry(link, author_email="jules@x.example")
    entry(link, author_email="nobody@x.example")
    entry(link)
    planned(event(link, EventKind.CUSTOMER_ENTRY, author_email="jules@x.example", content="<p>x</p>"))
    run()
    assert [call[2] for call in fake.calls] == [JULES, ADA, ADA, ADA]


def test_a_note_about_two_agents_is_posted_in_nobodys_name(link: TicketLink, fake: FakeIntercom) -> None:
    planned(
        event(link, EventKind.PUBLIC_ENTRY, author_email="jules@x.example", content="<p>x</p>"),
        event(link, EventKind.PUBLIC_ENTRY, author_email="ada@x.example", content="<p>y</p>"),
    )
    run()
    assert fake.calls[0][2] == OWNER


@pytest.mark.parametrize(("shows", "author"), [(True, JULES), (False, ADA)])
def test_a_reply_is_posted_in_the_agents_name_only_if_names_are_shown(
    link: TicketLink, fake: FakeIntercom, shows: bool, author: str
) -> None:
    set_rules(link, public_entry="reply", shows_agent_names=shows, post_as_admin_id=ADA)
    entry(link, author_email="jules@x.example", author_name="Jules Verne")
    run()
    (call,) = fake.calls
    assert call[0] == "comment" and call[2] == author
    assert ("Jules Verne" in fake.bodies(call[1])[0]) is shows


def test_a_teammate_who_left_is_noticed_and_the_fallback_posts(link: TicketLink, fake: FakeIntercom) -> None:
    set_rules(link, post_as_admin_id=ADA)
    entry(link)
    run()
    del fake.admins[ADA]
    message = entry(link)
    run()
    assert [call[2] for call in fake.calls] == [ADA, OWNER]
    assert outcome(message) == ("posted", "")
    rules = EventRules.objects.get()
    assert rules.post_as_missing_since is not None
    fake.admins[ADA] = "ada@x.example"
    teammates(link.conversation.workspace, refresh=True)
    entry(link)
    run()
    rules.refresh_from_db()
    assert fake.calls[-1][2] == ADA
    assert rules.post_as_missing_since is None


def test_an_agents_teammate_who_left_is_replaced_too(link: TicketLink, fake: FakeIntercom) -> None:
    entry(link, author_email="jules@x.example")
    run()
    del fake.admins[JULES]
    entry(link, author_email="jules@x.example")
    run()
    assert [call[2] for call in fake.calls] == [JULES, OWNER]


def test_a_token_that_may_not_read_teammates_posts_as_configured(
    link: TicketLink, fake: FakeIntercom
) -> None:
    fake.before = lambda kind: error(403, "forbidden", "no") if kind == "admins" else None
    entry(link, author_email="jules@x.example")
    run()
    set_rules(link, post_as_admin_id=ADA)
    entry(link, author_email="jules@x.example")
    run()
    assert [call[2] for call in fake.calls] == [OWNER, ADA]
    assert EventRules.objects.get().post_as_missing_since is None


def test_teammates_are_asked_for_once_an_hour(link: TicketLink, fake: FakeIntercom) -> None:
    asked: list[str] = []
    fake.before = asked.append
    for _ in range(3):
        entry(link)
        run()
    assert (asked.count("admins"), asked.count("me")) == (1, 1)


# --- Reopening ---


def reopening(link: TicketLink, **rules: Any) -> OutgoingMessage:
    row = event(link, EventKind.PUBLIC_ENTRY, content="<p>x</p>")
    return planned(row, reopens_on=["public_entry"], **rules)[0]


@pytest.mark.parametrize("state", ["closed", "snoozed"])
@pytest.mark.parametrize(
    ("assign_to", "expected"),
    [
        ({}, []),
        ({"assign_to": "linked_by"}, [("admin", ADA)]),
        ({"assign_to": "last_teammate"}, [("admin", JULES)]),
        ({"assign_to": "team", "assign_to_team_id": "7"}, [("team", "7")]),
    ],
)
def test_a_change_reopens_the_conversation_after_a_note_with_the_reason(
    link: TicketLink,
    fake: FakeIntercom,
    state: str,
    assign_to: dict[str, str],
    expected: list[tuple[str, str]],
) -> None:
    key = link.conversation.conversation_id
    fake.add_part(key, body="<p>I close this</p>", author={"type": "admin", "id": JULES})
    fake.add_part(key, body="<p>Thanks</p>", author={"type": "user", "id": "u"})
    fake.add_part(key, body="<p>An app</p>", app_package_code="other")
    fake.conversation(key)["state"] = state
    message = reopening(link, **assign_to)
    run()
    row = fake.conversation(key)
    assert row["parts"][-1]["body"].endswith(f">{REASON}</p>")
    assert [call[0] for call in fake.calls] == ["note", "open"] + ["assignment"] * len(expected)
    assert row["state"] == "open"
    assert [(kind, row[kind]) for kind in ("admin", "team") if row[kind]] == expected
    assert outcome(message) == ("posted", "")
    assert message.reopened_at is not None
    assert TicketEvent.objects.get().reopened


def test_an_open_conversation_is_neither_opened_nor_assigned(link: TicketLink, fake: FakeIntercom) -> None:
    message = reopening(link, assign_to="linked_by")
    run()
    assert [call[0] for call in fake.calls] == ["note"]
    assert REASON not in fake.bodies(link.conversation.conversation_id)[0]
    assert outcome(message) == ("posted", "")
    assert not TicketEvent.objects.get().reopened


def test_a_conversation_is_reopened_at_most_three_times_a_day_for_a_ticket(
    link: TicketLink, fake: FakeIntercom
) -> None:
    key = link.conversation.conversation_id
    for _ in range(4):
        fake.conversation(key)["state"] = "closed"
        reopening(link)
        run()
    assert [call[0] for call in fake.calls] == ["note", "open"] * 3 + ["note"]
    assert REASON not in fake.bodies(key)[-1]
    TicketEvent.objects.update(created_at=timezone.now() - dt.timedelta(days=1))
    reopening(link)
    run()
    assert fake.conversation(key)["state"] == "open"


@pytest.mark.parametrize("lost", ["note", "open", "assignment"])
@pytest.mark.parametrize("is_executed", [True, False])
def test_reopening_is_finished_after_a_lost_answer_without_a_second_note(
    link: TicketLink, fake: FakeIntercom, lost: str, is_executed: bool
) -> None:
    key = link.conversation.conversation_id
    fake.conversation(key)["state"] = "closed"
    message = reopening(link, assign_to="linked_by")
    if is_executed:
        fake.after = once(lost)
    else:
        fake.before = once(lost)
    run()
    assert outcome(message)[0] == "waiting"
    retry()
    assert outcome(message) == ("posted", "")
    assert [call[0] for call in fake.calls] == ["note", "open", "assignment"]
    assert (fake.conversation(key)["state"], fake.conversation(key)["admin"]) == ("open", ADA)
    assert fake.bodies(key)[0].count(REASON) == 1


@pytest.mark.parametrize("kind", ["note", "open", "assignment"])
def test_a_crash_after_any_call_repeats_nothing(link: TicketLink, fake: FakeIntercom, kind: str) -> None:
    key = link.conversation.conversation_id
    fake.conversation(key)["state"] = "closed"
    message = reopening(link, assign_to="linked_by")

    def die(called: str) -> None:
        if called == kind:
            raise KeyboardInterrupt

    fake.after = die
    with pytest.raises(KeyboardInterrupt):
        run()
    fake.after = lambda _kind: None
    retry()
    assert outcome(message) == ("posted", "")
    assert [call[0] for call in fake.calls] == ["note", "open", "assignment"]


def test_a_teammate_who_opened_it_before_the_note_was_posted_is_not_overruled(
    link: TicketLink, fake: FakeIntercom
) -> None:
    key = link.conversation.conversation_id
    fake.conversation(key)["state"] = "closed"
    reopening(link, assign_to="linked_by")
    fake.before = once("note")
    run()
    fake.conversation(key)["state"] = "open"
    retry()
    assert [call[0] for call in fake.calls] == ["note"]
    assert REASON not in fake.bodies(key)[0]


def test_a_conversation_that_cannot_be_opened_has_its_note_and_the_reason_is_stored(
    link: TicketLink, fake: FakeIntercom
) -> None:
    fake.conversation(link.conversation.conversation_id)["state"] = "closed"
    message = reopening(link)
    fake.before = once("open", error(422, "unprocessable", "cannot be opened"))
    run()
    assert outcome(message) == ("posted", "intercom_rejected")
    assert "cannot be opened" in message.reason_detail
    assert message.reopened_at is None


@pytest.mark.parametrize("status", [403, 422])
def test_a_conversation_that_is_open_but_could_not_be_assigned_counts_as_reopened(
    link: TicketLink, fake: FakeIntercom, status: int
) -> None:
    fake.conversation(link.conversation.conversation_id)["state"] = "closed"
    message = reopening(link, assign_to="team", assign_to_team_id="7")
    fake.before = once("assignment", error(status, "forbidden", "no such team"))
    run()
    assert outcome(message)[0] == "posted"
    assert "no such team" in message.reason_detail
    assert TicketEvent.objects.get().reopened


def test_a_note_whose_part_intercom_did_not_show_is_not_repeated_for_the_sake_of_reopening(
    link: TicketLink, fake: FakeIntercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.conversation(link.conversation.conversation_id)["state"] = "closed"
    message = reopening(link)
    original = IntercomClient.reply

    def hidden(self: IntercomClient, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)

    monkeypatch.setattr(IntercomClient, "reply", hidden)
    fake.before = once("open")
    run()
    assert outcome(message) == ("posted", "intercom_no_response")


def test_the_reason_of_a_reply_that_reopens_is_a_note_before_it(link: TicketLink, fake: FakeIntercom) -> None:
    key = link.conversation.conversation_id
    fake.conversation(key)["state"] = "closed"
    planned(event(link, EventKind.RESOLVED), resolved="reply", reopens_on=["resolved"])
    run()
    assert [call[0] for call in fake.calls] == ["note", "open", "comment"]
    assert TicketEvent.objects.get().reopened


def test_the_reason_is_not_posted_in_a_conversation_that_is_open(
    link: TicketLink, fake: FakeIntercom
) -> None:
    entry = event(link, EventKind.PUBLIC_ENTRY, content="<p>Found it</p>")
    note, _reply = planned(entry, public_entry="reply", reopens_on=["public_entry"])
    assert not to_text(note.body).rstrip().endswith(":")
    run()
    assert [call[0] for call in fake.calls] == ["comment"]
    assert OutgoingMessage.objects.get().state == "posted"


PICTURE = '<p>See <img src="data:image/png;base64,iVBORw0KGgo="></p>'


def with_picture(link: TicketLink, **rules: Any) -> list[OutgoingMessage]:
    """Plan the messages about an entry with a picture, which reopens the conversation."""
    rules = {"reopens_on": ["public_entry"]} | rules
    entry = event(link, EventKind.PUBLIC_ENTRY, content=PICTURE, author_name="Jules")
    add_file_rows([entry], EventRules(workspace=link.conversation.workspace))
    return planned(entry, **rules)


def test_the_picture_of_a_reply_that_reopens_is_in_the_note_with_the_reason(
    link: TicketLink, fake: FakeIntercom
) -> None:
    key = link.conversation.conversation_id
    fake.conversation(key)["state"] = "closed"
    with_picture(link, public_entry="reply", files="note")
    run()
    assert [call[0] for call in fake.calls] == ["note", "open", "comment"]
    assert [[file["name"] for file in files] for files in fake.uploads] == [["picture-1.png"], []]
    assert to_text(fake.bodies(key)[0]).startswith("Pictures in the entry of Jules in ticket R-000012")
    assert fake.bodies(key)[0].endswith(f">{REASON}</p>")
    assert TicketEvent.objects.get().reopened


def test_the_picture_of_a_reply_is_posted_in_an_open_conversation_without_a_reason(
    link: TicketLink, fake: FakeIntercom
) -> None:
    with_picture(link, public_entry="reply", files="note")
    run()
    assert [call[0] for call in fake.calls] == ["note", "comment"]
    assert REASON not in fake.bodies(link.conversation.conversation_id)[0]


def test_a_note_with_a_file_says_once_after_a_lost_answer_that_it_reopened(
    link: TicketLink, fake: FakeIntercom
) -> None:
    key = link.conversation.conversation_id
    fake.conversation(key)["state"] = "closed"
    with_picture(link)
    fake.before = once("note")
    run()
    retry()
    (body,) = fake.bodies(key)
    assert body.count(REASON) == 1 and body.endswith(f">{REASON}</p>")
    assert body.count("picture-1.png") == 1


# --- Several workers ---


def lose_every_fifth(calls: Iterator[int], remainder: int) -> Callable[[str], None]:
    def meet(_kind: str) -> None:
        if next(calls) % 5 == remainder:
            raise requests.ReadTimeout("lost")

    return meet


def work_until_done() -> None:
    while OutgoingMessage.objects.waiting().exists():
        for row in OutgoingMessage.objects.next_due():
            poster.post(row)
    connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_several_workers_post_everything_once_and_in_order_although_answers_get_lost(
    link: TicketLink, fake: FakeIntercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fifth call is not executed, and of every fifth the answer is lost."""
    monkeypatch.setattr(poster, "backoff_seconds", lambda _attempts: 0.0)
    monkeypatch.setattr(poster, "UNKNOWN_SECONDS", 0.0)
    workspace = link.conversation.workspace
    links = [link]
    for key in ("801", "802"):
        fake.conversation(key)
        conversation = Conversation.objects.find_or_create(workspace, key)
        links.append(TicketLink.objects.create(conversation=conversation, ticket=link.ticket))
    for number in range(10):
        for row in links:
            planned(event(row, EventKind.PUBLIC_ENTRY, content=f"<p>entry {number}</p>"))
    calls = count()
    fake.before, fake.after = lose_every_fifth(calls, 1), lose_every_fifth(calls, 4)
    workers = [threading.Thread(target=work_until_done) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert set(OutgoingMessage.objects.values_list("state", flat=True)) == {"posted"}
    for row in links:
        texts = [to_text(body).split("\n")[-1] for body in fake.bodies(row.conversation.conversation_id)]
        assert texts == [f"entry {number}" for number in range(10)]
