"""One long attribute of a ticket, in pages."""

from collections.abc import Iterator

from intercom_bridge.datamodel.lookup import attribute_label
from intercom_bridge.panel.click import BackLink, Click, click_id
from intercom_bridge.panel.components import Canvas, escape_markdown
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.details import get_details

from .errors import unknown_action
from .parts import back_button, muted, page_number, pager, paragraph, screen
from .ticket import attribute_text

# A canvas holds 64 KB, and a character takes up to twelve bytes.
MAX_PAGE_LENGTH = 4000


def ticket_text_screen(context: PanelContext, click: Click, back: BackLink) -> Canvas:
    """Return a page of an attribute. The click's arguments are the ticket's class and id, the attribute, and the page.

    Raise as `get_details` does.
    """
    ticket_class, ticket_id, code = click.argument(0), click.number(1), click.argument(2)
    details = get_details(context, ticket_class, ticket_id)
    pages = list(_split(attribute_text(context, code, dict(details.attributes).get(code, ""))))
    if not pages:
        return unknown_action(back.to_stored())
    page = min(max(click.number(3), 1), len(pages))
    return screen(
        escape_markdown(attribute_label(context.ticket_class, code)),
        muted(escape_markdown(details.row.ref)),
        paragraph(escape_markdown(pages[page - 1])),
        page_number(page, len(pages)),
        pager(lambda number: click_id("text", ticket_class, ticket_id, code, number), page, len(pages)),
        back_button(click_id("ticket", ticket_class, ticket_id)),
        stored=back.to_stored(),
    )


def _split(text: str) -> Iterator[str]:
    """Yield pages, which end at a word if one begins in their second half."""
    start = 0
    while len(text) - start > MAX_PAGE_LENGTH:
        limit = start + MAX_PAGE_LENGTH
        space = max(text.rfind(" ", start, limit), text.rfind("\n", start, limit))
        end = space + 1 if space > start + MAX_PAGE_LENGTH // 2 else limit
        if text[start:end].strip():
            yield text[start:end]
        start = end
    if text[start:].strip():
        yield text[start:]
