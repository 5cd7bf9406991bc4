"""Reconciliation adds each message whose notification was lost, once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from intercom_bridge.config_import import BridgeFile, export
from intercom_bridge.models import (
    Conversation,
    Delivery,
    OutgoingMessage,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.job import claim
from intercom_bridge.sync import reconcile as reconciling
from intercom_bridge.sync.intake import process_batch
from intercom_bridge.worker.queues import QUEUES, run_row
from sandbox.intercom import Intercom
from sandbox.intercom.store import Part
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, notification, notify, part, post_webhook

Work = Callable[[], None]


@pytest.fixture
def linked(talking: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008, after the worker has finished."""
    store_link(talking, itop, "R-000008")
    return talking


def conversation() -> Conversation:
    return Conversation.objects.get()


def say(intercom: Intercom, words: str, **more: Any) -> Part:
    """Add a message whose webhook is lost."""
    return intercom.write(intercom.conversation_of("Alice Martin").id, body=words, **more)


def hear(client: Client, intercom: Intercom, said: Part, topic: str = "conversation.user.replied") -> None:
    """Deliver the notification of a message."""
    made = intercom.workspace.shapes.part(said)
    assert notify(client, made, topic=topic, id=said.conversation_id).status_code == 200


def an_hour_later() -> None:
    Conversation.objects.exclude(reconcile_at=None).update(reconcile_at=timezone.now())


def new_entries(itop: Itop, ticket: int = 8, log: str = "public_log") -> list[str]:
    recorded = {(8, "public_log"): 3, (8, "private_log"): 1}.get((ticket, log), 0)
    return [entry["message"] for entry in itop.store.log(ticket, log)][recorded:]


def said(intercom: Intercom) -> list[Part]:
    return intercom.store.parts(conversation().conversation_id)


def fetches(intercom: Intercom) -> int:
    return sum(1 for method, path in intercom.calls if method == "GET" and path.startswith("/conversations/"))


def due_in() -> float:
    """Return the seconds until the next comparison."""
    due = conversation().reconcile_at
    assert due is not None
    return (due - timezone.now()).total_seconds()


# Which messages are added


