"""What happened and what waits, as the dashboard counts it: by indexes, and of times a sample that is bounded."""

from __future__ import annotations

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
    ItopInstance,
    Notification,
    Posting,
    Submission,
    Ticket,
    Workspace,
)
from intercom_bridge.models.day_count import last_days
from intercom_bridge.models.delivery import DeliveryQuerySet, reckoned

from .filters import OF_DELIVERIES

State = Delivery.State
# Of a day's messages so many, the newest, say how long it took.
SAMPLE = 200
# What somebody put back waits anew; where nobody did, both times are of one moment.
PUT_BACK_AFTER = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Scope:
    """Whose numbers: everybody's, or one workspace's, or one iTop's."""

    workspace: int | None = None
    itop: int | None = None

    def deliveries(self) -> DeliveryQuerySet:
        rows = Delivery.objects.order_by()
        if self.workspace is not None:
            mine = Conversation.objects.filter(workspace=self.workspace)
            rows = rows.alias(of=reckoned("conversation_id")).filter(of__in=mine.values("pk"))
        if self.itop is not None:
            # By the ticket, of which each is in one iTop: a workspace may have been moved to another one.
            there = Ticket.objects.filter(itop=self.itop)
            rows = rows.alias(at=reckoned("ticket_id")).filter(at__in=there.values("pk"))
        return rows

    def of_conversations(self, rows: Any) -> Any:
        return rows.filter(self._q("conversation__workspace", "conversation__workspace__itop")).order_by()

    def notifications(self, verdict: str) -> Any:
        rows = Notification.objects.filter(verdict=verdict).order_by()
        if self == Scope():
            return rows
        mine = Workspace.objects.filter(self._q("pk", "itop")).values_list("pk", flat=True)
        return rows.alias(of=reckoned("workspace_id")).filter(of__in=list(mine))

    def _q(self, workspace: str, itop: str) -> Q:
        names = ((workspace, self.workspace), (itop, self.itop))
        return Q(**{name: pk for name, pk in names if pk is not None})


@dataclass(frozen=True)
class Day:
    """One day in UTC. `p50` and `p95` are seconds from message to log; None where no message says so. `counted_at` says
    when, where it was not just now."""

    date: dt.date
    counts: dict[str, int]
    p50: float | None
    p95: float | None
    counted_at: dt.datetime | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def days(scope: Scope) -> list[Day]:
    """The last thirty days, today included, oldest first."""
    kept = {one.date: one for one in DayCount.objects.standing()}
    return [_day(scope, date, kept.get(date)) for date in last_days()]


def _day(scope: Scope, date: dt.date, kept: DayCount | None) -> Day:
    rows = scope.deliveries().of_day(date)
    if kept is not None:
        counts = kept.by_state(scope.workspace, scope.itop)
    else:
        counts = dict(rows.values_list("state").annotate(n=Count("*")))
    times = _seconds_to_the_log(rows) if counts.get(State.WRITTEN) else []
    cuts = statistics.quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
    return Day(
        date,
        counts,
        cuts[9] if cuts else None,
        cuts[18] if cuts else None,
        kept.counted_at if kept is not None else None,
    )


def _seconds_to_the_log(rows: DeliveryQuerySet) -> list[float]:
    """From the message in Intercom to its entry, of those that a webhook told us of and nobody put back.

    The rest is older than its link (the conversation so far), or waited for a person's decision.
    """
    told = rows.filter(
        state=State.WRITTEN,
        notification__isnull=False,
        waiting_since__lt=F("created_at") + PUT_BACK_AFTER,
    )
    newest = told.order_by("-created_at").values_list("part_created_at", "written_at")[:SAMPLE]
    # Intercom's clock, in whole seconds, and ours: a difference below nothing is none.
    return [max(0.0, written.timestamp() - sent) for sent, written in newest if written]


@dataclass(frozen=True)
class Wait:
    """So many of one kind are not done yet; `since` when the oldest is waiting."""

    label: str
    model: str
    query: str
    count: int
    since: dt.datetime | None


def waits(scope: Scope) -> list[Wait]:
    asked = (
        (
            "Messages to be written",
            "delivery",
            "state__exact=waiting",
            scope.deliveries().waiting(),
            "waiting_since",
        ),
        (
            "Notifications to be looked at",
            "notification",
            "verdict__exact=received",
            scope.notifications(Notification.Verdict.RECEIVED),
            "received_at",
        ),
        (
            "Tickets being created",
            "submission",
            "state__exact=creating",
            scope.of_conversations(Submission.objects.unfinished()),
            "created_at",
        ),
        (
            "Posts to Intercom",
            "posting",
            "state__exact=waiting",
            scope.of_conversations(Posting.objects.unfinished()),
            "created_at",
        ),
    )
    found = []
    for label, model, query, rows, since in asked:
        numbers = rows.aggregate(count=Count("pk"), since=Min(since))
        found.append(Wait(label, model, query, numbers["count"], numbers["since"]))
    return found


@dataclass(frozen=True)
class Failure:
    """So many failed for a reason. `query` narrows the list of that kind of row to them."""

    label: str
    model: str
    query: str
    count: int


def failures(scope: Scope) -> list[Failure]:
    """What failed and can still be put back or skipped, most frequent first; reasons without a row are left out.

    A message can always be skipped; the other two can only be put back, while their contents are kept.
    """
    rows = scope.deliveries().filter(state=State.FAILED)
    kinds = {name: kind for name, kind in OF_DELIVERIES.items() if kind.state == State.FAILED}
    by_kind = rows.aggregate(
        all=Count("pk"), **{name: Count("pk", filter=kind.q("state")) for name, kind in kinds.items()}
    )
    found = [
        Failure(kind.label.removeprefix("failed: "), "delivery", f"why={name}", by_kind[name])
        for name, kind in kinds.items()
    ]
    others = by_kind["all"] - sum(one.count for one in found)
    found.append(Failure("another reason", "delivery", "state__exact=failed", others))
    found.append(
        Failure(
            "a notification could not be handled",
            "notification",
            "verdict__exact=failed&cleaned_at__isnull=True",
            scope.notifications(Notification.Verdict.FAILED).retriable().count(),
        )
    )
    found.append(
        Failure(
            "not posted to Intercom",
            "posting",
            "state__exact=failed&cleaned_at__isnull=True",
            scope.of_conversations(Posting.objects.retriable()).count(),
        )
    )
    return sorted((one for one in found if one.count), key=lambda one: -one.count)


@dataclass(frozen=True)
class Standing:
    """A workspace or an iTop, and what it has open. `paused_since` is an iTop's."""

    row: Any
    waiting: int
    since: dt.datetime | None
    failed: int

    @property
    def paused_since(self) -> dt.datetime | None:
        return getattr(self.row, "paused_since", None)


def workspaces() -> list[Standing]:
    return _standings(Workspace.objects.order_by("name", "pk"), "conversation__workspace_id")


def itops() -> list[Standing]:
    return _standings(ItopInstance.objects.order_by("name"), "ticket__itop_id")


def _standings(rows: Iterable[Any], column: str) -> list[Standing]:
    by = Delivery.objects.order_by().values_list(reckoned(column))
    waiting = {
        pk: (n, since)
        for pk, n, since in by.filter(state=State.WAITING).annotate(n=Count("pk"), s=Min("waiting_since"))
    }
    failed = dict(by.filter(state=State.FAILED).annotate(n=Count("pk")))
    return [Standing(row, *waiting.get(row.pk, (0, None)), failed.get(row.pk, 0)) for row in rows]
