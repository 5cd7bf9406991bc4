"""The order in which due rows are handled: those that have waited longest since their last turn come first."""

from __future__ import annotations

import itertools
import random
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable

# Of the rows and workspaces that had their turn longest ago, nothing needs to be remembered.
MAX_REMEMBERED = 10_000

Row = tuple[int, Hashable]


class Turns:
    """Remembers which rows, and which workspaces, had their turn when.

    A row is its primary key and its workspace, or something else that many rows have in common. A workspace with
    very many due rows delays the others by one row only, and so does a row that is due again and again.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._last_turns: OrderedDict[Hashable, int] = OrderedDict()

    def in_order(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows in the order of their turns: one of each workspace, then the next of each."""
        shuffled = list(rows)
        # Those that have had no turn yet would otherwise always be in the order of the query.
        random.shuffle(shuffled)
        shuffled.sort(key=lambda row: self._last_turns.get(row[0], 0))
        earlier: Counter[Hashable] = Counter()
        ranked = []
        for row in shuffled:
            workspace = row[1]
            ranked.append((earlier[workspace], self._last_turns.get(("workspace", workspace), 0), row))
            earlier[workspace] += 1
        ranked.sort(key=lambda entry: entry[:2])
        return [row for _rank, _turn, row in ranked]

    def take(self, row: Row) -> None:
        """Note that the row has its turn now."""
        pk, workspace = row
        for name in (pk, ("workspace", workspace)):
            self._last_turns[name] = next(self._numbers)
            self._last_turns.move_to_end(name)
        while len(self._last_turns) > MAX_REMEMBERED:
            self._last_turns.popitem(last=False)
