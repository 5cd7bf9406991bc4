"""Render the messages of a conversation as the entries of a new ticket's two logs."""

from __future__ import annotations

import datetime as dt
import html
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from intercom_bridge.files.parts import files_to_json
from intercom_bridge.intercom.payloads import Author, Part
from intercom_bridge.models import OutgoingMessage
from intercom_bridge.sync.message import (
    FileLinks,
    body_html,
    destination,
    label_of_author,
    log_item,
    order_of,
    shown_name,
)
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_conversation
from itop_client import LogItem

# iTop keeps the index of a log in a column of 64 KB. An entry takes about 161 bytes there, plus its author's name, so
# the column holds about 300 entries. A new ticket uses less than that, to leave room for later messages.
MAX_ENTRIES = 250
MAX_INDEX_BYTES = 52_000
ENTRY_INDEX_BYTES = 165
# If a log cannot hold all messages, the oldest ones are written as this many entries of several messages each.
JOINT_ENTRIES = 10


class Entry(NamedTuple):
    """A message, and the log that it is copied to: a value of `models.Log`."""

    part: Part
    log: str


class _Message(NamedTuple):
    part: Part
    links: FileLinks


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The messages of a conversation that are copied to a ticket, oldest first."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, messages: tuple[Part, ...], *, skip_ids: frozenset[str] = frozenset()) -> Transcript:
        """Return the messages that belong in a log, except the parts whose ids are in `skip_ids`."""
        candidates = [Entry(part, destination(part).log) for part in messages if part.id not in skip_ids]
        entries = [entry for entry in candidates if entry.log]
        entries.sort(key=lambda entry: (entry.part.created_at, order_of(entry.part.id)))
        return cls(entries=tuple(entries))

    def count(self, log: str) -> int:
        return sum(entry.log == log for entry in self.entries)

    def parts_to_json(self) -> list[dict[str, Any]]:
        """Return the copied parts as `TicketCreation.parts` stores them.

        By these, the bridge recognises a webhook's part that is in the ticket already.
        """
        return [
            {
                "kind": part.kind,
                "id": part.id,
                "created_at": part.created_at,
                "log": log,
                "author": (part.author.name or part.author.email)[:200],
                "author_type": part.author.type,
                "author_id": part.author.id,
                **files_to_json(part),
            }
            for part, log in self.entries
        ]

    def logs(  # noqa: PLR0913 - how each entry is rendered
        self,
        accounts: Mapping[Author, int],
        *,
        code: Callable[[str], str],
        may_set_author: bool,
        zone: dt.tzinfo,
        conversation_url: str,
        count_files: Callable[[Part, str], int] = lambda _part, _log: 0,
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the entries of each log as `core/create` expects them, by the log's attribute code. Omit empty logs.

        accounts: the iTop account ids of the authors who have one, or 0.
        code: returns the attribute code of a log. A profile may map both logs to one attribute.
        may_set_author: whether the bridge's account may set the author of an entry.
        count_files: returns how many files of a message will be attached after the ticket is created.
        """
        messages_by_attribute: dict[str, list[_Message]] = {}
        for part, log in self.entries:
            message = _Message(part, FileLinks(copied_later=count_files(part, log)))
            messages_by_attribute.setdefault(code(log), []).append(message)
        return {
            attribute: _items(messages, accounts, conversation_url, may_set_author=may_set_author, zone=zone)
            for attribute, messages in messages_by_attribute.items()
        }


def transcript_of(context: PanelContext, messages: tuple[Part, ...]) -> Transcript:
    """Return the messages that can be copied to a ticket.

    Omit what the bridge posted, because it may report an entry of another ticket.
    """
    own_code, conversation = context.workspace.app_package_code, find_conversation(context)
    if own_code:
        messages = tuple(part for part in messages if part.app_package_code != own_code)
    own_ids = OutgoingMessage.objects.part_ids_in(conversation) if conversation else frozenset()
    return Transcript.of(messages, skip_ids=own_ids)


def _items(
    messages: list[_Message],
    accounts: Mapping[Author, int],
    conversation_url: str,
    *,
    may_set_author: bool,
    zone: dt.tzinfo,
) -> list[dict[str, Any]]:
    """Return an item for each message. If the log cannot hold so many, the first items contain several each."""
    joint_items: list[dict[str, Any]] = []
    max_items = _count_fitting([message.part for message in messages])
    if max_items < len(messages):
        single_count = max(max_items - JOINT_ENTRIES, 0)
        old_count = len(messages) - single_count
        # Slices of the oldest messages, whose lengths differ by one message at most.
        bounds = [old_count * number // JOINT_ENTRIES for number in range(JOINT_ENTRIES + 1)]
        joint_items = [
            _joint_item(messages[start:end], conversation_url, may_set_author=may_set_author, zone=zone)
            for start, end in itertools.pairwise(bounds)
        ]
        messages = messages[old_count:]
    return joint_items + [
        log_item(
            part, accounts.get(part.author, 0), conversation_url, may_set_author=may_set_author, links=links
        )
        for part, links in messages
    ]


def authors_into_texts(items: Sequence[Mapping[str, Any]], authors: Sequence[str]) -> list[dict[str, Any]]:
    """Return the items of a log with each author's name as a heading of the text instead of in its own fields.

    `authors` names the author of each part in the log. Joint entries name their authors already.
    """
    adapted = []
    for item, author in _with_authors(items, authors):
        without_author = {key: value for key, value in item.items() if key not in ("user_id", "user_login")}
        if author is not None and "user_id" in item:
            name = item["user_login"] or label_of_author(author)
            without_author["message"] = f"<p><b>{html.escape(name)}</b></p>{item['message']}"
        adapted.append(without_author)
    return adapted


def replace_accounts(
    items: Sequence[Mapping[str, Any]], authors: Sequence[str], *, missing: Set[int]
) -> list[dict[str, Any]]:
    """Return the items of a log. Those of a `missing` account get the author's name in place of the account."""
    return [
        dict(item, user_id=0, user_login=label_of_author(author or ""))
        if item.get("user_id") in missing
        else dict(item)
        for item, author in _with_authors(items, authors)
    ]


def _with_authors(
    items: Sequence[Mapping[str, Any]], authors: Sequence[str]
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Yield each item with its author's name, or with None for a joint entry."""
    joint_count = _count_joint_items(items, authors)
    single_count = len(items) - joint_count
    # The single items are those of the newest parts.
    single_authors = authors[len(authors) - single_count :]
    return zip(items, [*[None] * joint_count, *single_authors], strict=True)


def _count_joint_items(items: Sequence[Any], parts: Sequence[Any]) -> int:
    """Return how many of the first items are joint entries: `_items` makes some if there are fewer items than parts."""
    return JOINT_ENTRIES if len(items) < len(parts) else 0


def entry_of_each_part(
    parts: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], code: Callable[[str], str]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each part of a TicketCreation with the HTML of its entry in `fields`, without the author's name.

    The HTML is "" if the part is in a joint entry, or if the content is no longer stored.
    """
    for attribute in {code(part["log"]) for part in parts}:
        log_parts = [part for part in parts if code(part["log"]) == attribute]
        items = fields.get(attribute, {}).get("items", [])
        single_messages = [item["message"] for item in items[_count_joint_items(items, log_parts) :]]
        # Only the newest parts have entries of their own.
        older_messages = [""] * (len(log_parts) - len(single_messages))
        for part, message in zip(log_parts, older_messages + single_messages, strict=True):
            heading = f"<p><b>{html.escape(label_of_author(part['author']))}</b></p>"
            yield part, message.removeprefix(heading)


def _count_fitting(parts: Sequence[Part]) -> int:
    """Return how many of these parts fit in a log with an entry each, counted from the newest."""
    index_bytes = 0
    for count, part in enumerate(reversed(parts)):
        index_bytes += ENTRY_INDEX_BYTES + len(shown_name(part.author).encode())
        if count >= MAX_ENTRIES or index_bytes > MAX_INDEX_BYTES:
            return count
    return len(parts)


def _joint_item(
    messages: list[_Message], conversation_url: str, *, may_set_author: bool, zone: dt.tzinfo
) -> dict[str, Any]:
    """Return one item with the texts of all these messages, each under its author and time."""
    text = "".join(
        f"<p><b>{html.escape(shown_name(part.author))}</b>, "
        f"{dt.datetime.fromtimestamp(part.created_at, zone):%Y-%m-%d %H:%M}</p>"
        f"{body_html(part, conversation_url, links)}"
        for part, links in messages
    )
    user = {"user_id": 0, "user_login": _("Earlier messages (Intercom)")} if may_set_author else {}
    return LogItem(message=text, date=messages[-1].part.created_at, **user).to_json()  # type: ignore[arg-type]
