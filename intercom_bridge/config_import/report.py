"""The report of an import, or of a dry run, field by field."""

from dataclasses import dataclass, field

# Outcomes. KEPT: an admin set another value, and the file does not overwrite it.
SET, CHANGED, UNCHANGED, KEPT = "set", "changed", "unchanged", "kept"


@dataclass(frozen=True)
class Line:
    """The outcome for one field. `detail` never contains a secret."""

    field: str
    outcome: str
    detail: str = ""


@dataclass
class Section:
    """One row of the database."""

    title: str
    lines: list[Line] = field(default_factory=list)


@dataclass
class Report:
    """The whole import; `notes` are complete sentences."""

    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(line.outcome == outcome for section in self.sections for line in section.lines)

    @property
    def changes(self) -> int:
        return self.count(SET) + self.count(CHANGED)
