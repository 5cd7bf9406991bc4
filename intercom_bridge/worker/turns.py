"""The order in which due rows are handled: first those whose last turn was longest ago."""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

# How many rows, customers and workspaces are remembered. Those whose turn was longest ago are forgotten first.
MAX_REMEMBERED = 10_000


class Row(NamedTuple):
    """A due row: its primary key, its workspace, and the customer who writes there (None if unknown)."""

    pk: int
    workspace: Hashable
    customer: Hashable = None

    @property
    def party(self) -> Hashable:
        """Who takes turns within the workspace: the customer, or if that is unknown the row itself."""
        if self.customer is None:
            return (self.workspace, self.pk)
        return (self.workspace, ("customer", self.customer))


class Turns:
    """Remembers the order in which rows, customers and workspaces had their last turn.

    However many due rows a workspace has, it delays other workspaces by one row only. The same is true for a customer
    and the other customers of the workspace.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # The number of the last turn, by row pk or ("group", workspace or party). The oldest turn is first.
        self._last_turns: OrderedDict[Hashable, int] = OrderedDict()

    def in_order(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows in the order of their turns: one row of each workspace, then the next row of each.

        The rows of a workspace are ordered in the same way by customer. A customer's rows are ordered by last turn.
        """
        rows = list(rows)
        # Shuffled, because rows without a turn would otherwise always stay in the order of the query.
        random.shuffle(rows)
        rows.sort(key=lambda row: self._last_turn(row.pk))
        by_workspace: defaultdict[Hashable, list[Row]] = defaultdict(list)
        for row in rows:
            by_workspace[row.workspace].append(row)
        for workspace, rows_of_workspace in by_workspace.items():
            by_party: defaultdict[Hashable, list[Row]] = defaultdict(list)
            for row in rows_of_workspace:
                by_party[row.party].append(row)
            by_workspace[workspace] = self._alternate(by_party)
        return self._alternate(by_workspace)

    def _alternate(self, groups: Mapping[Hashable, list[Row]]) -> list[Row]:
        """Return one row of each group, then the next of each. The group whose turn was longest ago is first."""
        names = sorted(groups, key=lambda name: self._last_turn(("group", name)))
        rounds = itertools.zip_longest(*(groups[name] for name in names))
        return [row for one_round in rounds for row in one_round if row is not None]

    def take(self, row: Row) -> None:
        """Record that the row has its turn now."""
        for name in (row.pk, ("group", row.workspace), ("group", row.party)):
            self._last_turns[name] = next(self._numbers)
            self._last_turns.move_to_end(name)
        while len(self._last_turns) > MAX_REMEMBERED:
            self._last_turns.popitem(last=False)

    def _last_turn(self, name: Hashable) -> int:
        """Return the number of the last turn, 0 if there was none. A higher number is a later turn."""
        return self._last_turns.get(name, 0)
