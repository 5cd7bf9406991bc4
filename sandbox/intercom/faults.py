"""Faults of the stand-in for Intercom: tests choose what goes wrong, how often, and for which paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sandbox import faults


@dataclass
class Fault(faults.Fault):
    """A fault for calls and downloads whose path contains `path`."""

    KINDS: ClassVar[Mapping[str, str]] = {
        "rate_limited": "answers 429 until `seconds` from now",
        "error": "answers HTTP `status` with an error list",
        "html": "answers HTTP `status` with an HTML page, as a proxy does",
        "drop_before": "closes the connection before it executes the call",
        "drop_after": "executes the call, then closes the connection",
        "notify_first": "executes the call, answers once its notifications were sent, or after `seconds`",
        "slow": "executes the call, answers after `seconds`",
        "drip": "executes the call, sends one byte of the response every `seconds`",
        # Only for downloads, whose path is /i/o/{workspace}/{file}/...
        "cut_off": "sends half of a file and closes the connection",
        "wrong_length": "sends a file, adds `bytes` (possibly negative) to its Content-Length, and closes",
        "no_length": "sends a file without a Content-Length, and closes",
        "redirect": "answers 302 to `location`",
        "quarantined": "answers HTTP `status` without content, as for a file that the virus scanner has stopped",
    }

    path: str = ""
    status: int = 503
    location: str = ""
    bytes: int = -10


class Faults(faults.ActiveFaults[Fault]):
    def __init__(self) -> None:
        super().__init__(Fault)

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Replace the active faults with those in the body of `POST /sandbox/faults`."""
        self.replace(wanted.get("faults", []))

    def meet(self, path: str) -> Fault | None:
        """Return the first fault that applies to a call, and count the call for this fault. Return None without one."""
        return self.take(lambda fault: fault.path in path)
