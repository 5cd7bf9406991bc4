"""Unlink a ticket, and undo it. Neither asks iTop, so a ticket that iTop no longer has can be unlinked, too."""

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
from .notes import add_note, note_due_at, withdraw_note

UNLINKED_NOTE = gettext_noop("{teammate} unlinked ticket {ticket} from this conversation.")
# The columns of a link that its LinkRemoval keeps, so that the link can be restored.
KEPT_FIELDS = ("linked_by", "sync_on", "pauses", "since_part_at", "since_part_order")
RELINKED_NOTE = gettext_noop("{teammate} linked ticket {ticket} to this conversation again.")


def count_unwritten(link: TicketLink) -> int:
    """Return how many messages are not in the ticket yet, and would be skipped if it were unlinked."""
    return Delivery.objects.filter(ticket=link.ticket, conversation=link.conversation).unwritten().count()


def unlink_ticket(context: PanelContext, ticket_class: str, ticket_id: int) -> LinkRemoval | None:
    """Remove the link, and return the removal. A second click returns the first click's removal.

    Return None if there is neither a link to remove nor a removal to undo. Raise OutdatedScreenError.
    """
    link = find_link(context, ticket_class, ticket_id)
    if link is not None:
        claim_version(context)
        with transaction.atomic():
            removal = remove_link(link, removed_by=context.request.admin.name)
            if removal is not None:
                removal.note = add_note(
                    context, link.conversation, UNLINKED_NOTE, link.ticket, due_at=note_due_at(removal)
                )
                removal.save(update_fields=["note"])
                return removal
    earlier_removals = LinkRemoval.objects.not_undone().filter(
        conversation=find_conversation(context),
        ticket__itop=context.itop,
        ticket__ticket_class=ticket_class,
        ticket__object_id=ticket_id,
    )
    return earlier_removals.select_related("ticket").order_by("-pk").first()


def remove_link(link: TicketLink, *, removed_by: str, is_moved: bool = False) -> LinkRemoval | None:
    """Replace the link by a LinkRemoval. Return None if another process has removed it. Call this in a transaction.

    Skip the messages and files that are not in the ticket yet, unless the link is moved to another conversation
    (`is_moved`). The attributes in iTop are not changed for a moved link, because its new link sets them.
    """
    deleted_count, _by_model = TicketLink.objects.filter(pk=link.pk).delete()
    if not deleted_count:
        return None
    left_out = []
    if not is_moved:
        # Files are skipped even if their messages are in the ticket already.
        files = FileToItop.objects.filter(ticket=link.ticket, conversation=link.conversation)
        files.skip(ReasonCode.UNLINKED)
        deliveries = Delivery.objects.filter(ticket=link.ticket, conversation=link.conversation)
        left_out = deliveries.skip_for_unlinking()
    return LinkRemoval.objects.create(
        conversation=link.conversation,
        ticket=link.ticket,
        unlinked_by=removed_by[:200],
        linked_at=link.created_at,
        **{name: getattr(link, name) for name in KEPT_FIELDS},
        attributes_synced=is_moved,
        left_out=left_out,
    )


def undo_unlink(context: PanelContext, removal_id: int) -> LinkResult | None:
    """Restore the link. Queue the messages that the unlinking skipped, and those that have arrived since.

    Return None if this conversation has no such removal, or if it was undone before and the ticket is unlinked again.
    Raise OutdatedScreenError.
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
    if removal.undone_at is None:
        claim_version(context)
    elif removal.ticket.object_id not in find_links(context):
        return None
    with transaction.atomic():
        not_undone = LinkRemoval.objects.not_undone().filter(pk=removal.pk)
        is_claimed = bool(not_undone.update(undone_at=timezone.now()))
        if not is_claimed:
            return LinkResult(ticket=removal.ticket, is_new=False, is_paused=not removal.sync_on)
        link, is_new = TicketLink.objects.get_or_create(
            conversation=removal.conversation,
            ticket=removal.ticket,
            defaults={name: getattr(removal, name) for name in KEPT_FIELDS},
        )
        if is_new:
            # The PHP extension's attributes in iTop name the conversation of the ticket's newest link. With its old
            # time the restored link does not become the newest.
            TicketLink.objects.filter(pk=link.pk).update(created_at=removal.linked_at)
            if not withdraw_note(link.conversation, link.ticket):
                add_note(context, link.conversation, RELINKED_NOTE, link.ticket)
        restored = Delivery.objects.restore_skipped(removal.left_out)
        FileToItop.objects.filter(ticket=link.ticket, conversation=link.conversation).restore_unlinked()
        # Messages received before the removal but processed after it were skipped, because there was no link.
        WebhookEvent.objects.requeue_unlinked(
            context.workspace, removal.conversation.conversation_id, removal.linked_at
        )
        deliver_since(link, removal.unlinked_at - RECENT_EVENTS)
    return LinkResult(ticket=removal.ticket, is_new=is_new, is_paused=not link.sync_on, copied=restored)
