from __future__ import annotations

from django.contrib import admin

from intercom_bridge.models import Notification

from .readonly import ReadOnlyAdmin, as_block, short_time


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    received = short_time("received_at", "received")
    list_display = (
        "received",
        "verdict",
        "reason",
        "topic",
        "conversation_id",
        "workspace",
        "times_received",
        "notification_id",
    )
    list_filter = ("verdict", "topic", "workspace")
    list_select_related = ("workspace",)
    list_defer = ("body",)
    search_fields = ("conversation_id__exact", "notification_id__exact")
    search_help_text = "A conversation's id, or a notification's."
    date_hierarchy = "received_at"
    ordering = ("-received_at", "-pk")
    fieldsets = (
        (None, {"fields": ("topic", "workspace", "conversation_id", "notification_id")}),
        ("What became of it", {"fields": ("verdict", "reason", "received_at", "times_received", "due_at")}),
        ("What came in", {"fields": ("payload",)}),
    )
    readonly_fields = ("payload",)

    @admin.display(description="payload")
    def payload(self, notification: Notification) -> str:
        return as_block(notification.body)
