from __future__ import annotations

from django.contrib import admin

from intercom_bridge.models import Unlinking, Workspace

from .readonly import ReadOnlyAdmin, short_time


@admin.register(Unlinking)
class UnlinkingAdmin(ReadOnlyAdmin):
    unlinked = short_time("unlinked_at", "unlinked")
    undone = short_time("undone_at", "undone")
    list_display = ("ticket", "conversation", "workspace", "unlinked_by", "unlinked", "undone")
    list_filter = (("conversation__workspace", admin.RelatedFieldListFilter),)
    list_select_related = ("ticket__itop", "conversation__workspace")
    search_fields = ("ticket__ref__iexact", "conversation__conversation_id__exact", "unlinked_by__icontains")
    search_help_text = "A ticket's reference, a conversation's id, or a teammate."
    date_hierarchy = "unlinked_at"
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "conversation", "workspace")}),
        ("What happened", {"fields": ("unlinked_by", "unlinked_at", "undone_at", "messages_left_out")}),
        ("What the link was", {"fields": ("linked_by", "linked_at", "sync_on")}),
    )
    readonly_fields = ("workspace", "messages_left_out")

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, unlinking: Unlinking) -> Workspace:
        return unlinking.conversation.workspace

    @admin.display(description="messages left out")
    def messages_left_out(self, unlinking: Unlinking) -> int:
        return len(unlinking.left_out)
