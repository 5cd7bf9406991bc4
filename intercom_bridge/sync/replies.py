"""Post each outgoing message to Intercom once, in the background."""

import datetime as dt

import structlog
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.client import (
    IntercomClient,
    IntercomError,
    IntercomRateLimitedError,
    IntercomRejectedError,
)
from intercom_bridge.intercom.html import to_text
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import OutgoingMessage, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import reason_of
from intercom_bridge.models.reason import ReasonCode

from .circuit_breaker import backoff_seconds

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 10.0
MAX_ATTEMPTS = 20


def post(message: OutgoingMessage) -> None:
    """Try to post a message. A rejection is final; after any other error, try again later."""
    workspace = message.conversation.workspace
    message.attempts += 1
    # Saved before the call, so that the next attempt after a crash checks whether the message was posted.
    message.save(update_fields=["attempts"])
    try:
        client = intercom_client(workspace)
        if not message.admin_id:
            message.admin_id = client.me(deadline=DEADLINE_SECONDS).admin_id
        part = _find_earlier(client, message) if message.attempts > 1 else None
        if part is None:
            part = client.reply(
                message.conversation.conversation_id,
                admin_id=message.admin_id,
                body=message.body,
                note=message.is_note,
                deadline=DEADLINE_SECONDS,
            )
    except IntercomRejectedError as error:
        _settle(message, OutgoingMessage.State.FAILED, error=error)
    except (IntercomError, SecretDecryptionError) as error:
        _try_later(message, error)
    else:
        if part and part.app_package_code and workspace.app_package_code != part.app_package_code:
            Workspace.objects.filter(pk=workspace.pk).update(app_package_code=part.app_package_code)
        _settle(message, OutgoingMessage.State.POSTED, part_id=part.id if part else "")


def _find_earlier(client: IntercomClient, message: OutgoingMessage) -> Part | None:
    """Return the part that an earlier attempt of unknown outcome has posted: Intercom has no idempotency keys."""
    text = to_text(message.body)
    since = message.created_at.timestamp() - 60
    conversation = client.conversation(message.conversation.conversation_id, deadline=DEADLINE_SECONDS)
    for part in conversation.parts:
        # Intercom may show another author.
        if part.created_at >= since and to_text(part.body) == text:
            return part
    return None


def _settle(
    message: OutgoingMessage, state: str, *, part_id: str = "", error: Exception | None = None
) -> None:
    message.state, message.part_id = state, part_id
    message.set_reason(*(reason_of(error) if error else (ReasonCode.NONE,)))
    message.save(update_fields=["state", "part_id", "admin_id", "reason_code", "reason_detail", "attempts"])
    log.info("outgoing_message.finished", message=message.pk, **message.conversation.names, state=state)


def _try_later(message: OutgoingMessage, error: Exception) -> None:
    if message.attempts >= MAX_ATTEMPTS:
        _settle(message, OutgoingMessage.State.FAILED, error=error)
        return
    seconds = backoff_seconds(message.attempts)
    if isinstance(error, IntercomRateLimitedError):
        seconds = max(seconds, error.until - timezone.now().timestamp())
    message.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    message.set_reason(*reason_of(error))
    message.save(update_fields=["attempts", "due_at", "reason_code", "reason_detail"])
    log.warning(
        "outgoing_message.postponed", message=message.pk, **message.conversation.names, seconds=round(seconds)
    )
