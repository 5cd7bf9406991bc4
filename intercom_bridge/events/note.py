"""Write the texts that report changes of a ticket, as internal notes and as replies to the customer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from django.template.defaultfilters import filesizeformat
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.from_itop import file_url
from intercom_bridge.intercom.html import text_to_html
from intercom_bridge.models import (
    Conversation,
    EventKind,
    EventRules,
    FileToIntercom,
    Ticket,
    TicketEvent,
    TicketSnapshot,
)
from intercom_bridge.models.reason import ReasonCode

from .markup import to_intercom

# A note states the time of a change only if it is older than this. A smaller age may be wrong, because clocks differ.
SAYS_WHEN_AFTER = dt.timedelta(hours=2)
# The most characters of HTML for the events' contents in one message.
MAX_LENGTH = 60_000
# The most events that a message names. It states the number of the others.
MAX_EVENTS = 100


def note_body(
    events: Sequence[TicketEvent], conversation: Conversation, pictured: Sequence[TicketEvent] = ()
) -> str:
    """Return the internal note about events of one ticket as HTML, in the workspace's language.

    `pictured` are entries that a reply reports while their pictures are posted with this note. The names of files are
    not included: the poster appends them after it has read the files (`file_lines`).
    """
    with translation.override(conversation.workspace.language):
        headlines = [f"<p>{_pictures_headline(event)}</p>" for event in pictured]
        return _body(events, conversation) + "".join(headlines)


def reply_body(events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules) -> str:
    """Return the reply to the customer about events of one ticket as HTML, in the workspace's language.

    It contains no link to iTop's back office, and no agent's name unless the rules allow names.
    """
    with translation.override(conversation.workspace.language):
        return _body(events, conversation, rules)


def headline(event: TicketEvent, *, count: int = 1) -> str:
    """Return the sentence for a note that says what happened, as inline HTML in the active language.

    `count` is the number of files, for an event of the kind FILE.
    """
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
            else _("The status of ticket {ticket} changed to {after}.")
        ),
        EventKind.ASSIGNMENT: (
            _("Ticket {ticket} was assigned to {after}.") if after else _("Ticket {ticket} was unassigned.")
        ),
        EventKind.PENDING: (
            _("Ticket {ticket} was set to pending:")
            if event.content
            else _("Ticket {ticket} was set to pending.")
        ),
        EventKind.RESOLVED: (
            _("Ticket {ticket} was resolved:") if event.content else _("Ticket {ticket} was resolved.")
        ),
        EventKind.CLOSED: _("Ticket {ticket} was closed."),
        EventKind.REOPENED: _("Ticket {ticket} was reopened. Its status changed to {after}."),
        EventKind.FILE: (
            ngettext(
                "{author} added a file to ticket {ticket}:",
                "{author} added {count} files to ticket {ticket}:",
                count,
            )
            if author
            else ngettext("New file in ticket {ticket}:", "{count} new files in ticket {ticket}:", count)
        ),
        EventKind.GONE: _(
            "Ticket {ticket} was deleted in iTop, or the bridge's account is no longer allowed to see it. New messages "
            "are not copied to it."
        ),
    }
    return format_html(
        sentences[EventKind(event.kind)],
        author=author,
        ticket=ticket_link(event.ticket),
        before=event.before,
        after=after,
        count=count,
    )


def _pictures_headline(event: TicketEvent) -> str:
    if not event.author_name:
        return format_html(_("Pictures in an entry of ticket {ticket}:"), ticket=ticket_link(event.ticket))
    text = _("Pictures in the entry of {author} in ticket {ticket}:")
    return format_html(text, author=event.author_name, ticket=ticket_link(event.ticket))


def file_lines(files: Sequence[FileToIntercom], *, for_customer: bool) -> str:
    """Return HTML that names the files of a message, in the active language.

    In a note, each name is a link to iTop. If the files have several authors, a note lists them by author. If a file is
    not sent with the message, the reason follows its name.
    """
    by_author: dict[str, list[FileToIntercom]] = {}
    for file in files:
        by_author.setdefault(file.event.author_name, []).append(file)
    if for_customer or len(by_author) == 1:
        return f"<p>{_names_of_files(files, for_customer=for_customer)}</p>"
    return "".join(
        format_html(
            "<p><b>{}</b><br>{}</p>", author or "iTop", _names_of_files(of_author, for_customer=False)
        )
        for author, of_author in by_author.items()
    )


def more_files_body(ticket: Ticket, conversation: Conversation, *, is_note: bool) -> str:
    """Return the text of a message that contains only files whose events another message reports, as HTML."""
    with translation.override(conversation.workspace.language):
        text = _("More files of ticket {ticket}:")
    return format_html(f"<p>{text}</p>", ticket=ticket_link(ticket) if is_note else ticket.ref)


def _names_of_files(files: Iterable[FileToIntercom], *, for_customer: bool) -> SafeString:
    """Return one line of HTML for each file: its name, and its size or the reason why it is not sent."""
    lines = []
    for file in files:
        unnamed = _("a picture") if file.source == FileToIntercom.Source.PICTURE else _("a file")
        name = file.name or unnamed
        shown = name if for_customer else format_html('<a href="{}">{}</a>', file_url(file), name)
        if file.state != FileToIntercom.State.LINKED:
            text = "{file} ({size})"
        elif file.reason_code == ReasonCode.FILE_TOO_LARGE_FOR_INTERCOM:
            text = _("{file}: too large to be sent here")
        else:
            text = _("{file}: could not be sent here")
        lines.append(format_html(text, file=shown, size=filesizeformat(file.size)))
    return SafeString("<br>".join(lines))


def _body(events: Sequence[TicketEvent], conversation: Conversation, rules: EventRules | None = None) -> str:
    """Return the sentences and contents of a note or, with `rules`, of a reply to the customer."""

    def sentence_of(event: TicketEvent, count: int = 1) -> str:
        if rules:
            return _reply_sentence(event, rules)
        sentence = headline(event, count=count)
        if event.happened_at and timezone.now() - event.happened_at > SAYS_WHEN_AFTER:
            then = timezone.localtime(event.happened_at, conversation.workspace.zone)
            sentence = f"{sentence} ({date_format(then, 'SHORT_DATETIME_FORMAT')})"
        return sentence

    pieces: list[str] = []
    length_left = MAX_LENGTH
    others = [event for event in events if event.kind != EventKind.FILE]
    for event in others[:MAX_EVENTS]:
        content = _content(event, max_length=length_left, rules=rules)
        length_left -= len(content)
        pieces += [f"<p>{sentence_of(event)}</p>", content]
    if len(others) > MAX_EVENTS:
        pieces.append(f"<p>{further_changes(len(others) - MAX_EVENTS)}</p>")
    # These come last, because the poster appends the names of the files.
    pieces += [f"<p>{sentence_of(files[0], len(files))}</p>" for files in _files_by_author(events)]
    return "".join(pieces)


def _files_by_author(events: Sequence[TicketEvent]) -> list[list[TicketEvent]]:
    """Return the events about files, one list for each author.

    Leave out a file if the same message reports the entry that it was saved with: it needs no sentence of its own.
    """
    reported = {event.pk for event in events}
    by_author: dict[str, list[TicketEvent]] = {}
    for event in events:
        if event.kind == EventKind.FILE and event.entry_id not in reported:
            by_author.setdefault(event.author_name, []).append(event)
    return list(by_author.values())[:MAX_EVENTS]


def further_changes(count: int) -> str:
    return format_html(_("Further changes: {count}."), count=count)


def _reply_sentence(event: TicketEvent, rules: EventRules) -> str:
    """Return the sentence for a reply that says to the customer what happened, as inline HTML."""
    author = event.author_name if rules.shows_agent_names else ""
    after = event.after
    sentences = {
        EventKind.PUBLIC_ENTRY: (
            _("{author} replied to your ticket {ticket}:")
            if author
            else _("There is a reply to your ticket {ticket}:")
        ),
        EventKind.STATUS: _("The status of your ticket {ticket} changed to {after}."),
        EventKind.ASSIGNMENT: (
            _("Your ticket {ticket} was assigned to {after}.")
            if after and rules.shows_agent_names
            else _("Your ticket {ticket} was assigned.")
        ),
        EventKind.PENDING: (
            _("Your ticket {ticket} was put on hold:")
            if event.content
            else _("Your ticket {ticket} was put on hold.")
        ),
        EventKind.RESOLVED: (
            _("Your ticket {ticket} was resolved:")
            if event.content
            else _("Your ticket {ticket} was resolved.")
        ),
        EventKind.CLOSED: _("Your ticket {ticket} was closed."),
        EventKind.REOPENED: _("Your ticket {ticket} was reopened."),
    }
    return format_html(sentences[EventKind(event.kind)], author=author, ticket=event.ticket.ref, after=after)


def _content(event: TicketEvent, *, max_length: int, rules: EventRules | None) -> str:
    """Return the event's entry, solution or pending reason as HTML for a note or, with `rules`, for a reply."""
    markup = event.content
    # Depending on the data model, a pending reason is plain text or HTML.
    if event.kind == EventKind.PENDING and not markup.lstrip().startswith("<"):
        markup = text_to_html(markup)
    if rules is None:
        return to_intercom(markup, event.ticket.itop, max_length=max_length)
    return html_for_customer(markup, event.ticket, rules, max_length=max_length)


def html_for_customer(markup: str, ticket: Ticket, rules: EventRules, *, max_length: int = MAX_LENGTH) -> str:
    """Return iTop's HTML as HTML for Intercom that can be sent to the customer.

    If the rules hide agents' names, mentions of anybody but the ticket's caller become “a colleague”.
    """
    only_person = None
    if not rules.shows_agent_names:
        caller_id = TicketSnapshot.objects.filter(ticket=ticket).values_list("caller_id", flat=True).first()
        # 0 is the id of nobody, so an unknown caller is hidden, too.
        only_person = int(caller_id or 0)
    return to_intercom(markup, ticket.itop, for_customer=True, only_person=only_person, max_length=max_length)


def ticket_link(ticket: Ticket) -> SafeString:
    return format_html(
        '<a href="{}">{}</a>', ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id), ticket.ref
    )
