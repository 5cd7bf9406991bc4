"""Notes in the conversation about a teammate's actions on tickets."""

import datetime as dt

from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.models import Conversation, LinkRemoval, OutgoingMessage, Ticket
from intercom_bridge.tickets.context import PanelContext

# Undoing is most likely within this time.
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
    """Store a note that a worker posts as the current teammate, at once or at `due_at`.

    Return None if Intercom did not name the teammate.


    `template` is English, marked for translation, with {teammate}, {ticket} and the `names` as placeholders.
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
    """Delete the note that says that the ticket was unlinked, if no worker has taken it yet. Return whether it was.

    A note that is due may be on its way to Intercom. A worker that takes one changes its due time.
    """
    removal = LinkRemoval.objects.filter(conversation=conversation, ticket=ticket).order_by("-pk").first()
    if removal is None or removal.note_id is None:
        return False
    due_at = undo_until(removal)
    if due_at <= timezone.now():
        return False
    notes = OutgoingMessage.objects.waiting().filter(pk=removal.note_id, due_at=due_at)
    deleted, _rows = notes.delete()
    return bool(deleted)


def undo_until(removal: LinkRemoval) -> dt.datetime:
    """Return when the note about a removal is posted."""
    return removal.unlinked_at + dt.timedelta(seconds=UNDO_SECONDS)
