"""`python -m tests.system.bench.rows FILE`: fills a migrated SQLite database in bulk.

Rows are multiplied by the database itself from one that the models made, so that no column is forgotten. They are of
the last thirty days, as many on each.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

TICKETS = 10_000
DAYS = 30
PART = 37_000_000_000


def main() -> None:
    import django

    django.setup()
    _set_up(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def _set_up(wanted: dict[str, Any]) -> None:
    """{itop_url, itop_token, session, messenger_key, rows, talks}.

    `talks` are lists of a conversation id, tickets as [id, ref], and notifications as text.
    """
    from django.db import connection, transaction

    from intercom_bridge.models import (
        Conversation,
        DayCount,
        ItopInstance,
        MessengerKey,
        Ticket,
        TicketLink,
        WebhookEvent,
        Workspace,
    )
    from intercom_bridge.sync.intake import process_batch
    from sandbox.demo_rows import set_up

    workspace = set_up(
        itop_url=wanted["itop_url"], itop_token=wanted["itop_token"], itop_name="Bench", is_sandbox=True
    )
    # Known already, as after the first minute of any real service.
    ItopInstance.objects.update(is_administrator=True)
    Workspace.objects.update(has_extension_attributes=True)
    MessengerKey.objects.update(key_id=wanted["messenger_key"], secret=wanted["messenger_key"])
    _log_in(wanted["session"])
    for conversation_id, tickets, bodies in wanted["talks"]:
        conversation = Conversation.objects.create(workspace=workspace, conversation_id=conversation_id)
        for object_id, ref in tickets:
            ticket = Ticket.objects.create(
                itop=workspace.itop, ticket_class="UserRequest", object_id=object_id, ref=ref
            )
            # Of a link without a teammate, which the PHP extension made, each message would be looked for in the log.
            TicketLink.objects.create(
                conversation=conversation, ticket=ticket, linked_by="Bench", attributes_synced=True
            )
        for body in bodies:
            WebhookEvent.objects.record(
                workspace, json.loads(body)["id"], "conversation.user.replied", conversation_id, body.encode()
            )
    # What is measured is the writing.
    while process_batch():
        pass
    if wanted["rows"]:
        with transaction.atomic(), connection.cursor() as cursor:
            _multiply(cursor, workspace, wanted["rows"])
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        # The worker does this every night.
        DayCount.objects.recount()


def _log_in(key: str) -> None:
    """Create an admin with a session of this key."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    user = User.objects.create_superuser("bench")
    session = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    tomorrow = timezone.now() + dt.timedelta(days=1)
    Session.objects.create(session_key=key, session_data=SessionStore().encode(session), expire_date=tomorrow)


def _multiply(cursor: Any, workspace: Any, rows: int) -> None:
    from intercom_bridge.models import Conversation, Delivery, Mention, Ticket, WebhookEvent

    def at(column: str) -> str:
        ago = f"(({rows} - n) * {DAYS}.0 / {rows})"
        return f"strftime('%Y-%m-%d %H:%M:%f', source.{column}, '-' || {ago} || ' days')"

    tickets = min(TICKETS, rows)
    now = dt.datetime.now(dt.UTC)
    first = Conversation.objects.create(workspace=workspace, conversation_id="bulk-0")
    _copy(cursor, first, tickets - 1, {"conversation_id": "'bulk-' || n"})
    ticket = Ticket.objects.create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=1_000_000, ref="R-1000000"
    )
    _copy(cursor, ticket, tickets - 1, {"object_id": "1000000 + n", "ref": "'R-' || (1000000 + n)"})
    notification = WebhookEvent.objects.create(
        workspace=workspace,
        notification_id="notif_bulk_0",
        topic="conversation.user.replied",
        conversation_id="bulk-0",
        body=b"{" + b" " * 300 + b"}",
        state=WebhookEvent.State.HANDLED,
    )
    _copy(
        cursor,
        notification,
        rows - 1,
        {
            "notification_id": "'notif_bulk_' || n",
            "conversation_id": f"'bulk-' || (n % {tickets})",
            "received_at": at("received_at"),
        },
    )
    mention = Mention.objects.create(webhook_event=notification, contact_id="bulk-0")
    _copy(
        cursor,
        mention,
        rows - 1,
        {"webhook_event_id": f"{notification.pk} + n", "contact_id": f"'bulk-' || (n % {tickets})"},
    )
    delivery = Delivery.objects.create(
        ticket=ticket,
        conversation=first,
        webhook_event=notification,
        kind=Delivery.Kind.PART,
        part_id=str(PART),
        part_order=PART,
        part_created_at=int(now.timestamp()) - 86_400,
        author="Alice Martin",
        log="public_log",
        item={
            "message": "<p>" + "It is still broken. " * 10 + "</p>",
            "format": "html",
            "date": "@1768031789",
        },
        idempotency_key=f"Intercom message {PART} (abcd1234), Alice Martin",
        state=Delivery.State.WRITTEN,
        written_at=now,
        checked_at=now,
    )
    _copy(
        cursor,
        delivery,
        rows - 1,
        {
            "part_id": f"'' || ({PART} + n)",
            "part_order": f"{PART} + n",
            "ticket_id": f"{ticket.pk} + n % {tickets}",
            "conversation_id": f"{first.pk} + n % {tickets}",
            "webhook_event_id": f"{notification.pk} + n",
            "part_created_at": f"source.part_created_at - ({rows} - n) * {86_400 * DAYS} / {rows}",
            **{name: at(name) for name in ("created_at", "queued_at", "written_at", "checked_at")},
            "idempotency_key": f"'Intercom message ' || ({PART} + n) || ' (abcd1234), Alice Martin'",
        },
    )


def _copy(cursor: Any, row: Any, times: int, changed: dict[str, str]) -> None:
    """Insert `times` copies of a row; `changed` has SQL expressions by column, with `n` counting from 1."""
    table = row._meta.db_table
    columns = [field.column for field in row._meta.concrete_fields]
    values = [
        f"{row.pk} + n" if column == row._meta.pk.column else changed.get(column, f"source.{column}")
        for column in columns
    ]
    cursor.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {times}) "
        f"INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM {table} AS source, numbers WHERE source.id = {row.pk}"
    )


if __name__ == "__main__":
    main()
