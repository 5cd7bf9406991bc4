"""From a webhook to the ticket's log, against the sandbox's iTop."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, OutgoingMessage, TicketLink, WebhookEvent, Workspace
from intercom_bridge.sync import intake
from intercom_bridge.sync.intake import process_batch
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import ADA, Teammate, author_of, notification, notify, part, post_webhook

Work = Callable[[], None]

TICKET = 8


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate who has linked R-000008, which has its own entries (recording 028)."""
    store_link(teammate, itop, "R-000008")
    return teammate


def new_entries(itop: Itop, code: str = "public_log", ticket: int = TICKET) -> list[str]:
    """Return the HTML of what was written since the ticket was recorded."""
    recorded = {"public_log": 3, "private_log": 1} if ticket == 8 else {}
    return [entry["message"] for entry in itop.store.log(ticket, code)][recorded.get(code, 0) :]


def test_a_reply_of_the_customer_is_written_to_the_public_log_in_their_name(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    assert notify(client, part(37358198350, "<p>Any news?</p>")).status_code == 200
    work()
    entry = itop.store.log(TICKET)[-1]
    assert (entry["message"], entry["user_login"], int(entry["user_id"])) == (
        "<p>Any news?</p>",
        "Alice Martin",
        8,
    )
    assert WebhookEvent.objects.get().state == "handled"
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.author) == ("written", "Alice Martin")
    assert delivery.idempotency_key == "Intercom message 37358198350 (abcd1234), Alice Martin"


def test_a_note_is_written_to_the_private_log(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    note = part(37358198350, "<p>check the cable</p>", author_of(ADA), part_type="note")
    notify(client, note, topic="conversation.admin.noted")
    work()
    assert new_entries(itop, "private_log") == ["<p>check the cable</p>"]
    assert new_entries(itop) == []
    assert itop.store.log(TICKET, "private_log")[-1]["user_login"] == "Ada Reyes (Intercom)"


def test_a_redelivered_notification_writes_nothing_twice(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    for _ in range(3):
        notify(client, part(37358198350, "<p>once</p>"), notification_id="notif_a")
        work()
    notify(client, part(37358198350, "<p>once</p>"), notification_id="notif_b")
    work()
    assert new_entries(itop) == ["<p>once</p>"]
    first, second = WebhookEvent.objects.order_by("pk")
    assert first.times_received == 3
    assert second.state == "skipped" and second.reason_code == "duplicate"


def test_messages_are_written_in_the_order_of_the_conversation(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    for number in (53, 51, 54, 52):
        notify(client, part(37358198300 + number, f"<p>{number}</p>"))
    work()
    assert new_entries(itop) == ["<p>51</p>", "<p>52</p>", "<p>53</p>", "<p>54</p>"]


def test_every_part_of_the_payload_is_written(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198352, "<p>two</p>"), part(37358198351, "<p>one</p>"))
    work()
    assert new_entries(itop) == ["<p>one</p>", "<p>two</p>"]


def test_a_message_is_written_to_each_linked_ticket(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    notify(client, part(37358198350, "<p>both</p>"))
    work()
    assert new_entries(itop) == ["<p>both</p>"]
    assert new_entries(itop, ticket=6)[-1:] == ["<p>both</p>"]
    assert Delivery.objects.filter(state="written").count() == 2


def test_plain_text_of_api_2_15_keeps_its_paragraphs_and_is_escaped(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "first\nsecond\n\n<not a tag> & more"))
    work()
    [html] = new_entries(itop)
    assert html.count("<p>") == 2
    assert "<br>" in html and "&lt;not a tag&gt; &amp; more" in html


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"author": {"type": "bot", "id": "1", "name": "Fin", "email": ""}}, "bot_message"),
        ({"body": None}, "empty_message"),
        ({"body": "<p> </p>"}, "empty_message"),
        ({"part_type": "snoozed", "body": None}, "unknown_part_type"),
        ({"part_type": "assignment", "body": None}, "no_message"),
        ({"redacted": True}, "redacted"),
    ],
)
def test_automatic_parts_are_skipped_with_the_reason(
    client: Client, linked: Teammate, itop: Itop, work: Work, more: dict[str, Any], reason: str
) -> None:
    notify(client, part(37358198350, "<p>text</p>") | more)
    work()
    assert new_entries(itop) == []
    delivery = Delivery.objects.get()
    assert delivery.state == "skipped"
    assert delivery.reason_code == reason
    assert WebhookEvent.objects.get().state == "skipped"


