"""The texts that report changes of a ticket: internal notes, and replies to the customer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from intercom_bridge.intercom.html import text_to_html
from intercom_bridge.models import Conversation, EventKind, EventRules, Ticket, TicketEvent, TicketSnapshot

from .markup import to_intercom

# A note about an older change says when it happened. A shorter time may be a difference between iTop's clock and ours.
SAYS_WHEN_AFTER = dt.timedelta(hours=2)
# Characters of HTML in one message, and events that it names one by one.
MAX_LENGTH = 60_000
MAX_EVENTS = 100


def note_body(events: Sequence[TicketEvent], conversation: Conversation) -> str:
    """Return the internal note about events of one ticket as HTML, in the workspace's language."""
    with translation.override(conversation.workspace.language):
        return _joined(events, lambda event: _note_sentence(event, conversation))


def reply_body(events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules) -> str:
    """Return the reply to the customer about events of one ticket as HTML, in the workspace's language.

    It contains no address of iTop's back office, and no agent's name unless the rules show it.
    """
    with translation.override(conversation.workspace.language):
        return _joined(events, lambda event: _reply_sentence(event, rules), rules)


def headline(event: TicketEvent) -> str:
    """Return the sentence that says what happened, as HTML without a block, in the active language."""
    author, after = event.author_name, event.after
    sentences = {
        EventKind.PUBLIC_ENTRY: (
            _("{author} wrote in ticket {ticket}:") if author else _("New public entry in ticket {ticket}:")
        ),
        EventKind.CUSTOMER_ENTRY: (
            _("The customer {author} wrote in ticket {ticket} in iTop:")
            if author
            else _("The customer wrote in ticket {ticket} in iTop:")
        ),
        EventKind.PRIVATE_ENTRY: (
            _("{author} wrote in the private log of ticket {ticket}:")
            if author
            else _("New private entry in ticket {ticket}:")
        ),
        EventKind.STATUS: (
            _("The status of ticket {ticket} changed from {before} to {after}.")
            if event.before
            else _("The status of ticket {ticket} is now {after}.")
        ),
        EventKind.ASSIGNMENT: (
            _("Ticket {ticket} is now assigned to {after}.")
            if after
            else _("Ticket {ticket} is no longer assigned to anyone.")
        ),
        EventKind.PENDING: (
            _("Ticket {ticket} is pending:") if event.content else _("Ticket {ticket} is pending.")
        ),
        EventKind.RESOLVED: (
            _("Ticket {ticket} is resolved:") if event.content else _("Ticket {ticket} is resolved.")
        ),
        EventKind.CLOSED: _("Ticket {ticket} is closed."),
        EventKind.REOPENED: _("Ticket {ticket} was reopened. Its status is now {after}."),
        EventKind.GONE: _(
            "Ticket {ticket} was deleted in iTop, or the bridge's account may no longer see it. New messages are not "
            "copied to it."
        ),
    }
    return format_html(
        sentences[EventKind(event.kind)],
        author=author,
        ticket=_ticket_link(event.ticket),
        before=event.before,
        after=after,
    )


def _joined(
    events: Sequence[TicketEvent], sentence_of: Callable[[TicketEvent], str], rules: EventRules | None = None
) -> str:
    """Return the sentences and contents; with `rules`, as customers may read them."""
    pieces: list[str] = []
    left = MAX_LENGTH
    for event in events[:MAX_EVENTS]:
        content = _content(event, max_length=left, rules=rules)
        left -= len(content)
        pieces += [f"<p>{sentence_of(event)}</p>", content]
    if len(events) > MAX_EVENTS:
        pieces.append(f"<p>{further_changes(len(events) - MAX_EVENTS)}</p>")
    return "".join(pieces)


def further_changes(count: int) -> str:
    return format_html("{}", _("Further changes: {count}.").format(count=count))


def _note_sentence(event: TicketEvent, conversation: Conversation) -> str:
    sentence = headline(event)
    if event.happened_at and timezone.now() - event.happened_at > SAYS_WHEN_AFTER:
        then = timezone.localtime(event.happened_at, conversation.workspace.zone)
        sentence = f"{sentence} ({date_format(then, 'SHORT_DATETIME_FORMAT')})"
    return sentence


def _reply_sentence(event: TicketEvent, rules: EventRules) -> str:
    author = event.author_name if rules.shows_agent_names else ""
    after = event.after
    sentences = {
        EventKind.PUBLIC_ENTRY: (
            _("{author} replied to your ticket {ticket}:")
            if author
            else _("There is a reply to your ticket {ticket}:")
        ),
        EventKind.STATUS: _("The status of your ticket {ticket} is now {after}."),
        EventKind.ASSIGNMENT: (
            _("Your ticket {ticket} is now assigned to {after}.")
            if after and rules.shows_agent_names
            else _("Your ticket {ticket} was assigned.")
        ),
        EventKind.PENDING: (
            _("Your ticket {ticket} is on hold:") if event.content else _("Your ticket {ticket} is on hold.")
        ),
        EventKind.RESOLVED: (
            _("Your ticket {ticket} is resolved:")
            if event.content
            else _("Your ticket {ticket} is resolved.")
        ),
        EventKind.CLOSED: _("Your ticket {ticket} is closed."),
        EventKind.REOPENED: _("Your ticket {ticket} was reopened."),
    }
    return format_html(sentences[EventKind(event.kind)], author=author, ticket=event.ticket.ref, after=after)


def _content(event: TicketEvent, *, max_length: int, rules: EventRules | None) -> str:
    markup = event.content
    if event.kind == EventKind.PENDING and not markup.lstrip().startswith("<"):
        markup = text_to_html(markup)
    if rules is None:
        return to_intercom(markup, event.ticket.itop, max_length=max_length)
    return for_customer(markup, event.ticket, rules, max_length=max_length)


def for_customer(markup: str, ticket: Ticket, rules: EventRules, *, max_length: int = MAX_LENGTH) -> str:
    """Return iTop's HTML as a customer may read it. Mentions of agents are no names if the rules hide these."""
    only_person = None
    if not rules.shows_agent_names:
        snapshot = TicketSnapshot.objects.filter(ticket=ticket).first()
        only_person = int(snapshot.caller_id or 0) if snapshot else 0
    return to_intercom(markup, ticket.itop, for_customer=True, only_person=only_person, max_length=max_length)


def _ticket_link(ticket: Ticket) -> SafeString:
    return format_html(
        '<a href="{}">{}</a>', ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id), ticket.ref
    )
