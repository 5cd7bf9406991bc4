"""The latest changes of the linked tickets in iTop, and which of them were sent to the customer."""

from django.utils.translation import gettext as _

from intercom_bridge.intercom.text import cut
from intercom_bridge.models import EventKind, TicketEvent
from intercom_bridge.panel.click import HOME, NEWS, SYNC, BackLink, click_id
from intercom_bridge.panel.components import Canvas, Component, List, Text, escape_markdown, shorten
from intercom_bridge.tickets.answers import Answer, entry_of, find_sent, find_solution, visible_text
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
    """Show the latest changes, each with a way to send it to the customer, or the message that was sent."""
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
            # A rule's reply about what cannot be sent from here, like the solution of a reopened ticket.
            below = status_components(context, event.message)
        components += [_event_text(context, event, files.get(event.pk, []), is_last=not below), *below]
    tickets = {event.ticket: None for event in events}
    return screen(
        _("News from iTop"),
        muted(checked_text(news)) if news else muted(_("No ticket is linked to this conversation.")),
        posting_stopped(news),
        components
        or (muted(_("Nothing has changed in iTop since the tickets were linked.")) if news else None),
        List(
            items=tuple(
                item(
                    click_id("ticket", ticket.ticket_class, ticket.object_id),
                    _("View %(ticket)s") % {"ticket": shorten(ticket.ref, MAX_NAME_LENGTH)},
                )
                for ticket in tickets
            )
        )
        if tickets
        else None,
        link_button(SYNC, _("Sync status")) if news else None,
        back_button(HOME),
        stored=BackLink(target=NEWS).to_stored(),
    )


def event_title(event: TicketEvent) -> str:
    """Return what happened in a few words."""
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
    """Return the notice that posting was stopped, and the button that resumes it; nothing if it goes on."""
    if news is None or not news.is_stopped:
        return ()
    text = _("Changes in iTop are no longer posted here: there were too many in a few minutes.")
    return (
        Text(text=text, style="error", bottom_margin="none"),
        link_button(click_id("resume-posting"), _("Resume posting")),
    )


def _answers(context: PanelContext, events: list[TicketEvent]) -> dict[int, Answer]:
    """Return what can be sent to the customer, by the event below which it is offered."""
    answers = {event.pk: answer for event in events if (answer := entry_of(context, event))}
    resolved: set[int] = set()
    for event in events:
        # Only the newest: earlier ones were reopened.
        if event.kind == EventKind.RESOLVED and event.ticket_id not in resolved:
            resolved.add(event.ticket_id)
            if event.content and (solution := find_solution(context, event.ticket_id)):
                answers[event.pk] = solution
    return answers


def _event_text(context: PanelContext, event: TicketEvent, files: list[str], *, is_last: bool) -> Text:
    when = format_time(happened_at(context, event))
    facts = join_facts(safe_name(event.ticket.ref), when)
    lines = [f"**{escape_markdown(event_title(event))}**", escape_markdown(facts)]
    content = "\n".join(filter(None, (line.strip() for line in visible_text(event).splitlines())))
    if content:
        lines.append(escape_markdown(cut(content, MAX_CONTENT_LENGTH)))
    if files:
        lines.append(f"{_('Files')}: {some_names(files, len(files))}")
    return Text(text="\n".join(lines), bottom_margin="" if is_last else "none")
