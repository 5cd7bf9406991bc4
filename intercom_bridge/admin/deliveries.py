"""The admin of deliveries. A delivery is one message on its way to one ticket."""

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
    """The admin in which deliveries are retried, skipped and verified."""

    list_display = ("created", "state", "reason_text", "message", "log_label", "ticket")
    actions = ("retry", "skip", "verify")
    skip = skip_action("only waiting or failed deliveries can be skipped.")
    # A worker looks for the entries of written deliveries in the tickets' logs again.
    verify = RowAction(
        short_description="Verify in iTop's log",
        eligible=DeliveryQuerySet.verifiable,
        change=lambda rows, _: rows.verify_now(),
        history="Verification requested.",
        done="will be verified: the bridge looks for the entry in the ticket's log. If the entry was lost because "
        "someone saved the ticket, the bridge writes it again. If it is missing for another cause, the delivery's "
        "reason says so.",
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

    # The first words of each message of the list, by the delivery's primary key.
    _first_words: Mapping[int, str] = {}

    def prepare_rows(self, rows: Iterable[Delivery]) -> None:
        """Read the customers' names and, if the viewer may read messages, the first words of the messages."""
        super().prepare_rows(rows)
        if self.may_read:
            parts = Delivery.objects.filter(pk__in=[row.pk for row in rows]).values_list("pk", "part")
            self._first_words = {pk: first_words(str(part.get("body", ""))) for pk, part in parts}

    @admin.display(description="message", ordering="author")
    def message(self, delivery: Delivery) -> str:
        """Return the author and, if the viewer may read messages, how the message begins."""
        words = self._first_words.get(delivery.pk)
        if words:
            return with_words(delivery.author, words)
        return delivery.author or "-"

    @admin.display(description="log", ordering="log")
    def log_label(self, delivery: Delivery) -> str:
        return str(dict(Log.choices).get(delivery.log, "-"))

    @admin.display(description="log")
    def log_code(self, delivery: Delivery) -> str:
        """Return the log that the message goes to, with the code of its attribute in iTop."""
        if not delivery.log:
            return "None: the message is not written."
        return f"{self.log_label(delivery)} ({delivery.conversation.workspace.profile.code(delivery.log)})"

    @admin.display(description="author in iTop")
    def entry_author(self, delivery: Delivery) -> str:
        """Return under which iTop account the entry is written, or "-" if there is no rendered entry."""
        item = delivery.item
        if not item:
            return "-"
        if item.get("user_id"):
            return f"The author's own account in iTop (user ID {item['user_id']})."
        if item.get("user_login"):
            return self.readable(str(item["user_login"]))
        return "The bridge's own account. The text names the author."

    @admin.display(description="entry")
    def entry(self, delivery: Delivery) -> str:
        """Return the log entry as iTop displays it, or why there is none."""
        if delivery.cleaned_at:
            return payload_block(delivery, delivery.item, with_texts=self.may_read)
        if delivery.item is not None:
            return entry_block(str(delivery.item.get("message", "")), with_texts=self.may_read)
        if delivery.written_at:
            return "The message was copied when the ticket was created: see the ticket creation."
        if delivery.log:
            return "The entry was not rendered yet."
        return "None: the message is not written."

    @admin.display(description="log entry")
    def item_json(self, delivery: Delivery) -> str:
        if delivery.item is None and delivery.cleaned_at is None:
            return "The entry was not rendered yet."
        return payload_block(delivery, delivery.item, with_texts=self.may_read)

    @admin.display(description="conversation part")
    def part_json(self, delivery: Delivery) -> str:
        return payload_block(delivery, delivery.part, with_texts=self.may_read)
