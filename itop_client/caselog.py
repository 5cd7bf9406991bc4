"""Entries of a ticket's log: those to write, and those read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LogItem:
    """One entry to write. ValueError when the message is empty: iTop would store a stray <!DOCTYPE> instead.

    `message` is HTML, `date` is in epoch seconds. Whose entry it is (recordings 091 to 097): with `user_id` a
    User's id (not a Person's), that user's, and `user_login` is ignored; with 0, `user_login` is shown as
    given; with None, the API account's. Anything but None needs an account that is Administrator.
    """

    message: str
    date: int
    user_id: int | None = None
    user_login: str = ""

    def __post_init__(self) -> None:
        if not self.message.strip():
            raise ValueError("a log entry needs a message")

    def to_json(self) -> dict[str, Any]:
        """As `add_item`, or one of `items`, takes it."""
        item: dict[str, Any] = {"message": self.message, "format": "html", "date": f"@{self.date}"}
        if self.user_id is not None:
            item |= {"user_id": self.user_id, "user_login": self.user_login}
        return item


@dataclass(frozen=True)
class LogEntry:
    """One entry as iTop has it. `date` is local time of the iTop server, "YYYY-MM-DD HH:MM:SS"."""

    date: str
    user_login: str
    user_id: int
    message: str
    message_html: str


def read_log(value: object) -> tuple[LogEntry, ...]:
    """The entries of a log attribute's value in an answer, as they were inserted; () for anything else."""
    entries = value.get("entries") if isinstance(value, Mapping) else None
    if not isinstance(entries, list):
        return ()
    return tuple(_entry(entry) for entry in entries if isinstance(entry, Mapping))


def _entry(entry: Mapping[str, Any]) -> LogEntry:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    try:
        user_id = int(entry.get("user_id") or 0)
    except (TypeError, ValueError, OverflowError):
        user_id = 0
    return LogEntry(text("date"), text("user_login"), user_id, text("message"), text("message_html"))
