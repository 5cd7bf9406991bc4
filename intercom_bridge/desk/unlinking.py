"""Taking a link away, and putting it back as it was. Asks iTop nothing: a link to a ticket that is gone can go too."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from intercom_bridge.models import (
    Conversation,
    Delivery,
    Notification,
    Ticket,
    TicketLink,
    Unlinking,
)
from intercom_bridge.sync.intake import deliver_since

from .desk import LOOK_AGAIN, Desk
from .notes import leave_note

UNLINKED_NOTE = gettext_noop("{teammate} unlinked ticket {ticket} from this conversation.")
UNDONE_NOTE = gettext_noop("{teammate} linked ticket {ticket} to this conversation again.")


@dataclass(frozen=True, kw_only=True)
class LinkedTicket:
    """A link of this conversation, and how many messages have not been written for it yet."""

    ticket: Ticket
    unwritten: int


@dataclass(frozen=True, kw_only=True)
class Undone:
    """`put_back` counts the messages that wait again; `is_paused`: it was, and is again."""

    ticket: Ticket
    put_back: int
    is_paused: bool


def linked(desk: Desk, ticket_class: str, ticket_id: int) -> LinkedTicket | None:
    link = _link(desk, ticket_class, ticket_id)
    if link is None:
        return None
    unwritten = Delivery.objects.filter(ticket=link.ticket, conversation=link.conversation).unwritten()
    return LinkedTicket(ticket=link.ticket, unwritten=unwritten.count())


def unlink(desk: Desk, ticket_class: str, ticket_id: int) -> Unlinking | None:
    """Takes the link away; None when there is none and was none. A second press answers what the first one did."""
    link = _link(desk, ticket_class, ticket_id)
    if link is not None:
        with transaction.atomic():
            unlinking = take_away(link, by=desk.request.admin.name)
            if unlinking is not None:
                leave_note(desk, link.conversation, UNLINKED_NOTE, link.ticket)
                return unlinking
    earlier = Unlinking.objects.standing().filter(
        conversation=desk.conversation(),
        ticket__itop=desk.itop,
        ticket__ticket_class=ticket_class,
        ticket__object_id=ticket_id,
    )
    return earlier.select_related("ticket").order_by("-pk").first()


def take_away(link: TicketLink, *, by: str, keeps_waiting: bool = False) -> Unlinking | None:
    """The link becomes an unlinking; None when somebody was faster. To be called in a transaction.

    `keeps_waiting`: it moves elsewhere, so what waits is still written, and the new link is what iTop is told of.
    """
    deleted, _rows = TicketLink.objects.filter(pk=link.pk).delete()
    if not deleted:
        return None
    deliveries = Delivery.objects.filter(ticket=link.ticket, conversation=link.conversation)
    return Unlinking.objects.create(
        conversation=link.conversation,
        ticket=link.ticket,
        unlinked_by=by[:200],
        linked_by=link.linked_by,
        linked_at=link.created_at,
        sync_on=link.sync_on,
        pauses=link.pauses,
        since_part_at=link.since_part_at,
        since_part_order=link.since_part_order,
        in_step=keeps_waiting,
        left_out=[] if keeps_waiting else deliveries.skip_for_unlinking(),
    )


def undo(desk: Desk, unlinking_id: int) -> Undone | None:
    """Puts the link back with what it had waiting, and fills in what came meanwhile; None for one of elsewhere."""
    unlinking = (
        Unlinking.objects.filter(
            pk=unlinking_id,
            conversation=desk.conversation(),
            ticket__itop=desk.itop,
            ticket__ticket_class=desk.profile.ticket_class,
        )
        .select_related("ticket", "conversation__workspace")
        .first()
    )
    if unlinking is None:
        return None
    with transaction.atomic():
        first = Unlinking.objects.standing().filter(pk=unlinking.pk).update(undone_at=timezone.now())
        if not first:
            return Undone(ticket=unlinking.ticket, put_back=0, is_paused=not unlinking.sync_on)
        link, is_new = TicketLink.objects.get_or_create(
            conversation=unlinking.conversation,
            ticket=unlinking.ticket,
            defaults={
                "linked_by": unlinking.linked_by,
                "sync_on": unlinking.sync_on,
                "pauses": unlinking.pauses,
                "since_part_at": unlinking.since_part_at,
                "since_part_order": unlinking.since_part_order,
            },
        )
        if is_new:
            # Which conversation was linked last does not change by this.
            TicketLink.objects.filter(pk=link.pk).update(created_at=unlinking.linked_at)
            leave_note(desk, link.conversation, UNDONE_NOTE, link.ticket)
        put_back = Delivery.objects.put_back(unlinking.left_out)
        # What had come in before and was not taken in yet found no link either.
        Notification.objects.look_again(
            desk.workspace, unlinking.conversation.conversation_id, unlinking.linked_at
        )
        deliver_since(link, unlinking.unlinked_at - LOOK_AGAIN)
        Conversation.objects.filter(pk=link.conversation_id).compare_within(0)
    return Undone(ticket=unlinking.ticket, put_back=put_back, is_paused=not link.sync_on)


def _link(desk: Desk, ticket_class: str, ticket_id: int) -> TicketLink | None:
    return desk.links().get(ticket_id) if ticket_class == desk.profile.ticket_class else None
