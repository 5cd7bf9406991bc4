"""While iTop does not answer: what it said earlier, how old that is, and a Retry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import Click, click
from intercom_bridge.canvas.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    Submit,
    Text,
    inert,
    shorten,
)
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.datamodel.known import attribute_label, value_label
from intercom_bridge.desk import Desk, LastKnown, NothingKnown
from intercom_bridge.models.encryption import SecretUnreadable
from itop_client import ItopError, ItopLoginRefused, ItopNotAllowed, ItopRefused

from .home import home
from .parts import back_button, moment
from .ticket_list import linked_tickets, ongoing_tickets

Trouble = ItopError | SecretUnreadable


def last_known(
    desk: Desk, clicked: Click, error: Trouble, trail: Trail, form: dict[str, Any]
) -> Canvas | None:
    """The clicked screen as iTop last had it; None when that is not known, or when iTop did answer: with a refusal.

    `form` is what was typed into the form that a ticket's screen leads back to.
    """
    if isinstance(error, ItopRefused):
        return None
    known = LastKnown.of(desk)
    try:
        match clicked.verb:
            case "home" | "":
                return home(known, _notice(known, error))
            case "linked":
                canvas = linked_tickets(known, clicked.number(0, 1))
            case "ongoing":
                canvas = ongoing_tickets(known, clicked.number(0, 1))
            case "ticket":
                return _ticket(known, clicked, error, trail.stored() | form)
            case _:
                return None
        return _with_notice(canvas, _notice(known, error), clicked)
    except NothingKnown:
        return None


def _notice(known: LastKnown, error: Trouble) -> str:
    when = {"moment": moment(known.said_at)}
    if isinstance(error, ItopLoginRefused | ItopNotAllowed):
        return (
            _("iTop refuses our account; an admin has to check it. This is what it said on %(moment)s.")
            % when
        )
    if isinstance(error, SecretUnreadable):
        return (
            _("An admin has to enter our account in iTop again. This is what it said on %(moment)s.") % when
        )
    return _("iTop does not answer. This is what it said on %(moment)s.") % when


def _with_notice(canvas: Canvas, notice: str, clicked: Click) -> Canvas:
    """Under the title; the Retry stands above the way back."""
    title, *rest, way_back = canvas.components
    said = Text(text=notice, style="muted")
    return replace(canvas, components=(title, said, *rest, _retry(clicked), way_back))


def _ticket(known: LastKnown, clicked: Click, error: Trouble, stored: dict[str, Any]) -> Canvas:
    row = known.known_row(clicked.argument(0), clicked.number(1))
    linked = _("Linked to this conversation") if row.is_linked else _("Not linked to this conversation")
    components: list[Component] = [
        Text(text=inert(row.ref), style="header", bottom_margin="none"),
        Text(text=linked, style="muted"),
        Text(text=_notice(known, error), style="muted"),
    ]
    if row.title.strip():
        components.append(Text(text=f"**{inert(shorten(row.title, 255))}**"))
    if row.status:
        code = known.profile.code("status")
        state = value_label(known.ticket_class, code, row.status)
        status = Field(field=attribute_label(known.ticket_class, code), value=state)
        components.append(DataTable(items=(status,)))
    components += [_retry(clicked), back_button(stored["back"])]
    return Canvas(components=tuple(components), stored_data=stored)


def _retry(clicked: Click) -> Button:
    return Button(id=str(clicked) or click("home"), label=_("Retry"), action=Submit())
