"""What iTop said last of a person's tickets: for a click soon after, and for when it does not answer."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.utils import timezone

from intercom_bridge.models import Delivery, KnownTickets, Workspace
from intercom_bridge.models.known_tickets import KnownTicketsQuerySet

from .person import Person

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

# A click so soon after the last one costs no call, unless we wrote something meanwhile.
FRESH_SECONDS = 20.0
# What a machine's clock may be behind another's: a write and an answer are often two machines' work.
CLOCKS_APART = dt.timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class Said(Generic[Row]):
    """A list as iTop had it at that time. `more`: there were more than it handed over."""

    rows: tuple[Row, ...]
    more: bool
    at: dt.datetime


class TicketMemory(Generic[Row]):
    """Bound to a workspace, a conversation and a person: it never hands out what was said of another one.

    `row_class` is the dataclass that a ticket in a list is; its values are plain ones.
    """

    def __init__(
        self, row_class: type[Row], workspace: Workspace, conversation_id: str, person: Person
    ) -> None:
        self._row_class = row_class
        self._workspace = workspace
        self._conversation_id = conversation_id[:64]
        self._person = person

    def fresh(self, linked: Iterable[int]) -> Said[Row] | None:
        """What iTop said to this very question a moment ago, if we wrote nothing into one of these tickets since."""
        kept = self._kept().filter(
            conversation_id=self._conversation_id,
            question=self._question(linked),
            at__gte=timezone.now() - dt.timedelta(seconds=FRESH_SECONDS),
        )
        known = kept.first()
        if known is None or self._wrote_since(known):
            return None
        return self._said(known)

    def last(self) -> Said[Row] | None:
        """What iTop said last, in this conversation or else in another one of the person."""
        known = self._kept().filter(conversation_id=self._conversation_id).first()
        known = known or self._kept().order_by("-at").first()
        return self._said(known) if known else None

    def keep(self, rows: Iterable[Row], linked: Iterable[int], *, more: bool, asked_at: dt.datetime) -> None:
        """`linked` are the ids of the tickets that were linked when iTop was asked."""
        KnownTickets.objects.update_or_create(
            workspace=self._workspace,
            person_id=self._person.id,
            conversation_id=self._conversation_id,
            defaults={
                "terms": self._terms(),
                "question": self._question(linked),
                "rows": [asdict(row) for row in rows],
                "more": more,
                "at": asked_at,
            },
        )

    def _kept(self) -> KnownTicketsQuerySet:
        return KnownTickets.objects.filter(
            workspace=self._workspace, person_id=self._person.id, terms=self._terms()
        )

    def _wrote_since(self, known: KnownTickets) -> bool:
        return Delivery.objects.filter(
            ticket__itop=self._workspace.itop,
            ticket__ticket_class=self._workspace.profile.ticket_class,
            ticket__object_id__in=[row["id"] for row in known.rows],
            written_at__gt=known.at - CLOCKS_APART,
        ).exists()

    def _terms(self) -> str:
        """Whose tickets may be shown at all: another scope, another iTop, another organization is another list."""
        return _digest(self._everything())

    def _question(self, linked: Iterable[int]) -> str:
        profile, itop = self._workspace.profile, self._workspace.itop
        return _digest(
            [
                *self._everything(),
                sorted(linked),
                profile.excluded_states,
                profile.subtitle_attribute,
                profile.attributes_mapping,
                itop.has_intercom_attributes,
            ]
        )

    def _everything(self) -> list[Any]:
        workspace = self._workspace
        return [
            [one.name for one in fields(self._row_class)],
            [workspace.itop_id, workspace.itop.url, workspace.profile.ticket_class, workspace.scope],
            [self._person.id, self._person.org_id, dict(self._person.attributes)],
        ]

    def _said(self, known: KnownTickets) -> Said[Row]:
        rows = tuple(self._row_class(**row) for row in known.rows)
        return Said(rows=rows, more=known.more, at=known.at)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
