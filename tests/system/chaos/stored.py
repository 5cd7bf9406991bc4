"""What the stand-ins have stored, read from their databases and not from their answers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# How the HTML of a log entry refers to files of iTop.
_ATTACHMENT = re.compile(r"class=Attachment(?:&amp;|&)field=contents(?:&amp;|&)id=(\d+)")
_INLINE_IMAGE = re.compile(r"operation=download_inlineimage(?:&amp;|&)id=(\d+)(?:&amp;|&)s=[0-9a-f]+")


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class ItopFile:
    """An Attachment or an InlineImage. `date` is in iTop's time zone."""

    id: int
    ticket_id: int
    org_id: int
    name: str
    digest: str
    date: str = ""


@dataclass(frozen=True)
class Post:
    """A part of a conversation with its files as (name, digest). `is_ours` if the app wrote it."""

    id: int
    created_at: int
    body: str
    is_ours: bool
    files: tuple[tuple[str, str], ...]


class StoredFiles:
    """Files are read once each: the ones that exist do not change."""

    def __init__(self, itop: Path, intercom: Path) -> None:
        self._itop, self._intercom = itop, intercom
        self._itop_files: dict[tuple[str, int], ItopFile] = {}
        self._digests: dict[str, str] = {}

    def attachments(self) -> dict[int, ItopFile]:
        """Return the Attachments in iTop by id."""
        return self._all("Attachment", "creation_date")

    def inline_images(self) -> dict[int, ItopFile]:
        """Return the InlineImages in iTop by id."""
        return self._all("InlineImage", "expire")

    def _all(self, table: str, date: str) -> dict[int, ItopFile]:
        with _reading(self._itop) as database:
            ids = [row[0] for row in database.execute(f'SELECT id FROM "{table}"')]
            for number in ids:
                if (table, number) not in self._itop_files:
                    row = database.execute(
                        f'SELECT item_id, item_org_id, contents, {date} FROM "{table}" WHERE id = ?',
                        (number,),
                    ).fetchone()
                    self._itop_files[table, number] = _itop_file(number, *row)
        return {number: self._itop_files[table, number] for number in ids}

    def posts(self, conversation_id: str) -> list[Post]:
        """Return the parts of a conversation, oldest first."""
        with _reading(self._intercom) as database:
            rows = database.execute(
                "SELECT data FROM parts WHERE conversation_id = ? ORDER BY created_at, number",
                (conversation_id,),
            ).fetchall()
            return [self._post(database, json.loads(row[0])) for row in rows]

    def _post(self, database: sqlite3.Connection, part: dict[str, Any]) -> Post:
        files = tuple((file["name"], self._digest(database, file["id"])) for file in part["attachments"])
        body, is_ours = part["body"] or "", part["app_package_code"] is not None
        return Post(int(part["id"]), part["created_at"], body, is_ours, files)

    def _digest(self, database: sqlite3.Connection, number: str) -> str:
        if number not in self._digests:
            row = database.execute("SELECT content FROM files WHERE id = ?", (number,)).fetchone()
            self._digests[number] = digest_of(row[0]) if row else ""
        return self._digests[number]


def attachments_in(entry: str) -> list[int]:
    """Return the ids of the Attachments that a log entry links."""
    return [int(number) for number in _ATTACHMENT.findall(entry)]


def inline_images_in(entry: str) -> list[int]:
    """Return the ids of the InlineImages that a log entry shows."""
    return [int(number) for number in _INLINE_IMAGE.findall(entry)]


def _itop_file(number: int, ticket_id: int, org_id: int, contents: str, date: str) -> ItopFile:
    stored = json.loads(contents)
    digest = digest_of(base64.b64decode(stored["data"]))
    return ItopFile(number, ticket_id, org_id, str(stored["filename"]), digest, str(date))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        yield database
