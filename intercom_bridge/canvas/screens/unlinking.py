"""Unlinking a ticket: asked once, done, and undone."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Canvas, Component, Submit, Text, inert
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.desk import Desk
from intercom_bridge.desk.unlinking import linked, undo, unlink

from .parts import back_button, done_button, paused_line, ticket_button


def ask_to_unlink(desk: Desk, ticket_class: str, ticket_id: int, trail: Trail) -> Canvas:
    link = linked(desk, ticket_class, ticket_id)
    if link is None:
        return _not_linked(trail)
    components: list[Component] = [
        Text(text=_("Unlink %(ticket)s") % {"ticket": inert(link.ticket.ref)}, style="header"),
        Text(
            text=_("New messages of this conversation no longer go into it. What is in its logs stays there.")
        ),
    ]
    if link.unwritten:
        waiting = ngettext(
            "%(count)d message that is not in iTop yet will not be written.",
            "%(count)d messages that are not in iTop yet will not be written.",
            link.unwritten,
        )
        components.append(Text(text=waiting % {"count": link.unwritten}))
    components += [
        Button(id=click("unlink", ticket_class, ticket_id, "yes"), label=_("Unlink"), action=Submit()),
        back_button(click("ticket", ticket_class, ticket_id)),
    ]
    return Canvas(components=tuple(components), stored_data=trail.stored())


def unlinked(desk: Desk, ticket_class: str, ticket_id: int, trail: Trail) -> Canvas:
    unlinking = unlink(desk, ticket_class, ticket_id)
    if unlinking is None:
        return _not_linked(trail)
    components: list[Component] = [
        Text(text=_("%(ticket)s is unlinked") % {"ticket": inert(unlinking.ticket.ref)}, style="header"),
        Text(
            text=_("New messages of this conversation no longer go into it. What is in its logs stays there.")
        ),
    ]
    if left_out := len(unlinking.left_out):
        said = ngettext(
            "%(count)d message that was not in iTop yet is left out.",
            "%(count)d messages that were not in iTop yet are left out.",
            left_out,
        )
        components.append(Text(text=said % {"count": left_out}))
    components += [
        Button(id=click("undo-unlink", unlinking.pk), label=_("Undo"), action=Submit()),
        done_button(trail),
    ]
    return Canvas(components=tuple(components), stored_data=trail.stored())


def unlinking_undone(desk: Desk, unlinking_id: int, trail: Trail) -> Canvas:
    undone = undo(desk, unlinking_id)
    if undone is None:
        return _not_linked(trail)
    ticket = undone.ticket
    if undone.is_paused:
        said = paused_line()
    else:
        said = _("It is as it was before. Messages that came meanwhile go into its logs too.")
    if undone.put_back:
        waiting = ngettext(
            "%(count)d message that was left out is written after all.",
            "%(count)d messages that were left out are written after all.",
            undone.put_back,
        ) % {"count": undone.put_back}
        said = f"{said} {waiting}"
    return Canvas(
        components=(
            Text(text=_("%(ticket)s is linked again") % {"ticket": inert(ticket.ref)}, style="header"),
            Text(text=said),
            ticket_button(ticket),
            done_button(trail),
        ),
        stored_data=trail.stored(),
    )


def _not_linked(trail: Trail) -> Canvas:
    return Canvas(
        components=(
            Text(text=_("This ticket is not linked"), style="header"),
            Text(text=_("There is no such link to this conversation. Nothing was changed."), style="muted"),
            done_button(trail),
        ),
        stored_data=trail.stored(),
    )
