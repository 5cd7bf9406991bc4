from __future__ import annotations

from collections.abc import Callable

import pytest

from intercom_bridge.models import OutgoingMessage, TicketLink
from tests.teammate import Teammate

Work = Callable[[], None]


@pytest.fixture
def ticket(teammate: Teammate, work: Work) -> int:
    """Return R-000008, linked to the conversation."""
    teammate.link("R-000008")
    OutgoingMessage.objects.all().delete()
    work()
    return TicketLink.objects.get().ticket.object_id
