"""SECURITY.md names where each promise is kept, and what shows it: both are there."""

from __future__ import annotations

import re

from settings.environment import BASE_DIR

TEXT = (BASE_DIR / "SECURITY.md").read_text(encoding="utf-8")


def test_each_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`([\w./]+/[\w./]*)`", TEXT)) - {"/admin/"}
    assert len(named) > 30
    assert [one for one in sorted(named) if not one.startswith("/") and not (BASE_DIR / one).exists()] == []


def test_each_row_of_a_table_says_where_and_by_what() -> None:
    rows = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
    claims = [
        row
        for row in rows
        if row[0] not in ("tries", "sends again", "has", "writes", "---", "the key, too", "write access")
    ]
    assert len(claims) > 20
    assert [row for row in claims if len(row) != 4 or "tests/" not in row[3]] == []
