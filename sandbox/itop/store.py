"""The objects of the stand-in in SQLite: one table per topmost class, with the attributes of all its descendants.

A row is a dictionary of stored values; the module ``values`` converts it for responses. All threads share one
connection under a lock. The lock is held for a single read or write, never for a whole request: between reading and
writing, an update must be able to get lost, as in iTop.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from . import oql
from .datamodel import Attribute, DataModel

Row = dict[str, Any]
DATE = "%Y-%m-%d %H:%M:%S"


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """Return text as MySQL's utf8mb4_unicode_ci compares it: without case, accents and trailing spaces."""
    bare = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    return bare.casefold().rstrip(" ")


def _collate(left: str, right: str) -> int:
    a, b = folded(left), folded(right)
    return (a > b) - (a < b)


def _letters(text: str) -> str:
    """Return text as MySQL's LIKE compares it: letter by letter (ß is not ss), and with trailing spaces."""
    return "".join(bare if len(bare := folded(each)) == 1 else each for each in text)


def _like(pattern: str | None, value: str | None) -> int | None:
    if pattern is None or value is None:
        return None
    return int(_like_pattern(str(pattern)).fullmatch(_letters(str(value))) is not None)


@lru_cache(maxsize=256)
def _like_pattern(pattern: str) -> Any:
    import re

    out, escaped = [], False
    for each in _letters(pattern):
        if escaped:
            out.append(re.escape(each))
            escaped = False
        elif each == "\\":
            escaped = True
        else:
            out.append({"%": ".*", "_": "."}.get(each, re.escape(each)))
    return re.compile("".join(out), re.DOTALL)


def _shift(date: str | None, seconds: float) -> str | None:
    try:
        moment = datetime.strptime(str(date), DATE).replace(tzinfo=UTC)
    except ValueError:
        return None
    return (moment + timedelta(seconds=seconds)).strftime(DATE)


