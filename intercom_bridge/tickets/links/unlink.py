"""Unlink a ticket, and undo that. iTop is not asked, so a ticket that is gone can be unlinked, too."""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from intercom_bridge.models import Delivery, FileToItop, LinkRemoval, TicketLink, WebhookEvent
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.sync.intake import deliver_since
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import RECENT_EVENTS, find_conversation, find_link, find_links
from intercom_bridge.tickets.version import claim_version

from .link import LinkResult
from .notes import add_note, undo_until, withdraw_note

UNLINKED_NOTE = gettext_noop("{teammate} unlinked ticket {ticket} from this conversation.")
# What a removal keeps of its link.
KEPT_FIELDS = ("linked_by", "sync_on", "pauses", "since_part_at", "since_part_order")
RELINKED_NOTE = gettext_noop("{teammate} linked ticket {ticket} to this conversation again.")


def count_unwritten(link: TicketLink) -> int:
    """Return the number of messages that unlinking would skip."""
    return Delivery.objects.filter(ticket=link.ticket, conversation=link.conversation).unwritten().count()


def unlink_ticket(context: PanelContext, ticket_class: str, ticket_id: int) -> LinkRemoval | None:
    """Remove the link. A second click returns the removal of the first one. Return None if there was no link.

    Raise OutdatedScreenError.
    """
    link = find_link(context, ticket_class, ticket_id)
    if link is not None:
        claim_version(context)
        with transaction.atomic():
            removal = remove_link(link, removed_by=context.request.admin.name)
            if removal is not None:
                removal.note = add_note(
                    context, link.conversation, UNLINKED_NOTE, link.ticket, due_at=undo_until(removal)
                )
                removal.save(update_fields=["note"])
                return removal
    earlier = LinkRemoval.objects.not_undone().filter(
        conversation=find_conversation(context),
        ticket__itop=context.itop,
        ticket__ticket_class=ticket_class,
        ticket__object_id=ticket_id,
    )
    return earlier.select_related("ticket").order_by("-pk").first()


def remove_link(link: TicketLink, *, removed_by: str, keep_waiting: bool = False) -> LinkRemoval | None:
    """Replace the link by a removal. Return None if another process was faster. Call it in a transaction.

    `keep_waiting`: the link moves to another conversation, so waiting messages are still written, and iTop's attributes
    are updated for the new link.
    """
    deleted, _rows = TicketLink.objects.filter(pk=link.pk).delete()
    if not deleted:
        return None
    deliveries = Delivery.objects.filter(ticket=link.ticket, conversation=link.conversation)
    if not keep_waiting:
        # Also the files of messages that are in the ticket.
        files = FileToItop.objects.filter(ticket=link.ticket, conversation=link.conversation)
        files.skip(ReasonCode.UNLINKED)
    return LinkRemoval.objects.create(
        conversation=link.conversation,
        ticket=link.ticket,
        unlinked_by=removed_by[:200],
        linked_at=link.created_at,
        **{name: getattr(link, name) for name in KEPT_FIELDS},
        attributes_synced=keep_waiting,
        left_out=[] if keep_waiting else deliveries.skip_for_unlinking(),
    )


def undo_unlink(context: PanelContext, removal_id: int) -> LinkResult | None:
    """Restore the link with its waiting messages, and add those that have arrived since.

    Return None if the removal is not of this conversation, or was undone and the ticket is unlinked again. Raise
    OutdatedScreenError.
    """
    removal = (
        LinkRemoval.objects.filter(
            pk=removal_id,
            conversation=find_conversation(context),
            ticket__itop=context.itop,
            ticket__ticket_class=context.profile.ticket_class,
        )
        .select_related("ticket", "conversation__workspace")
        .first()
    )
    if removal is None:
        return None
    if removal.undone_at is not None and find_links(context).get(removal.ticket.object_id) is None:
        return None
    if removal.undone_at is None:
        claim_version(context)
    with transaction.atomic():
        if not LinkRemoval.objects.not_undone().filter(pk=removal.pk).update(undone_at=timezone.now()):
            return LinkResult(ticket=removal.ticket, is_new=False, is_paused=not removal.sync_on)
        link, is_new = TicketLink.objects.get_or_create(
            conversation=removal.conversation,
            ticket=removal.ticket,
            defaults={name: getattr(removal, name) for name in KEPT_FIELDS},
        )
        if is_new:
            # This must not change which conversation was linked last.
            TicketLink.objects.filter(pk=link.pk).update(created_at=removal.linked_at)
            if not withdraw_note(link.conversation, link.ticket):
                add_note(context, link.conversation, RELINKED_NOTE, link.ticket)
        restored = Delivery.objects.restore_skipped(removal.left_out)
        FileToItop.objects.filter(ticket=link.ticket, conversation=link.conversation).restore_unlinked()
        # Notifications that were received before the removal and processed after it found no link.
        WebhookEvent.objects.requeue_unlinked(
            context.workspace, removal.conversation.conversation_id, removal.linked_at
        )
        deliver_since(link, removal.unlinked_at - RECENT_EVENTS)
    return LinkResult(ticket=removal.ticket, is_new=is_new, is_paused=not link.sync_on, copied=restored)
