"""Store what changed in a ticket, and the messages about it, in one transaction: all of it or nothing."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone, translation

from intercom_bridge.datamodel.lookup import ticket_class_of, value_label
from intercom_bridge.models import (
    Conversation,
    EventKind,
    FileToIntercom,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
)
from intercom_bridge.models.event_rules import Action, EventRules, rules_of
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops.metrics import increment, ticket_events
from intercom_bridge.sync.verify import VisibleContent

from .compare import Change
from .files import FILES, add_rows, assign_files
from .rules import plan

log = structlog.get_logger(__name__)

ENTRIES = (EventKind.PUBLIC_ENTRY, EventKind.CUSTOMER_ENTRY, EventKind.PRIVATE_ENTRY)
STATES = (EventKind.STATUS, EventKind.PENDING, EventKind.RESOLVED, EventKind.CLOSED, EventKind.REOPENED)
# A link to a ticket in iTop's texts: [[UserRequest:12|R-000012]].
_TICKET_ID = re.compile(r"\[\[[A-Za-z_]\w*:([1-9][0-9]{0,17})\b")
MAX_PARENTS = 20
# iTop copies a parent's entry to its children, and resolves them, within the same save.
COPIED_WITHIN = dt.timedelta(seconds=5)

State = tuple[object, ...]


def record(
    ticket: Ticket,
    changes: Sequence[Change],
    update: Mapping[str, Any],
    *,
    compared_with: State | None = None,
) -> list[TicketEvent]:
    """Update the ticket's snapshot, and store an event per change and linked conversation, with the messages.

    Return the new events. Events that are stored already are left as they are, so it can be repeated. Nothing is
    stored if the snapshot's `state_of` is no longer what the ticket was `compared_with`: a faster worker has done it.
    """
    with transaction.atomic():
        # Locked, so that two workers do not store the same events.
        snapshot = TicketSnapshot.objects.select_for_update().filter(ticket=ticket).first()
        if snapshot is None or (compared_with and state_of(snapshot) != compared_with):
            return []
        events: list[TicketEvent] = []
        if changes:
            links = TicketLink.objects.filter(ticket=ticket).order_by("pk")
            for link in links.select_related(
                "conversation__workspace__profile", "conversation__workspace__itop"
            ):
                events += _record_for(link, ticket, changes)
            update = {**update, "active_at": timezone.now()}
        for name, value in update.items():
            setattr(snapshot, name, value)
        snapshot.save(update_fields=list(update))
    for event in events:
        increment(ticket_events, ticket.itop.name, event.kind)
        log.info("ticket_event.recorded", ticket_event=event.pk, kind=event.kind, ticket=ticket.ref)
    return events


def state_of(snapshot: TicketSnapshot) -> State:
    """Return what changes whenever the snapshot is updated."""
    return snapshot.read_at, snapshot.last_update, snapshot.status, snapshot.entries


def _record_for(link: TicketLink, ticket: Ticket, changes: Sequence[Change]) -> list[TicketEvent]:
    conversation = link.conversation
    rules = rules_of(conversation.workspace)
    keys = [change.key for change in changes]
    stored = TicketEvent.objects.filter(ticket=ticket, conversation=conversation, key__in=keys)
    recorded = set(stored.values_list("key", flat=True))
    # Private entries concern only those who want them.
    stores_private = rules.action_for(EventKind.PRIVATE_ENTRY) != Action.NOTHING
    events = [
        _event(ticket, conversation, change)
        for change in changes
        if change.key not in recorded and (change.kind != EventKind.PRIVATE_ENTRY or stores_private)
    ]
    reason = _reason_for_silence(link)
    for event in events:
        event.reason_code = reason or (
            ReasonCode.REPORTED_WITH_PARENT if _is_copy(event) else ReasonCode.NONE
        )
        event.save()
    _join_files(ticket, conversation, changes, events)
    add_rows(events, rules)
    _plan([event for event in events if not event.reason_code], conversation, rules)
    return events


def _join_files(
    ticket: Ticket, conversation: Conversation, changes: Iterable[Change], events: Sequence[TicketEvent]
) -> None:
    """Store with which entry each file was saved."""
    entry_keys = {change.key: change.entry_key for change in changes if change.entry_key}
    if not entry_keys:
        return
    found = TicketEvent.objects.filter(
        ticket=ticket, conversation=conversation, key__in=set(entry_keys.values())
    )
    entries = {entry.key: entry for entry in found}
    for event in events:
        if entry := entries.get(entry_keys.get(event.key, "")):
            event.entry = entry
            event.save(update_fields=["entry"])


def report_after_merge(source: Conversation, link: TicketLink) -> None:
    """Report to the link's conversation what happened to its ticket and the source, merged into it, was not told."""
    conversation = link.conversation
    merged = ReasonCode.CONVERSATION_MERGED
    with transaction.atomic():
        waiting = OutgoingMessage.objects.waiting().filter(
            attempts=0, events__ticket=link.ticket, conversation=source
        )
        OutgoingMessage.objects.filter(pk__in=list(waiting.values_list("pk", flat=True)), attempts=0).update(
            state=OutgoingMessage.State.FAILED, reason_code=merged
        )
        known = TicketEvent.objects.filter(ticket=link.ticket, conversation=conversation)
        is_untold = Q(message=None, reason_code=merged) | Q(
            message__state=OutgoingMessage.State.FAILED, message__reason_code=merged
        )
        untold = TicketEvent.objects.filter(is_untold, ticket=link.ticket, conversation=source)
        untold = untold.exclude(key__in=known.values("key"))
        events = list(untold.select_related("ticket__itop").order_by("pk"))
        _move_file_notes(source, link, known)
        FileToIntercom.objects.filter(event__in=events, message=F("event__message")).update(
            message=None, state=FileToIntercom.State.WAITING
        )
        for event in events:
            event.conversation, event.message = conversation, None
            event.reason_code = _reason_for_silence(link)
            event.save()
        _plan(
            [event for event in events if not event.reason_code],
            conversation,
            rules_of(conversation.workspace),
        )


