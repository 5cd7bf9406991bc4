"""List filters with fixed choices. Django's own filter would read the distinct values from the whole table."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Log
from intercom_bridge.models.reason import ReasonCode as Reason
from intercom_bridge.sync.intake import FOLLOWED_TOPICS

OTHER_TOPICS = "other"

_SKIPPED = (
    Reason.WRITTEN_BEFORE_LINK,
    Reason.OWN_MESSAGE,
    Reason.BOT_MESSAGE,
    Reason.REDACTED,
    Reason.EMPTY_MESSAGE,
    Reason.UNKNOWN_PART_TYPE,
    Reason.SYNC_PAUSED,
)
# The reasons that can occur in each list, by the model's name in lower case. Reasons for a failure come first, then
# reasons for waiting, then remarks.
REASONS = {
    "filetoitop": (
        Reason.FILE_TOO_LARGE,
        Reason.FILE_TOO_LARGE_FOR_ITOP,
        Reason.FILE_TYPE_FORBIDDEN,
        Reason.FILE_EMPTY,
        Reason.FILE_QUARANTINED,
        Reason.FILE_HOST_REFUSED,
        Reason.FILE_ADDRESS_REFUSED,
        Reason.FILE_GONE,
        Reason.FILE_NOT_DOWNLOADED,
        Reason.TICKET_NOT_FOUND,
        Reason.REJECTED,
        Reason.GAVE_UP,
        Reason.TOO_MANY_ATTEMPTS,
        Reason.ITOP_UNREACHABLE,
        Reason.ITOP_NO_RESPONSE,
        Reason.ITOP_UNAVAILABLE,
        Reason.ITOP_NOT_ALLOWED,
        Reason.FILES_OFF,
        Reason.REDACTED,
        Reason.FILE_REMOVED,
        Reason.FILE_KEPT,
        Reason.UNLINKED,
        Reason.SKIPPED_BY_ADMIN,
    ),
    "filetointercom": (
        Reason.FILE_TOO_LARGE_FOR_INTERCOM,
        Reason.FILE_NOT_READABLE,
        Reason.FILE_EMPTY,
        Reason.NOT_REPORTED,
        Reason.UNLINKED,
    ),
    "delivery": (
        Reason.TICKET_NOT_FOUND,
        Reason.LOG_FULL,
        Reason.REJECTED,
        Reason.INVALID_VALUE,
        Reason.MESSAGE_SPECIFIC,
        Reason.GAVE_UP,
        Reason.ITOP_UNREACHABLE,
        Reason.ITOP_NO_RESPONSE,
        Reason.ITOP_UNAVAILABLE,
        Reason.ITOP_UNKNOWN_RESPONSE,
        Reason.ITOP_LOGIN_REFUSED,
        Reason.ITOP_NOT_ALLOWED,
        Reason.OVERWRITTEN,
        Reason.ENTRY_MISSING,
        Reason.CONCURRENT_SAVE,
        Reason.ALREADY_WRITTEN,
        Reason.TICKET_CLOSED,
        Reason.TICKET_REOPENED,
        Reason.TICKET_NOT_REOPENED,
        Reason.COPIED_AT_CREATION,
        *_SKIPPED,
        Reason.PAUSE_SKIPPED,
        Reason.UNLINKED,
        Reason.SKIPPED_BY_ADMIN,
    ),
    "webhookevent": (
        Reason.INTERNAL_ERROR,
        Reason.UNREADABLE,
        Reason.OWN_POST_PENDING,
        Reason.NOT_LINKED,
        Reason.DUPLICATE,
        Reason.WORKSPACE_DISABLED,
        Reason.TOPIC_IGNORED,
        Reason.NO_CONVERSATION,
        Reason.NO_MESSAGE,
        *_SKIPPED,
        Reason.PING,
    ),
    "ticketcreation": (
        Reason.REJECTED,
        Reason.INVALID_VALUE,
        Reason.ITOP_UNREACHABLE,
        Reason.ITOP_NO_RESPONSE,
        Reason.ITOP_UNAVAILABLE,
        Reason.ITOP_UNKNOWN_RESPONSE,
        Reason.ITOP_LOGIN_REFUSED,
        Reason.ITOP_NOT_ALLOWED,
    ),
    "ticketevent": (
        Reason.NOT_REPORTED,
        Reason.REPORTED_WITH_PARENT,
        Reason.POSTING_STOPPED,
        Reason.CONVERSATION_DELETED,
        Reason.CONVERSATION_MERGED,
        Reason.UNLINKED,
        Reason.SYNC_PAUSED,
        Reason.WORKSPACE_DISABLED,
        Reason.ERASED,
    ),
    "outgoingmessage": (
        Reason.POSTING_STOPPED,
        Reason.CONVERSATION_MERGED,
        Reason.INTERCOM_REJECTED,
        Reason.CONVERSATION_DELETED,
        Reason.NO_ACCESS_TOKEN,
        Reason.TOO_MANY_ATTEMPTS,
        Reason.INTERCOM_UNREACHABLE,
        Reason.INTERCOM_NO_RESPONSE,
        Reason.INTERCOM_UNAVAILABLE,
        Reason.INTERCOM_RATE_LIMITED,
        Reason.INTERCOM_TOKEN_REFUSED,
    ),
}


class ReasonFilter(admin.SimpleListFilter):
    """Filter by reason code. The filter offers the codes in REASONS, but the address may contain any code."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(code.value, str(code.label)) for code in REASONS[model_admin.opts.model_name]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(reason_code=self.value()) if self.value() else queryset


class TopicFilter(admin.SimpleListFilter):
    title = "topic"
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(topic, topic) for topic in (*FOLLOWED_TOPICS, "ping")] + [(OTHER_TOPICS, "other topics")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == OTHER_TOPICS:
            # The bridge skips events of other topics with this reason. The column of the reason has an index.
            return queryset.filter(reason_code=Reason.TOPIC_IGNORED)
        return queryset.filter(topic=self.value()) if self.value() else queryset


class LogFilter(admin.SimpleListFilter):
    """Filter by the log that a message goes to."""

    title = "log"
    parameter_name = "log"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return Log.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(log=self.value()) if self.value() else queryset
