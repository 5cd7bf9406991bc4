"""The admin of conversations: it leads to everything that happened around one."""

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q

from intercom_bridge.events.rules import resume
from intercom_bridge.models import (
    Conversation,
    Delivery,
    LinkRemoval,
    OutgoingMessage,
    PersonMatch,
    TicketCreation,
    TicketEvent,
    TicketLink,
    WebhookEvent,
)

from .base import section
from .display import datetime_column, stacked
from .records import CustomerColumn, SearchableAdmin, counts_column
from .row_actions import RowAction, RowActionsAdmin
from .search import SearchResult
from .tickets import compare_action


@admin.register(Conversation)
class ConversationAdmin(RowActionsAdmin, CustomerColumn, SearchableAdmin):
    """Conversations can be compared with Intercom."""

    known = datetime_column("created_at", "known since")
    compared = datetime_column("reconcile_at", "next comparison")
    deliveries = counts_column(Delivery, "deliveries", "state", "conversation")
    changes_in_itop = counts_column(TicketEvent, "changes in iTop", "kind", "conversation")
    messages_to_intercom = counts_column(OutgoingMessage, "outgoing messages", "state", "conversation")
    list_display = ("conversation_id", "customer", "workspace", "known", "compared", "comparison_problem")
    actions = ("resume_posting", "compare")
    # Post again in conversations where the bridge stopped because it had posted too much.
    resume_posting = RowAction(
        short_description="Resume posting",
        eligible=lambda rows: rows.filter(posting_stopped_at__isnull=False),
        change=lambda rows, _: sum(resume(row) for row in rows.select_related("workspace")),
        history="Posting resumed.",
        done="will get posts about iTop again, beginning with a note about what was held back.",
        refused="posting is not stopped there.",
    )
    compare = compare_action(
        eligible=lambda rows: rows.filter(
            Exists(TicketLink.objects.syncing().filter(conversation=OuterRef("pk")))
        ),
        change=lambda rows, _: rows.compare_within(0),
    )
    list_filter = (("reconcile_code", admin.EmptyFieldListFilter), "created_at", "workspace")
    linked_lookups = ("participants__contact_id",)
    list_select_related = ("workspace",)
    fieldsets = (
        section(None, ("conversation_id", "in_intercom", "workspace", "people", "created_at")),
        section("Tickets", ("links", "removed_links", "creations")),
        section(
            "Messages",
            ("deliveries", "webhook_events", "changes_in_itop", "messages_to_intercom", "posting_stopped_at"),
        ),
        section(
            "Comparison with Intercom",
            ("reconcile_at", "comparison_problem", "reconcile_failures"),
            description="Runs every hour while there are new messages, because a webhook can be lost.",
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return Q(pk__in=found.linked_conversations())

    def conversation_of(self, row: Conversation) -> Conversation:
        return row

    @admin.display(description="people")
    def people(self, conversation: Conversation) -> str:
        contacts = list(conversation.participants.order_by("pk").values_list("contact_id", flat=True))
        if not contacts:
            return "Unknown."
        matches = PersonMatch.objects.filter(workspace=conversation.workspace, contact_id__in=contacts)
        by_contact = {match.contact_id: match for match in matches}
        return stacked(
            self.record_link(by_contact[contact])
            if contact in by_contact
            else f"contact {contact} (no iTop person)"
            for contact in contacts
        )

    @admin.display(description="linked tickets")
    def links(self, conversation: Conversation) -> str:
        return stacked(
            self.record_link(row, f"{row.ticket}{'' if row.sync_on else ', sync paused'}")
            for row in TicketLink.objects.of_conversation(conversation)
        )

    @admin.display(description="unlinked tickets")
    def removed_links(self, conversation: Conversation) -> str:
        rows = LinkRemoval.objects.filter(conversation=conversation).select_related("ticket").order_by("pk")
        return stacked(
            self.record_link(row, f"{row.ticket}{', undone' if row.undone_at else ''}") for row in rows
        )

    @admin.display(description="ticket creations")
    def creations(self, conversation: Conversation) -> str:
        rows = TicketCreation.objects.filter(conversation=conversation).select_related("ticket")
        return stacked(
            self.record_link(row, f"{row.ticket or row.form_key}, {row.get_state_display()}")
            for row in rows.order_by("pk")
        )

    @admin.display(description="last comparison failed")
    def comparison_problem(self, conversation: Conversation) -> str:
        return self.reason(conversation.reconcile_code, conversation.reconcile_detail)

    @admin.display(description="webhook events")
    def webhook_events(self, conversation: Conversation) -> str:
        workspace, conversation_id = conversation.workspace_id, conversation.conversation_id
        rows = WebhookEvent.objects.filter(workspace=workspace, conversation_id=conversation_id)
        return self.counts_by("state", rows, workspace__id__exact=workspace, conversation_id=conversation_id)
