from __future__ import annotations

import datetime as dt

from django.db import models
from django.utils import timezone

# Workers send a heartbeat every ten seconds. One whose last is older than this is stale: taken for dead.
STALE_AFTER_SECONDS = 120.0
# Stale ones are kept this long, so that an operator can see when a worker died.
EXPIRED_AFTER = dt.timedelta(days=1)


class WorkerHeartbeatQuerySet(models.QuerySet["WorkerHeartbeat"]):
    def alive(self) -> WorkerHeartbeatQuerySet:
        """Return the workers whose last heartbeat is recent."""
        return self.filter(beat_at__gte=timezone.now() - dt.timedelta(seconds=STALE_AFTER_SECONDS))

    def beat(self, name: str, *, is_first: bool = False) -> None:
        """Record a heartbeat, and delete expired ones.

        `is_first`: the process has just started. A container's name may have been in use before.
        """
        now = timezone.now()
        started = {"started_at": now} if is_first else {}
        self.update_or_create(name=name, defaults={"beat_at": now, **started})
        self.filter(beat_at__lt=now - EXPIRED_AFTER).delete()


class WorkerHeartbeat(models.Model):
    """A worker: which process on which machine, since when, and its last heartbeat."""

    name = models.CharField(max_length=200, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    objects = WorkerHeartbeatQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
