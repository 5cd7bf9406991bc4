"""Find a ticket by its reference or by words of its title, ten per page."""

from django.utils.translation import gettext as _

from intercom_bridge.panel.click import FIND, HOME, BackLink, click_id
from intercom_bridge.panel.components import Canvas, Input, Submit
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.search import SearchResults, search_tickets

from .parts import back_button, list_of, page_number, pager, screen
from .ticket_list import ticket_items


def search_screen(context: PanelContext, query: str, page: int) -> Canvas:
    """Return a page of results, or only the search field for an empty query."""
    results = search_tickets(context, query, page)
    field = Input(
        # The text comes back under this id.
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
    if results.pages > 1:
        return _("No ticket on this page is in the scope of this workspace.")
    return _(
        "Nothing found: no ticket in this workspace's scope has this reference, or a title with all of these words."
    )
