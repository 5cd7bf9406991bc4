"""The first screen: who the person is in iTop, what there is, what can be done. At most 400 pixels high."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.canvas.click import click
from intercom_bridge.canvas.components import (
    FIRST_SCREEN_HEIGHT,
    Button,
    Canvas,
    Component,
    Item,
    List,
    Submit,
    Text,
    height_of,
    inert,
    shorten,
)
from intercom_bridge.desk import Desk, Person, SyncStatus, TicketRow
from intercom_bridge.desk.desk import MOST_TICKETS
from intercom_bridge.models import PersonMatch, Submission

from .parts import moment
from .sync import failed_buttons, failed_line, left_out_buttons, left_out_line, pause_button


@dataclass(frozen=True)
class _Detail:
    """How much is said. What is left out here stands on the page behind the line on the sync."""

    name_length: int
    says_why: bool
    sync_facts: bool
    reason_length: int
    offers: bool


# The first that fits is shown: the more there is to say about the sync, the shorter the rest.
DETAILS = (
    _Detail(name_length=50, says_why=True, sync_facts=True, reason_length=120, offers=True),
    _Detail(name_length=50, says_why=True, sync_facts=False, reason_length=80, offers=True),
    _Detail(name_length=26, says_why=False, sync_facts=False, reason_length=50, offers=True),
    _Detail(name_length=26, says_why=False, sync_facts=False, reason_length=25, offers=False),
    # Of letters that are twice as wide there is room for half as many.
    _Detail(name_length=13, says_why=False, sync_facts=False, reason_length=0, offers=False),
)


def home(desk: Desk) -> Canvas:
    person = desk.person()
    rows, more = desk.tickets()
    status = desk.sync_status()
    creation = desk.creation_to_tell_of()
    components: list[Component] = []
    for detail in DETAILS:
        components = _told(person, rows, status, detail, more=more, creation=creation)
        if height_of(components) <= FIRST_SCREEN_HEIGHT:
            break
    return Canvas(components=tuple(components))


def _told(
    person: Person,
    rows: list[TicketRow],
    status: SyncStatus | None,
    detail: _Detail,
    *,
    more: bool,
    creation: Submission | None,
) -> list[Component]:
    name = shorten(person.name or person.email or _("Somebody"), detail.name_length)
    items = [
        _linked_item(sum(row.is_linked for row in rows)),
        _ongoing_item(sum(row.is_ongoing for row in rows), more=more),
    ]
    if creation is not None:
        items.insert(0, _creation_item(creation))
    if status is not None:
        items.append(_sync_item(status, detail))
    components: list[Component] = [
        Text(text=inert(name), style="header", bottom_margin="none"),
        Text(text=_who(person, detail), style="muted"),
        List(items=tuple(items)),
        Button(id=click("create"), label=_("Create a ticket"), action=Submit()),
    ]
    if status is not None:
        if status.failed:
            failed = failed_line(status, detail.reason_length)
            components += [Text(text=failed, style="error", bottom_margin="none"), *failed_buttons(status)]
        if detail.offers and (offers := left_out_buttons(status)):
            components += [Text(text=left_out_line(status.left_out), bottom_margin="none"), *offers]
        components.append(pause_button(status))
    return components


def _who(person: Person, detail: _Detail) -> str:
    """The organization, and why we think that it is this person."""
    if person.how == PersonMatch.How.ATTRIBUTES:
        why = _("known by the contact's iTop id")
    else:
        why = _("found by e-mail")
    organization = inert(shorten(person.org_name, detail.name_length))
    if organization and not detail.says_why:
        return organization
    return f"{organization} · {why}" if organization else why


def _creation_item(creation: Submission) -> Item:
    """A press of Create that nobody has seen the end of."""
    here = click("creation", creation.form_key)
    if creation.state == Submission.State.CREATING:
        return Item(id=here, title=_("A ticket is on its way"), subtitle=_("Look again"), action=Submit())
    title = _("A ticket could not be created")
    return Item(id=here, title=title, subtitle=_("See why, and try again"), action=Submit())


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


def _sync_item(status: SyncStatus, detail: _Detail) -> Item:
    """Leads to the page with the rest."""
    said = _facts(status) if detail.sync_facts else []
    if status.on:
        title = _("The sync is on")
    else:
        title = _("The sync is paused")
        if detail.sync_facts or not status.left_out:
            said.insert(0, _("new messages are left out"))
    if status.left_out and not (status.on and detail.offers):
        out = ngettext("%(count)d left out so far", "%(count)d left out so far", status.left_out)
        said.append(out % {"count": status.left_out})
    words = ", ".join(said)
    return Item(id=click("sync"), title=title, subtitle=words[:1].upper() + words[1:], action=Submit())


def _facts(status: SyncStatus) -> list[str]:
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
    return facts
