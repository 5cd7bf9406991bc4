"""Whether a computation takes linear time. Only ratios are compared: how fast the machine is does not matter."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Twice what is to be expected of four times as much, and half of what quadratic time would be.
MAX_RATIO = 8
# What takes less than eight times this for the longer input cannot be measured, and is no attack.
SHORTEST_SECONDS = 0.0002
ATTEMPTS = 3


def takes_linear_time(seconds: Callable[[int], float]) -> bool:
    """Return whether four times as much takes about four times as long.

    `seconds(factor)` computes with an input of `factor` times the length, and returns the processor time that it took.
    """
    short = long = float("inf")
    for _ in range(ATTEMPTS):
        with _without_garbage_collection():
            # What disturbs a measurement makes it longer: the shortest one is the best.
            long = min(long, seconds(4))
            if long < MAX_RATIO * SHORTEST_SECONDS:
                return True
            short = min(short, seconds(1))
        if long < MAX_RATIO * short:
            return True
    return False


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Let no measurement contain the scan of all objects of the test run, which only the longer input may begin."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
