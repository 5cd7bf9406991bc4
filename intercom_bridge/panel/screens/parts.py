"""Components and texts that several screens use."""

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from intercom_bridge.events.markup import to_plain_text
from intercom_bridge.files.parts import FilesToCopy
from intercom_bridge.models import PersonMatch, Ticket, Workspace
from intercom_bridge.panel.click import FIND, FORM, HOME, BackLink, click_id
from intercom_bridge.panel.components import (
    Button,
    Canvas,
    Component,
    Item,
    List,
    OpenUrl,
    Submit,
    Text,
    escape_markdown,
    shorten,
)
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import find_links
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.rows import TicketRow

PAGE_SIZE = 10
MAX_NAMED_TICKETS = 5
MAX_NAMED_FILES = 3
MAX_FILE_NAME_LENGTH = 40

# Short formats with the month as a word: Americans and Europeans read 11/12 as different days.
_DATE_FORMATS = {"en": "j M Y H:i", "fr": "j N Y à H:i", "de": "j. N Y, H:i", "es": "j b Y, H:i"}

_ITOP_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_HTML = re.compile(r"\s*<[a-z!]", re.IGNORECASE)
T = TypeVar("T")


def format_time(when: dt.datetime) -> str:
    """Return date and time as text, in the zone of `when`.

    Intercom's guidelines demand an absolute time, because the panel cannot refresh "5 minutes ago".
    """
    return date_format(when, _DATE_FORMATS.get(get_language() or "", _DATE_FORMATS["en"]))


def by_whom(context: PanelContext, teammate_name: str, when: dt.datetime) -> dict[str, str]:
    """Return the placeholders `teammate` and `moment` of a text that says who did something, and when."""
    moment = format_time(timezone.localtime(when, context.workspace.zone))
    return {"teammate": safe_name(teammate_name) or _("A teammate"), "moment": moment}


def format_value(context: PanelContext, value: str) -> str:
    """Return a value from iTop as people read it: a time in the workspace's time zone, HTML as plain text."""
    if _ITOP_DATE.fullmatch(value):
        local = dt.datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=context.itop.zone)
        return format_time(local.astimezone(context.workspace.zone))
    return to_plain_text(value, context.itop) if _HTML.match(value) else value


def screen(
    title: str | Text, *parts: Component | Iterable[Component] | None, stored: Mapping[str, Any] = {}
) -> Canvas:
    """Return a canvas with a title. A part is a component, several components, or None, which is left out."""
    components: list[Component] = [title if isinstance(title, Text) else Text(text=title, style="header")]
    for part in parts:
        if isinstance(part, Component):
            components.append(part)
        else:
            components += part or ()
    return Canvas(components=tuple(components), stored_data=stored)


def subtitle(text: str) -> Text:
    """Return a heading that is close to what follows it."""
    return Text(text=text, style="header", bottom_margin="none")


def paragraph(text: str) -> Text:
    return Text(text=text)


def muted(text: str) -> Text:
    return Text(text=text, style="muted")


def error_text(text: str) -> Text:
    return Text(text=text, style="error")


def item(target: str, title: str, subtitle: str = "", tertiary_text: str = "") -> Item:
    """Return an item of a list that can be clicked. `target` is the click, as returned by `click_id`."""
    return Item(id=target, title=title, subtitle=subtitle, tertiary_text=tertiary_text, action=Submit())


def join_facts(*facts: str) -> str:
    """Return the facts that are not empty, in one line."""
    return " · ".join(filter(None, facts))


def capitalized(text: str) -> str:
    """Return the text with a capital first letter, unless it begins with a name such as iTop."""
    begins_with_name = text[1:2].isupper()
    return text if begins_with_name else text[:1].upper() + text[1:]


def safe_name(name: str, limit: int = 80) -> str:
    """Return a text that people wrote, cut to `limit` characters and escaped for a `Text`."""
    return escape_markdown(shorten(name, limit))


def owner_text(row: TicketRow) -> str:
    """Return the ticket's caller and organization, as Markdown for a `Text`."""
    return join_facts(safe_name(row.caller), safe_name(row.organization))


def unverified_text(context: PanelContext, person: Person) -> str:
    """Return the warning that the contact may not be this person, or "" if the contact is verified.

    Anybody can type an e-mail address into the Messenger. A match by e-mail therefore counts as verified only for a
    logged-in user who has the person's name. If the workspace's `verification` is ITOP, a contact is verified only by a
    sign-in to iTop. A teammate's choice is always trusted.
    """
    contact = context.request.contact
    name = safe_name(contact.name) or _("somebody")
    if person.how in (PersonMatch.How.CHOSEN, PersonMatch.How.ITOP):
        return ""
    # Intercom calls a visitor who has not logged in a lead.
    if contact.role == "lead":
        return _("Not verified: %(name)s, a visitor, gave this e-mail address.") % {"name": name}
    if person.how == PersonMatch.How.EMAIL and not _names_match(contact.name, person.name):
        return _("Not verified: the contact's name is %(name)s.") % {"name": name}
    if context.workspace.verification == Workspace.Verification.ITOP:
        return _("Not verified: %(name)s has not signed in to iTop.") % {"name": name}
    return ""


def _names_match(name: str, other: str) -> bool:
    """Return whether one name contains all words of the other, in any order. Case, accents and initials are ignored."""
    words, other_words = _words(name), _words(other)
    return words <= other_words or other_words <= words


def _words(name: str) -> set[str]:
    """Return the words of at least two letters, casefolded and without accents."""
    decomposed = unicodedata.normalize("NFKD", name[:200]).casefold()
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    return set(re.findall(r"\w{2,}", plain))


