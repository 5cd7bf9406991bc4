"""Store the changes of a ticket, and the messages that report them, in one transaction."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
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
from intercom_bridge.sync.failure_notes import find_gone_note
from intercom_bridge.sync.verify import VisibleContent

from .compare import Change
from .files import FILES, add_file_rows, assign_files
from .note import more_files_body
from .rules import plan

log = structlog.get_logger(__name__)

ENTRIES = (EventKind.PUBLIC_ENTRY, EventKind.CUSTOMER_ENTRY, EventKind.PRIVATE_ENTRY)
STATES = (EventKind.STATUS, EventKind.PENDING, EventKind.RESOLVED, EventKind.CLOSED, EventKind.REOPENED)
# A link to a ticket in iTop's texts, such as [[UserRequest:12|R-000012]]. The group is the ticket's id.
_TICKET_LINK = re.compile(r"\[\[[A-Za-z_]\w*:([1-9][0-9]{0,17})\b")
MAX_PARENTS = 20
# When a parent ticket is saved, iTop copies the entry to its child tickets, and resolves them, during the same save.
COPIED_WITHIN = dt.timedelta(seconds=5)

Version = tuple[object, ...]


def record(
    ticket: Ticket,
    changes: Sequence[Change],
    new_values: Mapping[str, Any],
    *,
    compared_with: Version | None = None,
) -> list[TicketEvent]:
    """Store an event for each change and linked conversation, the messages, and the snapshot's new values.

    Return the new events. Events that are already stored stay unchanged, so a repetition does no harm. Store nothing
    if the ticket has no snapshot any more, or if the snapshot's version is not the one that the ticket was
    `compared_with`: then a faster worker has recorded these changes.
    """
    with transaction.atomic():
        # The lock makes other workers wait, so that two workers do not store the same events.
        snapshot = TicketSnapshot.objects.select_for_update().filter(ticket=ticket).first()
        if snapshot is None or (compared_with and version_of(snapshot) != compared_with):
            return []
        if changes:
            new_values = {**new_values, "active_at": timezone.now()}
        # Saved first, because what is sent to the customer depends on the ticket's present caller.
        for name, value in new_values.items():
            setattr(snapshot, name, value)
        snapshot.save(update_fields=list(new_values))
        events: list[TicketEvent] = []
        if changes:
            links = TicketLink.objects.filter(ticket=ticket).order_by("pk")
            for link in links.select_related(
                "conversation__workspace__profile", "conversation__workspace__itop"
            ):
                events += _record_for(link, ticket, changes)
    for event in events:
        increment(ticket_events, ticket.itop.name, event.kind)
        log.info("ticket_event.recorded", ticket_event=event.pk, kind=event.kind, ticket=ticket.ref)
    return events


def version_of(snapshot: TicketSnapshot) -> Version:
    """Return values that change when another worker reads the ticket or records its changes."""
    return snapshot.read_at, snapshot.last_update, snapshot.status, snapshot.entries


def _record_for(link: TicketLink, ticket: Ticket, changes: Sequence[Change]) -> list[TicketEvent]:
    """Store the events of one conversation and the messages about them. Return the events that are new."""
    conversation = link.conversation
    rules = rules_of(conversation.workspace)
    keys = [change.key for change in changes]
    stored = TicketEvent.objects.filter(ticket=ticket, conversation=conversation, key__in=keys)
    stored_keys = set(stored.values_list("key", flat=True))
    # Private entries are stored only if the rules report them.
    stores_private = rules.action_for(EventKind.PRIVATE_ENTRY) != Action.NOTHING
    events = [
        _event(ticket, conversation, change)
        for change in changes
        if change.key not in stored_keys and (change.kind != EventKind.PRIVATE_ENTRY or stores_private)
    ]
    reason = _why_not_reported(link)
    for event in events:
        event.reason_code = reason
        if not reason and _is_copy_of_reported(event):
            event.reason_code = ReasonCode.REPORTED_WITH_PARENT
        event.save()
    _connect_files_to_entries(ticket, conversation, changes, events)
    add_file_rows(events, rules)
    _store_messages([event for event in events if not event.reason_code], conversation, rules)
    return events


def _connect_files_to_entries(
    ticket: Ticket, conversation: Conversation, changes: Iterable[Change], events: Sequence[TicketEvent]
) -> None:
    """Store on each file's event the event of the public entry that the file was saved with."""
    entry_keys = {change.key: change.entry_key for change in changes if change.entry_key}
    if not entry_keys:
        return
    # An entry may have been recorded earlier than its files.
    stored = TicketEvent.objects.filter(
        ticket=ticket, conversation=conversation, key__in=set(entry_keys.values())
    )
    entries = {entry.key: entry for entry in stored}
    for event in events:
        if entry := entries.get(entry_keys.get(event.key, "")):
            event.entry = entry
            event.save(update_fields=["entry"])


