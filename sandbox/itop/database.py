"""Refuse values as iTop's database does, although iTop's own checks accepted them.

iTop's response contains the database's error. For a creation, the response's code is the error's number. For an update,
the code is 100, and the text contains the error twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import caselog
from .datamodel import Attribute

CHARACTER_SETS = ("utf8mb4", "utf8mb3")
MAX_COLUMN_BYTES = 65_535  # of TEXT and BLOB
MAX_STRING_LENGTH = 255


class DatabaseError(Exception):
    """The database does not accept a value. ``number`` is MySQL's error number."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"mysql_errno = {number}, mysql_error = {text}")
        self.number = number


def check(attributes: Mapping[str, Attribute], values: Mapping[str, Any], character_set: str) -> None:
    """Raise DatabaseError for the first value that does not fit its column.

    With the character set ``utf8mb3``, columns accept no character of four bytes, such as an emoji.
    """
    for code, value in values.items():
        kind = attributes[code].kind if code in attributes else "string"
        if not isinstance(value, str):
            continue
        columns = {code: value}
        if kind == "log":
            entries = json.loads(value or "[]")
            columns = {code: "".join(f"{each['user_login']}{each['message']}" for each in entries)}
            if caselog.index_size(entries) > MAX_COLUMN_BYTES:
                raise _too_long(f"{code}_index")
        elif kind == "blob":
            file = json.loads(value)
            columns = {f"{code}_{each}": file[each] or "" for each in ("mimetype", "filename")}
            for column, text in columns.items():
                if len(text) > MAX_STRING_LENGTH:
                    raise _too_long(column)
        elif kind in ("text", "html") and len(value.encode()) > MAX_COLUMN_BYTES:
            raise _too_long(code)
        if character_set == "utf8mb3":
            for column, text in columns.items():
                _check_characters(column, text)


def _too_long(column: str) -> DatabaseError:
    return DatabaseError(1406, f"Data too long for column '{column}' at row 1")


def _check_characters(column: str, text: str) -> None:
    position = next((number for number, letter in enumerate(text) if letter > "\uffff"), None)
    if position is not None:
        rest = text[position:].encode()
        shown = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}" for byte in rest[:6])
        cut = "..." if len(rest) > 6 else ""
        raise DatabaseError(1366, f"Incorrect string value: '{shown}{cut}' for column '{column}' at row 1")
