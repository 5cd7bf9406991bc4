"""Tickets, ten a page: those linked to the conversation, or the ongoing ones of the person."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Canvas, Component, Item, List, Submit, Text, inert
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.datamodel.known import value_label
from intercom_bridge.desk import Desk, TicketRow
from intercom_bridge.desk.search import other_conversations

from .parts import back_button, find_button, pager

PAGE = 10


def linked_tickets(desk: Desk, page: int) -> Canvas:
    rows, _more = desk.tickets()
    return _list(desk, "linked", _("Linked tickets"), [row for row in rows if row.is_linked], page)


def ongoing_tickets(desk: Desk, page: int) -> Canvas:
    rows, more = desk.tickets()
    title = _("Ongoing tickets of %(person)s") % {"person": inert(desk.person().name)}
    ongoing = [row for row in rows if row.is_ongoing]
    hint = _("There are more. These are the newest %(count)d.") % {"count": len(ongoing)} if more else ""
    return _list(desk, "ongoing", title, ongoing, page, hint)


def _list(desk: Desk, verb: str, title: str, rows: list[TicketRow], page: int, hint: str = "") -> Canvas:
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(page, 1), pages)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    components: list[Component] = [Text(text=title, style="header")]
    if shown:
        others = other_conversations(desk, (row.id for row in shown))
        components.append(List(items=tuple(item(desk, row, others.get(row.id, 0)) for row in shown)))
    else:
        components.append(Text(text=_("There are none now."), style="muted"))
    if pages > 1:
        place = _("Page %(page)d of %(pages)d") % {"page": page, "pages": pages}
        components.append(Text(text=place, style="muted"))
    if hint:
        components.append(Text(text=hint, style="muted"))
    components += [*pager(verb, page=page, pages=pages), find_button(), back_button(click("home"))]
    return Canvas(components=tuple(components), stored_data=Trail(back=click(verb, page)).stored())


def item(desk: Desk, row: TicketRow, others: int) -> Item:
    """A ticket's line, which opens it; `others` counts the conversations but this one that it is linked to."""
    if not row.status:
        return Item(
            id=click("unlink", row.ticket_class, row.id, "yes"),
            title=row.ref,
            subtitle=_("No longer in iTop"),
            tertiary_text=_("Click to unlink it"),
            action=Submit(),
        )
    state = value_label(desk.ticket_class, desk.profile.code("status"), row.status)
    return Item(
        id=click("ticket", row.ticket_class, row.id),
        title=f"{row.ref} · {state}",
        subtitle=row.subtitle,
        tertiary_text=how_linked(row.is_linked, others) if row.is_linked or others else "",
        action=Submit(),
    )


def how_linked(here: bool, others: int) -> str:
    if here and others:
        return ngettext(
            "Linked to this conversation and to %(count)d other",
            "Linked to this conversation and to %(count)d others",
            others,
        ) % {"count": others}
    if here:
        return _("Linked to this conversation")
    if others:
        return ngettext(
            "Linked to %(count)d other conversation", "Linked to %(count)d other conversations", others
        ) % {"count": others}
    return _("Not linked to any conversation")
