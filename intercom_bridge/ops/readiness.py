"""Whether the service can process work, and the reasons if it cannot."""

import datetime as dt

from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from intercom_bridge.models import Delivery, OutgoingMessage, TicketCreation, WebhookEvent, WorkerHeartbeat
from intercom_bridge.models.heartbeat import STALE_AFTER_SECONDS

_QUEUES = (WebhookEvent.objects, Delivery.objects, TicketCreation.objects, OutgoingMessage.objects)


def not_ready_reasons() -> list[str]:
    """Return one sentence per problem; an empty list if the service is ready."""
    try:
        if migrations_missing():
            return ["The database is not migrated. Run: python manage.py migrate"]
        since = stalled_since()
    except DatabaseError:
        return ["The database cannot be reached."]
    return [stalled_message(since)] if since else []


def migrations_missing() -> bool:
    """Return whether a migration has not been applied. Raise DatabaseError if the database cannot be reached."""
    executor = MigrationExecutor(connections["default"])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def oldest_due() -> dt.datetime | None:
    """Return since when the longest waiting work has been due; None if no work is due."""
    oldest = [queue.due().order_by("due_at").values_list("due_at", flat=True).first() for queue in _QUEUES]
    return min((due_at for due_at in oldest if due_at is not None), default=None)


def stalled_since() -> dt.datetime | None:
    """Return since when work has been due, if no worker is alive.

    Return None if a worker is alive, or if all due work became due within the last two minutes.
    """
    if WorkerHeartbeat.objects.alive().exists():
        return None
    due_at = oldest_due()
    is_late = due_at is not None and (timezone.now() - due_at).total_seconds() > STALE_AFTER_SECONDS
    return due_at if is_late else None


def stalled_message(since: dt.datetime) -> str:
    """Return a message for operators. `since` is what `stalled_since` has returned."""
    return (
        "No worker has been alive for two minutes. "
        f"Work has been waiting since {since:%Y-%m-%d %H:%M:%S} UTC."
    )
