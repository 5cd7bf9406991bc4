"""Lists of tickets, ten per page: tickets linked to the conversation, the person's open tickets, search results."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.datamodel.lookup import value_label
from intercom_bridge.panel.click import FIND, HOME, BackLink, click_id
from intercom_bridge.panel.components import Canvas, Input, Item, Submit, escape_markdown, shorten
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketList, TicketRow
from intercom_bridge.tickets.search import SearchResults, count_other_conversations, search_tickets

from .parts import (
    back_button,
    find_button,
    item,
    join_facts,
    list_of,
    muted,
    page_number,
    page_of,
    pager,
    screen,
)

MAX_NAME_LENGTH = 40


def linked_tickets(context: PanelContext, tickets: TicketList, page: int) -> Canvas:
    linked = [row for row in tickets.rows if row.is_linked]
    return _list_screen(context, verb="linked", title=_("Linked tickets"), rows=linked, page=page)


def ongoing_tickets(context: PanelContext, person: Person, tickets: TicketList, page: int) -> Canvas:
    ongoing = [row for row in tickets.rows if row.is_ongoing]
    title = _("Open tickets of %(person)s")
    if any(row.is_resolved for row in ongoing):
        title = _("Open and resolved tickets of %(person)s")
    title %= {"person": escape_markdown(person.name)}
    hint = ""
    if tickets.has_more:
        hint = _("Only the newest %(count)d are listed.") % {"count": len(ongoing)}
    return _list_screen(context, verb="ongoing", title=title, rows=ongoing, page=page, hint=hint)


def search_screen(context: PanelContext, query: str, page: int) -> Canvas:
    """Return the search field with a page of results. For an empty query, return only the field."""
    results = search_tickets(context, query, page)
    field = Input(
        # Intercom sends this id both as the click on the field's button and as the key of the entered text.
        id=FIND,
        label=_("Reference or words of the title"),
        value=results.query,
        placeholder=_("R-000123, or printer toner"),
        action=Submit(),
    )
    return screen(
        _("Find a ticket"),
        field,
        list_of(ticket_items(context, results.rows), _nothing_found(results)) if results.pages else None,
        page_number(results.page, results.pages),
        pager(lambda number: click_id("find", number), results.page, results.pages),
        back_button(HOME),
        stored=BackLink(target=click_id("find", results.page), query=results.query).to_stored(),
    )


def _nothing_found(results: SearchResults) -> str:
    # Results outside the workspace's scope are removed from each page.
    if results.pages > 1:
        return _("No ticket on this page is in the scope of this workspace.")
    return _(
        "Nothing found: no ticket in this workspace's scope has this reference, or a title with all of these words."
    )


def ticket_items(context: PanelContext, rows: Sequence[TicketRow]) -> list[Item]:
    """Return an item for each ticket, which opens it.

    The item says whether the ticket is linked to this conversation, and to how many others.
    """
    other_conversations = count_other_conversations(context, (row.id for row in rows))
    return [_ticket_item(context, row, other_conversations.get(row.id, 0)) for row in rows]


def link_text(*, is_linked: bool, others: int) -> str:
    """Return a text that says whether a ticket is linked to this conversation, and to how many others."""
    if is_linked and others:
        return ngettext(
            "Linked to this conversation and %(count)d other",
            "Linked to this conversation and %(count)d others",
            others,
        ) % {"count": others}
    if is_linked:
        return _("Linked to this conversation")
    if others:
        return ngettext(
            "Linked to %(count)d other conversation", "Linked to %(count)d other conversations", others
        ) % {"count": others}
    return _("Not linked to any conversation")


def _list_screen(  # noqa: PLR0913 - the parts of the screen
    context: PanelContext, *, verb: str, title: str, rows: list[TicketRow], page: int, hint: str = ""
) -> Canvas:
    """Return a page of a list. `verb` is the verb of the clicks that lead to the list's pages."""
    rows_on_page, page, pages = page_of(rows, page)
    return screen(
        title,
        list_of(ticket_items(context, rows_on_page), _("No tickets.")),
        page_number(page, pages),
        muted(hint) if hint else None,
        pager(lambda number: click_id(verb, number), page, pages),
        find_button(),
        back_button(HOME),
        stored=BackLink(target=click_id(verb, page)).to_stored(),
    )


def _ticket_item(context: PanelContext, row: TicketRow, others: int) -> Item:
    """Return the item of a ticket that is linked to `others` other conversations."""
    if not row.status:
        # iTop no longer has the ticket.
        target = click_id("unlink", row.ticket_class, row.id, "yes")
        return item(target, row.ref, _("No longer in iTop"), _("Click to unlink it"))
    facts = _owner_facts(row)
    if row.is_linked or others:
        facts.append(link_text(is_linked=row.is_linked, others=others))
    target = click_id("ticket", row.ticket_class, row.id)
    return item(target, ref_and_status(context, row), row.subtitle, join_facts(*facts))


def candidate_item(context: PanelContext, row: TicketRow) -> Item:
    """Return the item of an existing ticket that may be about the same problem as the create form."""
    facts = _owner_facts(row)
    if row.is_linked:
        facts.append(_("Linked to this conversation"))
    target = click_id("ticket", row.ticket_class, row.id)
    return item(target, ref_and_status(context, row), row.title, join_facts(*facts))


def _owner_facts(row: TicketRow) -> list[str]:
    return [shorten(name, MAX_NAME_LENGTH) for name in (row.caller, row.organization) if name]


def ref_and_status(context: PanelContext, row: TicketRow) -> str:
    return join_facts(row.ref, status_label(context, row.status))


def status_label(context: PanelContext, status: str) -> str:
    return value_label(context.ticket_class, context.profile.code("status"), status)
