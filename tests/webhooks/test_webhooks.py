"""From a webhook to the ticket's log, against the sandbox's iTop."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, Notification, Posting, TicketLink, Workspace
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, author_of, notification, notify, part, post_webhook

Work = Callable[[], None]

TICKET = 8


@pytest.fixture
def linked(teammate: Teammate, work: Work) -> Teammate:
    """A teammate who has linked R-000008, which has its own entries (recording 028)."""
    teammate.link("R-000008")
    Posting.objects.all().delete()
    work()
    return teammate


def new_entries(itop: Itop, code: str = "public_log", ticket: int = TICKET) -> list[str]:
    """The HTML of what was written since the ticket was recorded."""
    recorded = {"public_log": 3, "private_log": 1} if ticket == 8 else {}
    return [one["message"] for one in itop.store.log(ticket, code)][recorded.get(code, 0) :]


def test_a_reply_of_the_customer_lands_in_the_public_log_under_the_customers_name(
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
    assert Notification.objects.get().verdict == "handled"
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.author) == ("written", "Alice Martin")
    assert delivery.marker == "Intercom message 37358198350 (abcd1234), Alice Martin"


def test_a_note_lands_in_the_private_log(client: Client, linked: Teammate, itop: Itop, work: Work) -> None:
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
    first, second = Notification.objects.order_by("pk")
    assert first.times_received == 3
    assert second.verdict == "skipped" and "known already" in second.reason


def test_messages_are_written_in_the_order_they_were_sent_in(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    for number in (53, 51, 54, 52):
        notify(client, part(37358198300 + number, f"<p>{number}</p>"))
    work()
    assert new_entries(itop) == ["<p>51</p>", "<p>52</p>", "<p>53</p>", "<p>54</p>"]


def test_every_part_of_the_payload_counts(client: Client, linked: Teammate, itop: Itop, work: Work) -> None:
    notify(client, part(37358198352, "<p>two</p>"), part(37358198351, "<p>one</p>"))
    work()
    assert new_entries(itop) == ["<p>one</p>", "<p>two</p>"]


def test_a_message_goes_into_each_linked_ticket(
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
        ({"author": {"type": "bot", "id": "1", "name": "Fin", "email": ""}}, "written by a bot"),
        ({"body": None}, "empty"),
        ({"body": "<p> </p>"}, "empty"),
        ({"part_type": "snoozed"}, "part type “snoozed”"),
        ({"part_type": "assignment", "body": None}, "nothing to say"),
        ({"redacted": True}, "redacted"),
    ],
)
def test_what_people_did_not_write_is_left_out_with_the_reason(
    client: Client, linked: Teammate, itop: Itop, work: Work, more: dict[str, Any], reason: str
) -> None:
    notify(client, part(37358198350, "<p>text</p>") | more)
    work()
    assert new_entries(itop) == []
    delivery = Delivery.objects.get()
    assert delivery.state == "skipped"
    assert reason in delivery.reason
    assert Notification.objects.get().verdict == "skipped"


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
    assert new_entries(itop) == ["<p>[Files: a &lt;b&gt;.png, b.pdf]</p>"]


def test_a_lead_is_never_written_under_a_users_account(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    lead = {"type": "lead", "id": "5", "name": "Alice Martin", "email": "alice.martin@acme.example"}
    notify(client, part(37358198350, "<p>hello</p>", lead))
    work()
    entry = itop.store.log(TICKET)[-1]
    assert (entry["user_login"], int(entry["user_id"])) == ("Alice Martin (Intercom)", 0)


def test_while_the_sync_is_paused_messages_are_left_out_and_say_so(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.open().click("Pause the sync")
    notify(client, part(37358198350, "<p>unheard</p>"))
    work()
    linked.click("Resume the sync")
    notify(client, part(37358198351, "<p>heard</p>"))
    work()
    assert new_entries(itop) == ["<p>heard</p>"]
    assert Delivery.objects.get(part_id="37358198350").reason == "the sync is paused"


def test_what_was_said_before_the_link_is_not_written_when_it_arrives_late(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason == "written before the ticket was linked"


def test_a_message_between_the_press_and_the_link_is_not_lost(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket")
    notify(client, part(37358198399, "<p>one more thing</p>"))
    work()
    assert Notification.objects.get().reason == "the conversation is not linked to a ticket"
    teammate.click("Create the ticket")
    work()
    ticket = TicketLink.objects.get().ticket
    assert [one["message"] for one in itop.store.log(ticket.object_id)][-1] == "<p>one more thing</p>"


def test_what_the_transcript_copied_is_not_written_again_by_its_webhook(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket").click("Create the ticket")
    work()
    ticket = TicketLink.objects.get().ticket
    before = len(itop.store.log(ticket.object_id))
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    assert len(itop.store.log(ticket.object_id)) == before == 2


def test_a_source_and_a_reply_may_bear_the_same_id(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket").click("Create the ticket")
    notify(client, part(3381828792, "<p>same id as the source</p>", created_at=1_768_099_999))
    work()
    ticket = TicketLink.objects.get().ticket
    assert itop.store.log(ticket.object_id)[-1]["message"] == "<p>same id as the source</p>"


@pytest.mark.parametrize(
    ("topic", "verdict", "reason"),
    [
        ("ping", "handled", "tested the address"),
        ("conversation.admin.closed", "skipped", "not followed"),
        ("conversation.user.created", "skipped", "not followed"),
        ("something.nobody.knows", "skipped", "not followed"),
        ("", "skipped", "not followed"),
    ],
)
def test_other_topics_are_accepted_recorded_and_skipped(
    client: Client, workspace: Workspace, work: Work, topic: str, verdict: str, reason: str
) -> None:
    assert notify(client, part(1, "<p>x</p>"), topic=topic).status_code == 200
    work()
    row = Notification.objects.get()
    assert row.verdict == verdict
    assert reason in row.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": None}, "no conversation"),
        ({"data": {"item": {"type": "conversation"}}}, "no conversation"),
        ({"data": {"item": "x"}}, "no conversation"),
        ({"data": {"item": {"type": "conversation", "id": "unknown"}}}, "not linked"),
        ({"data": {"item": {"type": "conversation", "id": "215472621202693"}}}, "no message"),
        (
            {
                "data": {
                    "item": {"type": "conversation", "id": "215472621202693", "conversation_parts": [5, None]}
                }
            },
            "no message",
        ),
    ],
)
def test_a_notification_that_makes_no_sense_is_recorded_with_its_verdict(
    client: Client, linked: Teammate, work: Work, change: dict[str, Any], reason: str
) -> None:
    body = notification(part(1, "<p>x</p>")) | change
    assert post_webhook(client, json.dumps(body).encode()).status_code == 200
    work()
    row = Notification.objects.get()
    assert row.verdict == "skipped"
    assert reason in row.reason


def test_nul_and_lone_surrogates_are_taken_out_and_the_rest_is_written(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    body = notification(
        part(37358198350, "PLACE", {"type": "user", "id": "1", "name": "N\x00ul", "email": "n@x.example"})
    )
    raw = json.dumps(body).replace("PLACE", "<p>a\\u0000b\\ud800c 😀</p>").encode()
    assert post_webhook(client, raw).status_code == 200
    work()
    assert new_entries(itop) == ["<p>abc 😀</p>"]
    assert bytes(Notification.objects.get().body) == raw


def test_a_disabled_workspace_takes_and_skips(client: Client, workspace: Workspace, work: Work) -> None:
    workspace.enabled = False
    workspace.save()
    assert notify(client, part(1, "<p>x</p>")).status_code == 200
    work()
    assert Notification.objects.get().reason == "the workspace is turned off"


def test_our_own_post_is_known_by_the_part_id_that_intercom_answered(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    Posting.objects.create(
        conversation=TicketLink.objects.get().conversation,
        admin_id="1",
        body="<p>ours</p>",
        state="posted",
        part_id="37358198350",
    )
    notify(client, part(37358198350, "<p>ours</p>", author_of(ADA)), topic="conversation.admin.replied")
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason == "our own post"


def test_our_own_post_is_known_by_our_package_code_and_another_apps_is_written(
    client: Client, linked: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    workspace.app_package_code = "our-code"
    workspace.save()
    notify(client, part(37358198350, "<p>ours</p>", author_of(ADA), app_package_code="our-code"))
    notify(client, part(37358198351, "<p>theirs</p>", author_of(ADA), app_package_code="other-app"))
    work()
    assert new_entries(itop) == ["<p>theirs</p>"]


def test_a_webhook_that_is_faster_than_the_answer_to_our_post_waits_for_it(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    posting = Posting.objects.create(
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
    Notification.objects.update(due_at=timezone.now())
    work()
    assert new_entries(itop) == []
    assert Delivery.objects.get().reason == "our own post"


def test_a_notification_that_breaks_us_stops_no_other(
    client: Client, linked: Teammate, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intercom_bridge.sync import intake

    notify(client, part(37358198350, "<p>breaks</p>"))
    notify(client, part(37358198351, "<p>works</p>"))
    original = intake.deliver

    def breaking(link: Any, one: Any, row: Any) -> Any:
        if "breaks" in one.body:
            raise RuntimeError("on purpose")
        return original(link, one, row)

    monkeypatch.setattr(intake, "deliver", breaking)
    work()
    assert new_entries(itop) == ["<p>works</p>"]
    assert set(Notification.objects.values_list("verdict", flat=True)) == {"failed", "handled"}


def test_a_message_that_somebody_is_just_looking_at_is_not_overtaken_by_a_later_one(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>earlier</p>"))
    # Another worker has claimed it and has not finished.
    Notification.objects.update(due_at=timezone.now() + dt.timedelta(minutes=1))
    notify(client, part(37358198351, "<p>later</p>"))
    work()
    assert new_entries(itop) == ["<p>earlier</p>", "<p>later</p>"]


def test_a_message_is_counted_once_however_many_tickets_it_goes_to(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.link("R-000006")
    notify(client, part(37358198350, "<p>both</p>"))
    work()
    assert "1 of 1 message in 2 tickets" in linked.open().text
