"""Tickets, ten a page: those linked to the conversation, or the ongoing ones of the person."""

from __future__ import annotations

from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Canvas, Component, Item, List, Submit, Text, inert
from intercom_bridge.desk import Desk, TicketRow
from intercom_bridge.labels import value_label

from .parts import back_button, pager

PAGE = 10


def linked_tickets(desk: Desk, page: int) -> Canvas:
    rows, _more = desk.tickets()
    return _list("linked", _("Linked tickets"), [row for row in rows if row.is_linked], page)


def ongoing_tickets(desk: Desk, page: int) -> Canvas:
    rows, more = desk.tickets()
    title = _("Ongoing tickets of %(person)s") % {"person": inert(desk.person().name)}
    ongoing = [row for row in rows if row.is_ongoing]
    hint = _("There are more. These are the newest %(count)d.") % {"count": len(ongoing)} if more else ""
    return _list("ongoing", title, ongoing, page, hint)


def _list(verb: str, title: str, rows: list[TicketRow], page: int, hint: str = "") -> Canvas:
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(page, 1), pages)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    components: list[Component] = [Text(text=title, style="header")]
    if shown:
        components.append(List(items=tuple(_item(row) for row in shown)))
    else:
        components.append(Text(text=_("There is none any more."), style="muted"))
    if pages > 1:
        place = _("Page %(page)d of %(pages)d") % {"page": page, "pages": pages}
        components.append(Text(text=place, style="muted"))
    if hint:
        components.append(Text(text=hint, style="muted"))
    components += [*pager(verb, page=page, pages=pages), back_button(click("home"))]
    return Canvas(components=tuple(components), stored_data={"back": click(verb, page)})


def _item(row: TicketRow) -> Item:
    if not row.status:
        return Item(
            id=click("ticket", row.ticket_class, row.id),
            title=row.ref,
            subtitle=_("No longer in iTop"),
            disabled=True,
        )
    return Item(
        id=click("ticket", row.ticket_class, row.id),
        title=f"{row.ref} · {value_label('status', row.status)}",
        subtitle=row.subtitle,
        tertiary_text=_("Linked to this conversation") if row.is_linked and row.is_ongoing else "",
        action=Submit(),
    )
