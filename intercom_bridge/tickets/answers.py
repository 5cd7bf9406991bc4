"""What agents wrote in iTop for the customer, and sending it to the customer, once."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from intercom_bridge.events.compare import digest
from intercom_bridge.events.files import attach_files, files_of_event
from intercom_bridge.events.markup import to_intercom
from intercom_bridge.events.note import html_for_customer
from intercom_bridge.intercom.html import text_to_html, to_text
from intercom_bridge.models import (
    EventKind,
    FileToIntercom,
    ItopInstance,
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
# What the `once_key` of a message begins with that a teammate sent. That of an automatic one names an event.
SENT = "sent:"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A public entry of an agent, or the solution of a ticket.

    path: identifies it in a click. For a solution it contains a digest, because another one may replace it.
    content: HTML of iTop.
    events: the changes that reported it. If one was posted as a reply, the customer has it.
    """

    path: tuple[str, ...]
    ticket: Ticket
    content: str
    author: str = ""
    written_at: dt.datetime | None = None
    events: tuple[TicketEvent, ...] = ()

    @property
    def once_key(self) -> str:
        """What makes the message to the customer unique within the conversation."""
        name = self.events[0].key if self.path[0] == ENTRY else f"{SOLUTION}:{self.path[2]}"
        return f"{SENT}{self.ticket.pk}:{name}"

    @property
    def text(self) -> str:
        """The words as plain text, as a customer may see them: without addresses of images and of the back office."""
        return to_text(to_intercom(self.content, self.ticket.itop, for_customer=True))


@dataclass(frozen=True, kw_only=True)
class AnswerFiles:
    """The files and pictures of an answer. The names of some may not be known yet.

    `sent` go with the message to the customer. `refused` could not be posted before, so the message names them only.
    `kept` are not sent, because the workspace's rules send no files to customers.
    """

    sent: int = 0
    sent_names: tuple[str, ...] = ()
    refused: int = 0
    kept: int = 0


def files_of_answer(context: PanelContext, answer: Answer) -> AnswerFiles:
    """Return which files of an answer are sent with it, which are only named, and which are not sent."""
    rows = [row for event in answer.events[:1] for row in files_of_event(event)]
    if rules_of(context.workspace).files != FileAction.WITH_REPLY:
        return AnswerFiles(kept=len(rows))
    sent = [row for row in rows if row.state != FileToIntercom.State.LINKED]
    return AnswerFiles(
        sent=len(sent), sent_names=tuple(row.name for row in sent if row.name), refused=len(rows) - len(sent)
    )


def text_for_customer(context: PanelContext, answer: Answer) -> str:
    """Return the words with which the message to the customer begins: without agents' names if the rules hide them."""
    return to_text(html_for_customer(answer.content, answer.ticket, rules_of(context.workspace)))


def find_answer(context: PanelContext, path: tuple[str, ...]) -> Answer | None:
    """Return the answer with this path, or None: it is unknown, replaced or erased, or its ticket was unlinked."""
    conversation = find_conversation(context)
    source, key, *_digest = (*path, "", "")
    if conversation is None:
        return None
    if source != ENTRY:
        answer = find_solution(context, parse_id(key))
        return answer if answer and answer.path == path else None
    events = TicketEvent.objects.filter(
        pk=parse_id(key), conversation=conversation, ticket__in=conversation.links.values("ticket")
    )
    event = events.select_related("ticket__itop", "message").first()
    return entry_of(context, event) if event else None


def entry_of(context: PanelContext, event: TicketEvent) -> Answer | None:
    """Return the agent's entry that an event reports, or None."""
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
    """Return those public entries of a linked ticket that agents wrote while it was linked."""
    by_digest = {digest(entry): entry for entry in entries}
    events = TicketEvent.objects.filter(
        ticket=ticket, conversation=find_conversation(context), kind=EventKind.PUBLIC_ENTRY
    ).select_related("ticket__itop", "message")
    found = {}
    for event in events.order_by("-pk")[:MAX_EVENTS]:
        entry, answer = by_digest.get(event.key.rpartition(":")[2]), entry_of(context, event)
        if entry is not None and answer is not None:
            found[entry] = answer
    return found


def find_solution(context: PanelContext, ticket_pk: int) -> Answer | None:
    """Return the solution of a ticket that is linked to this conversation and resolved or closed, or None."""
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
    found = tuple(events.select_related("message").order_by("-created_at", "-pk"))
    content_digest = hashlib.sha256(snapshot.solution.encode("utf-8", "replace")).hexdigest()[:16]
    return Answer(
        path=(SOLUTION, str(snapshot.ticket.pk), content_digest),
        ticket=snapshot.ticket,
        content=snapshot.solution,
        author=found[0].author_name if found else "",
        written_at=happened_at(context, found[0]) if found else None,
        events=found,
    )


def plain_text(markup: str, itop: ItopInstance) -> str:
    """Return iTop's HTML as plain text for teammates.

    The addresses of iTop's own pages are long and say nothing, and those of its images are secret. So of such a link,
    only the label is kept, and of an image only the name.
    """
    return to_text(to_intercom(markup, itop), hidden_url=f"{itop.url}/")


def event_text(event: TicketEvent) -> str:
    """Return the text that a change contains, as plain text for teammates."""
    is_plain = event.kind == EventKind.PENDING
    markup = text_to_html(event.content) if is_plain else event.content
    return plain_text(markup, event.ticket.itop)


def can_send(context: PanelContext) -> bool:
    """Return whether the bridge can post in this conversation in the teammate's name."""
    conversation = find_conversation(context)
    is_merged = conversation is not None and bool(conversation.merged_away_at)
    return bool(context.workspace.access_token and context.request.admin.id) and not is_merged


def find_sent(context: PanelContext, answers: Iterable[Answer]) -> dict[str, OutgoingMessage]:
    """Return the messages to the customer by the `once_key` of their answers: a teammate's, or a rule's."""
    answers = list(answers)
    sent = {
        answer.once_key: event.message
        for answer in answers
        for event in answer.events
        if event.message is not None and not event.message.is_note
    }
    messages = OutgoingMessage.objects.filter(
        Q(conversation=find_conversation(context)), once_key__in=[answer.once_key for answer in answers]
    )
    return sent | {message.once_key: message for message in messages}


def send_answer(context: PanelContext, answer: Answer, text: str) -> tuple[OutgoingMessage, bool]:
    """Queue the text as the teammate's message to the customer.

    Return the message and True; or the message that was sent before, by whomever, and False.
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
        # Within the transaction: the message must not be posted without them.
        for event in answer.events[:1] if is_new else ():
            attach_files(message, event)
    return message, is_new


def send_again(context: PanelContext, message_id: int) -> None:
    """Queue a message about a change in iTop again, if it could not be posted."""
    OutgoingMessage.objects.filter(pk=message_id, conversation=find_conversation(context)).retry_now()