class Store:
    """The objects of the data model. ``database`` is a path or ":memory:"; ``clock`` returns epoch seconds.

    If the database is empty, it becomes a copy of ``initial``. If ``initial`` is None, empty tables are created.
    """

    def __init__(
        self,
        database: str | Path = ":memory:",
        *,
        model: DataModel | None = None,
        timezone: str = "Europe/Paris",
        clock: Callable[[], float] = time.time,
        initial: sqlite3.Connection | None = None,
    ) -> None:
        self.model = model or DataModel()
        self.zone = ZoneInfo(timezone)
        self.clock = clock
        self.root_address = "http://itop.example:8090/"  # iTop's app_root_url
        self.lock = threading.RLock()
        self._columns: dict[str, list[str]] = {}
        self.connection = sqlite3.connect(str(database), check_same_thread=False, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        self.connection.create_collation("itop", _collate)
        self.connection.create_function("like", 2, _like, deterministic=True)
        self.connection.create_function("itop_date", 2, _shift, deterministic=True)
        tables = self.connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        if initial is not None and tables is None:
            initial.backup(self.connection)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.execute("PRAGMA busy_timeout = 5000")
        if initial is None:
            self._create_tables()

    def close(self) -> None:
        with self.lock:
            self.connection.close()

    def _create_tables(self) -> None:
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, next INTEGER NOT NULL)"
        )
        for root in self.model.roots():
            columns = {"id": "INTEGER PRIMARY KEY", "finalclass": "TEXT"}
            for name in [root, *(each for each in self.model.by_name if self.model.root(each) == root)]:
                for attribute in self.model.attributes(name).values():
                    if attribute.stored and attribute.code not in columns:
                        kind = "INTEGER" if attribute.is_number else "TEXT COLLATE itop"
                        columns[attribute.code] = kind
            declared = ", ".join(f'"{code}" {kind}' for code, kind in columns.items())
            self.connection.execute(f'CREATE TABLE IF NOT EXISTS "{root}" ({declared})')
        self.connection.execute('CREATE INDEX IF NOT EXISTS op_objkey ON "CMDBChangeOp" (objkey)')
        self.connection.execute('CREATE INDEX IF NOT EXISTS op_attachment ON "CMDBChangeOp" (attachment_id)')
        self.connection.execute('CREATE INDEX IF NOT EXISTS attachment_item ON "Attachment" (item_id)')
        self.connection.execute('CREATE INDEX IF NOT EXISTS attachment_temp ON "Attachment" (temp_id)')

    # --- time

    def local(self, epoch: float) -> str:
        return datetime.fromtimestamp(epoch, self.zone).strftime(DATE)

    def now(self) -> str:
        """Return the server's local time in iTop's format."""
        return self.local(self.clock())

    def seconds_since(self, local: str) -> int:
        """Return the seconds since a date in iTop's format and local time, 0 for a date in the future."""
        started = datetime.strptime(local, DATE).replace(tzinfo=self.zone)
        return max(0, int(self.clock() - started.timestamp()))

    # --- counters

    def take_number(self, name: str) -> int:
        """Return the next number of a series. As in MySQL, a number is used up even if the operation fails."""
        with self.lock:
            self.connection.execute("INSERT OR IGNORE INTO counter (name, next) VALUES (?, 1)", (name,))
            row = self.connection.execute(
                "UPDATE counter SET next = next + 1 WHERE name = ? RETURNING next - 1", (name,)
            )
            return int(row.fetchone()[0])

    def set_number(self, name: str, following: int) -> None:
        with self.lock:
            self.connection.execute(
                "INSERT OR REPLACE INTO counter (name, next) VALUES (?, ?)", (name, following)
            )

    # --- reading

    def load(self, class_name: str, object_id: int) -> Row | None:
        """Return the row of an object of the class or of a descendant."""
        sql = f'SELECT * FROM "{self.model.root(class_name)}" WHERE id = ?'
        with self.lock:
            row = self.connection.execute(sql, (object_id,)).fetchone()
        if row is None or not self.model.is_a(row["finalclass"], class_name):
            return None
        return dict(row)

    def find(self, query: str, arguments: Mapping[str, str | int] | None = None) -> tuple[str, list[Row]]:
        """Return the class that an OQL query selects, and the rows in iTop's order. Raise oql.OqlError."""
        parsed = oql.parse(query)
        translator = oql.Translator(self.model, parsed, arguments or {}, self.now())
        class_name, sql = translator.sql(self.columns)
        with self.lock:
            rows = self.connection.execute(sql, translator.values).fetchall()
        return class_name, [dict(row) for row in rows]

    def columns(self, root: str) -> list[str]:
        """Return the columns of a table without those for files. Queries do not read files; `file` does."""
        if root not in self._columns:
            with self.lock:
                found = self.connection.execute(f'PRAGMA table_info("{root}")').fetchall()
            files = {
                attribute.code
                for name in self.model.by_name
                if self.model.root(name) == root
                for attribute in self.model.attributes(name).values()
                if attribute.kind == "blob"
            }
            self._columns[root] = [row["name"] for row in found if row["name"] not in files]
        return self._columns[root]

    def file(self, row: Row, code: str) -> Row:
        """Return a file as data (base64), mimetype and filename. All three are "" if there is no file."""
        stored = row if code in row else self.load(row["finalclass"], row["id"]) or {}
        text = stored.get(code) or '{"data": "", "mimetype": "", "filename": ""}'
        return json.loads(text)  # type: ignore[no-any-return]

    def all(self, class_name: str) -> list[Row]:
        return self.find(f"SELECT `{class_name}`")[1]

    def value(self, row: Row, code: str) -> Any:
        """Return the stored value of an attribute. For an external field, return the value in the other object."""
        attribute = self.model.attributes(row["finalclass"])[code]
        if attribute.kind != "external":
            return row[code]
        key = self.model.attributes(row["finalclass"])[attribute.via]
        target = self.load(key.target, self.value(row, attribute.via) or 0)
        return None if target is None else self.value(target, attribute.remote)

    # --- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.lock:
            if self.connection.in_transaction:
                yield
                return
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    def blank(self, class_name: str) -> Row:
        """Return the row of a new object, with the defaults and without an id."""
        row: Row = {"finalclass": class_name, "id": None}
        for attribute in self.model.attributes(class_name).values():
            if attribute.stored and attribute.code not in row:
                row[attribute.code] = attribute.default
        return row

    def insert(self, class_name: str, **values: Any) -> Row:
        """Insert an object without checks and without history. ``id`` chooses the object's id."""
        row = self.blank(class_name) | {code: _stored(value) for code, value in values.items()}
        return self.insert_row(row)

    def insert_row(self, row: Row) -> Row:
        root = self.model.root(row["finalclass"])
        with self.transaction():
            if row["id"] is None:
                row["id"] = self.take_number(root)
            self._compute(row)
            names = ", ".join(f'"{code}"' for code in row)
            marks = ", ".join("?" for _ in row)
            self.connection.execute(f'INSERT INTO "{root}" ({names}) VALUES ({marks})', list(row.values()))
            following = self.connection.execute("SELECT next FROM counter WHERE name = ?", (root,)).fetchone()
            if following is None or following[0] <= row["id"]:
                self.set_number(root, row["id"] + 1)
        return row

    def update(self, class_name: str, object_id: int, **values: Any) -> Row:
        """Change stored values without checks and without history."""
        with self.transaction():
            row = self.load(class_name, object_id)
            if row is None:
                raise KeyError(f"{class_name}::{object_id}")
            return self.write_row(row, {code: _stored(value) for code, value in values.items()})

    def write_row(self, row: Row, changes: Mapping[str, Any]) -> Row:
        """Set ``changes`` in ``row``, and write them and the attributes that are computed from them.

        Other columns are not written, so what other calls have written there is kept.
        """
        row.update(changes)
        with self.transaction():
            before_computing = dict(row)
            self._compute(row)
            changed = set(changes) | {code for code in row if row[code] != before_computing[code]}
            pairs = ", ".join(f'"{code}" = ?' for code in changed)
            if changed:
                self.connection.execute(
                    f'UPDATE "{self.model.root(row["finalclass"])}" SET {pairs} WHERE id = ?',
                    [*(row[code] for code in changed), row["id"]],
                )
        return row

    def remove(self, class_name: str, object_id: int) -> None:
        with self.transaction():
            self.connection.execute(f'DELETE FROM "{self.model.root(class_name)}" WHERE id = ?', (object_id,))

    def _compute(self, row: Row) -> None:
        """Set the attributes that iTop derives from others, such as priority and friendlyname."""
        class_name = row["finalclass"]
        known = self.model.attributes(class_name)
        if "status" in known and "operational_status" in known:
            closed = {"resolved": "resolved", "closed": "closed", "rejected": "closed"}
            row["operational_status"] = closed.get(row["status"], "ongoing")
        if class_name == "UserRequest":
            row["priority"] = priority(row["impact"], row["urgency"])
        naming = self.model.naming(class_name)
        names = {code: self.value(row, code) or "" for code in known if "{" + code + "}" in naming}
        row["friendlyname"] = naming.format(**names)
        if self.model.obsolete_when(class_name):
            row["obsolescence_flag"] = int(row["status"] == self.model.obsolete_when(class_name))

    def computed(self, row: Row) -> Row:
        """Return a copy of the row with its derived attributes."""
        row = dict(row)
        self._compute(row)
        return row

    def record_change(self, change: int, date: str, comment: str, user_id: int, origin: str) -> None:
        """Insert a CMDBChange with the first 255 characters of ``comment`` as ``userinfo``."""
        values = {"userinfo": comment[:255], "user_id": user_id, "origin": origin}
        self.insert("CMDBChange", id=change, date=date, **values)

    def record_op(self, kind: str, number: int, change: int, row: Row, **values: Any) -> None:
        self.insert(kind, id=number, change=change, objclass=row["finalclass"], objkey=row["id"], **values)

    def operations(self, old: Row, new: Row) -> list[tuple[str, Row]]:
        """Return the class and the values of one CMDBChangeOp for each changed attribute, in iTop's order."""
        return [
            self._operation(attribute, old.get(code), new.get(code))
            for code, attribute in self.model.attributes(new["finalclass"]).items()
            if attribute.recorded and old.get(code) != new.get(code)
        ]

    def _operation(self, attribute: Attribute, old: Any, new: Any) -> tuple[str, Row]:
        """Return the class and the values of the CMDBChangeOp for a changed attribute."""
        values: Row = {"attcode": attribute.code}
        match attribute.kind:
            case "log":
                kind, values["lastentry"] = "CaseLog", len(json.loads(new or "[]")) - 1
            case "html" | "text":
                kind, values["prevdata"] = "HTML" if attribute.kind == "html" else "Text", old or ""
            case _:
                empty = 0 if attribute.is_number else ""
                values |= {"oldvalue": str(old or empty)[:255], "newvalue": str(new or empty)[:255]}
                kind = "Scalar"
        return f"CMDBChangeOpSetAttribute{kind}", values

    def erase(self, row: Row) -> None:
        """Remove an object and its history, as iTop does.

        With a ticket, its attachments are removed. Pictures in its texts stay.
        """
        if self.model.is_a(row["finalclass"], "Ticket"):
            self.connection.execute(
                'DELETE FROM "Attachment" WHERE item_class = ? AND item_id = ?',
                (row["finalclass"], row["id"]),
            )
        self.connection.execute(
            'DELETE FROM "CMDBChangeOp" WHERE objclass = ? AND objkey = ?', (row["finalclass"], row["id"])
        )
        self.remove(row["finalclass"], row["id"])

    # --- for tests and pages

    def log(self, ticket_id: int, code: str = "public_log") -> list[Row]:
        """Return the entries of a ticket's log, oldest first: date, user_login, user_id, format, message."""
        row = self.load("Ticket", ticket_id)
        return json.loads((row or {}).get(code) or "[]")  # type: ignore[no-any-return]

    def changes(self, ticket_id: int) -> list[Row]:
        """Return the change operations of a ticket in order: finalclass, date, userinfo, attcode, lastentry ..."""
        found = self.find(
            f"SELECT CMDBChangeOp WHERE objclass = 'UserRequest' AND objkey = {int(ticket_id)}"
        )[1]
        found.sort(key=lambda row: int(row["id"]))
        return [
            {
                "id": row["id"],
                "finalclass": row["finalclass"],
                "date": self.value(row, "date"),
                "userinfo": self.value(row, "userinfo"),
                "change": row["change"],
                "attcode": row["attcode"],
                "lastentry": row["lastentry"],
                "oldvalue": row["oldvalue"],
                "newvalue": row["newvalue"],
            }
            for row in found
        ]


def _stored(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def priority(impact: str | None, urgency: str | None) -> str:
    """Return the priority from iTop's standard table."""
    # Impact -> the priorities for the urgencies 1 to 4.
    table = {"1": "1124", "2": "1234", "3": "2334"}
    try:
        return table[str(impact)][int(urgency or 0) - 1]
    except (KeyError, IndexError, ValueError):
        return "4"
