"""Parse Intercom's payloads tolerantly: conversations, people, Canvas Kit requests and webhook notifications.

A value of the wrong type counts as missing, at any depth, and raises no exception. PayloadError is raised only if the
payload is useless without the missing value. Ids become strings, also those that are numbers in the payload. Text is
cleaned (`clean_text`). Intercom's own request schemas are not used: they are wrong for the Inbox, because they require
Messenger's fields.

The shapes are those of API 2.5 and later (https://developers.intercom.com/docs/references/rest-api/), in REST, Canvas
Kit requests and notifications alike. Older shapes are parsed only where that takes no effort.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from .text import clean_text

MAX_ID_LENGTH: Final = 64
"""Intercom ids are 15 digits or 24 hex characters. Longer values than this are ignored."""

MAX_EMAIL_LENGTH: Final = 320
"""Longer e-mail addresses are ignored (RFC 5321, 4.5.3.1: at most 64 characters before the @, 255 after)."""

MAX_URL_LENGTH: Final = 4_000
"""Characters of a URL that are searched for a file's name."""

MAX_CONTACTS: Final = 1_000
"""Contacts that are read from one payload. A conversation has far fewer participants."""

MAX_EPOCH: Final = 253_402_300_800
"""The year 10000 in seconds since 1970. Databases cannot store dates from then on."""

_ROLES: Final = ("user", "lead", "visitor")


class PayloadError(ValueError):
    """The payload is useless. The text says which value is missing."""


# --- Readers of single values: they return an empty value for a missing or wrong one ---


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _id(value: object) -> str:
    if isinstance(value, str):
        text = clean_text(value).strip()
        return text if len(text) <= MAX_ID_LENGTH else ""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return str(value) if 0 <= value < 10**30 else ""  # Python refuses to convert huge numbers
    if isinstance(value, float) and value.is_integer() and 0 <= value < 2**53:  # larger floats are not exact
        return str(int(value))
    return ""


def _first_id(*values: object) -> str:
    return next(filter(None, map(_id, values)), "")


def _line(value: object) -> str:
    """Return a text without line breaks and repeated spaces, such as a name."""
    return " ".join(clean_text(value).split())


def _email(value: object) -> str:
    """Return an e-mail address, "" if it is too long. A too long one would only burden iTop with a search."""
    text = _line(value)
    return text if len(text) <= MAX_EMAIL_LENGTH else ""


