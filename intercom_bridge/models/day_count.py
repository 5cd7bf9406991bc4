from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Count
from django.utils import timezone

from .delivery import Delivery

DAYS = 30
# The newest days still change, so they are counted when the dashboard is opened.
OPEN_DAYS = 3
# The worker counts every night. An older count is outdated.
COUNTED_WITHIN = dt.timedelta(hours=36)


def last_days() -> list[dt.date]:
    """Return the last thirty days in UTC, today included, oldest first."""
    today = timezone.now().astimezone(dt.UTC).date()
    return [today - dt.timedelta(days=ago) for ago in reversed(range(DAYS))]


class DayCountQuerySet(models.QuerySet["DayCount"]):
    def recount(self) -> None:
        """Count the completed days again, and delete older counts."""
        done_with = last_days()[:-OPEN_DAYS]
        for date in done_with:
            rows = Delivery.objects.of_day(date).order_by()
            by = rows.values_list("conversation__workspace_id", "ticket__itop_id", "state")
            counts = [
                {"workspace": workspace, "itop": itop, "state": state, "count": count}
                for workspace, itop, state, count in by.annotate(n=Count("*"))
            ]
            self.update_or_create(date=date, defaults={"counts": counts, "counted_at": timezone.now()})
        self.exclude(date__in=done_with).delete()

    def up_to_date(self) -> DayCountQuerySet:
        """Return the counts that are not outdated."""
        return self.filter(counted_at__gt=timezone.now() - COUNTED_WITHIN)


class DayCount(models.Model):
    """The number of messages of a day by state, as the worker counted them last, for the dashboard."""

    date = models.DateField(unique=True, help_text="In UTC.")
    # {"workspace", "itop", "state", "count"} each
    counts = models.JSONField(default=list)
    counted_at = models.DateTimeField()

    objects = DayCountQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.date:%Y-%m-%d}"

    def by_state(self, workspace: int | None = None, itop: int | None = None) -> dict[str, int]:
        """Return the number of messages by state: of all, or of a workspace or an iTop."""
        counts: dict[str, int] = {}
        for row in self.counts:
            if workspace in (None, row["workspace"]) and itop in (None, row["itop"]):
                counts[row["state"]] = counts.get(row["state"], 0) + row["count"]
        return counts
