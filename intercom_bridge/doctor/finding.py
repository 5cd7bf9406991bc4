"""The doctor's findings. Each has a level, a subject, the result of a check, and what to do."""

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


_FROM_GOOD_TO_BAD = list(Level)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    `about` is the check's id, which docs/operate.md lists. `subject` names the checked object for people. `found` is
    what the check found, displayed after the subject and a colon. `to_do` is "" if there is nothing to do.
    """

    level: Level
    about: str
    subject: str
    found: str
    to_do: str = ""

    def redacted(self, secrets: Iterable[str]) -> Finding:
        """Return a copy in which HIDDEN replaces these secrets."""
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
    """A check of a subject. `ok`, `warning` and `failure` return a finding with this level."""

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
    return max((finding.level for finding in findings), key=_FROM_GOOD_TO_BAD.index, default=Level.OK)


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 0 if all findings are OK, 1 if the worst is a warning, 2 if it is a failure."""
    return _FROM_GOOD_TO_BAD.index(overall(findings))


def summary(findings: Iterable[Finding]) -> str:
    """Return the number of findings per level, like "12 ok, 1 warning, 0 failures"."""
    levels = [finding.level for finding in findings]
    warnings, failures = levels.count(Level.WARNING), levels.count(Level.FAILURE)
    return (
        f"{levels.count(Level.OK)} ok, {warnings} {'warning' if warnings == 1 else 'warnings'}, "
        f"{failures} {'failure' if failures == 1 else 'failures'}"
    )
