from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Notification
from intercom_bridge.models.notification import NotificationQuerySet

from .readonly import ReadOnlyAdmin, as_kept, short_time
from .row_actions import RowActionsAdmin


@admin.register(Notification)
class NotificationAdmin(RowActionsAdmin, ReadOnlyAdmin):
    received = short_time("received_at", "received")
    list_display = ("received", "verdict", "reason", "topic", "conversation_id")
    actions = ("try_again",)
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
        return as_kept(notification, notification.body)

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        failed = row.verdict == Notification.Verdict.FAILED
        return ("try_again",) if failed and row.cleaned_at is None else ()

    @admin.action(description="Try again", permissions=["act"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        self.act(
            request,
            queryset,
            NotificationQuerySet.try_again,
            eligible=NotificationQuerySet.retriable,
            recorded="Put back, to be looked at again.",
            done="will be looked at again.",
            refused="only what failed, and is still kept, can be tried again.",
        )
