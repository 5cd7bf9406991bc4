"""Rate limits per sender, applied after the signature is verified, so that only the sender can use them up."""

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


class RateLimit(BaseThrottle):
    """One counter per workspace and ten seconds. DRF's own throttles store the time of every request."""

    kind = ""
    # The name of the setting with the number of requests per second.
    setting = ""

    def per_second(self) -> int:
        return int(getattr(settings, self.setting))

    def counted(self, request: Request) -> object:
        """Return the id of the sender that is counted, such as a workspace's."""
        return request.user.pk

    def allow_request(self, request: Request, view: APIView) -> bool:
        # DRF calls this after the signature was verified, or for HEAD, which has no workspace.
        if request.method != "POST":
            return True
        window = int(time.time()) // WINDOW_SECONDS
        key = f"rate:{self.kind}:{self.counted(request)}:{window}"
        try:
            cache.add(key, 0, 2 * WINDOW_SECONDS)
            count = cache.incr(key)
        except (RedisError, ValueError) as error:
            # Accept the request: an unreachable Redis, or one that has evicted the counter, must not lose messages.
            log.warning("rate_limit.not_counted", kind=self.kind, error=type(error).__name__)
            return True
        return bool(count <= self.per_second() * WINDOW_SECONDS)

    def wait(self) -> float:
        return WINDOW_SECONDS - time.time() % WINDOW_SECONDS


class CanvasRateLimit(RateLimit):
    kind = "canvas"
    setting = "CANVAS_REQUESTS_PER_SECOND"


class WebhookRateLimit(RateLimit):
    kind = "webhook"
    setting = "NOTIFICATIONS_PER_SECOND"
