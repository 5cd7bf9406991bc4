"""The admin of changes in iTop, and what became of each in each conversation."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Substr
from django.http import HttpRequest

from intercom_bridge.models import OutgoingMessage, TicketEvent

from .base import section
from .display import NOTHING, datetime_column, entry_block, first_words, payload_block, with_words
from .filters import ReasonFilter
from .records import WORKSPACE_FILTER, ConversationRecordAdmin

NOT_REPORTED = "not reported"


class OutcomeFilter(admin.SimpleListFilter):
    """Filter by the state of the message that reports the event."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [*OutgoingMessage.State.choices, ("none", NOT_REPORTED)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "none":
            return queryset.filter(message=None)
        return queryset.filter(message__state=self.value()) if self.value() else queryset


@admin.register(TicketEvent)
class TicketEventAdmin(ConversationRecordAdmin):
    """One row per change and conversation. A message that failed is retried on its own page."""

    seen = datetime_column("created_at", "seen")
    list_display = ("seen", "kind", "change", "ticket", "outcome", "reason_text")
    list_filter = (OutcomeFilter, "kind", ReasonFilter, "created_at", WORKSPACE_FILTER)
    linked_lookups = ("ticket__id__exact", "conversation__id__exact", "message__id__exact")
    list_select_related = ("ticket", "message")
    list_defer = ("content", "message__body")
    fieldsets = (
        section(None, ("ticket", "in_itop", "conversation", "in_intercom", "workspace")),
        section("In iTop", ("kind", "happened_at", "created_at", "author_name", "before", "after", "text")),
        section(
            "In Intercom",
            ("outcome", "reason_text", "reopened"),
            description="Changes saved together in iTop are reported in one message. "
            "If it failed, retry it on the message's page.",
        ),
    )

    _words: Mapping[int, str] = {}

    def prepare_rows(self, rows: Iterable[TicketEvent]) -> None:
        """Read the beginnings of the page's texts, in addition to the customers."""
        super().prepare_rows(rows)
        if self.may_read:
            texts = TicketEvent.objects.filter(pk__in=[row.pk for row in rows]).values_list(
                "pk", Substr("content", 1, 1000)
            )
            self._words = {pk: first_words(text) for pk, text in texts if text}

    @admin.display(description="change", ordering="author_name")
    def change(self, event: TicketEvent) -> str:
        """Return who changed what and, for those who may read messages, the first words."""
        values = f"{event.before or '–'} → {event.after or '–'}" if event.before or event.after else ""
        summary = ", ".join(filter(None, (event.author_name, values))) or "-"
        return with_words(summary, self._words.get(event.pk))

    @admin.display(description="outcome", ordering="message__state")
    def outcome(self, event: TicketEvent) -> str:
        if event.message is None:
            return NOT_REPORTED
        kind = "note" if event.message.is_note else "reply"
        return self.record_link(event.message, f"{kind} {event.message.get_state_display()}")

    @admin.display(description="reason")
    def reason_text(self, event: TicketEvent) -> str:
        """Return why it was not reported, or why its message waits or failed."""
        row = event if event.reason_code or event.message is None else event.message
        return self.reason(row.reason_code, row.reason_detail)

    @admin.display(description="text")
    def text(self, event: TicketEvent) -> str:
        if event.cleaned_at is not None:
            return payload_block(event, event.content, with_texts=self.may_read)
        return entry_block(event.content, with_texts=self.may_read) if event.content else NOTHING