def _epoch(value: object) -> int:
    """Return seconds since 1970 from a number, a number in a string or an ISO 8601 date (UTC by default), else 0."""
    if isinstance(value, str):
        value = _parse_time(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    is_valid = 0 <= value < MAX_EPOCH  # False for NaN
    return int(value) if is_valid else 0


def _parse_time(text: str) -> float:
    """Return the number or the ISO 8601 date in seconds since 1970, 0 if the text is neither."""
    if len(text) > 64:
        return 0
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return time.timestamp()
    except (ValueError, OverflowError):
        return 0


def _count(value: object) -> int | None:
    """Return a number of things, None if it is missing or wrong."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**31:
        return None
    return math.floor(value)


def _web_address(value: object) -> str:
    text = clean_text(value).strip()
    if any(map(str.isspace, text)):
        return ""
    return text if text.lower().startswith(("http://", "https://")) else ""


def _identity(data: object) -> dict[str, str]:
    """Return the fields that authors, contacts and teammates have in common."""
    raw = _object(data)
    return {"id": _id(raw.get("id")), "name": _line(raw.get("name")), "email": _email(raw.get("email"))}


# --- Conversations ---


@dataclass(frozen=True)
class Author:
    """The author of a part. `type` is user, lead, contact, admin, bot, team or another one: the list is open."""

    type: str = ""
    id: str = ""
    name: str = ""
    email: str = ""

    @classmethod
    def parse(cls, data: object) -> Author:
        return cls(type=_line(_object(data).get("type")), **_identity(data))


@dataclass(frozen=True)
class Attachment:
    """A file that is attached to a part.

    `name` is never empty. `url` works for 30 minutes. `size` is in bytes, 0 if unknown.
    """

    name: str
    url: str = ""
    content_type: str = ""
    size: int = 0

    @classmethod
    def parse(cls, data: object) -> Attachment | None:
        """Parse a file. Return None if it has neither a name nor a URL."""
        raw = _object(data)
        url = _web_address(raw.get("url"))
        name = _line(raw.get("name")) or _file_name(url)
        if not name:
            return None
        return cls(
            name=name,
            url=url,
            content_type=_line(raw.get("content_type")),
            size=_count(raw.get("filesize")) or 0,
        )


def _file_name(url: str) -> str:
    """Return the last segment of the URL's path, or if that is empty the host."""
    try:
        # Cut, because `urlsplit` normalizes the host in quadratic time.
        parts = urlsplit(url[:MAX_URL_LENGTH])
    except ValueError:
        return url
    last_segment = parts.path.rstrip("/").rpartition("/")[2]
    return _line(unquote(last_segment)) or parts.netloc or url


@dataclass(frozen=True)
class Part:
    """One message of a conversation, or an event in it, such as an assignment. An event has no body.

    - `kind`: "source" for the message that started the conversation, "part" for the others. A source and a part can
      have the same id. "redaction" is the bridge's own notice that the part with this id was redacted.
    - `part_type`: as in Intercom; "source" for a source.
    - `body`: HTML in REST and in notifications up to API 2.14, plain text in notifications of 2.15 and later.
      `html.to_log_html` accepts both.
    - `created_at`: in seconds since 1970, 0 if unknown. For a source, the conversation's date.
    - `app_package_code`: the app that wrote the message, "" if a person did.
    """

    kind: Literal["source", "part", "redaction"]
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
        """Parse a conversation part. Return None if it has no id."""
        part = cls._read("part", _object(data))
        return part if part.id else None

    @classmethod
    def parse_source(cls, data: object, *, conversation_id: str, created_at: int) -> Part | None:
        """Parse the message that started the conversation. Return None if it is empty.

        A source without an id gets the conversation's id, because the bridge needs one that stays the same.
        """
        raw = _object(data)
        source = cls._read("source", raw)
        if not source.id and not source.body and not _array(raw.get("attachments")):
            return None
        return replace(
            source,
            id=source.id or conversation_id,
            part_type="source",
            created_at=source.created_at or created_at,
        )

    @classmethod
    def _read(cls, kind: Literal["source", "part"], raw: Mapping[str, Any]) -> Part:
        attachments = map(Attachment.parse, _array(raw.get("attachments")))
        return cls(
            kind=kind,
            id=_id(raw.get("id")),
            part_type=_line(raw.get("part_type")),
            body=clean_text(raw.get("body")),
            subject=_line(raw.get("subject")),
            created_at=_epoch(raw.get("created_at")),
            author=Author.parse(raw.get("author")),
            attachments=tuple(filter(None, attachments)),
            redacted=raw.get("redacted") is True,
            app_package_code=_id(raw.get("app_package_code")),
        )


@dataclass(frozen=True)
class Contact:
    """A customer. `role` is user or lead. Custom attributes with lists or objects as values are left out."""

    id: str = ""
    external_id: str = ""
    role: str = ""
    email: str = ""
    name: str = ""
    custom_attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: object) -> Contact:
        raw = _object(data)
        role = _line(raw.get("role"))
        if not role and raw.get("type") in _ROLES:
            # Before API 2.0, the role was in `type`.
            role = _line(raw.get("type"))
        attributes: dict[str, str | int | float | bool] = {}
        for key, value in _object(raw.get("custom_attributes")).items():
            if isinstance(value, str):
                attributes[clean_text(key)] = clean_text(value)
            elif isinstance(value, (bool, int, float)):
                attributes[clean_text(key)] = value
        return cls(
            external_id=_first_id(raw.get("external_id"), raw.get("user_id")),
            role=role,
            custom_attributes=attributes,
            **_identity(data),
        )


@dataclass(frozen=True)
class Admin:
    """A teammate."""

    id: str = ""
    name: str = ""
    email: str = ""

    @classmethod
    def parse(cls, data: object) -> Admin:
        return cls(**_identity(data))


def parse_admins(data: object) -> tuple[Admin, ...]:
    """Parse a list of teammates or teams. Entries without an id are left out."""
    admins = map(Admin.parse, _array(data))
    return tuple(admin for admin in admins if admin.id)


@dataclass(frozen=True)
class Me:
    """The teammate and the workspace that an access token belongs to.

    `region` is US, EU or AU. `verifies_identities` is whether Intercom verifies the identity of contacts in the
    Messenger, None if the response does not say.
    """

    admin_id: str
    workspace_id: str
    region: str
    verifies_identities: bool | None = None

    @classmethod
    def parse(cls, data: object) -> Me:
        raw = _object(data)
        app = _object(raw.get("app"))
        verifies = app.get("identity_verification")
        return cls(
            admin_id=_id(raw.get("id")),
            workspace_id=_id(app.get("id_code")),
            region=_line(app.get("region")).upper(),
            verifies_identities=verifies if isinstance(verifies, bool) else None,
        )


