"""Notes in the conversation that say what a teammate did with a ticket."""

from django.utils import translation
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.models import Conversation, OutgoingMessage, Ticket
from intercom_bridge.tickets.context import PanelContext


def add_note(
    context: PanelContext, conversation: Conversation, template: str, ticket: Ticket, **names: str
) -> None:
    """Post a note as the current teammate.

    `template` is English, marked for translation, with {teammate}, {ticket} and the `names` as placeholders.
    """
    admin = context.request.admin
    if not admin.id:
        return
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
    OutgoingMessage.objects.create(
        conversation=conversation, admin_id=admin.id, is_note=True, body=format_html("<p>{}</p>", text)
    )
