from __future__ import annotations

from django.contrib import admin

from intercom_bridge.models import Delivery, Workspace

from .readonly import ReadOnlyAdmin, as_block, as_time, short_time


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    created = short_time("created_at", "created")
    due = short_time("due_at", "due")
    written = short_time("written_at", "written")
    list_display = (
        "created",
        "state",
        "reason",
        "ticket",
        "conversation",
        "author",
        "log",
        "attempts",
        "written",
        "due",
        "part_id",
    )
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
            {"fields": ("state", "reason", "log", "attempts", "due_at", "created_at", "written_at")},
        ),
        ("What is sent to iTop", {"fields": ("marker", "shown_item")}),
        ("What came from Intercom", {"fields": ("shown_part",), "classes": ("collapse",)}),
    )
    readonly_fields = ("workspace", "sent_at", "shown_item", "shown_part")

    @admin.display(description="workspace")
    def workspace(self, delivery: Delivery) -> Workspace:
        return delivery.conversation.workspace

    @admin.display(description="sent in Intercom at")
    def sent_at(self, delivery: Delivery) -> str:
        return as_time(delivery.part_created_at)

    @admin.display(description="entry")
    def shown_item(self, delivery: Delivery) -> str:
        return as_block(delivery.item) if delivery.item is not None else "Not rendered yet."

    @admin.display(description="part")
    def shown_part(self, delivery: Delivery) -> str:
        return as_block(delivery.part)
