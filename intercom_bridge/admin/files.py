"""The admins of files: those copied to iTop, and those posted to Intercom."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from intercom_bridge.models import Conversation, FileToIntercom, FileToItop
from intercom_bridge.models.file_to_itop import FileToItopQuerySet
from intercom_bridge.models.reason import ReasonCode

from .base import ModelAdmin, section
from .display import itop_link, unix_time
from .filters import ReasonFilter
from .masking import mask
from .records import WORKSPACE_FILTER, ConversationRecordAdmin
from .row_actions import RetriableAdmin, RowAction
from .search import SearchResult

State = FileToItop.State
ERASED = "(erased)"


class FileColumns(ModelAdmin):
    """The columns that both kinds of files have."""

    @admin.display(description="name")
    def file_name(self, row: Any) -> str:
        """Return the name, hidden from those who may not read messages."""
        if row.cleaned_at is not None:
            return ERASED
        return row.name if self.may_read or not row.name else mask(row.name)

    @admin.display(description="size", ordering="size")
    def file_size(self, row: Any) -> str:
        return filesizeformat(row.size) if row.size else "-"


@admin.register(FileToItop)
class FileToItopAdmin(FileColumns, RetriableAdmin, ConversationRecordAdmin):
    """Files can be retried and skipped."""

    list_display = ("created", "state", "reason_text", "file_name", "file_size", "attempts", "ticket")
    actions = ("retry", "skip")
    list_filter = ("state", ReasonFilter, "is_inline", "created_at", WORKSPACE_FILTER)
    linked_lookups = ("ticket__id__exact", "conversation__id__exact", "cleaned_at__isnull")
    list_select_related = ("ticket",)
    list_defer = ("url", "author", "attempt_log")
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a message ID."
    fieldsets = (
        section(None, ("ticket", "in_itop", "conversation", "in_intercom", "workspace")),
        section("File", ("file_name", "content_type", "file_size", "is_inline")),
        section("Message", ("part_kind", "part_id", "sent_at")),
        section(
            "Status",
            ("state", "reason_text", "attempts", "due_at", "created_at", "copied_at", "attachment_id"),
        ),
        section("Attempts", ("attempt_history",)),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return super().search_condition(found) | Q(part_id=found.text)

    @admin.display(description="sent in Intercom")
    def sent_at(self, row: FileToItop) -> str:
        return unix_time(row.part_created_at)

    def applicable_actions(self, row: Any) -> tuple[str, ...]:
        if row.is_redacted:
            return super().applicable_actions(row)
        if row.state == State.FAILED:
            return ("skip",) if row.cleaned_at else ("retry", "skip")
        return ("skip",) if row.state == State.WAITING else ()

    @admin.action(description="Skip", permissions=["act"])
    def skip(self, request: HttpRequest, queryset: QuerySet[FileToItop]) -> None:
        """Skip waiting and failed files. Copies of redacted files are deleted nevertheless."""
        username = request.user.get_username()
        action = RowAction(
            eligible=lambda rows: rows.unfinished().filter(is_redacted=False),
            change=lambda rows: FileToItopQuerySet.skip(rows, ReasonCode.SKIPPED_BY_ADMIN, username),
            history="Skipped.",
            done="skipped.",
            refused="only waiting or failed files can be skipped, and none whose copy is to be deleted.",
        )
        self.run_action(request, queryset, action)


@admin.register(FileToIntercom)
class FileToIntercomAdmin(FileColumns, ConversationRecordAdmin):
    """Files are posted with the message of their change, which is retried on its own page."""

    list_display = ("created", "state", "reason_text", "file_name", "file_size", "source", "ticket")
    list_filter = (
        "state",
        ReasonFilter,
        "source",
        "created_at",
        ("event__conversation__workspace", admin.RelatedFieldListFilter),
    )
    linked_lookups = ("event__id__exact", "event__ticket__id__exact", "event__conversation__id__exact")
    list_select_related = ("event__ticket",)
    list_defer = ("event__content",)
    fieldsets = (
        section(None, ("event", "ticket", "in_itop", "conversation", "in_intercom", "workspace")),
        section("File", ("source", "object_id", "file_name", "content_type", "file_size")),
        section("Status", ("state", "reason_text", "created_at")),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return Q(event__ticket__in=found.tickets) | Q(event__conversation__in=found.conversations)

    @admin.display(description="ticket")
    def ticket(self, row: FileToIntercom) -> str:
        return str(row.event.ticket)

    def conversation_of(self, row: FileToIntercom) -> Conversation:
        return row.event.conversation

    @admin.display(description="conversation")
    def conversation(self, row: FileToIntercom) -> Conversation:
        return self.conversation_of(row)

    @admin.display(description="in iTop")
    def in_itop(self, row: FileToIntercom) -> str:
        return itop_link(row.event.ticket)
