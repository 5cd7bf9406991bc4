"""The admins of files: those copied to iTop, and those posted to Intercom."""

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.template.defaultfilters import filesizeformat

from intercom_bridge.models import Conversation, FileToIntercom, FileToItop

from .base import ModelAdmin, section
from .display import itop_link
from .filters import ReasonFilter
from .part_records import PartRecordAdmin, skip_action
from .records import WORKSPACE_FILTER, ConversationRecordAdmin
from .search import SearchResult

State = FileToItop.State
ERASED = "(erased)"


class FileColumns(ModelAdmin):
    """The columns that the admins of both kinds of files have."""

    @admin.display(description="name")
    def file_name(self, row: Any) -> str:
        """Return the file's name, or a placeholder if it was erased or if the viewer may not read messages."""
        if row.cleaned_at is not None:
            return ERASED
        return self.readable(row.name) if row.name else ""

    @admin.display(description="size", ordering="size")
    def file_size(self, row: Any) -> str:
        return filesizeformat(row.size) if row.size else "-"


@admin.register(FileToItop)
class FileToItopAdmin(FileColumns, PartRecordAdmin):
    """The admin in which files for iTop are retried and skipped."""

    list_display = ("created", "state", "reason_text", "file_name", "file_size", "attempts", "ticket")
    actions = ("retry", "skip")
    # If the message was redacted in Intercom, the bridge deletes the file's copy in iTop. That cannot be skipped.
    skip = skip_action(
        "only waiting or failed files can be skipped. A file whose copy is to be deleted cannot be skipped."
    )
    list_filter = ("state", ReasonFilter, "is_inline", "created_at", WORKSPACE_FILTER)
    linked_lookups = ("ticket__id__exact", "conversation__id__exact", "cleaned_at__isnull")
    list_defer = ("url", "author", "attempt_log")
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


@admin.register(FileToIntercom)
class FileToIntercomAdmin(FileColumns, ConversationRecordAdmin):
    """The admin of files for Intercom.

    A file is posted with the message about the change in iTop. To post it again, retry that message on its own page.
    """

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
