"""Compute the dashboard's numbers. Every query uses an index, and durations are computed from a bounded sample."""

import datetime as dt
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Min, Q

from intercom_bridge.models import (
    Conversation,
    DayCount,
    Delivery,
    FileToItop,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.day_count import last_days
from intercom_bridge.models.delivery import DeliveryQuerySet, without_index
from intercom_bridge.models.reason import reason_label

State = Delivery.State
# The durations of a day are computed from at most this many of its newest messages.
SAMPLE_SIZE = 200
# A message is queued when it is stored. If `queued_at` is later than `created_at` by this time or more, a person has
# queued the message again, for example with Retry.
REQUEUED_AFTER = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Selection:
    """Which rows to count: all, those of one workspace, or those of one iTop. The fields contain primary keys."""

    workspace: int | None = None
    itop: int | None = None

    def deliveries(self) -> DeliveryQuerySet:
        # `without_index`: callers add conditions that select fewer rows, so the database should use their indexes.
        rows = Delivery.objects.order_by()
        if self.workspace is not None:
            conversations = Conversation.objects.filter(workspace=self.workspace)
            rows = rows.alias(conversation_key=without_index("conversation_id")).filter(
                conversation_key__in=conversations.values("pk")
            )
        if self.itop is not None:
            # By ticket, because a workspace may have been moved to another iTop.
            tickets = Ticket.objects.filter(itop=self.itop)
            rows = rows.alias(ticket_key=without_index("ticket_id")).filter(
                ticket_key__in=tickets.values("pk")
            )
        return rows

    def filter_by_conversation(self, rows: Any) -> Any:
        """Keep only the rows whose conversation belongs to the selected workspace or iTop."""
        return rows.filter(
            self._condition("conversation__workspace", "conversation__workspace__itop")
        ).order_by()

    @property
    def selects_all(self) -> bool:
        return self == Selection()

    def webhook_events(self, state: str) -> Any:
        """Return the webhook events with this state, of the selected workspace or iTop."""
        rows = WebhookEvent.objects.filter(state=state).order_by()
        if self.selects_all:
            return rows
        workspaces = Workspace.objects.filter(self._condition("pk", "itop")).values_list("pk", flat=True)
        return rows.alias(workspace_key=without_index("workspace_id")).filter(
            workspace_key__in=list(workspaces)
        )

    def _condition(self, workspace_lookup: str, itop_lookup: str) -> Q:
        condition = Q()
        if self.workspace is not None:
            condition &= Q(**{workspace_lookup: self.workspace})
        if self.itop is not None:
            condition &= Q(**{itop_lookup: self.itop})
        return condition


@dataclass(frozen=True)
class Day:
    """The numbers of a day in UTC.

    `median` and `p95` are the seconds from a message in Intercom to its log entry in iTop. They are None if no message
    of the day can be measured. `counted_at` is when the worker counted the day, or None if it was counted just now.
    """

    date: dt.date
    # The number of messages, by the state of their delivery.
    counts: dict[str, int]
    median: float | None
    p95: float | None
    counted_at: dt.datetime | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def count_days(selection: Selection) -> list[Day]:
    """Return the numbers of the last thirty days including today, oldest first."""
    stored_counts = {row.date: row for row in DayCount.objects.up_to_date()}
    return [_count_day(selection, date, stored_counts.get(date)) for date in last_days()]


def _count_day(selection: Selection, date: dt.date, stored_count: DayCount | None) -> Day:
    """Return the numbers of a day. `stored_count` are the worker's counts, or None if it has not counted the day."""
    deliveries = selection.deliveries().of_day(date)
    if stored_count is not None:
        counts = stored_count.by_state(selection.workspace, selection.itop)
        counted_at = stored_count.counted_at
    else:
        counts = dict(deliveries.values_list("state").annotate(n=Count("*")))
        counted_at = None
    durations = _durations(deliveries) if counts.get(State.WRITTEN) else []
    median, p95 = _percentiles(durations)
    return Day(date, counts, median=median, p95=p95, counted_at=counted_at)


def _percentiles(durations: list[float]) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile; (None, None) if there are no durations."""
    if not durations:
        return None, None
    if len(durations) == 1:
        return durations[0], durations[0]
    twentieths = statistics.quantiles(durations, n=20, method="inclusive")
    # The 19 cut points are at 5 %, 10 %, …, 95 %.
    return twentieths[9], twentieths[18]


def _durations(deliveries: DeliveryQuerySet) -> list[float]:
    """Return the seconds from a message in Intercom to its log entry in iTop, of the newest SAMPLE_SIZE messages.

    Two kinds of messages are left out, because they say nothing about the bridge's speed: messages without a webhook
    event, which are usually older than the link, and messages that waited until a person queued them again.
    """
    was_not_requeued = Q(queued_at__lt=F("created_at") + REQUEUED_AFTER)
    measurable = deliveries.filter(was_not_requeued, state=State.WRITTEN, webhook_event__isnull=False)
    newest = measurable.order_by("-created_at").values_list("part_created_at", "written_at")[:SAMPLE_SIZE]
    # Intercom's times are whole seconds, and its clock may be ahead of ours: the difference may be negative.
    return [max(0.0, written_at.timestamp() - sent_at) for sent_at, written_at in newest if written_at]


@dataclass(frozen=True)
class RowCount:
    """The number of rows of one model, as a line of the dashboard."""

    label: str
    # The model's name in lower case.
    model: str
    # The parameters that select the same rows in the admin's list.
    query: str
    count: int
    # When the oldest row began to wait. None if there is no row, and for failures.
    since: dt.datetime | None = None


def count_backlog(selection: Selection) -> list[RowCount]:
    """Return the number of waiting rows of each kind."""
    events = selection.webhook_events(WebhookEvent.State.RECEIVED)
    creations = selection.filter_by_conversation(TicketCreation.objects.waiting())
    messages = selection.filter_by_conversation(OutgoingMessage.objects.waiting())
    files = selection.filter_by_conversation(FileToItop.objects.waiting())
    backlog = []
    for label, model, state, rows, since_column in (
        ("Messages to write", "delivery", "waiting", selection.deliveries().waiting(), "queued_at"),
        ("Webhook events to process", "webhookevent", "received", events, "received_at"),
        ("Tickets to create", "ticketcreation", "creating", creations, "created_at"),
        ("Messages to post to Intercom", "outgoingmessage", "waiting", messages, "created_at"),
        ("Files to copy to iTop", "filetoitop", "waiting", files, "created_at"),
    ):
        numbers = rows.aggregate(count=Count("pk"), since=Min(since_column))
        backlog.append(RowCount(label, model, f"state__exact={state}", numbers["count"], numbers["since"]))
    return backlog


def count_failures(selection: Selection) -> list[RowCount]:
    """Return the number of failed rows that still need attention, most frequent first.

    Failed messages for iTop are counted by reason. All are counted, because a user can skip each of them at any time.
    Rows of the other kinds can only be retried, so they are counted as long as their contents are stored.
    """
    by_code = selection.deliveries().filter(state=State.FAILED).order_by().values_list("reason_code")
    failures = [
        RowCount(reason_label(code), "delivery", f"state__exact=failed&reason={code}", count)
        for code, count in by_code.annotate(n=Count("pk"))
    ]
    events = selection.webhook_events(WebhookEvent.State.FAILED).retriable()
    messages = selection.filter_by_conversation(OutgoingMessage.objects.retriable())
    files = selection.filter_by_conversation(FileToItop.objects.retriable())
    for label, model, rows in (
        ("Webhook event could not be processed", "webhookevent", events),
        ("Message could not be posted to Intercom", "outgoingmessage", messages),
        ("File could not be copied to iTop", "filetoitop", files),
    ):
        failures.append(RowCount(label, model, "state__exact=failed&cleaned_at__isnull=True", rows.count()))
    return sorted((failure for failure in failures if failure.count), key=lambda failure: -failure.count)


@dataclass(frozen=True)
class Load:
    """A workspace or an iTop with its number of waiting and failed messages."""

    row: Workspace | ItopInstance
    waiting: int
    # When the oldest waiting message was queued; None if none is waiting.
    since: dt.datetime | None
    failed: int


def workspace_load() -> list[Load]:
    return _load(Workspace.objects.order_by("name", "pk"), "conversation__workspace_id")


def itop_load() -> list[Load]:
    return _load(ItopInstance.objects.order_by("name"), "ticket__itop_id")


def _load(owners: Iterable[Workspace | ItopInstance], owner_column: str) -> list[Load]:
    by_owner = Delivery.objects.order_by().values_list(without_index(owner_column))
    waiting = by_owner.filter(state=State.WAITING).annotate(count=Count("pk"), since=Min("queued_at"))
    waiting_of = {pk: (count, since) for pk, count, since in waiting}
    failed_of = dict(by_owner.filter(state=State.FAILED).annotate(count=Count("pk")))
    loads = []
    for owner in owners:
        waiting_count, since = waiting_of.get(owner.pk, (0, None))
        loads.append(Load(owner, waiting_count, since, failed=failed_of.get(owner.pk, 0)))
    return loads
