"""The sync of a conversation: its status, and a teammate's decisions about it."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Max, Q
from django.utils import timezone

from intercom_bridge.files.summary import (
    NO_FILES,
    FileSummary,
    files_of_conversation,
    summaries_by_ticket,
    summary_of,
)
from intercom_bridge.files.summary import RETRIABLE as RETRIABLE_FILE
from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, TicketLink
from intercom_bridge.models.delivery import DeliveryQuerySet
from intercom_bridge.models.reason import ReasonCode, reason_label

from .context import PanelContext
from .conversation import find_conversation
from .version import claim_version

State = Delivery.State

MAX_FAILURES = 5
IN_ITOP = Q(state__in=(State.WRITTEN, State.RESTORED))
# iTop would refuse these again, whenever they are retried.
HOPELESS = (ReasonCode.LOG_FULL, ReasonCode.REQUEST_TOO_LARGE, ReasonCode.UNSUPPORTED_CHARACTER)
# Nothing can be written to a ticket that iTop no longer has.
RETRIABLE = Q(state=State.FAILED, cleaned_at=None, ticket__gone_at=None) & ~Q(reason_code__in=HOPELESS)
# Only another ticket can take these messages.
NEEDS_OTHER_TICKET = Q(state=State.FAILED) & (
    Q(reason_code=ReasonCode.LOG_FULL) | Q(ticket__gone_at__isnull=False)
)


@dataclass(frozen=True, kw_only=True)
class SyncStatus:
    """Messages by state. A message is counted once, however many tickets it goes to.

    `retriable` counts the failed ones that a retry may help; `needs_other_ticket`: for some only another ticket does.
    `left_out` counts those that were skipped during a pause and not decided on. `paused` are the tickets whose own sync
    is paused while another one's is on. `files` are the files of the messages.
    """

    on: bool
    paused: tuple[str, ...] = ()
    waiting: int = 0
    failed: int = 0
    retriable: int = 0
    needs_other_ticket: bool = False
    left_out: int = 0
    last_failure: str = ""
    files: FileSummary = NO_FILES


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Messages that could not be written to a ticket, and why."""

    ref: str
    reason: str
    messages: int


@dataclass(frozen=True, kw_only=True)
class TicketSync:
    """Messages of one linked ticket by state. `last_at`: when the newest written one was sent."""

    ref: str
    written: int = 0
    waiting: int = 0
    failed: int = 0
    last_at: dt.datetime | None = None
    files: FileSummary = NO_FILES

    @property
    def total(self) -> int:
        return self.written + self.waiting + self.failed


@dataclass(frozen=True, kw_only=True)
class SyncDetails:
    """The status with its tickets, failures and problems.

    `last_attempt`: why the last attempt at a waiting message failed; `itop_problem`: why iTop is not written to now;
    `gone`: linked tickets that iTop no longer has; `comparison_problem`: why Intercom could not be asked for missing
    messages.
    """

    status: SyncStatus
    tickets: tuple[TicketSync, ...] = ()
    gone: tuple[Ticket, ...] = ()
    failures: tuple[Failure, ...] = ()
    last_attempt: str = ""
    itop_problem: str = ""
    comparison_problem: str = ""


def get_sync_status(context: PanelContext) -> SyncStatus | None:
    """Return the status of this conversation's sync, or None if no ticket is linked."""
    conversation = find_conversation(context)
    if conversation is None:
        return None
    links = TicketLink.objects.of_conversation(conversation).values_list("ticket__ref", "sync_on")
    if not links:
        return None
    deliveries = _deliveries(conversation)
    flagged = deliveries.unwritten().annotate(is_retriable=RETRIABLE, needs_other_ticket=NEEDS_OTHER_TICKET)
    codes = ("kind", "part_id", "state", "is_retriable", "needs_other_ticket")
    unwritten: list[Any] = list(flagged.values_list(*codes, named=True))
    failed = _count(row for row in unwritten if row.state == State.FAILED)
    on = any(sync_on for _ref, sync_on in links)
    return SyncStatus(
        on=on,
        paused=tuple(ref for ref, sync_on in links if on and not sync_on),
        waiting=_count(row for row in unwritten if row.state == State.WAITING),
        failed=failed,
        retriable=_count(row for row in unwritten if row.is_retriable),
        needs_other_ticket=any(row.needs_other_ticket for row in unwritten),
        left_out=_count(deliveries.left_out_by_pause().values_list("kind", "part_id", named=True)),
        last_failure=_last_failure(deliveries) if failed else "",
        files=summary_of(conversation),
    )


