"""The first screen: who the person is in iTop, their tickets, and what can be done. At most 400 pixels high."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.models import PersonMatch, TicketCreation
from intercom_bridge.panel.click import HOME, click_id
from intercom_bridge.panel.components import (
    MAX_FIRST_SCREEN_HEIGHT,
    Canvas,
    Component,
    Item,
    List,
    Text,
    escape_markdown,
    estimated_height,
    shorten,
    shorten_to_line,
)
from intercom_bridge.tickets.links.merge import Merge
from intercom_bridge.tickets.listing import MAX_TICKETS
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketRow
from intercom_bridge.tickets.sync_status import SyncStatus

from .merged import merge_item
from .parts import button, find_button, item, muted, retry_button, subtitle
from .sync_status import (
    failed_buttons,
    failed_text,
    last_written_text,
    left_out_buttons,
    left_out_text,
    switch_buttons,
    written_text,
)

MAX_NAME_LENGTH = 50
LINE_WIDTH = 26
MAX_CLOSED = 2
MAX_REASON_LENGTHS = (120, 50, 0)


class Level(enum.IntEnum):
    """How much a section shows. HIDDEN only concerns sections that show something at the minimum."""

    NORMAL = 0
    COMPACT = 1
    MINIMUM = 2
    HIDDEN = 3


# The order in which sections are reduced until the screen fits, first to COMPACT, then to MINIMUM and so on. What is
# left out can be reached from the items that remain.
REDUCED_FIRST = ("person", "find", "sync", "failed", "merge", "creation", "name", "left_out", "switch")

Levels = Mapping[str, Level]
Part = Component | Item


@dataclass(frozen=True, kw_only=True)
class HomeScreen:
    """The data of the first screen. A `notice` says that the tickets are cached; Retry then replaces Create.

    A `warning` says that the contact may not be the person. Nobody in iTop looks at tickets in `closed_states`.
    """

    person: Person
    rows: tuple[TicketRow, ...]
    has_more: bool = False
    status: SyncStatus | None = None
    creation: TicketCreation | None = None
    merge: Merge | None = None
    notice: str = ""
    warning: str = ""
    closed_states: tuple[str, ...] = ()

    @property
    def is_merged_away(self) -> bool:
        return self.merge is not None and self.merge.away

    def to_canvas(self) -> Canvas:
        """Return the most detailed screen that fits."""
        levels = dict.fromkeys(REDUCED_FIRST, Level.NORMAL)
        components = self._components(levels)
        for level in (Level.COMPACT, Level.MINIMUM, Level.HIDDEN):
            for section in REDUCED_FIRST:
                if estimated_height(components) <= MAX_FIRST_SCREEN_HEIGHT:
                    return Canvas(components=components)
                levels[section] = level
                components = self._components(levels)
        return Canvas(components=components)

    def _components(self, levels: Levels) -> tuple[Component, ...]:
        items = [
            *self._person(levels["person"]),
            *self._creation(levels["creation"]),
            self._linked(),
            self._ongoing(),
            *self._merge(levels["merge"]),
            *self._sync(levels),
        ]
        return (
            self._name(levels["name"]),
            *([Text(text=self.warning, style="error", bottom_margin="none")] if self.warning else []),
            *([muted(self.notice)] if self.notice else []),
            List(items=tuple(items)),
            retry_button(HOME) if self.notice else button(click_id("create"), _("Create a ticket")),
            *([find_button()] if levels["find"] is Level.NORMAL else []),
            *self._failed(levels["failed"]),
            *self._left_out(levels["left_out"]),
            *self._switch(levels["switch"]),
        )

    def _name(self, level: Level) -> Text:
        shortened = (_shorten_name(text, level) for text in (self.person.name, self.person.email))
        return subtitle(escape_markdown(next(filter(None, shortened), _("Unknown person"))))

    def _person(self, level: Level) -> list[Item]:
        """Return organization and match, leading to the choice of another person."""
        person, question = self.person, _("Not this person?")
        facts = [_shorten_name(person.org_name, level)]
        if level is Level.NORMAL:
            facts.append(_match_text(person))
        title = " · ".join(fact for fact in facts if fact)
        target = click_id("who", "not", person.id)
        if self.notice:
            # Without iTop, another person cannot be searched for.
            has_item = title and level is not Level.HIDDEN
            return [Item(id=target, title=title)] if has_item else []
        hint = question if title and level <= Level.COMPACT else ""
        return [item(target, title or question, hint)]

    def _creation(self, level: Level) -> list[Item]:
        if self.creation is None:
            return []
        if self.creation.state == TicketCreation.State.CREATING:
            title, hint = _("A ticket is being created"), _("Check again")
        else:
            title, hint = _("A ticket could not be created"), _("See why, and correct it")
        target = click_id("creation", self.creation.form_key)
        return [item(target, title, hint if level is Level.NORMAL else "")]

    def _linked(self) -> Item:
        count = sum(row.is_linked for row in self.rows)
        target = click_id("linked", 1)
        if not count:
            return Item(id=target, title=_("No linked tickets"), disabled=True)
        title = ngettext("%(count)d linked ticket", "%(count)d linked tickets", count) % {"count": count}
        return item(target, title)

    def _ongoing(self) -> Item:
        count = sum(row.is_ongoing for row in self.rows)
        target = click_id("ongoing", 1)
        if not count:
            return Item(id=target, title=_("No ongoing tickets"), disabled=True)
        if self.has_more:
            title = _("More than %(count)d ongoing tickets") % {"count": MAX_TICKETS}
        else:
            title = ngettext("%(count)d ongoing ticket", "%(count)d ongoing tickets", count)
            title %= {"count": count}
        return item(target, title)

    def _merge(self, level: Level) -> list[Item]:
        if self.merge is None or level >= Level.MINIMUM:
            return []
        return [merge_item(self.merge, with_hint=level is Level.NORMAL)]

    def _sync(self, levels: Levels) -> list[Item]:
        """Return the status. It also counts what the sections below have no room for."""
        status, level = self.status, levels["sync"]
        if status is None:
            return []
        facts = [] if level >= Level.MINIMUM else _facts(status)
        if level is Level.NORMAL and status.total and status.last_at is not None:
            facts.append(last_written_text(status.last_at))
        if closed := [row.ref for row in self.rows if row.is_linked and row.status in self.closed_states]:
            text = ngettext(
                "%(tickets)s is closed: new messages may not be noticed there",
                "%(tickets)s are closed: new messages may not be noticed there",
                len(closed),
            )
            facts.insert(0, text % {"tickets": ", ".join(closed[:MAX_CLOSED])})
        if self.is_merged_away:
            title = _("Sync status")
        elif status.on:
            title = _("Sync on")
        else:
            title = _("Sync paused")
        if status.failed and levels["failed"] is Level.HIDDEN:
            facts.append(_("%(count)d could not be copied") % {"count": status.failed})
        if status.left_out and not (status.on and levels["left_out"] <= Level.COMPACT):
            text = ngettext("%(count)d left out", "%(count)d left out", status.left_out)
            facts.append(text % {"count": status.left_out})
        text = ", ".join(facts)
        return [item(click_id("sync"), title, text[:1].upper() + text[1:])]

    def _failed(self, level: Level) -> list[Component]:
        if self.status is None or not self.status.failed or level is Level.HIDDEN:
            return []
        text = failed_text(self.status, MAX_REASON_LENGTHS[level])
        return [Text(text=text, style="error", bottom_margin="none"), *failed_buttons(self.status)]

    def _left_out(self, level: Level) -> list[Component]:
        if self.status is None or level >= Level.MINIMUM:
            return []
        buttons = left_out_buttons(self.status)
        if not buttons:
            return []
        return [Text(text=left_out_text(self.status.left_out), bottom_margin="none"), *buttons]

    def _switch(self, level: Level) -> list[Component]:
        if self.status is None or self.is_merged_away or level is Level.HIDDEN:
            return []
        return [switch_buttons(self.status)[0]]


def _shorten_name(name: str, level: Level) -> str:
    if level is Level.NORMAL:
        return shorten(name, MAX_NAME_LENGTH)
    return shorten_to_line(name, LINE_WIDTH)


def _match_text(person: Person) -> str:
    """Return how the person was found."""
    match person.how:
        case PersonMatch.How.ITOP:
            return _("verified by iTop")
        case PersonMatch.How.ATTRIBUTES:
            return _("matched by iTop ID")
        case PersonMatch.How.EXTERNAL_ID:
            return _("matched by external ID")
        case PersonMatch.How.CHOSEN:
            teammate = shorten(person.picked_by, MAX_NAME_LENGTH) or _("a teammate")
            return _("chosen by %(teammate)s") % {"teammate": teammate}
        case _:
            return _("matched by e-mail")


def _facts(status: SyncStatus) -> list[str]:
    """Return short texts, most important first."""
    facts = []
    if not status.on:
        facts.append(_("new messages are not copied"))
    if status.paused:
        text = ngettext("paused for %(count)d ticket", "paused for %(count)d tickets", len(status.paused))
        facts.append(text % {"count": len(status.paused)})
    if status.total:
        facts.append(written_text(status.written, status.total, status.refs))
    if status.waiting:
        facts.append(_("%(count)d waiting") % {"count": status.waiting})
    return facts
