"""How the messages of a conversation stand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, F, Max, Q, Value
from django.db.models.functions import Concat
from django.utils import timezone

from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, TicketLink
from intercom_bridge.models.delivery import DeliveryQuerySet

State = Delivery.State

MESSAGE = Concat("kind", Value(" "), "part_id")
MOST_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class SyncStatus:
    """Messages by state, each counted once however many tickets it goes to, and when the last written was sent.

    `left_out` counts those that a pause has left out and nobody has decided about; `last_failure` says in plain words
    why the last of the failed could not be written.
    """

    on: bool
    written: int = 0
    waiting: int = 0
    failed: int = 0
    left_out: int = 0
    last_at: dt.datetime | None = None
    last_failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Messages that could not be written to a ticket, and why."""

    ref: str
    reason: str
    messages: int


@dataclass(frozen=True, kw_only=True)
class SyncDetails:
    """`last_try` says what came of the last try at what waits, `itop_trouble` why nothing is written to iTop now,
    `gone` are linked tickets that iTop no longer has, `not_compared` why Intercom could not be asked whether a message
    is missing."""

    status: SyncStatus
    gone: tuple[Ticket, ...] = ()
    failures: tuple[Failure, ...] = ()
    last_try: str = ""
    itop_trouble: str = ""
    not_compared: str = ""


def sync_status(conversation: Conversation) -> SyncStatus | None:
    """None when no ticket is linked."""
    switches = list(TicketLink.objects.filter(conversation=conversation).values_list("sync_on", flat=True))
    if not switches:
        return None
    in_itop = Q(state__in=(State.WRITTEN, State.RESTORED))
    deliveries = Delivery.objects.filter(conversation=conversation)
    counts = deliveries.aggregate(
        written=Count(MESSAGE, distinct=True, filter=in_itop),
        last=Max("part_created_at", filter=in_itop),
        waiting=Count(MESSAGE, distinct=True, filter=Q(state=State.WAITING)),
        failed=Count(MESSAGE, distinct=True, filter=Q(state=State.FAILED)),
    )
    last_at = (
        dt.datetime.fromtimestamp(counts["last"], conversation.workspace.zone) if counts["last"] else None
    )
    return SyncStatus(
        on=any(switches),
        written=counts["written"],
        waiting=counts["waiting"],
        failed=counts["failed"],
        left_out=left_out(conversation).aggregate(n=Count(MESSAGE, distinct=True))["n"],
        last_at=last_at,
        last_failure=_newest_reason(deliveries) if counts["failed"] else "",
    )


def left_out(conversation: Conversation) -> DeliveryQuerySet:
    """What a pause has left out and nobody has decided about, of the tickets that are linked."""
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    return Delivery.objects.filter(conversation=conversation, ticket__in=linked).left_out_by_pause()


def sync_details(conversation: Conversation) -> SyncDetails | None:
    """None when no ticket is linked."""
    status = sync_status(conversation)
    if status is None:
        return None
    deliveries = Delivery.objects.filter(conversation=conversation)
    failures = (
        deliveries.filter(state=State.FAILED)
        .order_by()
        .values_list("ticket__ref", "reason")
        .annotate(n=Count("pk"), newest=Max("pk"))
        .order_by("-newest")[:MOST_FAILURES]
    )
    tried = deliveries.waiting().exclude(reason="").in_order().first()
    paused = ItopInstance.objects.filter(
        tickets__links__conversation=conversation, paused_until__gt=timezone.now()
    ).first()
    return SyncDetails(
        status=status,
        gone=tuple(
            Ticket.objects.filter(links__conversation=conversation, gone_at__isnull=False).order_by("pk")
        ),
        failures=tuple(Failure(ref=ref, reason=reason, messages=n) for ref, reason, n, _newest in failures),
        last_try=tried.reason if tried else "",
        itop_trouble=paused.pause_reason if paused else "",
        not_compared=conversation.reconcile_trouble,
    )


def _newest_reason(deliveries: DeliveryQuerySet) -> str:
    failed = deliveries.filter(state=State.FAILED)
    newest = failed.order_by(F("last_failed_at").desc(nulls_last=True), "-pk").first()
    return newest.reason if newest else ""
