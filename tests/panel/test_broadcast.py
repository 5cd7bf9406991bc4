"""Telling all conversations of a ticket the same, from the panel to the Intercom of the sandbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.models import (
    Broadcast,
    Conversation,
    ItopInstance,
    OutgoingMessage,
    Participant,
    PersonMatch,
    Ticket,
    TicketLink,
    TicketProfile,
    Workspace,
)
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.tickets import broadcast as broadcasts
from intercom_bridge.tickets.context import PanelContext
from itop_client import Deadline
from sandbox.intercom import Intercom
from sandbox.intercom.store import Contact
from tests.teammate import Teammate

Work = Callable[[], None]
TEXT = "The mail gateway works again.\n\nPlease send <it> again."


@dataclass
class Customers:
    """The customers of a ticket, each with a conversation. The first is Alice, who talks with the teammate."""

    intercom: Intercom
    ticket: Ticket
    workspace: Workspace

    def add(self, name: str, *, contacts: Sequence[Contact] = (), days_ago: int = 0) -> Conversation:
        """Link a conversation of a new customer, or of these contacts."""
        contacts = contacts or [self.contact(name)]
        started = self.intercom.store.start_conversation([one.id for one in contacts], f"<p>{name}</p>")
        conversation = Conversation.objects.find_or_create(self.workspace, started.id)
        Participant.objects.record(conversation, [one.id for one in contacts])
        link = TicketLink.objects.create(conversation=conversation, ticket=self.ticket)
        TicketLink.objects.filter(pk=link.pk).update(created_at=F("created_at") - dt.timedelta(days=days_ago))
        return conversation

    def contact(self, name: str) -> Contact:
        return self.intercom.store.add_contact(name=name, email=f"{name.lower()}@acme.example")

    def texts(self, conversation: Conversation) -> list[str]:
        parts = self.intercom.store.parts(conversation.conversation_id)
        return [str(part.body) for part in parts if part.app_package_code]

    def all_texts(self) -> list[str]:
        return [text for link in TicketLink.objects.all() for text in self.texts(link.conversation)]


@pytest.fixture
def customers(linked: TicketLink, intercom: Intercom, workspace: Workspace) -> Customers:
    return Customers(intercom, linked.ticket, workspace)


def at_form(teammate: Teammate, count: int) -> Teammate:
    return teammate.open().send_click("ticket:UserRequest:6").click(f"Write to all {count} conversations")


def at_confirmation(teammate: Teammate, count: int, *, reply: bool = True, text: str = TEXT) -> Teammate:
    values = {"broadcast:text": text, "broadcast:kind": "reply" if reply else "note"}
    target = at_form(teammate, count).find("Next: check the recipients")["id"]
    return teammate.submit(target, values)


def messages() -> list[tuple[str, str]]:
    rows = OutgoingMessage.objects.filter(broadcast__isnull=False).order_by("pk")
    return [(row.conversation.conversation_id, row.state) for row in rows]


def test_all_customers_get_the_message_and_the_panel_says_so(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    others = [customers.add(f"Customer{number}") for number in range(13)]
    at_confirmation(talking, 14)
    assert "New message to 14 customers" in talking.text
    assert "Please send <it> again" in talking.text.replace("\u200b", "")
    assert Broadcast.objects.count() == 0
    talking.click("Send to 14 customers")
    assert "0 of 14 sent" in talking.text
    work()
    talking.click("Refresh")
    assert "All sent" in talking.text
    for conversation in others:
        (text,) = customers.texts(conversation)
        assert text == (
            '<p class="no-margin">The mail gateway works again.</p>'
            '<p class="no-margin">Please send &lt;it&gt; again.</p>'
        )
        part = customers.intercom.store.parts(conversation.conversation_id)[-1]
        assert (part.part_type, part.author_id) == ("comment", talking.admin["id"])


def test_a_ticket_with_one_conversation_has_nobody_else_to_tell(
    talking: Teammate, customers: Customers
) -> None:
    assert not talking.open().send_click("ticket:UserRequest:6").offers("Tell")


def test_a_note_is_added_to_all_conversations(talking: Teammate, customers: Customers, work: Work) -> None:
    contact = customers.contact("Bob")
    pair = [customers.add("first", contacts=[contact]), customers.add("second", contacts=[contact])]
    at_confirmation(talking, 3, reply=False).click("Add the note to 3 conversations")
    work()
    assert [len(customers.texts(conversation)) for conversation in pair] == [1, 1]
    parts = customers.intercom.store.parts(pair[0].conversation_id)
    assert parts[-1].part_type == "note"


def test_a_customer_with_several_conversations_gets_it_once_in_the_latest(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    contact = customers.contact("Bob")
    older = customers.add("older", contacts=[contact], days_ago=2)
    latest = customers.add("latest", contacts=[contact])
    oldest = customers.add("oldest", contacts=[contact], days_ago=3)
    at_confirmation(talking, 4)
    assert "2 conversations are left out: their customers get the message in a newer one" in talking.text
    talking.click("Send to 2 customers")
    work()
    assert len(customers.texts(latest)) == 1
    assert customers.texts(older) == customers.texts(oldest) == []
    reasons = {entry["conversation"]: entry["reason"] for entry in Broadcast.objects.get().left_out}
    assert reasons == {older.pk: ReasonCode.SAME_CUSTOMER, oldest.pk: ReasonCode.SAME_CUSTOMER}


def test_a_group_is_left_out_only_if_all_of_it_get_the_message(
    talking: Teammate, customers: Customers
) -> None:
    bob, carla = customers.contact("Bob"), customers.contact("Carla")
    customers.add("group", contacts=[bob, carla], days_ago=2)
    customers.add("bob", contacts=[bob])
    at_confirmation(talking, 3)
    assert "New message to 3 customers" in talking.text
    customers.add("carla", contacts=[carla])
    at_confirmation(talking, 4)
    assert "New message to 3 customers" in talking.text
    assert "1 conversation is left out" in talking.text


@pytest.mark.parametrize(("how", "count"), [("chosen", 2), ("email", 3)])
def test_two_contacts_of_one_person_are_one_customer_unless_only_the_address_says_so(
    talking: Teammate, customers: Customers, workspace: Workspace, how: str, count: int
) -> None:
    contacts = [customers.contact("Bob"), customers.contact("Bobby")]
    for contact in contacts:
        customers.add(contact.name or "", contacts=[contact])
        PersonMatch.objects.create(
            workspace=workspace,
            itop=workspace.itop,
            contact_id=contact.id,
            how=how,
            person_id=41,
            name="Bob Durand",
            org_id=3,
        )
    at_confirmation(talking, 3)
    assert f"New message to {count} customers" in talking.text
    assert "Bob Durand" in talking.text


def test_a_merged_lead_is_the_customer_it_was_merged_into(
    talking: Teammate, customers: Customers, workspace: Workspace
) -> None:
    lead, user = customers.contact("Lead"), customers.contact("User")
    customers.add("lead", contacts=[lead], days_ago=2)
    customers.add("user", contacts=[user])
    Participant.objects.follow_merge(workspace, lead.id, user.id)
    at_confirmation(talking, 3)
    assert "New message to 2 customers" in talking.text


def test_merged_and_deleted_conversations_are_left_out_before_the_latest_is_chosen(
    talking: Teammate, customers: Customers
) -> None:
    contact = customers.contact("Bob")
    customers.add("older", contacts=[contact], days_ago=2)
    latest = customers.add("latest", contacts=[contact])
    gone = customers.add("Carla")
    Conversation.objects.filter(pk=latest.pk).update(merged_away_at=1)
    Conversation.objects.filter(pk=gone.pk).update(reconcile_code=ReasonCode.CONVERSATION_DELETED)
    at_confirmation(talking, 4)
    assert "New message to 2 customers" in talking.text
    assert "2 conversations are left out: they were merged or deleted" in talking.text


def test_conversations_of_other_workspaces_are_not_told(talking: Teammate, customers: Customers) -> None:
    customers.add("Bob")
    another = Workspace.objects.create(
        workspace_id="other", itop=ItopInstance.objects.get(), profile=TicketProfile.objects.get()
    )
    foreign = Conversation.objects.find_or_create(another, "77")
    TicketLink.objects.create(conversation=foreign, ticket=customers.ticket)
    at_confirmation(talking, 2)
    assert "1 conversation in another workspace does not get the message" in talking.text


# Nothing by mistake, and nothing twice


def test_a_text_is_required(talking: Teammate, customers: Customers) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2, text=" \n ")
    assert "Required." in talking.text
    assert talking.offers("Next: check the recipients")


def test_the_form_is_shown_again_if_intercom_lost_its_text(talking: Teammate, customers: Customers) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2)
    talking.canvas["stored_data"] = {}
    talking.click("Send to 2 customers")
    assert "Required." in talking.text
    assert talking.offers("Next: check the recipients")
    assert messages() == []


def test_the_text_survives_the_way_back(talking: Teammate, customers: Customers) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2).click("Back to the text")
    assert talking.field("Text")["value"] == TEXT
    assert talking.field("Send as")["value"] == "reply"


def test_a_second_click_and_a_replay_tell_nobody_twice(
    talking: Teammate, customers: Customers, client: Client, work: Work
) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2).click("Send to 2 customers")
    path, raw = talking.last_path, talking.last_body
    assert "0 of 2 sent" in talking.again().text
    work()
    Teammate(client).send_bytes(path, raw)
    work()
    assert len(messages()) == 2
    assert len([text for text in customers.all_texts() if "gateway" in text]) == 2


def test_recipients_that_changed_are_shown_before_anything_is_sent(
    talking: Teammate, customers: Customers
) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2)
    customers.add("Carla")
    talking.click("Send to 2 customers")
    assert "Nothing was sent: the recipients have changed meanwhile" in talking.text
    assert messages() == []
    talking.click("Send to 3 customers")
    assert len(messages()) == 3


def test_a_colleagues_broadcast_is_shown_before_the_same_is_sent_again(
    talking: Teammate, customers: Customers, client: Client
) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2)
    colleague = Teammate(client)
    colleague.conversation = talking.conversation
    colleague.admin = colleague.admin | {"name": "Sam Field", "id": "9608800"}
    at_confirmation(colleague, 2).click("Send to 2 customers")
    talking.click("Send to 2 customers")
    assert "Sam Field sent a message to all conversations on" in talking.text
    assert len(messages()) == 2


def test_an_unlinked_ticket_can_tell_nobody(talking: Teammate, customers: Customers) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2)
    alice = talking.conversation["id"]
    TicketLink.objects.filter(conversation__conversation_id=alice).delete()
    talking.click("Send to 2 customers")
    assert messages() == []


def test_a_broadcast_about_another_ticket_cannot_be_looked_at(
    talking: Teammate, customers: Customers
) -> None:
    other = Ticket.objects.create(
        itop=customers.ticket.itop, ticket_class="UserRequest", object_id=99, ref="R-99"
    )
    foreign = Broadcast.objects.create(ticket=other, form_key="x", admin_name="Somebody else")
    conversation = Conversation.objects.get()
    OutgoingMessage.objects.create(broadcast=foreign, conversation=conversation, body="<p>secret</p>")
    talking.open().send_click(f"broadcast:status:{foreign.pk}")
    assert "secret" not in talking.text and "Somebody else" not in talking.text


# Outcomes


def test_each_conversation_has_its_own_outcome_and_failures_can_be_retried(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    others = [customers.add(f"Customer{number}") for number in range(3)]
    at_confirmation(talking, 4).click("Send to 4 customers")
    path = f"/conversations/{others[0].conversation_id}/reply"
    customers.intercom.store.update_conversation(others[0].conversation_id, merged_into="1")
    work()
    talking.click("Refresh")
    assert "1 could not be sent" in talking.text
    assert others[0].conversation_id in talking.text
    customers.intercom.store.update_conversation(others[0].conversation_id, merged_into="")
    talking.click("Try the failed ones again")
    assert "3 of 4 sent" in talking.text
    work()
    talking.click("Refresh")
    assert "All sent" in talking.text
    assert [len(customers.texts(conversation)) for conversation in others] == [1, 1, 1]
    assert ("POST", path) in customers.intercom.calls


def test_a_retry_of_what_was_posted_after_all_posts_nothing_twice(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    bob = customers.add("Bob")
    at_confirmation(talking, 2).click("Send to 2 customers")
    work()
    OutgoingMessage.objects.filter(conversation=bob).update(
        state="failed", part_id="", reason_code=ReasonCode.INTERCOM_NO_RESPONSE
    )
    talking.click("Refresh").click("Try the failed ones again")
    work()
    assert talking.click("Refresh").text.startswith("All sent")
    assert len(customers.texts(bob)) == 1


def test_a_deleted_conversation_is_replaced_by_the_customers_next_one(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    contact = customers.contact("Bob")
    older = customers.add("older", contacts=[contact], days_ago=2)
    oldest = customers.add("oldest", contacts=[contact], days_ago=3)
    latest = customers.add("latest", contacts=[contact])
    at_confirmation(talking, 4).click("Send to 2 customers")
    customers.intercom.delete(latest.conversation_id)
    work()
    talking.click("Refresh")
    assert "The conversation was deleted in Intercom" in talking.text
    talking.click("Try the failed ones again")
    assert talking.text.startswith("1 of 2 sent")
    work()
    talking.click("Refresh")
    assert "could not be sent" not in talking.text
    assert len(customers.texts(older)) == 1
    assert customers.texts(oldest) == []


def test_the_next_conversation_may_be_deleted_too(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    contact = customers.contact("Bob")
    row = [customers.add(str(age), contacts=[contact], days_ago=age) for age in range(3)]
    at_confirmation(talking, 4).click("Send to 2 customers")
    for gone in row[:2]:
        customers.intercom.delete(gone.conversation_id)
        work()
        talking.click("Refresh").click("Try the failed ones again")
    work()
    assert talking.click("Refresh").text.startswith("All sent")
    assert len(customers.texts(row[2])) == 1


def test_two_submissions_of_one_form_at_the_same_moment_are_one_broadcast(
    customers: Customers, workspace: Workspace
) -> None:
    customers.add("Bob")
    request = CanvasRequest.parse(Teammate(Client()).base_request())
    context = PanelContext(workspace=workspace, request=request, deadline=Deadline(5))
    first, second = (
        broadcasts.start_broadcast(context, customers.ticket, "k" * 16, "<p>x</p>", is_note=False)
        for _ in range(2)
    )
    assert first == second
    assert len(messages()) == 2


def test_without_another_conversation_a_deleted_one_is_not_retried(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    bob = customers.add("Bob")
    at_confirmation(talking, 2).click("Send to 2 customers")
    customers.intercom.delete(bob.conversation_id)
    work()
    talking.click("Refresh")
    assert "1 could not be sent" in talking.text
    assert not talking.offers("Try the failed ones again")


def test_many_messages_are_spread_over_intercoms_windows(
    talking: Teammate, customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcasts, "MESSAGES_PER_WINDOW", 2)
    for number in range(4):
        customers.add(f"Customer{number}")
    at_confirmation(talking, 5).click("Send to 5 customers")
    due = list(OutgoingMessage.objects.order_by("pk").values_list("due_at", flat=True))
    assert [round((when - due[0]).total_seconds()) for when in due] == [0, 0, 10, 10, 20]


def test_a_rate_limit_delays_messages_and_loses_none(
    talking: Teammate, customers: Customers, work: Work
) -> None:
    customers.add("Bob")
    at_confirmation(talking, 2).click("Send to 2 customers")
    customers.intercom.limit_rate(30)
    work()
    assert {state for _, state in messages()} == {"waiting"}
    customers.intercom.limit_rate(0)
    OutgoingMessage.objects.update(due_at=timezone.now())
    work()
    assert {state for _, state in messages()} == {"posted"}


def test_more_recipients_than_a_page_are_listed_page_by_page(talking: Teammate, customers: Customers) -> None:
    conversations = [customers.add(f"Customer{number}") for number in range(11)]
    at_confirmation(talking, 12)
    shown: dict[str, Any] = {"text": talking.text}
    assert "Page 1 of 2" in talking.text
    talking.click("Next")
    shown["text"] += talking.text
    for conversation in conversations:
        assert conversation.conversation_id in shown["text"]
