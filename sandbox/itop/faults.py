"""Faults of the stand-in for iTop: tests choose what goes wrong, how often, and for which calls."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sandbox import faults


@dataclass
class Fault(faults.Fault):
    """A fault for the calls that match ``operation``, ``class_name`` and ``contains``, with this ``probability``."""

    KINDS: ClassVar[Mapping[str, str]] = {
        "error500": "answers HTTP 500 with an error page of PHP",
        "html": "answers 200 with an HTML page, as a login page or a proxy does",
        "maintenance": "answers HTTP 503 with JSON that has no code",
        "read_only": "answers each write as if the account lacked permissions",
        "check": "refuses each write with the text of a check that only this iTop has",
        "forbidden": "answers HTTP 403 with a page, as a web application firewall does",
        "too_large": "answers HTTP 413 with a page, as a web server does before iTop runs",
        "drop_before": "closes the connection before it executes the call",
        "drop_after": "executes the call, then closes the connection",
        "reset": "resets the connection before it executes the call",
        "late": "executes after `seconds`, even if the client has disconnected, as a busy server does",
        "late_commit": "gives a save its date and numbers at once, but makes it visible only after `seconds`",
        "unreadable": "answers each core/get as if the account lacked permissions",
        "slow": "executes at once, answers after `seconds`",
        "drip": "executes at once, sends one byte of the response every `seconds`",
    }

    operation: str = ""  # such as "core/update"; "" means any
    class_name: str = ""  # "" means any
    probability: float = 1.0
    contains: str = ""  # a text in the request; "" means any request


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
        """Return the first fault that applies to a call, and count the call for this fault. Return None without one."""
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
        """Whether the stand-in refuses connections. Setting this to True also cuts open connections."""
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
        """Refuse connections for so many seconds. The end is fixed, because no client could end it over HTTP."""
        self.away = True
        self._return = threading.Timer(seconds, lambda: setattr(self, "away", False))
        self._return.daemon = True
        self._return.start()

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Apply the body of ``POST /sandbox/faults``. Its ``faults`` replace the active faults.

        Raise ValueError or TypeError if it is invalid.
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
