"""Find a ticket: by its reference or words of its title, ten a page."""

from __future__ import annotations

from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Canvas, Component, Input, List, Submit, Text
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.desk import Desk
from intercom_bridge.desk.search import Results, find_tickets, other_conversations

from .parts import back_button, pager
from .ticket_list import item

# What is typed comes back under the id of its field.
FIELD = click("find")


def find(desk: Desk, words: str, page: int) -> Canvas:
    """The page of what these words find; without words, the field to type them into."""
    results = find_tickets(desk, words, page)
    components: list[Component] = [
        Text(text=_("Find a ticket"), style="header"),
        Input(
            id=FIELD,
            label=_("Reference, or words of the title"),
            value=results.words,
            placeholder=_("R-000123, or printer toner"),
            action=Submit(),
        ),
    ]
    if results.rows:
        others = other_conversations(desk, (row.id for row in results.rows))
        components.append(List(items=tuple(item(desk, row, others.get(row.id, 0)) for row in results.rows)))
    elif results.pages:
        components.append(Text(text=_nothing(results), style="muted"))
    if results.pages > 1:
        place = _("Page %(page)d of %(pages)d") % {"page": results.page, "pages": results.pages}
        components.append(Text(text=place, style="muted"))
    components += [*pager("find", page=results.page, pages=results.pages), back_button(click("home"))]
    trail = Trail(back=click("find", results.page), words=results.words)
    return Canvas(components=tuple(components), stored_data=trail.stored())


def _nothing(results: Results) -> str:
    if results.pages > 1:
        return _("This workspace serves none of the tickets on this page.")
    return _("No ticket that this workspace serves has this reference, or all of these words in its title.")
