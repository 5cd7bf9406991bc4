"""Short ids for parametrized tests."""

from __future__ import annotations

MAX_LENGTH = 35


def short_id(value: object) -> str | None:
    """Return the start of a long text or number, for `ids=`. None lets pytest choose."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value) if isinstance(value, str) or abs(value) < 10**20 else "a very large number"
        return ascii(text[:MAX_LENGTH].encode("ascii", "replace").decode())[1:-1]
    return None
