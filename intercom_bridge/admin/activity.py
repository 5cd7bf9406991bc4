"""The dashboard's numbers. Every query uses an index, and durations are computed from a bounded sample."""

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
# The durations of a day are those of its newest messages.
SAMPLE_SIZE = 200
# A message that was queued later than it was stored was retried by hand.
RETRIED_AFTER = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Selection:
    """The rows to count: all, those of one workspace, or those of one iTop (by primary key)."""

    workspace: int | None = None
    itop: int | None = None

    def deliveries(self) -> DeliveryQuerySet:
        """Return the selected deliveries."""
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

    def of_conversations(self, rows: Any) -> Any:
        """Return the selected rows of a queryset of rows with a conversation."""
        return rows.filter(
            self._condition("conversation__workspace", "conversation__workspace__itop")
        ).order_by()

    @property
    def selects_all(self) -> bool:
        return self == Selection()

    def webhook_events(self, state: str) -> Any:
        """Return the selected webhook events with this state."""
        rows = WebhookEvent.objects.filter(state=state).order_by()
        if self.selects_all:
            return rows
        workspaces = Workspace.objects.filter(self._condition("pk", "itop")).values_list("pk", flat=True)
        return rows.alias(workspace_key=without_index("workspace_id")).filter(
            workspace_key__in=list(workspaces)
        )

    def _condition(self, workspace: str, itop: str) -> Q:
        names = ((workspace, self.workspace), (itop, self.itop))
        return Q(**{name: pk for name, pk in names if pk is not None})


@dataclass(frozen=True)
class Day:
    """A day in UTC. `median` and `p95` are seconds from message to log entry, or None without any such message.

    `counted_at` is when the worker counted the day, or None if it was counted just now.
    """

    date: dt.date
    counts: dict[str, int]
    median: float | None
    p95: float | None
    counted_at: dt.datetime | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def count_days(selection: Selection) -> list[Day]:
    """Return the last thirty days including today, oldest first."""
    counted = {row.date: row for row in DayCount.objects.up_to_date()}
    return [_count_day(selection, date, counted.get(date)) for date in last_days()]


def _count_day(selection: Selection, date: dt.date, counted: DayCount | None) -> Day:
    """Return the day's counts, from `counted` if the worker has counted the day, and its durations."""
    rows = selection.deliveries().of_day(date)
    if counted is not None:
        counts = counted.by_state(selection.workspace, selection.itop)
    else:
        counts = dict(rows.values_list("state").annotate(n=Count("*")))
    median, p95 = _percentiles(_durations(rows)) if counts.get(State.WRITTEN) else (None, None)
    return Day(
        date, counts, median=median, p95=p95, counted_at=counted.counted_at if counted is not None else None
    )


def _percentiles(durations: list[float]) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile; (None, None) without durations."""
    if not durations:
        return None, None
    if len(durations) == 1:
        return durations[0], durations[0]
    twentieths = statistics.quantiles(durations, n=20, method="inclusive")
    # The 10th of the 19 cut points is at 50 %, and the last one at 95 %.
    return twentieths[9], twentieths[18]


def _durations(rows: DeliveryQuerySet) -> list[float]:
    """Return the seconds from message to log entry.

    Only of messages that arrived by webhook and were not retried by hand: the others are older than their link, or
    waited for a decision.
    """
    measured = rows.filter(
        state=State.WRITTEN, webhook_event__isnull=False, queued_at__lt=F("created_at") + RETRIED_AFTER
    )
    newest = measured.order_by("-created_at").values_list("part_created_at", "written_at")[:SAMPLE_SIZE]
    # Intercom's clock has whole seconds and may be ahead of ours.
    return [max(0.0, written.timestamp() - sent) for sent, written in newest if written]


@dataclass(frozen=True)
class RowCount:
    """The number of rows of one model. `query` selects them in the admin's list; `since` is the oldest one's time."""

    label: str
    model: str
    query: str
    count: int
    since: dt.datetime | None = None


def count_backlog(selection: Selection) -> list[RowCount]:
    """Return the number of waiting rows of each kind."""
    events = selection.webhook_events(WebhookEvent.State.RECEIVED)
    creations = selection.of_conversations(TicketCreation.objects.waiting())
    messages = selection.of_conversations(OutgoingMessage.objects.waiting())
    files = selection.of_conversations(FileToItop.objects.waiting())
    backlog = []
    for label, model, state, rows, since in (
        ("Messages to write", "delivery", "waiting", selection.deliveries().waiting(), "queued_at"),
        ("Webhook events to process", "webhookevent", "received", events, "received_at"),
        ("Tickets to create", "ticketcreation", "creating", creations, "created_at"),
        ("Messages to post to Intercom", "outgoingmessage", "waiting", messages, "created_at"),
        ("Files to copy to iTop", "filetoitop", "waiting", files, "created_at"),
    ):
        numbers = rows.aggregate(count=Count("pk"), since=Min(since))
        backlog.append(RowCount(label, model, f"state__exact={state}", numbers["count"], numbers["since"]))
    return backlog


def count_failures(selection: Selection) -> list[RowCount]:
    """Return the number of failed rows by kind and reason that can still be retried or skipped, most frequent first.

    A message can always be skipped. The others can only be retried, as long as their contents are stored.
    """
    by_code = selection.deliveries().filter(state=State.FAILED).order_by().values_list("reason_code")
    found = [
        RowCount(reason_label(code), "delivery", f"state__exact=failed&reason={code}", count)
        for code, count in by_code.annotate(n=Count("pk"))
    ]
    events = selection.webhook_events(WebhookEvent.State.FAILED).retriable()
    messages = selection.of_conversations(OutgoingMessage.objects.retriable())
    files = selection.of_conversations(FileToItop.objects.retriable())
    for label, model, rows in (
        ("Webhook event could not be processed", "webhookevent", events),
        ("Message could not be posted to Intercom", "outgoingmessage", messages),
        ("File could not be copied to iTop", "filetoitop", files),
    ):
        found.append(RowCount(label, model, "state__exact=failed&cleaned_at__isnull=True", rows.count()))
    return sorted((failure for failure in found if failure.count), key=lambda failure: -failure.count)


@dataclass(frozen=True)
class Load:
    """A workspace or an iTop with its number of waiting and failed messages."""

    row: Any
    waiting: int
    since: dt.datetime | None
    failed: int


def workspace_load() -> list[Load]:
    return _load(Workspace.objects.order_by("name", "pk"), "conversation__workspace_id")


def itop_load() -> list[Load]:
    return _load(ItopInstance.objects.order_by("name"), "ticket__itop_id")


def _load(rows: Iterable[Any], column: str) -> list[Load]:
    by_owner = Delivery.objects.order_by().values_list(without_index(column))
    counts = by_owner.filter(state=State.WAITING).annotate(count=Count("pk"), since=Min("queued_at"))
    waiting = {pk: (count, since) for pk, count, since in counts}
    failed = dict(by_owner.filter(state=State.FAILED).annotate(count=Count("pk")))
    return [Load(row, *waiting.get(row.pk, (0, None)), failed.get(row.pk, 0)) for row in rows]
