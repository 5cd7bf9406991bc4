from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Conversation, Delivery, ItopInstance, TicketLink, Workspace
from intercom_bridge.models.itop_instance import ITOP
from intercom_bridge.models.ticket_link import TicketLinkQuerySet

from .find import FindingAdmin, Found
from .neighbours import to_counted, to_intercom, to_itop
from .readonly import ReadOnlyAdmin, short_time
from .row_actions import RowActionsAdmin

COMPARED = {
    "recorded": "To be compared with Intercom.",
    "done": "will be compared with Intercom now: messages whose notifications were lost are written.",
    "refused": "only where the sync is on there is something to compare.",
}


@admin.register(TicketLink)
class TicketLinkAdmin(FindingAdmin, RowActionsAdmin, ReadOnlyAdmin):
    linked = short_time("created_at", "linked")
    list_display = ("ticket", "conversation", "sync_on", "workspace", "itop", "linked_by", "linked")
    actions = ("compare",)
    list_filter = ("sync_on", "created_at", ("conversation__workspace", admin.RelatedFieldListFilter))
    list_select_related = ("ticket__itop", "conversation__workspace")
    search_help_text = f"{FindingAdmin.search_help_text} Or a teammate's name."
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "in_itop", "conversation", "in_intercom", "workspace")}),
        ("How it stands", {"fields": ("sync_on", "linked_by", "created_at", "deliveries")}),
    )
    readonly_fields = ("workspace", "in_itop", "in_intercom", "deliveries")

    def finding(self, found: Found) -> Q:
        return found.here() if found else Q(linked_by__icontains=found.words)

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, link: TicketLink) -> Workspace:
        return link.conversation.workspace

    @admin.display(description=ITOP, ordering="ticket__itop")
    def itop(self, link: TicketLink) -> ItopInstance:
        return link.ticket.itop

    @admin.display(description="in iTop")
    def in_itop(self, link: TicketLink) -> str:
        return to_itop(link.ticket)

    @admin.display(description="in Intercom")
    def in_intercom(self, link: TicketLink) -> str:
        return to_intercom(link.conversation)

    @admin.display(description="deliveries")
    def deliveries(self, link: TicketLink) -> str:
        return to_counted(
            link.viewer,  # type: ignore[attr-defined]
            Delivery.objects.filter(ticket=link.ticket_id, conversation=link.conversation_id),
            "state",
            ticket__id__exact=link.ticket_id,
            conversation__id__exact=link.conversation_id,
        )

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        return ("compare",) if row.sync_on else ()

    @admin.action(description="Compare with Intercom now", permissions=["act"])
    def compare(self, request: HttpRequest, queryset: QuerySet[TicketLink]) -> None:
        self.act(
            request,
            queryset,
            lambda links: Conversation.objects.filter(pk__in=links.values("conversation")).compare_within(0),
            eligible=TicketLinkQuerySet.syncing,
            **COMPARED,
        )