def get_sync_details(context: PanelContext) -> SyncDetails | None:
    """Return the status with the tickets, failures and problems behind it, or None if no ticket is linked."""
    status, conversation = get_sync_status(context), find_conversation(context)
    if conversation is None or status is None:
        return None
    deliveries = _deliveries(conversation)
    failures = (
        deliveries.filter(state=State.FAILED)
        .order_by()
        .values_list("ticket__ref", "reason_code", "reason_detail")
        .annotate(n=Count("pk"), newest=Max("pk"))
        .order_by("-newest")[:MAX_FAILURES]
    )
    attempted = deliveries.waiting().exclude(reason_code="").in_order().first()
    paused = ItopInstance.objects.filter(
        tickets__links__conversation=conversation, paused_until__gt=timezone.now()
    ).first()
    return SyncDetails(
        status=status,
        tickets=_ticket_syncs(conversation),
        gone=tuple(
            Ticket.objects.filter(links__conversation=conversation, gone_at__isnull=False).order_by("pk")
        ),
        failures=tuple(
            Failure(ref=ref, reason=reason_label(code, detail), messages=n)
            for ref, code, detail, n, _newest in failures
        ),
        last_attempt=reason_label(attempted.reason_code, attempted.reason_detail) if attempted else "",
        itop_problem=reason_label(paused.pause_code, paused.pause_detail) if paused else "",
        comparison_problem=reason_label(conversation.reconcile_code, conversation.reconcile_detail),
    )


def switch_sync(context: PanelContext, *, on: bool) -> None:
    """Pause or resume the sync of all tickets linked to this conversation. Raise OutdatedScreenError."""
    conversation = find_conversation(context)
    if conversation is None or not conversation.links.exclude(sync_on=on).exists():
        return
    claim_version(context)
    now = timezone.now().timestamp()
    with transaction.atomic():
        # Locked, so that a second click does not store a second pause.
        links = TicketLink.objects.filter(conversation=conversation).exclude(sync_on=on)
        for link in links.select_for_update():
            link.switch(on=on, at=now)
    if on:
        # Compare now, to offer also the messages whose notification was lost during the pause.
        Conversation.objects.filter(pk=conversation.pk).compare_within(0)


def retry_failed(context: PanelContext) -> None:
    """Write the failed messages of this conversation again, and copy its failed files. Raise OutdatedScreenError."""
    conversation = find_conversation(context)
    messages = _deliveries(conversation).filter(RETRIABLE)
    files = files_of_conversation(conversation).filter(RETRIABLE_FILE)
    if messages.exists() or files.exists():
        claim_version(context)
        messages.retry_now()
        files.retry_now()


def write_left_out(context: PanelContext) -> None:
    """Write the messages that were left out during a pause. Raise OutdatedScreenError."""
    left_out = _left_out(find_conversation(context))
    if left_out.exists():
        claim_version(context)
        left_out.write_after_all()


def discard_left_out(context: PanelContext) -> None:
    """Stop offering the messages that were left out during a pause; they are not copied.

    Raise OutdatedScreenError.
    """
    left_out = _left_out(find_conversation(context))
    if left_out.exists():
        claim_version(context)
        left_out.update(reason_code=ReasonCode.PAUSE_SKIPPED)


def _deliveries(conversation: Conversation | None) -> DeliveryQuerySet:
    """Return the deliveries to the tickets that are linked now."""
    if conversation is None:
        return Delivery.objects.none()
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    return Delivery.objects.filter(conversation=conversation, ticket__in=linked)


def _count(deliveries: Iterable[Any]) -> int:
    """Count the messages: one message has a delivery for each linked ticket."""
    return len({(delivery.kind, delivery.part_id) for delivery in deliveries})


def _left_out(conversation: Conversation | None) -> DeliveryQuerySet:
    return _deliveries(conversation).left_out_by_pause()


def _last_failure(deliveries: DeliveryQuerySet) -> str:
    failed = deliveries.filter(state=State.FAILED)
    newest = failed.order_by(F("last_failed_at").desc(nulls_last=True), "-pk").first()
    return reason_label(newest.reason_code, newest.reason_detail) if newest else ""


def _ticket_syncs(conversation: Conversation) -> tuple[TicketSync, ...]:
    rows = (
        _deliveries(conversation)
        .order_by()
        .values("ticket")
        .annotate(
            written=Count("pk", filter=IN_ITOP),
            waiting=Count("pk", filter=Q(state=State.WAITING)),
            failed=Count("pk", filter=Q(state=State.FAILED)),
            last_at=Max("part_created_at", filter=IN_ITOP),
        )
    )
    counts_by_ticket: dict[int, dict[str, Any]] = {}
    for row in rows:
        counts: dict[str, Any] = {**row}
        last_at, zone = counts["last_at"], conversation.workspace.zone
        counts["last_at"] = dt.datetime.fromtimestamp(last_at, zone) if last_at else None
        counts_by_ticket[counts.pop("ticket")] = counts
    files = summaries_by_ticket(conversation)
    return tuple(
        TicketSync(
            ref=link.ticket.ref,
            files=files.get(link.ticket_id, NO_FILES),
            **counts_by_ticket.get(link.ticket_id, {}),
        )
        for link in TicketLink.objects.of_conversation(conversation)
    )
