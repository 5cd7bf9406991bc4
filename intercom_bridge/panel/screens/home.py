"""The first screen: who the customer is in iTop, their tickets, and what a teammate can do.

Intercom limits its height to 400 pixels. If there is too much to show, sections are shortened or hidden.
"""

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

# Lengths are in characters. Widths are in columns of the panel, of which a wide character takes two.
MAX_NAME_LENGTH = 50
LINE_WIDTH = 26
MAX_REF_WIDTH = 12
MAX_LINKED_ROWS = 3
MAX_CLOSED_REFS = 2


class Level(enum.IntEnum):
    """How detailed a section is. What a HIDDEN section shows can still be reached on another screen."""

    NORMAL = 0
    COMPACT = 1
    MINIMUM = 2
    HIDDEN = 3


MAX_TITLE_WIDTHS = {Level.NORMAL: 50, Level.COMPACT: 28}
# 0 leaves the reason out.
MAX_REASON_LENGTHS = {Level.NORMAL: 400, Level.COMPACT: 400, Level.MINIMUM: 80, Level.HIDDEN: 0}

# Sections are reduced in this order until the screen fits. The reason for a failure is reduced as late as possible.
# What the names of sections do not say:
#   checked_at: when iTop was last checked for changes, in the row of the sync status
#   person: the organization, and how the person was found
#   tickets: the rows of the linked tickets, and the row with the number of open tickets
#   failure_details: the reason for a failure, and the button Try again; `failure` is the section as a whole
#   all_closed: the warning and the button if all linked tickets are closed
#   left_out: the question about messages that were left out during a pause
REDUCTIONS = (
    ("checked_at", Level.HIDDEN),
    ("pause_button", Level.HIDDEN),
    ("person", Level.COMPACT),
    ("tickets", Level.COMPACT),
    ("find_button", Level.HIDDEN),
    ("news", Level.COMPACT),
    ("tickets", Level.MINIMUM),
    ("sync", Level.COMPACT),
    ("merge", Level.COMPACT),
    ("creation", Level.COMPACT),
    ("person", Level.MINIMUM),
    ("name", Level.COMPACT),
    ("tickets", Level.HIDDEN),
    ("failure_details", Level.COMPACT),
    ("merge", Level.HIDDEN),
    ("left_out", Level.HIDDEN),
    ("all_closed", Level.COMPACT),
    ("news", Level.HIDDEN),
    ("sync", Level.MINIMUM),
    ("posting_stopped", Level.HIDDEN),
    ("all_closed", Level.HIDDEN),
    ("failure_details", Level.MINIMUM),
    ("person", Level.HIDDEN),
    ("resume_button", Level.HIDDEN),
    ("failure_details", Level.HIDDEN),
    ("failure", Level.HIDDEN),
    ("sync", Level.HIDDEN),
)

# The current level of each section.
Levels = Mapping[str, Level]