def test_messages_whose_notifications_were_lost_are_added_in_order(
    client: Client, linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    say(intercom, "lost", created_at=1_900_000_001)
    say(intercom, "lost too", note=True, author="admin", created_at=1_900_000_002)
    heard = say(intercom, "heard", created_at=1_900_000_003)
    say(intercom, "lost again", created_at=1_900_000_004)
    hear(client, intercom, heard)
    work()
    assert new_entries(itop) == ["<p>heard</p>"]
    an_hour_later()
    work()
    # A late message is written at once, with its own time.
    assert new_entries(itop) == ["<p>heard</p>", "<p>lost</p>", "<p>lost again</p>"]
    assert new_entries(itop, log="private_log") == ["<p>lost too</p>"]
    assert list(Delivery.objects.in_order().values_list("state", flat=True)) == ["written"] * 4


def test_messages_from_while_the_workspace_was_disabled_are_written_once_it_is_enabled(
    client: Client,
    admin_client: Client,
    linked: Teammate,
    intercom: Intercom,
    itop: Itop,
    work: Work,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    workspace = Workspace.objects.get()
    turn(admin_client, workspace, on=False)
    hear(client, intercom, say(intercom, "while it was off"))
    Conversation.objects.update(reconcile_at=None)
    work()
    assert new_entries(itop) == []
    with django_capture_on_commit_callbacks(execute=True):
        turn(admin_client, workspace, on=True)
    work()
    assert new_entries(itop) == ["<p>while it was off</p>"]


def turn(admin_client: Client, workspace: Workspace, *, on: bool) -> None:
    """Enable or disable the workspace on its admin page."""
    page = reverse("admin:intercom_bridge_workspace_change", args=[workspace.pk])
    names = ["name", "region", "scope", "language", "time_zone", "external_id_attribute", "verification"]
    names += ["max_file_mb", "max_ticket_files_mb", "forbidden_file_types"]
    typed = {name: getattr(workspace, name) for name in names}
    typed |= {"itop": workspace.itop_id, "profile": workspace.profile_id} | ({"enabled": "on"} if on else {})
    assert admin_client.post(page, typed).status_code == 302


def test_an_import_that_enables_the_workspace_has_the_same_effect(
    client: Client, linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    document = BridgeFile(export())
    Workspace.objects.update(enabled=False)
    hear(client, intercom, say(intercom, "while it was off"))
    Conversation.objects.update(reconcile_at=None)
    work()
    assert new_entries(itop) == []
    document.apply(overwrite=True)
    work()
    assert new_entries(itop) == ["<p>while it was off</p>"]
    document.apply(overwrite=True)
    assert due_in() > 0


def test_an_added_message_is_not_written_again_when_its_notification_arrives(
    client: Client, linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    late = say(intercom, "late")
    hear(client, intercom, say(intercom, "heard"))
    work()
    an_hour_later()
    work()
    hear(client, intercom, late)
    an_hour_later()
    work()
    assert new_entries(itop) == ["<p>heard</p>", "<p>late</p>"]
    assert Delivery.objects.count() == 2


def test_a_message_between_the_payload_and_the_link_is_not_lost(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    talking.open().click("open tickets").click("R-000008").click("Link to this conversation")
    say(intercom, "one more thing")
    talking.click("Link without earlier messages")
    work()
    assert new_entries(itop) == ["<p>one more thing</p>"]


def test_a_message_between_the_payload_and_the_creation_is_not_lost(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    talking.open().click("Create a ticket")
    say(intercom, "one more thing")
    talking.click("Create ticket").click("Create anyway")
    work()
    log = itop.store.log(TicketLink.objects.get().ticket.object_id)
    assert [entry["message"] for entry in log][-1] == "<p>one more thing</p>"
    assert len(log) == 4


def test_each_linked_ticket_gets_the_messages_that_it_lacks(
    client: Client, linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    hear(client, intercom, say(intercom, "before the second link"))
    work()
    linked.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    linked.link("R-000006")
    work()
    before = new_entries(itop, 6)
    say(intercom, "for both")
    an_hour_later()
    work()
    assert new_entries(itop) == ["<p>before the second link</p>", "<p>for both</p>"]
    assert new_entries(itop, 6) == [*before, "<p>for both</p>"]


def test_bot_messages_older_messages_and_own_posts_are_not_added(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    talking.link("R-000008")
    work()  # This posts the note about the link.
    say(intercom, "I am Fin", author="bot")
    intercom.store.add_part(
        conversation().conversation_id,
        part_type="snoozed",
        body=None,
        author_type="admin",
        author_id="9608799",
    )
    an_hour_later()
    work()
    assert [part.part_type for part in intercom.store.parts(conversation().conversation_id)].count(
        "note"
    ) == 1
    assert new_entries(itop) == [] and new_entries(itop, log="private_log") == []
    assert Delivery.objects.count() == 0


def test_an_own_post_of_unknown_outcome_is_recognised_by_its_text(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    # The response to the first post is lost, so neither its id nor the app's package code is known.
    intercom.faults.add("drop_after", path="reply", count=1)
    talking.link("R-000008")
    work()
    an_hour_later()
    work()
    message = OutgoingMessage.objects.get()
    assert (message.state, message.attempts) == ("waiting", 1)
    assert message.part_id == next(part.id for part in said(intercom) if part.part_type == "note")
    assert new_entries(itop, log="private_log") == []
    OutgoingMessage.objects.update(due_at=timezone.now())
    work()
    an_hour_later()
    work()
    assert OutgoingMessage.objects.get().state == "posted"
    assert [part.part_type for part in said(intercom)].count("note") == 1
    assert new_entries(itop, log="private_log") == []


def test_messages_skipped_during_a_pause_stay_skipped(
    client: Client, linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    linked.open().click("Pause sync")
    hear(client, intercom, say(intercom, "unheard"))
    work()
    asked = fetches(intercom)
    an_hour_later()
    work()
    assert fetches(intercom) == asked  # Nothing is compared while the sync is paused.
    linked.click("Resume sync")
    an_hour_later()
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason_code == "sync_paused"


def test_messages_lost_during_a_pause_are_offered_to_the_teammate(
    linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    noon = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)

    def at(seconds: int) -> time_machine.travel:
        return time_machine.travel(noon + dt.timedelta(seconds=seconds), tick=False)

    with at(0):
        linked.open().click("Pause sync")
    say(intercom, "lost in the pause", created_at=int(noon.timestamp()) + 5)
    with at(10):
        linked.open().click("Resume sync")
    say(intercom, "lost after it", created_at=int(noon.timestamp()) + 15)
    with at(20):
        work()
        assert new_entries(itop) == ["<p>lost after it</p>"]
        linked.open()
        assert "1 message was left out while sync was paused" in linked.text
        linked.click("Copy them now")
        work()
    assert new_entries(itop) == ["<p>lost after it</p>", "<p>lost in the pause</p>"]


# When conversations are compared


def test_a_new_link_is_compared_at_once_and_an_inactive_one_not_again(
    talking: Teammate, intercom: Intercom, work: Work
) -> None:
    talking.link("R-000008")
    work()
    assert fetches(intercom) == 1
    assert conversation().reconcile_at is None


def test_a_message_schedules_a_comparison_within_the_hour(
    client: Client, linked: Teammate, intercom: Intercom, work: Work
) -> None:
    hear(client, intercom, say(intercom, "one"))
    work()
    assert 3590 < due_in() <= 3600
    first = conversation().reconcile_at
    hear(client, intercom, say(intercom, "two"))
    work()
    assert conversation().reconcile_at == first


def test_comparisons_repeat_hourly_until_a_day_after_the_last_message(
    client: Client, linked: Teammate, intercom: Intercom, work: Work
) -> None:
    hear(client, intercom, say(intercom, "one"))
    work()
    an_hour_later()
    work()
    assert 3590 < due_in() <= 3600
    Delivery.objects.update(created_at=timezone.now() - dt.timedelta(hours=25))
    an_hour_later()
    work()
    assert conversation().reconcile_at is None


def test_only_one_of_two_workers_compares(linked: Teammate, intercom: Intercom) -> None:
    Conversation.objects.update(reconcile_at=timezone.now())
    first, second = conversation(), conversation()
    assert claim(first, 60, due_field="reconcile_at")
    assert not claim(second, 60, due_field="reconcile_at")
    asked = fetches(intercom)
    run_row(next(queue for queue in QUEUES if queue.name == "reconcile_conversation"), first.pk)
    assert fetches(intercom) == asked


def test_a_comparison_requested_during_another_one_is_not_lost(
    linked: Teammate, intercom: Intercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = reconciling.compare

    def compare(conversation_: Conversation, *, fill: bool) -> Any:
        comparison = original(conversation_, fill=fill)
        Conversation.objects.filter(pk=conversation_.pk).compare_within(0)  # A second ticket is linked.
        return comparison

    monkeypatch.setattr(reconciling, "compare", compare)
    Conversation.objects.update(reconcile_at=timezone.now())
    run_row(next(queue for queue in QUEUES if queue.name == "reconcile_conversation"), conversation().pk)
    assert due_in() <= 0


# Errors of Intercom


def test_a_rate_limit_postpones_the_whole_workspace(
    linked: Teammate, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    other = Conversation.objects.create(
        workspace=workspace, conversation_id="1", reconcile_at=timezone.now() + dt.timedelta(seconds=1)
    )
    Conversation.objects.exclude(pk=other.pk).update(reconcile_at=timezone.now())
    intercom.limit_rate(30)
    work()
    for row in Conversation.objects.all():
        assert row.reconcile_at is not None
        assert 25 < (row.reconcile_at - timezone.now()).total_seconds() <= 31
        assert row.reconcile_code == "intercom_rate_limited"


@pytest.mark.parametrize(
    "fault", [{"kind": "error", "status": 503}, {"kind": "html", "status": 502}, {"kind": "drop_before"}]
)
def test_comparisons_back_off_while_intercom_fails(
    linked: Teammate, intercom: Intercom, itop: Itop, work: Work, fault: dict[str, Any]
) -> None:
    say(intercom, "lost")
    fault = dict(fault)
    intercom.faults.add(fault.pop("kind"), path="/conversations/", **fault)
    for failures in (1, 2, 3):
        Conversation.objects.update(reconcile_at=timezone.now())
        work()
        assert conversation().reconcile_failures == failures
        assert 0.7 * 2**failures - 1 < due_in() <= 2**failures
        assert conversation().reconcile_code.startswith("intercom_")
    intercom.faults.clear()
    an_hour_later()
    work()
    assert new_entries(itop) == ["<p>lost</p>"]
    assert (conversation().reconcile_failures, conversation().reconcile_code) == (0, "")


def test_a_rejected_token_is_retried_later_and_displayed(
    linked: Teammate, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    workspace.access_token = "another"
    workspace.save()
    Conversation.objects.update(reconcile_at=timezone.now())
    work()
    assert due_in() > 0
    assert conversation().reconcile_code == "intercom_token_refused"
    assert "The bridge could not ask Intercom" in linked.open().click("Sync on").text


def test_without_an_access_token_no_request_is_sent(
    linked: Teammate, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    workspace.access_token = ""
    workspace.save()
    asked = fetches(intercom)
    Conversation.objects.update(reconcile_at=timezone.now())
    work()
    assert fetches(intercom) == asked
    assert conversation().reconcile_at is None
    assert conversation().reconcile_code == "no_access_token"


def test_a_conversation_deleted_in_intercom_is_not_compared_again(
    linked: Teammate, intercom: Intercom, work: Work
) -> None:
    Conversation.objects.update(conversation_id="999999", reconcile_at=timezone.now())
    asked = fetches(intercom)
    work()
    work()
    assert fetches(intercom) == asked + 1
    assert (conversation().reconcile_at, conversation().reconcile_code) == (None, "conversation_deleted")


def test_a_disabled_workspace_is_not_compared(
    linked: Teammate, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    workspace.enabled = False
    workspace.save()
    asked = fetches(intercom)
    Conversation.objects.update(reconcile_at=timezone.now())
    work()
    assert fetches(intercom) == asked
    assert conversation().reconcile_at is None


# manage.py reconcile


def command(*arguments: str) -> str:
    said = StringIO()
    call_command("reconcile", *arguments, stdout=said)
    return said.getvalue()


def test_the_command_adds_missing_messages_and_reports_them(
    linked: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    say(intercom, "one")
    say(intercom, "two")
    said = command()
    assert f"{conversation().conversation_id} (abcd1234): filled in: 2 messages in R-000008" in said
    assert "1 conversation compared: 2 messages filled in" in said
    work()
    assert new_entries(itop) == ["<p>one</p>", "<p>two</p>"]
    assert "nothing is missing" in command() and "nothing was missing" in command()


def test_a_dry_run_reports_missing_messages_and_writes_nothing(linked: Teammate, intercom: Intercom) -> None:
    say(intercom, "one")
    row = Conversation.objects.values().get()
    said = command("--dry-run")
    assert "missing: 1 message in R-000008" in said
    assert "nothing was changed" in said
    assert Delivery.objects.count() == 0
    assert Conversation.objects.values().get() == row


def test_a_failed_comparison_is_reported_and_sets_the_exit_status(
    linked: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    intercom.faults.add("error", path="/conversations/")
    out = StringIO()
    with pytest.raises(CommandError, match="1 conversation could not be compared") as raised:
        call_command("reconcile", stdout=out)
    assert raised.value.returncode == 1
    assert "HTTP 503" in out.getvalue()
    assert 0 < due_in() <= 60  # The worker tries again.
    with pytest.raises(CommandError):
        call_command("reconcile", "--dry-run", stdout=StringIO())


def test_a_rate_limit_delays_the_next_attempt(
    linked: Teammate, intercom: Intercom, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        intercom.limit_rate(-1)

    monkeypatch.setattr("time.sleep", sleep)
    intercom.limit_rate(20)
    assert "nothing is missing" in command()
    assert 15 < slept[0] <= 21


def test_paused_deleted_and_disabled_conversations_are_no_failure(
    linked: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    TicketLink.objects.update(sync_on=False)
    assert "the sync is paused" in command()
    TicketLink.objects.update(sync_on=True)
    workspace.enabled = False
    workspace.save()
    assert "the workspace is disabled" in command()
    workspace.enabled = True
    workspace.save()
    Conversation.objects.update(conversation_id="999999")
    assert "deleted in Intercom" in command()


def test_since_excludes_inactive_conversations(
    client: Client, linked: Teammate, intercom: Intercom, work: Work
) -> None:
    TicketLink.objects.update(created_at=timezone.now() - dt.timedelta(days=9))
    assert "0 conversations compared" in command("--since", "2 days")
    assert "1 conversation compared" in command("--since", "10 days")
    assert "1 conversation compared" in command("--since", "2 weeks")
    hear(client, intercom, say(intercom, "one"))
    work()
    today = timezone.now().date().isoformat()
    assert "1 conversation compared" in command("--since", today)
    assert "1 conversation compared" in command("--since", f"{today}T00:00+00:00")
    assert "0 conversations compared" in command("--since", "2999-01-01")


def test_the_command_can_be_limited_to_a_workspace(linked: Teammate, workspace: Workspace) -> None:
    other = Workspace.objects.create(
        workspace_id="other", itop=workspace.itop, profile=workspace.profile, client_secret="x"
    )
    assert "1 conversation compared" in command("--workspace", "abcd1234")
    assert "0 conversations compared" in command("--workspace", other.workspace_id)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workspace", "nowhere"], "There is no workspace nowhere. Existing: abcd1234"),
        (["--since", "yesterday"], "is neither a date like"),
        (["--since", "9999999 days"], "is neither a date like"),
    ],
)
def test_invalid_arguments_are_reported(workspace: Workspace, arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        command(*arguments)


@pytest.mark.parametrize("topic", ["ticket.admin.replied", "ticket.contact.replied", "ticket.note.created"])
@pytest.mark.parametrize("shape", ["same id", "linked"])
def test_a_reply_in_a_ticket_of_intercom_has_its_conversation_compared_at_once(
    client: Client, linked: Teammate, topic: str, shape: str
) -> None:
    row = Conversation.objects.get()
    Conversation.objects.update(reconcile_at=None)
    ticket: dict[str, Any] = {"type": "ticket", "id": row.conversation_id if shape == "same id" else "5"}
    if shape == "linked":
        other = {"type": "conversation", "id": row.conversation_id}
        ticket |= {"linked_objects": {"type": "list", "data": [other]}}
    item = {"type": "ticket_ticket_part", "ticket": ticket, "ticket_part": {"id": "1", "body": "<p>x</p>"}}
    payload = notification(part(1, ""), topic=topic)
    payload["data"]["item"] = item
    post_webhook(client, json.dumps(payload).encode())
    process_batch()
    row.refresh_from_db()
    assert row.reconcile_at is not None and row.reconcile_at <= timezone.now()
    assert WebhookEvent.objects.get().state == "handled"
