"""Cache Intercom's answers in Django's cache."""

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
    refresh: bool = False,
) -> Answer:
    """Return the cached answer. If there is none, call `ask`, and cache its answer for `seconds(answer)`.

    With `refresh`, or while Redis cannot be reached, call `ask` in any case. Raise what `ask` raises.
    """
    try:
        answer: Answer | None = None if refresh else cache.get(key)
    except RedisError as error:
        log.warning("cache.unavailable", key=key, error=type(error).__name__)
        return ask()
    if answer is None:
        answer = ask()
        with suppress(RedisError):
            cache.set(key, answer, seconds(answer))
    return answer
