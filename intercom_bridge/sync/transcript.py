"""A whole conversation as the two logs of a new ticket."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.intercom.payloads import Part
from itop_client import LogItem

from .message import PRIVATE, PUBLIC, body_html, destination, log_item, may_have_account, order_of, shown_name

# A log holds about 300 entries (facts: its index is a 64 KB column), and there must be room for what comes later.
MOST_ENTRIES = 250
JOINT_ENTRIES = 10


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The messages of a conversation that belong into a ticket, in order, with the log of each."""

    entries: tuple[tuple[Part, str], ...]

    @classmethod
    def of(cls, messages: tuple[Part, ...], *, skip_ids: frozenset[str] = frozenset()) -> Transcript:
        """`skip_ids`: parts that are our own posts."""
        chosen = [
            (part, log) for part in messages if part.id not in skip_ids and (log := destination(part)[0])
        ]
        chosen.sort(key=lambda entry: (entry[0].created_at, order_of(entry[0].id)))
        return cls(entries=tuple(chosen))

    @property
    def emails(self) -> set[str]:
        """The addresses of those who may have an account in iTop."""
        return {part.author.email for part, _ in self.entries if may_have_account(part.author)}

    def count(self, log: str) -> int:
        return sum(1 for _, to in self.entries if to == log)

    def keys(self) -> list[list[Any]]:
        """What a Submission keeps, so that a webhook for the same part writes nothing again."""
        return [
            [part.kind, part.id, part.created_at, log, (part.author.name or part.author.email)[:200]]
            for part, log in self.entries
        ]

    def items(
        self, log: str, accounts: Mapping[str, int], *, may_set_author: bool, zone: dt.tzinfo
    ) -> list[dict[str, Any]]:
        """The items of one log for `core/create`; beyond 250 the oldest are joined into a few entries."""
        parts = [part for part, to in self.entries if to == log]
        surplus = len(parts) - MOST_ENTRIES
        joint: list[dict[str, Any]] = []
        if surplus > 0:
            old, parts = parts[: surplus + JOINT_ENTRIES], parts[surplus + JOINT_ENTRIES :]
            size = -(-len(old) // JOINT_ENTRIES)
            joint = [
                _joint_item(old[start : start + size], may_set_author=may_set_author, zone=zone)
                for start in range(0, len(old), size)
            ]
        return joint + [
            log_item(
                part,
                accounts.get(part.author.email.casefold(), 0) if may_have_account(part.author) else 0,
                may_set_author=may_set_author,
            )
            for part in parts
        ]

    def logs(
        self, accounts: Mapping[str, int], *, may_set_author: bool, zone: dt.tzinfo
    ) -> dict[str, list[dict[str, Any]]]:
        """{"public_log": [...], "private_log": [...]}: our names for the logs, without the empty ones."""
        made = {
            log: self.items(log, accounts, may_set_author=may_set_author, zone=zone)
            for log in (PUBLIC, PRIVATE)
        }
        return {log: items for log, items in made.items() if items}


def _joint_item(parts: list[Part], *, may_set_author: bool, zone: dt.tzinfo) -> dict[str, Any]:
    text = "".join(
        f"<p><b>{html.escape(shown_name(part.author))}</b>, "
        f"{dt.datetime.fromtimestamp(part.created_at, zone):%Y-%m-%d %H:%M}</p>{body_html(part)}"
        for part in parts
    )
    user = {"user_id": 0, "user_login": _("Earlier messages (Intercom)")} if may_set_author else {}
    return LogItem(message=text, date=parts[-1].created_at, **user).to_json()  # type: ignore[arg-type]
