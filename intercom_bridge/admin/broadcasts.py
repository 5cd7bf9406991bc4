"""The admin of broadcasts. A broadcast is a text that a teammate posted in all conversations of a ticket."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from intercom_bridge.models import Broadcast, Conversation, OutgoingMessage
from intercom_bridge.models.reason import reason_label

from .base import section
from .display import NOTHING, stacked
from .records import SearchableAdmin, counts_column
from .search import SearchResult

State = OutgoingMessage.State
NOTE, REPLY = "note", "reply to the customer"


class PostedAsFilter(admin.SimpleListFilter):
    """Filter by whether the teammate posted notes or replies to customers."""

    title = "posted as"
    parameter_name = "posted_as"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("note", NOTE), ("reply", REPLY)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(is_note=self.value() == "note") if self.value() else queryset


@admin.register(Broadcast)
class BroadcastAdmin(SearchableAdmin):
    """The admin of broadcasts.

    A broadcast has one OutgoingMessage per conversation. A failed message can be retried on its own page.
    """

    messages_by_state = counts_column(OutgoingMessage, "messages", "state", "broadcast")
    list_display = ("created", "ticket", "admin_name", "posted_as", "outcomes")
    list_filter = (PostedAsFilter, "created_at", "ticket__itop")
    list_select_related = ("ticket",)
    search_help_text = f"{SearchableAdmin.search_help_text} Or a teammate's name."
    teammate_column = "admin_name"
    fieldsets = (
        section(None, ("ticket", "in_itop", "admin_name", "created_at", "posted_as", "text")),
        section("Conversations", ("messages_by_state", "failed", "left_out_conversations")),
    )

    # The number of messages by state, for each broadcast of the list (by primary key).
    _counts: Mapping[int, Mapping[str, int]] = {}

    def prepare_rows(self, rows: Iterable[Broadcast]) -> None:
        """Count the messages of the list's broadcasts by state, with one query for all."""
        messages = OutgoingMessage.objects.filter(broadcast__in=[row.pk for row in rows]).order_by()
        counts: dict[int, dict[str, int]] = {}
        for broadcast_id, state, count in messages.values_list("broadcast", "state").annotate(Count("pk")):
            counts.setdefault(broadcast_id, {})[state] = count
        self._counts = counts

    def search_condition(self, found: SearchResult) -> Q:
        """Return the condition for broadcasts about the tickets found, or with a message in the conversations found."""
        if not found:
            # Search by the teammate's name.
            return super().search_condition(found)
        return Q(ticket__in=found.tickets) | Q(messages__conversation__in=found.conversations)

    def get_search_results(self, *args: Any) -> Any:
        """Return the rows that match the search text, and True, because they may contain duplicates.

        A broadcast is found once for each of its messages that match.
        """
        broadcasts, _ = super().get_search_results(*args)
        return broadcasts, True

    @admin.display(description="posted as", ordering="is_note")
    def posted_as(self, broadcast: Broadcast) -> str:
        return NOTE if broadcast.is_note else REPLY

    @admin.display(description="outcomes")
    def outcomes(self, broadcast: Broadcast) -> str:
        """Return for example "3 posted, 1 failed, 2 left out"."""
        counts = self._counts.get(broadcast.pk, {})
        outcomes = [f"{counts[state]} {state.label}" for state in State if state in counts]
        if broadcast.left_out:
            outcomes.append(f"{len(broadcast.left_out)} left out")
        return ", ".join(outcomes) or "-"

    @admin.display(description="text")
    def text(self, broadcast: Broadcast) -> str:
        # All messages of a broadcast have the same text, but it may be erased in some of them.
        message = broadcast.messages.filter(cleaned_at=None).order_by("pk").first()
        if message is None:
            return "Deleted (end of the retention period, or at the contact's request)."
        return self.readable(message.body)

    @admin.display(description="failed")
    def failed(self, broadcast: Broadcast) -> str:
        """Return a link to each failed message, with its conversation and the reason."""
        failed = broadcast.messages.filter(state=State.FAILED).select_related("conversation")
        links = []
        for message in failed.order_by("pk"):
            reason = self.reason(message.reason_code, message.reason_detail)
            links.append(self.record_link(message, f"{message.conversation}: {reason}"))
        return stacked(links)

    @admin.display(description="left out")
    def left_out_conversations(self, broadcast: Broadcast) -> str:
        """Return the conversations in which nothing was posted, and why."""
        reason_codes = {entry["conversation"]: str(entry.get("reason", "")) for entry in broadcast.left_out}
        if not reason_codes:
            return NOTHING
        conversations = Conversation.objects.filter(pk__in=reason_codes).order_by("pk")
        return stacked(
            self.record_link(conversation, f"{conversation}: {reason_label(reason_codes[conversation.pk])}")
            for conversation in conversations
        )
