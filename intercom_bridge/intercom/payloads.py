"""What Intercom tells us, read tolerantly: conversations, people, Canvas Kit's requests, notifications.

A value of the wrong type reads as absent, at any depth, and never raises; an id is a string, whether it came
as one or as a number; text is cleaned (`clean_text`). PayloadError is raised only where nothing useful can be
done with what is left. Intercom's own request schemas are not used: they are wrong for the Inbox (they ask
for Messenger's fields).

Shapes: the conversation model of API 2.5 and later
(https://developers.intercom.com/docs/references/rest-api/), in REST, in Canvas Kit's requests and in
notifications alike. Of older ones only what costs nothing is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from .text import clean_text

MAX_ID: Final = 64
"""Characters of an id. Intercom's have 15 digits or 24 hex letters; a longer one than this is none."""

MAX_EMAIL: Final = 320
"""Characters of an e-mail address: longer ones are none (RFC 5321, 4.5.3.1: 64 before the @, 255 after)."""

LATEST: Final = 253_402_300_800
"""The year 10000 in seconds since 1970: no database holds a later date."""

_CONTACT_TYPES: Final = ("contact", "user", "lead", "visitor")


class PayloadError(ValueError):
    """Nothing useful can be done with this payload. The text says what it lacks."""


# --- Readers of single values ---


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _id(value: object) -> str:
    if isinstance(value, str):
        text = clean_text(value).strip()
        return text if len(text) <= MAX_ID else ""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return str(value) if 0 <= value < 10**30 else ""
    if isinstance(value, float) and value.is_integer() and 0 <= value < 2**53:
        return str(int(value))
    return ""


def _first_id(*values: object) -> str:
    return next((text for value in values if (text := _id(value))), "")


def _line(value: object) -> str:
    """A name: text on one line."""
    return " ".join(clean_text(value).split())


def _email(value: object) -> str:
    """An address, on one line; a longer one than there can be is none, and iTop is not asked for it."""
    text = _line(value)
    return text if len(text) <= MAX_EMAIL else ""


