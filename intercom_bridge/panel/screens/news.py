"""The screen "News from iTop": the latest changes of the linked tickets, and which were sent to the customer."""

from django.utils.translation import gettext as _

from intercom_bridge.intercom.text import cut
from intercom_bridge.models import EventKind, Ticket, TicketEvent
from intercom_bridge.panel.click import HOME, NEWS, SYNC, BackLink, click_id
from intercom_bridge.panel.components import Canvas, Component, Item, List, Text, escape_markdown, shorten
from intercom_bridge.tickets.answers import Answer, entry_of, event_text, find_sent, find_solution
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.news import News, get_news, happened_at, list_events, names_of_files

from .parts import (
    back_button,
    format_time,
    item,
    join_facts,
    link_button,
    muted,
    safe_name,
    screen,
    some_names,
)
from .send import send_components, status_components

ENTRIES = (EventKind.PUBLIC_ENTRY, EventKind.CUSTOMER_ENTRY, EventKind.PRIVATE_ENTRY)
MAX_CONTENT_LENGTH = 300
MAX_NAME_LENGTH = 40


def news_screen(context: PanelContext) -> Canvas:
    """Return the latest changes. Below a change is the button that sends it to the customer, or the sent message."""
    news, events = get_news(context), list_events(context)
    answers = _answers(context, events)
    sent = find_sent(context, answers.values())
    files = names_of_files(events)
    components: list[Component] = []
    for event in events:
        below: tuple[Component, ...] = ()
        if answer := answers.get(event.pk):
            below = send_components(context, answer, sent.get(answer.once_key))
        elif event.message is not None and not event.message.is_note:
            # A rule sent this automatically, and it can no longer be sent from here. Example: the solution of a ticket
            # that was reopened since.
            below = status_components(context, event.message)
        components += [_event_text(context, event, files.get(event.pk, []), is_last=not below), *below]
    if news and not components:
        components.append(muted(_("Nothing has changed in iTop since the tickets were linked.")))
    ticket_items = [_ticket_item(ticket) for ticket in dict.fromkeys(event.ticket for event in events)]
    return screen(
        _("News from iTop"),
        muted(checked_text(news)) if news else muted(_("No ticket is linked to this conversation.")),
        posting_stopped(news),
        components,
        List(items=tuple(ticket_items)) if ticket_items else None,
        link_button(SYNC, _("Sync status")) if news else None,
        back_button(HOME),
        stored=BackLink(target=NEWS).to_stored(),
    )


def _ticket_item(ticket: Ticket) -> Item:
    title = _("View %(ticket)s") % {"ticket": shorten(ticket.ref, MAX_NAME_LENGTH)}
    return item(click_id("ticket", ticket.ticket_class, ticket.object_id), title)


def event_title(event: TicketEvent) -> str:
    """Return in a few words what has changed in iTop."""
    author, after = (shorten(name, MAX_NAME_LENGTH) for name in (event.author_name, event.after))
    titles = {
        EventKind.PUBLIC_ENTRY: _("%(author)s answered") if author else _("An agent answered"),
        EventKind.CUSTOMER_ENTRY: (
            _("Portal: %(author)s wrote") if author else _("Portal: the customer wrote")
        ),
        EventKind.PRIVATE_ENTRY: (
            _("%(author)s wrote a private entry") if author else _("New private entry")
        ),
        EventKind.STATUS: _("Status: %(after)s"),
        EventKind.ASSIGNMENT: _("Assigned to %(after)s") if after else _("No longer assigned"),
        EventKind.PENDING: _("Pending"),
        EventKind.RESOLVED: _("Resolved"),
        EventKind.CLOSED: _("Closed"),
        EventKind.REOPENED: _("Reopened"),
        EventKind.FILE: _("%(author)s added a file") if author else _("A file was added"),
        EventKind.GONE: _("No longer in iTop"),
    }
    return titles[EventKind(event.kind)] % {"author": author, "after": after}


def checked_text(news: News) -> str:
    """Return when iTop was last checked for changes."""
    if news.checked_at is None:
        return _("iTop not checked for changes yet")
    moment = format_time(news.checked_at)
    if news.problem:
        return _("iTop not checked since %(moment)s") % {"moment": moment}
    return _("iTop checked on %(moment)s") % {"moment": moment}


def posting_stopped(news: News | None) -> tuple[Component, ...]:
    """Return the notice that the bridge has stopped posting in this conversation, and the button Resume posting.

    Return nothing if the bridge still posts.
    """
    if news is None or not news.is_stopped:
        return ()
    text = _("Changes in iTop are no longer posted here: there were too many in a few minutes.")
    return (
        Text(text=text, style="error", bottom_margin="none"),
        link_button(click_id("resume-posting"), _("Resume posting")),
    )


def _answers(context: PanelContext, events: list[TicketEvent]) -> dict[int, Answer]:
    """Return the agents' entries and solutions that can be sent to the customer, by the primary key of their event.

    `events` are sorted, newest first.
    """
    answers: dict[int, Answer] = {}
    resolved_tickets: set[int] = set()
    for event in events:
        if entry := entry_of(context, event):
            answers[event.pk] = entry
        # Only the newest solution of a ticket can be sent. After an earlier one, the ticket was reopened.
        elif event.kind == EventKind.RESOLVED and event.ticket_id not in resolved_tickets:
            resolved_tickets.add(event.ticket_id)
            if event.content and (solution := find_solution(context, event.ticket_id)):
                answers[event.pk] = solution
    return answers


def _event_text(context: PanelContext, event: TicketEvent, file_names: list[str], *, is_last: bool) -> Text:
    """Return a text about one change in iTop. `is_last`: nothing that belongs to the change follows below."""
    when = format_time(happened_at(context, event))
    lines = [f"**{escape_markdown(event_title(event))}**", join_facts(safe_name(event.ticket.ref), when)]
    content_lines = (line.strip() for line in event_text(event).splitlines())
    content = "\n".join(line for line in content_lines if line)
    if content:
        lines.append(escape_markdown(cut(content, MAX_CONTENT_LENGTH)))
    if file_names:
        lines.append(f"{_('Files')}: {some_names(file_names, len(file_names))}")
    return Text(text="\n".join(lines), bottom_margin="" if is_last else "none")
