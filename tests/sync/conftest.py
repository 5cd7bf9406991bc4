from __future__ import annotations

from collections.abc import Callable

import pytest

from intercom_bridge.models import OutgoingMessage, Ticket, TicketLink
from tests.teammate import Teammate


@pytest.fixture
def ticket(teammate: Teammate, work: Callable[[], None]) -> Ticket:
    """Return a ticket that the teammate has linked, after the worker has finished."""
    teammate.link("R-000006")
    OutgoingMessage.objects.all().delete()
    work()
    return TicketLink.objects.get().ticket