# When two conversations are merged, the one that ends gets a part of the first type. The one that continues gets a part
# of the second type.
MERGED_AWAY = "merged_secondary_conversation"
MERGED_IN = "merged_primary_conversation"


@dataclass(frozen=True)
class Conversation:
    """A conversation, as far as one payload contains it.

    - `state`: open, closed or snoozed, "" if the payload does not say.
    - `admin_id`, `team_id`: the teammate and the team that it is assigned to.
    - `parts`: sorted by date, then id. A notification contains only the part that it is about, REST the 500 newest
      ones, a Canvas Kit request an undocumented number.
    - `total_count`: the number of parts in Intercom.
    """

    id: str
    title: str = ""
    state: str = ""
    admin_id: str = ""
    team_id: str = ""
    created_at: int = 0
    source: Part | None = None
    parts: tuple[Part, ...] = ()
    total_count: int = 0
    contact_ids: tuple[str, ...] = ()

    @property
    def messages(self) -> tuple[Part, ...]:
        """The source, if there is one, followed by the parts."""
        return (self.source, *self.parts) if self.source else self.parts

    @property
    def is_complete(self) -> bool:
        """Whether the payload contained all parts. False if it contained neither parts nor their number."""
        return len(self.parts) >= self.total_count

    @property
    def merged_away_at(self) -> int:
        """When this was merged into another conversation, 0 if it was not. Intercom does not say which other one."""
        times = [part.created_at for part in self.parts if part.part_type == MERGED_AWAY]
        return max(times, default=0)

    @property
    def merged_in_at(self) -> tuple[int, ...]:
        """When other conversations were merged into this one."""
        return tuple(part.created_at for part in self.parts if part.part_type == MERGED_IN)

    @classmethod
    def parse(cls, data: object) -> Conversation:
        """Parse a payload. Raise PayloadError if it has no conversation id."""
        raw = _object(data)
        conversation_id = _id(raw.get("id"))
        if not conversation_id:
            raise PayloadError("there is no conversation id")
        created_at = _epoch(raw.get("created_at"))
        parts_object = raw.get("conversation_parts")
        if isinstance(parts_object, list):
            # Tolerated: the list without the object around it.
            parts_object = {"conversation_parts": parts_object}
        raw_parts = _object(parts_object).get("conversation_parts")
        parts = list(filter(None, map(Part.parse, _array(raw_parts))))
        # Ids are numbers: of two numbers, the one with more digits is larger.
        parts.sort(key=lambda part: (part.created_at, len(part.id), part.id))
        total = _count(_object(parts_object).get("total_count"))
        if total is None and isinstance(raw_parts, list):
            total = len(raw_parts)
        if total is None:
            total = _count(_object(raw.get("statistics")).get("count_conversation_parts"))
        return cls(
            id=conversation_id,
            title=_line(raw.get("title")),
            state=_line(raw.get("state")),
            admin_id=_id(raw.get("admin_assignee_id")),
            team_id=_id(raw.get("team_assignee_id")),
            created_at=created_at,
            source=Part.parse_source(
                raw.get("source") or raw.get("conversation_message"),
                conversation_id=conversation_id,
                created_at=created_at,
            ),
            parts=tuple(parts),
            # If the number is unknown, no parts were received. As 1 is more than 0, `is_complete` is then False.
            total_count=1 if total is None else total,
            contact_ids=_contact_ids(raw),
        )


def _contact_ids(raw: Mapping[str, Any]) -> tuple[str, ...]:
    contacts = raw.get("contacts")
    # A list, an object with a list, or in older payloads a single `user`.
    listed = _array(contacts) or _array(_object(contacts).get("contacts")) or [raw.get("user")]
    return _unique(_id(_object(contact).get("id")) for contact in listed[:MAX_CONTACTS])


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, ids)))


# --- Requests ---


