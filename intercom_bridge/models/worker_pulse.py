from __future__ import annotations

import datetime as dt

from django.db import models
from django.utils import timezone

# A worker beats every ten seconds; one that has not for so long is taken for dead.
DEAD_AFTER_SECONDS = 120.0
# A dead one is kept for so long, for whoever looks for the reason.
BURIED_AFTER = dt.timedelta(days=1)


class WorkerPulseQuerySet(models.QuerySet["WorkerPulse"]):
    def alive(self) -> WorkerPulseQuerySet:
        return self.filter(beat_at__gte=timezone.now() - dt.timedelta(seconds=DEAD_AFTER_SECONDS))

    def beat(self, name: str, *, anew: bool = False) -> None:
        """A sign of life. `anew`: the process has just started; a container may have had its name before."""
        now = timezone.now()
        started = {"started_at": now} if anew else {}
        self.update_or_create(name=name, defaults={"beat_at": now, **started})
        self.filter(beat_at__lt=now - BURIED_AFTER).delete()


class WorkerPulse(models.Model):
    """A worker's sign of life: which process on which machine, since when, and when it last gave one."""

    name = models.CharField(max_length=200, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    objects = WorkerPulseQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
