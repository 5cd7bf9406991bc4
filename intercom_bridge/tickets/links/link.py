"""Link an existing ticket to the conversation."""

from dataclasses import dataclass

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from intercom_bridge.intercom.client import IntercomError
from intercom_bridge.models import Ticket, TicketLink
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.sync.intake import deliver_since
from intercom_bridge.tickets.cache import store_linked
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import (
    RECENT_EVENTS,
    fetch_full_conversation,
    find_conversation,
    find_links,
    get_or_create_conversation,
    get_or_create_ticket,
    last_position,
)
from intercom_bridge.tickets.details import get_ticket
from intercom_bridge.tickets.errors import OtherOrganizationError
from intercom_bridge.tickets.people.match import find_person
from intercom_bridge.tickets.rows import ASSIGNEE_NAMES, TicketRow, make_row, subtitle_codes
from intercom_bridge.tickets.version import claim_version

from .backfill import Backfill
from .notes import add_note, withdraw_note

log = structlog.get_logger(__name__)

LINKED_NOTE = gettext_noop("{teammate} linked ticket {ticket} to this conversation.")


@dataclass(frozen=True, kw_only=True)
class LinkPreview:
    """What linking a ticket would do.

    backfill: the messages that can be copied. None if the ticket is linked already, or if Intercom did not return them.
    is_complete: False if the conversation has older messages, which Intercom does not return.
    is_paused: the sync of this conversation is paused, and would be paused for this ticket too.
    """

    row: TicketRow
    backfill: Backfill | None
    is_complete: bool = True
    is_paused: bool = False


@dataclass(frozen=True, kw_only=True)
class LinkResult:
    """What linking a ticket has done.

    is_new: False if the ticket was linked already.
    is_paused: new messages are not written to the ticket.
    copied: the number of earlier messages that are queued for the ticket.
    """

    ticket: Ticket
    is_new: bool
    is_paused: bool
    copied: int = 0


def preview_link(context: PanelContext, ticket_class: str, ticket_id: int) -> LinkPreview:
    """Return what linking the ticket would do. Raise the same errors as `get_ticket`."""
    itop_ticket = get_ticket(context, ticket_class, ticket_id)
    row = make_row(context, itop_ticket, find_person(context), find_links(context))
    if row.is_linked:
        return LinkPreview(row=row, backfill=None)
    conversation = find_conversation(context)
    is_paused = TicketLink.objects.filter(conversation=conversation).are_paused()
    stored_ticket = Ticket.objects.filter(
        itop=context.itop, ticket_class=itop_ticket.class_name, object_id=itop_ticket.id
    ).first()
    try:
        payload = fetch_full_conversation(context)
    except (IntercomError, SecretDecryptionError) as error:
        log.warning("link.conversation_not_fetched", error=type(error).__name__)
        return LinkPreview(row=row, backfill=None, is_paused=is_paused)
    return LinkPreview(
        row=row,
        backfill=Backfill.of(context, stored_ticket, payload.messages),
        is_complete=payload.is_complete,
        is_paused=is_paused,
    )


def link_ticket(
    context: PanelContext, ticket_class: str, ticket_id: int, *, copy: bool, is_confirmed: bool
) -> LinkResult:
    """Link the ticket to this conversation. If `copy` is set, queue the messages so far for it.

    `is_confirmed`: the teammate wants to link the ticket even if its organization is not the contact's.

    Raise one of these errors without linking the ticket: TicketNotFoundError, OutOfScopeError, OutdatedScreenError;
    OtherOrganizationError if a confirmation is needed; IntercomError or SecretDecryptionError if `copy` is set and the
    conversation cannot be fetched.
    """
    text_codes = (*subtitle_codes(context), *ASSIGNEE_NAMES)
    itop_ticket = get_ticket(context, ticket_class, ticket_id, extra=text_codes)
    if (link := find_links(context).get(ticket_id)) is not None:
        return LinkResult(ticket=link.ticket, is_new=False, is_paused=not link.sync_on)
    row = make_row(context, itop_ticket, find_person(context), ())
    if row.is_of_other_organization and not is_confirmed:
        raise OtherOrganizationError(f"{row.ref} is of another organization")
    claim_version(context)
    try:
        payload = fetch_full_conversation(context)
    except (IntercomError, SecretDecryptionError):
        if copy:
            raise
        payload = context.request.conversation
    since_part_at, since_part_order = (0, 0) if copy else last_position(payload)
    copied = 0
    with transaction.atomic():
        conversation = get_or_create_conversation(context)
        is_paused = TicketLink.objects.filter(conversation=conversation).are_paused()
        ticket = get_or_create_ticket(
            context.itop, itop_ticket.class_name, itop_ticket.id, itop_ticket.text("friendlyname")
        )
        link, is_new = TicketLink.objects.get_or_create(
            conversation=conversation,
            ticket=ticket,
            defaults={
                "linked_by": context.request.admin.name[:200],
                "since_part_at": since_part_at,
                "since_part_order": since_part_order,
            },
        )
        if is_new:
            if copy:
                backfill = Backfill.of(context, ticket, payload.messages)
                backfill.write_to(link)
                copied = len(backfill.entries)
            if is_paused:
                # The pause begins after the backfill, because the teammate asked to copy these messages.
                link.switch(on=False, at=timezone.now().timestamp())
            # If the note about unlinking is not posted yet, linking again makes both notes needless.
            if not withdraw_note(link.conversation, link.ticket):
                add_note(context, link.conversation, LINKED_NOTE, link.ticket)
            deliver_since(link, timezone.now() - RECENT_EVENTS)
    store_linked(context, find_person(context), row)
    return LinkResult(ticket=link.ticket, is_new=is_new, is_paused=not link.sync_on, copied=copied)
