"""What the doctor found: how bad it is, what was looked at, what was seen there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from itop_client.errors import without_words

HIDDEN = "••••"


class Level(Enum):
    """From good to bad; the value is what `manage.py doctor` writes."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


_ORDER = list(Level)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's. `about` names the question for programs (docs/operate.md lists them), `subject` for
    people what was looked at; `to_do` is "" where there is nothing to do."""

    level: Level
    about: str
    subject: str
    found: str
    to_do: str = ""

    def without(self, secrets: Iterable[str]) -> Finding:
        """The same with these words taken out, whoever has brought them in."""
        secrets = list(secrets)
        return replace(
            self,
            found=without_words(self.found, secrets, HIDDEN),
            to_do=without_words(self.to_do, secrets, HIDDEN),
        )

    def to_json(self) -> dict[str, str]:
        return {
            "level": self.level.value,
            "about": self.about,
            "subject": self.subject,
            "found": self.found,
            "to_do": self.to_do,
        }


@dataclass(frozen=True)
class Subject:
    """Somebody or something that is looked at: makes the findings about it."""

    name: str

    def ok(self, about: str, found: str) -> Finding:
        return Finding(level=Level.OK, about=about, subject=self.name, found=found)

    def warning(self, about: str, found: str, to_do: str) -> Finding:
        return Finding(level=Level.WARNING, about=about, subject=self.name, found=found, to_do=to_do)

    def failure(self, about: str, found: str, to_do: str) -> Finding:
        return Finding(level=Level.FAILURE, about=about, subject=self.name, found=found, to_do=to_do)


def overall(findings: Iterable[Finding]) -> Level:
    """As bad as the worst of them; OK for none."""
    return max((finding.level for finding in findings), key=_ORDER.index, default=Level.OK)


def exit_status(findings: Iterable[Finding]) -> int:
    """0 when all is well, 1 when there are warnings, 2 when there are failures."""
    return _ORDER.index(overall(findings))


def summary(findings: Iterable[Finding]) -> str:
    """How many of each, in words: "12 ok, 1 warning, 0 failures"."""
    levels = [finding.level for finding in findings]
    warnings, failures = levels.count(Level.WARNING), levels.count(Level.FAILURE)
    return (
        f"{levels.count(Level.OK)} ok, {warnings} {'warning' if warnings == 1 else 'warnings'}, "
        f"{failures} {'failure' if failures == 1 else 'failures'}"
    )
