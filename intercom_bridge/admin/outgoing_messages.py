"""The admin of outgoing messages, which the bridge posts to Intercom."""

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models import OutgoingMessage

from .base import section
from .display import payload_block, stacked
from .filters import ReasonFilter
from .records import WORKSPACE_FILTER, ConversationRecordAdmin
from .row_actions import RetriableAdmin
from .search import SearchResult


@admin.register(OutgoingMessage)
class OutgoingMessageAdmin(RetriableAdmin, ConversationRecordAdmin):
    list_display = ("created", "state", "reason_text", "conversation", "customer", "is_note")
    list_filter = ("state", ReasonFilter, "is_note", "created_at", WORKSPACE_FILTER)
    linked_lookups = ("conversation__id__exact", "cleaned_at__isnull", "broadcast__id__exact")
    list_select_related = ("conversation__workspace",)
    list_defer = ("body",)
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a message ID."
    fieldsets = (
        section(None, ("conversation", "in_intercom", "workspace", "admin_id", "is_note", "body_html")),
        section("Reason for the message", ("events", "broadcast")),
        section(
            "Status",
            ("state", "reason_text", "part_id", "attempts", "due_at", "created_at", "reopens", "reopened_at"),
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return Q(conversation__in=found.linked_conversations()) | Q(part_id=found.text)

    @admin.display(description="changes in iTop")
    def events(self, message: OutgoingMessage) -> str:
        events = message.events.select_related("ticket").order_by("pk")
        return stacked(self.record_link(event) for event in events)

    @admin.display(description="HTML")
    def body_html(self, message: OutgoingMessage) -> str:
        if message.cleaned_at is not None:
            return payload_block(message, message.body, with_texts=self.may_read)
        return self.readable(message.body)
