"""The stand-in's data in SQLite: teammates, contacts, conversations and their parts."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .files import File, StoredFile, dimensions, example, picture_ids

# Newer workspaces count from about here; ids do not fit into 32 bits.
FIRST_CONVERSATION_ID = 215472621202693
FIRST_PART_ID = 37358198341
FIRST_SOURCE_ID = 3381828792
FIRST_CONTACT_ID = 0x696205460674DBB9050AA7FD


@dataclass(frozen=True)
class Admin:
    """A teammate."""

    id: str
    name: str
    email: str


@dataclass(frozen=True)
class Team:
    id: str
    name: str
    admin_ids: tuple[str, ...]


@dataclass(frozen=True)
class ConversationAttribute:
    """A field that the workspace's conversations have. `options` are the values of a list."""

    id: str
    name: str
    data_type: str = "string"
    description: str = ""
    options: tuple[str, ...] = ()
    archived: bool = False
    created_at: int = 0


@dataclass(frozen=True)
class Contact:
    """A customer: a user (known to the product) or a lead (a visitor)."""

    id: str
    name: str | None = None
    email: str = ""
    role: str = "user"
    external_id: str | None = None
    custom_attributes: Mapping[str, Any] = field(default_factory=dict)
    created_at: int = 0


@dataclass(frozen=True)
class Part:
    """A part of a conversation, or its source (the first message). `body` is normalised HTML, or None without text."""

    id: str
    conversation_id: str
    part_type: str
    body: str | None
    created_at: int
    author_type: str
    author_id: str
    attachments: tuple[StoredFile, ...] = ()
    redacted: bool = False
    app_package_code: str | None = None
    # To whom this part assigned the conversation: ("admin" or "team", id).
    assigned_to: tuple[str, str] | None = None


@dataclass(frozen=True)
class Conversation:
    """A conversation. `state` is open, closed or snoozed. The id of an assignee is "" if nobody is assigned."""

    id: str
    contact_ids: tuple[str, ...]
    source: Part
    created_at: int
    updated_at: int
    state: str = "open"
    snoozed_until: int | None = None
    admin_assignee_id: str = ""
    team_assignee_id: str = ""
    custom_attributes: Mapping[str, Any] = field(default_factory=dict)
    merged_into: str = ""


@dataclass(frozen=True)
class DeletedConversation:
    id: str
    deleted_at: int


_Object = Admin | Team | Contact | Conversation | ConversationAttribute | DeletedConversation | StoredFile
# The body that Intercom gives to a redacted message.
REDACTED = "<p><i>This message was deleted</i></p>"


class NotFoundError(LookupError):
    """No contact, teammate, team or conversation has this id."""


