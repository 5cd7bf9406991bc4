"""The admins of tickets, of their links to conversations, and of cached ticket lists."""

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Q

from intercom_bridge.models import (
    CachedTickets,
    Conversation,
    Delivery,
    ItopInstance,
    LinkRemoval,
    Ticket,
    TicketCreation,
    TicketEvent,
    TicketLink,
)
from intercom_bridge.models.itop_instance import ITOP
from intercom_bridge.models.ticket_link import TicketLinkQuerySet

from .base import section
from .display import datetime_column, itop_link, json_block, stacked
from .records import WORKSPACE_FILTER, ConversationRecordAdmin, SearchableAdmin, counts_column
from .row_actions import RowAction, RowActionsAdmin
from .search import SearchResult, find_people

compare_action = partial(
    RowAction,
    short_description="Compare with Intercom now",
    history="Comparison with Intercom requested.",
    done="will be compared with Intercom now. Messages that the bridge missed are written.",
    refused="only where the sync is on can messages be missing.",
)


@admin.register(Ticket)
class TicketAdmin(SearchableAdmin):
    """A ticket's page leads to everything that was written to it."""

    known = datetime_column("created_at", "known since")
    gone = datetime_column("gone_at", "gone since")
    deliveries = counts_column(Delivery, "deliveries", "state", "ticket")
    changes_in_itop = counts_column(TicketEvent, "changes in iTop", "kind", "ticket")
    list_display = ("ref", "ticket_class", "itop", "known", "gone")
    list_filter = (("gone_at", admin.EmptyFieldListFilter), "created_at", "itop")
    list_select_related = ("itop",)
    fieldsets = (
        section(None, ("ref", "in_itop", "itop", "ticket_class", "object_id", "created_at", "gone_at")),
        section("Conversations", ("links", "removed_links", "creations")),
        section(
            "Messages",
            ("deliveries", "changes_in_itop", "check_at"),
            description="A few minutes after each write, the bridge verifies that the entry is still in the "
            "log: it is lost if someone saves the ticket at the same moment.",
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        linked = TicketLink.objects.filter(conversation__in=found.conversations)
        return Q(pk__in=[*found.tickets, *linked.values_list("ticket_id", flat=True)])

    @admin.display(description="in iTop")
    def in_itop(self, ticket: Ticket) -> str:
        return itop_link(ticket)

    @admin.display(description="linked conversations")
    def links(self, ticket: Ticket) -> str:
        rows = TicketLink.objects.filter(ticket=ticket).select_related("conversation").order_by("pk")
        return stacked(self.record_link(row.conversation) for row in rows)

    @admin.display(description="unlinked conversations")
    def removed_links(self, ticket: Ticket) -> str:
        rows = LinkRemoval.objects.filter(ticket=ticket).select_related("conversation").order_by("pk")
        return stacked(
            self.record_link(row, f"{row.conversation}{', undone' if row.undone_at else ''}") for row in rows
        )

    @admin.display(description="created by")
    def creations(self, ticket: Ticket) -> str:
        rows = TicketCreation.objects.filter(ticket=ticket).order_by("pk")
        return stacked(self.record_link(row, row.admin_name or row.form_key) for row in rows)


class _LinkAdmin(ConversationRecordAdmin):
    """Records with a ticket and a conversation that are, or were, linked."""

    list_select_related = ("ticket__itop", "conversation__workspace")
    search_help_text = f"{ConversationRecordAdmin.search_help_text} Or a teammate's name."

    @admin.display(description="deliveries")
    def deliveries(self, row: Any) -> str:
        return self.counts_by(
            "state",
            Delivery.objects.filter(ticket=row.ticket_id, conversation=row.conversation_id),
            ticket__id__exact=row.ticket_id,
            conversation__id__exact=row.conversation_id,
        )


@admin.register(TicketLink)
class TicketLinkAdmin(RowActionsAdmin, _LinkAdmin):
    """Linked conversations can be compared with Intercom."""

    linked = datetime_column("created_at", "linked")
    list_display = (
        "ticket",
        "conversation",
        "customer",
        "sync_on",
        "workspace",
        "itop",
        "linked_by",
        "linked",
    )
    actions = ("compare",)
    compare = compare_action(
        eligible=TicketLinkQuerySet.syncing,
        change=lambda rows, _: Conversation.objects.filter(pk__in=rows.values("conversation")).compare_within(
            0
        ),
    )
    list_filter = ("sync_on", "created_at", WORKSPACE_FILTER)
    teammate_column = "linked_by"
    fieldsets = (
        section(None, ("ticket", "in_itop", "conversation", "in_intercom", "workspace")),
        section("Status", ("sync_on", "linked_by", "created_at", "deliveries")),
    )

    @admin.display(description=ITOP, ordering="ticket__itop")
    def itop(self, row: TicketLink) -> ItopInstance:
        return row.ticket.itop


@admin.register(LinkRemoval)
class LinkRemovalAdmin(_LinkAdmin):
    """Links that a teammate removed."""

    unlinked = datetime_column("unlinked_at", "unlinked")
    undone = datetime_column("undone_at", "undone")
    list_display = ("ticket", "conversation", "customer", "workspace", "unlinked_by", "unlinked", "undone")
    list_filter = ("unlinked_at", WORKSPACE_FILTER)
    teammate_column = "unlinked_by"
    fieldsets = (
        section(None, ("ticket", "in_itop", "conversation", "in_intercom", "workspace")),
        section("Removal", ("unlinked_by", "unlinked_at", "undone_at", "skipped_messages", "deliveries")),
        section("Previous link", ("linked_by", "linked_at", "sync_on")),
    )

    @admin.display(description="skipped messages")
    def skipped_messages(self, removal: LinkRemoval) -> int:
        return len(removal.left_out)


@admin.register(CachedTickets)
class CachedTicketsAdmin(SearchableAdmin):
    """Ticket lists that the panel displays if iTop does not respond."""

    fetched = datetime_column("at", "fetched")
    list_display = ("fetched", "person_id", "conversation_id", "workspace", "more")
    list_filter = ("at", "workspace")
    list_select_related = ("workspace",)
    list_defer = ("rows",)
    ordering = ("-at", "-pk")
    fieldsets = (
        section(None, ("workspace", "person_id", "conversation_id", "at")),
        section(
            "Response from iTop",
            ("rows_json", "more"),
            description="The panel displays it if iTop does not respond. It is deleted after a few days.",
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        people = find_people(found.text).values_list("person_id", flat=True)
        return Q(conversation_id__in=found.conversation_ids()) | Q(person_id__in=list(people))

    @admin.display(description="tickets")
    def rows_json(self, cached: CachedTickets) -> str:
        return json_block(cached.rows, with_texts=self.may_read)
