from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Submission, Workspace
from intercom_bridge.models.submission import SubmissionQuerySet

from .filters import SubmissionReasonFilter
from .find import FindingAdmin, Found
from .neighbours import NOTHING, to_intercom, to_itop
from .readonly import ReadOnlyAdmin, as_block, as_kept, may_read, reason_column, short_time
from .row_actions import RowActionsAdmin
from .tries import tries_table


@admin.register(Submission)
class SubmissionAdmin(FindingAdmin, RowActionsAdmin, ReadOnlyAdmin):
    created = short_time("created_at", "created")
    shown_reason = reason_column
    list_display = (
        "created",
        "state",
        "shown_reason",
        "ticket",
        "conversation",
        "workspace",
        "admin_name",
        "attempts",
    )
    actions = ("try_now",)
    list_filter = (
        "state",
        SubmissionReasonFilter,
        "created_at",
        ("conversation__workspace", admin.RelatedFieldListFilter),
    )
    list_select_related = ("ticket", "conversation__workspace")
    list_defer = ("fields", "parts", "values", "problems", "tries")
    texts = ("fields", "values", "problems", "note", "reason", "tries")
    search_help_text = f"{FindingAdmin.search_help_text} Or a teammate's name."
    ordering = ("-pk",)
    fieldsets = (
        (
            None,
            {"fields": ("conversation", "in_intercom", "workspace", "admin_name", "admin_id", "form_key")},
        ),
        (
            "What became of it",
            {"fields": ("state", "shown_reason", "ticket", "in_itop", "attempts", "due_at", "created_at")},
        ),
        ("Every try", {"fields": ("every_try",)}),
        ("What is sent to iTop", {"fields": ("ticket_class", "caller_id", "marker", "shown_fields")}),
        ("What was typed", {"fields": ("shown_values",), "classes": ("collapse",)}),
    )
    readonly_fields = (
        "workspace",
        "in_intercom",
        "in_itop",
        "shown_reason",
        "every_try",
        "shown_fields",
        "shown_values",
    )

    def finding(self, found: Found) -> Q:
        # A teammate's name is no index's: only where the words are nothing else.
        return found.here() if found else Q(admin_name__icontains=found.words)

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, submission: Submission) -> Workspace:
        return submission.conversation.workspace

    @admin.display(description="in Intercom")
    def in_intercom(self, submission: Submission) -> str:
        return to_intercom(submission.conversation)

    @admin.display(description="in iTop")
    def in_itop(self, submission: Submission) -> str:
        return to_itop(submission.ticket) if submission.ticket else NOTHING

    @admin.display(description="tries")
    def every_try(self, submission: Submission) -> str:
        return tries_table(submission)

    @admin.display(description="fields")
    def shown_fields(self, submission: Submission) -> str:
        return as_kept(submission, submission.fields)

    @admin.display(description="values")
    def shown_values(self, submission: Submission) -> str:
        return as_block(submission.values, with_texts=may_read(submission))

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        return ("try_now",) if row.state == Submission.State.CREATING else ()

    @admin.action(description="Try now", permissions=["act"])
    def try_now(self, request: HttpRequest, queryset: QuerySet[Submission]) -> None:
        self.act(
            request,
            queryset,
            SubmissionQuerySet.try_now,
            eligible=SubmissionQuerySet.unfinished,
            recorded="To be tried now.",
            done="will be tried now, or as soon as iTop cannot be executing the last try any more.",
            refused="only what is being created can be tried.",
        )
