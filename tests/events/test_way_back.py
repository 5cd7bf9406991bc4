"""From an agent's save in iTop to a note in the conversation, and no further."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client as Browser

from intercom_bridge.events.poll import poll_itop
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import (
    Conversation,
    Delivery,
    EventRules,
    ItopPoll,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
)
from itop_client import Client
from sandbox.intercom import Intercom
from sandbox.intercom.seed import SECOND_LINE
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

from .conftest import JULES, make_due

Work = Callable[[], None]


def save(itop: Itop, ticket: Ticket, **fields: Any) -> None:
    Client(itop.url, token=itop.token).update(
        ticket.ticket_class, ticket.object_id, fields, comment="An agent"
    )


def entry(text: str, **author: Any) -> dict[str, Any]:
    item = {"message": f"<p>{text}</p>", "format": "html"}
    return {"add_item": item | ({"user_id": author["account"]} if author else {})}


def notes(intercom: Intercom) -> list[Any]:
    parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)
    return [part for part in parts if part.part_type == "note" and "wrote in ticket" in (part.body or "")]


def test_an_agents_entry_is_a_note_and_our_note_is_no_news(
    client: Browser, ticket: Ticket, itop: Itop, intercom: Intercom, poll: Work, work: Work
) -> None:
    save(itop, ticket, public_log=entry("We are on it"))
    poll()
    (note,) = notes(intercom)
    assert to_text(note.body).endswith("We are on it")
    message = OutgoingMessage.objects.get()
    assert (message.state, message.part_id) == ("posted", note.id)
    assert TicketEvent.objects.get().message == message
    size = len(itop.store.log(ticket.object_id))
    echo = part(int(note.id), note.body, part_type="note", created_at=note.created_at)
    echo |= {"app_package_code": note.app_package_code}
    conversation = intercom.conversation_of("Alice Martin")
    notify(client, echo, topic="conversation.admin.noted", id=conversation.id)
    work()
    poll()
    assert Delivery.objects.get(part_id=note.id).reason_code == "own_message"
    assert len(itop.store.log(ticket.object_id)) == size
    assert len(notes(intercom)) == 1


def test_a_message_that_the_bridge_copied_to_itop_does_not_come_back(
    client: Browser, ticket: Ticket, itop: Itop, intercom: Intercom, poll: Work, work: Work
) -> None:
    conversation = intercom.conversation_of("Alice Martin")
    written = part(37358198399, "<p>Hello?</p>", created_at=int(time.time()))
    notify(client, written, id=conversation.id)
    work()
    assert Delivery.objects.get().state == "written"
    poll()
    assert TicketEvent.objects.count() == 0


def test_a_second_ticket_contains_no_note_about_the_first_one(
    talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, poll: Work
) -> None:
    """Intercom's response did not show which part the note was made of."""
    save(itop, ticket, public_log=entry("Only for the first ticket"))
    poll()
    assert notes(intercom)
    OutgoingMessage.objects.update(part_id="")
    talking.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    talking.open().click("Create a ticket").click("Create ticket")
    if talking.offers("Create anyway"):
        talking.click("Create anyway")
    second = TicketLink.objects.exclude(ticket=ticket).get().ticket
    for log in ("public_log", "private_log"):
        entries = itop.store.log(second.object_id, log)
        assert "Only for the first ticket" not in str(entries)


def test_a_reply_to_the_customer_is_sent_only_if_the_rules_say_so(
    ticket: Ticket, itop: Itop, intercom: Intercom, poll: Work
) -> None:
    workspace = TicketLink.objects.get().conversation.workspace
    EventRules.objects.create(workspace=workspace, public_entry="reply", shows_agent_names=False)
    save(itop, ticket, public_log=entry("Try it again", account=JULES))
    poll()
    last = intercom.store.parts(intercom.conversation_of("Alice Martin").id)[-1]
    assert last.part_type == "comment"
    assert to_text(last.body or "") == f"There is a reply to your ticket {ticket.ref}:\n\nTry it again"


@pytest.mark.parametrize("state", ["close", "snoozed"])
def test_an_agents_entry_reopens_the_conversation_and_assigns_it_to_the_team(
    ticket: Ticket, itop: Itop, intercom: Intercom, poll: Work, state: str
) -> None:
    workspace = TicketLink.objects.get().conversation.workspace
    rules = {"reopens_on": ["public_entry"], "assign_to": "team", "assign_to_team_id": SECOND_LINE.id}
    EventRules.objects.create(workspace=workspace, **rules)
    key = intercom.conversation_of("Alice Martin").id
    intercom.workspace.change_state(key, state, snoozed_until=int(time.time()) + 3600)
    assert intercom.store.conversation(key).state != "open"
    save(itop, ticket, public_log=entry("We found it"))
    poll()
    conversation = intercom.store.conversation(key)
    assert (conversation.state, conversation.team_assignee_id) == ("open", SECOND_LINE.id)
    parts = [part for part in intercom.store.parts(key) if part.app_package_code]
    kinds = [part.part_type for part in parts if part.part_type in ("note", "open", "assignment")]
    assert kinds[-3:] == ["note", "open", "assignment"]
    assert to_text(notes(intercom)[0].body).endswith("Because of this change, the conversation was reopened.")
    event = TicketEvent.objects.get()
    assert event.reopened and event.outcome == "posted"


def test_each_conversation_of_a_ticket_has_its_own_outcome(
    ticket: Ticket, itop: Itop, intercom: Intercom, work: Work
) -> None:
    workspace = TicketLink.objects.get().conversation.workspace
    contact = intercom.contact("Alice Martin")
    deleted, merged, closed, snoozed, unlinked = (
        intercom.workspace.begin(contact, body="Hello").id for _ in range(5)
    )
    first = TicketLink.objects.get().conversation.conversation_id
    for key in (deleted, merged, closed, snoozed, unlinked):
        conversation = Conversation.objects.find_or_create(workspace, key)
        TicketLink.objects.create(conversation=conversation, ticket=ticket)
    intercom.workspace.delete(deleted)
    intercom.workspace.merge(merged, first)
    intercom.workspace.change_state(closed, "close")
    intercom.workspace.change_state(snoozed, "snoozed", snoozed_until=int(time.time()) + 3600)
    save(itop, ticket, public_log=entry("We are on it"))
    make_due()
    poll_itop(ItopPoll.objects.get())
    TicketLink.objects.filter(conversation__conversation_id=unlinked).delete()
    work()
    outcomes = {
        event.conversation.conversation_id: (event.outcome, event.message and event.message.reason_code)
        for event in TicketEvent.objects.select_related("message", "conversation")
    }
    assert outcomes == {
        first: ("posted", ""),
        deleted: ("failed", "conversation_deleted"),
        merged: ("failed", "conversation_merged"),
        closed: ("posted", ""),
        snoozed: ("posted", ""),
        unlinked: ("failed", "not_linked"),
    }
    assert [intercom.store.conversation(key).state for key in (closed, snoozed)] == ["closed", "snoozed"]
