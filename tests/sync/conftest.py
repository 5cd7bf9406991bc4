from __future__ import annotations

from collections.abc import Callable

import pytest

from intercom_bridge.models import Posting, Ticket, TicketLink
from tests.teammate import Teammate


@pytest.fixture
def ticket(teammate: Teammate, work: Callable[[], None]) -> Ticket:
    """A ticket that the teammate has linked; all that linking it brings about is done."""
    teammate.link("R-000006")
    Posting.objects.all().delete()
    work()
    return TicketLink.objects.get().ticket
