"""Links that the PHP extension left in iTop, tickets that are gone, and merges.

Opening the panel must not change anything but caches, because Intercom may send the request several times and without
a teammate's decision. So the panel stores the differences that it finds (`LinkChanges`) with the cached list of
tickets. The worker, or the teammate's next click, applies them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import (
    CachedTickets,
    Conversation,
    LinkRemoval,
    Participant,
    Ticket,
    TicketCreation,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.sync.extension_attributes import attribute_codes
from intercom_bridge.sync.intake import Skip, classify, deliver_since
from intercom_bridge.sync.message import order_of
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import (
    RECENT_EVENTS,
    find_conversation,
    forget_absence,
    known_ticket,
    last_position,
)
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.scope import has_ticket
from itop_client import Found

log = structlog.get_logger(__name__)

# By event: when it was received, and its parts.
UnlinkedParts = dict[int, tuple[dt.datetime, tuple[Part, ...]]]


@dataclass(frozen=True, kw_only=True)
class ExtensionLink:
    """A ticket that names this conversation in the PHP extension's attributes."""

    object_id: int
    ref: str
    sync_on: bool


@dataclass(frozen=True, kw_only=True)
class LinkChanges:
    """Differences between iTop and our tables. Tickets are identified by their id in iTop.

    Messages after `since_part_at` and `since_part_order` are ours to copy; earlier ones were the PHP extension's.
    """

    itop_id: int = 0
    ticket_class: str = ""
    adopt: tuple[ExtensionLink, ...] = ()
    gone: tuple[int, ...] = ()
    found_again: tuple[int, ...] = ()
    merged_away_at: int = 0
    since_part_at: int = 0
    since_part_order: int = 0
    contact_ids: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        context: PanelContext,
        *,
        adopt: Iterable[ExtensionLink] = (),
        gone: Iterable[int] = (),
        found_again: Iterable[int] = (),
        merged_away_at: int = 0,
    ) -> LinkChanges:
        since_part_at, since_part_order = last_position(context.request.conversation)
        return cls(
            itop_id=context.itop.pk,
            ticket_class=context.profile.ticket_class,
            adopt=tuple(adopt),
            gone=tuple(gone),
            found_again=tuple(found_again),
            merged_away_at=merged_away_at,
            since_part_at=since_part_at,
            since_part_order=since_part_order,
            contact_ids=tuple(context.request.contact_ids),
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> LinkChanges:
        if stored is None:
            return cls()
        return cls(**{**stored, "adopt": tuple(ExtensionLink(**link) for link in stored["adopt"])})

    def to_json(self) -> dict[str, Any] | None:
        """Return None if there is nothing to apply."""
        has_changes = self.adopt or self.gone or self.found_again or self.merged_away_at
        return asdict(self) if has_changes else None

    @property
    def adopted_ids(self) -> frozenset[int]:
        return frozenset(link.object_id for link in self.adopt)


def find_extension_links(
    context: PanelContext, found: Found, person: Person, linked_ids: Collection[int]
) -> list[ExtensionLink]:
    """Return the tickets in `found` that the PHP extension linked to this conversation and that are not linked here."""
    if not context.workspace.has_intercom_attributes:
        return []
    ref, _url, activated = attribute_codes(context.workspace)
    named = [
        ticket
        for ticket in found
        if ticket.id not in linked_ids and ticket.text(ref) == context.request.conversation.id
    ]
    if not named:
        return []
    conversation = find_conversation(context)
    if _is_creating(conversation):
        # It may be the ticket that is being created, which gets its link from that.
        return []
    removed_ids = _removed_ids(context.workspace, conversation)
    return [
        ExtensionLink(
            object_id=ticket.id, ref=ticket.text("friendlyname"), sync_on=ticket.text(activated) == "yes"
        )
        for ticket in named
        if ticket.id not in removed_ids and has_ticket(context, ticket, person)
    ]


def find_merge_change(context: PanelContext) -> LinkChanges:
    """Return the change that stores when this conversation was merged into another one.

    It is empty if the conversation was not merged, if that is stored already, or if the bridge does not know it.
    """
    merged_away_at = context.request.conversation.merged_away_at
    conversation = find_conversation(context) if merged_away_at else None
    if conversation is None or conversation.merged_away_at == merged_away_at:
        return LinkChanges()
    return LinkChanges.of(context, merged_away_at=merged_away_at)


def apply_changes_of(context: PanelContext) -> None:
    """Apply the differences that the panel found in this conversation. Call it before a click is handled."""
    cached = CachedTickets.objects.with_link_changes().filter(
        workspace=context.workspace, conversation_id=context.request.conversation.id[:64]
    )
    for row in cached.select_related("workspace__itop", "workspace__profile"):
        apply_link_changes(row)
        forget_absence(context)


def apply_link_changes(cached: CachedTickets) -> None:
    """Store the differences that the panel found when it cached this list. Can be repeated."""
    changes = LinkChanges.from_json(cached.link_changes)
    workspace = cached.workspace
    # Parsed before the transaction begins: on SQLite, it excludes all other writers.
    unlinked = _unlinked_parts(cached) if changes.adopt else {}
    with transaction.atomic():
        current = CachedTickets.objects.with_link_changes().filter(pk=cached.pk, at=cached.at)
        if not current.update(link_changes=None) or changes.itop_id != workspace.itop_id:
            # Applied by another process, or found in another iTop.
            return
        tickets = Ticket.objects.filter(itop=workspace.itop, ticket_class=changes.ticket_class)
        tickets.filter(object_id__in=changes.gone, gone_at=None).update(gone_at=timezone.now())
        tickets.filter(object_id__in=changes.found_again).update(gone_at=None)
        conversation = Conversation.objects.filter(
            workspace=workspace, conversation_id=cached.conversation_id
        ).first()
        if conversation is not None:
            conversation.learn_merged_away(changes.merged_away_at)
        removed_ids = _removed_ids(workspace, conversation)
        adopt = [link for link in changes.adopt if link.object_id not in removed_ids]
        if adopt and not _is_creating(conversation):
            _adopt(cached, changes, adopt, unlinked)


def _adopt(
    cached: CachedTickets, changes: LinkChanges, adopt: list[ExtensionLink], unlinked: UnlinkedParts
) -> None:
    workspace = cached.workspace
    conversation = Conversation.objects.find_or_create(workspace, cached.conversation_id)
    Participant.objects.note(conversation, changes.contact_ids)
    since, since_part = _our_beginning(cached, changes, unlinked | _unlinked_parts(cached, known=unlinked))
    for found in adopt:
        ticket = known_ticket(workspace.itop, changes.ticket_class, found.object_id, found.ref)
        link, is_new = TicketLink.objects.get_or_create(
            conversation=conversation,
            ticket=ticket,
            defaults={
                "sync_on": found.sync_on,
                "attributes_synced": True,
                "since_part_at": since_part[0],
                "since_part_order": since_part[1],
            },
        )
        if is_new:
            log.info("link.adopted", ticket=ticket.ref, **conversation.names)
            deliver_since(link, since)


def _our_beginning(
    cached: CachedTickets, changes: LinkChanges, unlinked: UnlinkedParts
) -> tuple[dt.datetime, tuple[int, int]]:
    """Return since when messages are ours to copy: the time of their events, and the part before the first of them.

    Since Intercom calls this service, the extension gets no messages. Those that arrived before a teammate opened the
    panel found no link. The writer looks into the log before it writes them, in case the extension got them too.
    """
    since_part = changes.since_part_at, changes.since_part_order
    since = cached.at - RECENT_EVENTS
    for received_at, parts in unlinked.values():
        for part in parts:
            since = min(since, received_at)
            # A part whose date cannot be read does not show which parts are older.
            if part.created_at:
                since_part = min(since_part, (part.created_at, order_of(part.id) - 1))
    return since, since_part


def _unlinked_parts(cached: CachedTickets, known: Collection[int] = ()) -> UnlinkedParts:
    """Return the parts that arrived for the conversation before it had a link, except those of `known` events."""
    events = WebhookEvent.objects.filter(
        workspace=cached.workspace,
        conversation_id=cached.conversation_id,
        state=WebhookEvent.State.SKIPPED,
        reason_code=ReasonCode.NOT_LINKED,
        cleaned_at=None,
    ).exclude(pk__in=known)
    found: UnlinkedParts = {}
    for event in events.order_by("received_at", "pk"):
        reported = classify(event)
        found[event.pk] = event.received_at, () if isinstance(reported, Skip) else reported.parts
    return found


def _is_creating(conversation: Conversation | None) -> bool:
    return TicketCreation.objects.waiting().filter(conversation=conversation).exists()


def _removed_ids(workspace: Workspace, conversation: Conversation | None) -> set[int]:
    """Return the tickets that a teammate unlinked here; iTop's attributes may not say so yet."""
    removals = LinkRemoval.objects.not_undone().filter(conversation=conversation, ticket__itop=workspace.itop)
    return set(removals.values_list("ticket__object_id", flat=True))
