from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models import Delivery, Submission, Ticket, TicketLink, Unlinking

from .find import FindingAdmin, Found
from .neighbours import lines, to_counted, to_itop, to_row
from .readonly import ReadOnlyAdmin, short_time


@admin.register(Ticket)
class TicketAdmin(FindingAdmin, ReadOnlyAdmin):
    """From here to all that was written into a ticket."""

    known = short_time("created_at", "known since")
    gone = short_time("gone_at", "gone since")
    list_display = ("ref", "ticket_class", "itop", "known", "gone")
    list_filter = (("gone_at", admin.EmptyFieldListFilter), "created_at", "itop")
    list_select_related = ("itop",)
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("ref", "in_itop", "itop", "ticket_class", "object_id", "created_at", "gone_at")}),
        ("Conversations", {"fields": ("links", "unlinkings", "submissions")}),
        (
            "Messages",
            {
                "fields": ("deliveries", "check_at"),
                "description": "Some minutes after a write the logs are read back: somebody else's save may have "
                "erased an entry.",
            },
        ),
    )
    readonly_fields = ("in_itop", "links", "unlinkings", "submissions", "deliveries", "gone_at", "check_at")

    def finding(self, found: Found) -> Q:
        linked = TicketLink.objects.filter(conversation__in=found.conversations)
        return Q(pk__in=[*found.tickets, *linked.values_list("ticket_id", flat=True)])

    @admin.display(description="in iTop")
    def in_itop(self, ticket: Ticket) -> str:
        return to_itop(ticket)

    @admin.display(description="linked conversations")
    def links(self, ticket: Any) -> str:
        rows = TicketLink.objects.filter(ticket=ticket).select_related("conversation").order_by("pk")
        return lines(to_row(ticket.viewer, link.conversation) for link in rows)

    @admin.display(description="unlinked conversations")
    def unlinkings(self, ticket: Any) -> str:
        rows = Unlinking.objects.filter(ticket=ticket).select_related("conversation").order_by("pk")
        return lines(
            to_row(ticket.viewer, one, f"{one.conversation}{', undone' if one.undone_at else ''}")
            for one in rows
        )

    @admin.display(description="created by")
    def submissions(self, ticket: Any) -> str:
        rows = Submission.objects.filter(ticket=ticket).order_by("pk")
        return lines(to_row(ticket.viewer, one, one.admin_name or one.form_key) for one in rows)

    @admin.display(description="deliveries")
    def deliveries(self, ticket: Any) -> str:
        rows = Delivery.objects.filter(ticket=ticket)
        return to_counted(ticket.viewer, rows, "state", ticket__id__exact=ticket.pk)
