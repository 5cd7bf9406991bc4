"""iTop loses one of two simultaneous saves of a log, and both leave an operation for the same position."""

from __future__ import annotations

from collections.abc import Callable

from intercom_bridge.models import Ticket, TicketEvent
from itop_client import Client
from sandbox.itop import Itop

OURS = "Intercom message 99 (other), Ada Reyes"


def write(itop: Itop, ticket: Ticket, text: str, comment: str) -> None:
    item = {"message": f"<p>{text}</p>", "format": "html"}
    client = Client(itop.url, token=itop.token)
    client.update(ticket.ticket_class, ticket.object_id, {"public_log": {"add_item": item}}, comment=comment)


def test_an_agents_entry_where_a_message_was_lost_is_reported(
    ticket: Ticket, itop: Itop, poll: Callable[[], None]
) -> None:
    write(itop, ticket, "lost", OURS)
    log = itop.store.log(ticket.object_id)
    itop.store.update("UserRequest", ticket.object_id, public_log=log[:-1])
    write(itop, ticket, "the agent's", "An agent")
    write(itop, ticket, "the bridge's", OURS)
    poll()
    assert list(TicketEvent.objects.values_list("content", flat=True)) == ["<p>the agent's</p>"]
