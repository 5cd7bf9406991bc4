from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client as DjangoClient
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopPoll, Ticket, TicketLink, TicketSnapshot
from itop_client import Client
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

# Accounts of the stand-in.
JULES, ALICE, BOB = 11, 8, 9


@pytest.fixture
def ticket(linked: TicketLink) -> Ticket:
    """Return a ticket that the teammate has linked, after the worker has finished."""
    return linked.ticket


@pytest.fixture
def poll(work: Callable[[], None]) -> Callable[[], None]:
    """Return a function that polls iTop for all followed tickets now, and does what is due then."""

    def poll() -> None:
        make_due()
        work()

    return poll


def make_due() -> None:
    TicketSnapshot.objects.exclude(poll_at=None).update(poll_at=Now())
    ItopPoll.objects.update(due_at=Now())


@dataclass
class Agent:
    """Somebody who changes tickets in iTop."""

    itop: Itop

    def change(self, ticket: Ticket, comment: str = "An agent", **fields: Any) -> None:
        client = Client(self.itop.url, token=self.itop.token)
        client.update(ticket.ticket_class, ticket.object_id, fields, comment=comment)

    def write(
        self,
        ticket: Ticket,
        text: str,
        *,
        log: str = "public_log",
        account: int = JULES,
        comment: str = "An agent",
    ) -> None:
        item = {"message": f"<p>{text}</p>", "format": "html", "user_id": account}
        self.change(ticket, comment, **{log: {"add_item": item}})

    def replace_log(self, ticket: Ticket, *texts: str) -> None:
        items = [{"message": f"<p>{text}</p>", "format": "html", "user_id": JULES} for text in texts]
        self.change(ticket, public_log={"items": items})

    def delete(self, ticket: Ticket) -> None:
        self.itop.store.remove(ticket.ticket_class, ticket.object_id)


@pytest.fixture
def customer_writes(
    client: DjangoClient, talking: Teammate, work: Callable[[], None]
) -> Callable[[str], Delivery]:
    """Return a function that sends a message of the customer, and has it written to the linked tickets."""
    numbers = count(37358990000)

    def write(text: str) -> Delivery:
        # Messages that are older than the link are not copied.
        at = int(timezone.now().timestamp()) + 1
        message = part(next(numbers), f"<p>{text}</p>", created_at=at)
        notify(client, message, id=talking.conversation["id"])
        work()
        delivery = Delivery.objects.get(part_id=message["id"])
        assert delivery.state != Delivery.State.SKIPPED
        return delivery

    return write


@pytest.fixture
def agent(itop: Itop) -> Agent:
    return Agent(itop)
