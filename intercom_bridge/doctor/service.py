"""Check this service: its database, encryption keys, workers, queue, disk and public address."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils import timezone
from huey import MemoryHuey

from intercom_bridge import queue
from intercom_bridge.models import WorkerHeartbeat, Workspace
from intercom_bridge.models.encryption import cipher
from intercom_bridge.ops.key_rotation import stored_secrets
from intercom_bridge.ops.readiness import migrations_missing, oldest_due, stalled_message, stalled_since

from .finding import Finding, Subject
from .ping import examine_address

SUBJECT = Subject("This service")
NO_DATABASE = SUBJECT.check("service.database").failure(
    "its database cannot be reached or is not migrated, so the checks that depend on it were skipped",
    "Check DATABASE_URL and that the database runs. Then run: python manage.py migrate",
)
MIN_FREE_BYTES = 1_000_000_000
# If workers are alive and work has been due for longer, there is too much work, or it keeps failing.
MAX_DUE_SECONDS = 300.0


def examine() -> Iterator[Finding]:
    """Check the service itself. If the database fails, skip the remaining checks that need it."""
    try:
        yield from _examine_database()
        yield from _examine_keys()
        yield from _examine_work()
        yield _examine_workspaces()
    except DatabaseError:
        yield NO_DATABASE
    yield _examine_queue()
    yield from _examine_disk()
    yield from examine_address(SUBJECT)


def _examine_database() -> Iterator[Finding]:
    check = SUBJECT.check("service.database")
    if migrations_missing():
        yield check.failure("its database is not migrated", "Run: python manage.py migrate")
    else:
        yield check.ok("its database is reachable and migrated")


def _examine_keys() -> Iterator[Finding]:
    check = SUBJECT.check("service.keys")
    try:
        cipher()
    except ImproperlyConfigured as error:
        yield check.failure(str(error), "`manage.py check` shows how to generate a key.")
        return
    secrets = [stored.secret for stored in stored_secrets()]
    unreadable_count = sum(not secret.is_readable for secret in secrets)
    if unreadable_count:
        yield check.failure(
            f"{unreadable_count} of {len(secrets)} stored secrets cannot be decrypted with FIELD_ENCRYPTION_KEYS",
            "Append the key that they were encrypted with to this setting. `manage.py check --database default` lists "
            "these secrets.",
        )
    else:
        yield check.ok(f"all {len(secrets)} stored secrets can be decrypted")


def _examine_work() -> Iterator[Finding]:
    alive_count = WorkerHeartbeat.objects.alive().count()
    if not alive_count:
        since = stalled_since()  # None: no work has been due for two minutes
        yield SUBJECT.check("service.worker").failure(
            stalled_message(since) if since else "no worker is alive: nothing is written",
            "Start a worker (python manage.py worker), and read the log of the worker that ended.",
        )
        return
    yield SUBJECT.check("service.worker").ok(
        "1 worker is alive" if alive_count == 1 else f"{alive_count} workers are alive"
    )
    due_at = oldest_due()
    due_seconds = (timezone.now() - due_at).total_seconds() if due_at else 0.0
    if due_seconds > MAX_DUE_SECONDS:
        yield SUBJECT.check("service.work").warning(
            f"work has been due for {due_seconds / 60:.0f} minutes, although a worker is alive",
            "See in the admin which deliveries and webhook events are waiting, and why. If they are simply many, "
            "start another worker (with PostgreSQL and Redis, on any machine).",
        )
    else:
        yield SUBJECT.check("service.work").ok("no work is overdue")


def _examine_workspaces() -> Finding:
    check = SUBJECT.check("service.workspaces")
    total = Workspace.objects.count()
    enabled = Workspace.objects.filter(enabled=True).count()
    if enabled:
        return check.ok(f"{enabled} of {total} workspaces are enabled")
    if total:
        return check.failure("no workspace is enabled", "Enable one in the admin.")
    return check.failure(
        "no workspace is connected: every request from Intercom is refused",
        "Open “Connect a workspace” in the admin.",
    )


def _examine_queue() -> Finding:
    check = SUBJECT.check("service.queue")
    # If REDIS_URL is invalid, build_queue returns a queue in memory, which no other process can reach.
    if settings.REDIS_URL and isinstance(queue.huey, MemoryHuey):
        return check.failure(
            "REDIS_URL is not the address of a Redis server: no worker starts, and nothing is written",
            "Correct it (`manage.py check` shows examples), and restart the web server and the workers. Messages "
            "received until then are stored, and written afterwards.",
        )
    try:
        queue.huey.pending_count()
    except Exception as error:  # noqa: BLE001 - any error of the queue's library
        return check.failure(
            f"its queue cannot be reached ({type(error).__name__})",
            "Check REDIS_URL and that Redis runs. Nothing is lost, but workers notice new work only once a minute.",
        )
    return check.ok(f"its queue is reachable ({'Redis' if settings.REDIS_URL else 'a file'})")


def _examine_disk() -> Iterator[Finding]:
    """Check the free space where this service writes: the queue's file and SQLite's file, if they are used.

    The disk of PostgreSQL is not checked, because it may belong to another machine.
    """
    check = SUBJECT.check("service.disk")
    directories = [Path(settings.HUEY_FILE).parent] if settings.HUEY_FILE else []
    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        directories.append(Path(database["NAME"]).parent)
    for directory in dict.fromkeys(directories):  # each directory once
        if not directory.is_dir():
            continue
        free = shutil.disk_usage(directory).free
        if free < MIN_FREE_BYTES:
            yield check.warning(
                f"{free / 1e6:.0f} MB are free on its disk ({directory})",
                "Free some space. On a full disk, notifications cannot be stored, and Intercom repeats each only once.",
            )
        else:
            yield check.ok(f"{free / 1e9:.0f} GB are free on its disk ({directory})")
