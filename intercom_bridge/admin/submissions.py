from __future__ import annotations

from django.contrib import admin

from intercom_bridge.models import Submission, Workspace

from .readonly import ReadOnlyAdmin, as_kept, short_time


@admin.register(Submission)
class SubmissionAdmin(ReadOnlyAdmin):
    created = short_time("created_at", "created")
    list_display = (
        "created",
        "state",
        "reason",
        "ticket",
        "conversation",
        "workspace",
        "admin_name",
        "attempts",
    )
    list_filter = ("state", ("conversation__workspace", admin.RelatedFieldListFilter))
    list_select_related = ("ticket", "conversation__workspace")
    list_defer = ("fields", "parts")
    search_fields = ("ticket__ref__iexact", "conversation__conversation_id__exact", "admin_name__icontains")
    search_help_text = "A ticket's reference, a conversation's id, or a teammate."
    date_hierarchy = "created_at"
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("conversation", "workspace", "admin_name", "admin_id", "form_key")}),
        ("What became of it", {"fields": ("state", "reason", "ticket", "attempts", "due_at", "created_at")}),
        ("What is sent to iTop", {"fields": ("ticket_class", "caller_id", "marker", "shown_fields")}),
    )
    readonly_fields = ("workspace", "shown_fields")

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, submission: Submission) -> Workspace:
        return submission.conversation.workspace

    @admin.display(description="fields")
    def shown_fields(self, submission: Submission) -> str:
        return as_kept(submission, submission.fields)
