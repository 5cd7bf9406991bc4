"""The sync of a conversation: read its status, and carry out a teammate's decisions about it."""

import datetime as dt
from collections.abc import Iterable, Mapping
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
from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, TicketLink, WebhookEvent
from intercom_bridge.models.delivery import DeliveryQuerySet
from intercom_bridge.models.reason import ReasonCode, reason_label
from intercom_bridge.sync.intake import MESSAGE_TOPICS

from .context import PanelContext
from .conversation import find_conversation
from .version import claim_version

State = Delivery.State

MAX_FAILURES = 5
IN_ITOP = Q(state__in=(State.WRITTEN, State.RESTORED))
# After a rejection for one of these reasons, iTop would reject the same message again.
HOPELESS = (ReasonCode.LOG_FULL, ReasonCode.REQUEST_TOO_LARGE, ReasonCode.UNSUPPORTED_CHARACTER)
# A retry can succeed only if the text is still stored and iTop still has the ticket.
RETRIABLE = Q(state=State.FAILED, cleaned_at=None, ticket__gone_at=None) & ~Q(reason_code__in=HOPELESS)
CANNOT_TAKE_MESSAGES = Q(reason_code=ReasonCode.LOG_FULL) | Q(ticket__gone_at__isnull=False)
NEEDS_OTHER_TICKET = Q(state=State.FAILED) & CANNOT_TAKE_MESSAGES


@dataclass(frozen=True, kw_only=True)
class SyncStatus:
    """The sync of a conversation's tickets. A message is counted once, even if several tickets get it.

    on: at least one ticket gets new messages.
    paused: the references of the tickets that get no new messages although another ticket does.
    waiting, failed: the messages in these states. Messages whose notification no worker has processed yet are waiting.
    retriable: the failed messages that a retry may write.
    needs_other_ticket: some failed messages can only be written to another ticket.
    left_out: the messages that were skipped during a pause, and that no teammate has decided on yet.
    last_failure: why the newest failed message was not written.
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
    """How many messages could not be written to a ticket for one reason. `ref` is the ticket's reference."""

    ref: str
    reason: str
    messages: int


@dataclass(frozen=True, kw_only=True)
class TicketSync:
    """How many messages of one linked ticket are in each state. `waiting` is counted as in SyncStatus.

    `last_at` is when the newest written message was sent in Intercom, in the workspace's time zone.
    """

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
    """The status and its details. A problem is a text for the teammate, or "".

    gone: the linked tickets that iTop no longer has.
    failures: the newest reasons why messages failed.
    last_attempt: why the last attempt to write a waiting message failed.
    itop_problem: why the bridge writes nothing to iTop at present.
    comparison_problem: why the bridge could not search the conversation in Intercom for missing messages.
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
    links = list(TicketLink.objects.of_conversation(conversation))
    if not links:
        return None
    deliveries = _deliveries(conversation)
    flagged = deliveries.unwritten().annotate(is_retriable=RETRIABLE, needs_other_ticket=NEEDS_OTHER_TICKET)
    columns = ("kind", "part_id", "state", "is_retriable", "needs_other_ticket")
    unwritten: list[Any] = list(flagged.values_list(*columns, named=True))
    failed_count = _count_messages(delivery for delivery in unwritten if delivery.state == State.FAILED)
    left_out = deliveries.left_out_by_pause().values_list("kind", "part_id", named=True)
    waiting_count = _count_messages(delivery for delivery in unwritten if delivery.state == State.WAITING)
    waiting_count += sum(
        any(_gets_message(link, arrival) for link in links) for arrival in _unprocessed_arrivals(conversation)
    )
    is_any_on = any(link.sync_on for link in links)
    return SyncStatus(
        on=is_any_on,
        paused=tuple(link.ticket.ref for link in links if is_any_on and not link.sync_on),
        waiting=waiting_count,
        failed=failed_count,
        retriable=_count_messages(delivery for delivery in unwritten if delivery.is_retriable),
        needs_other_ticket=any(delivery.needs_other_ticket for delivery in unwritten),
        left_out=_count_messages(left_out),
        last_failure=_last_failure(deliveries) if failed_count else "",
        files=summary_of(conversation),
    )


def get_sync_details(context: PanelContext) -> SyncDetails | None:
    """Return the status with its tickets, failures and problems, or None if no ticket is linked."""
    status, conversation = get_sync_status(context), find_conversation(context)
    if conversation is None or status is None:
        return None
    deliveries = _deliveries(conversation)
    attempted = deliveries.waiting().exclude(reason_code="").in_order().first()
    paused_itop = ItopInstance.objects.filter(
        tickets__links__conversation=conversation, paused_until__gt=timezone.now()
    ).first()
    gone_tickets = Ticket.objects.filter(links__conversation=conversation, gone_at__isnull=False)
    return SyncDetails(
        status=status,
        tickets=_ticket_syncs(conversation),
        gone=tuple(gone_tickets.order_by("pk")),
        failures=_newest_failures(deliveries),
        last_attempt=reason_label(attempted.reason_code, attempted.reason_detail) if attempted else "",
        itop_problem=reason_label(paused_itop.pause_code, paused_itop.pause_detail) if paused_itop else "",
        comparison_problem=reason_label(conversation.reconcile_code, conversation.reconcile_detail),
    )


def _newest_failures(deliveries: DeliveryQuerySet) -> tuple[Failure, ...]:
    """Return the number of failed messages for each ticket and reason, the newest messages first."""
    groups = (
        deliveries.filter(state=State.FAILED)
        .order_by()
        .values_list("ticket__ref", "reason_code", "reason_detail")
        .annotate(count=Count("pk"), newest_pk=Max("pk"))
        .order_by("-newest_pk")[:MAX_FAILURES]
    )
    return tuple(
        Failure(ref=ref, reason=reason_label(code, detail), messages=count)
        for ref, code, detail, count, _newest_pk in groups
    )


def switch_sync(context: PanelContext, *, on: bool) -> None:
    """Pause or resume the sync of all tickets linked to this conversation. Raise OutdatedScreenError."""
    conversation = find_conversation(context)
    if conversation is None or not conversation.links.exclude(sync_on=on).exists():
        return
    claim_version(context)
    now = timezone.now().timestamp()
    with transaction.atomic():
        # The lock keeps a second click from storing a second pause.
        links = TicketLink.objects.filter(conversation=conversation).exclude(sync_on=on)
        for link in links.select_for_update():
            link.switch(on=on, at=now)
    if on:
        # Find the messages whose notification was lost during the pause, because the panel has to offer them too.
        Conversation.objects.filter(pk=conversation.pk).compare_within(0)


def retry_failed(context: PanelContext) -> None:
    """Queue the failed messages and files of this conversation again. Raise OutdatedScreenError."""
    conversation = find_conversation(context)
    messages = _deliveries(conversation).filter(RETRIABLE)
    files = files_of_conversation(conversation).filter(RETRIABLE_FILE)
    if messages.exists() or files.exists():
        claim_version(context)
        messages.retry_now()
        files.retry_now()


def write_left_out(context: PanelContext) -> None:
    """Queue the messages that were left out during a pause. Raise OutdatedScreenError."""
    left_out = _left_out(find_conversation(context))
    if left_out.exists():
        claim_version(context)
        left_out.write_after_all()


def discard_left_out(context: PanelContext) -> None:
    """Decide that the messages of a pause are not written, so that the panel stops offering them.

    Raise OutdatedScreenError.
    """
    left_out = _left_out(find_conversation(context))
    if left_out.exists():
        claim_version(context)
        left_out.update(reason_code=ReasonCode.PAUSE_SKIPPED)


def _deliveries(conversation: Conversation | None) -> DeliveryQuerySet:
    """Return the conversation's deliveries to the tickets that are linked now."""
    if conversation is None:
        return Delivery.objects.none()
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    return Delivery.objects.filter(conversation=conversation, ticket__in=linked)


