import hashlib
import time
from typing import Any

import structlog
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from intercom_bridge.intercom.payloads import Event, PayloadError, contact_ids_in
from intercom_bridge.models import WebhookEvent, Workspace
from intercom_bridge.ops.metrics import observe, webhook_seconds
from intercom_bridge.sync.intake import FOLLOWED_TOPICS
from intercom_bridge.wake import INCOMING, wake

from .authentication import SignedBody, SignedPostMixin, WebhookSignature
from .throttling import WebhookRateLimit

log = structlog.get_logger(__name__)


class RateLimitExceededError(APIException):
    """Respond with 503, so that Intercom repeats the notification after a minute.

    Not 429: Intercom would throttle the subscription, which belongs to the app, so all its workspaces would wait for
    up to two hours and lose older notifications. Not 200: that requires a stored row. A notification that is rejected
    twice is found by comparing with Intercom (sync/reconcile.py).
    """

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The workspace's rate limit was reached. Send the notification again in a minute."


class WebhookView(SignedPostMixin, APIView):
    """Receive notifications.

    200 means that the row is committed. For any other status, Intercom repeats the notification once, after a minute,
    and then discards it; 410 would end the subscription and 429 throttle it, so neither is ever sent.
    """

    authentication_classes = [WebhookSignature]
    throttle_classes = [WebhookRateLimit]
    http_method_names = ["post", "head"]

    def throttled(self, request: Request, wait: float) -> None:
        raise RateLimitExceededError

    # Intercom validates the address with an unsigned HEAD.
    def head(self, request: Request, *_: Any, **__: Any) -> Response:
        return Response()

    def post(self, request: Request, *_: Any, **__: Any) -> Response:
        began = time.monotonic()
        workspace: Workspace = request.user
        body: SignedBody = request.auth
        notification_id, topic, conversation_id = _identify(body)
        notification = WebhookEvent.objects.record(
            workspace, notification_id, topic, conversation_id, body.raw, contact_ids_in(body.data)
        )
        if topic in FOLLOWED_TOPICS:
            workspace.note_topic(topic)
        log.info(
            "notification.received",
            workspace=workspace.workspace_id,
            conversation=conversation_id,
            topic=topic,
            notification=notification.pk,
        )
        wake(INCOMING)
        observe(webhook_seconds, time.monotonic() - began)
        return Response({"status": "ok"})


def _identify(body: SignedBody) -> tuple[str, str, str]:
    """Return the notification's id, topic and conversation id.

    Pings and unreadable notifications have no id: a hash of the bytes is used instead.
    """
    digest = f"sha256:{hashlib.sha256(body.raw).hexdigest()}"
    try:
        event = Event.parse(body.data)
    except PayloadError:
        return digest, "", ""
    conversation_id = event.conversation.id if event.conversation else ""
    return event.id[:100] or digest, event.topic, conversation_id
