"""Faults on demand: what the stand-in does wrong, how often, and for which calls."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

KINDS = {
    "error500": "answers HTTP 500 with a page of PHP's",
    "html": "answers 200 with an HTML page, as a login page or a proxy does",
    "maintenance": "answers HTTP 503 with JSON that has no code",
    "read_only": "answers each write as if the account lacked permissions",
    "check": "refuses each write with a sentence of the site's own check",
    "forbidden": "answers HTTP 403 with a page, as a web application firewall does",
    "too_large": "answers HTTP 413 with a page, as a web server does before iTop runs",
    "drop_before": "closes the connection before it executes the call",
    "drop_after": "executes the call, then closes the connection",
    "reset": "resets the connection before it executes the call",
    "late": "executes after `seconds`, whether or not the caller is still there, as a busy server does",
    "late_commit": "takes the date and the numbers of a save, and shows it after `seconds`",
    "unreadable": "answers each core/get as if the account lacked permissions",
    "slow": "executes at once, answers after `seconds`",
    "drip": "executes at once, answers one byte each `seconds`",
}


@dataclass
class Fault:
    """A fault for the next ``count`` calls or, with None, for all of them, each with ``probability``."""

    kind: str
    operation: str = ""  # "core/update"; any when empty
    class_name: str = ""
    count: int | None = None
    probability: float = 1.0
    seconds: float = 1.0
    contains: str = ""  # a text in the request; any when empty

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; there are {', '.join(KINDS)}")


class Faults:
    """The active faults. They can be changed while calls are running."""

    def __init__(self) -> None:
        self.latency = 0.0  # seconds added to each call
        self.lock = threading.Lock()
        self.active: list[Fault] = []
        self._away = False
        self.on_away: Callable[[bool], None] = lambda away: None
        self._return: threading.Timer | None = None

    def add(self, kind: str, **options: Any) -> Fault:
        """Add a fault: ``itop.faults.add("drop_after", operation="core/update", count=1)``.

        Raise ValueError or TypeError.
        """
        fault = Fault(kind, **options)
        with self.lock:
            self.active.append(fault)
        return fault

    def clear(self) -> None:
        with self.lock:
            self.active.clear()
            self.latency = 0.0
        self.away = False

    def meet(self, operation: str, class_name: str, request: str = "") -> Fault | None:
        """Return the fault for a call, or None, and count it."""
        with self.lock:
            for fault in self.active:
                if fault.operation not in ("", operation) or fault.class_name not in ("", class_name):
                    continue
                if fault.contains not in request:
                    continue
                if random.random() >= fault.probability:
                    continue
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self.active.remove(fault)
                return fault
        return None

    @property
    def away(self) -> bool:
        """Return whether connections are refused and open ones are cut."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        if self._return is not None:
            self._return.cancel()
            self._return = None
        if away != self._away:
            self._away = away
            self.on_away(away)

    def away_for(self, seconds: float) -> None:
        """Refuse connections for so many seconds. A client could not end this over HTTP."""
        self.away = True
        self._return = threading.Timer(seconds, lambda: setattr(self, "away", False))
        self._return.daemon = True
        self._return.start()

    def set(self, wanted: dict[str, Any]) -> None:
        """Apply the body of ``POST /sandbox/faults``, whose ``faults`` replace the active ones.

        Raise ValueError or TypeError.
        """
        if "faults" in wanted:
            faults = [
                Fault(**{"class_name" if name == "class" else name: value for name, value in each.items()})
                for each in wanted["faults"]
            ]
            with self.lock:
                self.active = faults
        if "latency" in wanted:
            self.latency = float(wanted["latency"])
        if wanted.get("away"):
            self.away_for(float(wanted["away"]))

    def to_json(self) -> dict[str, Any]:
        with self.lock:
            return {"faults": [asdict(each) for each in self.active], "latency": self.latency, "kinds": KINDS}