class Store:
    """The data of one workspace, safe to use from many threads.

    `database` is a path or ":memory:". `first_conversation_id` is the id of the first conversation of a new database.
    """

    def __init__(
        self, database: str = ":memory:", *, first_conversation_id: int = FIRST_CONVERSATION_ID
    ) -> None:
        self._first_conversation_id = first_conversation_id
        self._lock = threading.RLock()
        self._db = sqlite3.connect(database, check_same_thread=False)
        with self._lock, self._db:
            self._db.executescript(
                """
                PRAGMA synchronous = OFF;
                CREATE TABLE IF NOT EXISTS things (kind TEXT, id TEXT, data TEXT, PRIMARY KEY (kind, id));
                CREATE TABLE IF NOT EXISTS parts (
                    conversation_id TEXT, created_at INTEGER, number INTEGER, data TEXT,
                    PRIMARY KEY (conversation_id, number)
                );
                CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, content BLOB);
                CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER);
                """
            )

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @property
    def is_empty(self) -> bool:
        with self._lock:
            return self._db.execute("SELECT 1 FROM things LIMIT 1").fetchone() is None

    # --- Rows ---

    def _put(self, kind: str, thing: _Object) -> None:
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO things VALUES (?, ?, ?)", (kind, thing.id, json.dumps(asdict(thing)))
            )

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        with self._lock:
            row = self._db.execute(
                "SELECT data FROM things WHERE kind = ? AND id = ?", (kind, name)
            ).fetchone()
        if row is None:
            raise NotFoundError(f"There is no {kind} {name}")
        data: dict[str, Any] = json.loads(row[0])
        return data

    def _all(self, kind: str) -> list[dict[str, Any]]:
        with self._lock:
            rows = self._db.execute(
                "SELECT data FROM things WHERE kind = ? ORDER BY rowid", (kind,)
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def _delete(self, kind: str, name: str) -> None:
        with self._lock, self._db:
            self._db.execute("DELETE FROM things WHERE kind = ? AND id = ?", (kind, name))

    def _next(self, name: str, first: int) -> int:
        with self._lock, self._db:
            row = self._db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
            value = row[0] + 1 if row else first
            self._db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
        return value

    # --- People ---

    def add_admin(self, admin: Admin) -> Admin:
        self._put("admin", admin)
        return admin

    def admins(self) -> list[Admin]:
        return [Admin(**data) for data in self._all("admin")]

    def admin(self, admin_id: str) -> Admin:
        return Admin(**self._get("admin", admin_id))

    def add_contact(
        self,
        *,
        name: str | None = None,
        email: str = "",
        role: str = "user",
        external_id: str | None = None,
        custom_attributes: Mapping[str, Any] | None = None,
    ) -> Contact:
        number = self._next("contact", 0)
        contact = Contact(
            id=f"{FIRST_CONTACT_ID + number:024x}",
            name=name,
            email=email,
            role=role,
            external_id=external_id,
            custom_attributes=dict(custom_attributes or {}),
            created_at=int(time.time()),
        )
        self._put("contact", contact)
        return contact

    def update_contact(self, contact: Contact) -> Contact:
        self._put("contact", contact)
        return contact

    def contacts(self) -> list[Contact]:
        return [Contact(**data) for data in self._all("contact")]

    def contact(self, contact_id: str) -> Contact:
        return Contact(**self._get("contact", contact_id))

    def merge_contacts(self, merged_id: str, into_id: str) -> None:
        """Remove a contact. The other one takes its place in all conversations, and as the author of messages."""
        with self._lock:
            self._get("contact", into_id)
            with self._db:
                for table in ("things", "parts"):
                    self._db.execute(
                        f"UPDATE {table} SET data = replace(data, ?, ?)", (f'"{merged_id}"', f'"{into_id}"')
                    )
                self._db.execute("DELETE FROM things WHERE kind = 'contact' AND id = ?", (merged_id,))
            self._put("merged contact", Contact(id=merged_id, name=None, email="", role="lead"))

    def is_merged(self, contact_id: str) -> bool:
        """Return whether the contact was merged into another one."""
        return any(data["id"] == contact_id for data in self._all("merged contact"))

    def remove_admin(self, admin_id: str) -> None:
        """Remove a teammate. The teammate's messages still show the name."""
        former = self.admin(admin_id)
        self._delete("admin", admin_id)
        self._put("former admin", former)

    def author(self, admin_id: str) -> Admin:
        """Return a current or former teammate."""
        try:
            return self.admin(admin_id)
        except NotFoundError:
            return Admin(**self._get("former admin", admin_id))

    def add_team(self, team: Team) -> Team:
        self._put("team", team)
        return team

    def teams(self) -> list[Team]:
        return [_team(data) for data in self._all("team")]

    def team(self, team_id: str) -> Team:
        return _team(self._get("team", team_id))

    # --- Conversation attributes ---

    def add_attribute(
        self, name: str, *, data_type: str = "string", description: str = "", options: Iterable[str] = ()
    ) -> ConversationAttribute:
        """Add a conversation attribute. Like Intercom's own pages, this allows two attributes with the same name."""
        attribute = ConversationAttribute(
            id=str(self._next("attribute", 31)),
            name=name,
            data_type=data_type,
            description=description,
            options=tuple(options),
            created_at=int(time.time()),
        )
        self._put("attribute", attribute)
        return attribute

    def attributes(self) -> list[ConversationAttribute]:
        return [_attribute(data) for data in self._all("attribute")]

    def attribute(self, attribute_id: str) -> ConversationAttribute:
        return _attribute(self._get("attribute", attribute_id))

    def archive_attribute(self, attribute_id: str) -> None:
        self._put("attribute", replace(self.attribute(attribute_id), archived=True))

    # --- Conversations ---

    def update_conversation(self, conversation_id: str, **changes: Any) -> Conversation:
        """Change fields of a conversation."""
        with self._lock:
            changed = replace(self.conversation(conversation_id), **changes)
            self._put("conversation", changed)
        return changed

    def delete_conversation(self, conversation_id: str) -> None:
        with self._lock:
            self.conversation(conversation_id)
            self._delete("conversation", conversation_id)
            with self._db:
                self._db.execute("DELETE FROM parts WHERE conversation_id = ?", (conversation_id,))
            self._put(
                "deleted conversation", DeletedConversation(id=conversation_id, deleted_at=int(time.time()))
            )

    # --- Files ---

    def add_file(self, file: File | str) -> StoredFile:
        """Store a file. If only a name is given, store an example with this name."""
        given = example(file) if isinstance(file, str) else file
        width, height = dimensions(given.content, given.type)
        with self._lock, self._db:
            added = self._db.execute("INSERT INTO files (content) VALUES (?)", (given.content,))
        stored = StoredFile(str(added.lastrowid), given.name, given.type, len(given.content), width, height)
        self._put("file", stored)
        return stored

    def file(self, file_id: str) -> StoredFile:
        """Return the description of a file. Raise NotFoundError."""
        return StoredFile(**self._get("file", file_id))

    def content(self, file_id: str) -> bytes:
        """Return the bytes of a file. Raise NotFoundError if it does not exist or was redacted."""
        with self._lock:
            row = self._db.execute("SELECT content FROM files WHERE id = ?", (file_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"There is no file {file_id}")
        return bytes(row[0])

    def redact(self, conversation_id: str, part_id: str) -> Part:
        """Delete the text and the files of a part. With the id "", delete those of the source. Raise NotFoundError."""
        with self._lock:
            conversation = self.conversation(conversation_id)
            parts = {part.id: part for part in self.parts(conversation_id)}
            if part_id and part_id not in parts:
                raise NotFoundError(f"There is no part {part_id}")
            part = parts[part_id] if part_id else conversation.source
            files = [*(file.id for file in part.attachments), *picture_ids(part.body or "")]
            redacted = replace(part, body=REDACTED, attachments=(), redacted=True)
            with self._db:
                self._db.executemany("DELETE FROM files WHERE id = ?", [(number,) for number in files])
                self._db.execute(
                    "UPDATE parts SET data = ? WHERE conversation_id = ? AND number = ?",
                    (json.dumps(asdict(redacted)), conversation_id, int(part_id or 0)),
                )
            if not part_id:
                self._put("conversation", replace(conversation, source=redacted))
        return redacted

    def deleted_conversations(self) -> list[DeletedConversation]:
        return [DeletedConversation(**data) for data in self._all("deleted conversation")]

    def start_conversation(
        self,
        contact_ids: Iterable[str],
        body: str | None,
        *,
        created_at: int | None = None,
        attachments: Iterable[File | str] = (),
        source_id: str = "",
    ) -> Conversation:
        """Start a conversation. The first contact is its author."""
        people = tuple(contact_ids)
        author = self.contact(people[0])
        when = int(time.time()) if created_at is None else created_at
        number = str(self._next("conversation", self._first_conversation_id))
        source = Part(
            # Sources and parts have separate series of ids, so a source and a part can have the same id.
            id=source_id or str(self._next("source", FIRST_SOURCE_ID)),
            conversation_id=number,
            part_type="source",
            body=body,
            created_at=when,
            author_type=author.role,
            author_id=author.id,
            attachments=tuple(map(self.add_file, attachments)),
        )
        conversation = Conversation(
            id=number, contact_ids=people, source=source, created_at=when, updated_at=when
        )
        self._put("conversation", conversation)
        return conversation

    def conversation(self, conversation_id: str) -> Conversation:
        return _conversation(self._get("conversation", conversation_id))

    def conversations(self) -> list[Conversation]:
        """Return all conversations. Those that changed most recently come first."""
        found = [_conversation(data) for data in self._all("conversation")]
        return sorted(
            found, key=lambda conversation: (conversation.updated_at, conversation.id), reverse=True
        )

    def add_part(
        self,
        conversation_id: str,
        *,
        part_type: str,
        body: str | None,
        author_type: str,
        author_id: str,
        created_at: int | None = None,
        attachments: Iterable[File | str] = (),
        app_package_code: str | None = None,
        part_id: str = "",
        assigned_to: tuple[str, str] | None = None,
    ) -> Part:
        with self._lock:
            conversation = self.conversation(conversation_id)
            when = int(time.time()) if created_at is None else created_at
            part = Part(
                id=part_id or str(self._next("part", FIRST_PART_ID)),
                conversation_id=conversation_id,
                part_type=part_type,
                body=body,
                created_at=when,
                author_type=author_type,
                author_id=author_id,
                attachments=tuple(map(self.add_file, attachments)),
                app_package_code=app_package_code,
                assigned_to=assigned_to,
            )
            with self._db:
                self._db.execute(
                    "INSERT INTO parts VALUES (?, ?, ?, ?)",
                    (conversation_id, when, int(part.id), json.dumps(asdict(part))),
                )
            self._put("conversation", _after(conversation, part))
        return part

    def parts(self, conversation_id: str, newest: int | None = None) -> list[Part]:
        """Return the parts, oldest first. With `newest`, return only this number of the newest parts."""
        with self._lock:
            rows = self._db.execute(
                "SELECT data FROM parts WHERE conversation_id = ? ORDER BY created_at DESC, number DESC LIMIT ?",
                (conversation_id, -1 if newest is None else newest),
            ).fetchall()
        return [_part(json.loads(row[0])) for row in reversed(rows)]

    def count_parts(self, conversation_id: str) -> int:
        with self._lock:
            row = self._db.execute(
                "SELECT COUNT(*) FROM parts WHERE conversation_id = ?", (conversation_id,)
            ).fetchone()
        return int(row[0])


def _after(conversation: Conversation, part: Part) -> Conversation:
    """Return the conversation as it is after this part was added."""
    changes: dict[str, Any] = {"updated_at": max(part.created_at, conversation.updated_at)}
    if part.part_type in ("open", "assign_and_reopen"):
        changes |= {"state": "open", "snoozed_until": None}
    elif part.part_type == "close":
        changes |= {"state": "closed", "snoozed_until": None}
    elif part.part_type == "comment" and (
        # A customer's message opens a conversation. A teammate's message ends snoozing. Intercom does not document
        # whether it also opens a closed conversation; here it does not.
        part.author_type in ("user", "lead") or conversation.state == "snoozed"
    ):
        changes |= {"state": "open", "snoozed_until": None}
    if part.assigned_to is not None:
        kind, number = part.assigned_to
        changes[f"{kind}_assignee_id"] = "" if number == "0" else number
    return replace(conversation, **changes)


def _part(data: dict[str, Any]) -> Part:
    assigned_to = data.get("assigned_to")
    return Part(
        **{
            **data,
            "attachments": tuple(StoredFile(**file) for file in data["attachments"]),
            "assigned_to": tuple(assigned_to) if assigned_to else None,
        }
    )


def _team(data: dict[str, Any]) -> Team:
    return Team(**{**data, "admin_ids": tuple(data["admin_ids"])})


def _attribute(data: dict[str, Any]) -> ConversationAttribute:
    return ConversationAttribute(**{**data, "options": tuple(data["options"])})


def _conversation(data: dict[str, Any]) -> Conversation:
    return Conversation(
        **{**data, "contact_ids": tuple(data["contact_ids"]), "source": _part(data["source"])}
    )
