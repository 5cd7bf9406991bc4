"""Linking a ticket asks whether to copy the conversation so far, and copies it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Conversation, Delivery, Posting, TicketLink, Workspace
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, author_of, conversation, notify, part

Work = Callable[[], None]

NOTE = part(37358198342, "<p>third one this week</p>", author_of(ADA), part_type="note")
TALK = conversation(part(37358198341, "<p>It is urgent</p>"), NOTE)


@pytest.fixture
def asked(teammate: Teammate) -> Teammate:
    """A teammate who has pressed “Link to this conversation” at R-000008, in a conversation of three messages."""
    teammate.conversation = TALK
    return press_link(teammate)


def press_link(teammate: Teammate) -> Teammate:
    return teammate.open().click("ongoing tickets").click("R-000008").click("Link to this conversation")


def new_entries(itop: Itop, log: str = "public_log") -> list[str]:
    """What was written to R-000008 since it was recorded."""
    recorded = {"public_log": 3, "private_log": 1}[log]
    return [one["message"] for one in itop.store.log(8, log)][recorded:]


def partial(teammate: Teammate) -> None:
    """Intercom sends the panel none of the parts that there are."""
    parts = teammate.conversation["conversation_parts"]
    teammate.conversation = teammate.conversation | {"conversation_parts": parts | {"conversation_parts": []}}


# The question


def test_pressing_link_asks_first_and_changes_nothing(asked: Teammate, itop: Itop) -> None:
    assert "Link R-000008" in asked.text
    assert "2 messages for the public log, 1 note for the private log" in asked.text
    labels = [one["label"] for one in asked.components if one["type"] == "button"]
    assert labels == ["Link and copy the 3 messages so far", "Link from now on", "Back"]
    assert asked.find("Link")["label"] == labels[0]
    assert TicketLink.objects.count() == Delivery.objects.count() == Posting.objects.count() == 0


def test_back_leads_to_the_ticket_and_from_there_to_the_list(asked: Teammate) -> None:
    asked.click("Back")
    assert "Not linked to any conversation" in asked.text
    asked.click("Back")
    assert "Ongoing tickets of Alice Martin" in asked.text


def test_one_message_is_spoken_of_as_one(teammate: Teammate) -> None:
    teammate.conversation = conversation()
    assert "Link and copy the 1 message so far" in press_link(teammate).text


def test_the_question_costs_one_call_and_so_does_its_answer(asked: Teammate, itop: Itop) -> None:
    for press in ("Back", "Link to this conversation", "Link and copy"):
        itop.calls.clear()
        asked.click(press)
        assert itop.calls == [("core/get", "UserRequest")]


def test_where_there_is_nothing_to_copy_nothing_is_asked(teammate: Teammate) -> None:
    fin = {"type": "bot", "id": "1", "name": "Fin", "email": "fin@intercom.io"}
    teammate.conversation = conversation(part(101, "<p>I am a bot</p>", fin))
    teammate.conversation["source"]["author"] = fin
    press_link(teammate)
    assert "R-000008 is linked" in teammate.text


def test_a_ticket_that_was_linked_meanwhile_is_said_without_a_question(asked: Teammate) -> None:
    asked.click("Back")
    stale = asked.canvas
    asked.click("Link to this conversation").click("Link from now on")
    asked.canvas = stale
    asked.click("Link to this conversation")
    assert "R-000008 was linked already" in asked.text
    assert TicketLink.objects.count() == 1


def test_a_ticket_outside_the_scope_is_neither_asked_about_nor_linked(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    foreign = next(one for one in itop.store.all("UserRequest") if int(one["org_id"]) != 4)
    teammate.open()
    for choice in ("", ":copy", ":from-now-on", ":nonsense"):
        teammate.send_click(f"link:UserRequest:{foreign['id']}{choice}")
        assert "outside the part of iTop" in teammate.text
    assert TicketLink.objects.count() == 0


# The answer


def test_copying_brings_the_conversation_into_the_logs_in_order_and_new_messages_follow(
    client: Client, asked: Teammate, itop: Itop, work: Work
) -> None:
    asked.click("Link and copy")
    assert "R-000008 is linked" in asked.text
    assert "3 messages of the conversation so far are on their way" in asked.text
    notify(client, part(37358198350, "<p>Any news?</p>"))
    work()
    assert new_entries(itop) == [
        "<p>The export button does nothing</p>",
        "<p>It is urgent</p>",
        "<p>Any news?</p>",
    ]
    assert new_entries(itop, "private_log") == ["<p>third one this week</p>"]
    assert itop.store.log(8)[-2]["user_login"] == "Alice Martin"


def test_what_was_copied_is_written_once_however_often_it_arrives(
    client: Client, asked: Teammate, itop: Itop, work: Work
) -> None:
    asked.click("Link and copy").again()
    assert "was linked already" in asked.text
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    assert len(new_entries(itop)) == 2
    assert TicketLink.objects.count() == Posting.objects.count() == 1


def test_from_now_on_copies_nothing(client: Client, asked: Teammate, itop: Itop, work: Work) -> None:
    asked.click("Link from now on")
    assert "From now on each new message" in asked.text
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    notify(client, part(37358198350, "<p>Any news?</p>"))
    work()
    assert new_entries(itop) == ["<p>Any news?</p>"]


def test_a_message_of_which_the_notification_came_before_the_link_is_copied_once(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.conversation = TALK
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    press_link(teammate).click("Link and copy")
    work()
    assert new_entries(itop) == ["<p>The export button does nothing</p>", "<p>It is urgent</p>"]


def test_a_second_link_of_a_ticket_copies_only_what_is_not_in_it_yet(
    client: Client, asked: Teammate, itop: Itop, work: Work
) -> None:
    asked.click("Link from now on")
    notify(client, part(37358198341, "<p>It is urgent</p>"))  # Left out: said before the link.
    heard, unheard = part(37358198350, "<p>heard</p>"), part(37358198351, "<p>unheard</p>")
    notify(client, heard)
    work()
    asked.open().click("Pause the sync")
    notify(client, unheard)
    work()
    assert new_entries(itop) == ["<p>heard</p>"]
    TicketLink.objects.all().delete()
    itop.store.update("UserRequest", 8, intercom_ref="", intercom_sync_activated="no")
    asked.conversation = conversation(part(37358198341, "<p>It is urgent</p>"), NOTE, heard, unheard)
    press_link(asked)
    assert "Link and copy the 4 messages so far" in asked.text
    asked.click("Link and copy")
    work()
    assert new_entries(itop) == [
        "<p>heard</p>",
        "<p>The export button does nothing</p>",
        "<p>It is urgent</p>",
        "<p>unheard</p>",
    ]
    assert set(Delivery.objects.values_list("state", "reason")) == {("written", "")}


def test_during_a_pause_the_question_promises_no_new_messages(talking: Teammate) -> None:
    talking.link("R-000006").open().click("Pause the sync")
    talking.open().click("ongoing tickets").click("R-000008").click("Link to this conversation")
    assert "new messages are left out" in talking.text
    assert "follow by themselves" not in talking.text


@pytest.mark.parametrize("known_by", ["the part's id", "our package code"])
def test_our_own_posts_are_not_copied(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work, known_by: str
) -> None:
    talking.link("R-000006")
    work()
    if known_by == "the part's id":
        Workspace.objects.update(app_package_code="")
    else:
        Posting.objects.update(part_id="")
    talking.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    assert len(talking.conversation["conversation_parts"]["conversation_parts"]) == 3
    press_link(talking)
    assert "3 messages for the public log." in talking.text and "note" not in talking.text
    talking.click("Link and copy")
    work()
    assert len(new_entries(itop)) == 3 and new_entries(itop, "private_log") == []


# A conversation that the payload cuts short


def test_a_conversation_that_the_payload_cuts_short_is_copied_whole(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    partial(talking)
    press_link(talking)
    assert "Link and copy the 3 messages so far" in talking.text
    talking.click("Link and copy")
    work()
    assert len(new_entries(itop)) == 3


@pytest.mark.parametrize("is_away", [False, True])
def test_from_now_on_means_it_also_where_the_payload_is_cut_short(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work, is_away: bool
) -> None:
    partial(talking)
    press_link(talking)
    if is_away:
        intercom.faults.add("error", path="/conversations/", count=1)
    talking.click("Link from now on")
    work()
    work()
    assert ("GET", f"/conversations/{talking.conversation['id']}") in intercom.calls
    assert new_entries(itop) == []
    intercom.write(talking.conversation["id"], body="new", created_at=1_900_000_000)
    Conversation.objects.get().workspace.conversations.compare_within(0)
    work()
    assert new_entries(itop) == ["<p>new</p>"]


def test_an_intercom_that_does_not_hand_it_over_links_nothing_and_leaves_ways_on(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    partial(talking)
    intercom.faults.add("error", path="/conversations/", count=2)
    press_link(talking)
    assert "Intercom did not hand over the conversation just now" in talking.text
    talking.click("Link and copy the messages so far")
    assert "The ticket is not linked, and nothing was changed" in talking.text
    assert TicketLink.objects.count() == Delivery.objects.count() == 0
    assert talking.offers("Link from now on") and talking.offers("Back")
    talking.click("Retry")
    assert "R-000008 is linked" in talking.text
    work()
    assert len(new_entries(itop)) == 3


def test_a_token_that_intercom_refuses_is_said_so(
    talking: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    workspace.access_token = "another"
    workspace.save()
    partial(talking)
    press_link(talking).click("Link and copy")
    assert "an admin has to renew it" in talking.text
    talking.click("Link from now on")
    assert "R-000008 is linked" in talking.text


# A conversation that is longer than a log


def test_of_a_long_conversation_the_newest_250_are_copied_and_it_is_said(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    parts = [part(37358000000 + number, f"<p>{number}</p>") for number in range(1, 300)]
    teammate.conversation = conversation(*parts, NOTE)
    press_link(teammate)
    assert "only the newest 250 of each are copied: 50 older ones are not" in teammate.text
    teammate.click("Link and copy the newest 251 messages")
    assert Delivery.objects.filter(state="waiting").count() == 251
    oldest = Delivery.objects.filter(log="public_log").in_order().first()
    assert oldest is not None and oldest.part_id == "37358000050"
    link = TicketLink.objects.get()
    assert link.since_part_order == 37358000049


def test_what_had_no_room_does_not_come_in_as_a_gap(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.sync.copier.MOST_ENTRIES", 2)
    press_link(talking).click("Link and copy the newest 2 messages")
    work()
    work()
    assert len(new_entries(itop)) == 2
    assert Delivery.objects.count() == 2


def test_a_conversation_of_which_intercom_keeps_older_messages_back_says_so(
    talking: Teammate, intercom: Intercom, workspace: Workspace
) -> None:
    workspace.access_token = ""
    workspace.save()
    partial(talking)
    press_link(talking)
    assert "Intercom hands over only the newest part" in talking.text
    assert "Link and copy the 1 message so far" in talking.text


def test_a_link_that_is_adopted_from_itop_copies_nothing_that_was_said_before(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    work()  # The worker gets to know the iTop.
    itop.store.update(
        "UserRequest", 8, intercom_ref=talking.conversation["id"], intercom_sync_activated="yes"
    )
    partial(talking)
    talking.open()
    assert "1 linked ticket" in talking.text
    work()
    assert new_entries(itop) == []


@pytest.mark.parametrize("stored", [{}, {"back": 5}, {"back": "nonsense"}])
def test_the_question_comes_whatever_is_stored(asked: Teammate, stored: dict[str, Any]) -> None:
    asked.canvas = {"content": {"components": []}, "stored_data": stored}
    asked.send_click("link:UserRequest:8")
    assert "Link R-000008" in asked.text


def test_during_a_pause_nobody_is_promised_new_messages(teammate: Teammate, work: Work) -> None:
    paused = "The sync is paused: new messages are left out."
    teammate.link("R-000008")
    work()
    teammate.open().send_click("pause")
    teammate.link("R-000006", copy=True)
    assert "on their way" in teammate.text and paused in teammate.text
    teammate.open().click("2 linked tickets").click("R-000006").click("Unlink").click("Unlink").click("Undo")
    assert paused in teammate.text
    teammate.open().click("Create a ticket").click("Create the ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")
    assert "is created" in teammate.text and paused in teammate.text
    assert "follow by themselves" not in teammate.text
