from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Count
from django.utils import timezone

from .delivery import Delivery

DAYS = 30
# The counts of the newest days still change, so the dashboard counts these days itself.
OPEN_DAYS = 3
# A worker counts every night. A count that is older than this is outdated.
COUNTED_WITHIN = dt.timedelta(hours=36)


def last_days() -> list[dt.date]:
    """Return the last thirty days in UTC, today included, oldest first."""
    today = timezone.now().astimezone(dt.UTC).date()
    return [today - dt.timedelta(days=ago) for ago in reversed(range(DAYS))]


class DayCountQuerySet(models.QuerySet["DayCount"]):
    def recount(self) -> None:
        """Count the last thirty days again, except the newest OPEN_DAYS, and delete the counts of older days."""
        completed_days = last_days()[:-OPEN_DAYS]
        for date in completed_days:
            deliveries = Delivery.objects.of_day(date).order_by()
            groups = deliveries.values_list("conversation__workspace_id", "ticket__itop_id", "state")
            counts = [
                {"workspace": workspace, "itop": itop, "state": state, "count": count}
                for workspace, itop, state, count in groups.annotate(n=Count("*"))
            ]
            self.update_or_create(date=date, defaults={"counts": counts, "counted_at": timezone.now()})
        self.exclude(date__in=completed_days).delete()

    def up_to_date(self) -> DayCountQuerySet:
        """Return the counts that are not outdated."""
        return self.filter(counted_at__gt=timezone.now() - COUNTED_WITHIN)


class DayCount(models.Model):
    """The number of messages on a day, by state, for the dashboard. A worker counts them every night."""

    date = models.DateField(unique=True, help_text="In UTC.")
    # {"workspace", "itop", "state", "count"} each; the workspace and the iTop are primary keys.
    counts = models.JSONField(default=list)
    counted_at = models.DateTimeField()

    objects = DayCountQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.date:%Y-%m-%d}"

    def by_state(self, workspace: int | None = None, itop: int | None = None) -> dict[str, int]:
        """Return the number of messages by state. The arguments are primary keys; None stands for all."""
        totals: dict[str, int] = {}
        for row in self.counts:
            if workspace in (None, row["workspace"]) and itop in (None, row["itop"]):
                totals[row["state"]] = totals.get(row["state"], 0) + row["count"]
        return totals
