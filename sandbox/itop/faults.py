"""Faults on demand: what the stand-in does wrong, how often, and for which calls."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sandbox import faults


@dataclass
class Fault(faults.Fault):
    """A fault that each of the calls has with ``probability``."""

    KINDS: ClassVar[Mapping[str, str]] = {
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

    operation: str = ""  # "core/update"; any when empty
    class_name: str = ""
    probability: float = 1.0
    contains: str = ""  # a text in the request; any when empty


class Faults(faults.ActiveFaults[Fault]):
    def __init__(self) -> None:
        super().__init__(Fault)
        self.latency = 0.0  # seconds added to each call
        self._away = False
        self.on_away: Callable[[bool], None] = lambda away: None
        self._return: threading.Timer | None = None

    def clear(self) -> None:
        super().clear()
        self.latency = 0.0
        self.away = False

    def meet(self, operation: str, class_name: str, request: str = "") -> Fault | None:
        """Return the fault for a call, or None, and count it."""
        return self.take(
            lambda fault: (
                fault.operation in ("", operation)
                and fault.class_name in ("", class_name)
                and fault.contains in request
                and random.random() < fault.probability
            )
        )

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

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Apply the body of ``POST /sandbox/faults``, whose ``faults`` replace the active ones.

        Raise ValueError or TypeError.
        """
        if "faults" in wanted:
            self.replace(
                {"class_name" if name == "class" else name: value for name, value in each.items()}
                for each in wanted["faults"]
            )
        if "latency" in wanted:
            self.latency = float(wanted["latency"])
        if wanted.get("away"):
            self.away_for(float(wanted["away"]))

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"latency": self.latency}
