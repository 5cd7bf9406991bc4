"""Whether the service can do its work now, and in plain words why not."""

from __future__ import annotations

import datetime as dt

from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from intercom_bridge.models import Delivery, Notification, Posting, Submission, WorkerPulse
from intercom_bridge.models.worker_pulse import DEAD_AFTER_SECONDS


def reasons_against() -> list[str]:
    """Why it cannot, one sentence each; [] when it can."""
    try:
        if is_behind():
            return ["The database is not migrated. Run: python manage.py migrate"]
        since = neglected_since()
    except DatabaseError:
        return ["The database cannot be reached."]
    return [words_about_neglect(since)] if since else []


def is_behind() -> bool:
    """Whether a migration is missing. Raises DatabaseError when the database cannot be reached."""
    executor = MigrationExecutor(connections["default"])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def neglected_since() -> dt.datetime | None:
    """Since when work has been due, where no worker lives; None where one does, or nothing waits for two minutes."""
    if WorkerPulse.objects.alive().exists():
        return None
    long_ago = timezone.now() - dt.timedelta(seconds=DEAD_AFTER_SECONDS)
    waiting = (Notification.objects, Delivery.objects, Submission.objects, Posting.objects)
    oldest = [
        objects.due().filter(due_at__lt=long_ago).order_by("due_at").values_list("due_at", flat=True).first()
        for objects in waiting
    ]
    return min((since for since in oldest if since is not None), default=None)


def words_about_neglect(since: dt.datetime) -> str:
    return (
        f"No worker has lived for two minutes, and work has been waiting since {since:%Y-%m-%d %H:%M:%S} UTC."
    )
