"""Read the parts of a systemd unit file that start, reload and stop a process."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Unit:
    """A unit; for a template, `instance` is the name after the @."""

    name: str
    values: Mapping[str, list[str]]
    instance: str = ""

    @classmethod
    def read(cls, path: Path, instance: str = "") -> Unit:
        values: dict[str, list[str]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith(("#", ";", "[")):
                values.setdefault(name.strip(), []).append(value.strip())
        return cls(path.stem.removesuffix("@") + instance, values, instance)

    def value(self, name: str) -> str:
        """Return a value. Raise KeyError if it is not set."""
        return self.values[name][-1]

    def command(self, name: str, **known: str) -> list[str]:
        """Return what `name` (ExecStart, ExecReload) runs; `known` are the variables in it, like MAINPID."""
        parts = shlex.split(self.value(name).replace("%i", self.instance))
        return [known.get(part[1:], part) if part.startswith("$") else part for part in parts]


def read_environment(path: Path) -> dict[str, str]:
    """Read an environment file as systemd reads one of plain NAME=value lines."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
