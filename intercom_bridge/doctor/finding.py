"""The doctor's findings. Each has a severity, a subject, the result of the check, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import Enum

from itop_client import redact

HIDDEN = "••••"


class Level(Enum):
    """Severity, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


_ORDER = list(Level)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result.

    `about` is the check's id (listed in docs/operate.md), `subject` the checked object for people to read. `found`
    continues the subject as a sentence. `to_do` is "" if there is nothing to do.
    """

    level: Level
    about: str
    subject: str
    found: str
    to_do: str = ""

    def without(self, secrets: Iterable[str]) -> Finding:
        """Return a copy with these secrets redacted."""
        secrets = list(secrets)
        return replace(
            self, found=redact(self.found, secrets, HIDDEN), to_do=redact(self.to_do, secrets, HIDDEN)
        )

    def to_json(self) -> dict[str, str]:
        return {**asdict(self), "level": self.level.value}


@dataclass(frozen=True)
class Subject:
    """A checked object."""

    name: str

    def check(self, about: str) -> Check:
        return Check(self.name, about)


@dataclass(frozen=True)
class Check:
    """A check of a subject. Each method returns a finding with its level."""

    subject: str
    about: str

    def ok(self, found: str) -> Finding:
        return Finding(level=Level.OK, about=self.about, subject=self.subject, found=found)

    def warning(self, found: str, to_do: str) -> Finding:
        return Finding(level=Level.WARNING, about=self.about, subject=self.subject, found=found, to_do=to_do)

    def failure(self, found: str, to_do: str) -> Finding:
        return Finding(level=Level.FAILURE, about=self.about, subject=self.subject, found=found, to_do=to_do)


def overall(findings: Iterable[Finding]) -> Level:
    """Return the worst level; OK if there are no findings."""
    return max((finding.level for finding in findings), key=_ORDER.index, default=Level.OK)


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 0 if everything is well, 1 for warnings, 2 for failures."""
    return _ORDER.index(overall(findings))


def summary(findings: Iterable[Finding]) -> str:
    """Return the number of findings per level: "12 ok, 1 warning, 0 failures"."""
    levels = [finding.level for finding in findings]
    warnings, failures = levels.count(Level.WARNING), levels.count(Level.FAILURE)
    return (
        f"{levels.count(Level.OK)} ok, {warnings} {'warning' if warnings == 1 else 'warnings'}, "
        f"{failures} {'failure' if failures == 1 else 'failures'}"
    )
