from __future__ import annotations

import datetime as dt

from django.db import models
from django.utils import timezone

# Workers send a heartbeat every ten seconds. A worker whose last heartbeat is older than this counts as dead.
STALE_AFTER_SECONDS = 120.0
# The row of a dead worker is kept this long, so that an operator can see when the worker died.
EXPIRED_AFTER = dt.timedelta(days=1)


class WorkerHeartbeatQuerySet(models.QuerySet["WorkerHeartbeat"]):
    def alive(self) -> WorkerHeartbeatQuerySet:
        """Return the workers whose last heartbeat is recent."""
        return self.filter(beat_at__gte=timezone.now() - dt.timedelta(seconds=STALE_AFTER_SECONDS))

    def beat(self, name: str, *, is_first: bool = False) -> None:
        """Record a heartbeat of this worker, and delete the rows of workers that died long ago.

        `is_first` means that the process has just started. An existing row is then that of an earlier process with the
        same name, for example in a restarted container.
        """
        now = timezone.now()
        values = {"beat_at": now}
        if is_first:
            values["started_at"] = now
        self.update_or_create(name=name, defaults=values)
        self.filter(beat_at__lt=now - EXPIRED_AFTER).delete()


class WorkerHeartbeat(models.Model):
    """A worker process. `name` identifies the machine and the process."""

    name = models.CharField(max_length=200, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    objects = WorkerHeartbeatQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
