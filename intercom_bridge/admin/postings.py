from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Posting, Workspace
from intercom_bridge.models.posting import PostingQuerySet

from .readonly import ReadOnlyAdmin, as_kept, short_time
from .row_actions import RowActionsAdmin


@admin.register(Posting)
class PostingAdmin(RowActionsAdmin, ReadOnlyAdmin):
    created = short_time("created_at", "created")
    list_display = ("created", "state", "reason", "conversation", "is_note")
    actions = ("try_again",)
    list_filter = ("state", "is_note", ("conversation__workspace", admin.RelatedFieldListFilter))
    list_select_related = ("conversation__workspace",)
    list_defer = ("body",)
    search_fields = ("conversation__conversation_id__exact", "part_id__exact")
    search_help_text = "A conversation's id, or a part's."
    date_hierarchy = "created_at"
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("conversation", "workspace", "admin_id", "is_note", "shown_body")}),
        ("What became of it", {"fields": ("state", "reason", "part_id", "attempts", "due_at", "created_at")}),
    )
    readonly_fields = ("workspace", "shown_body")

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, posting: Posting) -> Workspace:
        return posting.conversation.workspace

    @admin.display(description="HTML")
    def shown_body(self, posting: Posting) -> str:
        return posting.body if posting.cleaned_at is None else as_kept(posting, posting.body)

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        failed = row.state == Posting.State.FAILED
        return ("try_again",) if failed and row.cleaned_at is None else ()

    @admin.action(description="Try again", permissions=["act"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Posting]) -> None:
        self.act(
            request,
            queryset,
            PostingQuerySet.try_again,
            eligible=PostingQuerySet.retriable,
            recorded="Put back, to be posted again.",
            done="will be tried again.",
            refused="only what failed, and is still kept, can be tried again.",
        )
