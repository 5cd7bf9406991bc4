"""Answers: what agents wrote in iTop for the customer. A teammate can send each answer to the customer once."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction

from intercom_bridge.events.compare import digest
from intercom_bridge.events.files import attach_files, files_of_event
from intercom_bridge.events.markup import to_intercom, to_plain_text
from intercom_bridge.events.note import html_for_customer
from intercom_bridge.intercom.html import text_to_html, to_text
from intercom_bridge.models import (
    EventKind,
    FileToIntercom,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketSnapshot,
)
from intercom_bridge.models.event_rules import FileAction, rules_of
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.models.ticket_profile import RESOLVED_STATES
from itop_client import LogEntry

from .context import PanelContext
from .conversation import find_conversation, get_or_create_conversation
from .news import MAX_EVENTS, happened_at
from .people.evidence import parse_id

ENTRY, SOLUTION = "entry", "solution"
# The `once_key` of a message begins with this if a teammate sent it, and not a rule.
SENT = "sent:"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An agent's entry in the public log, or the solution of a ticket.

    path: identifies the answer in a click: (ENTRY, event pk) or (SOLUTION, ticket pk, digest of the text).
        The digest shows whether the solution has changed since the screen was displayed.
    content: the text as iTop's HTML.
    events: the changes that reported the answer, newest first. A rule may have posted one of them as a reply.
    """

    path: tuple[str, ...]
    ticket: Ticket
    content: str
    author: str = ""
    written_at: dt.datetime | None = None
    events: tuple[TicketEvent, ...] = ()

    @property
    def once_key(self) -> str:
        """The idempotency key of the message to the customer: a conversation has one message with this key."""
        if self.path[0] == ENTRY:
            name = self.events[0].key
        else:
            _kind, _ticket_pk, content_digest = self.path
            name = f"{SOLUTION}:{content_digest}"
        return f"{SENT}{self.ticket.pk}:{name}"

    @property
    def text(self) -> str:
        """The answer as plain text, without anything that customers may not see, such as links to the back office."""
        return to_text(to_intercom(self.content, self.ticket.itop, for_customer=True))


@dataclass(frozen=True, kw_only=True)
class AnswerFiles:
    """How many files and pictures of an answer the customer gets.

    sent: files that are posted with the message. `sent_names` are the names that the bridge knows already.
    refused: files that the message only names, because Intercom or iTop did not allow the bridge to post them before.
    kept: files that the customer does not get, because the workspace's rules send no files to customers.
    """

    sent: int = 0
    sent_names: tuple[str, ...] = ()
    refused: int = 0
    kept: int = 0


def files_of_answer(context: PanelContext, answer: Answer) -> AnswerFiles:
    """Return how many files of the answer would be sent with it."""
    files = files_of_event(answer.events[0]) if answer.events else []
    if rules_of(context.workspace).files != FileAction.WITH_REPLY:
        return AnswerFiles(kept=len(files))
    sent = [file for file in files if file.state != FileToIntercom.State.LINKED]
    sent_names = tuple(file.name for file in sent if file.name)
    return AnswerFiles(sent=len(sent), sent_names=sent_names, refused=len(files) - len(sent))


def text_for_customer(context: PanelContext, answer: Answer) -> str:
    """Return the text that the teammate can edit before sending it. It follows the workspace's rules about names."""
    return to_text(html_for_customer(answer.content, answer.ticket, rules_of(context.workspace)))


def find_answer(context: PanelContext, path: tuple[str, ...]) -> Answer | None:
    """Return the answer with this path. Return None if it was replaced or erased, or if its ticket was unlinked.

    The path comes from a click, so it is untrusted.
    """
    conversation = find_conversation(context)
    # An incomplete path is filled up with "".
    kind, pk = (*path, "", "")[:2]
    if conversation is None:
        return None
    if kind != ENTRY:
        answer = find_solution(context, parse_id(pk))
        return answer if answer and answer.path == path else None
    events = TicketEvent.objects.filter(
        pk=parse_id(pk), conversation=conversation, ticket__in=conversation.links.values("ticket")
    )
    event = events.select_related("ticket__itop", "message").first()
    return entry_of(context, event) if event else None


def entry_of(context: PanelContext, event: TicketEvent) -> Answer | None:
    """Return the entry that an event reports, as an answer. Return None if the event reports something else.

    Also return None if the entry's text was erased, or if iTop has copied the entry from a parent ticket.
    """
    is_copy = event.reason_code == ReasonCode.REPORTED_WITH_PARENT
    if event.kind != EventKind.PUBLIC_ENTRY or not event.content or is_copy:
        return None
    return Answer(
        path=(ENTRY, str(event.pk)),
        ticket=event.ticket,
        content=event.content,
        author=event.author_name,
        written_at=happened_at(context, event),
        events=(event,),
    )


