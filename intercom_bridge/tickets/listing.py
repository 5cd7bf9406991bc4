"""List the tickets of the first screen: those that are linked to the conversation, and the contact's ongoing ones."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from django.utils import timezone
from django.utils.translation import gettext as _

from intercom_bridge.models import Ticket, TicketCreation, TicketLink
from intercom_bridge.sync.extension_attributes import attribute_codes
from itop_client import Found, ItopObject, ids, quote

from .cache import find_fresh_list, find_last_list, store_list, store_merge
from .context import PanelContext
from .conversation import find_links
from .errors import CacheMissError
from .links.adopt import LinkChanges, find_extension_links, find_merge_change
from .people.caller import find_caller
from .people.match import find_cached_person
from .people.person import Person
from .query import get_tickets_by
from .rows import ASSIGNEE_NAMES, TicketList, TicketRow, make_row, owner_codes, row_codes, subtitle_codes
from .scope import has_ticket

MAX_TICKETS = 200


def get_tickets(context: PanelContext) -> TicketList:
    """Return the linked tickets and the contact's ongoing tickets, newest first.

    A ticket that the PHP extension linked to this conversation is listed as linked; the worker creates the link later.
    For a contact whom iTop does not know, return the linked tickets only. Save nothing outside the cache.

    Raise PersonNotResolvedError, OutOfScopeError, DefaultCallerError or ItopError.
    """
    caller = find_caller(context)
    links = find_links(context)
    if caller.is_default:
        return _get_linked(context, caller.person, links)
    merge = find_merge_change(context)
    cached = find_fresh_list(context, caller.person, links.keys())
    if cached is None:
        return _query_tickets(context, caller.person, links, merge.merged_away_at)
    if merge.has_changes:
        store_merge(context, caller.person, merge)
    return cached


def _query_tickets(
    context: PanelContext, person: Person, links: Mapping[int, TicketLink], merged_away_at: int
) -> TicketList:
    """Read the tickets from iTop. Cache them together with the changes of links that the worker has to save."""
    fetched_at = timezone.now()
    found = _search(context, person, links.keys())
    extension_links = find_extension_links(context, found, person, links.keys())
    itop_tickets = list(found)
    if found.total > MAX_TICKETS and links:
        # The search returns the newest MAX_TICKETS only, and linked tickets may be older.
        listed_ids = {ticket.id for ticket in itop_tickets}
        itop_tickets += [ticket for ticket in _search_by_id(context, links) if ticket.id not in listed_ids]
    linked_ids = links.keys() | {link.object_id for link in extension_links}
    rows = [
        make_row(context, ticket, person, linked_ids)
        for ticket in itop_tickets
        if has_ticket(context, ticket, person)
    ]
    found_ids = {ticket.id for ticket in itop_tickets}
    gone = [link.ticket for object_id, link in links.items() if object_id not in found_ids]
    present = [link.ticket for object_id, link in links.items() if object_id in found_ids]
    rows += map(_row_of_linked, gone)
    tickets = TicketList(rows=tuple(rows), has_more=found.total > MAX_TICKETS, fetched_at=fetched_at)
    changes = LinkChanges.of(
        context,
        adopt=extension_links,
        gone=[ticket.object_id for ticket in gone if ticket.gone_at is None],
        found_again=[ticket.object_id for ticket in present if ticket.gone_at is not None],
        merged_away_at=merged_away_at,
    )
    store_list(context, person, tickets, links, changes)
    return tickets


def get_cached_tickets(context: PanelContext) -> TicketList:
    """Return the last list that iTop returned, without asking iTop. Raise CacheMissError.

    Add the tickets that were linked since, as far as the bridge knows their attributes. Leave out tickets that were
    unlinked since, unless they are ongoing.
    """
    person = find_cached_person(context)
    links = find_links(context)
    cached = find_last_list(context, person, links.keys())
    if cached is None:
        raise CacheMissError
    rows = [row for row in cached.rows if row.is_linked or row.is_ongoing]
    listed_ids = {row.id for row in rows}
    rows += [
        _unlisted_row(context, person, link.ticket)
        for object_id, link in links.items()
        if object_id not in listed_ids
    ]
    return TicketList(
        rows=tuple(rows),
        has_more=cached.has_more,
        fetched_at=cached.fetched_at.astimezone(context.workspace.zone),
    )


def find_ongoing(context: PanelContext, person: Person) -> TicketList:
    """Return this person's ongoing tickets for a preview: without links, and without the cache of lists."""
    found = _search(context, person, linked_ids=())
    rows = (
        make_row(context, ticket, person, linked_ids=())
        for ticket in found
        if has_ticket(context, ticket, person)
    )
    return TicketList(rows=tuple(rows), has_more=found.total > MAX_TICKETS, fetched_at=timezone.now())


