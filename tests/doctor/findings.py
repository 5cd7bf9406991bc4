"""Look up findings by check id."""

from __future__ import annotations

from collections.abc import Iterable

from intercom_bridge.doctor import Finding


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
