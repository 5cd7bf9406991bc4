"""Post notes about permanent failures in the conversation, so that teammates see them without opening the panel."""

from collections.abc import Sequence
from typing import Final

from django.db.models import Q
from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.summary import HOPELESS
from intercom_bridge.models import (
    Conversation,
    Delivery,
    EventKind,
    FileToItop,
    OutgoingMessage,
    Ticket,
    TicketCreation,
)
from intercom_bridge.models.reason import ReasonCode, reason_label

# For these reasons, the note leaves out iTop's own text: it would only be a database error, and the label is enough.
_SELF_EXPLANATORY = (
    ReasonCode.LOG_FULL,
    ReasonCode.TICKET_NOT_FOUND,
    ReasonCode.REQUEST_TOO_LARGE,
    ReasonCode.UNSUPPORTED_CHARACTER,
)

# If a file has failed for one of these reasons, a retry fails again unless an admin changes a setting.
_REFUSED_FILES: Final = (
    ReasonCode.FILE_TOO_LARGE,
    ReasonCode.FILE_TOO_LARGE_FOR_ITOP,
    ReasonCode.FILE_TICKET_FULL,
    ReasonCode.FILE_TYPE_FORBIDDEN,
)
# For these reasons, the note also leaves out the detail: it would only be an HTTP status or a database error.
_SELF_EXPLANATORY_FILES: Final = (ReasonCode.FILE_TOO_LARGE_FOR_ITOP, ReasonCode.FILE_QUARANTINED)
# If more files failed, the note names only the first ones.
MAX_NAMED_FILES: Final = 10


def note_failed_delivery(delivery: Delivery) -> None:
    """Queue a note about a message that was not copied, unless there is a note for this ticket and reason.

    If the ticket is gone, a note about its deletion is enough.
    """
    conversation, ticket, code = delivery.conversation, delivery.ticket, delivery.reason_code
    if code == ReasonCode.TICKET_NOT_FOUND and find_gone_note(conversation, ticket):
        return
    with translation.override(conversation.workspace.language):
        problem = format_html(
            _("A message could not be copied to ticket {ticket}. {reason}"),
            ticket=ticket_link(ticket),
            reason=reason_label(code, "" if code in _SELF_EXPLANATORY else delivery.reason_detail),
        )
        to_do = f"{_('The message is safe in this conversation.')} {_what_to_do(code)}".strip()
        no_more_notes = _(
            "If more messages fail for this reason, the bridge posts no further note. The panel counts them under "
            "Sync status."
        )
        queue_note(conversation, _delivery_key(ticket, code), problem, to_do, no_more_notes)


def find_gone_note(conversation: Conversation, ticket: Ticket) -> OutgoingMessage | None:
    """Return the note that has told the conversation that iTop no longer returns the ticket, None if there is none.

    It reports either the ticket's deletion or a message that could not be copied. A note from before the ticket was
    visible again does not count.
    """
    reports_deletion = Q(events__ticket=ticket, events__kind=EventKind.GONE)
    reports_message = Q(once_key=_delivery_key(ticket, ReasonCode.TICKET_NOT_FOUND))
    # Not `ticket.gone_at`, because the row may have changed since it was read.
    gone_at = Ticket.objects.filter(pk=ticket.pk).values("gone_at")
    notes = OutgoingMessage.objects.exclude(state=OutgoingMessage.State.FAILED)
    return notes.filter(
        reports_deletion | reports_message, conversation=conversation, created_at__gte=gone_at
    ).first()


def _delivery_key(ticket: Ticket, code: str) -> str:
    return f"delivery {ticket.pk} {code}"


def note_failed_files(file: FileToItop) -> None:
    """Queue one note about all files of a message that were not copied. `file` is one file of the message.

    Do nothing as long as a file has not been tried, if no file has failed, or if the note exists. Files that failed
    because the ticket is gone are left out: another note says that it is gone.
    """
    if file.is_redacted:
        return
    files_of_message = FileToItop.objects.filter(
        ticket=file.ticket_id,
        conversation=file.conversation_id,
        part_kind=file.part_kind,
        part_id=file.part_id,
        is_redacted=False,
    )
    files = list(files_of_message.order_by("position"))
    # A file that was tried without success has a reason.
    if any(other.state == FileToItop.State.WAITING and not other.reason_code for other in files):
        return
    failed = [
        other
        for other in files
        if other.state == FileToItop.State.FAILED
        and other.reason_code not in (*HOPELESS, ReasonCode.TICKET_NOT_FOUND)
        and other.cleaned_at is None
    ]
    if not failed:
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
    names_and_reasons = []
    for file in files[:MAX_NAMED_FILES]:
        name = file.name or file.content_type or _("without a name")
        detail = "" if file.reason_code in _SELF_EXPLANATORY_FILES else file.reason_detail
        names_and_reasons.append((name, reason_label(file.reason_code, detail)))
    text = format_html_join(" ", "<b>{}</b>: {}", names_and_reasons)
    return format_html("{} …", text) if len(files) > MAX_NAMED_FILES else text


def _what_to_do_about_files(files: Sequence[FileToItop]) -> str:
    codes = [file.reason_code for file in files]
    # Intercom holds a quarantined file back.
    in_conversation = [code for code in codes if code != ReasonCode.FILE_QUARANTINED]
    refused = [code for code in in_conversation if code in _REFUSED_FILES]
    has_quarantined = len(in_conversation) < len(codes)
    sentences = []
    if in_conversation and has_quarantined:
        sentences.append(_("The other files are still in this conversation."))
    elif in_conversation:
        sentences.append(
            ngettext(
                "The file is still in this conversation.",
                "The files are still in this conversation.",
                len(codes),
            )
        )
    if refused:
        sentences.append(
            _(
                "If the ticket needs a file, download it here and attach it in iTop, or send it in another way."
            )
        )
    if has_quarantined:
        sentences.append(
            _("If you need a file that Intercom does not return, ask the customer to send it again.")
        )
    if len(refused) < len(in_conversation):
        sentences.append(
            _("When the problem is solved, open Sync status in the panel and click “Try again”.")
        )
    return " ".join(sentences)


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
    """Queue a note with these paragraphs, unless the conversation already has a note with this key.

    Do nothing if the workspace has turned off notes about failures, or has no access token to post with.
    """
    workspace = conversation.workspace
    if not workspace.announce_failures or not workspace.access_token:
        return
    OutgoingMessage.objects.get_or_create(
        conversation=conversation,
        once_key=once_key,
        defaults={
            "is_note": True,
            "body": format_html_join("", "<p>{}</p>", ((paragraph,) for paragraph in paragraphs)),
        },
    )
