"""The first screen: who the person is in iTop, their tickets, and the actions. At most 400 pixels high."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.models import PersonMatch, TicketCreation
from intercom_bridge.panel.click import FIND, HOME, LINKED, NEWS, SYNC, click_id
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
from intercom_bridge.tickets.news import News
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketRow
from intercom_bridge.tickets.sync_status import SyncStatus

from .merged import merge_item
from .news import ENTRIES, checked_text, event_title, posting_stopped
from .parts import (
    button,
    capitalized,
    find_button,
    format_time,
    item,
    join_facts,
    link_button,
    retry_button,
    subtitle,
)
from .sync_status import (
    failed_buttons,
    failed_files_text,
    failed_text,
    files_text,
    left_out_buttons,
    left_out_text,
    switch_buttons,
)

MAX_NAME_LENGTH = 50
LINE_WIDTH = 26
MAX_CLOSED = 2
MAX_REF_WIDTH = 12
MAX_LINKED = 3
MAX_TITLE_WIDTHS = (50, 28)
MAX_REASON_LENGTHS = (400, 400, 80, 0)


class Level(enum.IntEnum):
    """How detailed a section is. A HIDDEN section can still be reached through another one."""

    NORMAL = 0
    COMPACT = 1
    MINIMUM = 2
    HIDDEN = 3


# Sections are reduced in this order until the screen fits. The reason of a failure is reduced as late as possible.
REDUCTIONS = (
    ("checked", Level.HIDDEN),
    ("switch", Level.HIDDEN),
    ("person", Level.COMPACT),
    ("tickets", Level.COMPACT),
    ("find", Level.HIDDEN),
    ("news", Level.COMPACT),
    ("tickets", Level.MINIMUM),
    ("sync", Level.COMPACT),
    ("merge", Level.COMPACT),
    ("creation", Level.COMPACT),
    ("person", Level.MINIMUM),
    ("name", Level.COMPACT),
    ("tickets", Level.HIDDEN),
    ("failed", Level.COMPACT),
    ("merge", Level.HIDDEN),
    ("left_out", Level.HIDDEN),
    ("closed", Level.COMPACT),
    ("news", Level.HIDDEN),
    ("sync", Level.MINIMUM),
    ("stopped", Level.HIDDEN),
    ("closed", Level.HIDDEN),
    ("failed", Level.MINIMUM),
    ("person", Level.HIDDEN),
    ("resume", Level.HIDDEN),
    ("failed", Level.HIDDEN),
    ("failure", Level.HIDDEN),
    ("sync", Level.HIDDEN),
)

Levels = Mapping[str, Level]
Part = Component | Item


@dataclass(frozen=True, kw_only=True)
class HomeScreen:
    """The data of the first screen.

    `notice`: the tickets are cached, so Retry replaces Create. `warning`: the contact may not be the person.
    `closed_states`: the states in which nobody works on a ticket. `status_label` returns the label of a state.
    """

    person: Person
    rows: tuple[TicketRow, ...]
    has_more: bool = False
    status: SyncStatus | None = None
    creation: TicketCreation | None = None
    merge: Merge | None = None
    news: News | None = None
    notice: str = ""
    warning: str = ""
    closed_states: tuple[str, ...] = ()
    status_label: Callable[[str], str] = str

    @property
    def is_merged_away(self) -> bool:
        return self.merge is not None and self.merge.is_merged_away

    def to_canvas(self) -> Canvas:
        """Return the most detailed screen that fits."""
        levels = {section: Level.NORMAL for section, _level in REDUCTIONS}
        components = self._components(levels)
        for section, level in REDUCTIONS:
            if estimated_height(components) <= MAX_FIRST_SCREEN_HEIGHT:
                break
            levels[section] = level
            components = self._components(levels)
        return Canvas(components=components)

    def _components(self, levels: Levels) -> tuple[Component, ...]:
        items = [
            *self._person(levels["person"]),
            *self._creation(levels["creation"]),
            *self._linked(levels["tickets"]),
            *self._news(levels["news"]),
            self._ongoing(levels["tickets"]),
            *self._merge(levels["merge"]),
            *self._sync(levels),
        ]
        failed = self._failed(levels["failed"]) if levels["failure"] is Level.NORMAL else []
        # A search needs iTop.
        has_find = levels["find"] is Level.NORMAL and not self.notice
        has_find &= not any(FIND in component.ids() for component in failed)
        return (
            *failed,
            self._name(levels["name"]),
            *([Text(text=self.warning, style="error", bottom_margin="none")] if self.warning else []),
            *([Text(text=self.notice, style="muted", bottom_margin="none")] if self.notice else []),
            List(items=tuple(items)),
            *self._closed(levels["closed"]),
            retry_button(HOME) if self.notice else button(click_id("create"), _("Create a ticket")),
            *([find_button()] if has_find else []),
            *self._left_out(levels["left_out"]),
            *(posting_stopped(self.news) if levels["stopped"] is Level.NORMAL else ()),
            *self._switch(levels),
        )

    def _name(self, level: Level) -> Text:
        shortened = (_shorten_name(text, level) for text in (self.person.name, self.person.email))
        return subtitle(escape_markdown(next(filter(None, shortened), _("Unknown person"))))

    def _person(self, level: Level) -> list[Item]:
        """Return the organization and how the person was found. A click leads to the choice of another person."""
        person, question = self.person, _("Not this person?")
        target = click_id("who", "not", person.id)
        facts = [_shorten_name(person.org_name, level)]
        if level is Level.NORMAL:
            facts.append(_match_text(person))
        title = join_facts(*facts)
        if self.notice:
            # Without iTop, another person cannot be searched for.
            has_item = title and level is not Level.HIDDEN
            return [Item(id=target, title=title)] if has_item else []
        if not title or level >= Level.MINIMUM:
            return [item(target, question)]
        return [item(target, title, question)]

    def _creation(self, level: Level) -> list[Item]:
        if self.creation is None:
            return []
        if self.creation.state == TicketCreation.State.CREATING:
            title, hint = _("A ticket is being created"), _("Check again")
        else:
            title, hint = _("A ticket could not be created"), _("See why, and correct it")
        target = click_id("creation", self.creation.form_key)
        return [item(target, title, hint if level is Level.NORMAL else "")]

    def _linked(self, level: Level) -> list[Item]:
        """Return a row for each linked ticket, closed ones last. If there are more than three, one row leads to all.

        At Level.HIDDEN, several tickets become one row with their number, and there is no row for none.
        """
        linked = sorted((row for row in self.rows if row.is_linked), key=self._is_closed)
        count = len(linked)
        if not count:
            none = Item(id=LINKED, title=_("No linked tickets"), disabled=True)
            return [] if level is Level.HIDDEN else [none]
        if level is Level.HIDDEN and count > 1:
            title = ngettext("%(count)d linked ticket", "%(count)d linked tickets", count)
            return [item(LINKED, title % {"count": count})]
        items = [self._ticket(row, level) for row in linked[:MAX_LINKED]]
        if count > MAX_LINKED:
            items.append(item(LINKED, _("All %(count)d linked tickets") % {"count": count}))
        return items

    def _ticket(self, row: TicketRow, level: Level) -> Item:
        """Return the ticket's reference, title, status and assignee, and its owner if that is not the contact."""
        target = click_id("ticket", row.ticket_class, row.id)
        status = self.status_label(row.status) if row.status else _("No longer in iTop")
        owner = join_facts(
            row.caller if row.is_of_other_person else "",
            row.organization if row.is_of_other_organization else "",
        )
        owner = shorten_to_line(owner, LINE_WIDTH)
        if level >= Level.MINIMUM:
            title = shorten_to_line(join_facts(row.ref, status), LINE_WIDTH)
            return item(target, title, owner if level is Level.MINIMUM else "")
        title = shorten_to_line(join_facts(row.ref, row.title), MAX_TITLE_WIDTHS[level])
        return item(target, title, shorten_to_line(join_facts(status, row.assignee), LINE_WIDTH), owner)

    def _news(self, level: Level) -> list[Item]:
        """Return the newest change in iTop. A click leads to the last ten."""
        latest = self.news.latest if self.news is not None else None
        if self.news is None or latest is None or level is Level.HIDDEN:
            return []
        title, is_entry = event_title(latest), latest.kind in ENTRIES
        if not is_entry:
            # Otherwise it looks like the row of a ticket.
            title = _("News: %(event)s") % {"event": title}
        ref = shorten_to_line(latest.ticket.ref, MAX_REF_WIDTH)
        if level is Level.NORMAL:
            when = format_time(self.news.happened_at) if self.news.happened_at else ""
            return [item(NEWS, shorten_to_line(title, LINE_WIDTH), join_facts(ref, when))]
        # The ticket's own row shows its state.
        return [item(NEWS, shorten_to_line(join_facts(title, ref), LINE_WIDTH))] if is_entry else []

    def _closed(self, level: Level) -> list[Component]:
        """Return what to do if all linked tickets are closed."""
        closed = self._all_closed()
        if closed is None or level is Level.HIDDEN or self.notice or self.is_merged_away:
            return []
        target = click_id("follow-up", closed.ticket_class, closed.id)
        label = _("Create a follow-up ticket")
        if level is Level.COMPACT:
            return [link_button(target, label)]
        text = _("%(ticket)s is closed: nobody will see new messages there.")
        text %= {"ticket": escape_markdown(shorten_to_line(closed.ref, MAX_REF_WIDTH))}
        return [Text(text=text, style="error", bottom_margin="none"), button(target, label)]

    def _all_closed(self) -> TicketRow | None:
        """Return the newest linked ticket if nobody works on any of them, and one is closed."""
        linked = [row for row in self.rows if row.is_linked and row.status]
        if not linked or any(row.status not in self.closed_states for row in linked):
            return None
        return max(linked, key=lambda row: row.id)

    def _is_closed(self, row: TicketRow) -> bool:
        return not row.status or row.status in self.closed_states

    def _ongoing(self, level: Level) -> Item:
        """Return the row with the number of open tickets. Resolved ones need no work and are counted separately."""
        ongoing = [row for row in self.rows if row.is_ongoing]
        resolved = sum(row.is_resolved for row in ongoing)
        count = len(ongoing) - resolved
        target = click_id("ongoing", 1)
        if not ongoing:
            return Item(id=target, title=_("No open tickets"), disabled=True)
        if self.has_more:
            title = _("At least %(count)d open tickets") % {"count": count}
        elif count:
            title = ngettext("%(count)d open ticket", "%(count)d open tickets", count) % {"count": count}
        else:
            title = _("No open tickets")
        if resolved and level is not Level.HIDDEN:
            title += ", " + ngettext("%(count)d resolved", "%(count)d resolved", resolved) % {
                "count": resolved
            }
        return item(target, title)

    def _merge(self, level: Level) -> list[Item]:
        if self.merge is None or level is Level.HIDDEN:
            return []
        return [merge_item(self.merge, with_hint=level is Level.NORMAL)]

    def _sync(self, levels: Levels) -> list[Item]:
        """Return the sync status, with the counts of sections that are hidden."""
        status = self.status
        if status is None:
            return []
        if self.is_merged_away or status.failed or status.files.failed:
            # "Sync on" would contradict the failure in the first line of the screen.
            title = _("Sync status")
        elif status.on:
            title = _("Sync on")
        else:
            title = _("Sync paused")
        facts = [] if levels["sync"] is Level.HIDDEN else self._sync_facts(status, levels)
        if self.news is not None and not facts and levels["checked"] is Level.NORMAL:
            facts = [checked_text(self.news)]
        first, rest = "".join(facts[:1]), ", ".join(facts[1:])
        if levels["sync"] is not Level.NORMAL:
            first, rest = ", ".join(facts), ""
        return [item(SYNC, title, capitalized(first), capitalized(rest))]

    def _sync_facts(self, status: SyncStatus, levels: Levels) -> list[str]:
        """Return what needs attention, most important first, and the counts of sections that are hidden."""
        facts = []
        if levels["sync"] < Level.MINIMUM:
            closed = [row.ref for row in self.rows if row.is_linked and row.status in self.closed_states]
            if closed and not self._closed(levels["closed"]):
                text = ngettext(
                    "%(tickets)s is closed: new messages may not be noticed there",
                    "%(tickets)s are closed: new messages may not be noticed there",
                    len(closed),
                )
                facts.append(text % {"tickets": ", ".join(closed[:MAX_CLOSED])})
            facts += _problem_texts(status)
            if self.news is not None and self.news.problem:
                facts.append(checked_text(self.news))
        if status.failed and levels["failure"] is Level.HIDDEN:
            facts.append(_("%(count)d could not be copied") % {"count": status.failed})
        if status.files.waiting or (status.files.failed and levels["failure"] is Level.HIDDEN):
            facts.append(files_text(status.files))
        if status.left_out and status.on and levels["left_out"] is Level.HIDDEN:
            text = ngettext("%(count)d left out", "%(count)d left out", status.left_out)
            facts.append(text % {"count": status.left_out})
        if status.left_out and not status.on:
            text = ngettext("%(count)d left out so far", "%(count)d left out so far", status.left_out)
            facts.append(text % {"count": status.left_out})
        return facts

    def _failed(self, level: Level) -> list[Component]:
        """Return the reason why messages could not be copied, and buttons to solve it, for the top of the screen."""
        if self.status is None or not (self.status.failed or self.status.files.failed):
            return []
        length = MAX_REASON_LENGTHS[level]
        texts = [failed_text(self.status, length)] if self.status.failed else []
        if self.status.files.failed:
            texts.append(failed_files_text(self.status.files, length))
        components: list[Component] = [Text(text=text, style="error", bottom_margin="none") for text in texts]
        if self.status.needs_other_ticket:
            components.append(find_button())
        if level is Level.NORMAL or not self.status.needs_other_ticket:
            components += failed_buttons(self.status)
        return components

    def _left_out(self, level: Level) -> list[Component]:
        if self.status is None or level is Level.HIDDEN:
            return []
        buttons = left_out_buttons(self.status)
        if not buttons:
            return []
        return [Text(text=left_out_text(self.status.left_out), bottom_margin="none"), *buttons]

    def _switch(self, levels: Levels) -> list[Component]:
        """Return the button Pause or Resume. The sync page has both, so they may be left out."""
        if self.status is None or self.is_merged_away:
            return []
        level = levels["switch"] if self.status.on else levels["resume"]
        return [switch_buttons(self.status)[0]] if level is Level.NORMAL else []


def _shorten_name(name: str, level: Level) -> str:
    if level is Level.NORMAL:
        return shorten(name, MAX_NAME_LENGTH)
    return shorten_to_line(name, LINE_WIDTH)


def _match_text(person: Person) -> str:
    """Return a text that says how the person was found."""
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


def _problem_texts(status: SyncStatus) -> list[str]:
    """Return texts about paused and waiting messages, most important first."""
    facts = []
    if not status.on:
        facts.append(_("new messages are not copied"))
    if status.paused:
        text = ngettext("paused for %(count)d ticket", "paused for %(count)d tickets", len(status.paused))
        facts.append(text % {"count": len(status.paused)})
    if status.waiting:
        facts.append(_("%(count)d waiting") % {"count": status.waiting})
    return facts
