from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from intercom_bridge.models import (
    Conversation,
    Delivery,
    Notification,
    PersonMatch,
    Posting,
    Submission,
    TicketLink,
    Unlinking,
)

from .find import FindingAdmin, Found
from .neighbours import lines, to_counted, to_intercom, to_row
from .readonly import ReadOnlyAdmin, short_time
from .row_actions import RowActionsAdmin
from .ticket_links import COMPARED


@admin.register(Conversation)
class ConversationAdmin(FindingAdmin, RowActionsAdmin, ReadOnlyAdmin):
    """From here to all that happened around a conversation."""

    known = short_time("created_at", "known since")
    compared = short_time("reconcile_at", "compared next")
    list_display = ("conversation_id", "workspace", "known", "compared", "reconcile_trouble")
    actions = ("compare",)
    list_filter = (("reconcile_trouble", admin.EmptyFieldListFilter), "created_at", "workspace")
    list_select_related = ("workspace",)
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("conversation_id", "in_intercom", "workspace", "contact", "created_at")}),
        ("Tickets", {"fields": ("links", "unlinkings", "submissions")}),
        ("Messages", {"fields": ("deliveries", "notifications", "postings")}),
        (
            "Comparison with Intercom",
            {
                "fields": ("reconcile_at", "reconcile_trouble", "reconcile_failures"),
                "description": "Every hour while messages come: a notification can be lost.",
            },
        ),
    )
    readonly_fields = (
        "in_intercom",
        "contact",
        "links",
        "unlinkings",
        "submissions",
        "deliveries",
        "notifications",
        "postings",
        "reconcile_at",
        "reconcile_trouble",
        "reconcile_failures",
    )

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # From a person to the conversations they take part in.
        return lookup == "participants__contact_id" or super().lookup_allowed(lookup, value, request)

    def finding(self, found: Found) -> Q:
        return Q(pk__in=found.talks())

    @admin.display(description="in Intercom")
    def in_intercom(self, conversation: Conversation) -> str:
        return to_intercom(conversation)

    @admin.display(description="person")
    def contact(self, conversation: Any) -> str:
        contacts = list(conversation.participants.order_by("pk").values_list("contact_id", flat=True))
        if not contacts:
            return "Not known."
        matches = PersonMatch.objects.filter(workspace=conversation.workspace, contact_id__in=contacts)
        known = {match.contact_id: match for match in matches}
        return lines(
            to_row(conversation.viewer, known[contact])
            if contact in known
            else f"contact {contact}, whom we take for nobody in iTop"
            for contact in contacts
        )

    @admin.display(description="linked tickets")
    def links(self, conversation: Any) -> str:
        rows = TicketLink.objects.of_conversation(conversation)
        return lines(
            to_row(conversation.viewer, link, f"{link.ticket}{'' if link.sync_on else ', sync paused'}")
            for link in rows
        )

    @admin.display(description="unlinked tickets")
    def unlinkings(self, conversation: Any) -> str:
        rows = Unlinking.objects.filter(conversation=conversation).select_related("ticket").order_by("pk")
        return lines(
            to_row(conversation.viewer, one, f"{one.ticket}{', undone' if one.undone_at else ''}")
            for one in rows
        )

    @admin.display(description="presses of Create")
    def submissions(self, conversation: Any) -> str:
        rows = Submission.objects.filter(conversation=conversation).select_related("ticket").order_by("pk")
        return lines(
            to_row(conversation.viewer, one, f"{one.ticket or one.form_key}, {one.get_state_display()}")
            for one in rows
        )

    @admin.display(description="deliveries")
    def deliveries(self, conversation: Any) -> str:
        rows = Delivery.objects.filter(conversation=conversation)
        return to_counted(conversation.viewer, rows, "state", conversation__id__exact=conversation.pk)

    @admin.display(description="notifications")
    def notifications(self, conversation: Any) -> str:
        here = {"workspace": conversation.workspace_id, "conversation_id": conversation.conversation_id}
        rows = Notification.objects.filter(**here)
        there = {"workspace__id__exact": here["workspace"], "conversation_id": here["conversation_id"]}
        return to_counted(conversation.viewer, rows, "verdict", **there)

    @admin.display(description="postings")
    def postings(self, conversation: Any) -> str:
        rows = Posting.objects.filter(conversation=conversation)
        return to_counted(conversation.viewer, rows, "state", conversation__id__exact=conversation.pk)

    def helpful_actions(self, row: Any) -> tuple[str, ...]:
        return ("compare",) if TicketLink.objects.filter(conversation=row).syncing().exists() else ()

    @admin.action(description="Compare with Intercom now", permissions=["act"])
    def compare(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        syncing = TicketLink.objects.syncing().filter(conversation=OuterRef("pk"))
        self.act(
            request,
            queryset,
            lambda rows: rows.compare_within(0),
            eligible=lambda rows: rows.filter(Exists(syncing)),
            **COMPARED,
        )