def _epoch(value: object) -> int:
    """Seconds since 1970 from a number, a number in a string or an ISO 8601 date (UTC if it has no zone).

    Anything else is 0.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 64:
            return 0
        try:
            value = float(text)
        except ValueError:
            try:
                moment = datetime.fromisoformat(text)
                if moment.tzinfo is None:
                    moment = moment.replace(tzinfo=UTC)
                value = moment.timestamp()
            except (ValueError, OverflowError):
                return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LATEST:
        return 0  # not-a-number is in no range
    return int(value)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**31:
        return None
    return math.floor(value)


def _web_address(value: object) -> str:
    text = clean_text(value).strip()
    if any(map(str.isspace, text)):
        return ""
    return text if text.lower().startswith(("http://", "https://")) else ""


# --- What a conversation is made of ---


@dataclass(frozen=True)
class Author:
    """Who wrote a part. `type` is an open list: user, lead, contact, admin, bot, team, ..."""

    type: str = ""
    id: str = ""
    name: str = ""
    email: str = ""

    @classmethod
    def parse(cls, data: object) -> Author:
        found = _object(data)
        return cls(
            type=_line(found.get("type")),
            id=_id(found.get("id")),
            name=_line(found.get("name")),
            email=_email(found.get("email")),
        )


@dataclass(frozen=True)
class Attachment:
    """A file of a part.

    The name is never empty; the address works for 30 minutes; `size` in bytes, 0 if unknown.
    """

    name: str
    url: str = ""
    content_type: str = ""
    size: int = 0

    @classmethod
    def parse(cls, data: object) -> Attachment | None:
        """The file, or None where there is neither a name nor an address."""
        found = _object(data)
        url = _web_address(found.get("url"))
        name = _line(found.get("name")) or _file_name(url)
        if not name:
            return None
        return cls(
            name=name,
            url=url,
            content_type=_line(found.get("content_type")),
            size=_count(found.get("filesize")) or 0,
        )


def _file_name(url: str) -> str:
    """The last piece of the address that reads as a name, or its host."""
    try:
        parts = urlsplit(url)
        host = parts.netloc
    except ValueError:
        return url
    return _line(unquote(parts.path.rstrip("/").rpartition("/")[2])) or host or url


@dataclass(frozen=True)
class Part:
    """One message of a conversation, or something that happened to it (then the body is "").

    `kind` is "source" for the message that began the conversation and "part" for the rest; the two count
    their ids apart. A source has the `part_type` "source" and the conversation's date. `body` is HTML from
    REST and from notifications up to API 2.14, plain text from notifications of 2.15 and later
    (`html.to_log_html` takes both). `created_at` is in seconds since 1970, 0 if unknown. `app_package_code`
    names the app that wrote it, if one did.
    """

    kind: Literal["source", "part"]
    id: str
    part_type: str = ""
    body: str = ""
    subject: str = ""
    created_at: int = 0
    author: Author = field(default_factory=Author)
    attachments: tuple[Attachment, ...] = ()
    redacted: bool = False
    app_package_code: str = ""

    @classmethod
    def parse(cls, data: object) -> Part | None:
        """A conversation part, or None where there is no id to know it by."""
        found = _object(data)
        name = _id(found.get("id"))
        if not name:
            return None
        return cls._read("part", name, _line(found.get("part_type")), _epoch(found.get("created_at")), found)

    @classmethod
    def parse_source(cls, data: object, *, conversation_id: str, created_at: int) -> Part | None:
        """What began the conversation, or None where nothing is said about it.

        One without an id gets the conversation's: it has to be known by something that is the same next time.
        """
        found = _object(data)
        name, text, files = (
            _id(found.get("id")),
            clean_text(found.get("body")),
            _array(found.get("attachments")),
        )
        if not name and not text and not files:
            return None
        return cls._read(
            "source", name or conversation_id, "source", _epoch(found.get("created_at")) or created_at, found
        )

    @classmethod
    def _read(
        cls,
        kind: Literal["source", "part"],
        name: str,
        part_type: str,
        created_at: int,
        found: Mapping[str, Any],
    ) -> Part:
        attachments = (Attachment.parse(one) for one in _array(found.get("attachments")))
        return cls(
            kind=kind,
            id=name,
            part_type=part_type,
            body=clean_text(found.get("body")),
            subject=_line(found.get("subject")),
            created_at=created_at,
            author=Author.parse(found.get("author")),
            attachments=tuple(one for one in attachments if one is not None),
            redacted=found.get("redacted") is True,
            app_package_code=_id(found.get("app_package_code")),
        )


@dataclass(frozen=True)
class Contact:
    """The customer. `role` is user or lead. Of the custom attributes those with a plain value are kept."""

    id: str = ""
    external_id: str = ""
    role: str = ""
    email: str = ""
    name: str = ""
    custom_attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: object) -> Contact:
        found = _object(data)
        role = _line(found.get("role"))
        if not role and found.get("type") in ("user", "lead", "visitor"):  # before API 2.0 the type said it
            role = _line(found.get("type"))
        attributes: dict[str, str | int | float | bool] = {}
        for key, value in _object(found.get("custom_attributes")).items():
            if isinstance(value, str):
                attributes[clean_text(key)] = clean_text(value)
            elif isinstance(value, (bool, int, float)):
                attributes[clean_text(key)] = value
        return cls(
            id=_id(found.get("id")),
            external_id=_first_id(found.get("external_id"), found.get("user_id")),
            role=role,
            email=_email(found.get("email")),
            name=_line(found.get("name")),
            custom_attributes=attributes,
        )


@dataclass(frozen=True)
class Admin:
    """A teammate."""

    id: str = ""
    name: str = ""
    email: str = ""

    @classmethod
    def parse(cls, data: object) -> Admin:
        found = _object(data)
        return cls(id=_id(found.get("id")), name=_line(found.get("name")), email=_email(found.get("email")))


# Of a merge, the one that ends gets the first of these parts, and the one that goes on the second.
MERGED_AWAY = "merged_secondary_conversation"
MERGED_IN = "merged_primary_conversation"


@dataclass(frozen=True)
class Conversation:
    """A conversation as far as one payload tells it.

    Notifications hold only the part they are about, Canvas Kit's requests an undocumented number of parts,
    REST the 500 newest. `parts` are in order of date, then id; `total_count` is how many there are at
    Intercom.
    """

    id: str
    title: str = ""
    created_at: int = 0
    source: Part | None = None
    parts: tuple[Part, ...] = ()
    total_count: int = 0
    contact_ids: tuple[str, ...] = ()

    @property
    def messages(self) -> tuple[Part, ...]:
        """The source, if there is one, then the parts."""
        return (self.source, *self.parts) if self.source else self.parts

    @property
    def is_complete(self) -> bool:
        """Whether all parts are here. Where none are listed and none counted, it is not known, so no."""
        return len(self.parts) >= self.total_count

    @property
    def merged_away_at(self) -> int:
        """When it was merged into another conversation, 0 if it was not. Intercom does not say into which."""
        times = [part.created_at for part in self.parts if part.part_type == MERGED_AWAY]
        return max(times, default=0)

    @property
    def merged_in_at(self) -> tuple[int, ...]:
        """When other conversations were merged into this one."""
        return tuple(part.created_at for part in self.parts if part.part_type == MERGED_IN)

    @classmethod
    def parse(cls, data: object) -> Conversation:
        """Raises PayloadError where there is no conversation id."""
        found = _object(data)
        conversation_id = _id(found.get("id"))
        if not conversation_id:
            raise PayloadError("there is no conversation id")
        created_at = _epoch(found.get("created_at"))
        listed = found.get("conversation_parts")
        if isinstance(listed, list):
            listed = {"conversation_parts": listed}
        raw_parts = _object(listed).get("conversation_parts")
        parts = [part for one in _array(raw_parts) if (part := Part.parse(one))]
        parts.sort(key=lambda part: (part.created_at, len(part.id), part.id))
        total = _count(_object(listed).get("total_count"))
        if total is None and isinstance(raw_parts, list):
            total = len(raw_parts)
        if total is None:
            total = _count(_object(found.get("statistics")).get("count_conversation_parts"))
        return cls(
            id=conversation_id,
            title=_line(found.get("title")),
            created_at=created_at,
            source=Part.parse_source(
                found.get("source") or found.get("conversation_message"),
                conversation_id=conversation_id,
                created_at=created_at,
            ),
            parts=tuple(parts),
            total_count=1 if total is None else total,
            contact_ids=_contact_ids(found),
        )


def _contact_ids(found: Mapping[str, Any]) -> tuple[str, ...]:
    contacts = found.get("contacts")
    listed = _array(contacts) or _array(_object(contacts).get("contacts")) or [found.get("user")]
    ids = (_id(_object(one).get("id")) for one in listed)
    return tuple(dict.fromkeys(one for one in ids if one))


# --- What arrives ---


@dataclass(frozen=True)
class CanvasRequest:
    """Canvas Kit's initialize and submit requests of an Inbox app.

    On initialize `component_id` is "", `input_values` and `stored_data` are empty. Values of fields nobody
    touched may be missing or "". All of it is input: `stored_data` and `component_id` are what a browser sent
    back.
    """

    workspace_id: str
    region: str
    admin: Admin
    contact: Contact
    conversation: Conversation
    component_id: str = ""
    input_values: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    stored_data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contact_ids(self) -> tuple[str, ...]:
        """All who take part in the conversation, the one it is looked at for first."""
        ids = (self.contact.id, *self.conversation.contact_ids)
        return tuple(dict.fromkeys(one for one in ids if one))

    @classmethod
    def parse(cls, data: object) -> CanvasRequest:
        """Raises PayloadError where there is no conversation id."""
        found = _object(data)
        # Submit says `customer` in the reference's table and `contact` in its example; both have been seen.
        person = _object(found.get("contact")) or _object(found.get("customer"))
        canvas = _object(found.get("current_canvas"))
        return cls(
            workspace_id=workspace_id_of(data),
            region=_line(found.get("workspace_region")),
            admin=Admin.parse(found.get("admin")),
            contact=Contact.parse(person),
            conversation=Conversation.parse(found.get("conversation")),
            component_id=clean_text(found.get("component_id")),
            input_values=_input_values(found.get("input_values")),
            # The schema nests it once more under the same name; what arrives does not.
            stored_data=_object(canvas.get("stored_data"))
            or _object(_object(canvas.get("current_canvas")).get("stored_data")),
        )


def _input_values(data: object) -> dict[str, str | tuple[str, ...]]:
    values: dict[str, str | tuple[str, ...]] = {}
    for key, value in _object(data).items():
        if isinstance(value, str):
            values[clean_text(key)] = clean_text(value)
        elif isinstance(value, list):
            values[clean_text(key)] = tuple(clean_text(one) for one in value if isinstance(one, str))
        elif number := _id(value):
            values[clean_text(key)] = number
    return values


@dataclass(frozen=True)
class Event:
    """A notification of the webhooks.

    `id` is "" for a ping; `conversation` is None where it is about none.
    """

    workspace_id: str
    id: str
    topic: str
    created_at: int
    conversation: Conversation | None = None

    @classmethod
    def parse(cls, data: object) -> Event:
        """Raises PayloadError where there is no workspace or no topic."""
        found = _object(data)
        workspace_id, topic = workspace_id_of(data), _id(found.get("topic"))
        if not workspace_id:
            raise PayloadError("there is no workspace id")
        if not topic:
            raise PayloadError("there is no topic")
        item = _object(_object(found.get("data")).get("item"))
        conversation = None
        if item.get("type") == "conversation" and _id(item.get("id")):
            conversation = Conversation.parse(item)
        return cls(
            workspace_id=workspace_id,
            id=_id(found.get("id")),
            topic=topic,
            created_at=_epoch(found.get("created_at")),
            conversation=conversation,
        )


def workspace_id_of(data: object) -> str:
    """The workspace a payload claims to come from, "" where it claims none: webhooks say `app_id`."""
    found = _object(data)
    return _first_id(found.get("workspace_id"), found.get("app_id"))


def contacts_named(data: object) -> set[str]:
    """The ids of all contacts that a payload names, wherever: users, leads and visitors; no admins, no companies."""
    named: set[str] = set()
    todo = [data]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if value.get("type") in _CONTACT_TYPES:
                named.add(_id(value.get("id")))
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return named - {""}
