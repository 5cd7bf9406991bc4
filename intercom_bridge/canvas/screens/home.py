"""The first screen: who the person is in iTop, what there is, what can be done. At most 400 pixels high."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import (
    Button,
    Canvas,
    Component,
    Item,
    List,
    Submit,
    Text,
    inert,
    shorten,
)
from intercom_bridge.desk.desk import MOST_TICKETS
from intercom_bridge.desk import Desk, Person, SyncStatus
from intercom_bridge.models import PersonMatch

from .parts import moment

NAME_LENGTH = 50


def home(desk: Desk) -> Canvas:
    person = desk.person()
    rows, more = desk.tickets()
    linked = sum(row.is_linked for row in rows)
    ongoing = sum(row.is_ongoing for row in rows)
    status = desk.sync_status()
    components: list[Component] = [
        Text(
            text=inert(shorten(person.name or person.email or _("Somebody"), NAME_LENGTH)),
            style="header",
            bottom_margin="none",
        ),
        Text(text=_who(person), style="muted"),
        List(items=(_linked_item(linked), _ongoing_item(ongoing, more=more))),
        Button(id=click("create"), label=_("Create a ticket"), action=Submit()),
    ]
    if status is not None:
        components.append(Text(text=sync_line(status), style="error" if status.failed else "muted"))
        if status.on:
            pause = Button(id=click("pause"), label=_("Pause the sync"), style="link", action=Submit())
        else:
            pause = Button(id=click("resume"), label=_("Resume the sync"), style="link", action=Submit())
        components.append(pause)
    return Canvas(components=tuple(components))


def _who(person: Person) -> str:
    """The organization, and why we think that it is this person."""
    if person.how == PersonMatch.How.ATTRIBUTES:
        why = _("known by the contact's iTop id")
    else:
        why = _("found by e-mail")
    organization = inert(shorten(person.org_name, NAME_LENGTH))
    return f"{organization} · {why}" if organization else why


def _linked_item(count: int) -> Item:
    if not count:
        return Item(id=click("linked", 1), title=_("No ticket is linked yet"), disabled=True)
    title = ngettext("%(count)d linked ticket", "%(count)d linked tickets", count) % {"count": count}
    return Item(id=click("linked", 1), title=title, action=Submit())


def _ongoing_item(count: int, *, more: bool) -> Item:
    if not count:
        return Item(id=click("ongoing", 1), title=_("No ongoing ticket"), disabled=True)
    if more:
        title = _("More than %(count)d ongoing tickets") % {"count": MOST_TICKETS}
    else:
        title = ngettext("%(count)d ongoing ticket", "%(count)d ongoing tickets", count) % {"count": count}
    return Item(id=click("ongoing", 1), title=title, action=Submit())


def sync_line(status: SyncStatus) -> str:
    """How the sync stands, in a sentence or two."""
    if status.on:
        line = _("The sync is on.")
    else:
        line = _("The sync is paused: new messages are left out.")
    facts = []
    if status.written:
        facts.append(
            ngettext("%(count)d message is in iTop", "%(count)d messages are in iTop", status.written)
            % {"count": status.written}
        )
        if status.last_at is not None:
            facts.append(_("the last of %(moment)s") % {"moment": moment(status.last_at)})
    if status.waiting:
        facts.append(_("%(count)d waiting") % {"count": status.waiting})
    if status.failed:
        facts.append(_("%(count)d could not be written") % {"count": status.failed})
    return f"{line} {', '.join(facts)}." if facts else line
