"""Entries of a case log: LogItem is an entry to write, LogEntry is an entry that was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LogItem:
    """An entry to write. `message` is HTML, `date` is in seconds since 1970.

    `user_id` decides who is shown as the author (tests/recordings/itop, 091 to 097):

    - The id of a User (not of a Person): this user. `user_login` is ignored.
    - 0: the text in `user_login`, as given.
    - None: the API account. Only an Administrator account may set anything else.

    Raise ValueError if the message is empty, because iTop would store a stray <!DOCTYPE> in its place.
    """

    message: str
    date: int
    user_id: int | None = None
    user_login: str = ""

    def __post_init__(self) -> None:
        if not self.message.strip():
            raise ValueError("a log entry needs a message")

    def to_json(self) -> dict[str, Any]:
        """Return the entry as `add_item` and `items` in a request contain it."""
        item: dict[str, Any] = {"message": self.message, "format": "html", "date": f"@{self.date}"}
        if self.user_id is not None:
            item |= {"user_id": self.user_id, "user_login": self.user_login}
        return item


@dataclass(frozen=True)
class LogEntry:
    """An entry in iTop. `date` is "YYYY-MM-DD HH:MM:SS" in the time zone of the iTop server."""

    date: str
    user_login: str
    user_id: int
    message: str
    message_html: str


def read_log(value: object) -> tuple[LogEntry, ...]:
    """Return the entries of a log attribute in iTop's order, () if the value is not a log."""
    entries = value.get("entries") if isinstance(value, Mapping) else None
    if not isinstance(entries, list):
        return ()
    return tuple(_read_entry(entry) for entry in entries if isinstance(entry, Mapping))


def _read_entry(entry: Mapping[str, Any]) -> LogEntry:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    try:
        user_id = int(entry.get("user_id") or 0)
    except (TypeError, ValueError, OverflowError):
        user_id = 0
    return LogEntry(text("date"), text("user_login"), user_id, text("message"), text("message_html"))
