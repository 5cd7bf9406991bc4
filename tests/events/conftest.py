from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from intercom_bridge.models import ItopPoll, OutgoingMessage, Ticket, TicketLink, TicketSnapshot
from tests.teammate import Teammate


@pytest.fixture
def ticket(talking: Teammate, work: Callable[[], None]) -> Ticket:
    """Return a ticket that the teammate has linked, after the worker has finished."""
    talking.link("R-000006")
    work()
    OutgoingMessage.objects.all().delete()
    return TicketLink.objects.get().ticket


@pytest.fixture
def poll(work: Callable[[], None]) -> Callable[[], None]:
    """Return a function that polls iTop for all followed tickets now, and does what is due then."""

    def poll() -> None:
        TicketSnapshot.objects.exclude(poll_at=None).update(poll_at=timezone.now())
        ItopPoll.objects.update(due_at=timezone.now())
        work()

    return poll
