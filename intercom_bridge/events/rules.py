"""Decide which messages report changes in iTop to a conversation, by the rules of its workspace."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.models import (
    Conversation,
    EventKind,
    EventRules,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    TicketEvent,
    TicketSnapshot,
)
from intercom_bridge.models.event_rules import Action, FileAction
from intercom_bridge.models.reason import ReasonCode

from .files import FILES, rows_by_event
from .note import further_changes, headline, note_body, reply_body

log = structlog.get_logger(__name__)

# If a conversation gets this many messages about changes in iTop within PERIOD, another program is probably answering
# them. Then the bridge stops posting in it.
MAX_MESSAGES = 30
PERIOD = dt.timedelta(minutes=5)
# Prefixes of `once_key`: of the note after posting was resumed, and of a note that only explains a reopening.
RESUMED = "resumed:"
REOPENING = "reopen:"
# What a headline may end with if its entry follows: a colon, and the spaces that some languages add.
_BEFORE_ENTRY = ": \u00a0\u202f"
# These are never sent to customers, whatever the rules say.
INTERNAL_KINDS = frozenset({EventKind.CUSTOMER_ENTRY, EventKind.PRIVATE_ENTRY, EventKind.GONE})
# The caller's id if a ticket has no caller, or if the caller of a creation was erased.
NO_CALLER = 0
# The note after posting was resumed names this many events. It states the number of the others.
MAX_LISTED = 20


def plan(
    events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules
) -> list[OutgoingMessage]:
    """Return the unsaved messages about events of the same save in iTop.

    `events` are saved rows of this conversation and one ticket. On each, set `message`, or the reason why it has none.
    The caller saves the messages first, then the fields `message`, `reason_code` and `reason_detail` of the events.

    If the conversation got MAX_MESSAGES messages within PERIOD, store on it that posting has stopped, and return one
    last note that says so.
    """
    why_not_posted = _why_not_posted(conversation)
    by_action: dict[str, list[TicketEvent]] = {action: [] for action in Action.values}
    may_reply = not (events and _has_new_caller(events[0].ticket, conversation))
    actions = {event.pk: _action_for(event, rules, may_reply=may_reply) for event in events}
    entries_in_reply = {pk for pk, action in actions.items() if action == Action.REPLY}
    for event in events:
        action = actions[event.pk]
        # `entry_id` is only set on the event of a file: the event of the log entry that was saved with the file.
        if rules.files == FileAction.WITH_REPLY and event.entry_id in entries_in_reply:
            action = Action.REPLY
        event.reason_code = ReasonCode.NOT_REPORTED if action == Action.NOTHING else why_not_posted
        by_action[action].append(event)
    noted, replied = by_action[Action.NOTE], by_action[Action.REPLY]
    if why_not_posted or not (noted or replied):
        return []
    if _has_too_many_messages(conversation):
        for event in (*noted, *replied):
            event.reason_code = ReasonCode.POSTING_STOPPED
        return [_stop(conversation, events)]
    messages = _messages(noted, replied, conversation, rules)
    reopening = [event for event in events if event.kind in rules.reopens_on]
    if reopening:
        if not messages[0].is_note:
            # A reply to the customer does not explain to teammates why the conversation is open again.
            messages.insert(0, _reopening_note(reopening, conversation))
        messages[0].reopens, messages[0].assign_to = True, _assignee(rules)
    return messages


def _messages(
    noted: Sequence[TicketEvent],
    replied: Sequence[TicketEvent],
    conversation: Conversation,
    rules: EventRules,
) -> list[OutgoingMessage]:
    """Return the note and the reply. If files stay internal, the note also gets the pictures of the reply's entries."""
    messages = []
    files = rows_by_event(replied) if rules.files == FileAction.NOTE else {}
    pictured = [event for event in replied if event.pk in files]
    if noted:
        messages.append(_message(noted, is_note=True, body=note_body(noted, conversation, pictured)))
    elif pictured:
        body = note_body([], conversation, pictured)
        messages.append(_note(conversation, f"{FILES}event:{pictured[0].pk}", body))
    if replied:
        messages.append(_message(replied, is_note=False, body=reply_body(replied, conversation, rules)))
    return messages


def _has_new_caller(ticket: Ticket, conversation: Conversation) -> bool:
    """Return whether the ticket was created from this conversation, and has been given another caller since.

    Its texts may then not be meant for the customer of this conversation. Return False if the first caller
    was the workspace's caller for unknown customers, because the new caller is then probably the customer.
    """
    creations = TicketCreation.objects.filter(conversation=conversation, ticket=ticket)
    first_callers = creations.exclude(
        caller_id__in=(NO_CALLER, conversation.workspace.default_caller_id or NO_CALLER)
    )
    first_caller = first_callers.values_list("caller_id", flat=True).first()
    if first_caller is None:
        return False
    caller = TicketSnapshot.objects.filter(ticket=ticket).values_list("caller_id", flat=True).first()
    return caller not in (None, "", str(NO_CALLER), str(first_caller))


def _action_for(event: TicketEvent, rules: EventRules, *, may_reply: bool) -> str:
    """Return the rules' action for the event, or a note if a reply is not allowed or a reopening must be explained."""
    action = rules.action_for(event.kind)
    # A public entry may be by anybody. Only the words of a team's members are sent to the customer.
    is_entry_of_other = event.kind == EventKind.PUBLIC_ENTRY and not event.is_by_agent
    if action == Action.REPLY and (not may_reply or event.kind in INTERNAL_KINDS or is_entry_of_other):
        return Action.NOTE
    if action == Action.NOTHING and event.kind in rules.reopens_on:
        return Action.NOTE
    return action


