"""Notes that say in the conversation what a teammate did with a ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.models import Conversation, Posting, Ticket

if TYPE_CHECKING:
    from .desk import Desk


def leave_note(desk: Desk, conversation: Conversation, sentence: str, ticket: Ticket, **names: str) -> None:
    """`sentence` is English, marked for translation, with {teammate}, {ticket} and the `names` in it."""
    if not desk.request.admin.id:
        return
    with translation.override(desk.workspace.language):
        words = format_html(
            _(sentence),
            teammate=desk.request.admin.name or _("A teammate"),
            ticket=format_html(
                '<a href="{}">{}</a>',
                desk.itop.backoffice_url(ticket.ticket_class, ticket.object_id),
                ticket.ref,
            ),
            **names,
        )
    Posting.objects.create(
        conversation=conversation,
        admin_id=desk.request.admin.id,
        is_note=True,
        body=format_html("<p>{}</p>", words),
    )
