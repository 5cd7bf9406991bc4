from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models import Delivery, Unlinking, Workspace

from .find import FindingAdmin, Found
from .neighbours import to_counted, to_intercom, to_itop
from .readonly import ReadOnlyAdmin, short_time


@admin.register(Unlinking)
class UnlinkingAdmin(FindingAdmin, ReadOnlyAdmin):
    unlinked = short_time("unlinked_at", "unlinked")
    undone = short_time("undone_at", "undone")
    list_display = ("ticket", "conversation", "workspace", "unlinked_by", "unlinked", "undone")
    list_filter = (
        "unlinked_at",
        ("conversation__workspace", admin.RelatedFieldListFilter),
    )
    list_select_related = ("ticket__itop", "conversation__workspace")
    texts = ("left_out",)
    search_help_text = f"{FindingAdmin.search_help_text} Or a teammate's name."
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "in_itop", "conversation", "in_intercom", "workspace")}),
        (
            "What happened",
            {"fields": ("unlinked_by", "unlinked_at", "undone_at", "messages_left_out", "deliveries")},
        ),
        ("What the link was", {"fields": ("linked_by", "linked_at", "sync_on")}),
    )
    readonly_fields = ("workspace", "in_itop", "in_intercom", "messages_left_out", "deliveries")

    def finding(self, found: Found) -> Q:
        return found.here() if found else Q(unlinked_by__icontains=found.words)

    @admin.display(description="in iTop")
    def in_itop(self, unlinking: Unlinking) -> str:
        return to_itop(unlinking.ticket)

    @admin.display(description="in Intercom")
    def in_intercom(self, unlinking: Unlinking) -> str:
        return to_intercom(unlinking.conversation)

    @admin.display(description="deliveries")
    def deliveries(self, unlinking: Any) -> str:
        return to_counted(
            unlinking.viewer,
            Delivery.objects.filter(ticket=unlinking.ticket_id, conversation=unlinking.conversation_id),
            "state",
            ticket__id__exact=unlinking.ticket_id,
            conversation__id__exact=unlinking.conversation_id,
        )

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, unlinking: Unlinking) -> Workspace:
        return unlinking.conversation.workspace

    @admin.display(description="messages left out")
    def messages_left_out(self, unlinking: Unlinking) -> int:
        return len(unlinking.left_out)
