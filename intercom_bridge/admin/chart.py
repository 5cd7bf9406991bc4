"""Pictures of thirty days, drawn on the server: numbers for SVG's own attributes, no style stands in the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 160.0
# Each day is so wide; the page stretches the whole picture.
STEP, BAR = 20.0, 14.0
MARK = 3.0
# Seconds that stand at the side of the picture of times: a second and a night both have to be seen in it.
LONG = (
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (86_400.0, "1 day"),
)


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    height: float
    kind: str
    width: float = BAR


@dataclass(frozen=True)
class Line:
    """A line across, and the words at its side."""

    y: float
    label: str

    @property
    def label_y(self) -> float:
        return min(max(self.y + 4, 11.0), HEIGHT - 2)


@dataclass(frozen=True)
class Chart:
    """`columns`: each day's title and bars."""

    width: float
    columns: tuple[tuple[str, tuple[Bar, ...]], ...]
    lines: tuple[Line, ...]
    height: float = HEIGHT


def stacked(days: Sequence[tuple[str, Sequence[tuple[str, int]]]]) -> Chart:
    """Of each day its title, and (kind, count) from the bottom up."""
    top = _round_up(max((sum(count for _, count in parts) for _, parts in days), default=0))
    columns = []
    for number, (title, parts) in enumerate(days):
        bars, y = [], HEIGHT
        for kind, count in parts:
            if count:
                # What there is can be seen, be it one among thousands.
                height = max(HEIGHT * count / top, 1.5)
                y -= height
                bars.append(Bar(_x(number), round(max(y, 0.0), 2), round(height, 2), kind))
        columns.append((title, tuple(bars)))
    lines = tuple(Line(HEIGHT - HEIGHT * part, f"{int(top * part):,}") for part in (1.0, 0.5))
    return Chart(STEP * len(days), tuple(columns), lines)


def ranges(days: Sequence[tuple[str, float | None, float | None]]) -> Chart:
    """Of each day its title and two times in seconds, the lower one first; on a scale of powers."""
    longest = max((high for _, _, high in days if high is not None), default=0.0)
    most = next((seconds for seconds, _ in LONG[2:] if longest <= seconds), max(longest, LONG[-1][0]))
    columns: list[tuple[str, tuple[Bar, ...]]] = []
    for number, (title, low, high) in enumerate(days):
        if low is None or high is None:
            columns.append((title, ()))
            continue
        bottom, top = _log_y(low, most), _log_y(high, most)
        x = _x(number)
        columns.append(
            (
                title,
                (
                    Bar(x, round(top, 2), round(max(bottom - top, MARK), 2), "range"),
                    Bar(x, round(min(bottom, HEIGHT - MARK), 2), MARK, "median"),
                ),
            )
        )
    lines = tuple(Line(round(_log_y(seconds, most), 2), label) for seconds, label in LONG if seconds <= most)
    return Chart(STEP * len(days), tuple(columns), lines)


def in_words(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def _x(number: int) -> float:
    return STEP * number + (STEP - BAR) / 2


def _log_y(seconds: float, most: float) -> float:
    """Half a second and less lie at the bottom."""
    share = math.log(max(seconds, 0.5) / 0.5) / math.log(most / 0.5)
    return HEIGHT - HEIGHT * min(share, 1.0)


def _round_up(count: int) -> int:
    """The next of 2, 4 ... 18, 20, 40 ... 180, 200 ..., which have a half."""
    size = 1
    while count > 18 * size:
        size *= 10
    return max(2, -(-count // (2 * size)) * 2) * size