def _get_linked(context: PanelContext, default_caller: Person, links: Mapping[int, TicketLink]) -> TicketList:
    """Return only the linked tickets, for a contact whom iTop does not know.

    All unknown contacts share one caller, `default_caller`, so its other tickets may belong to other contacts.
    """
    fetched_at = timezone.now()
    itop_tickets = _search_by_id(context, links) if links else ()
    # A linked ticket of `default_caller` counts as ongoing, but the panel must not list it as this contact's ticket.
    rows = [
        replace(make_row(context, ticket, default_caller, links), is_ongoing=False)
        for ticket in itop_tickets
        if has_ticket(context, ticket, default_caller)
    ]
    found_ids = {ticket.id for ticket in itop_tickets}
    rows += [_row_of_linked(link.ticket) for object_id, link in links.items() if object_id not in found_ids]
    return TicketList(rows=tuple(rows), has_more=False, fetched_at=fetched_at)


def _search_by_id(context: PanelContext, ticket_ids: Iterable[int]) -> Sequence[ItopObject]:
    condition = f"t.id IN ({ids(ticket_ids)})"
    optional = _optional_codes(context)
    return get_tickets_by(context, condition, fields=row_codes(context), optional=optional).objects


def _row_of_linked(ticket: Ticket, status: str = "") -> TicketRow:
    """Return a row with what our table contains: the ticket's class, id and reference."""
    return TicketRow(
        ticket_class=ticket.ticket_class, id=ticket.object_id, ref=ticket.ref, status=status, is_linked=True
    )


def _optional_codes(context: PanelContext) -> set[str]:
    """Return the attributes of a row that iTop may lack although the profile names them."""
    title = context.profile.code("title")
    return {title, *subtitle_codes(context), *owner_codes(context), *ASSIGNEE_NAMES}


def _unlisted_row(context: PanelContext, person: Person, ticket: Ticket) -> TicketRow:
    """Return the row of a linked ticket that the cached list does not contain.

    Its state is unknown. If the bridge created it for this person, its title is known from the submitted form, and it
    is shown as ongoing until iTop returns its state.
    """
    row = _row_of_linked(ticket, _("unknown state"))
    creation = TicketCreation.objects.filter(ticket=ticket, caller_id=person.id).first()
    if creation is None:
        return row
    title = str(creation.fields.get(context.profile.code("title"), ""))
    return replace(
        row, title=title, subtitle=title, caller=person.name, organization=person.org_name, is_ongoing=True
    )


def _search(context: PanelContext, person: Person, linked_ids: Collection[int]) -> Found:
    """Query the person's ongoing tickets, the linked tickets, and those that the PHP extension linked here."""
    profile = context.profile
    code = profile.code
    ongoing_condition = f"t.{code('caller_id')} = {person.id}"
    if profile.excluded_states:
        states = ", ".join(quote(state) for state in profile.excluded_states)
        ongoing_condition = f"({ongoing_condition} AND t.{code('status')} NOT IN ({states}))"
    conditions = [ongoing_condition]
    fields = row_codes(context)
    if linked_ids:
        conditions.append(f"t.id IN ({ids(linked_ids)})")
    if context.workspace.has_extension_attributes:
        ref, _url, activated = attribute_codes(context.workspace)
        conditions.append(f"t.{ref} = {quote(context.request.conversation.id)}")
        fields |= {ref, activated}
    return get_tickets_by(
        context, " OR ".join(conditions), fields=fields, optional=_optional_codes(context), limit=MAX_TICKETS
    )
