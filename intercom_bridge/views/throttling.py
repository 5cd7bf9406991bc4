"""How much a workspace may send. Asked once the signature is known: nobody else can use up a workspace's share."""

from __future__ import annotations

import time

import structlog
from django.conf import settings
from django.core.cache import cache
from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 10


class Share(BaseThrottle):
    """A number for each workspace and each ten seconds. DRF's own rates keep a list of every request's time."""

    kind = ""

    def a_second(self) -> int:
        raise NotImplementedError

    def allow_request(self, request: Request, view: APIView) -> bool:
        # Of what is not signed there is no workspace: DRF asks here only after the signature, or for a HEAD.
        if request.method != "POST":
            return True
        window = int(time.time()) // WINDOW_SECONDS
        key = f"share:{self.kind}:{request.user.pk}:{window}"
        try:
            cache.add(key, 0, 2 * WINDOW_SECONDS)
            count = cache.incr(key)
        except (RedisError, ValueError) as error:
            # What cannot be counted is let in: a Redis that is away, or has just dropped the number, loses no message.
            log.warning("share.not_counted", kind=self.kind, error=type(error).__name__)
            return True
        return bool(count <= self.a_second() * WINDOW_SECONDS)

    def wait(self) -> float:
        return WINDOW_SECONDS - time.time() % WINDOW_SECONDS


class CanvasShare(Share):
    kind = "canvas"

    def a_second(self) -> int:
        return int(settings.CANVAS_REQUESTS_A_SECOND)


class WebhookShare(Share):
    kind = "webhook"

    def a_second(self) -> int:
        return int(settings.NOTIFICATIONS_A_SECOND)
