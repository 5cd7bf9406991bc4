"""The admin of changes in iTop, with the outcome of each change in each linked conversation."""

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
    """The admin of changes in iTop, one row per change and conversation.

    If the message about a change has failed, it is retried on the message's own page.
    """

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
            description="Changes that were saved together in iTop are reported in one message. If the message failed, "
            "retry it on the message's own page.",
        ),
    )

    # The first words of each change's text, by the primary key of the row.
    _first_words: Mapping[int, str] = {}

    def prepare_rows(self, rows: Iterable[TicketEvent]) -> None:
        """Read the customers' names and, if the viewer may read messages, the first words of the texts."""
        super().prepare_rows(rows)
        if self.may_read:
            events = TicketEvent.objects.filter(pk__in=[row.pk for row in rows])
            texts = events.values_list("pk", Substr("content", 1, 1000))
            self._first_words = {pk: first_words(text) for pk, text in texts if text}

    @admin.display(description="change", ordering="author_name")
    def change(self, event: TicketEvent) -> str:
        """Return the author and the old and new value. If the viewer may read messages, add how the text begins."""
        values = f"{event.before or '–'} → {event.after or '–'}" if event.before or event.after else ""
        summary = ", ".join(filter(None, (event.author_name, values))) or "-"
        return with_words(summary, self._first_words.get(event.pk))

    @admin.display(description="outcome", ordering="message__state")
    def outcome(self, event: TicketEvent) -> str:
        if event.message is None:
            return NOT_REPORTED
        kind = "note" if event.message.is_note else "reply"
        return self.record_link(event.message, f"{kind} {event.message.get_state_display()}")

    @admin.display(description="reason")
    def reason_text(self, event: TicketEvent) -> str:
        """Return why the change was not reported, or why the message about it is waiting or has failed."""
        if event.message is not None and not event.reason_code:
            return self.reason(event.message.reason_code, event.message.reason_detail)
        return self.reason(event.reason_code, event.reason_detail)

    @admin.display(description="text")
    def text(self, event: TicketEvent) -> str:
        if event.cleaned_at is not None:
            return payload_block(event, event.content, with_texts=self.may_read)
        return entry_block(event.content, with_texts=self.may_read) if event.content else NOTHING
