"""How the messages of a conversation stand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Max, Q, Value
from django.db.models.functions import Concat
from django.utils import timezone

from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, TicketLink
from intercom_bridge.models.delivery import DeliveryQuerySet

State = Delivery.State

MESSAGE = Concat("kind", Value(" "), "part_id")
MOST_FAILURES = 5
IN_ITOP = Q(state__in=(State.WRITTEN, State.RESTORED))
# Of a ticket that iTop no longer has nothing can be written, however often it is tried.
RETRIABLE = Q(state=State.FAILED, cleaned_at=None, ticket__gone_at=None)
NOT_YET = Q(state__in=(State.WAITING, State.FAILED))


@dataclass(frozen=True, kw_only=True)
class SyncStatus:
    """Messages by state, each counted once however many tickets it goes to, and when the last written was sent.

    Of the `total` that should be in the linked tickets (`refs`), `written` are in each of them. `left_out` counts those
    that a pause has left out and nobody has decided about; `last_failure` says in plain words why the last of the
    failed could not be written, `retriable` counts those that another try may help. `paused` are the tickets whose own
    sync is paused while another one's is on.
    """

    on: bool
    paused: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    total: int = 0
    written: int = 0
    waiting: int = 0
    failed: int = 0
    retriable: int = 0
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
class TicketSync:
    """How it stands with one of the linked tickets."""

    ref: str
    total: int
    written: int
    waiting: int
    failed: int
    last_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class SyncDetails:
    """`last_try` says what came of the last try at what waits, `itop_trouble` why nothing is written to iTop now,
    `gone` are linked tickets that iTop no longer has, `not_compared` why Intercom could not be asked whether a message
    is missing."""

    status: SyncStatus
    tickets: tuple[TicketSync, ...] = ()
    gone: tuple[Ticket, ...] = ()
    failures: tuple[Failure, ...] = ()
    last_try: str = ""
    itop_trouble: str = ""
    not_compared: str = ""


def sync_status(conversation: Conversation) -> SyncStatus | None:
    """None when no ticket is linked."""
    links = TicketLink.objects.of_conversation(conversation).values_list("ticket__ref", "sync_on")
    if not links:
        return None
    deliveries = of_linked(conversation)
    counts = deliveries.aggregate(
        total=Count(MESSAGE, distinct=True, filter=IN_ITOP | NOT_YET),
        not_yet=Count(MESSAGE, distinct=True, filter=NOT_YET),
        last=Max("part_created_at", filter=IN_ITOP),
        waiting=Count(MESSAGE, distinct=True, filter=Q(state=State.WAITING)),
        failed=Count(MESSAGE, distinct=True, filter=Q(state=State.FAILED)),
        retriable=Count(MESSAGE, distinct=True, filter=RETRIABLE),
    )
    on = any(sync_on for _ref, sync_on in links)
    return SyncStatus(
        on=on,
        paused=tuple(ref for ref, sync_on in links if on and not sync_on),
        refs=tuple(ref for ref, _sync_on in links),
        total=counts["total"],
        written=counts["total"] - counts["not_yet"],
        waiting=counts["waiting"],
        failed=counts["failed"],
        retriable=counts["retriable"],
        left_out=left_out(conversation).aggregate(n=Count(MESSAGE, distinct=True))["n"],
        last_at=_moment(conversation, counts["last"]),
        last_failure=_newest_reason(deliveries) if counts["failed"] else "",
    )


def _moment(conversation: Conversation, seconds: int | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(seconds, conversation.workspace.zone) if seconds else None


def of_linked(conversation: Conversation) -> DeliveryQuerySet:
    """The messages of the tickets that are linked now: those of an undone link are nobody's concern."""
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    return Delivery.objects.filter(conversation=conversation, ticket__in=linked)


def left_out(conversation: Conversation) -> DeliveryQuerySet:
    """What a pause has left out and nobody has decided about, of the tickets that are linked."""
    return of_linked(conversation).left_out_by_pause()


def sync_details(conversation: Conversation) -> SyncDetails | None:
    """None when no ticket is linked."""
    status = sync_status(conversation)
    if status is None:
        return None
    deliveries = of_linked(conversation)
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
        tickets=_tickets(conversation),
        gone=tuple(
            Ticket.objects.filter(links__conversation=conversation, gone_at__isnull=False).order_by("pk")
        ),
        failures=tuple(Failure(ref=ref, reason=reason, messages=n) for ref, reason, n, _newest in failures),
        last_try=tried.reason if tried else "",
        itop_trouble=paused.pause_reason if paused else "",
        not_compared=conversation.reconcile_trouble,
    )


def _tickets(conversation: Conversation) -> tuple[TicketSync, ...]:
    counted = (
        of_linked(conversation)
        .order_by()
        .values("ticket")
        .annotate(
            written=Count("pk", filter=IN_ITOP),
            waiting=Count("pk", filter=Q(state=State.WAITING)),
            failed=Count("pk", filter=Q(state=State.FAILED)),
            last=Max("part_created_at", filter=IN_ITOP),
        )
    )
    counts: dict[int, Any] = {one["ticket"]: one for one in counted}
    nothing = {"written": 0, "waiting": 0, "failed": 0, "last": None}
    tickets = []
    for link in TicketLink.objects.of_conversation(conversation):
        one = counts.get(link.ticket_id, nothing)
        tickets.append(
            TicketSync(
                ref=link.ticket.ref,
                total=one["written"] + one["waiting"] + one["failed"],
                written=one["written"],
                waiting=one["waiting"],
                failed=one["failed"],
                last_at=_moment(conversation, one["last"]),
            )
        )
    return tuple(tickets)


def _newest_reason(deliveries: DeliveryQuerySet) -> str:
    failed = deliveries.filter(state=State.FAILED)
    newest = failed.order_by(F("last_failed_at").desc(nulls_last=True), "-pk").first()
    return newest.reason if newest else ""
