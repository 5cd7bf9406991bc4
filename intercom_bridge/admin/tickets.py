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
    refused="only conversations whose sync is on can be compared.",
)


@admin.register(Ticket)
class TicketAdmin(SearchableAdmin):
    """The admin of tickets. A ticket's page links to everything that the bridge wrote to the ticket."""

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
            "ticket's log. iTop loses the entry if someone saves the ticket at the same moment.",
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        """Return the condition for the tickets that were found, and for those linked to the conversations found."""
        links = TicketLink.objects.filter(conversation__in=found.conversations)
        return Q(pk__in=[*found.tickets, *links.values_list("ticket_id", flat=True)])

    @admin.display(description="in iTop")
    def in_itop(self, ticket: Ticket) -> str:
        return itop_link(ticket)

    @admin.display(description="linked conversations")
    def links(self, ticket: Ticket) -> str:
        links = TicketLink.objects.filter(ticket=ticket).select_related("conversation").order_by("pk")
        return stacked(self.record_link(link.conversation) for link in links)

    @admin.display(description="unlinked conversations")
    def removed_links(self, ticket: Ticket) -> str:
        removals = LinkRemoval.objects.filter(ticket=ticket).select_related("conversation").order_by("pk")
        return stacked(
            self.record_link(removal, f"{removal.conversation}{undone_suffix(removal)}")
            for removal in removals
        )

    @admin.display(description="created by")
    def creations(self, ticket: Ticket) -> str:
        creations = TicketCreation.objects.filter(ticket=ticket).order_by("pk")
        return stacked(
            self.record_link(creation, creation.admin_name or creation.form_key) for creation in creations
        )


def undone_suffix(removal: LinkRemoval) -> str:
    """Return ", undone" if a teammate has undone the removal of the link, otherwise ""."""
    return ", undone" if removal.undone_at else ""


class _LinkAdmin(ConversationRecordAdmin):
    """The base of the admins of links and of removed links."""

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
    """The admin of links. Linked conversations can be compared with Intercom."""

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
        change=lambda links, _: Conversation.objects.filter(
            pk__in=links.values("conversation")
        ).compare_within(seconds=0),
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
    """The admin of links that a teammate removed."""

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
    """The admin of the ticket lists that the panel displays if iTop does not respond."""

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
            description="The panel displays this response if iTop does not respond. It is deleted after a few days.",
        ),
    )

    def search_condition(self, found: SearchResult) -> Q:
        people = find_people(found.text).values_list("person_id", flat=True)
        return Q(conversation_id__in=found.conversation_ids()) | Q(person_id__in=list(people))

    @admin.display(description="tickets")
    def rows_json(self, cached: CachedTickets) -> str:
        return json_block(cached.rows, with_texts=self.may_read)
