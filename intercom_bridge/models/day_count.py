from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Count
from django.utils import timezone

from .delivery import Delivery

DAYS = 30
# The newest still change: they are counted when somebody looks.
OPEN_DAYS = 3
# Counted every night; what is older is of a night that was missed.
COUNTED_WITHIN = dt.timedelta(hours=36)


def last_days() -> list[dt.date]:
    """The last thirty days in UTC, today included, oldest first."""
    today = timezone.now().astimezone(dt.UTC).date()
    return [today - dt.timedelta(days=ago) for ago in reversed(range(DAYS))]


class DayCountQuerySet(models.QuerySet["DayCount"]):
    def recount(self) -> None:
        """Counts the days that are over and done with anew, and forgets those before."""
        done_with = last_days()[:-OPEN_DAYS]
        for date in done_with:
            rows = Delivery.objects.of_day(date).order_by()
            by = rows.values_list("conversation__workspace_id", "ticket__itop_id", "state")
            counts = [list(one) for one in by.annotate(n=Count("*"))]
            self.update_or_create(date=date, defaults={"counts": counts, "counted_at": timezone.now()})
        self.exclude(date__in=done_with).delete()

    def standing(self) -> DayCountQuerySet:
        """Those that can be relied on."""
        return self.filter(counted_at__gt=timezone.now() - COUNTED_WITHIN)


class DayCount(models.Model):
    """How many messages of a day stood in which state when the worker counted them last: for the dashboard."""

    date = models.DateField(unique=True, help_text="In UTC.")
    # [workspace, iTop, state, how many]
    counts = models.JSONField(default=list)
    counted_at = models.DateTimeField()

    objects = DayCountQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.date:%Y-%m-%d}"

    def by_state(self, workspace: int | None = None, itop: int | None = None) -> dict[str, int]:
        """Of all, or of one workspace or iTop."""
        found: dict[str, int] = {}
        for of, at, state, count in self.counts:
            if workspace in (None, of) and itop in (None, at):
                found[state] = found.get(state, 0) + count
        return found
