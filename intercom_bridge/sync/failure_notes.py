"""Post notes about permanent failures in the conversation, so that teammates see them without opening the panel."""

from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from intercom_bridge.models import Conversation, Delivery, OutgoingMessage, Ticket, TicketCreation
from intercom_bridge.models.reason import ReasonCode, reason_label

# The labels of these reasons are sufficient. iTop's own text would only be a database error.
_SELF_EXPLANATORY = (
    ReasonCode.LOG_FULL,
    ReasonCode.TICKET_NOT_FOUND,
    ReasonCode.REQUEST_TOO_LARGE,
    ReasonCode.UNSUPPORTED_CHARACTER,
)


def note_failed_delivery(delivery: Delivery) -> None:
    """Queue the note about a message that was not copied, unless one exists for this ticket and reason."""
    conversation, ticket, code = delivery.conversation, delivery.ticket, delivery.reason_code
    with translation.override(conversation.workspace.language):
        problem = format_html(
            _("A message could not be copied to ticket {ticket}. {reason}"),
            ticket=ticket_link(ticket),
            reason=reason_label(code, "" if code in _SELF_EXPLANATORY else delivery.reason_detail),
        )
        to_do = [_("The message is safe in this conversation."), _what_to_do(code)]
        once = _(
            "If more messages fail for this reason, no further note is posted. The panel counts them under Sync status."
        )
        queue_note(conversation, f"delivery {ticket.pk} {code}", problem, " ".join(filter(None, to_do)), once)


def note_failed_creation(creation: TicketCreation) -> None:
    """Queue the note about a ticket whose creation failed after the panel had responded."""
    conversation = creation.conversation
    with translation.override(conversation.workspace.language):
        problem = format_html(
            _("The ticket that {teammate} submitted could not be created. {reason}"),
            teammate=creation.admin_name or _("A teammate"),
            reason=reason_label(creation.reason_code, creation.reason_detail),
        )
        to_do = _(
            "The conversation is safe, and the input in the form is stored. Open the panel to correct the form "
            "and submit it again."
        )
        queue_note(conversation, f"creation {creation.pk}", problem, to_do)


def ticket_link(ticket: Ticket) -> SafeString:
    """Return a link to the ticket in iTop's back office as HTML."""
    return format_html(
        '<a href="{}">{}</a>', ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id), ticket.ref
    )


def _what_to_do(code: str) -> str:
    if code in (ReasonCode.LOG_FULL, ReasonCode.TICKET_NOT_FOUND):
        # The reason's label already says what to do.
        return ""
    if code in (ReasonCode.REQUEST_TOO_LARGE, ReasonCode.UNSUPPORTED_CHARACTER):
        return _("iTop would reject it again. Copy the text to the ticket by hand.")
    return _("When the problem is solved, open Sync status in the panel and click “Try again”.")


def queue_note(conversation: Conversation, once_key: str, *paragraphs: str) -> None:
    """Queue a note, unless the conversation has one with this key or the workspace wants none about problems."""
    workspace = conversation.workspace
    if not workspace.announce_failures or not workspace.access_token:
        return
    OutgoingMessage.objects.get_or_create(
        conversation=conversation,
        once_key=once_key,
        defaults={
            "is_note": True,
            "body": format_html_join("", "<p>{}</p>", ((text,) for text in paragraphs)),
        },
    )
