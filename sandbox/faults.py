"""Faults of a stand-in: tests choose what goes wrong, how often, and for which calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar


@dataclass
class Fault:
    """A fault for the next `count` calls (None: for all calls). `KINDS` says what each kind does."""

    KINDS: ClassVar[Mapping[str, str]] = {}

    kind: str
    count: int | None = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in self.KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; there are {', '.join(self.KINDS)}")


F = TypeVar("F", bound=Fault)


class ActiveFaults(Generic[F]):
    """The active faults. They can be changed while calls are running."""

    def __init__(self, fault: type[F]) -> None:
        self._fault = fault
        self._lock = threading.Lock()
        self.active: list[F] = []

    def add(self, kind: str, **options: Any) -> F:
        """Add a fault: `faults.add("drop_after", count=1)`. Raise ValueError or TypeError if it is invalid."""
        fault = self._fault(kind, **options)
        with self._lock:
            self.active.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self.active.clear()

    def replace(self, wanted: Iterable[Mapping[str, Any]]) -> None:
        """Replace the active faults with these. Raise ValueError or TypeError if one is invalid."""
        faults = [self._fault(**options) for options in wanted]
        with self._lock:
            self.active = faults

    def take(self, applies: Callable[[F], bool]) -> F | None:
        """Return the first fault that applies to a call, and count the call for this fault. Return None without one."""
        with self._lock:
            for fault in self.active:
                if not applies(fault):
                    continue
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self.active.remove(fault)
                return fault
        return None

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            return {"faults": [asdict(fault) for fault in self.active], "kinds": dict(self._fault.KINDS)}
