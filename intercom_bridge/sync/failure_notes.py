"""Post notes about permanent failures in the conversation, so that teammates see them without opening the panel."""

from collections.abc import Sequence
from typing import Final

from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.summary import HOPELESS
from intercom_bridge.models import Conversation, Delivery, FileToItop, OutgoingMessage, Ticket, TicketCreation
from intercom_bridge.models.reason import ReasonCode, reason_label

# The labels of these reasons are sufficient. iTop's own text would only be a database error.
_SELF_EXPLANATORY = (
    ReasonCode.LOG_FULL,
    ReasonCode.TICKET_NOT_FOUND,
    ReasonCode.REQUEST_TOO_LARGE,
    ReasonCode.UNSUPPORTED_CHARACTER,
)

# As long as no setting is changed, these are refused again.
_REFUSED_FILES: Final = (
    ReasonCode.FILE_TOO_LARGE,
    ReasonCode.FILE_TOO_LARGE_FOR_ITOP,
    ReasonCode.FILE_TICKET_FULL,
    ReasonCode.FILE_TYPE_FORBIDDEN,
)
# iTop's or Intercom's own words would only be an HTTP status or a database error.
_SELF_EXPLANATORY_FILES: Final = (ReasonCode.FILE_TOO_LARGE_FOR_ITOP, ReasonCode.FILE_QUARANTINED)
# Of more failed files, the note names the first ones.
MAX_NAMED_FILES: Final = 10


def note_failed_delivery(delivery: Delivery) -> None:
    """Queue the note about a message that was not copied, unless one exists for this ticket and reason."""
    conversation, ticket, code = delivery.conversation, delivery.ticket, delivery.reason_code
    with translation.override(conversation.workspace.language):
        problem = format_html(
            _("A message could not be copied to ticket {ticket}. {reason}"),
            ticket=ticket_link(ticket),
            reason=reason_label(code, "" if code in _SELF_EXPLANATORY else delivery.reason_detail),
        )
        to_do = f"{_('The message is safe in this conversation.')} {_what_to_do(code)}".strip()
        once = _(
            "If more messages fail for this reason, no further note is posted. The panel counts them under Sync status."
        )
        queue_note(conversation, f"delivery {ticket.pk} {code}", problem, to_do, once)


def note_failed_files(file: FileToItop) -> None:
    """Queue one note about the files of a message that were not copied, once each of them has been tried.

    Do nothing if no file has failed, or if a note about this message and ticket exists.
    """
    if file.is_redacted:
        return
    of_message = FileToItop.objects.filter(
        ticket=file.ticket_id,
        conversation=file.conversation_id,
        part_kind=file.part_kind,
        part_id=file.part_id,
        is_redacted=False,
    )
    rows = list(of_message.order_by("position"))
    is_complete = not any(row.state == FileToItop.State.WAITING and not row.reason_code for row in rows)
    failed = [
        row
        for row in rows
        if row.state == FileToItop.State.FAILED and row.reason_code not in HOPELESS and row.cleaned_at is None
    ]
    if not failed or not is_complete:
        return
    conversation, ticket = file.conversation, file.ticket
    with translation.override(conversation.workspace.language):
        text = ngettext(
            "A file of a message could not be copied to ticket {ticket}. {files}",
            "{count} files of a message could not be copied to ticket {ticket}. {files}",
            len(failed),
        )
        problem = format_html(
            text, ticket=ticket_link(ticket), count=len(failed), files=_names_and_reasons(failed)
        )
        once_key = f"failed files {ticket.pk} {file.part_kind} {file.part_id}"
        queue_note(conversation, once_key, problem, _what_to_do_about_files(failed))


def _names_and_reasons(files: Sequence[FileToItop]) -> SafeString:
    named = format_html_join(
        " ",
        "<b>{}</b>: {}",
        (
            (
                row.name or row.content_type or _("without a name"),
                reason_label(
                    row.reason_code, "" if row.reason_code in _SELF_EXPLANATORY_FILES else row.reason_detail
                ),
            )
            for row in files[:MAX_NAMED_FILES]
        ),
    )
    return format_html("{} …", named) if len(files) > MAX_NAMED_FILES else named


def _what_to_do_about_files(files: Sequence[FileToItop]) -> str:
    codes = [row.reason_code for row in files]
    kept = [code for code in codes if code != ReasonCode.FILE_QUARANTINED]
    refused = [code for code in kept if code in _REFUSED_FILES]
    texts = []
    if kept:
        texts.append(
            ngettext("It is still in this conversation.", "They are still in this conversation.", len(kept))
            if len(kept) == len(codes)
            else _("The others are still in this conversation.")
        )
    if refused:
        texts.append(
            _("What the ticket needs can be downloaded here and attached in iTop, or sent in another way.")
        )
    if len(kept) < len(codes):
        texts.append(
            _("If you need a file that Intercom does not return, ask the customer to send it again.")
        )
    if len(refused) < len(kept):
        texts.append(_("When the problem is solved, open Sync status in the panel and click “Try again”."))
    return " ".join(texts)


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
        return _("iTop would reject the message again. Copy the text to the ticket by hand.")
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
