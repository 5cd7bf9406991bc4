from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html

from intercom_bridge.models import ItopInstance, TicketLink, Workspace
from intercom_bridge.models.itop_instance import ITOP

from .readonly import ReadOnlyAdmin, short_time


@admin.register(TicketLink)
class TicketLinkAdmin(ReadOnlyAdmin):
    linked = short_time("created_at", "linked")
    list_display = ("ticket", "conversation", "sync_on", "workspace", "itop", "linked_by", "linked")
    list_filter = ("sync_on", ("conversation__workspace", admin.RelatedFieldListFilter))
    list_select_related = ("ticket__itop", "conversation__workspace")
    search_fields = ("ticket__ref__iexact", "conversation__conversation_id__exact", "linked_by__icontains")
    search_help_text = "A ticket's reference, a conversation's id, or a teammate."
    date_hierarchy = "created_at"
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ticket", "ticket_in_itop", "conversation", "workspace")}),
        ("How it stands", {"fields": ("sync_on", "linked_by", "created_at")}),
    )
    readonly_fields = ("workspace", "ticket_in_itop")

    @admin.display(description="workspace", ordering="conversation__workspace")
    def workspace(self, link: TicketLink) -> Workspace:
        return link.conversation.workspace

    @admin.display(description=ITOP, ordering="ticket__itop")
    def itop(self, link: TicketLink) -> ItopInstance:
        return link.ticket.itop

    @admin.display(description="in iTop")
    def ticket_in_itop(self, link: TicketLink) -> str:
        url = link.ticket.itop.backoffice_url(link.ticket.ticket_class, link.ticket.object_id)
        return format_html('<a href="{}">{} {}</a>', url, link.ticket.ticket_class, link.ticket.ref)
