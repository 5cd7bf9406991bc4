from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Posting, Workspace
from intercom_bridge.models.posting import PostingQuerySet

from .filters import PostingReasonFilter
from .find import FindingAdmin, Found
from .hidden import hidden
from .neighbours import to_intercom
from .readonly import ReadOnlyAdmin, as_kept, may_read, short_time
from .row_actions import RowActionsAdmin


@admin.register(Posting)
class PostingAdmin(FindingAdmin, RowActionsAdmin, ReadOnlyAdmin):
    created = short_time("created_at", "created")
    list_display = ("created", "state", "reason", "conversation", "is_note")
    actions = ("try_again",)
    list_filter = (
        "state",
        PostingReasonFilter,
        "is_note",
        "created_at",
        ("conversation__workspace", admin.RelatedFieldListFilter),
    )
    list_select_related = ("conversation__workspace",)
    list_defer = ("body",)
    texts = ("body",)
    search_help_text = f"{FindingAdmin.search_help_text} Or a part's id."
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("conversation", "in_intercom", "workspace", "admin_id", "is_note", "shown_body")}),
        ("What became of it", {"fields": ("state", "reason", "part_id", "attempts", "due_at", "created_at")}),
    )
    readonly_fields = ("workspace", "in_intercom", "shown_body")

    def finding(self, found: Found) -> Q:
        return Q(conversation__in=found.talks()) | Q(part_id=found.words)

    @admin.display(description="in Intercom")
    def in_intercom(self, posting: Posting) -> str:
        return to_intercom(posting.conversation)

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, posting: Posting) -> Workspace:
        return posting.conversation.workspace

    @admin.display(description="HTML")
    def shown_body(self, posting: Posting) -> str:
        if posting.cleaned_at is not None:
            return as_kept(posting, posting.body)
        return posting.body if may_read(posting) else hidden(posting.body)

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