def _unprocessed_arrivals(conversation: Conversation) -> list[dt.datetime]:
    """Return the arrival of each notification about a message that no worker has processed yet."""
    events = WebhookEvent.objects.waiting().exclude(reason_code=ReasonCode.OWN_POST_PENDING)
    of_conversation = events.filter(
        workspace=conversation.workspace_id,
        conversation_id=conversation.conversation_id,
        topic__in=MESSAGE_TOPICS,
    )
    return list(of_conversation.values_list("received_at", flat=True))


def _gets_message(link: TicketLink, arrival: dt.datetime) -> bool:
    """Return whether a message that arrived at this time is copied to the link's ticket."""
    was_paused = link.was_paused_at(int(arrival.timestamp()))
    return link.sync_on and arrival >= link.created_at and not was_paused


def _count_messages(deliveries: Iterable[Any]) -> int:
    """Return how many messages these deliveries are about. A message has a delivery for each linked ticket."""
    return len({(delivery.kind, delivery.part_id) for delivery in deliveries})


def _left_out(conversation: Conversation | None) -> DeliveryQuerySet:
    return _deliveries(conversation).left_out_by_pause()


def _last_failure(deliveries: DeliveryQuerySet) -> str:
    failed = deliveries.filter(state=State.FAILED)
    newest = failed.order_by(F("last_failed_at").desc(nulls_last=True), "-pk").first()
    return reason_label(newest.reason_code, newest.reason_detail) if newest else ""


def _ticket_syncs(conversation: Conversation) -> tuple[TicketSync, ...]:
    """Return the sync status of each linked ticket, in the order in which they were linked."""
    groups = (
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
    group_of_ticket: dict[int, Mapping[str, Any]] = {group["ticket"]: group for group in groups}
    files_of_ticket = summaries_by_ticket(conversation)
    arrivals = _unprocessed_arrivals(conversation)
    syncs = []
    for link in TicketLink.objects.of_conversation(conversation):
        group = group_of_ticket.get(link.ticket_id, {})
        unprocessed = sum(_gets_message(link, arrival) for arrival in arrivals)
        last_at = group.get("last_at")
        syncs.append(
            TicketSync(
                ref=link.ticket.ref,
                written=group.get("written", 0),
                waiting=group.get("waiting", 0) + unprocessed,
                failed=group.get("failed", 0),
                last_at=dt.datetime.fromtimestamp(last_at, conversation.workspace.zone) if last_at else None,
                files=files_of_ticket.get(link.ticket_id, NO_FILES),
            )
        )
    return tuple(syncs)
