"""Changes of linked tickets in iTop become events, each once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intercom_bridge.models import Ticket, TicketEvent
from itop_client import Client
from sandbox.itop import Itop

Poll = Callable[[], None]


def agent(itop: Itop) -> Client:
    return Client(itop.url, token=itop.token)


def change(itop: Itop, ticket: Ticket, **fields: Any) -> None:
    agent(itop).update(ticket.ticket_class, ticket.object_id, fields, comment="An agent")


def kinds() -> list[str]:
    return list(TicketEvent.objects.order_by("pk").values_list("kind", flat=True))


def test_an_agents_entry_becomes_an_event_once(ticket: Ticket, itop: Itop, poll: Poll) -> None:
    assert kinds() == []
    change(itop, ticket, public_log={"add_item": {"message": "<p>We are on it</p>", "format": "html"}})
    poll()
    poll()
    event = TicketEvent.objects.get()
    assert (event.kind, event.content) == ("public_entry", "<p>We are on it</p>")