def find_entries(
    context: PanelContext, ticket: Ticket, entries: Iterable[LogEntry]
) -> dict[LogEntry, Answer]:
    """Return the answers among the entries of a linked ticket, by entry.

    An entry is an answer if an agent wrote it while the ticket was linked. Only the newest MAX_EVENTS are found.
    """
    entry_by_digest = {digest(entry): entry for entry in entries}
    events = TicketEvent.objects.filter(
        ticket=ticket, conversation=find_conversation(context), kind=EventKind.PUBLIC_ENTRY
    ).select_related("ticket__itop", "message")
    answers = {}
    for event in events.order_by("-pk")[:MAX_EVENTS]:
        # An event's key ends with the digest of the entry that the event reports.
        entry = entry_by_digest.get(event.key.rpartition(":")[2])
        answer = entry_of(context, event)
        if entry is not None and answer is not None:
            answers[entry] = answer
    return answers


def find_solution(context: PanelContext, ticket_pk: int) -> Answer | None:
    """Return the solution of a resolved or closed ticket, or None. `ticket_pk` is untrusted.

    Also return None if the ticket is not linked to this conversation.
    """
    conversation = find_conversation(context)
    if conversation is None:
        return None
    snapshots = TicketSnapshot.objects.filter(ticket=ticket_pk, ticket__links__conversation=conversation)
    snapshot = snapshots.select_related("ticket__itop").first()
    states = (*RESOLVED_STATES, *context.profile.excluded_states)
    if snapshot is None or not snapshot.solution or snapshot.status not in states:
        return None
    events = TicketEvent.objects.filter(
        ticket=snapshot.ticket, conversation=conversation, kind=EventKind.RESOLVED, content=snapshot.solution
    )
    newest_first = tuple(events.select_related("message").order_by("-created_at", "-pk"))
    newest = newest_first[0] if newest_first else None
    content_digest = hashlib.sha256(snapshot.solution.encode("utf-8", "replace")).hexdigest()[:16]
    return Answer(
        path=(SOLUTION, str(snapshot.ticket.pk), content_digest),
        ticket=snapshot.ticket,
        content=snapshot.solution,
        author=newest.author_name if newest else "",
        written_at=happened_at(context, newest) if newest else None,
        events=newest_first,
    )


def event_text(event: TicketEvent) -> str:
    """Return the text that a change contains, as plain text for teammates."""
    # iTop stores the reason why a ticket is pending as plain text, and all other texts as HTML.
    is_plain_text = event.kind == EventKind.PENDING
    markup = text_to_html(event.content) if is_plain_text else event.content
    return to_plain_text(markup, event.ticket.itop)


def can_send(context: PanelContext) -> bool:
    """Return whether the bridge can post in this conversation in the teammate's name."""
    conversation = find_conversation(context)
    is_merged = conversation is not None and bool(conversation.merged_away_at)
    return bool(context.workspace.access_token and context.request.admin.id) and not is_merged


def find_sent(context: PanelContext, answers: Iterable[Answer]) -> dict[str, OutgoingMessage]:
    """Return the messages with which a teammate or a rule sent these answers to the customer, by `Answer.once_key`.

    If both sent the same answer, return the teammate's message.
    """
    answers = list(answers)
    sent_by_rules = {
        answer.once_key: event.message
        for answer in answers
        for event in answer.events
        if event.message is not None and not event.message.is_note
    }
    # Only answers that a teammate sends have these keys, and such a message is never a note.
    sent_by_teammates = OutgoingMessage.objects.filter(
        conversation=find_conversation(context), once_key__in=[answer.once_key for answer in answers]
    )
    return sent_by_rules | {message.once_key: message for message in sent_by_teammates}


def send_answer(context: PanelContext, answer: Answer, text: str) -> tuple[OutgoingMessage, bool]:
    """Queue the text as the teammate's message to the customer. Return the message and True.

    If a teammate or a rule has sent this answer before, return that message and False.
    """
    earlier = find_sent(context, [answer]).get(answer.once_key)
    if earlier is not None:
        return earlier, False
    admin = context.request.admin
    conversation = get_or_create_conversation(context)
    with transaction.atomic():
        message, is_new = OutgoingMessage.objects.get_or_create(
            conversation=conversation,
            once_key=answer.once_key,
            defaults={"admin_id": admin.id[:64], "admin_name": admin.name[:200], "body": text_to_html(text)},
        )
        # In the same transaction, so that no worker posts the message without its files.
        if is_new and answer.events:
            attach_files(message, answer.events[0])
    return message, is_new


def send_again(context: PanelContext, message_id: int) -> None:
    """Queue a message of this conversation again, if it could not be posted."""
    OutgoingMessage.objects.filter(pk=message_id, conversation=find_conversation(context)).retry_now()