@dataclass(frozen=True, kw_only=True)
class HomeScreen:
    """The data of the first screen.

    rows: the person's open tickets, and the tickets linked to the conversation. has_more: there are more open tickets.
    status: None if no ticket is linked.
    creation: a ticket creation that is pending or has failed.
    notice: says that iTop does not respond, so the tickets are cached. Retry then replaces "Create a ticket".
    warning: says that the contact may not be the person.
    closed_states: the states of a ticket on which nobody works any more.
    status_label: returns the label of a state.
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
        """Return the most detailed screen that is not too high."""
        levels = {section: Level.NORMAL for section, _level in REDUCTIONS}
        components = self._components(levels)
        for section, level in REDUCTIONS:
            if estimated_height(components) <= MAX_FIRST_SCREEN_HEIGHT:
                break
            levels[section] = level
            components = self._components(levels)
        return Canvas(components=components)

    def _components(self, levels: Levels) -> tuple[Component, ...]:
        """Return all components of the screen, with each section as detailed as its level says."""
        items = [
            *self._person_items(levels["person"]),
            *self._creation_items(levels["creation"]),
            *self._linked_ticket_items(levels["tickets"]),
            *self._news_items(levels["news"]),
            self._open_tickets_item(levels["tickets"]),
            *self._merge_items(levels["merge"]),
            *self._sync_items(levels),
        ]
        failure = (
            self._failure_section(levels["failure_details"]) if levels["failure"] is Level.NORMAL else []
        )
        failure_has_find = any(FIND in component.ids() for component in failure)
        is_itop_available = not self.notice  # the notice says that iTop does not respond
        has_find = levels["find_button"] is Level.NORMAL and is_itop_available and not failure_has_find
        return (
            *failure,
            self._name_title(levels["name"]),
            *self._notices(),
            List(items=tuple(items)),
            *self._all_closed_warning(levels["all_closed"]),
            button(click_id("create"), _("Create a ticket")) if is_itop_available else retry_button(HOME),
            *([find_button()] if has_find else []),
            *self._left_out_question(levels["left_out"]),
            *(posting_stopped(self.news) if levels["posting_stopped"] is Level.NORMAL else ()),
            *self._pause_or_resume_button(levels),
        )

    def _notices(self) -> list[Component]:
        components: list[Component] = []
        if self.warning:
            components.append(Text(text=self.warning, style="error", bottom_margin="none"))
        if self.notice:
            components.append(Text(text=self.notice, style="muted", bottom_margin="none"))
        return components

    def _name_title(self, level: Level) -> Text:
        """Return the person's name, or else the e-mail address."""
        name, email = (_shorten_name(text, level) for text in (self.person.name, self.person.email))
        return subtitle(escape_markdown(name or email or _("Unknown person")))

    def _person_items(self, level: Level) -> list[Item]:
        """Return an item with the organization, and how the person was found. A click leads to the person picker.

        From Level.MINIMUM on, the item is only the question “Not this person?”. While iTop does not respond, the person
        picker cannot search, so the item has no question and cannot be clicked.
        """
        person, question = self.person, _("Not this person?")
        target = click_id("who", "not", person.id)
        match_text = _match_text(person) if level is Level.NORMAL else ""
        facts = join_facts(_shorten_name(person.org_name, level), match_text)
        if self.notice and (not facts or level is Level.HIDDEN):
            return []
        if self.notice:
            return [Item(id=target, title=facts)]
        if not facts or level >= Level.MINIMUM:
            return [item(target, question)]
        return [item(target, facts, question)]

    def _creation_items(self, level: Level) -> list[Item]:
        """Return an item if a ticket is being created, or could not be created. A click leads to the details."""
        if self.creation is None:
            return []
        if self.creation.state == TicketCreation.State.CREATING:
            title, hint = _("A ticket is being created"), _("Check again")
        else:
            title, hint = _("A ticket could not be created"), _("See why, and correct it")
        target = click_id("creation", self.creation.form_key)
        return [item(target, title, hint if level is Level.NORMAL else "")]

    def _linked_ticket_items(self, level: Level) -> list[Item]:
        """Return a row for each of the first three linked tickets, and a row that leads to all if there are more.

        Closed tickets come last. At Level.HIDDEN, one row with the number of tickets replaces several rows, and the row
        "No linked tickets" is left out.
        """
        linked = sorted((row for row in self.rows if row.is_linked), key=self._is_closed)
        count = len(linked)
        if not linked and level is Level.HIDDEN:
            return []
        if not linked:
            return [Item(id=LINKED, title=_("No linked tickets"), disabled=True)]
        if level is Level.HIDDEN and count > 1:
            title = ngettext("%(count)d linked ticket", "%(count)d linked tickets", count)
            return [item(LINKED, title % {"count": count})]
        items = [self._ticket_item(row, level) for row in linked[:MAX_LINKED_ROWS]]
        if count > MAX_LINKED_ROWS:
            items.append(item(LINKED, _("All %(count)d linked tickets") % {"count": count}))
        return items

    def _ticket_item(self, row: TicketRow, level: Level) -> Item:
        """Return an item with the ticket's reference, title, status and assignee.

        If the ticket's caller or organization is not the contact's, add them.
        """
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

    def _news_items(self, level: Level) -> list[Item]:
        """Return an item with the newest change in iTop. A click leads to the list of changes.

        With less space, only a log entry is shown: other changes, such as a new status, are in the ticket's own row.
        """
        if self.news is None or self.news.latest is None or level is Level.HIDDEN:
            return []
        latest = self.news.latest
        is_entry = latest.kind in ENTRIES
        if not is_entry and level is not Level.NORMAL:
            return []
        title = event_title(latest)
        if not is_entry:
            # Without "News", a title such as "Status: …" would look like the row of a ticket.
            title = _("News: %(event)s") % {"event": title}
        ref = shorten_to_line(latest.ticket.ref, MAX_REF_WIDTH)
        if level is Level.NORMAL:
            when = format_time(self.news.happened_at) if self.news.happened_at else ""
            return [item(NEWS, shorten_to_line(title, LINE_WIDTH), join_facts(ref, when))]
        return [item(NEWS, shorten_to_line(join_facts(title, ref), LINE_WIDTH))]

    def _all_closed_warning(self, level: Level) -> list[Component]:
        """Return a warning and the button for a follow-up ticket if all linked tickets are closed, else nothing.

        Return nothing while iTop does not respond, or if another conversation gets the new messages after a merge.
        """
        newest = self._newest_if_all_closed()
        if newest is None or level is Level.HIDDEN or self.notice or self.is_merged_away:
            return []
        target = click_id("follow-up", newest.ticket_class, newest.id)
        label = _("Create a follow-up ticket")
        if level is Level.COMPACT:
            return [link_button(target, label)]
        text = _("%(ticket)s is closed: nobody will see new messages there.")
        text %= {"ticket": escape_markdown(shorten_to_line(newest.ref, MAX_REF_WIDTH))}
        return [Text(text=text, style="error", bottom_margin="none"), button(target, label)]

    def _newest_if_all_closed(self) -> TicketRow | None:
        """Return the newest linked ticket if all linked tickets that iTop still has are closed, else None."""
        linked = [row for row in self.rows if row.is_linked and row.status]
        if not linked or any(row.status not in self.closed_states for row in linked):
            return None
        return max(linked, key=lambda row: row.id)

    def _is_closed(self, row: TicketRow) -> bool:
        """Return whether nobody works on the ticket, because it is closed or no longer in iTop."""
        return not row.status or row.status in self.closed_states

    def _open_tickets_item(self, level: Level) -> Item:
        """Return the row with the number of open tickets. Resolved ones are counted separately, if there is space."""
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

    def _merge_items(self, level: Level) -> list[Item]:
        if self.merge is None or level is Level.HIDDEN:
            return []
        return [merge_item(self.merge, with_hint=level is Level.NORMAL)]

    def _sync_items(self, levels: Levels) -> list[Item]:
        """Return an item with the sync status. A click leads to the sync page."""
        status = self.status
        if status is None:
            return []
        if self.is_merged_away or status.failed or status.files.failed:
            # "Sync on" would contradict the failure or the merge that the screen reports.
            title = _("Sync status")
        elif status.on:
            title = _("Sync on")
        else:
            title = _("Sync paused")
        facts = [] if levels["sync"] is Level.HIDDEN else self._sync_facts(status, levels)
        if self.news is not None and not facts and levels["checked_at"] is Level.NORMAL:
            facts = [checked_text(self.news)]
        if levels["sync"] is Level.NORMAL:
            # The most important fact gets a line of its own.
            lines = ["".join(facts[:1]), ", ".join(facts[1:])]
        else:
            lines = [", ".join(facts), ""]
        return [item(SYNC, title, *map(capitalized, lines))]

    def _sync_facts(self, status: SyncStatus, levels: Levels) -> list[str]:
        """Return texts about what needs attention, most important first. Sum up each hidden section in one text."""
        is_failure_hidden = levels["failure"] is Level.HIDDEN
        is_left_out_hidden = levels["left_out"] is Level.HIDDEN
        facts = self._sync_problems(status, levels) if levels["sync"] < Level.MINIMUM else []
        if status.failed and is_failure_hidden:
            facts.append(failed_text(status, max_reason_length=0))
        if status.files.waiting or (status.files.failed and is_failure_hidden):
            facts.append(files_text(status.files))
        if status.left_out and status.on and is_left_out_hidden:
            text = ngettext("%(count)d message left out", "%(count)d messages left out", status.left_out)
            facts.append(text % {"count": status.left_out})
        if status.left_out and not status.on:
            text = ngettext(
                "%(count)d message left out so far", "%(count)d messages left out so far", status.left_out
            )
            facts.append(text % {"count": status.left_out})
        return facts

    def _sync_problems(self, status: SyncStatus, levels: Levels) -> list[str]:
        """Return texts about closed tickets, paused and waiting messages, and failed checks of iTop."""
        texts = []
        closed = [row.ref for row in self.rows if row.is_linked and row.status in self.closed_states]
        # The section `all_closed`, if it is displayed, already says this.
        if closed and not self._all_closed_warning(levels["all_closed"]):
            text = ngettext(
                "%(tickets)s is closed: new messages may not be noticed there",
                "%(tickets)s are closed: new messages may not be noticed there",
                len(closed),
            )
            refs = closed[:MAX_CLOSED_REFS]
            if more := len(closed) - len(refs):
                refs.append(_("and %(count)d more") % {"count": more})
            texts.append(text % {"tickets": ", ".join(refs)})
        if not status.on:
            texts.append(_("new messages are not copied"))
        if status.paused:
            text = ngettext(
                "copying paused for %(count)d ticket",
                "copying paused for %(count)d tickets",
                len(status.paused),
            )
            texts.append(text % {"count": len(status.paused)})
        if status.waiting:
            text = ngettext("%(count)d message waiting", "%(count)d messages waiting", status.waiting)
            texts.append(text % {"count": status.waiting})
        if self.news is not None and self.news.problem:
            texts.append(checked_text(self.news))
        return texts

    def _failure_section(self, level: Level) -> list[Component]:
        """Return texts about messages and files that could not be copied, and buttons that may help.

        If only another ticket can take a message, offer Find a ticket. If space is short, it replaces Try again.
        """
        status = self.status
        if status is None or not (status.failed or status.files.failed):
            return []
        max_reason_length = MAX_REASON_LENGTHS[level]
        texts = [failed_text(status, max_reason_length)] if status.failed else []
        if status.files.failed:
            texts.append(failed_files_text(status.files, max_reason_length))
        components: list[Component] = [Text(text=text, style="error", bottom_margin="none") for text in texts]
        if status.needs_other_ticket:
            components.append(find_button())
        if level is Level.NORMAL or not status.needs_other_ticket:
            components += failed_buttons(status)
        return components

    def _left_out_question(self, level: Level) -> list[Component]:
        """Return the question what to do with messages that were left out during a pause, once it has ended."""
        if self.status is None or level is Level.HIDDEN:
            return []
        buttons = left_out_buttons(self.status)
        if not buttons:
            return []
        return [Text(text=left_out_text(self.status.left_out), bottom_margin="none"), *buttons]

    def _pause_or_resume_button(self, levels: Levels) -> list[Component]:
        """Return the button Pause sync or Resume sync. If space is short, it is only on the sync page.

        A conversation that was merged into another one has no such button: it gets no new messages.
        """
        if self.status is None or self.is_merged_away:
            return []
        level = levels["pause_button"] if self.status.on else levels["resume_button"]
        # The first button is Pause if the sync is on for any ticket, and else Resume.
        return [switch_buttons(self.status)[0]] if level is Level.NORMAL else []


def _shorten_name(name: str, level: Level) -> str:
    """Return the name in at most two lines at Level.NORMAL, otherwise in one."""
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
