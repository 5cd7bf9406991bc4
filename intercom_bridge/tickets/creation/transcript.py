"""Render a whole conversation as the two logs of a new ticket."""

from __future__ import annotations

import datetime as dt
import html
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.files.parts import files_to_json
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import OutgoingMessage
from intercom_bridge.sync.message import (
    FileLinks,
    body_html,
    destination,
    label_of_author,
    log_item,
    may_have_account,
    order_of,
    shown_name,
)
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_conversation
from itop_client import LogItem

# A log's index is a column of 64 KB, in which an entry takes about 161 bytes and its author's name: about 300 entries
# with usual names. The rest is left for later messages.
MAX_ENTRIES = 250
MAX_INDEX_BYTES = 52_000
ENTRY_INDEX_BYTES = 165
JOINT_ENTRIES = 10

# A part with what is known about its files.
_Message = tuple[Part, FileLinks]


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The messages of a conversation that are copied to a ticket, in order, with the log of each."""

    entries: tuple[tuple[Part, str], ...]

    @classmethod
    def of(cls, messages: tuple[Part, ...], *, skip_ids: frozenset[str] = frozenset()) -> Transcript:
        """Return the transcript without `skip_ids`, the parts that the bridge posted itself."""
        chosen = [
            (part, log) for part in messages if part.id not in skip_ids and (log := destination(part).log)
        ]
        chosen.sort(key=lambda entry: (entry[0].created_at, order_of(entry[0].id)))
        return cls(entries=tuple(chosen))

    @property
    def emails(self) -> set[str]:
        """The e-mail addresses of the authors who may have an account in iTop."""
        return {part.author.email for part, _ in self.entries if may_have_account(part.author)}

    def count(self, log: str) -> int:
        """Return how many messages go to the log."""
        return sum(1 for _, to in self.entries if to == log)

    def keys(self) -> list[dict[str, Any]]:
        """Return the parts as a TicketCreation stores them, so that a webhook for a part does not write it again."""
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
        accounts: Mapping[str, int],
        *,
        code: Callable[[str], str],
        may_set_author: bool,
        zone: dt.tzinfo,
        conversation_url: str,
        count_files: Callable[[Part, str], int] = lambda _part, _log: 0,
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the items for `core/create` by attribute, without empty logs.

        `code` returns the attribute of a log; a profile may map both logs to one. `count_files` returns how many files
        of a message to a log are to be copied: they are attached after the ticket was created. If a log cannot hold
        all entries, the oldest are joined into a few.
        """
        messages_of: dict[str, list[_Message]] = {}
        for part, log in self.entries:
            message = part, FileLinks(expected=count_files(part, log))
            messages_of.setdefault(code(log), []).append(message)
        return {
            attribute: _items(messages, accounts, conversation_url, may_set_author=may_set_author, zone=zone)
            for attribute, messages in messages_of.items()
        }


def transcript_of(context: PanelContext, messages: tuple[Part, ...]) -> Transcript:
    """Return the messages of the conversation that can be copied to a ticket: nothing that the bridge posted.

    That may be an entry of another ticket.
    """
    code, conversation = context.workspace.app_package_code, find_conversation(context)
    messages = tuple(part for part in messages if not (code and part.app_package_code == code))
    own_ids = OutgoingMessage.objects.part_ids_in(conversation) if conversation else frozenset()
    return Transcript.of(messages, skip_ids=own_ids)


