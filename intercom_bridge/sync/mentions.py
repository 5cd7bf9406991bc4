"""Whom the kept notifications name, for those that were written before it was noted as they came in."""

from __future__ import annotations

import json
import re

from django.db import transaction
from django.db.models import QuerySet

from intercom_bridge.intercom.payloads import MAX_ID, contacts_named
from intercom_bridge.models import Mention, Notification, Workspace

from .writer import stopping

STEP = 200
# Of what cannot be read as JSON here: each word in quotes may be one.
_WORD = re.compile(rf'"([^"\\\x00-\x1f]{{1,{MAX_ID}}})"')


def not_noted(workspace: Workspace | None = None) -> QuerySet[Notification]:
    """The kept ones of which it is not known whom they name."""
    rows = Notification.objects.filter(mentions_noted=False, cleaned_at=None)
    return rows if workspace is None else rows.filter(workspace=workspace)


def note_mentions(workspace: Workspace | None = None) -> int:
    """Reads them all; answers how many. Ends early, between two steps, when the process is asked to end."""
    noted = 0
    while not stopping.is_set():
        named = {row.pk: _contacts(bytes(row.body)) for row in not_noted(workspace).only("pk", "body")[:STEP]}
        if not named:
            break
        with transaction.atomic():
            rows = Notification.objects.filter(pk__in=named)
            # Locked: what is erased meanwhile names nobody.
            kept = rows.filter(cleaned_at=None).select_for_update().values_list("pk", flat=True)
            Mention.objects.bulk_create(
                [Mention(notification_id=pk, contact_id=contact) for pk in kept for contact in named[pk]],
                ignore_conflicts=True,
            )
            rows.update(mentions_noted=True)
        noted += len(named)
    return noted


def _contacts(body: bytes) -> set[str]:
    try:
        return contacts_named(json.loads(body))
    except (ValueError, RecursionError):
        return set(_WORD.findall(body.decode("utf-8", "replace")))
