"""What we say in a conversation, from the background: a slow Intercom delays no click and doubles no post."""

from __future__ import annotations

import datetime as dt

import structlog
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.api import (
    IntercomClient,
    IntercomError,
    IntercomRateLimited,
    IntercomRefused,
)
from intercom_bridge.intercom.html import to_text
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Posting, Workspace
from intercom_bridge.models.encryption import SecretUnreadable

from .instance import pause_after

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 10.0
TRIES = 20


def post(posting: Posting) -> None:
    """One try. Refused for good: failed, with the reason. Anything else that goes wrong: later."""
    workspace = posting.conversation.workspace
    posting.attempts += 1
    # Before the call: should we die in it, the next one looks whether it was posted.
    posting.save(update_fields=["attempts"])
    try:
        client = intercom_client(workspace)
        part = _find_earlier(client, posting) if posting.attempts > 1 else None
        if part is None:
            part = client.reply(
                posting.conversation.conversation_id,
                admin_id=posting.admin_id,
                body=posting.body,
                note=posting.is_note,
                deadline=DEADLINE_SECONDS,
            )
    except IntercomRefused as refusal:
        _settle(posting, Posting.State.FAILED, reason=f"Intercom refused it: {refusal}")
    except (IntercomError, SecretUnreadable) as trouble:
        _try_later(posting, trouble)
    else:
        if part.app_package_code and workspace.app_package_code != part.app_package_code:
            Workspace.objects.filter(pk=workspace.pk).update(app_package_code=part.app_package_code)
        _settle(posting, Posting.State.POSTED, part_id=part.id)


def _find_earlier(client: IntercomClient, posting: Posting) -> Part | None:
    """The part that an earlier try of unknown outcome has made after all: Intercom knows no idempotency key."""
    words = to_text(posting.body)
    since = posting.created_at.timestamp() - 60
    conversation = client.conversation(posting.conversation.conversation_id, deadline=DEADLINE_SECONDS)
    for part in conversation.parts:
        if part.author.id == posting.admin_id and part.created_at >= since and to_text(part.body) == words:
            return part
    return None


def _settle(posting: Posting, state: str, *, part_id: str = "", reason: str = "") -> None:
    posting.state, posting.part_id, posting.reason = state, part_id, reason[:500]
    posting.save(update_fields=["state", "part_id", "reason", "attempts"])
    log.info("posting.settled", posting=posting.pk, **posting.conversation.names, state=state)


def _try_later(posting: Posting, trouble: Exception) -> None:
    if posting.attempts >= TRIES:
        _settle(posting, Posting.State.FAILED, reason=f"given up after {TRIES} tries: {trouble}")
        return
    seconds = pause_after(posting.attempts)
    if isinstance(trouble, IntercomRateLimited):
        seconds = max(seconds, trouble.until - timezone.now().timestamp())
    posting.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    posting.reason = str(trouble)[:500]
    posting.save(update_fields=["attempts", "due_at", "reason"])
    log.warning("posting.later", posting=posting.pk, **posting.conversation.names, seconds=round(seconds))
