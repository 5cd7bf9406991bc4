"""The admin of files in both directions."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from intercom_bridge.models import FileToIntercom, FileToItop
from intercom_bridge.models.file_to_itop import FileToItopQuerySet
from intercom_bridge.models.reason import ReasonCode

from .display import NOTHING, attempts_table, datetime_column, intercom_link, itop_link, unix_time
from .filters import ReasonFilter
from .masking import mask
from .records import WORKSPACE_FILTER, ConversationRecordAdmin
from .row_actions import RetriableAdmin, RowAction
from .search import SearchResult

ERASED = "(erased)"


class FileAdmin(ConversationRecordAdmin):
    """What both directions have in common."""

    @admin.display(description="file", ordering="name")
    def file_name(self, row: Any) -> str:
        """Return the name, masked for those who may not read messages."""
        if row.cleaned_at is not None:
            return ERASED
        return (row.name if self.may_read else mask(row.name)) or NOTHING

    @admin.display(description="size", ordering="size")
    def file_size(self, row: Any) -> str:
        return str(filesizeformat(row.size)) if row.size else NOTHING


@admin.register(FileToItop)
class FileToItopAdmin(RetriableAdmin, FileAdmin):
    """One row per file of a message and linked ticket."""

    created = datetime_column("created_at", "created")
    list_display = ("created", "file_name", "file_size", "state", "reason_text", "ticket")
    actions = ("retry", "skip")
    list_filter = ("state", ReasonFilter, "is_inline", "created_at", WORKSPACE_FILTER)
    linked_lookups = ("ticket__id__exact", "conversation__id__exact", "part_id__exact")
    list_select_related = ("ticket",)
    list_defer = ("attempt_log", "url")
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a message ID."
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "in_itop", "conversation", "in_intercom", "workspace")}),
        (
            "File",
            {
                "fields": (
                    "file_name",
                    "content_type",
                    "file_size",
                    "is_inline",
                    "is_private",
                    "part_id",
                    "sent_at",
                )
            },
        ),
        (
            "Status",
            {
                "fields": (
                    "state",
                    "reason_text",
                    "attempts",
                    "due_at",
                    "created_at",
                    "copied_at",
                    "attachment_id",
                    "idempotency_key",
                )
            },
        ),
        ("Attempts", {"fields": ("attempt_history",)}),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return super().search_condition(found) | Q(part_id=found.text)

    @admin.display(description="sent in Intercom")
    def sent_at(self, row: FileToItop) -> str:
        return unix_time(row.part_created_at)

    @admin.display(description="attempts")
    def attempt_history(self, row: FileToItop) -> str:
        return attempts_table(row, with_texts=self.may_read)

    def applicable_actions(self, row: Any) -> tuple[str, ...]:
        if row.state == FileToItop.State.FAILED:
            return ("skip",) if row.cleaned_at else ("retry", "skip")
        return ("skip",) if row.state == FileToItop.State.WAITING and not row.is_redacted else ()

    @admin.action(description="Skip", permissions=["act"])
    def skip(self, request: HttpRequest, queryset: QuerySet[FileToItop]) -> None:
        """Skip files that are not in iTop."""
        username = request.user.get_username()
        action = RowAction(
            eligible=lambda rows: FileToItopQuerySet.unfinished(rows).filter(is_redacted=False),
            change=lambda rows: FileToItopQuerySet.skip(rows, ReasonCode.SKIPPED_BY_ADMIN, username),
            history="Skipped.",
            done="skipped.",
            refused="only waiting or failed files can be skipped.",
        )
        self.run_action(request, queryset, action)


@admin.register(FileToIntercom)
class FileToIntercomAdmin(FileAdmin):
    """One row per file that a person added in iTop and conversation. Its message is retried on the message's page."""

    created = datetime_column("created_at", "created")
    list_display = ("created", "file_name", "file_size", "source", "state", "reason_text", "outcome")
    list_filter = ("state", ReasonFilter, "source", "created_at")
    linked_lookups = ("event__id__exact", "message__id__exact")
    list_select_related = ("event__ticket", "event__conversation__workspace", "message")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("event_link", "ticket", "in_intercom", "in_itop")}),
        ("File", {"fields": ("file_name", "content_type", "file_size", "source", "object_id")}),
        ("Status", {"fields": ("state", "reason_text", "outcome", "created_at")}),
    )

    def conversation_of(self, row: Any) -> Any:
        return row.event.conversation

    def search_condition(self, found: SearchResult) -> Q:
        return Q(event__ticket__in=found.tickets) | Q(event__conversation__in=found.conversations)

    @admin.display(description="change in iTop")
    def event_link(self, row: FileToIntercom) -> str:
        return self.record_link(row.event)

    @admin.display(description="ticket")
    def ticket(self, row: FileToIntercom) -> str:
        return self.record_link(row.event.ticket)

    @admin.display(description="in iTop")
    def in_itop(self, row: FileToIntercom) -> str:
        return itop_link(row.event.ticket)

    @admin.display(description="in Intercom")
    def in_intercom(self, row: FileToIntercom) -> str:
        return intercom_link(row.event.conversation)

    @admin.display(description="message", ordering="message__state")
    def outcome(self, row: FileToIntercom) -> str:
        if row.message is None:
            return NOTHING
        kind = "note" if row.message.is_note else "reply"
        return self.record_link(row.message, f"{kind} {row.message.get_state_display()}")
