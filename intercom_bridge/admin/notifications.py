from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Conversation, Delivery, Notification
from intercom_bridge.models.notification import NotificationQuerySet

from .filters import NotificationReasonFilter, TopicFilter
from .find import FindingAdmin, Found
from .neighbours import NOTHING, lines, to_counted, to_intercom, to_row
from .readonly import ReadOnlyAdmin, as_kept, short_time
from .row_actions import RowActionsAdmin


@admin.register(Notification)
class NotificationAdmin(FindingAdmin, RowActionsAdmin, ReadOnlyAdmin):
    received = short_time("received_at", "received")
    list_display = ("received", "verdict", "reason", "topic", "conversation_id")
    actions = ("try_again",)
    list_filter = ("verdict", NotificationReasonFilter, TopicFilter, "received_at", "workspace")
    list_select_related = ("workspace",)
    list_defer = ("body",)
    texts = ("body",)
    search_help_text = f"{FindingAdmin.search_help_text} Or a notification's id."
    ordering = ("-received_at", "-pk")
    fieldsets = (
        (None, {"fields": ("topic", "workspace", "conversation", "notification_id")}),
        ("What became of it", {"fields": ("verdict", "reason", "deliveries")}),
        ("When it came", {"fields": ("received_at", "times_received", "due_at")}),
        ("What came in", {"fields": ("payload",)}),
    )
    readonly_fields = ("payload", "conversation", "deliveries")

    def finding(self, found: Found) -> Q:
        ids = Conversation.objects.filter(pk__in=found.talks()).values_list("conversation_id", flat=True)
        return Q(conversation_id__in={found.words, *ids}) | Q(
            workspace__in=found.workspaces, notification_id=found.words
        )

    @admin.display(description="conversation")
    def conversation(self, notification: Notification) -> str:
        if not notification.conversation_id:
            return NOTHING
        known = Conversation.objects.filter(
            workspace=notification.workspace, conversation_id=notification.conversation_id
        ).first()
        here = Conversation(workspace=notification.workspace, conversation_id=notification.conversation_id)
        ours = to_row(notification.viewer, known) if known else "No ticket was ever linked to it."  # type: ignore[attr-defined]
        return lines([ours, to_intercom(here)])

    @admin.display(description="deliveries")
    def deliveries(self, notification: Notification) -> str:
        """What it became."""
        made = Delivery.objects.filter(notification=notification)
        return to_counted(notification.viewer, made, "state", notification__id__exact=notification.pk)  # type: ignore[attr-defined]

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