def button(target: str, label: str) -> Button:
    return Button(id=target, label=label, action=Submit())


def primary_button(target: str, label: str) -> Button:
    return Button(id=target, label=label, style="primary", action=Submit())


def link_button(target: str, label: str) -> Button:
    return Button(id=target, label=label, style="link", action=Submit())


def open_in_itop_button(context: PanelContext, url: str) -> Button | None:
    """Return the button to the ticket in iTop's backoffice, or None if the profile does not show it."""
    if not context.profile.show_open_in_backoffice_button:
        return None
    return Button(id="open-in-itop", label=_("Open in iTop"), action=OpenUrl(url))


def back_button(target: str) -> Button:
    return link_button(target, _("Back"))


def form_button() -> Button:
    return link_button(FORM, _("Back to the form"))


def home_button() -> Button:
    return link_button(HOME, _("Done"))


def done_button(context: PanelContext) -> Button:
    """Return the button to the first screen, or to the create form if the teammate came from there."""
    back = BackLink.parse(context.request.stored_data)
    return form_button() if back.target == FORM else home_button()


def no_message_button(context: PanelContext) -> Button | None:
    """Return the button that creates the ticket without a message to the customer.

    Return None if the bridge sends none anyway: an admin has turned it off, or Intercom did not name the teammate.
    """
    if not context.workspace.announce_tickets or not context.request.admin.id:
        return None
    return link_button(click_id("form", "submit", "quiet"), _("Create without a message to the customer"))


def retry_button(target: str) -> Button:
    return button(target, _("Retry"))


def find_button() -> Button:
    return link_button(FIND, _("Find a ticket"))


def ticket_button(ticket: Ticket) -> Button:
    return button(click_id("ticket", ticket.ticket_class, ticket.object_id), _("View ticket"))


def paused_text() -> str:
    return _("Sync is paused: new messages are not copied.")


def several_tickets_text(context: PanelContext, next_ref: str = "") -> str:
    """Return a sentence that names the tickets to which new messages will be copied, or "" for less than two tickets.

    The sentence also names `next_ref`, the reference of a ticket that may be linked next.
    """
    refs = [link.ticket.ref for link in find_links(context).values() if link.sync_on]
    if next_ref and next_ref not in refs:
        refs.append(next_ref)
    if len(refs) < 2:
        return ""
    if len(refs) > MAX_NAMED_TICKETS:
        return _("New messages will go to all %(count)d linked tickets.") % {"count": len(refs)}
    *others, last = (escape_markdown(ref) for ref in refs)
    return _("New messages will go to %(tickets)s and %(ticket)s.") % {
        "tickets": ", ".join(others),
        "ticket": last,
    }


def page_of(rows: Sequence[T], page: int) -> tuple[Sequence[T], int, int]:
    """Return the rows of a page, its number, and the number of pages.

    Pages are counted from 1. If there is no such page, return the nearest one.
    """
    pages = max(1, math.ceil(len(rows) / PAGE_SIZE))
    page = min(max(page, 1), pages)
    return rows[(page - 1) * PAGE_SIZE : page * PAGE_SIZE], page, pages


def list_of(items: Sequence[Item], empty_text: str) -> Component:
    return List(items=tuple(items)) if items else muted(empty_text)


def page_number(page: int, pages: int) -> Text | None:
    """Return the text "Page 1 of 3", or None if there is only one page."""
    return muted(_("Page %(page)d of %(pages)d") % {"page": page, "pages": pages}) if pages > 1 else None


def pager(page_id: Callable[[int], str], page: int, pages: int) -> list[Component]:
    """Return the buttons to the previous and the next page, if they exist. `page_id` returns the click for a page."""
    labels = {page - 1: _("Previous"), page + 1: _("Next")}
    return [link_button(page_id(number), label) for number, label in labels.items() if 1 <= number <= pages]


def counted_texts(*texts: tuple[int, str]) -> list[str]:
    """Return the texts with their counts filled in. A text whose count is 0 is left out."""
    return [text % {"count": count} for count, text in texts if count]


def some_names(names: Sequence[str], count: int) -> str:
    """Return the first three names, and "and 2 more" if there are five files, as Markdown for a `Text`.

    `count` is the number of files, which can be larger than the number of names.
    """
    first_names = [safe_name(name, MAX_FILE_NAME_LENGTH) for name in names[:MAX_NAMED_FILES]]
    text = ", ".join(first_names)
    more = count - len(first_names)
    return " ".join((text, _("and %(count)d more") % {"count": more})) if more else text


def copied_files_texts(workspace: Workspace, files: FilesToCopy) -> list[Text]:
    """Return texts about how many files will be copied with the messages, and which are too large."""
    texts = []
    if not files.is_count_known:
        texts.append(_("The messages' files are copied, too, if iTop accepts them."))
    elif files.count:
        text = ngettext(
            "%(count)d file of the messages is copied, too, if iTop accepts it.",
            "%(count)d files of the messages are copied, too, if iTop accepts them.",
            files.count,
        )
        texts.append(text % {"count": files.count})
    if too_large := files.too_large:
        text = ngettext(
            "Not copied, because it exceeds the %(limit)d MB limit: %(names)s",
            "Not copied, because they exceed the %(limit)d MB limit: %(names)s",
            len(too_large),
        )
        names = some_names(too_large, len(too_large))
        texts.append(text % {"limit": workspace.max_file_mb, "names": names})
    return [muted(text) for text in texts]
