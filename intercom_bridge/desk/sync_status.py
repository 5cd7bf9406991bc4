"""How the messages of a conversation stand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from django.db.models import Count, Max, Value
from django.db.models.functions import Concat

from intercom_bridge.models import Conversation, Delivery, TicketLink

State = Delivery.State


@dataclass(frozen=True, kw_only=True)
class SyncStatus:
    """Messages by state, each counted once however many tickets it goes to, and when the last written was sent."""

    on: bool
    written: int = 0
    waiting: int = 0
    failed: int = 0
    last_at: dt.datetime | None = None


def sync_status(conversation: Conversation) -> SyncStatus | None:
    """None when no ticket is linked."""
    switches = list(TicketLink.objects.filter(conversation=conversation).values_list("sync_on", flat=True))
    if not switches:
        return None
    status = SyncStatus(on=any(switches))
    deliveries = Delivery.objects.filter(conversation=conversation)
    message = Concat("kind", Value(" "), "part_id")
    counts = deliveries.values_list("state").annotate(
        n=Count(message, distinct=True), last=Max("part_created_at")
    )
    for state, count, last in counts:
        if state == State.WRITTEN:
            last_at = dt.datetime.fromtimestamp(last, conversation.workspace.zone)
            status = replace(status, written=count, last_at=last_at)
        elif state == State.WAITING:
            status = replace(status, waiting=count)
        elif state == State.FAILED:
            status = replace(status, failed=count)
    return status
