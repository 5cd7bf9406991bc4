from __future__ import annotations

from django.contrib import admin

from intercom_bridge.models import Posting, Workspace

from .readonly import ReadOnlyAdmin, short_time


@admin.register(Posting)
class PostingAdmin(ReadOnlyAdmin):
    created = short_time("created_at", "created")
    due = short_time("due_at", "due")
    list_display = (
        "created",
        "state",
        "reason",
        "conversation",
        "workspace",
        "is_note",
        "attempts",
        "due",
    )
    list_filter = ("state", "is_note", ("conversation__workspace", admin.RelatedFieldListFilter))
    list_select_related = ("conversation__workspace",)
    list_defer = ("body",)
    search_fields = ("conversation__conversation_id__exact", "part_id__exact")
    search_help_text = "A conversation's id, or a part's."
    date_hierarchy = "created_at"
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("conversation", "workspace", "admin_id", "is_note", "body")}),
        ("What became of it", {"fields": ("state", "reason", "part_id", "attempts", "due_at", "created_at")}),
    )
    readonly_fields = ("workspace",)

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, posting: Posting) -> Workspace:
        return posting.conversation.workspace
