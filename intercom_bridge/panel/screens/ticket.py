"""One ticket: its attributes, its last log entries, its conversations, and its actions."""

from collections.abc import Iterator, Mapping

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.datamodel import Kind
from intercom_bridge.datamodel.lookup import attribute_label, value_label
from intercom_bridge.events.markup import to_plain_text
from intercom_bridge.intercom.text import cut
from intercom_bridge.models import Conversation, Ticket
from intercom_bridge.panel.click import BackLink, Click, click_id
from intercom_bridge.panel.components import (
    Button,
    Canvas,
    Component,
    DataTable,
    Field,
    OpenUrl,
    Text,
    escape_markdown,
    markdown_link,
    shorten,
)
from intercom_bridge.tickets.answers import Answer, find_entries, find_sent, find_solution
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_link
from intercom_bridge.tickets.details import (
    MAX_CONVERSATIONS,
    MAX_FILES,
    Log,
    TicketDetails,
    TicketFile,
    files_of_ticket,
    get_details,
)
from intercom_bridge.tickets.errors import CacheMissError, TicketNotFoundError
from intercom_bridge.tickets.rows import TicketList, TicketRow
from itop_client import LogEntry

from .broadcast import broadcast_buttons
from .errors import unknown_action
from .parts import (
    back_button,
    button,
    error_text,
    format_value,
    link_button,
    muted,
    open_in_itop_button,
    owner_text,
    page_number,
    pager,
    paragraph,
    primary_button,
    safe_name,
    screen,
    subtitle,
)
from .send import send_components
from .ticket_list import link_text

# Lengths are in characters. The Inbox cuts longer values in a table, so those become paragraphs.
MAX_TABLE_VALUE_LENGTH = 60
MAX_PARAGRAPH_LENGTH = 1500
# For all paragraphs together: a canvas holds 64 KB, and most characters take at most seven bytes.
MAX_PARAGRAPHS_LENGTH = 4500
MAX_TITLE_LENGTH = 255
MAX_ENTRY_LENGTH = 300
MAX_FILE_NAME_LENGTH = 60
# For a page of a long text: a canvas holds 64 KB, and a character takes up to twelve bytes.
MAX_PAGE_LENGTH = 4000


def ticket_screen(context: PanelContext, click: Click) -> Canvas:
    """Return the screen of a ticket. A linked ticket that was deleted in iTop has a screen of its own.

    Raise TicketNotFoundError if iTop does not have the ticket and it is not linked.
    """
    ticket_class, ticket_id = click.argument(0), click.number(1)
    try:
        details = get_details(context, ticket_class, ticket_id)
    except TicketNotFoundError:
        link = find_link(context, ticket_class, ticket_id)
        if link is None:
            raise
        return _deleted_ticket(context, link.ticket)
    row = details.row
    others = details.other_conversations
    return screen(
        subtitle(escape_markdown(row.ref)),
        muted(link_text(is_linked=row.is_linked, others=len(others))),
        _owner(row),
        _title(row.title),
        # The buttons come before the long texts, so that nobody has to scroll to them.
        _follow_up(context, row),
        _buttons(context, row),
        _attributes(context, details),
        _solution(context, details),
        _entries(context, _("Public log"), details.public, _answers_by_entry(context, details)),
        _entries(context, _("Private log"), details.private, {}),
        _files(files_of_ticket(context.itop, ticket_class, ticket_id)),
        paragraph(conversation_links(context, others)) if others else None,
        _portal_button(context, row),
        _back_button(context),
    )


def cached_ticket_screen(context: PanelContext, tickets: TicketList, click: Click) -> Canvas:
    """Return a short screen of a ticket, from a cached list. Raise CacheMissError if the ticket is not in the list."""
    rows = tickets.rows if click.argument(0) == context.profile.ticket_class else ()
    row = next((row for row in rows if row.id == click.number(1)), None)
    if row is None:
        raise CacheMissError
    text = _("Linked to this conversation") if row.is_linked else _("Not linked to this conversation")
    code = context.profile.code("status")
    status = Field(
        field=attribute_label(context.ticket_class, code),
        value=value_label(context.ticket_class, code, row.status),
    )
    return screen(
        subtitle(escape_markdown(row.ref)),
        muted(text),
        _owner(row),
        _title(row.title),
        DataTable(items=(status,)) if row.status else None,
        _back_button(context),
    )


