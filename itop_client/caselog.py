"""Entries of a case log: those to write and those that were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LogItem:
    """An entry to write. `message` is HTML, `date` is in seconds since 1970.

    The author (recordings 091 to 097) is that of `user_id`, the id of a User, not of a Person; `user_login` is then
    ignored. With 0, iTop shows `user_login` as given. With None, it is the API account. Only an Administrator account
    may set anything but None.

    Raise ValueError if the message is empty: iTop would store a stray <!DOCTYPE> instead.
    """

    message: str
    date: int
    user_id: int | None = None
    user_login: str = ""

    def __post_init__(self) -> None:
        if not self.message.strip():
            raise ValueError("a log entry needs a message")

    def to_json(self) -> dict[str, Any]:
        """Return the entry in the form that `add_item` and `items` take."""
        item: dict[str, Any] = {"message": self.message, "format": "html", "date": f"@{self.date}"}
        if self.user_id is not None:
            item |= {"user_id": self.user_id, "user_login": self.user_login}
        return item


@dataclass(frozen=True)
class LogEntry:
    """An entry in iTop. `date` is "YYYY-MM-DD HH:MM:SS" in the server's time zone."""

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
