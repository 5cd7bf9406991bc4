"""What an import did, or would do, field by field."""

from __future__ import annotations

from dataclasses import dataclass, field

SET, CHANGED, UNCHANGED, KEPT = "set", "changed", "unchanged", "kept"


@dataclass(frozen=True)
class Line:
    """What became of one field. `detail` never holds a secret."""

    field: str
    outcome: str
    detail: str = ""


@dataclass
class Section:
    title: str
    lines: list[Line] = field(default_factory=list)


@dataclass
class Report:
    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(line.outcome == outcome for section in self.sections for line in section.lines)

    @property
    def changes(self) -> int:
        return self.count(SET) + self.count(CHANGED)
