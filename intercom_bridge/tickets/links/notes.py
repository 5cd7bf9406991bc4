"""Notes in a conversation that tell the other teammates that a ticket was linked, unlinked or moved."""

import datetime as dt

from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.models import Conversation, LinkRemoval, OutgoingMessage, Ticket
from intercom_bridge.tickets.context import PanelContext

# The note about an unlinked ticket waits this long. If the teammate undoes the click meanwhile, no note is posted.
UNDO_SECONDS = 60


def add_note(
    context: PanelContext,
    conversation: Conversation,
    template: str,
    ticket: Ticket,
    *,
    due_at: dt.datetime | None = None,
    **names: str,
) -> OutgoingMessage | None:
    """Queue a note that a worker posts in the name of the current teammate: now, or at `due_at`.

    `template` is the English text, marked for translation. Its placeholders are {teammate}, {ticket} and those in
    `names`. Return None if Intercom did not name the teammate.
    """
    admin = context.request.admin
    if not admin.id:
        return None
    with translation.override(context.workspace.language):
        text = format_html(
            _(template),
            teammate=admin.name or _("A teammate"),
            ticket=format_html(
                '<a href="{}">{}</a>',
                context.itop.backoffice_url(ticket.ticket_class, ticket.object_id),
                ticket.ref,
            ),
            **names,
        )
    return OutgoingMessage.objects.create(
        conversation=conversation,
        admin_id=admin.id,
        is_note=True,
        body=format_html("<p>{}</p>", text),
        due_at=due_at or timezone.now(),
    )


def withdraw_note(conversation: Conversation, ticket: Ticket) -> bool:
    """Delete the note about the last unlinking of the ticket, unless the note is due. Return whether it was deleted.

    A note that is due is kept, because it may be on its way to Intercom.
    """
    removal = LinkRemoval.objects.filter(conversation=conversation, ticket=ticket).order_by("-pk").first()
    if removal is None or removal.note_id is None:
        return False
    due_at = note_due_at(removal)
    if due_at <= timezone.now():
        return False
    # The filter by `due_at` excludes a note that a worker is posting, because the worker has changed its due time.
    unposted = OutgoingMessage.objects.waiting().filter(pk=removal.note_id, due_at=due_at)
    deleted_count, _by_model = unposted.delete()
    return bool(deleted_count)


def note_due_at(removal: LinkRemoval) -> dt.datetime:
    return removal.unlinked_at + dt.timedelta(seconds=UNDO_SECONDS)
