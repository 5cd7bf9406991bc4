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
    """Respond with 503. Intercom then repeats the notification once, after a minute.

    If it is rejected again, the comparison with Intercom finds the missing message (sync/reconcile.py). 429 would be
    worse: Intercom would throttle the subscription of the whole app. All workspaces of the app would get no
    notifications for up to two hours, and older ones would be lost. 200 would be wrong, because nothing was stored.
    """

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The workspace's rate limit was reached. Send the notification again in a minute."


class WebhookView(SignedPostMixin, APIView):
    """Store a notification from Intercom, and wake a worker that processes it.

    200 means that the row is committed. After any other status, Intercom repeats the notification once, a minute later,
    and then discards it. Two statuses are never sent: 410 would end the subscription, and 429 would throttle it.
    """

    authentication_classes = [WebhookSignature]
    throttle_classes = [WebhookRateLimit]
    http_method_names = ["post", "head"]

    def throttled(self, request: Request, wait: float) -> None:
        """Raise the error above instead of DRF's Throttled, which would respond with 429."""
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

    The id is a hash of the body for pings and malformed notifications, which have no id. The other two are "" if the
    payload does not contain them.
    """
    digest = f"sha256:{hashlib.sha256(body.raw).hexdigest()}"
    try:
        event = Event.parse(body.data)
    except PayloadError:
        return digest, "", ""
    conversation_id = event.conversation.id if event.conversation else ""
    return event.id[:100] or digest, event.topic, conversation_id
