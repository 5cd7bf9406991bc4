"""Find and apply changes of links that the panel notices when it reads the tickets from iTop.

The panel notices links that the PHP extension stored in iTop, tickets that iTop no longer has or has again, and the
merge of the conversation into another one. It must not save them at once: opening the panel may change only caches,
because Intercom may send that request several times and without a teammate's decision. So the panel stores the changes
(`LinkChanges`) with the cached list of tickets. The worker or the teammate's next click applies them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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
    get_or_create_ticket,
    last_position,
)
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.scope import has_ticket
from itop_client import Found

log = structlog.get_logger(__name__)


class UnlinkedEvent(NamedTuple):
    """A webhook event that was skipped because the conversation had no link."""

    received_at: dt.datetime
    parts: tuple[Part, ...]


# By the event's primary key.
UnlinkedEvents = dict[int, UnlinkedEvent]


@dataclass(frozen=True, kw_only=True)
class ExtensionLink:
    """A ticket in iTop that names this conversation in the PHP extension's attributes. `object_id`: its id in iTop."""

    object_id: int
    ref: str
    sync_on: bool


@dataclass(frozen=True, kw_only=True)
class LinkChanges:
    """Differences between iTop and our tables, which are to be saved in our tables.

    adopt: links to create.
    gone, found_again: ids in iTop of linked tickets that iTop no longer has, or has again.
    merged_away_at: when the conversation was merged into another one, in seconds since 1970; 0 if it was not.
    since_part_at, since_part_order: the last part of the conversation when the panel was opened. The bridge writes
        later messages to the adopted tickets. The PHP extension has written the earlier ones.
    contact_ids: the conversation's contacts.
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
        adopt = tuple(ExtensionLink(**link) for link in stored["adopt"])
        return cls(**{**stored, "adopt": adopt})

    def to_json(self) -> dict[str, Any] | None:
        """Return the changes as JSON values, or None if there are none."""
        return asdict(self) if self.has_changes else None

    @property
    def has_changes(self) -> bool:
        return bool(self.adopt or self.gone or self.found_again or self.merged_away_at)

    @property
    def adopted_ids(self) -> frozenset[int]:
        """The ids in iTop of the tickets to adopt."""
        return frozenset(link.object_id for link in self.adopt)


def find_extension_links(
    context: PanelContext, found: Found, person: Person, linked_ids: Collection[int]
) -> list[ExtensionLink]:
    """Return the links to adopt: those to `found` tickets that only the PHP extension has linked to this conversation.

    Omit tickets that a teammate has unlinked here, and tickets outside the scope.
    """
    if not context.workspace.has_extension_attributes:
        return []
    ref, _url, activated = attribute_codes(context.workspace)
    candidates = [
        ticket
        for ticket in found
        if ticket.id not in linked_ids and ticket.text(ref) == context.request.conversation.id
    ]
    if not candidates:
        return []
    conversation = find_conversation(context)
    if _is_creating(conversation):
        # The candidate may be the ticket that is being created. Its creation makes the link.
        return []
    removed_ids = _removed_ids(context.workspace, conversation)
    return [
        ExtensionLink(
            object_id=ticket.id, ref=ticket.text("friendlyname"), sync_on=ticket.text(activated) == "yes"
        )
        for ticket in candidates
        if ticket.id not in removed_ids and has_ticket(context, ticket, person)
    ]


def find_merge_change(context: PanelContext) -> LinkChanges:
    """Return the change that stores at what time this conversation was merged into another one.

    Return no change if it was not merged, if that time is stored already, or if the conversation has no row.
    """
    merged_away_at = context.request.conversation.merged_away_at
    conversation = find_conversation(context) if merged_away_at else None
    if conversation is None or conversation.merged_away_at == merged_away_at:
        return LinkChanges()
    return LinkChanges.of(context, merged_away_at=merged_away_at)


def apply_changes_of(context: PanelContext) -> None:
    """Apply the changes that the panel noticed in this conversation. Call it before a click is handled."""
    cached = CachedTickets.objects.with_link_changes().filter(
        workspace=context.workspace, conversation_id=context.request.conversation.id[:64]
    )
    for row in cached.select_related("workspace__itop", "workspace__profile"):
        apply_link_changes(row)
        forget_absence(context)


def apply_link_changes(cached: CachedTickets) -> None:
    """Save the changes that the panel noticed when it cached this list. A second call does nothing."""
    changes = LinkChanges.from_json(cached.link_changes)
    workspace = cached.workspace
    # The events are parsed before the transaction, because on SQLite a transaction blocks all other writers.
    unlinked = _unlinked_events(cached) if changes.adopt else {}
    with transaction.atomic():
        current = CachedTickets.objects.with_link_changes().filter(pk=cached.pk, at=cached.at)
        is_claimed = bool(current.update(link_changes=None))
        workspace_has_other_itop = changes.itop_id != workspace.itop_id
        if not is_claimed or workspace_has_other_itop:
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
    cached: CachedTickets, changes: LinkChanges, adopt: list[ExtensionLink], unlinked: UnlinkedEvents
) -> None:
    """Create the links, and deliver the messages that the PHP extension did not get."""
    workspace = cached.workspace
    conversation = Conversation.objects.find_or_create(workspace, cached.conversation_id)
    Participant.objects.record(conversation, changes.contact_ids)
    # Events may have been skipped between the first reading and this transaction.
    unlinked = unlinked | _unlinked_events(cached, exclude=unlinked)
    beginning = _find_beginning(cached, changes, unlinked)
    for extension_link in adopt:
        ticket = get_or_create_ticket(
            workspace.itop, changes.ticket_class, extension_link.object_id, extension_link.ref
        )
        link, is_new = TicketLink.objects.get_or_create(
            conversation=conversation,
            ticket=ticket,
            defaults={
                "sync_on": extension_link.sync_on,
                "attributes_synced": True,
                "since_part_at": beginning.since_part_at,
                "since_part_order": beginning.since_part_order,
            },
        )
        if is_new:
            log.info("link.adopted", ticket=ticket.ref, **conversation.log_fields)
            deliver_since(link, beginning.received_since)


class _Beginning(NamedTuple):
    """Where the bridge begins to write messages to an adopted ticket.

    It writes the parts of the events that were received since `received_since`, if they come after the position
    (`since_part_at`, `since_part_order`) in the conversation.
    """

    received_since: dt.datetime
    since_part_at: int
    since_part_order: int


def _find_beginning(cached: CachedTickets, changes: LinkChanges, unlinked: UnlinkedEvents) -> _Beginning:
    """Return a beginning before the first message that the bridge skipped because it did not know of the link.

    `unlinked` contains the notifications of these messages. If the PHP extension has written one of them, the message
    is not written twice: the writer first looks for it in the ticket's log.
    """
    position = changes.since_part_at, changes.since_part_order
    received_since = cached.at - RECENT_EVENTS
    for event in unlinked.values():
        for part in event.parts:
            received_since = min(received_since, event.received_at)
            # A part without a readable date has no position.
            if part.created_at:
                # One less, because only parts after the position are written.
                position = min(position, (part.created_at, order_of(part.id) - 1))
    return _Beginning(received_since, *position)


def _unlinked_events(cached: CachedTickets, exclude: Collection[int] = ()) -> UnlinkedEvents:
    """Return the events of the conversation that were skipped because it had no link. `exclude`: primary keys."""
    skipped = WebhookEvent.objects.filter(
        workspace=cached.workspace,
        conversation_id=cached.conversation_id,
        state=WebhookEvent.State.SKIPPED,
        reason_code=ReasonCode.NOT_LINKED,
        cleaned_at=None,
    ).exclude(pk__in=exclude)
    unlinked: UnlinkedEvents = {}
    for event in skipped.order_by("received_at", "pk"):
        content = classify(event)
        parts = () if isinstance(content, Skip) else content.parts
        unlinked[event.pk] = UnlinkedEvent(event.received_at, parts)
    return unlinked


def _is_creating(conversation: Conversation | None) -> bool:
    """Return whether the outcome of a ticket creation from this conversation is not known yet."""
    return TicketCreation.objects.waiting().filter(conversation=conversation).exists()


def _removed_ids(workspace: Workspace, conversation: Conversation | None) -> set[int]:
    """Return the ids in iTop of the tickets that a teammate has unlinked from this conversation.

    iTop may still name the conversation in their attributes, because the worker updates these later.
    """
    removals = LinkRemoval.objects.not_undone().filter(conversation=conversation, ticket__itop=workspace.itop)
    return set(removals.values_list("ticket__object_id", flat=True))