def _files(files: list[TicketFile]) -> list[Component]:
    """Return links to the files in iTop, newest first, with their sizes."""
    if not files:
        return []
    lines = []
    for file in files[:MAX_FILES]:
        name = shorten(file.name, MAX_FILE_NAME_LENGTH) or _("a file")
        link = markdown_link(name, file.url)
        lines.append(f"{link} ({filesizeformat(file.size)})" if file.size else link)
    more = len(files) - MAX_FILES
    if more > 0:
        lines.append(_("and %(count)d more") % {"count": more})
    return [
        subtitle(_("Files")),
        paragraph("\n".join(lines)),
        # Only the files that the bridge has copied are known.
        muted(_("The ticket may have further files in iTop.")),
    ]


def conversation_links(context: PanelContext, others: tuple[Conversation, ...]) -> str:
    """Return links to the other conversations in Intercom. Those of other workspaces name their workspace."""
    links = []
    for conversation in others[:MAX_CONVERSATIONS]:
        link = markdown_link(conversation.conversation_id, conversation.url)
        is_own = conversation.workspace == context.workspace
        links.append(link if is_own else f"{link} ({safe_name(str(conversation.workspace))})")
    text = ngettext("Other conversation: %(list)s", "Other conversations: %(list)s", len(others)) % {
        "list": ", ".join(links)
    }
    more = len(others) - len(links)
    return " ".join((text, _("and %(count)d more") % {"count": more})) if more else text


def _owner(row: TicketRow) -> Component | None:
    """Return the ticket's caller and organization, with a warning if this is not the contact's organization."""
    text = owner_text(row)
    if not row.is_of_other_organization:
        return muted(text) if text else None
    warning = _("Another organization's ticket")
    return error_text(f"{warning}: {text}" if text else warning)


def _title(title: str) -> Component | None:
    return paragraph(f"**{safe_name(title, MAX_TITLE_LENGTH)}**") if title.strip() else None


