"""This service itself: its database, keys, worker, queue, disk and public address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils import timezone
from huey import MemoryHuey

from intercom_bridge.models import Delivery, Notification, Posting, Submission, WorkerPulse
from intercom_bridge.models.encryption import cipher
from intercom_bridge.readiness import is_behind, neglected_since, words_about_neglect
from intercom_bridge.rotation import stored_secrets
from intercom_bridge.sync import tasks

from .finding import Finding, Subject
from .ping import examine_address

SUBJECT = Subject("This service")
NO_DATABASE = SUBJECT.failure(
    "service.database",
    "its database cannot be asked, or is not migrated: what needs it was not looked at",
    "See that DATABASE_URL is right and the database runs; then: python manage.py migrate",
)
LITTLE_BYTES = 1_000_000_000
# Work that is due for longer, though workers live, is more than they can do, or does not let itself be done.
BEHIND_SECONDS = 300.0


def examine() -> Iterator[Finding]:
    """Everything that belongs to no workspace and no iTop. Without its database, nothing that needs it."""
    try:
        yield from _examine_database()
        yield from _examine_keys()
        yield from _examine_work()
    except DatabaseError:
        yield NO_DATABASE
    yield _examine_queue()
    yield from _examine_disk()
    yield from examine_address(SUBJECT)


def _examine_database() -> Iterator[Finding]:
    if is_behind():
        yield SUBJECT.failure(
            "service.database", "its database is not migrated", "Run: python manage.py migrate"
        )
    else:
        yield SUBJECT.ok("service.database", "its database is there and migrated")


def _examine_keys() -> Iterator[Finding]:
    try:
        cipher()
    except ImproperlyConfigured as error:
        yield SUBJECT.failure("service.keys", str(error), "`manage.py check` says how to make one.")
        return
    secrets = [stored.secret for stored in stored_secrets()]
    unreadable = sum(not secret.is_readable for secret in secrets)
    if unreadable:
        yield SUBJECT.failure(
            "service.keys",
            f"{unreadable} of {len(secrets)} stored secrets cannot be read with FIELD_ENCRYPTION_KEYS",
            "Put the key they were stored under back at the end of the list. `manage.py check --database default` says "
            "which they are.",
        )
    else:
        yield SUBJECT.ok("service.keys", f"all {len(secrets)} stored secrets can be read")


def _examine_work() -> Iterator[Finding]:
    alive = WorkerPulse.objects.alive().count()
    if not alive:
        since = neglected_since()
        yield SUBJECT.failure(
            "service.worker",
            words_about_neglect(since) if since else "no worker lives: nothing would be written",
            "Start one: python manage.py worker - and look into the log of the one that ended.",
        )
        return
    yield SUBJECT.ok("service.worker", "a worker lives" if alive == 1 else f"{alive} workers live")
    oldest = _oldest_due_seconds()
    if oldest > BEHIND_SECONDS:
        yield SUBJECT.warning(
            "service.work",
            f"work has been due for {oldest / 60:.0f} minutes, though a worker lives",
            "See in the admin which deliveries and notifications wait, and why. If there are just many, start another "
            "worker (with PostgreSQL and Redis, on any machine).",
        )
    else:
        yield SUBJECT.ok("service.work", "no work is overdue")


def _oldest_due_seconds() -> float:
    now = timezone.now()
    due = (Notification.objects, Delivery.objects, Submission.objects, Posting.objects)
    oldest = [objects.due().order_by("due_at").values_list("due_at", flat=True).first() for objects in due]
    return max(((now - one).total_seconds() for one in oldest if one is not None), default=0.0)


def _examine_queue() -> Finding:
    if settings.REDIS_URL and isinstance(tasks.huey, MemoryHuey):
        return SUBJECT.failure(
            "service.queue",
            "REDIS_URL is not the address of a Redis: no worker starts, and nothing is written",
            "Correct it (`manage.py check` says how to write it), and restart the web server and the workers. What has "
            "come in is kept, and is written then.",
        )
    try:
        tasks.huey.pending_count()
    except Exception as error:  # noqa: BLE001 - whatever the queue's library raises
        return SUBJECT.failure(
            "service.queue",
            f"its queue cannot be asked ({type(error).__name__})",
            "See that REDIS_URL is right and Redis runs. Nothing is lost: workers find the work within a minute, but "
            "only then.",
        )
    return SUBJECT.ok("service.queue", f"its queue is there ({'Redis' if settings.REDIS_URL else 'a file'})")


def _examine_disk() -> Iterator[Finding]:
    """Of what this service writes itself; the disk of a PostgreSQL is its own server's."""
    places = [Path(settings.HUEY_FILE).parent] if settings.HUEY_FILE else []
    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        places.append(Path(database["NAME"]).parent)
    for place in dict.fromkeys(places):
        if not place.is_dir():
            continue
        free = shutil.disk_usage(place).free
        if free < LITTLE_BYTES:
            yield SUBJECT.warning(
                "service.disk",
                f"{free / 1e6:.0f} MB are free where it writes ({place})",
                "Make room. When it is full, no webhook can be kept, and Intercom repeats each only once.",
            )
        else:
            yield SUBJECT.ok("service.disk", f"{free / 1e9:.0f} GB are free where it writes ({place})")
