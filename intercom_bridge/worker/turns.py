"""The order in which due rows are handled: those that have waited longest since their last turn come first."""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

# Of the rows and workspaces that had their turn longest ago, nothing needs to be remembered.
MAX_REMEMBERED = 10_000
# A row with more waiting messages than this belongs to a flood. It comes after the others of its workspace, except in
# about every fourth turn.
FEW_WAITING = 3
FLOOD_EVERY = 4


class Row(NamedTuple):
    """A due row: its primary key, its workspace, and how many messages wait there."""

    pk: int
    workspace: Hashable
    waiting: int = 0


class Turns:
    """Remembers which rows, and which workspaces, had their turn when.

    A workspace with very many due rows delays the others by one row only. Within a workspace, a row with very many
    messages delays those with few.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._last_turns: OrderedDict[Hashable, int] = OrderedDict()

    def in_order(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows in the order of their turns: one of each workspace, then the next of each."""
        by_workspace: defaultdict[Hashable, list[Row]] = defaultdict(list)
        for row in rows:
            by_workspace[row.workspace].append(row)
        for own in by_workspace.values():
            floods_first = random.randrange(FLOOD_EVERY) == 0  # noqa: S311
            # Those that have had no turn yet would otherwise always be in the order of the query.
            random.shuffle(own)
            own.sort(key=lambda row: ((row.waiting > FEW_WAITING) != floods_first, self._last_turn(row.pk)))
        workspaces = sorted(by_workspace, key=lambda workspace: self._last_turn(("workspace", workspace)))
        ranks = itertools.zip_longest(*(by_workspace[workspace] for workspace in workspaces))
        return [row for rank in ranks for row in rank if row is not None]

    def take(self, row: Row) -> None:
        """Note that the row has its turn now."""
        for name in (row.pk, ("workspace", row.workspace)):
            self._last_turns[name] = next(self._numbers)
            self._last_turns.move_to_end(name)
        while len(self._last_turns) > MAX_REMEMBERED:
            self._last_turns.popitem(last=False)

    def _last_turn(self, name: Hashable) -> int:
        return self._last_turns.get(name, 0)
