"""Rate limits per sender. They are applied after authentication, so nobody else can use up a sender's limit."""

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
    """A rate limit with one counter per sender and window of ten seconds.

    DRF's own throttles would store the time of every request.
    """

    # Part of the counter's cache key.
    kind = ""
    # The name of the Django setting that contains the limit, in requests per second.
    setting = ""

    def per_second(self) -> int:
        return int(getattr(settings, self.setting))

    def sender_id(self, request: Request) -> object:
        """Return the id of the sender, by default of the workspace or the iTop that authentication has found."""
        return request.user.pk

    def allow_request(self, request: Request, view: APIView) -> bool:
        # HEAD is not authenticated, so it has no sender to count.
        if request.method != "POST":
            return True
        window = int(time.time()) // WINDOW_SECONDS
        key = f"rate:{self.kind}:{self.sender_id(request)}:{window}"
        try:
            # Kept for longer than the window, so the counter cannot expire between these two calls.
            cache.add(key, 0, 2 * WINDOW_SECONDS)
            count = cache.incr(key)
        except (RedisError, ValueError) as error:
            # Redis is unreachable (RedisError), or has evicted the counter (ValueError). Accept the request, because
            # a refused message could be lost.
            log.warning("rate_limit.not_counted", kind=self.kind, error=type(error).__name__)
            return True
        return bool(count <= self.per_second() * WINDOW_SECONDS)

    def wait(self) -> float:
        """Return the seconds until the next window. DRF sends them as Retry-After."""
        return WINDOW_SECONDS - time.time() % WINDOW_SECONDS


class CanvasRateLimit(RateLimit):
    kind = "canvas"
    setting = "CANVAS_REQUESTS_PER_SECOND"


class WebhookRateLimit(RateLimit):
    kind = "webhook"
    setting = "NOTIFICATIONS_PER_SECOND"
