"""Run one check of an iTop, and look up findings by check id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf

from intercom_bridge.connections import itop_client
from intercom_bridge.doctor import Finding
from intercom_bridge.doctor.probe import Probe
from intercom_bridge.models import Workspace
from itop_client import Deadline


def run(check: Callable[[Probe], Iterator[Finding]]) -> list[Finding]:
    """Run one of the doctor's checks for the only workspace and its iTop."""
    workspace = Workspace.objects.select_related("itop", "profile").get()
    probe = Probe(workspace.itop, [workspace], itop_client(workspace.itop), Deadline(inf))
    return list(check(probe))


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    """Return the worst level per check id."""
    found: dict[str, str] = {}
    for finding in findings:
        previous = found.get(finding.about, "ok")
        found[finding.about] = max(previous, finding.level.value, key=("ok", "warning", "failure").index)
    return found


def about(findings: Iterable[Finding], check: str) -> Finding:
    """Return the only finding of this check."""
    found = [finding for finding in findings if finding.about == check]
    assert len(found) == 1, found
    return found[0]
