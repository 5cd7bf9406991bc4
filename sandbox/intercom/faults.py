"""Faults on demand: what the stand-in's REST does wrong, how often, and for which addresses."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

KINDS = {
    "rate_limited": "answers 429 until `seconds` from now",
    "error": "answers HTTP `status` with an error list",
    "html": "answers HTTP `status` with an HTML page, as a proxy does",
    "drop_before": "closes the connection before it executes the call",
    "drop_after": "executes the call, then closes the connection",
    "notify_first": "executes the call, answers after its notifications were sent, at most after `seconds`",
    "slow": "executes the call, answers after `seconds`",
    "drip": "executes the call, answers one byte each `seconds`",
    # Only for downloads, whose path is /i/o/{workspace}/{file}/...
    "cut_off": "sends half of a file and closes the connection",
    "wrong_length": "declares `bytes` more or, if negative, fewer than the file has, sends it and closes",
    "no_length": "sends a file without its length and closes",
    "redirect": "answers 302 to `location`",
    "quarantined": "answers HTTP `status` without content, as for a file that the virus scanner holds",
}


@dataclass
class Fault:
    """A fault for calls whose path contains `path`, for the next `count` of them or, with None, for all."""

    kind: str
    path: str = ""
    count: int | None = None
    seconds: float = 1.0
    status: int = 503
    location: str = ""
    bytes: int = -10

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; there are {', '.join(KINDS)}")


class Faults:
    """The active faults. They can be changed while calls are running."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[Fault] = []

    def add(self, kind: str, **options: Any) -> Fault:
        """Add a fault: `intercom.faults.add("drop_after", path="/reply", count=1)`. Raise ValueError or TypeError."""
        fault = Fault(kind, **options)
        with self._lock:
            self._active.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._active.clear()

    def set(self, wanted: dict[str, Any]) -> None:
        """Replace the active faults by those in the body of `POST /sandbox/faults`."""
        faults = [Fault(**options) for options in wanted.get("faults", [])]
        with self._lock:
            self._active = faults

    def meet(self, path: str) -> Fault | None:
        """Return the fault for a call, or None, and count it."""
        with self._lock:
            for fault in self._active:
                if fault.path not in path:
                    continue
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self._active.remove(fault)
                return fault
        return None

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            return {"faults": [asdict(fault) for fault in self._active], "kinds": KINDS}