@transaction.atomic
def resume(conversation: Conversation) -> bool:
    """Allow posts in the conversation again, and store one note about all events that were held back.

    Return False if posting was not stopped, or if somebody has just resumed it.
    """
    stopped_at = conversation.posting_stopped_at
    stopped = Conversation.objects.filter(pk=conversation.pk, posting_stopped_at=stopped_at)
    if stopped_at is None or not stopped.update(posting_stopped_at=None):
        return False
    conversation.posting_stopped_at = None
    events = TicketEvent.objects.filter(
        conversation=conversation,
        message=None,
        reason_code=ReasonCode.POSTING_STOPPED,
        ticket__links__conversation=conversation,
    )
    held_back = list(events.select_related("ticket__itop").order_by("pk"))
    note, _is_new = OutgoingMessage.objects.get_or_create(
        conversation=conversation,
        once_key=f"{RESUMED}{stopped_at.timestamp():.0f}",
        defaults={"is_note": True, "body": _summary(held_back, conversation)},
    )
    TicketEvent.objects.filter(pk__in=[event.pk for event in held_back]).update(
        message=note, reason_code=ReasonCode.NONE
    )
    log.info("posting.resumed", **conversation.log_fields)
    return True


def _why_not_posted(conversation: Conversation) -> str:
    """Return the code of the reason why nothing can be posted in the conversation, "" if there is none."""
    workspace = conversation.workspace
    if conversation.posting_stopped_at is not None:
        return ReasonCode.POSTING_STOPPED
    if not workspace.access_token:
        return ReasonCode.NO_ACCESS_TOKEN
    if conversation.merged_away_at:
        return ReasonCode.CONVERSATION_MERGED
    if conversation.reconcile_code == ReasonCode.CONVERSATION_DELETED:
        return ReasonCode.CONVERSATION_DELETED
    return ""


def _message(events: Sequence[TicketEvent], **fields: Any) -> OutgoingMessage:
    """Return an unsaved message that reports the events, and set it on each of them."""
    first = events[0]
    message = OutgoingMessage(conversation=first.conversation, once_key=f"event:{first.pk}", **fields)
    for event in events:
        event.message = message
    return message


def _reopening_note(events: Sequence[TicketEvent], conversation: Conversation) -> OutgoingMessage:
    """Return a note with the headlines of the events that reopen the conversation, without the entries' contents."""
    with translation.override(conversation.workspace.language):
        headlines = [headline(event).rstrip(_BEFORE_ENTRY) for event in events]
    body = "".join(f"<p>{text}</p>" for text in headlines)
    return _note(conversation, f"{REOPENING}{events[0].pk}", body)


def _note(conversation: Conversation, key: str, body: str) -> OutgoingMessage:
    """Return an unsaved note that no event has as its message. `key` becomes its `once_key`."""
    return OutgoingMessage(conversation=conversation, once_key=key, is_note=True, body=body)


def _assignee(rules: EventRules) -> dict[str, str]:
    """Return the value of the message's `assign_to`: who gets the reopened conversation, {} for no change.

    For "linked_by" and "last_teammate" it has no id: the poster finds out who they are.
    """
    if rules.assign_to == EventRules.Assignee.UNCHANGED:
        return {}
    if rules.assign_to == EventRules.Assignee.TEAM:
        return {"type": "team", "id": rules.assign_to_team_id}
    return {"type": rules.assign_to}


def _has_too_many_messages(conversation: Conversation) -> bool:
    """Return whether MAX_MESSAGES messages were stored within PERIOD and since posting was last resumed."""
    recent = OutgoingMessage.objects.filter(conversation=conversation, created_at__gt=timezone.now() - PERIOD)
    about_events = recent.filter(Q(events__isnull=False) | Q(reopens=True)).distinct()
    resumed = recent.filter(once_key__startswith=RESUMED).order_by("-pk").first()
    if resumed is not None:
        about_events = about_events.filter(pk__gt=resumed.pk)
    return about_events.count() >= MAX_MESSAGES


def _stop(conversation: Conversation, events: Sequence[TicketEvent]) -> OutgoingMessage:
    """Store that posting in the conversation has stopped. Return the note that says so."""
    conversation.posting_stopped_at = timezone.now()
    conversation.save(update_fields=["posting_stopped_at"])
    log.warning("posting.stopped", **conversation.log_fields)
    with translation.override(conversation.workspace.language):
        body = format_html(
            "<p>{}</p><p>{}</p>",
            _(
                "The bridge posted {count} messages about changes in iTop here within {minutes} minutes. It has now "
                "stopped posting, because another program may be answering these messages."
            ).format(count=MAX_MESSAGES, minutes=PERIOD.seconds // 60),
            _(
                "Nothing is lost: the panel shows what is new in iTop. When you have removed the cause, click "
                "“Resume posting” in the panel."
            ),
        )
    return _note(conversation, f"stopped:{events[0].pk}", body)


def _summary(events: Sequence[TicketEvent], conversation: Conversation) -> str:
    """Return the note about the events that were held back, as HTML.

    It has their headlines only. Teammates find the contents in the panel.
    """
    with translation.override(conversation.workspace.language):
        if not events:
            return format_html("<p>{}</p>", _("Posting has resumed."))
        intro = _("Posting has resumed. What happened in iTop meanwhile:")
        lines = [headline(event) for event in events[:MAX_LISTED]]
        if len(events) > MAX_LISTED:
            lines.append(further_changes(len(events) - MAX_LISTED))
    return format_html("<p>{}</p>", intro) + "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"
