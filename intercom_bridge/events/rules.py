"""Decide what a conversation hears of changes in iTop, by the rules of its workspace."""

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

from intercom_bridge.models import Conversation, EventKind, EventRules, OutgoingMessage, TicketEvent
from intercom_bridge.models.event_rules import Action, FileAction
from intercom_bridge.models.reason import ReasonCode

from .files import FILES, rows_by_event
from .note import further_changes, headline, note_body, reply_body

log = structlog.get_logger(__name__)

# More messages about changes in iTop than this within the period mean a loop, and stop the posting.
MAX_MESSAGES = 30
PERIOD = dt.timedelta(minutes=5)
RESUMED = "resumed:"
# How the key of a note begins that only says why a conversation is open again.
REOPENING = "reopen:"
# The end of a headline that an entry follows, in all languages.
_BEFORE_ENTRY = ": \u00a0\u202f"
# Customers never hear of these, whatever the rules say.
INTERNAL_KINDS = frozenset({EventKind.CUSTOMER_ENTRY, EventKind.PRIVATE_ENTRY, EventKind.GONE})
# Events that the note after resuming names one by one. Of the others, it states the number.
MAX_LISTED = 20


def plan(
    events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules
) -> list[OutgoingMessage]:
    """Return the unsaved messages about events of one save in one ticket: at most one note and one reply.

    `events` are saved rows of this conversation. Their `message` is set to the unsaved message, or their reason to why
    they have none: save the messages, then the fields `message`, `reason_code` and `reason_detail` of the events.

    If there were too many messages in a few minutes, store on the conversation that the posting is stopped, and return
    a last note that says so.
    """
    code = _why_not_posted(conversation)
    by_action: dict[str, list[TicketEvent]] = {action: [] for action in Action.values}
    replied_entries = {event.pk for event in events if _action_for(event, rules) == Action.REPLY}
    for event in events:
        action = _action_for(event, rules)
        if rules.files == FileAction.WITH_REPLY and event.entry_id in replied_entries:
            action = Action.REPLY
        event.reason_code = ReasonCode.NOT_REPORTED if action == Action.NOTHING else code
        by_action[action].append(event)
    noted, replied = by_action[Action.NOTE], by_action[Action.REPLY]
    if code or not (noted or replied):
        return []
    if _is_flooded(conversation):
        for event in (*noted, *replied):
            event.reason_code = ReasonCode.POSTING_STOPPED
        return [_stop(conversation, events)]
    messages = _messages(noted, replied, conversation, rules)
    reopening = [event for event in events if event.kind in rules.reopens_on]
    if reopening:
        if not noted:
            # The reply does not tell teammates why the conversation is open again.
            messages.insert(0, _reopening_note(reopening, conversation))
        messages[0].reopens, messages[0].assign_to = True, _assignee(rules)
    return messages


def _messages(
    noted: Sequence[TicketEvent],
    replied: Sequence[TicketEvent],
    conversation: Conversation,
    rules: EventRules,
) -> list[OutgoingMessage]:
    messages = []
    rows_of = rows_by_event(replied) if rules.files == FileAction.NOTE else {}
    pictured = [event for event in replied if event.pk in rows_of]
    if noted:
        messages.append(_message(noted, is_note=True, body=note_body(noted, conversation, pictured)))
    elif pictured:
        body = note_body([], conversation, pictured)
        messages.append(_note(conversation, f"{FILES}event:{pictured[0].pk}", body))
    if replied:
        messages.append(_message(replied, is_note=False, body=reply_body(replied, conversation, rules)))
    return messages


def _action_for(event: TicketEvent, rules: EventRules) -> str:
    action = rules.action_for(event.kind)
    is_unknown_author = event.kind == EventKind.PUBLIC_ENTRY and not event.is_by_agent
    if action == Action.REPLY and (event.kind in INTERNAL_KINDS or is_unknown_author):
        return Action.NOTE
    if action == Action.NOTHING and event.kind in rules.reopens_on:
        # A conversation is reopened with a note that states the reason.
        return Action.NOTE
    return action


@transaction.atomic
def resume(conversation: Conversation) -> bool:
    """Post in the conversation again, beginning with one note about all that was held back.

    Return False if the posting was not stopped.
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
    log.info("posting.resumed", **conversation.names)
    return True


def _why_not_posted(conversation: Conversation) -> str:
    """Return the code of the reason why nothing can be posted in the conversation, "" if something can."""
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
    first = events[0]
    message = OutgoingMessage(conversation=first.conversation, once_key=f"event:{first.pk}", **fields)
    for event in events:
        event.message = message
    return message


def _reopening_note(events: Sequence[TicketEvent], conversation: Conversation) -> OutgoingMessage:
    with translation.override(conversation.workspace.language):
        headlines = (headline(event).rstrip(_BEFORE_ENTRY) for event in events)
        body = "".join(f"<p>{text}</p>" for text in headlines)
    return _note(conversation, f"{REOPENING}{events[0].pk}", body)


def _note(conversation: Conversation, key: str, body: str) -> OutgoingMessage:
    """Return a note that reports no events."""
    return OutgoingMessage(conversation=conversation, once_key=key, is_note=True, body=body)


def _assignee(rules: EventRules) -> dict[str, str]:
    """Return who is to get the reopened conversation. The poster finds out who "linked_by" and "last_teammate" are."""
    if rules.assign_to == EventRules.Assignee.TEAM:
        return {"type": "team", "id": rules.assign_to_team_id}
    return {} if rules.assign_to == EventRules.Assignee.UNCHANGED else {"type": rules.assign_to}


def _is_flooded(conversation: Conversation) -> bool:
    """Return whether too many messages were made in the last minutes, since the posting was last resumed."""
    messages = OutgoingMessage.objects.filter(
        conversation=conversation, created_at__gt=timezone.now() - PERIOD
    )
    resumed = messages.filter(once_key__startswith=RESUMED).order_by("-pk").first()
    about_events = messages.filter(Q(events__isnull=False) | Q(reopens=True)).distinct()
    if resumed is not None:
        about_events = about_events.filter(pk__gt=resumed.pk)
    return about_events.count() >= MAX_MESSAGES


def _stop(conversation: Conversation, events: Sequence[TicketEvent]) -> OutgoingMessage:
    conversation.posting_stopped_at = timezone.now()
    conversation.save(update_fields=["posting_stopped_at"])
    log.warning("posting.stopped", **conversation.names)
    with translation.override(conversation.workspace.language):
        body = format_html(
            "<p>{}</p><p>{}</p>",
            _(
                "The bridge has posted {count} messages about iTop here within {minutes} minutes, and has "
                "stopped: another program may be answering them."
            ).format(count=MAX_MESSAGES, minutes=PERIOD.seconds // 60),
            _(
                "Nothing is lost: the panel shows what is new in iTop. When the cause is found, click "
                "“Resume posting” in the panel."
            ),
        )
    return _note(conversation, f"stopped:{events[0].pk}", body)


def _summary(events: Sequence[TicketEvent], conversation: Conversation) -> str:
    """Return the note about the events that were held back, without their content: the panel shows it."""
    with translation.override(conversation.workspace.language):
        intro = _("Posting has resumed. Meanwhile in iTop:")
        listed = [headline(event) for event in events[:MAX_LISTED]]
        if len(events) > MAX_LISTED:
            listed.append(further_changes(len(events) - MAX_LISTED))
        if not listed:
            return format_html("<p>{}</p>", _("Posting has resumed."))
    return format_html("<p>{}</p>", intro) + "<ul>" + "".join(f"<li>{item}</li>" for item in listed) + "</ul>"
