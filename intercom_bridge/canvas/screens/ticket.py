"""One ticket: the profile's attributes, its last log entries, its conversations, and what can be done with it here."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    OpenUrl,
    Submit,
    Text,
    inert,
    shorten,
)
from intercom_bridge.canvas.components import link as link_to
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.datamodel.known import attribute_label, value_label
from intercom_bridge.desk import Desk, TicketGone
from intercom_bridge.desk.ticket_view import (
    MOST_CONVERSATIONS,
    LinkedConversation,
    Log,
    TicketView,
    view_ticket,
)
from intercom_bridge.intercom.text import cut
from itop_client import LogEntry

from .parts import back_button, readable
from .ticket_list import how_linked

# The Inbox cuts what is longer in a table, so it becomes a paragraph.
TABLE_LENGTH = 60
PARAGRAPH_LENGTH = 1500
# Of all of them together: a canvas holds 64 KB, and a letter takes up to seven bytes.
PARAGRAPHS_LENGTH = 4500
ENTRY_LENGTH = 300
AUTHOR_LENGTH = 80


def ticket(desk: Desk, ticket_class: str, ticket_id: int, trail: Trail) -> Canvas:
    try:
        view = view_ticket(desk, ticket_class, ticket_id)
    except TicketGone:
        link = desk.links().get(ticket_id) if ticket_class == desk.profile.ticket_class else None
        if link is None:
            raise
        return _gone(link.ticket.ref, ticket_class, ticket_id, trail)
    row = view.row
    others = sum(not one.is_this for one in view.conversations)
    components: list[Component] = [
        Text(text=inert(row.ref), style="header", bottom_margin="none"),
        Text(text=how_linked(row.is_linked, others), style="muted"),
    ]
    if view.title.strip():
        components.append(Text(text=f"**{inert(shorten(view.title, 255))}**"))
    if not row.is_linked:
        # What most come here for, before all there is to read.
        components.append(
            Button(
                id=click("link", row.ticket_class, row.id),
                label=_("Link to this conversation"),
                style="primary",
                action=Submit(),
            )
        )
    components += _attributes(desk, view)
    components += _entries(desk, _("Public log"), view.public)
    components += _entries(desk, _("Private log"), view.private)
    if others:
        components.append(Text(text=conversations(view.conversations)))
    components += [*_buttons(desk, view), back_button(trail.back)]
    return Canvas(components=tuple(components), stored_data=trail.stored())


def _attributes(desk: Desk, view: TicketView) -> list[Component]:
    table, paragraphs = [], []
    for code, value in view.attributes:
        label = attribute_label(desk.ticket_class, code)
        text = value_label(
            desk.ticket_class, code, readable(value, desk.itop.zone, desk.workspace.zone)
        ).strip()
        if "\n" in text or len(text) > TABLE_LENGTH:
            paragraphs.append((label, text))
        elif text:
            table.append(Field(field=label, value=text))
    components: list[Component] = [DataTable(items=tuple(table))] if table else []
    length = min(PARAGRAPH_LENGTH, PARAGRAPHS_LENGTH // max(len(paragraphs), 1))
    for label, text in paragraphs:
        components.append(Text(text=f"**{inert(label)}**\n{inert(cut(text, length))}"))
    if view.missing:
        names = inert(", ".join(view.missing))
        unknown = _("iTop has no attribute %(names)s. An admin can correct the ticket profile.")
        components.append(Text(text=unknown % {"names": names}, style="muted"))
    return components


def _entries(desk: Desk, title: str, log: Log) -> list[Component]:
    """The last of a log, newest first."""
    if not log.entries:
        return []
    older = log.total - len(log.entries)
    components: list[Component] = [Text(text=title, style="header", bottom_margin="none")]
    components += [Text(text=_entry(desk, entry)) for entry in log.entries]
    if older:
        said = ngettext(
            "%(count)d older entry is in iTop.", "%(count)d older entries are in iTop.", older
        ) % {"count": older}
        components.append(Text(text=said, style="muted"))
    return components


def _entry(desk: Desk, entry: LogEntry) -> str:
    who = inert(shorten(entry.user_login, AUTHOR_LENGTH)) or _("Somebody")
    when = readable(entry.date, desk.itop.zone, desk.workspace.zone)
    lines = (line.strip() for line in entry.message.splitlines())
    text = cut("\n".join(line for line in lines if line), ENTRY_LENGTH)
    head = f"**{who}** · {inert(when)}" if when else f"**{who}**"
    return f"{head}\n{inert(text)}" if text else head


def conversations(linked: tuple[LinkedConversation, ...]) -> str:
    """The conversations but this one, each a link to it in Intercom."""
    others = [one for one in linked if not one.is_this]
    named = [
        link_to(one.id, one.url)
        + (f" ({inert(shorten(one.workspace, AUTHOR_LENGTH))})" if one.workspace else "")
        for one in others[:MOST_CONVERSATIONS]
    ]
    said = ngettext("Other conversation: %(list)s", "Other conversations: %(list)s", len(others)) % {
        "list": ", ".join(named)
    }
    more = len(others) - len(named)
    return said + (" " + _("and %(count)d more") % {"count": more} if more else "")


def _buttons(desk: Desk, view: TicketView) -> list[Component]:
    row = view.row
    buttons: list[Component] = []
    if desk.profile.show_open_in_backoffice_button:
        buttons.append(
            Button(id="open-in-itop", label=_("Open in iTop"), action=OpenUrl(view.backoffice_url))
        )
    buttons.append(
        Button(
            id="open-in-portal",
            label=_("Open in the customer portal"),
            style="link",
            action=OpenUrl(view.customer_url),
        )
    )
    if row.is_linked:
        buttons.append(
            Button(
                id=click("unlink", row.ticket_class, row.id), label=_("Unlink"), style="link", action=Submit()
            )
        )
    return buttons


def _gone(ref: str, ticket_class: str, ticket_id: int, trail: Trail) -> Canvas:
    """A linked ticket that was deleted in iTop."""
    said = _(
        "%(ticket)s is no longer in iTop. It is still linked to this conversation; nothing can be written to it."
    )
    return Canvas(
        components=(
            Text(text=_("This ticket is not there"), style="header"),
            Text(text=said % {"ticket": inert(ref)}, style="muted"),
            Button(id=click("unlink", ticket_class, ticket_id, "yes"), label=_("Unlink it"), action=Submit()),
            back_button(trail.back),
        ),
        stored_data=trail.stored(),
    )