def report_after_merge(source: Conversation, link: TicketLink) -> None:
    """Report in the link's conversation the changes and files of its ticket that were not posted in `source`.

    The conversation `source` was merged into the link's conversation, so nothing more is posted in it.
    """
    conversation = link.conversation
    failed, merged = OutgoingMessage.State.FAILED, ReasonCode.CONVERSATION_MERGED
    with transaction.atomic():
        # A message that was attempted may already be in Intercom, so only others are withdrawn.
        is_about_ticket = Q(events__ticket=link.ticket) | Q(files__event__ticket=link.ticket)
        unattempted = OutgoingMessage.objects.waiting().filter(
            is_about_ticket, attempts=0, conversation=source, admin_name=""
        )
        unattempted_pks = list(unattempted.values_list("pk", flat=True))
        OutgoingMessage.objects.filter(pk__in=unattempted_pks, attempts=0).erase_content(
            state=failed, reason_code=merged
        )
        already_recorded = TicketEvent.objects.filter(ticket=link.ticket, conversation=conversation)
        recorded_keys = list(already_recorded.values_list("key", flat=True))
        has_no_message = Q(message=None, reason_code=merged)
        has_failed_message = Q(message__state=failed, message__reason_code=merged)
        unreported = TicketEvent.objects.filter(
            has_no_message | has_failed_message, ticket=link.ticket, conversation=source
        ).exclude(key__in=recorded_keys)
        events = list(unreported.select_related("ticket__itop").order_by("pk"))
        unposted_files = FileToIntercom.objects.filter(
            event__ticket=link.ticket,
            message__conversation=source,
            message__state=failed,
            message__reason_code=merged,
            message__admin_name="",  # no teammate sent it
            cleaned_at=None,
        ).exclude(event__conversation=source, event__key__in=recorded_keys)
        files = list(unposted_files.select_related("message").order_by("event", "position"))
        FileToIntercom.objects.filter(pk__in=[file.pk for file in files]).update(
            message=None, state=FileToIntercom.State.WAITING
        )
        reason = _why_not_reported(link)
        for event in events:
            event.conversation, event.message = conversation, None
            event.reason_code = reason
            event.save()
        if not reason:
            _store_messages(events, conversation, rules_of(conversation.workspace))
            # Another message has reported the events of the other files, or reports them now.
            event_pks = {event.pk for event in events}
            _store_file_messages([file for file in files if file.event_id not in event_pks], link)


def _store_file_messages(files: Sequence[FileToIntercom], link: TicketLink) -> None:
    """Store messages that contain only these files: a note for those of notes, and a reply for those of replies."""
    for is_note in (True, False):
        chosen = [file for file in files if file.message and file.message.is_note == is_note]
        if chosen:
            message = OutgoingMessage.objects.create(
                conversation=link.conversation,
                is_note=is_note,
                once_key=f"{FILES}{chosen[0].pk}",
                body=more_files_body(link.ticket, link.conversation, is_note=is_note),
            )
            FileToIntercom.objects.filter(pk__in=[file.pk for file in chosen]).update(message=message)


def links_moved_from(source: Conversation) -> QuerySet[TicketLink]:
    """Return the links that a teammate moved from `source` to the conversation that it was merged into.

    Such a link copies messages from the time of the merge on (see tickets/links/merge.py).
    """
    links = TicketLink.objects.filter(
        conversation__workspace=source.workspace, since_part_at=source.merged_away_at, since_part_order=0
    )
    # 0 means that `source` was not merged.
    return links.exclude(since_part_at=0).select_related("conversation__workspace__profile", "ticket__itop")


def _store_messages(events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules) -> None:
    """Store the messages about these events, and on each event its message or the reason why it has none."""
    if not events:
        return
    for event in events:
        if event.kind == EventKind.GONE:
            # A note about a message that could not be copied may have reported it already.
            event.message = find_gone_note(conversation, event.ticket)
    unreported = [event for event in events if event.message is None]
    messages = plan(unreported, conversation, rules)
    for message in messages:
        message.save()
    for event in events:
        # This sets `message_id`: the message had no primary key when `plan` assigned it.
        event.message = event.message
        event.save(update_fields=["message", "reason_code", "reason_detail"])
    assign_files(unreported, messages, rules)


def _event(ticket: Ticket, conversation: Conversation, change: Change) -> TicketEvent:
    """Return the unsaved event for a change. A status is stored as its label in the workspace's language."""
    workspace = conversation.workspace
    before, after = change.before, change.after
    if change.kind in STATES:
        ticket_class = ticket_class_of(workspace.itop, ticket.ticket_class)
        status_code = workspace.profile.code("status")
        with translation.override(workspace.language):
            before = value_label(ticket_class, status_code, before)
            after = value_label(ticket_class, status_code, after)
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


def _why_not_reported(link: TicketLink) -> str:
    """Return the code of the reason why changes are not reported to the link's conversation, "" if they are."""
    if not link.conversation.workspace.enabled:
        return ReasonCode.WORKSPACE_DISABLED
    if link.conversation.merged_away_at:
        return ReasonCode.CONVERSATION_MERGED
    return ReasonCode.NONE if link.sync_on else ReasonCode.SYNC_PAUSED


def _is_copy_of_reported(event: TicketEvent) -> bool:
    """Return whether iTop copied this change from a parent ticket whose change is reported to the same conversation."""
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
        # iTop writes a link to the parent into the child's solution.
        parent_ids = [int(number) for number in _TICKET_LINK.findall(event.content)[:MAX_PARENTS]]
        return reported.filter(
            ticket__ticket_class=event.ticket.ticket_class, ticket__object_id__in=parent_ids
        ).exists()
    if event.kind not in ENTRIES:
        return False
    text = VisibleContent.of(event.content).text
    contents = reported.filter(author_name=event.author_name).values_list("content", flat=True)
    return any(VisibleContent.of(content).text == text for content in contents)
