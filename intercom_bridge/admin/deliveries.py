"""The admin of deliveries: one message for one ticket."""

from collections.abc import Iterable, Mapping

from django.contrib import admin

from intercom_bridge.models import Delivery, Log
from intercom_bridge.models.delivery import DeliveryQuerySet

from .base import section
from .display import entry_block, first_words, payload_block, with_words
from .filters import LogFilter, ReasonFilter
from .part_records import PartRecordAdmin, skip_action
from .records import WORKSPACE_FILTER
from .row_actions import RowAction

State = Delivery.State


@admin.register(Delivery)
class DeliveryAdmin(PartRecordAdmin):
    """Deliveries can be retried, skipped and verified."""

    list_display = ("created", "state", "reason_text", "message", "log_label", "ticket")
    actions = ("retry", "skip", "verify")
    skip = skip_action("only waiting or failed deliveries can be skipped.")
    # Look for written deliveries in the logs again.
    verify = RowAction(
        short_description="Verify in iTop's log",
        eligible=DeliveryQuerySet.verifiable,
        change=lambda rows, _: rows.verify_now(),
        history="Verification requested.",
        done="will be looked for in the ticket's log. An entry that was lost when someone saved the ticket is "
        "written again. Any other missing entry is reported as the reason.",
        refused="only written deliveries whose contents are still stored can be verified.",
    )
    list_filter = ("state", ReasonFilter, LogFilter, "kind", "created_at", WORKSPACE_FILTER)
    linked_lookups = ("ticket__id__exact", "conversation__id__exact", "webhook_event__id__exact")
    list_defer = ("part", "item", "attempt_log")
    fieldsets = (
        section(None, ("ticket", "in_itop", "conversation", "in_intercom", "workspace", "webhook_event")),
        section("Message", ("kind", "part_id", "author", "sent_at")),
        section(
            "Status",
            (
                "state",
                "reason_text",
                "attempts",
                "erased_times",
                "due_at",
                "created_at",
                "written_at",
                "checked_at",
            ),
        ),
        section("Log entry", ("log_code", "entry_author", "entry")),
        section("Attempts", ("attempt_history",)),
        section("Request to iTop", ("idempotency_key", "item_json"), is_collapsed=True),
        section("Message from Intercom", ("part_json",), is_collapsed=True),
    )

    _words: Mapping[int, str] = {}

    def prepare_rows(self, rows: Iterable[Delivery]) -> None:
        """Read the messages of the page's rows, in addition to the customers."""
        super().prepare_rows(rows)
        if self.may_read:
            parts = Delivery.objects.filter(pk__in=[row.pk for row in rows]).values_list("pk", "part")
            self._words = {pk: first_words(str(part.get("body", ""))) for pk, part in parts}

    @admin.display(description="message", ordering="author")
    def message(self, delivery: Delivery) -> str:
        """Return the author and, for those who may read messages, the first words."""
        words = self._words.get(delivery.pk)
        return with_words(delivery.author, words) if words else delivery.author or "-"

    @admin.display(description="log", ordering="log")
    def log_label(self, delivery: Delivery) -> str:
        return str(dict(Log.choices).get(delivery.log, "-"))

    @admin.display(description="log")
    def log_code(self, delivery: Delivery) -> str:
        if not delivery.log:
            return "None: the message is not written."
        return f"{self.log_label(delivery)} ({delivery.conversation.workspace.profile.code(delivery.log)})"

    @admin.display(description="author in iTop")
    def entry_author(self, delivery: Delivery) -> str:
        item = delivery.item or {}
        if item.get("user_id"):
            return f"The author's own account in iTop (user ID {item['user_id']})."
        if item.get("user_login"):
            return self.readable(str(item["user_login"]))
        return "The bridge's own account. The text names the author." if item else "-"

    @admin.display(description="entry")
    def entry(self, delivery: Delivery) -> str:
        if delivery.cleaned_at:
            return payload_block(delivery, delivery.item, with_texts=self.may_read)
        if delivery.item is None:
            if delivery.written_at:
                return "Written with the ticket: see its ticket creation."
            return "Not rendered yet." if delivery.log else "None: the message is not written."
        return entry_block(str(delivery.item.get("message", "")), with_texts=self.may_read)

    @admin.display(description="log entry")
    def item_json(self, delivery: Delivery) -> str:
        if delivery.item is None and delivery.cleaned_at is None:
            return "Not rendered yet."
        return payload_block(delivery, delivery.item, with_texts=self.may_read)

    @admin.display(description="conversation part")
    def part_json(self, delivery: Delivery) -> str:
        return payload_block(delivery, delivery.part, with_texts=self.may_read)