@dataclass(frozen=True)
class CanvasRequest:
    """A Canvas Kit request of an Inbox app, initialize or submit.

    In an initialize request, `component_id`, `input_values` and `stored_data` are empty. In a submit request, fields
    that the teammate did not change may be missing or "". Trust none of the values, not even `stored_data` and
    `component_id`: they come from a browser.
    """

    workspace_id: str
    admin: Admin
    contact: Contact
    conversation: Conversation
    component_id: str = ""
    input_values: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    stored_data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contact_ids(self) -> tuple[str, ...]:
        """The ids of the conversation's contacts, first the contact that the request names."""
        return _unique((self.contact.id, *self.conversation.contact_ids))

    @classmethod
    def parse(cls, data: object) -> CanvasRequest:
        """Parse a payload. Raise PayloadError if it has no conversation id."""
        raw = _object(data)
        # For submit, Intercom's reference says `customer` in the table and `contact` in the example. Both occur.
        contact = _object(raw.get("contact")) or _object(raw.get("customer"))
        canvas = _object(raw.get("current_canvas"))
        return cls(
            workspace_id=workspace_id_of(data),
            admin=Admin.parse(raw.get("admin")),
            contact=Contact.parse(contact),
            conversation=Conversation.parse(raw.get("conversation")),
            component_id=clean_text(raw.get("component_id")),
            input_values=_input_values(raw.get("input_values")),
            # In Intercom's schema, `stored_data` is in a second `current_canvas` object; in real requests it is not.
            stored_data=_object(canvas.get("stored_data"))
            or _object(_object(canvas.get("current_canvas")).get("stored_data")),
        )


def _input_values(data: object) -> dict[str, str | tuple[str, ...]]:
    values: dict[str, str | tuple[str, ...]] = {}
    for key, value in _object(data).items():
        if isinstance(value, str):
            values[clean_text(key)] = clean_text(value)
        elif isinstance(value, list):
            values[clean_text(key)] = tuple(clean_text(item) for item in value if isinstance(item, str))
        # A field may also have a whole number, which is kept as text.
        elif number := _id(value):
            values[clean_text(key)] = number
    return values


@dataclass(frozen=True)
class Event:
    """A webhook notification. `id` is "" for a ping. `conversation` is None if the topic is not about one."""

    workspace_id: str
    id: str
    topic: str
    conversation: Conversation | None = None

    @classmethod
    def parse(cls, data: object) -> Event:
        """Parse a payload. Raise PayloadError if it has no workspace id or no topic."""
        raw = _object(data)
        workspace_id, topic = workspace_id_of(data), _id(raw.get("topic"))
        if not workspace_id:
            raise PayloadError("there is no workspace id")
        if not topic:
            raise PayloadError("there is no topic")
        item = _object(_object(raw.get("data")).get("item"))
        conversation = None
        if item.get("type") == "conversation" and _id(item.get("id")):
            conversation = Conversation.parse(item)
        return cls(workspace_id=workspace_id, id=_id(raw.get("id")), topic=topic, conversation=conversation)


def conversation_ids_of_ticket(data: object) -> tuple[str, ...]:
    """Return the ids of conversations in a notification about one of Intercom's own tickets. Some may not exist.

    A ticket that the customer sees is itself a conversation, with the same id. Other tickets are linked to
    conversations.
    """
    item = _object(_object(_object(data).get("data")).get("item"))
    ids = []
    for ticket in (item, _object(item.get("ticket"))):
        linked = _array(_object(ticket.get("linked_objects")).get("data"))[:MAX_CONTACTS]
        ids += [_id(ticket.get("id")), _id(ticket.get("conversation_id"))]
        ids += [_id(_object(reference).get("id")) for reference in linked]
    return _unique(ids)


def merged_contact_ids(data: object) -> tuple[str, str]:
    """Return the ids of the merged and of the surviving contact in a notification of `contact.merged`.

    `merged_from` is missing in older notifications; then the first id is "".
    """
    item = _object(_object(_object(data).get("data")).get("item"))
    return _id(_object(item.get("merged_from")).get("id")), _id(item.get("id"))


def workspace_id_of(data: object) -> str:
    """Return the workspace id in a payload, "" if there is none. Webhooks call it `app_id`."""
    raw = _object(data)
    return _first_id(raw.get("workspace_id"), raw.get("app_id"))


def contact_ids_in(data: object) -> set[str]:
    """Return the ids of all contacts (users, leads, visitors) anywhere in a payload, at most MAX_CONTACTS."""
    contact_ids: set[str] = set()
    to_visit = [data]
    while to_visit and len(contact_ids) < MAX_CONTACTS:
        value = to_visit.pop()
        if isinstance(value, dict):
            if value.get("type") in ("contact", *_ROLES):
                contact_ids.add(_id(value.get("id")))
            to_visit.extend(value.values())
        elif isinstance(value, list):
            to_visit.extend(value)
    return contact_ids - {""}
