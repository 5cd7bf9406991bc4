"""Pieces that several screens have in common."""

from __future__ import annotations

import datetime as dt
import re

from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import Button, Component, Submit
from intercom_bridge.canvas.trail import FORM, Trail
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import Ticket

# Short, and never all digits: 11/12 is another day on the other side of an ocean.
_MOMENTS = {"en": "j M Y H:i", "fr": "j N Y à H:i", "de": "j. N Y, H:i", "es": "j b Y, H:i"}

_ITOP_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_HTML = re.compile(r"\s*<[a-z!]", re.IGNORECASE)


def moment(when: dt.datetime) -> str:
    """An absolute date, as Intercom's guidelines want it: the panel cannot update itself."""
    return date_format(when, _MOMENTS.get(get_language() or "", _MOMENTS["en"]))


def readable(value: str, itop_zone: dt.tzinfo, zone: dt.tzinfo) -> str:
    """An attribute's value for people: iTop's dates in the workspace's time zone, HTML as text."""
    if _ITOP_DATE.fullmatch(value):
        local = dt.datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=itop_zone)
        return moment(local.astimezone(zone))
    return to_text(value) if _HTML.match(value) else value


def link_button(to: str, label: str) -> Button:
    return Button(id=to, label=label, style="link", action=Submit())


def back_button(to: str) -> Button:
    return link_button(to, _("Back"))


def home_button(label: str = "") -> Button:
    return link_button(click("home"), label or _("Done"))


def done_button(trail: Trail) -> Button:
    """Home; or back to the form, where one is being filled in."""
    return link_button(FORM, _("Back to the form")) if trail.back == FORM else home_button()


def find_button() -> Button:
    return link_button(click("find"), _("Find a ticket"))


def paused_line() -> str:
    return _("The sync is paused: new messages are left out.")


def merged_line() -> str:
    return _("This conversation was merged into another one: new messages come in there.")


def ticket_button(ticket: Ticket) -> Button:
    here = click("ticket", ticket.ticket_class, ticket.object_id)
    return Button(id=here, label=_("See the ticket"), action=Submit())


def pager(verb: str, *arguments: object, page: int, pages: int) -> tuple[Component, ...]:
    """Buttons to the page before and the page after; none when there is one page."""
    buttons: list[Component] = []
    if page > 1:
        buttons.append(
            Button(id=click(verb, *arguments, page - 1), label=_("Previous"), style="link", action=Submit())
        )
    if page < pages:
        buttons.append(
            Button(id=click(verb, *arguments, page + 1), label=_("Next"), style="link", action=Submit())
        )
    return tuple(buttons)
