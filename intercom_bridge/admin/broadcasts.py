"""The admin of broadcasts: a text that a teammate posted in all conversations of a ticket."""

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
    """Filter by what the teammate posted."""

    title = "posted as"
    parameter_name = "posted_as"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("note", NOTE), ("reply", REPLY)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(is_note=self.value() == "note") if self.value() else queryset


@admin.register(Broadcast)
class BroadcastAdmin(SearchableAdmin):
    """Each conversation has a message of its own, which can be retried on its page."""

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

    _counts: Mapping[int, Mapping[str, int]] = {}

    def prepare_rows(self, rows: Iterable[Broadcast]) -> None:
        """Count the messages of the page's broadcasts by state."""
        keys = [row.pk for row in rows]
        counts: dict[int, dict[str, int]] = {}
        found = OutgoingMessage.objects.filter(broadcast__in=keys).order_by()
        for broadcast, state, count in found.values_list("broadcast", "state").annotate(Count("pk")):
            counts.setdefault(broadcast, {})[state] = count
        self._counts = counts

    def search_condition(self, found: SearchResult) -> Q:
        if not found:
            return super().search_condition(found)
        return Q(ticket__in=found.tickets) | Q(messages__conversation__in=found.conversations)

    def get_search_results(self, *args: Any) -> Any:
        """Return the rows that match. A broadcast has several conversations, so it may be found twice."""
        return super().get_search_results(*args)[0], True

    @admin.display(description="posted as", ordering="is_note")
    def posted_as(self, broadcast: Broadcast) -> str:
        return NOTE if broadcast.is_note else REPLY

    @admin.display(description="outcomes")
    def outcomes(self, broadcast: Broadcast) -> str:
        counts = self._counts.get(broadcast.pk, {})
        parts = [f"{counts[state]} {state.label}" for state in State if state in counts]
        parts += [f"{len(broadcast.left_out)} left out"] if broadcast.left_out else []
        return ", ".join(parts) or "-"

    @admin.display(description="text")
    def text(self, broadcast: Broadcast) -> str:
        message = broadcast.messages.order_by("pk").first()
        if message is None or message.cleaned_at is not None:
            return "Deleted (end of the retention period, or at the contact's request)."
        return self.readable(message.body)

    @admin.display(description="failed")
    def failed(self, broadcast: Broadcast) -> str:
        rows = broadcast.messages.filter(state=State.FAILED).select_related("conversation").order_by("pk")
        return stacked(
            self.record_link(row, f"{row.conversation}: {self.reason(row.reason_code, row.reason_detail)}")
            for row in rows
        )

    @admin.display(description="left out")
    def left_out_conversations(self, broadcast: Broadcast) -> str:
        """Return the conversations that got no message of their own, and why."""
        reasons = {entry["conversation"]: str(entry.get("reason", "")) for entry in broadcast.left_out}
        if not reasons:
            return NOTHING
        found = Conversation.objects.filter(pk__in=reasons).order_by("pk")
        return stacked(self.record_link(row, f"{row}: {reason_label(reasons[row.pk])}") for row in found)
