from __future__ import annotations

import time


class Deadline:
    """The wall time left for one answer, or one try, shared by all the calls it takes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds, never below a tenth: a call with no time left fails as one that iTop did not answer."""
        return max(0.1, self._end - time.monotonic())
