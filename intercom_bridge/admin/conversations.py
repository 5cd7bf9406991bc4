"""The admin of conversations. A conversation's page links to everything that happened in it."""

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
from .tickets import compare_action, undone_suffix


@admin.register(Conversation)
class ConversationAdmin(RowActionsAdmin, CustomerColumn, SearchableAdmin):
    """The admin in which conversations are compared with Intercom, and posting that was stopped is resumed."""

    known = datetime_column("created_at", "known since")
    compared = datetime_column("reconcile_at", "next comparison")
    deliveries = counts_column(Delivery, "deliveries", "state", "conversation")
    changes_in_itop = counts_column(TicketEvent, "changes in iTop", "kind", "conversation")
    messages_to_intercom = counts_column(OutgoingMessage, "outgoing messages", "state", "conversation")
    list_display = ("conversation_id", "customer", "workspace", "known", "compared", "comparison_problem")
    actions = ("resume_posting", "compare")
    # The bridge stops posting in a conversation after it has posted too much there within a few minutes.
    resume_posting = RowAction(
        short_description="Resume posting",
        eligible=lambda conversations: conversations.filter(posting_stopped_at__isnull=False),
        change=lambda conversations, _: sum(
            resume(conversation) for conversation in conversations.select_related("workspace")
        ),
        history="Posting resumed.",
        done="will get posts about changes in iTop again. The first post is a note about what was not posted.",
        refused="posting is not stopped there.",
    )
    compare = compare_action(
        eligible=lambda conversations: conversations.filter(
            Exists(TicketLink.objects.syncing().filter(conversation=OuterRef("pk")))
        ),
        change=lambda conversations, _: conversations.compare_within(seconds=0),
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
            description="A webhook can be lost. The bridge therefore reads the conversation from Intercom every hour, "
            "as long as there are new messages, and looks for missing ones.",
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        return Q(pk__in=found.linked_conversations())

    def conversation_of(self, row: Conversation) -> Conversation:
        return row

    @admin.display(description="people")
    def people(self, conversation: Conversation) -> str:
        """Return the conversation's contacts, each as a link to its person match if there is one."""
        contact_ids = list(conversation.participants.order_by("pk").values_list("contact_id", flat=True))
        if not contact_ids:
            return "Unknown."
        matches = PersonMatch.objects.filter(workspace=conversation.workspace, contact_id__in=contact_ids)
        match_of = {match.contact_id: match for match in matches}
        labels = []
        for contact_id in contact_ids:
            match = match_of.get(contact_id)
            if match:
                labels.append(self.record_link(match))
            else:
                labels.append(f"contact {contact_id} (not matched with an iTop person)")
        return stacked(labels)

    @admin.display(description="linked tickets")
    def links(self, conversation: Conversation) -> str:
        labels = []
        for link in TicketLink.objects.of_conversation(conversation):
            sync = "" if link.sync_on else ", sync paused"
            labels.append(self.record_link(link, f"{link.ticket}{sync}"))
        return stacked(labels)

    @admin.display(description="unlinked tickets")
    def removed_links(self, conversation: Conversation) -> str:
        removals = LinkRemoval.objects.filter(conversation=conversation).select_related("ticket")
        return stacked(
            self.record_link(removal, f"{removal.ticket}{undone_suffix(removal)}")
            for removal in removals.order_by("pk")
        )

    @admin.display(description="ticket creations")
    def creations(self, conversation: Conversation) -> str:
        creations = TicketCreation.objects.filter(conversation=conversation).select_related("ticket")
        return stacked(
            self.record_link(
                creation, f"{creation.ticket or creation.form_key}, {creation.get_state_display()}"
            )
            for creation in creations.order_by("pk")
        )

    @admin.display(description="last comparison failed")
    def comparison_problem(self, conversation: Conversation) -> str:
        return self.reason(conversation.reconcile_code, conversation.reconcile_detail)

    @admin.display(description="webhook events")
    def webhook_events(self, conversation: Conversation) -> str:
        workspace, conversation_id = conversation.workspace_id, conversation.conversation_id
        events = WebhookEvent.objects.filter(workspace=workspace, conversation_id=conversation_id)
        return self.counts_by(
            "state", events, workspace__id__exact=workspace, conversation_id=conversation_id
        )
