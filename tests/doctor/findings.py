"""Findings, for tests: by what they are about."""

from __future__ import annotations

from collections.abc import Iterable

from intercom_bridge.doctor import Finding


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    """The worst level of each question."""
    found: dict[str, str] = {}
    for one in findings:
        former = found.get(one.about, "ok")
        found[one.about] = max(former, one.level.value, key=("ok", "warning", "failure").index)
    return found


def about(findings: Iterable[Finding], question: str) -> Finding:
    """The one finding about this."""
    found = [one for one in findings if one.about == question]
    assert len(found) == 1, found
    return found[0]
