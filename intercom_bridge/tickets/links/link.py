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
    known_ticket,
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
    """The consequences of linking a ticket. `backfill` is None if Intercom did not return the conversation.

    `is_complete` is False if the conversation has older messages than Intercom returns. `is_paused`: the sync of this
    conversation is paused, and would be for this ticket.
    """

    row: TicketRow
    backfill: Backfill | None
    is_complete: bool = True
    is_paused: bool = False


@dataclass(frozen=True, kw_only=True)
class LinkResult:
    """`is_new` is False if the ticket was linked before. `copied` earlier messages are waiting to be written.

    `is_paused`: new messages are left out.
    """

    ticket: Ticket
    is_new: bool
    is_paused: bool
    copied: int = 0


def preview_link(context: PanelContext, ticket_class: str, ticket_id: int) -> LinkPreview:
    """Return the messages that linking the ticket could copy. Raise TicketNotFoundError or OutOfScopeError."""
    found = get_ticket(context, ticket_class, ticket_id)
    row = make_row(context, found, find_person(context), find_links(context))
    if row.is_linked:
        return LinkPreview(row=row, backfill=None)
    conversation = find_conversation(context)
    is_paused = TicketLink.objects.filter(conversation=conversation).are_paused()
    ticket = Ticket.objects.filter(
        itop=context.itop, ticket_class=found.class_name, object_id=found.id
    ).first()
    try:
        full = fetch_full_conversation(context)
    except (IntercomError, SecretDecryptionError) as error:
        log.warning("link.conversation_not_fetched", error=type(error).__name__)
        return LinkPreview(row=row, backfill=None, is_paused=is_paused)
    return LinkPreview(
        row=row,
        backfill=Backfill.of(context, ticket, full.messages),
        is_complete=full.is_complete,
        is_paused=is_paused,
    )


def link_ticket(
    context: PanelContext, ticket_class: str, ticket_id: int, *, copy: bool, is_confirmed: bool
) -> LinkResult:
    """Link the ticket to this conversation. With `copy`, write the messages so far to it, too.

    Raise TicketNotFoundError, OutOfScopeError or OutdatedScreenError; OtherOrganizationError if the ticket is of
    another organization and `is_confirmed` is False; with `copy` IntercomError if Intercom does not return the
    conversation. Then nothing is linked.
    """
    texts = (*subtitle_codes(context), *ASSIGNEE_NAMES)
    found = get_ticket(context, ticket_class, ticket_id, extra=texts)
    if (link := find_links(context).get(ticket_id)) is not None:
        return LinkResult(ticket=link.ticket, is_new=False, is_paused=not link.sync_on)
    row = make_row(context, found, find_person(context), ())
    if row.is_of_other_organization and not is_confirmed:
        raise OtherOrganizationError(f"{row.ref} is of another organization")
    claim_version(context)
    try:
        full = fetch_full_conversation(context)
    except (IntercomError, SecretDecryptionError):
        if copy:
            raise
        full = context.request.conversation
    since_part_at, since_part_order = (0, 0) if copy else last_position(full)
    copied = 0
    with transaction.atomic():
        conversation = get_or_create_conversation(context)
        is_paused = TicketLink.objects.filter(conversation=conversation).are_paused()
        ticket = known_ticket(context.itop, found.class_name, found.id, found.text("friendlyname"))
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
                backfill = Backfill.of(context, ticket, full.messages)
                backfill.write_to(link)
                copied = len(backfill.entries)
            if is_paused:
                # After the backfill, which the teammate asked for: the pause concerns later messages.
                link.switch(on=False, at=timezone.now().timestamp())
            if not withdraw_note(link.conversation, link.ticket):
                add_note(context, link.conversation, LINKED_NOTE, link.ticket)
            deliver_since(link, timezone.now() - RECENT_EVENTS)
    store_linked(context, find_person(context), row)
    return LinkResult(ticket=link.ticket, is_new=is_new, is_paused=not link.sync_on, copied=copied)
