"""Answers of Intercom that are kept in Django's cache for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import structlog
from django.core.cache import cache
from redis import RedisError

log = structlog.get_logger(__name__)

HOUR = 3600.0
Answer = TypeVar("Answer")


def cached(
    key: str,
    ask: Callable[[], Answer],
    *,
    seconds: Callable[[Answer], float] = lambda _answer: HOUR,
    is_fresh: bool = False,
) -> Answer:
    """Return the cached answer, or that of `ask`, which is then cached for `seconds(answer)`: an hour by default.

    `is_fresh`: ask in any case. Without Redis, ask every time. Raise what `ask` raises.
    """
    try:
        found: Answer | None = None if is_fresh else cache.get(key)
    except RedisError as error:
        log.warning("cache.unavailable", key=key, error=type(error).__name__)
        return ask()
    if found is None:
        found = ask()
        with suppress(RedisError):
            cache.set(key, found, seconds(found))
    return found
