from __future__ import annotations

from typing import Any

import pytest

from itop_client import LogEntry, LogItem, read_log


def test_an_entry_of_the_api_account_has_no_author() -> None:
    assert LogItem("<p>Hello</p>", 1727773200).to_json() == {
        "message": "<p>Hello</p>",
        "format": "html",
        "date": "@1727773200",
    }


def test_an_entry_without_an_account_has_a_name() -> None:
    item = LogItem("<p>Hello</p>", 1727773200, 0, "John Doe (Intercom)").to_json()
    assert (item["user_id"], item["user_login"]) == (0, "John Doe (Intercom)")


def test_an_entry_of_a_user_has_the_users_id() -> None:
    item = LogItem("<p>Hello</p>", 1727773200, user_id=8).to_json()
    assert (item["user_id"], item["user_login"]) == (8, "")


@pytest.mark.parametrize("message", ["", " ", "\n\t"])
def test_an_empty_message_is_rejected(message: str) -> None:
    with pytest.raises(ValueError, match="message"):
        LogItem(message, 0)


@pytest.mark.parametrize(
    "value", [None, "", "text", 7, [], {}, {"entries": None}, {"entries": "x"}, {"entries": [None, "x", 7]}]
)
def test_a_value_that_is_not_a_log_has_no_entries(value: Any) -> None:
    assert read_log(value) == ()


def test_invalid_parts_of_an_entry_are_empty() -> None:
    valid = {"date": "2026-11-22 12:55:40", "user_login": "a", "message": "b", "message_html": "c"}
    log = {
        "entries": [
            {"user_id": "eight", "message": None},
            {"user_id": ["8"], "date": 7},
            {"user_id": float("inf")},
            valid | {"user_id": "8"},
        ]
    }
    empty = LogEntry("", "", 0, "", "")
    assert read_log(log) == (empty, empty, empty, LogEntry("2026-11-22 12:55:40", "a", 8, "b", "c"))
