"""Linking a ticket asks whether to copy the conversation so far, and copies it once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Conversation, Delivery, OutgoingMessage, Ticket, TicketLink, Workspace
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, author_of, conversation, notify, part

Work = Callable[[], None]

NOTE = part(37358198342, "<p>third one this week</p>", author_of(ADA), part_type="note")
TALK = conversation(part(37358198341, "<p>It is urgent</p>"), NOTE)


@pytest.fixture
def at_question(teammate: Teammate) -> Teammate:
    """Return a teammate who has clicked “Link to this conversation” at R-000008, with three messages."""
    teammate.conversation = TALK
    return press_link(teammate)


def press_link(teammate: Teammate) -> Teammate:
    return teammate.open().click("open tickets").click("R-000008").click("Link to this conversation")


def new_entries(itop: Itop, log: str = "public_log") -> list[str]:
    """Return what was written to R-000008 since it was recorded."""
    recorded = {"public_log": 3, "private_log": 1}[log]
    return [entry["message"] for entry in itop.store.log(8, log)][recorded:]


def truncate_payload(teammate: Teammate) -> None:
    """Remove all parts from the payload, as Intercom does for long conversations."""
    parts = teammate.conversation["conversation_parts"]
    teammate.conversation = teammate.conversation | {"conversation_parts": parts | {"conversation_parts": []}}


# The question


def test_clicking_link_asks_first_and_changes_nothing(at_question: Teammate, itop: Itop) -> None:
    assert "Link R-000008" in at_question.text
    assert "2 messages for the public log, 1 note for the private log" in at_question.text
    labels = [component["label"] for component in at_question.components if component["type"] == "button"]
    assert labels == ["Link and copy the 3 messages so far", "Link without earlier messages", "Back"]
    assert at_question.find("Link")["label"] == labels[0]
    assert TicketLink.objects.count() == Delivery.objects.count() == OutgoingMessage.objects.count() == 0


def test_back_returns_to_the_ticket_and_then_to_the_list(at_question: Teammate) -> None:
    at_question.click("Back")
    assert "Not linked to any conversation" in at_question.text
    at_question.click("Back")
    assert "Open and resolved tickets of Alice Martin" in at_question.text


def test_a_single_message_is_displayed_in_the_singular(teammate: Teammate) -> None:
    teammate.conversation = conversation()
    assert "Link and copy the 1 message so far" in press_link(teammate).text


def test_the_question_and_its_confirmation_cost_one_call_each(at_question: Teammate, itop: Itop) -> None:
    for press in ("Back", "Link to this conversation", "Link and copy"):
        itop.calls.clear()
        at_question.click(press)
        assert itop.calls == [("core/get", "UserRequest")]


def test_a_conversation_without_messages_is_linked_without_a_question(teammate: Teammate) -> None:
    fin = {"type": "bot", "id": "1", "name": "Fin", "email": "fin@intercom.io"}
    teammate.conversation = conversation(part(101, "<p>I am a bot</p>", fin))
    teammate.conversation["source"]["author"] = fin
    press_link(teammate)
    assert "R-000008 linked" in teammate.text


def test_a_ticket_that_is_already_linked_is_reported_without_a_question(at_question: Teammate) -> None:
    at_question.click("Back")
    stale = at_question.canvas
    at_question.click("Link to this conversation").click("Link without earlier messages")
    at_question.canvas = stale
    at_question.click("Link to this conversation")
    assert "R-000008 was already linked" in at_question.text
    assert TicketLink.objects.count() == 1


def test_a_ticket_outside_the_scope_is_not_linked(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    foreign = next(ticket for ticket in itop.store.all("UserRequest") if int(ticket["org_id"]) != 4)
    teammate.open()
    for choice in ("", ":copy", ":from-now-on", ":nonsense"):
        teammate.send_click(f"link:UserRequest:{foreign['id']}{choice}")
        assert "outside the part of iTop" in teammate.text
    assert TicketLink.objects.count() == 0


# The confirmation


def test_copied_messages_are_in_order_and_new_messages_follow(
    client: Client, at_question: Teammate, itop: Itop, work: Work
) -> None:
    at_question.click("Link and copy")
    assert "R-000008 linked" in at_question.text
    assert "3 messages of this conversation are being copied" in at_question.text
    notify(client, part(37358198350, "<p>Any news?</p>"))
    work()
    assert new_entries(itop) == [
        "<p>The export button does nothing</p>",
        "<p>It is urgent</p>",
        "<p>Any news?</p>",
    ]
    assert new_entries(itop, "private_log") == ["<p>third one this week</p>"]
    assert itop.store.log(8)[-2]["user_login"] == "Alice Martin"


def test_a_copied_message_is_written_once_after_redelivery(
    client: Client, at_question: Teammate, itop: Itop, work: Work
) -> None:
    at_question.click("Link and copy").again()
    assert "was already linked" in at_question.text
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    assert len(new_entries(itop)) == 2
    assert TicketLink.objects.count() == OutgoingMessage.objects.count() == 1


def test_from_now_on_copies_nothing(client: Client, at_question: Teammate, itop: Itop, work: Work) -> None:
    at_question.click("Link without earlier messages")
    assert "From now on, new messages" in at_question.text
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    notify(client, part(37358198350, "<p>Any news?</p>"))
    work()
    assert new_entries(itop) == ["<p>Any news?</p>"]


def test_a_message_notified_before_the_link_is_copied_once(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.conversation = TALK
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    press_link(teammate).click("Link and copy")
    work()
    assert new_entries(itop) == ["<p>The export button does nothing</p>", "<p>It is urgent</p>"]


def test_a_second_link_copies_only_missing_messages(
    client: Client, at_question: Teammate, itop: Itop, work: Work
) -> None:
    at_question.click("Link without earlier messages")
    notify(client, part(37358198341, "<p>It is urgent</p>"))  # Sent before the link, so it is not copied.
    heard, unheard = part(37358198350, "<p>heard</p>"), part(37358198351, "<p>unheard</p>")
    notify(client, heard)
    work()
    at_question.open().click("Pause sync")
    notify(client, unheard)
    work()
    assert new_entries(itop) == ["<p>heard</p>"]
    TicketLink.objects.all().delete()
    itop.store.update("UserRequest", 8, intercom_ref="", intercom_sync_activated="no")
    at_question.conversation = conversation(part(37358198341, "<p>It is urgent</p>"), NOTE, heard, unheard)
    press_link(at_question)
    assert "Link and copy the 4 messages so far" in at_question.text
    at_question.click("Link and copy")
    work()
    assert new_entries(itop) == [
        "<p>heard</p>",
        "<p>The export button does nothing</p>",
        "<p>It is urgent</p>",
        "<p>unheard</p>",
    ]
    assert set(Delivery.objects.values_list("state", "reason_code")) == {("written", "")}


def test_during_a_pause_the_question_promises_no_new_messages(talking: Teammate) -> None:
    talking.link("R-000006").open().click("Pause sync")
    talking.open().click("open tickets").click("R-000008").click("Link to this conversation")
    assert "new messages are not copied" in talking.text
    assert "will be added automatically" not in talking.text


@pytest.mark.parametrize("known_by", ["the part's id", "our package code"])
def test_messages_posted_by_the_bridge_are_not_copied(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work, known_by: str
) -> None:
    talking.link("R-000006")
    work()
    if known_by == "the part's id":
        Workspace.objects.update(app_package_code="")
    else:
        OutgoingMessage.objects.update(part_id="")
    talking.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    assert len(talking.conversation["conversation_parts"]["conversation_parts"]) == 3
    press_link(talking)
    assert "3 messages for the public log." in talking.text and "note" not in talking.text
    talking.click("Link and copy")
    work()
    assert len(new_entries(itop)) == 3 and new_entries(itop, "private_log") == []


# A truncated payload


def test_a_conversation_truncated_in_the_payload_is_copied_completely(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    truncate_payload(talking)
    press_link(talking)
    assert "Link and copy the 3 messages so far" in talking.text
    talking.click("Link and copy")
    work()
    assert len(new_entries(itop)) == 3


@pytest.mark.parametrize("is_away", [False, True])
def test_from_now_on_copies_nothing_with_a_truncated_payload(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work, is_away: bool
) -> None:
    truncate_payload(talking)
    press_link(talking)
    if is_away:
        intercom.faults.add("error", path="/conversations/", count=1)
    talking.click("Link without earlier messages")
    work()
    work()
    assert ("GET", f"/conversations/{talking.conversation['id']}") in intercom.calls
    assert new_entries(itop) == []
    intercom.write(talking.conversation["id"], body="new", created_at=1_900_000_000)
    Conversation.objects.get().workspace.conversations.compare_within(0)
    work()
    assert new_entries(itop) == ["<p>new</p>"]


def test_a_failed_read_from_intercom_links_nothing_and_offers_actions(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    truncate_payload(talking)
    intercom.faults.add("error", path="/conversations/", count=2)
    press_link(talking)
    assert "Intercom did not return the conversation" in talking.text
    talking.click("Link and copy the messages so far")
    assert "The ticket is not linked, and nothing was changed" in talking.text
    assert TicketLink.objects.count() == Delivery.objects.count() == 0
    assert talking.offers("Link without earlier messages") and talking.offers("Back")
    talking.click("Retry")
    assert "R-000008 linked" in talking.text
    work()
    assert len(new_entries(itop)) == 3


def test_a_token_rejected_by_intercom_is_reported(
    talking: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    workspace.access_token = "another"
    workspace.save()
    truncate_payload(talking)
    press_link(talking).click("Link and copy")
    assert "An admin must renew it" in talking.text
    talking.click("Link without earlier messages")
    assert "R-000008 linked" in talking.text


# A long conversation


def test_only_the_newest_250_messages_are_copied_and_this_is_reported(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    parts = [part(37358000000 + number, f"<p>{number}</p>") for number in range(1, 300)]
    teammate.conversation = conversation(*parts, NOTE)
    press_link(teammate)
    assert "only the newest 250 messages per log are copied. 50 older messages are not" in teammate.text
    teammate.click("Link and copy the newest 251 messages")
    assert Delivery.objects.filter(state="waiting").count() == 251
    oldest = Delivery.objects.filter(log="public_log").in_order().first()
    assert oldest is not None and oldest.part_id == "37358000050"
    link = TicketLink.objects.get()
    assert link.since_part_order == 37358000049


def test_messages_beyond_the_limit_are_not_copied_as_a_gap(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.tickets.links.backfill.MAX_ENTRIES", 2)
    press_link(talking).click("Link and copy the newest 2 messages")
    work()
    work()
    assert len(new_entries(itop)) == 2
    assert Delivery.objects.count() == 2


def test_messages_withheld_by_intercom_are_reported(
    talking: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    workspace.access_token = ""
    workspace.save()
    truncate_payload(talking)
    press_link(talking)
    assert "Intercom returns only the newest part" in talking.text
    assert "Link and copy the 1 message so far" in talking.text


def test_a_link_adopted_from_itop_copies_no_earlier_messages(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    work()  # The worker detects the extension.
    itop.store.update(
        "UserRequest", 8, intercom_ref=talking.conversation["id"], intercom_sync_activated="yes"
    )
    truncate_payload(talking)
    talking.open()
    assert "Screen flickers\nAssigned" in talking.text
    work()
    assert new_entries(itop) == []


@pytest.mark.parametrize("is_parallel", [False, True], ids=["only-the-bridge", "extension-too"])
def test_replies_between_the_switch_and_the_adoption_are_written_once(
    client: Client, teammate: Teammate, itop: Itop, work: Work, is_parallel: bool
) -> None:
    """The customer replies first, then a teammate opens the conversation: the normal order."""
    work()
    itop.store.update(
        "UserRequest", 8, intercom_ref=teammate.conversation["id"], intercom_sync_activated="yes"
    )
    written_by_the_extension(itop, "<p>before the switch</p>")
    replies = [part(37358198350 + number, f"<p>reply {number}</p>") for number in range(3)]
    for reply in replies:
        notify(client, reply)
    work()
    assert new_entries(itop) == ["<p>before the switch</p>"]
    if is_parallel:
        written_by_the_extension(itop, "<p>reply 0</p>")
    teammate.conversation = conversation(part(37358198349, "<p>before the switch</p>"), *replies)
    teammate.open()
    work()
    assert new_entries(itop) == [
        "<p>before the switch</p>",
        "<p>reply 0</p>",
        "<p>reply 1</p>",
        "<p>reply 2</p>",
    ]


def test_a_reply_without_a_date_does_not_make_everything_ours(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    work()
    itop.store.update(
        "UserRequest", 8, intercom_ref=teammate.conversation["id"], intercom_sync_activated="yes"
    )
    notify(client, part(37358198350, "<p>when?</p>") | {"created_at": None})
    work()
    teammate.open()
    work()
    assert TicketLink.objects.get().since_part_at > 0


def written_by_the_extension(itop: Itop, body: str) -> None:
    stored = itop.store.log(8)
    entry = stored[-1] | {"message": body, "format": "html", "user_login": "PHP extension"}
    itop.store.update("UserRequest", 8, public_log=json.dumps([*stored, entry]))


@pytest.mark.parametrize("stored", [{}, {"back": 5}, {"back": "nonsense"}])
def test_invalid_stored_data_does_not_skip_the_question(
    at_question: Teammate, stored: dict[str, Any]
) -> None:
    at_question.canvas = {"content": {"components": []}, "stored_data": stored}
    at_question.send_click("link:UserRequest:8")
    assert "Link R-000008" in at_question.text


def test_during_a_pause_the_confirmation_promises_no_new_messages(teammate: Teammate, work: Work) -> None:
    paused = "Sync is paused: new messages are not copied."
    teammate.link("R-000008")
    work()
    teammate.open().send_click("pause")
    teammate.link("R-000006", copy=True)
    assert "being copied" in teammate.text and paused in teammate.text
    teammate.open().click("R-000006").click("Unlink").click("Unlink").click("Undo")
    assert paused in teammate.text
    teammate.open().click("Create a ticket").click("Create ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")
    assert "created" in teammate.text and paused in teammate.text
    assert "will be added automatically" not in teammate.text


def test_with_several_tickets_the_panel_says_that_messages_go_to_all(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000006")
    assert "New messages will go to" not in teammate.text
    teammate.open().click("open tickets").click("R-000008").click("Link to this conversation")
    assert "New messages will go to R-000006 and R-000008." in teammate.text
    teammate.click("Link without earlier messages")
    assert "New messages will go to R-000006 and R-000008." in teammate.text
    teammate.open().click("Create a ticket").click("Create ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")
    ref = Ticket.objects.order_by("pk").last().ref  # type: ignore[union-attr]
    assert f"New messages will go to R-000006, R-000008 and {ref}." in teammate.text


def test_a_paused_ticket_is_not_named_as_a_target_of_messages(teammate: Teammate) -> None:
    teammate.link("R-000006").open().click("Pause sync")
    teammate.open().click("open tickets").click("R-000008").click("Link to this conversation")
    assert "Sync is paused: new messages are not copied." in teammate.text
    assert "New messages will go to" not in teammate.text
