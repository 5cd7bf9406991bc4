"""The linked and the ongoing tickets of a person."""

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
    """Return the linked and the ongoing tickets of the contact, newest first, with at most one query to iTop.

    A ticket that the PHP extension linked to this conversation is listed as linked; the worker adds the link. Write
    nothing but the cache. For a contact whom iTop does not know, return the linked tickets only. Raise
    PersonNotResolvedError, OutOfScopeError, DefaultCallerError or ItopError.
    """
    caller = find_caller(context)
    person = caller.person
    links = find_links(context)
    if caller.is_default:
        return _get_linked(context, person, links)
    merge = find_merge_change(context)
    cached = find_fresh_list(context, person, links.keys())
    if cached is not None:
        if merge.to_json() is not None:
            store_merge(context, person, merge)
        return cached
    fetched_at = timezone.now()
    found = _search(context, person, links.keys())
    extension_links = find_extension_links(context, found, person, links.keys())
    objects = list(found)
    if found.total > MAX_TICKETS and links:
        # The linked tickets may be older than the newest two hundred.
        listed = {ticket.id for ticket in objects}
        objects += [ticket for ticket in _search_by_id(context, links) if ticket.id not in listed]
    linked_ids = links.keys() | {link.object_id for link in extension_links}
    rows = [
        make_row(context, ticket, person, linked_ids)
        for ticket in objects
        if has_ticket(context, ticket, person)
    ]
    found_ids = {ticket.id for ticket in objects}
    gone = [link.ticket for object_id, link in links.items() if object_id not in found_ids]
    rows += map(_row_of_linked, gone)
    tickets = TicketList(rows=tuple(rows), has_more=found.total > MAX_TICKETS, fetched_at=fetched_at)
    changes = LinkChanges.of(
        context,
        adopt=extension_links,
        gone=[ticket.object_id for ticket in gone if ticket.gone_at is None],
        found_again=[
            object_id
            for object_id, link in links.items()
            if object_id in found_ids and link.ticket.gone_at is not None
        ],
        merged_away_at=merge.merged_away_at,
    )
    store_list(context, person, tickets, links, changes)
    return tickets


def get_cached_tickets(context: PanelContext) -> TicketList:
    """Return the last list that iTop returned, without asking it. Raise CacheMissError.

    Of a ticket that was created since, only what it was created with is known.
    """
    person = find_cached_person(context)
    links = find_links(context)
    cached = find_last_list(context, person, links.keys())
    if cached is None:
        raise CacheMissError
    rows = [row for row in cached.rows if row.is_linked or row.is_ongoing]
    known = {row.id for row in rows}
    rows += [
        _unlisted_row(context, person, link.ticket)
        for object_id, link in links.items()
        if object_id not in known
    ]
    return TicketList(
        rows=tuple(rows),
        has_more=cached.has_more,
        fetched_at=cached.fetched_at.astimezone(context.workspace.zone),
    )


def find_ongoing(context: PanelContext, person: Person) -> TicketList:
    """Return the ongoing tickets of any person. Neither read nor write the cache of lists."""
    found = _search(context, person, ())
    rows = (make_row(context, ticket, person, ()) for ticket in found if has_ticket(context, ticket, person))
    return TicketList(rows=tuple(rows), has_more=found.total > MAX_TICKETS, fetched_at=timezone.now())


def _get_linked(context: PanelContext, default_caller: Person, links: Mapping[int, TicketLink]) -> TicketList:
    """Return the linked tickets of an unknown contact: those of the default caller are not the contact's."""
    fetched_at = timezone.now()
    found = _search_by_id(context, links) if links else ()
    rows = [
        replace(make_row(context, ticket, default_caller, links), is_ongoing=False)
        for ticket in found
        if has_ticket(context, ticket, default_caller)
    ]
    found_ids = {ticket.id for ticket in found}
    rows += [_row_of_linked(link.ticket) for key, link in links.items() if key not in found_ids]
    return TicketList(rows=tuple(rows), has_more=False, fetched_at=fetched_at)


def _search_by_id(context: PanelContext, ticket_ids: Iterable[int]) -> Sequence[ItopObject]:
    condition = f"t.id IN ({ids(ticket_ids)})"
    return get_tickets_by(
        context, condition, fields=row_codes(context), optional=_optional_codes(context)
    ).objects


def _row_of_linked(ticket: Ticket, status: str = "") -> TicketRow:
    """Return the row of a linked ticket of which only the reference is known."""
    return TicketRow(
        ticket_class=ticket.ticket_class, id=ticket.object_id, ref=ticket.ref, status=status, is_linked=True
    )


def _optional_codes(context: PanelContext) -> set[str]:
    """Return the attributes of a row that a profile may name without iTop having them."""
    title = context.profile.code("title")
    return {title, *subtitle_codes(context), *owner_codes(context), *ASSIGNEE_NAMES}


def _unlisted_row(context: PanelContext, person: Person, ticket: Ticket) -> TicketRow:
    """Return the row of a linked ticket that iTop has not listed yet.

    If the bridge created the ticket with the person as its caller, the form has its title.
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
    profile = context.profile
    code = profile.code
    ongoing = f"t.{code('caller_id')} = {person.id}"
    if profile.excluded_states:
        states = ", ".join(quote(state) for state in profile.excluded_states)
        ongoing = f"({ongoing} AND t.{code('status')} NOT IN ({states}))"
    conditions = [ongoing]
    fields = row_codes(context)
    if linked_ids:
        conditions.append(f"t.id IN ({ids(linked_ids)})")
    if context.workspace.has_intercom_attributes:
        ref, _url, activated = attribute_codes(context.workspace)
        conditions.append(f"t.{ref} = {quote(context.request.conversation.id)}")
        fields |= {ref, activated}
    return get_tickets_by(
        context, " OR ".join(conditions), fields=fields, optional=_optional_codes(context), limit=MAX_TICKETS
    )
