"""From an agent's answer in iTop over the panel to the customer, and a customer's message back to the agents."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client as Browser

from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import (
    Delivery,
    EventRules,
    ItopPoll,
    Ticket,
    TicketEvent,
    TicketSnapshot,
    Workspace,
)
from itop_client import Client
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


@pytest.fixture
def poll(work: Work) -> Work:
    """Return a function that compares all tickets with iTop and does what follows."""

    def run() -> None:
        TicketSnapshot.objects.update(poll_at=Now())
        ItopPoll.objects.update(due_at=Now())
        work()

    return run


@pytest.fixture
def ticket(talking: Teammate, itop: Itop) -> Ticket:
    return store_link(talking, itop, "R-000008").ticket


def answer(itop: Itop, ticket: Ticket, text: str) -> None:
    entry = {"add_item": {"message": f"<p>{text}</p>", "format": "html"}}
    Client(itop.url, token=itop.token).update(
        ticket.ticket_class, ticket.object_id, {"public_log": entry}, comment="An agent"
    )


def test_an_answer_that_a_poll_found_is_sent_from_the_ticket_and_stays_out_of_itop(
    client: Browser, talking: Teammate, ticket: Ticket, itop: Itop, intercom: Intercom, poll: Work, work: Work
) -> None:
    answer(itop, ticket, "Please restart the browser.")
    poll()
    size = len(itop.store.log(ticket.object_id))
    talking.open().click("R-000008 · ").click("Send to the customer")
    assert talking.field("Message")["value"] == "Please restart the browser."
    talking.click("Send", Message="Could you restart the browser?")
    work()
    conversation = intercom.conversation_of("Alice Martin")
    sent = intercom.store.parts(conversation.id)[-1]
    assert (sent.part_type, to_text(sent.body or "")) == ("comment", "Could you restart the browser?")
    assert sent.author_id == talking.admin["id"]
    echo = part(int(sent.id), sent.body, created_at=sent.created_at)
    echo |= {"author": {"type": "admin", "id": sent.author_id, "name": "Ada Reyes", "email": ""}}
    notify(client, echo, topic="conversation.admin.replied", id=conversation.id)
    work()
    poll()
    assert Delivery.objects.get(part_id=sent.id).reason_code == "own_message"
    assert len(itop.store.log(ticket.object_id)) == size
    assert "You sent it to the customer" in talking.open().click("answered").text


def test_the_reopening_by_a_customers_message_is_news(
    client: Browser,
    talking: Teammate,
    ticket: Ticket,
    itop: Itop,
    workspace: Workspace,
    poll: Work,
    work: Work,
) -> None:
    EventRules.objects.create(workspace=workspace, reopens_tickets=True)
    itop.store.update("UserRequest", ticket.object_id, status="resolved", last_update=itop.store.now())
    poll()
    message: Any = part(37358198499, "<p>It happens again</p>", created_at=int(time.time()) + 1)
    notify(client, message, id=talking.conversation["id"])
    work()
    poll()
    kinds = list(TicketEvent.objects.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["resolved", "reopened"]
    assert talking.open().find("Reopened")["subtitle"].startswith("R-000008 · ")
