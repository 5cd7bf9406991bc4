"""Why a row waits, was skipped or failed: the one list of codes and their labels."""

from django.db import models
from django.utils.translation import gettext_lazy as _

MAX_LABEL_DETAIL = 300


class ReasonCode(models.TextChoices):
    """The possible values of every `reason_code` column and of `RemoteError.code`.

    Rows store the code, plus `reason_detail`: the remote system's own words, a person's name or a number.
    Queries, filters, metric labels and decisions read the code.
    """

    NONE = "", ""

    # Skipped: the message is not meant for the ticket
    NOT_LINKED = "not_linked", _("The conversation is not linked to a ticket.")
    WORKSPACE_DISABLED = "workspace_disabled", _("The workspace is disabled.")
    TOPIC_IGNORED = "topic_ignored", _("The bridge does not use this webhook topic.")
    UNREADABLE = "unreadable", _("The notification could not be parsed.")
    NO_CONVERSATION = "no_conversation", _("The notification contains no conversation.")
    NO_MERGED_CONTACT = "no_merged_contact", _("The notification does not name the merged contact.")
    NO_MESSAGE = "no_message", _("The notification contains no message.")
    EMPTY_MESSAGE = "empty_message", _("The message has no text and no files.")
    DUPLICATE = "duplicate", _("All messages in the notification were received before.")
    WRITTEN_BEFORE_LINK = "written_before_link", _("The message is older than the link.")
    OWN_MESSAGE = "own_message", _("The bridge posted this message itself.")
    BOT_MESSAGE = "bot_message", _("A bot wrote this message.")
    REDACTED = "redacted", _("The message was redacted in Intercom.")
    UNKNOWN_PART_TYPE = "unknown_part_type", _("The bridge does not copy this type of conversation part.")
    SYNC_PAUSED = "sync_paused", _("The sync was paused.")
    PAUSE_SKIPPED = "pause_skipped", _("The sync was paused, and a teammate chose not to copy the message.")
    UNLINKED = "unlinked", _("The ticket was unlinked from the conversation.")
    ERASED = "erased", _("The contact's data was erased.")
    SKIPPED_BY_ADMIN = "skipped_by_admin", _("An admin skipped this message.")

    # Handled or written, with a remark
    PING = "ping", _("Intercom tested the webhook address.")
    COPIED_AT_CREATION = "copied_at_creation", _("Copied when the ticket was created.")
    ALREADY_WRITTEN = "already_written", _("An earlier attempt had already written the message.")
    TICKET_CLOSED = "ticket_closed", _("The ticket was closed. The message was written anyway.")
    TICKET_REOPENED = "ticket_reopened", _("The ticket was resolved. The customer's message reopened it.")
    TICKET_NOT_REOPENED = (
        "ticket_not_reopened",
        _("The ticket is resolved and could not be reopened. The message was written anyway."),
    )
    ENTRY_MISSING = (
        "entry_missing",
        _("The entry is no longer in the ticket's log. Someone may have removed it."),
    )
    CONCURRENT_SAVE = (
        "concurrent_save",
        _("Someone saved the ticket at the same time as the bridge, and iTop lost that person's log entry."),
    )
    OVERWRITTEN = (
        "overwritten",
        _("Someone's save removed the entry from the log. The bridge writes it again."),
    )

    # Waiting
    OWN_POST_PENDING = (
        "own_post_pending",
        _("Waiting to find out whether the bridge posted this message itself."),
    )

    # Failed because of this object
    INTERNAL_ERROR = "internal_error", _("The bridge failed with an internal error.")
    TICKET_NOT_FOUND = (
        "ticket_not_found",
        _("The ticket no longer exists in iTop. Unlink it, then link or create another ticket."),
    )
    LOG_FULL = (
        "log_full",
        _("The ticket's log is full: iTop keeps about 300 entries per log. Link or create another ticket."),
    )
    UNSUPPORTED_CHARACTER = (
        "unsupported_character",
        _("iTop's database does not accept a character of the message, such as an emoji."),
    )
    REQUEST_TOO_LARGE = (
        "request_too_large",
        _("The message is larger than iTop's web server or database accepts."),
    )
    REJECTED = "rejected", _("iTop rejected the request.")
    INVALID_VALUE = "invalid_value", _("iTop rejected a value.")
    MESSAGE_SPECIFIC = (
        "message_specific",
        _("iTop failed on this message several times but worked otherwise."),
    )
    GAVE_UP = "gave_up", _("The bridge gave up after the maximum retry time.")
    TOO_MANY_ATTEMPTS = "too_many_attempts", _("The bridge gave up after the maximum number of attempts.")

    # The iTop instance
    ITOP_UNREACHABLE = "itop_unreachable", _("The bridge cannot connect to iTop.")
    ITOP_NO_RESPONSE = "itop_no_response", _("iTop did not respond in time.")
    ITOP_UNAVAILABLE = "itop_unavailable", _("iTop is not working correctly.")
    ITOP_UNKNOWN_RESPONSE = (
        "itop_unknown_response",
        _("iTop, or a proxy in front of it, sent a response that the bridge does not know."),
    )
    ITOP_LOGIN_REFUSED = "itop_login_refused", _("iTop refused the bridge's account.")
    ITOP_NOT_ALLOWED = (
        "itop_not_allowed",
        _("The bridge's iTop account lacks permissions, or iTop is in read-only mode."),
    )
    ITOP_NOT_ADMINISTRATOR = (
        "itop_not_administrator",
        _("Only an Administrator account can set a log entry's author."),
    )

    TICKETS_NOT_VISIBLE = (
        "tickets_not_visible",
        _(
            "iTop does not return several linked tickets. They were deleted, or the bridge's account has lost access "
            "to them: check its profiles and its allowed organizations."
        ),
    )

    # Intercom
    INTERCOM_UNREACHABLE = "intercom_unreachable", _("The bridge cannot connect to Intercom.")
    INTERCOM_NO_RESPONSE = "intercom_no_response", _("Intercom did not respond in time.")
    INTERCOM_UNAVAILABLE = "intercom_unavailable", _("Intercom is not working correctly.")
    INTERCOM_RATE_LIMITED = "intercom_rate_limited", _("Intercom's rate limit was reached.")
    INTERCOM_TOKEN_REFUSED = "intercom_token_refused", _("Intercom refused the access token.")
    INTERCOM_REJECTED = "intercom_rejected", _("Intercom rejected the request.")
    CONVERSATION_DELETED = "conversation_deleted", _("The conversation was deleted in Intercom.")
    NO_ACCESS_TOKEN = "no_access_token", _("The workspace has no access token.")

    # Files. Each concerns one file, never the instance.
    FILES_OFF = "files_off", _("The workspace does not copy files.")
    FILE_OF_NOTE = (
        "file_of_note",
        _("Files of internal notes are not copied: customers see all files of a ticket in iTop's portal."),
    )
    FILE_TOO_LARGE = "file_too_large", _("The file is larger than the workspace's limit.")
    FILE_TICKET_FULL = (
        "file_ticket_full",
        _(
            "The ticket's files have reached the workspace's size limit. With more files, iTop would become slow for "
            "this ticket."
        ),
    )
    FILE_TOO_LARGE_FOR_ITOP = (
        "file_too_large_for_itop",
        _("The file is larger than iTop's web server, PHP or database accepts."),
    )
    FILE_TOO_LARGE_FOR_INTERCOM = (
        "file_too_large_for_intercom",
        _("The file is too large for Intercom. The message contains a link to it in iTop."),
    )
    FILE_EMPTY = "file_empty", _("The file is empty.")
    FILE_QUARANTINED = (
        "file_quarantined",
        _("Intercom does not return the file. It may be in quarantine because of a virus."),
    )
    FILE_TYPE_FORBIDDEN = "file_type_forbidden", _("The workspace does not copy files of this type.")
    FILE_HOST_REFUSED = (
        "file_host_refused",
        _("The file's address is not one of Intercom's. An admin can add its host to the workspace."),
    )
    FILE_ADDRESS_REFUSED = (
        "file_address_refused",
        _(
            "The file's address is not allowed: it must begin with https and must not lead into a private network."
        ),
    )
    FILE_GONE = "file_gone", _("The file is no longer in the conversation.")
    FILE_NOT_DOWNLOADED = "file_not_downloaded", _("The file could not be downloaded from Intercom.")
    FILE_NOT_STORED = (
        "file_not_stored",
        _("The bridge could not store the file while copying it: its disk is full or cannot be written to."),
    )
    FILE_NOT_READABLE = "file_not_readable", _("iTop did not return the file.")
    FILE_REMOVED = (
        "file_removed",
        _("The message was redacted in Intercom. The file's copy in iTop was deleted."),
    )
    FILE_KEPT = (
        "file_kept",
        _("The message was redacted in Intercom. The workspace keeps the file's copy in iTop."),
    )

    # Changes in iTop that are not reported
    NOT_REPORTED = "not_reported", _("The workspace's rules do not report this change.")
    REPORTED_WITH_PARENT = (
        "reported_with_parent",
        _("The same entry was already reported with the parent ticket."),
    )
    POSTING_STOPPED = (
        "posting_stopped",
        _(
            "The bridge stopped posting in this conversation, because it had posted too much in a few minutes."
        ),
    )
    SAME_CUSTOMER = "same_customer", _("The same customer gets the message in a newer conversation.")
    CONVERSATION_MERGED = "conversation_merged", _("The conversation was merged into another one.")

    # This service
    DATA_MODEL_REJECTED = "data_model_rejected", _("The file is not a data model that can be imported.")
    SECRET_UNREADABLE = (
        "secret_unreadable",
        _(
            "A stored secret cannot be decrypted. Restore its key in FIELD_ENCRYPTION_KEYS, or enter the secret again."
        ),
    )


def reason_label(code: str, detail: str = "") -> str:
    """Return the reason in the active language, followed by the detail in parentheses if there is one."""
    try:
        label = str(ReasonCode(code).label)
    except ValueError:
        # This version of the bridge does not have the code, but the version that stored it had.
        label = code
    if not label:
        return detail
    return f"{label} ({detail[:MAX_LABEL_DETAIL]})" if detail else label