def _items(
    messages: list[_Message],
    accounts: Mapping[str, int],
    conversation_url: str,
    *,
    may_set_author: bool,
    zone: dt.tzinfo,
) -> list[dict[str, Any]]:
    fitting = _count_fitting([part for part, _links in messages])
    joint: list[dict[str, Any]] = []
    if fitting < len(messages):
        kept = max(fitting - JOINT_ENTRIES, 0)
        old, messages = messages[: len(messages) - kept], messages[len(messages) - kept :]
        bounds = [len(old) * number // JOINT_ENTRIES for number in range(JOINT_ENTRIES + 1)]
        joint = [
            _joint_item(old[start:end], conversation_url, may_set_author=may_set_author, zone=zone)
            for start, end in itertools.pairwise(bounds)
        ]
    return joint + [
        log_item(
            part,
            accounts.get(part.author.email.casefold(), 0) if may_have_account(part.author) else 0,
            conversation_url,
            may_set_author=may_set_author,
            links=links,
        )
        for part, links in messages
    ]


def authors_into_texts(items: Sequence[Mapping[str, Any]], authors: Sequence[str]) -> list[dict[str, Any]]:
    """Return the items of a log without an author, whose name becomes the heading of the text instead.

    `authors` are the names of the authors of all parts in the log. Joint entries name their authors already.
    """
    adapted = []
    for item, author in _with_authors(items, authors):
        plain = {key: value for key, value in item.items() if key not in ("user_id", "user_login")}
        if author is not None and "user_id" in item:
            name = item["user_login"] or label_of_author(author)
            plain["message"] = f"<p><b>{html.escape(name)}</b></p>{item['message']}"
        adapted.append(plain)
    return adapted


def replace_accounts(
    items: Sequence[Mapping[str, Any]], authors: Sequence[str], *, missing: Set[int]
) -> list[dict[str, Any]]:
    """Return the items of a log with the author's name in place of each account that iTop no longer has."""
    return [
        dict(item, user_id=0, user_login=label_of_author(author or ""))
        if item.get("user_id") in missing
        else dict(item)
        for item, author in _with_authors(items, authors)
    ]


def _with_authors(
    items: Sequence[Mapping[str, Any]], authors: Sequence[str]
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Yield each item with its author's name, None for a joint entry (`_items` puts these first)."""
    joint = JOINT_ENTRIES if len(items) < len(authors) else 0
    plain = len(items) - joint
    names: list[str | None] = [None] * joint + list(authors[len(authors) - plain :])
    return zip(items, names, strict=True)


def entry_of_each_part(
    parts: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], code: Callable[[str], str]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each part of a TicketCreation with the HTML of its entry in `fields`, without the author's name.

    The HTML is "" if it is no longer stored, or if the entry is joint (`_items` puts these first).
    """
    for attribute in {code(part["log"]) for part in parts}:
        of_log = [part for part in parts if code(part["log"]) == attribute]
        items = fields.get(attribute, {}).get("items", [])
        joint = JOINT_ENTRIES if len(items) < len(of_log) else 0
        plain = [item["message"] for item in items[joint:]]
        for part, message in zip(of_log, [""] * (len(of_log) - len(plain)) + plain, strict=True):
            heading = f"<p><b>{html.escape(label_of_author(part['author']))}</b></p>"
            yield part, message.removeprefix(heading)


def _count_fitting(parts: Sequence[Part]) -> int:
    """Return how many of the newest parts fit a log as entries of their own."""
    size = 0
    for count, part in enumerate(reversed(parts)):
        size += ENTRY_INDEX_BYTES + len(shown_name(part.author).encode())
        if count >= MAX_ENTRIES or size > MAX_INDEX_BYTES:
            return count
    return len(parts)


def _joint_item(
    messages: list[_Message], conversation_url: str, *, may_set_author: bool, zone: dt.tzinfo
) -> dict[str, Any]:
    text = "".join(
        f"<p><b>{html.escape(shown_name(part.author))}</b>, "
        f"{dt.datetime.fromtimestamp(part.created_at, zone):%Y-%m-%d %H:%M}</p>"
        f"{body_html(part, conversation_url, links)}"
        for part, links in messages
    )
    user = {"user_id": 0, "user_login": _("Earlier messages (Intercom)")} if may_set_author else {}
    return LogItem(message=text, date=messages[-1][0].created_at, **user).to_json()  # type: ignore[arg-type]