def _attributes(context: PanelContext, details: TicketDetails) -> list[Component]:
    """Return a table of the short values, then a paragraph for each long text."""
    table: list[Field] = []
    long_texts: dict[str, str] = {}
    for code, value in details.attributes:
        text = attribute_text(context, code, value)
        attribute = context.ticket_class.attributes.get(code)
        is_text = attribute is not None and attribute.kind in (Kind.TEXT, Kind.HTML)
        if text and (is_text or "\n" in text or len(text) > MAX_TABLE_VALUE_LENGTH):
            long_texts[code] = text
        elif text:
            table.append(Field(field=attribute_label(context.ticket_class, code), value=text))
    components: list[Component] = [DataTable(items=tuple(table))] if table else []
    max_length = min(MAX_PARAGRAPH_LENGTH, MAX_PARAGRAPHS_LENGTH // max(len(long_texts), 1))
    row = details.row
    for code, text in long_texts.items():
        label = attribute_label(context.ticket_class, code)
        shortened = escape_markdown(cut(text, max_length))
        components.append(paragraph(f"**{escape_markdown(label)}**\n{shortened}"))
        if len(text) > max_length:
            target = click_id("text", row.ticket_class, row.id, code, 1)
            components.append(link_button(target, _("Read more: %(field)s") % {"field": label}))
    if details.missing:
        names = escape_markdown(", ".join(details.missing))
        text = _("iTop has no attribute %(names)s. An admin can correct the ticket profile.")
        components.append(muted(text % {"names": names}))
    return components


def attribute_text(context: PanelContext, code: str, value: str) -> str:
    """Return an attribute's value as people read it: a label for an enum, plain text for HTML, a local time."""
    formatted = format_value(context, value)
    return value_label(context.ticket_class, code, formatted).strip()


def _follow_up(context: PanelContext, row: TicketRow) -> list[Component]:
    """Return the button for a follow-up ticket if the ticket is closed. If it is linked, add a warning."""
    if row.status not in context.profile.excluded_states:
        return []
    text = _("This ticket is closed: nobody will see new messages in it.")
    return [
        *([Text(text=text, style="error", bottom_margin="none")] if row.is_linked else []),
        button(click_id("follow-up", row.ticket_class, row.id), _("Create a follow-up ticket")),
    ]


def _solution(context: PanelContext, details: TicketDetails) -> list[Component]:
    """Return the solution of a linked ticket that is resolved or closed, and the button that sends it.

    The solution itself is left out if it is already among the ticket's attributes.
    """
    answer = find_solution(context, details.link.ticket_id) if details.link else None
    if answer is None:
        return []
    components: list[Component] = []
    is_displayed = any(code == "solution" for code, _value in details.attributes)
    if not is_displayed:
        label = attribute_label(context.ticket_class, "solution")
        shortened = escape_markdown(cut(answer.text, MAX_PARAGRAPH_LENGTH))
        components.append(paragraph(f"**{escape_markdown(label)}**\n{shortened}"))
    sent = find_sent(context, [answer]).get(answer.once_key)
    return [*components, *send_components(context, answer, sent)]


def _answers_by_entry(context: PanelContext, details: TicketDetails) -> dict[LogEntry, Answer]:
    """Return those displayed entries of the public log that can be sent to the customer, each with its Answer."""
    return find_entries(context, details.link.ticket, details.public.entries) if details.link else {}


def _entries(
    context: PanelContext, title: str, log: Log, answers: Mapping[LogEntry, Answer]
) -> list[Component]:
    """Return the newest entries of a log. Those in `answers` have a button that sends them, or say who sent them."""
    if not log.entries:
        return []
    components: list[Component] = [subtitle(title)]
    sent = find_sent(context, answers.values()) if answers else {}
    for entry in log.entries:
        answer = answers.get(entry)
        below = send_components(context, answer, sent.get(answer.once_key)) if answer else ()
        components += [Text(text=_entry_text(context, entry), bottom_margin="none" if below else ""), *below]
    older = log.total - len(log.entries)
    if older:
        text = ngettext("%(count)d older entry is in iTop.", "%(count)d older entries are in iTop.", older)
        components.append(muted(text % {"count": older}))
    return components


def _entry_text(context: PanelContext, entry: LogEntry) -> str:
    """Return author and date of a log entry, and below them its text without blank lines, shortened."""
    author = safe_name(entry.user_login) or _("Unknown author")
    when = format_value(context, entry.date)
    lines = (line.strip() for line in to_plain_text(entry.message_html, context.itop).splitlines())
    text = cut("\n".join(line for line in lines if line), MAX_ENTRY_LENGTH)
    head = f"**{author}** · {escape_markdown(when)}" if when else f"**{author}**"
    return f"{head}\n{escape_markdown(text)}" if text else head


def _buttons(context: PanelContext, row: TicketRow) -> list[Button]:
    """Return the buttons for what a teammate can do with the ticket. If it is not linked yet, Link comes first."""
    in_itop = open_in_itop_button(context, context.itop.backoffice_url(row.ticket_class, row.id))
    open_buttons = [in_itop] if in_itop else []
    if row.is_linked:
        unlink = link_button(click_id("unlink", row.ticket_class, row.id), _("Unlink"))
        return [*open_buttons, *broadcast_buttons(context, row), unlink]
    target = click_id("link", row.ticket_class, row.id)
    return [primary_button(target, _("Link to this conversation")), *open_buttons]


def _portal_button(context: PanelContext, row: TicketRow) -> Button:
    action = OpenUrl(context.itop.customer_url(row.ticket_class, row.id))
    return Button(id="open-in-portal", label=_("Open in the customer portal"), style="link", action=action)


def _back_button(context: PanelContext) -> Button:
    return back_button(BackLink.parse(context.request.stored_data).target)


def _deleted_ticket(context: PanelContext, ticket: Ticket) -> Canvas:
    """Return the screen of a linked ticket that was deleted in iTop."""
    text = _(
        "%(ticket)s is no longer in iTop. It is still linked to this conversation, but nothing can be copied to it."
    )
    return screen(
        _("Ticket not found"),
        muted(text % {"ticket": escape_markdown(ticket.ref)}),
        button(click_id("unlink", ticket.ticket_class, ticket.object_id, "yes"), _("Unlink it")),
        _back_button(context),
    )


def ticket_text_screen(context: PanelContext, click: Click) -> Canvas:
    """Handle `text:<class>:<id>:<attribute>:<page>`: show a page of a long text of a ticket.

    Raise the errors of `get_details`.
    """
    ticket_class, ticket_id, code = click.argument(0), click.number(1), click.argument(2)
    details = get_details(context, ticket_class, ticket_id)
    text = attribute_text(context, code, dict(details.attributes).get(code, ""))
    pages = list(_split_into_pages(text))
    if not pages:
        # The attribute is empty now, or the panel does not display it any more.
        return unknown_action({})
    page = min(max(click.number(3), 1), len(pages))
    return screen(
        escape_markdown(attribute_label(context.ticket_class, code)),
        muted(escape_markdown(details.row.ref)),
        paragraph(escape_markdown(pages[page - 1])),
        page_number(page, len(pages)),
        pager(lambda number: click_id("text", ticket_class, ticket_id, code, number), page, len(pages)),
        back_button(click_id("ticket", ticket_class, ticket_id)),
    )


def _split_into_pages(text: str) -> Iterator[str]:
    """Yield parts of the text of at most MAX_PAGE_LENGTH characters. Blank parts are left out.

    A part ends at the last space in its second half. If there is none, it ends within a word.
    """
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
