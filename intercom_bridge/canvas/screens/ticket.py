"""One ticket: the profile's attributes, and what can be done with it here."""

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
from intercom_bridge.desk import Desk
from intercom_bridge.labels import attribute_label, value_label

from .parts import back_button, readable

# The Inbox cuts what is longer in a table, so it becomes a paragraph.
TABLE_LENGTH = 60
PARAGRAPH_LENGTH = 1500


def ticket(desk: Desk, ticket_class: str, ticket_id: int, back: str) -> Canvas:
    view = desk.ticket(ticket_class, ticket_id)
    row = view.row
    components: list[Component] = [
        Text(text=inert(row.ref), style="header", bottom_margin="none"),
        Text(text=_how_linked(row.is_linked, view.other_conversations), style="muted"),
    ]
    if view.title.strip():
        components.append(Text(text=f"**{inert(shorten(view.title, 255))}**"))
    table, paragraphs = [], []
    for code, value in view.attributes:
        label = attribute_label(code)
        text = value_label(code, readable(value, desk.itop.zone, desk.workspace.zone)).strip()
        if "\n" in text or len(text) > TABLE_LENGTH:
            paragraphs.append((label, text))
        elif text:
            table.append(Field(field=label, value=text))
    if table:
        components.append(DataTable(items=tuple(table)))
    for label, text in paragraphs:
        cut = text if len(text) <= PARAGRAPH_LENGTH else f"{text[:PARAGRAPH_LENGTH].rstrip()}…"
        components.append(Text(text=f"**{inert(label)}**\n{inert(cut)}"))
    unknown = [code for code in view.missing if not code.endswith("_friendlyname")]
    if unknown:
        names = inert(", ".join(unknown))
        components.append(
            Text(
                text=_("iTop has no attribute %(names)s. An admin can correct the ticket profile.")
                % {"names": names},
                style="muted",
            )
        )
    if not row.is_linked:
        components.append(
            Button(
                id=click("link", row.ticket_class, row.id),
                label=_("Link to this conversation"),
                style="primary",
                action=Submit(),
            )
        )
    if desk.profile.show_open_in_backoffice_button:
        components.append(
            Button(id="open-in-itop", label=_("Open in iTop"), action=OpenUrl(view.backoffice_url))
        )
    components.append(back_button(back))
    return Canvas(components=tuple(components), stored_data={"back": back})


def _how_linked(here: bool, others: int) -> str:
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
