"""The first screen: who the person is in iTop, what there is, what can be done. At most 400 pixels high."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from intercom_bridge.desk.moving import Merge, merge_of
from intercom_bridge.models import PersonMatch, Submission

from .moving import merge_item
from .parts import find_button
from .sync import (
    failed_buttons,
    failed_line,
    last_on,
    left_out_buttons,
    left_out_line,
    pause_button,
    written_of,
)


@dataclass(frozen=True)
class _Detail:
    """How much is said. What is left out here stands on the page behind the line on the sync."""

    name_length: int
    says_why: bool
    asks: bool
    # Of what is said about the sync: how many of how many, how many wait, since when.
    facts: int
    reason_length: int
    offers: bool
    finds: bool
    failures: bool = True
    pause: bool = True
    who: bool = True


# The first that fits is shown: the more there is to say about the sync, the shorter the rest. A search can also be
# begun from the lists.
DETAILS: tuple[_Detail, ...] = (
    _Detail(50, says_why=True, asks=True, facts=3, reason_length=120, offers=True, finds=True),
    _Detail(50, says_why=False, asks=True, facts=3, reason_length=120, offers=True, finds=True),
    _Detail(50, says_why=True, asks=True, facts=2, reason_length=80, offers=True, finds=True),
    _Detail(26, says_why=False, asks=True, facts=2, reason_length=50, offers=True, finds=True),
    _Detail(26, says_why=False, asks=True, facts=1, reason_length=50, offers=True, finds=True),
    # Without the words "Not this person?" their line still leads there.
    _Detail(26, says_why=False, asks=False, facts=1, reason_length=50, offers=True, finds=True),
    _Detail(50, says_why=True, asks=True, facts=2, reason_length=80, offers=True, finds=False),
    _Detail(26, says_why=False, asks=False, facts=2, reason_length=50, offers=True, finds=False),
    _Detail(26, says_why=False, asks=False, facts=1, reason_length=50, offers=True, finds=False),
    _Detail(26, says_why=False, asks=False, facts=0, reason_length=50, offers=True, finds=False),
    _Detail(26, says_why=False, asks=False, facts=1, reason_length=25, offers=False, finds=False),
    _Detail(26, says_why=False, asks=False, facts=0, reason_length=25, offers=False, finds=False),
    # Of letters that are twice as wide there is room for half as many.
    _Detail(13, says_why=False, asks=False, facts=0, reason_length=0, offers=False, finds=False),
)
_LEAST = replace(DETAILS[-1], failures=False)
# A creation to tell of besides all that; or iTop does not answer, so that nobody can be picked now.
DETAILS += (_LEAST, replace(_LEAST, pause=False), replace(_LEAST, pause=False, who=False))


def home(desk: Desk, notice: str = "") -> Canvas:
    """`notice` says that this is what iTop said earlier; then a Retry stands where Create would."""
    person = desk.person()
    rows, more = desk.tickets()
    return first_screen(
        person,
        rows,
        desk.sync_status(),
        more=more,
        creation=desk.creation_to_tell_of(),
        merge=merge_of(desk),
        notice=notice,
    )


def first_screen(
    person: Person,
    rows: list[TicketRow],
    status: SyncStatus | None,
    *,
    more: bool,
    creation: Submission | None,
    merge: Merge | None,
    notice: str,
) -> Canvas:
    """As much of it as there is room for."""
    components: list[Component] = []
    for detail in DETAILS:
        components = _told(
            person, rows, status, detail, more=more, creation=creation, merge=merge, notice=notice
        )
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
    merge: Merge | None,
    notice: str,
) -> list[Component]:
    known_as = (shorten(one, detail.name_length) for one in (person.name, person.email))
    name = next((one for one in known_as if one), _("Somebody"))
    items = []
    if not notice:
        items.append(_who_item(person, detail))
    elif detail.who and (who := _who(person, detail)):
        # While iTop is away nobody else can be looked for.
        items.append(Item(id=click("who", "not", person.id), title=who))
    if creation is not None:
        items.append(_creation_item(creation, detail))
    items += [
        _linked_item(sum(row.is_linked for row in rows)),
        _ongoing_item(sum(row.is_ongoing for row in rows), more=more),
    ]
    if merge is not None and detail.offers:
        items.append(merge_item(merge))
    is_merged = merge is not None and merge.away
    if status is not None:
        items.append(_sync_item(status, detail, is_merged=is_merged))
    components: list[Component] = [
        Text(text=inert(name), style="header", bottom_margin="none"),
        *([Text(text=notice, style="muted")] if notice else []),
        List(items=tuple(items)),
        Button(id=click("home"), label=_("Retry"), action=Submit())
        if notice
        else Button(id=click("create"), label=_("Create a ticket"), action=Submit()),
    ]
    if detail.finds:
        components.append(find_button())
    if status is not None:
        if status.failed and detail.failures:
            failed = failed_line(status, detail.reason_length)
            components += [Text(text=failed, style="error", bottom_margin="none"), *failed_buttons(status)]
        if detail.offers and (offers := left_out_buttons(status)):
            components += [Text(text=left_out_line(status.left_out), bottom_margin="none"), *offers]
        if detail.pause and not is_merged:
            components.append(pause_button(status))
    return components


def _who_item(person: Person, detail: _Detail) -> Item:
    here, asks = click("who", "not", person.id), _("Not this person?")
    # Without an organization, and without room for how we know, the question is all there is.
    said = _who(person, detail) or asks
    return Item(id=here, title=said, subtitle=asks if detail.asks and said != asks else "", action=Submit())


def _who(person: Person, detail: _Detail) -> str:
    """The organization, and why we think that it is this person."""
    if person.how == PersonMatch.How.ATTRIBUTES:
        why = _("known by the contact's iTop id")
    elif person.how == PersonMatch.How.EXTERNAL_ID:
        why = _("known by the contact's external id")
    elif person.how == PersonMatch.How.CHOSEN:
        teammate = shorten(person.picked_by, detail.name_length) or _("a teammate")
        why = _("picked by %(teammate)s") % {"teammate": teammate}
    else:
        why = _("found by e-mail")
    organization = shorten(person.org_name, detail.name_length)
    if not detail.says_why:
        return organization
    return f"{organization} · {why}" if organization else why


def _creation_item(creation: Submission, detail: _Detail) -> Item:
    """A press of Create that nobody has seen the end of."""
    title, subtitle = _("A ticket could not be created"), _("See why, and correct it")
    if creation.state == Submission.State.CREATING:
        title, subtitle = _("A ticket is on its way"), _("Look again")
    here = click("creation", creation.form_key)
    return Item(id=here, title=title, subtitle=subtitle if detail.failures else "", action=Submit())


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


def _sync_item(status: SyncStatus, detail: _Detail, *, is_merged: bool) -> Item:
    """Leads to the page with the rest."""
    said = _facts(status)[: detail.facts]
    if is_merged:
        title = _("How the sync stands")
    elif status.on:
        title = _("The sync is on")
    else:
        title = _("The sync is paused")
        if detail.facts or not status.left_out:
            said.insert(0, _("new messages are left out"))
    if status.failed and not detail.failures:
        said.append(_("%(count)d could not be written") % {"count": status.failed})
    if status.left_out and not (status.on and detail.offers):
        out = ngettext("%(count)d left out so far", "%(count)d left out so far", status.left_out)
        said.append(out % {"count": status.left_out})
    words = ", ".join(said)
    return Item(id=click("sync"), title=title, subtitle=words[:1].upper() + words[1:], action=Submit())


def _facts(status: SyncStatus) -> list[str]:
    facts = []
    if status.paused:
        paused = ngettext("paused for %(count)d ticket", "paused for %(count)d tickets", len(status.paused))
        facts.append(paused % {"count": len(status.paused)})
    if status.total:
        facts.append(written_of(status.written, status.total, status.refs))
    if status.waiting:
        facts.append(_("%(count)d waiting") % {"count": status.waiting})
    if status.total and status.last_at is not None:
        facts.append(last_on(status.last_at))
    return facts