def _move_file_notes(source: Conversation, link: TicketLink, known: QuerySet[TicketEvent]) -> None:
    """Have the notes that contain only files, and that the source did not get, posted in the link's conversation.

    Their files are not planned again. `known` are the events that the link's conversation has of its own.
    """
    theirs = FileToIntercom.objects.filter(event__key__in=known.values("key"))
    is_untold = Q(state=OutgoingMessage.State.WAITING, attempts=0) | Q(
        state=OutgoingMessage.State.FAILED, reason_code=ReasonCode.CONVERSATION_MERGED
    )
    notes = OutgoingMessage.objects.filter(
        is_untold,
        conversation=source,
        once_key__startswith=FILES,
        admin_name="",
        cleaned_at=None,
        files__event__ticket=link.ticket,
    ).exclude(files__in=theirs)
    moved = OutgoingMessage.objects.filter(is_untold, pk__in=list(notes.values_list("pk", flat=True)))
    moved.waiting().update(conversation=link.conversation, due_at=timezone.now())
    moved.retry_now(conversation=link.conversation, attempts=0)


def links_moved_from(source: Conversation) -> QuerySet[TicketLink]:
    """Return the links that were moved from this merged conversation to the one that it was merged into."""
    links = TicketLink.objects.filter(
        conversation__workspace=source.workspace, since_part_at=source.merged_away_at, since_part_order=0
    )
    return links.exclude(since_part_at=0).select_related("conversation__workspace__profile", "ticket__itop")


def _plan(events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules) -> None:
    """Store the messages about these events."""
    if events:
        messages = plan(events, conversation, rules)
        for message in messages:
            message.save()
        for event in events:
            # Its primary key is known now.
            event.message = event.message
            event.save(update_fields=["message", "reason_code", "reason_detail"])
        assign_files(events, messages, rules)


def _event(ticket: Ticket, conversation: Conversation, change: Change) -> TicketEvent:
    workspace = conversation.workspace
    before, after = change.before, change.after
    if change.kind in STATES:
        ticket_class = ticket_class_of(workspace.itop, ticket.ticket_class)
        status = workspace.profile.code("status")
        with translation.override(workspace.language):
            before, after = (value_label(ticket_class, status, state) for state in (before, after))
    return TicketEvent(
        ticket=ticket,
        conversation=conversation,
        kind=change.kind,
        key=change.key,
        happened_at=change.happened_at,
        author_name=change.author.name[:200],
        author_email=change.author.email[:254],
        is_by_agent=change.author.is_agent,
        before=before[:200],
        after=after[:200],
        content=change.content,
    )


def _reason_for_silence(link: TicketLink) -> str:
    if not link.conversation.workspace.enabled:
        return ReasonCode.WORKSPACE_DISABLED
    if link.conversation.merged_away_at:
        return ReasonCode.CONVERSATION_MERGED
    return ReasonCode.NONE if link.sync_on else ReasonCode.SYNC_PAUSED


def _is_copy(event: TicketEvent) -> bool:
    """Return whether iTop made the change to a child when a person made it to the parent, which was reported."""
    if event.happened_at is None:
        return False
    reported = TicketEvent.objects.filter(
        conversation=event.conversation,
        kind=event.kind,
        happened_at__gte=event.happened_at - COPIED_WITHIN,
        happened_at__lte=event.happened_at + COPIED_WITHIN,
        reason_code=ReasonCode.NONE,
    ).exclude(ticket=event.ticket)
    if event.kind == EventKind.RESOLVED:
        # The child's solution names the parent.
        parents = [int(number) for number in _TICKET_ID.findall(event.content)[:MAX_PARENTS]]
        return reported.filter(
            ticket__ticket_class=event.ticket.ticket_class, ticket__object_id__in=parents
        ).exists()
    if event.kind not in ENTRIES:
        return False
    same = reported.filter(author_name=event.author_name).values_list("content", flat=True)
    text = VisibleContent.of(event.content).text
    return any(VisibleContent.of(content).text == text for content in same)