@pytest.mark.parametrize("part_type", ["assignment", "close", "open"])
def test_a_reply_that_also_assigns_or_closes_is_a_message(
    client: Client, linked: Teammate, itop: Itop, work: Work, part_type: str
) -> None:
    said = part(37358198350, "<p>Solved</p>", author_of(ADA), part_type=part_type)
    notify(client, said, topic="conversation.admin.replied")
    work()
    assert new_entries(itop) == ["<p>Solved</p>"]


def test_files_without_a_text_are_an_entry_that_names_them(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    files = [{"type": "upload", "name": "a <b>.png", "url": "https://x.example/a"}, {"name": "b.pdf"}]
    notify(client, part(37358198350, None, attachments=files))
    work()
    assert new_entries(itop) == ["<p>[Files: a _b_.png, b.pdf]</p>"]


def test_a_lead_is_never_written_under_a_users_account(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    lead = {"type": "lead", "id": "5", "name": "Alice Martin", "email": "alice.martin@acme.example"}
    notify(client, part(37358198350, "<p>hello</p>", lead))
    work()
    entry = itop.store.log(TICKET)[-1]
    assert (entry["user_login"], int(entry["user_id"])) == ("Alice Martin (Intercom)", 0)


def test_messages_during_a_pause_are_skipped_with_the_reason(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.open().click("Pause sync")
    notify(client, part(37358198350, "<p>unheard</p>"))
    work()
    linked.click("Resume sync")
    notify(client, part(37358198351, "<p>heard</p>"))
    work()
    assert new_entries(itop) == ["<p>heard</p>"]
    assert Delivery.objects.get(part_id="37358198350").reason_code == "sync_paused"


def test_a_late_notification_of_a_message_before_the_link_writes_nothing(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason_code == "written_before_link"


def test_a_message_between_the_submission_and_the_link_is_not_lost(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket")
    notify(client, part(37358198399, "<p>one more thing</p>"))
    work()
    assert WebhookEvent.objects.get().reason_code == "not_linked"
    teammate.click("Create ticket")
    work()
    ticket = TicketLink.objects.get().ticket
    assert [entry["message"] for entry in itop.store.log(ticket.object_id)][-1] == "<p>one more thing</p>"


def test_what_the_transcript_copied_is_not_written_again_by_its_webhook(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")
    work()
    ticket = TicketLink.objects.get().ticket
    before = len(itop.store.log(ticket.object_id))
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    assert len(itop.store.log(ticket.object_id)) == before == 2


def test_a_source_and_a_reply_may_have_the_same_id(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")
    notify(client, part(3381828792, "<p>same id as the source</p>", created_at=1_768_099_999))
    work()
    ticket = TicketLink.objects.get().ticket
    assert itop.store.log(ticket.object_id)[-1]["message"] == "<p>same id as the source</p>"


@pytest.mark.parametrize(
    ("topic", "state", "reason"),
    [
        ("ping", "handled", "ping"),
        ("conversation.priority.updated", "skipped", "topic_ignored"),
        ("conversation.user.created", "skipped", "topic_ignored"),
        ("something.nobody.knows", "skipped", "topic_ignored"),
        ("", "skipped", "topic_ignored"),
    ],
)
def test_other_topics_are_accepted_recorded_and_skipped(
    client: Client, workspace: Workspace, work: Work, topic: str, state: str, reason: str
) -> None:
    assert notify(client, part(1, "<p>x</p>"), topic=topic).status_code == 200
    work()
    row = WebhookEvent.objects.get()
    assert row.state == state
    assert row.reason_code == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": None}, "no_conversation"),
        ({"data": {"item": {"type": "conversation"}}}, "no_conversation"),
        ({"data": {"item": "x"}}, "no_conversation"),
        ({"data": {"item": {"type": "conversation", "id": "unknown"}}}, "not_linked"),
        ({"data": {"item": {"type": "conversation", "id": "215472621202693"}}}, "no_message"),
        (
            {
                "data": {
                    "item": {"type": "conversation", "id": "215472621202693", "conversation_parts": [5, None]}
                }
            },
            "no_message",
        ),
    ],
)
def test_an_invalid_notification_is_stored_with_the_reason(
    client: Client, linked: Teammate, work: Work, change: dict[str, Any], reason: str
) -> None:
    body = notification(part(1, "<p>x</p>")) | change
    assert post_webhook(client, json.dumps(body).encode()).status_code == 200
    work()
    row = WebhookEvent.objects.get()
    assert row.state == "skipped"
    assert row.reason_code == reason


def test_nul_and_lone_surrogates_are_removed_and_the_rest_is_written(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    body = notification(
        part(37358198350, "PLACE", {"type": "user", "id": "1", "name": "N\x00ul", "email": "n@x.example"})
    )
    raw = json.dumps(body).replace("PLACE", "<p>a\\u0000b\\ud800c 😀</p>").encode()
    assert post_webhook(client, raw).status_code == 200
    work()
    assert new_entries(itop) == ["<p>abc 😀</p>"]
    assert bytes(WebhookEvent.objects.get().body) == raw


def test_a_disabled_workspace_stores_and_skips_events(
    client: Client, workspace: Workspace, work: Work
) -> None:
    workspace.enabled = False
    workspace.save()
    assert notify(client, part(1, "<p>x</p>")).status_code == 200
    work()
    assert WebhookEvent.objects.get().reason_code == "workspace_disabled"


def test_an_own_post_is_recognised_by_its_part_id(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    OutgoingMessage.objects.create(
        conversation=TicketLink.objects.get().conversation,
        admin_id="1",
        body="<p>ours</p>",
        state="posted",
        part_id="37358198350",
    )
    notify(client, part(37358198350, "<p>ours</p>", author_of(ADA)), topic="conversation.admin.replied")
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason_code == "own_message"


def test_an_own_post_is_recognised_by_the_package_code_of_the_app(
    client: Client, linked: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    workspace.app_package_code = "our-code"
    workspace.save()
    notify(client, part(37358198350, "<p>ours</p>", author_of(ADA), app_package_code="our-code"))
    notify(client, part(37358198351, "<p>theirs</p>", author_of(ADA), app_package_code="other-app"))
    work()
    assert new_entries(itop) == ["<p>theirs</p>"]


def test_an_event_that_may_be_a_pending_own_post_waits_for_its_response(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    posting = OutgoingMessage.objects.create(
        conversation=TicketLink.objects.get().conversation,
        admin_id="1",
        body="<p>ours</p>",
        due_at=timezone.now() + dt.timedelta(hours=1),
    )
    notify(client, part(37358198350, "<p>ours</p>", author_of(ADA), app_package_code="our-code"))
    work()
    assert Delivery.objects.count() == 0
    posting.state, posting.part_id = "posted", "37358198350"
    posting.save()
    WebhookEvent.objects.update(due_at=timezone.now())
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason_code == "own_message"


def test_an_event_that_raises_an_error_blocks_no_other(
    client: Client, linked: Teammate, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intercom_bridge.sync import intake

    notify(client, part(37358198350, "<p>breaks</p>"))
    notify(client, part(37358198351, "<p>works</p>"))
    original = intake.deliver

    def breaking(link: Any, message: Any, *more: Any) -> Any:
        if "breaks" in message.body:
            raise RuntimeError("on purpose")
        return original(link, message, *more)

    monkeypatch.setattr(intake, "deliver", breaking)
    work()
    assert new_entries(itop) == ["<p>works</p>"]
    assert set(WebhookEvent.objects.values_list("state", flat=True)) == {"failed", "handled"}


def test_an_event_that_another_worker_has_claimed_is_not_overtaken_by_a_later_one(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>earlier</p>"))
    # Another worker has claimed the event and has not finished.
    WebhookEvent.objects.update(due_at=timezone.now() + dt.timedelta(minutes=1))
    notify(client, part(37358198351, "<p>later</p>"))
    work()
    assert new_entries(itop) == ["<p>earlier</p>", "<p>later</p>"]


def test_a_message_for_several_tickets_is_counted_once(client: Client, linked: Teammate, work: Work) -> None:
    linked.link("R-000006")
    notify(client, part(37358198350, "<p>both</p>"))
    work()
    assert linked.open().click("Sync on").text.count("1 of 1 message copied to R-") == 2


def test_a_flood_in_one_conversation_delays_no_other(client: Client, linked: Teammate) -> None:
    flood_size = 3 * intake.BATCH
    for number in range(flood_size):
        notify(client, part(37358198350 + number, f"<p>{number}</p>"))
    notify(client, part(37358199999, "<p>me too</p>"), id="another-conversation")
    process_batch()
    assert WebhookEvent.objects.get(conversation_id="another-conversation").state == "skipped"
    flood = WebhookEvent.objects.exclude(conversation_id="another-conversation")
    handled = [state == "handled" for state in flood.order_by("pk").values_list("state", flat=True)]
    assert handled == sorted(handled, reverse=True)
    assert 0 < sum(handled) < flood_size
    while process_batch():
        pass
    assert not flood.exclude(state="handled").exists()


def test_a_flood_in_many_conversations_delays_no_other_conversation_or_workspace(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Workspace.objects.create(
        workspace_id="second01", client_secret="s", itop=workspace.itop, profile=workspace.profile
    )

    def receive(workspace: Workspace, conversation: str, number: int) -> None:
        name = f"{conversation} {number}"
        WebhookEvent.objects.record(workspace, name, "conversation.user.replied", conversation, b"{}")

    for number in range(3):
        for conversation in range(30):
            receive(workspace, f"flooded {conversation}", number)
    receive(workspace, "quiet", 0)
    receive(second, "quiet elsewhere", 0)
    processed: list[str] = []
    monkeypatch.setattr(intake, "process_event", lambda event: processed.append(event.notification_id))
    assert process_batch() == intake.BATCH
    # The oldest event, then the workspaces in turn: in each of them the conversation with the fewest events.
    assert processed[0] == "flooded 0 0"
    assert set(processed[1:3]) == {"quiet 0", "quiet elsewhere 0"}
    assert processed[3:] == [f"flooded {number} 0" for number in range(1, intake.BATCH - 2)]


def test_of_two_workers_each_processes_the_events_that_it_claimed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        WebhookEvent.objects.record(workspace, f"{number}", "conversation.user.replied", "1", b"{}")
    processed: list[str] = []
    monkeypatch.setattr(intake, "process_event", lambda event: processed.append(event.notification_id))
    first, *others = [event.pk for event in WebhookEvent.objects.order_by("pk")]
    monkeypatch.setattr(intake, "_due_in_turn", lambda: [first])
    assert process_batch() == 1
    # Another worker has chosen before the claim.
    monkeypatch.setattr(intake, "_due_in_turn", lambda: [first, *others])
    assert process_batch() == 3
    assert process_batch() == 3
    assert processed == ["0", "1", "2"]
    assert not WebhookEvent.objects.due().exists()
