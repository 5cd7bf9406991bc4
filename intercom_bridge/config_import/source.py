"""What both formats are read into: values that know the line they stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MODULE = "combodo-intercom-integration"
MAX_DEPTH = 50

Scalar = str | int | float | bool | None


class ConfigError(Exception):
    """The file cannot be imported. Says where (line 0: nowhere in particular) and what to do; never a secret."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"Line {line}: {message}" if line else message)
        self.line = line


@dataclass(frozen=True)
class Node:
    """A value of the file. An array of PHP is a mapping here too, its keys 0, 1, 2 ... where it is a list."""

    value: Scalar | Mapping[str | int, Node]
    line: int = 0

    @property
    def children(self) -> Mapping[str | int, Node] | None:
        """The members of an array; None for anything else."""
        return self.value if isinstance(self.value, Mapping) else None

    def plain(self) -> object:
        """The value without its lines, for comparing."""
        if isinstance(self.value, Mapping):
            return {key: child.plain() for key, child in self.value.items()}
        return self.value


@dataclass(frozen=True)
class Source:
    """The extension's parameters, and what else of a whole config-itop.php is of use: `settings` of $MySettings."""

    parameters: Mapping[str | int, Node]
    settings: Mapping[str, Node] = field(default_factory=dict)
