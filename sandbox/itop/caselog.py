"""Case logs: apply the value that a call sends for a log, and return a log's entries for a response.

A log is stored as a JSON list of its entries, oldest first. It behaves as in recordings 085 and 089 to 103.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import markup
from .store import DATE, Row, Store

# iTop stores the index of a log (a serialized array) in a column of 64 KB. Measured: 300 entries are accepted, 380 are
# not, and 367 entries fill the index if the author's name has 17 letters. An entry needs this many bytes in the index,
# plus the author's name, plus the size of the text as a decimal number.
INDEX_BYTES_OF_AN_ENTRY = 160


class LogError(Exception):
    """iTop refuses the value that was sent for a log. ``code`` is the code of its response."""

    def __init__(self, message: str, code: int = 100) -> None:
        super().__init__(message)
        self.code = code


def applied(store: Store, user: Row, administrator: bool, old: str | None, sent: object) -> str | None:
    """Return the log's new stored value after ``sent``, the value in a request, was applied. Raise LogError."""
    entries = json.loads(old or "[]")
    if sent is None:
        return old
    if isinstance(sent, str | int | float):
        if sent == "":
            return old
        return _dump([*entries, entry(store, user, administrator, {"message": str(sent)})])
    if isinstance(sent, Mapping) and "add_item" in sent:
        return _dump([*entries, entry(store, user, administrator, sent["add_item"])])
    if isinstance(sent, Mapping) and isinstance(sent.get("items"), list):
        return _dump([entry(store, user, administrator, each) for each in sent["items"]])
    raise LogError("Missing 'items' elements")


def entry(store: Store, user: Row, administrator: bool, item: object) -> Row:
    """Return the entry to store for an item in a request. Raise LogError."""
    if not isinstance(item, Mapping):
        raise LogError("Wrong format for the log item")  # guess
    author_id: str | int = str(user["id"])
    author = author_name(store, user)
    if item.get("user_id") is not None:
        if not administrator:
            raise LogError("Only administrators can set the user id", code=1)
        author_id, author = _author(store, item)
    message = str(item.get("message") or "")
    form = str(item.get("format") or "html")
    if form not in ("html", "text"):
        raise LogError(f"Invalid value for 'format': '{form}', expecting 'html' or 'text'")  # guess
    if form == "html":
        message = markup.sanitise(message, store.model.version) or markup.EMPTY
        message = markup.mark_pictures(message, store.root_address)
    date = _date(store, item["date"]) if item.get("date") else store.now()
    return {"date": date, "user_login": author, "user_id": author_id, "format": form, "message": message}


def _author(store: Store, item: Mapping[str, Any]) -> tuple[str | int, str]:
    try:
        number = int(item["user_id"])
    except (TypeError, ValueError):
        raise LogError(f"user_id: Invalid object User::{item['user_id']}") from None
    if number == 0:
        return 0, str(item.get("user_login") or "")
    author = store.load("User", number)
    if author is None:
        raise LogError(f"user_id: Invalid object User::{number}")
    return str(number), author_name(store, author)


def author_name(store: Store, user: Row) -> str:
    """Return the name of an account's contact, or the login of an account without a contact."""
    contact = store.load("Person", user["contactid"] or 0)
    return str((contact or user)["friendlyname"])


def _date(store: Store, given: object) -> str:
    text = str(given)
    if re.fullmatch(r"@-?\d+", text):
        return store.local(int(text[1:]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LogError(
            f"Failed to parse time string ({text}) at position 0 ({text[:1]}): "
            "The timezone could not be found in the database"
        ) from None
    # PHP ignores the offset of a date, and keeps its hours and minutes. So does this.
    return moment.strftime(DATE)


def _dump(entries: list[Row]) -> str:
    return json.dumps(entries, ensure_ascii=False)


def index_size(entries: list[Row]) -> int:
    """Return about how many bytes the index of a log with these entries has."""
    return sum(
        INDEX_BYTES_OF_AN_ENTRY
        + len(str(each["user_login"]).encode())
        + len(str(len(each["message"].encode())))
        for each in entries
    )


def shown(stored: str | None) -> dict[str, Any]:
    """Return a log in the form that iTop's responses contain."""
    found = []
    for each in json.loads(stored or "[]"):
        message = each["message"]
        if each["format"] == "text":
            plain, html = message, markup.text_to_html(message)
        else:
            plain, html = "" if message == markup.EMPTY else markup.to_text(message), message
        found.append(
            {
                "date": each["date"],
                "user_login": each["user_login"],
                "user_id": each["user_id"],
                "message": plain,
                "message_html": html,
            }
        )
    return {"entries": found}
