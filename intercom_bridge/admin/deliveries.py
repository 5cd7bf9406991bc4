from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Delivery, Workspace
from intercom_bridge.models.delivery import DeliveryQuerySet

from .readonly import ReadOnlyAdmin, as_kept, as_time, short_time
from .row_actions import RowActionsAdmin

State = Delivery.State


@admin.register(Delivery)
class DeliveryAdmin(RowActionsAdmin, ReadOnlyAdmin):
    created = short_time("created_at", "created")
    list_display = ("created", "state", "reason", "ticket", "conversation")
    actions = ("try_again", "skip")
    list_filter = ("state", "log", "kind", ("conversation__workspace", admin.RelatedFieldListFilter))
    list_select_related = ("ticket", "conversation")
    list_defer = ("part", "item")
    search_fields = (
        "ticket__ref__iexact",
        "conversation__conversation_id__exact",
        "part_id__exact",
        "author__icontains",
    )
    search_help_text = "A ticket's reference, a conversation's id, a part's id, or an author."
    date_hierarchy = "created_at"
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "conversation", "workspace", "notification")}),
        ("The message", {"fields": ("kind", "part_id", "author", "sent_at")}),
        (
            "What became of it",
            {
                "fields": (
                    "state",
                    "reason",
                    "log",
                    "attempts",
                    "erased_times",
                    "due_at",
                    "created_at",
                    "written_at",
                    "checked_at",
                )
            },
        ),
        ("What is sent to iTop", {"fields": ("marker", "shown_item")}),
        ("What came from Intercom", {"fields": ("shown_part",), "classes": ("collapse",)}),
    )
    readonly_fields = ("workspace", "sent_at", "shown_item", "shown_part", "erased_times", "checked_at")

    @admin.display(description="workspace")
    def workspace(self, delivery: Delivery) -> Workspace:
        return delivery.conversation.workspace

    @admin.display(description="sent in Intercom at")
    def sent_at(self, delivery: Delivery) -> str:
        return as_time(delivery.part_created_at)

    @admin.display(description="entry")
    def shown_item(self, delivery: Delivery) -> str:
        if delivery.item is None and delivery.cleaned_at is None:
            return "Not rendered yet."
        return as_kept(delivery, delivery.item)

    @admin.display(description="part")
    def shown_part(self, delivery: Delivery) -> str:
        return as_kept(delivery, delivery.part)

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        if row.state == State.FAILED:
            return ("skip",) if row.cleaned_at else ("try_again", "skip")
        return ("skip",) if row.state == State.WAITING else ()

    @admin.action(description="Try again", permissions=["act"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        self.act(
            request,
            queryset,
            DeliveryQuerySet.try_again,
            eligible=DeliveryQuerySet.retriable,
            recorded="Put back, to be written again.",
            done="will be tried again.",
            refused="only what failed, and is still kept, can be tried again.",
        )

    @admin.action(description="Skip", permissions=["act"])
    def skip(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        reason = f"skipped by {request.user.get_username()}"
        self.act(
            request,
            queryset,
            lambda rows: DeliveryQuerySet.skip(rows, reason),
            eligible=DeliveryQuerySet.unwritten,
            recorded="Skipped: it will not be written.",
            done="will not be written.",
            refused="only what waits, or failed, can be skipped.",
        )
