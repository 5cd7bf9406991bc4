"""The admin of webhook events. A webhook event is a notification from Intercom as the bridge received it."""

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models import Conversation, Delivery, WebhookEvent

from .base import section
from .display import NOTHING, datetime_column, intercom_link, payload_block, stacked
from .filters import ReasonFilter, TopicFilter
from .records import SearchableAdmin, counts_column
from .row_actions import RetriableAdmin
from .search import SearchResult


@admin.register(WebhookEvent)
class WebhookEventAdmin(RetriableAdmin, SearchableAdmin):
    received = datetime_column("received_at", "received")
    deliveries = counts_column(Delivery, "deliveries", "state", "webhook_event")
    list_display = ("received", "state", "reason_text", "topic", "conversation_id")
    list_filter = ("state", ReasonFilter, TopicFilter, "received_at", "workspace")
    linked_lookups = ("conversation_id", "cleaned_at__isnull")
    list_select_related = ("workspace",)
    list_defer = ("body",)
    search_help_text = f"{SearchableAdmin.search_help_text} Or a notification ID."
    ordering = ("-received_at", "-pk")
    fieldsets = (
        section(None, ("topic", "workspace", "conversation", "notification_id")),
        section("Status", ("state", "reason_text", "deliveries")),
        section("Times", ("received_at", "times_received", "due_at")),
        section("Payload", ("payload",)),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return Q(conversation_id__in=found.conversation_ids()) | Q(
            workspace__in=found.workspaces, notification_id=found.text
        )

    @admin.display(description="conversation")
    def conversation(self, event: WebhookEvent) -> str:
        """Return links to the conversation in the admin and in Intercom.

        If the bridge has not stored the conversation, a sentence replaces the link in the admin.
        """
        if not event.conversation_id:
            return NOTHING
        same_id = {"workspace": event.workspace, "conversation_id": event.conversation_id}
        stored = Conversation.objects.filter(**same_id).first()
        in_admin = self.record_link(stored) if stored else "No ticket was ever linked to this conversation."
        in_intercom = intercom_link(Conversation(**same_id))
        return stacked([in_admin, in_intercom])

    @admin.display(description="payload")
    def payload(self, event: WebhookEvent) -> str:
        return payload_block(event, event.body, with_texts=self.may_read)
