from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

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


if importlib.util.find_spec("intercom_bridge.events.rules") is None:
    stand_in = ModuleType("intercom_bridge.events.rules")

    def _plan(events, conversation, rules):  # type: ignore[no-untyped-def]
        message = OutgoingMessage(
            conversation=conversation, once_key=f"event:{events[0].pk}", is_note=True, body="<p>n</p>"
        )
        for event in events:
            event.message = message
        return [message]

    stand_in.plan = _plan  # type: ignore[attr-defined]
    sys.modules["intercom_bridge.events.rules"] = stand_in
