from __future__ import annotations

import hashlib
import time
from typing import Any

import structlog
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from intercom_bridge.intercom.payloads import Event, PayloadError, contacts_named
from intercom_bridge.metrics import observe, webhook_seconds
from intercom_bridge.models import Notification, Workspace
from intercom_bridge.sync.tasks import wake_for_intake

from .authentication import SignedBody, SignedPostMixin, WebhookSignature
from .throttling import WebhookShare

log = structlog.get_logger(__name__)


class TooManyNotifications(APIException):
    """503, so that Intercom repeats it in a minute, when there is room again.

    Not 429: that throttles the subscription, which is the app's and not the workspace's, so that all the others would
    wait, for up to two hours, and lose what is older. Not 200: nothing is answered for without a row. What does not
    fit the second time either is found by comparing with Intercom (sync/reconcile.py).
    """

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "This workspace sends more notifications than its share. Send it again in a minute."


class WebhookView(SignedPostMixin, APIView):
    """Intercom tells us that something happened.

    200 means: the row is committed. Any other answer makes Intercom repeat it once, after a minute, and then
    forget it; 410 would end the subscription and 429 throttle it, so neither is ever sent.
    """

    authentication_classes = [WebhookSignature]
    throttle_classes = [WebhookShare]
    http_method_names = ["post", "head"]

    def throttled(self, request: Request, wait: float) -> None:
        raise TooManyNotifications

    # How Intercom validates the address, unsigned.
    def head(self, request: Request, *_: Any, **__: Any) -> Response:
        return Response()

    def post(self, request: Request, *_: Any, **__: Any) -> Response:
        began = time.monotonic()
        workspace: Workspace = request.user
        body: SignedBody = request.auth
        notification_id, topic, conversation_id = _name(body)
        notification = Notification.objects.record(
            workspace, notification_id, topic, conversation_id, body.raw, contacts_named(body.data)
        )
        log.info(
            "notification.received",
            workspace=workspace.workspace_id,
            conversation=conversation_id,
            topic=topic,
            notification=notification.pk,
        )
        wake_for_intake()
        observe(webhook_seconds, time.monotonic() - began)
        return Response({"status": "ok"})


def _name(body: SignedBody) -> tuple[str, str, str]:
    """Its id, its topic and its conversation's id.

    A ping has no id, and what cannot be read may have none: the bytes name it then.
    """
    digest = f"sha256:{hashlib.sha256(body.raw).hexdigest()}"
    try:
        event = Event.parse(body.data)
    except PayloadError:
        return digest, "", ""
    conversation_id = event.conversation.id if event.conversation else ""
    return event.id[:100] or digest, event.topic, conversation_id
