"""The order in which due rows are handled: those that have waited longest since their last turn come first."""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

# Of the rows, customers and workspaces that had their turn longest ago, nothing needs to be remembered.
MAX_REMEMBERED = 10_000


class Row(NamedTuple):
    """A due row: its primary key, its workspace, and the customer who writes there (None if unknown)."""

    pk: int
    workspace: Hashable
    customer: Hashable = None

    @property
    def party(self) -> Hashable:
        """Who takes turns with others in the workspace: the customer, or the row itself."""
        return (self.workspace, self.pk if self.customer is None else ("customer", self.customer))


class Turns:
    """Remembers which rows, customers and workspaces had their turn when.

    A workspace with very many due rows delays the others by one row only, and so does a customer with very many
    conversations within a workspace.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._last_turns: OrderedDict[Hashable, int] = OrderedDict()

    def in_order(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows in the order of their turns: one of each workspace, then the next of each.

        Within a workspace, the customers take turns in the same way, and a customer's rows one after the other.
        """
        rows = list(rows)
        # Those that have had no turn yet would otherwise always be in the order of the query.
        random.shuffle(rows)
        rows.sort(key=lambda row: self._last_turn(row.pk))
        return self._alternate(
            rows, lambda row: row.workspace, lambda own: self._alternate(own, lambda row: row.party)
        )

    def _alternate(
        self,
        rows: Iterable[Row],
        group: Callable[[Row], Hashable],
        within: Callable[[list[Row]], list[Row]] = list,
    ) -> list[Row]:
        """Return one row of each group, then the next of each: first that group whose turn was longest ago."""
        groups: defaultdict[Hashable, list[Row]] = defaultdict(list)
        for row in rows:
            groups[group(row)].append(row)
        names = sorted(groups, key=lambda name: self._last_turn(("group", name)))
        ranks = itertools.zip_longest(*(within(groups[name]) for name in names))
        return [row for rank in ranks for row in rank if row is not None]

    def take(self, row: Row) -> None:
        """Note that the row has its turn now."""
        for name in (row.pk, ("group", row.workspace), ("group", row.party)):
            self._last_turns[name] = next(self._numbers)
            self._last_turns.move_to_end(name)
        while len(self._last_turns) > MAX_REMEMBERED:
            self._last_turns.popitem(last=False)

    def _last_turn(self, name: Hashable) -> int:
        return self._last_turns.get(name, 0)
