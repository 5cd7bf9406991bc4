from __future__ import annotations

from django.db import models

from .conversation import Conversation
from .ticket import Ticket

# Older pauses do not matter, because Intercom returns only the 500 newest parts of a conversation.
MAX_PAUSES = 50


class TicketLinkQuerySet(models.QuerySet["TicketLink"]):
    def of_conversation(self, conversation: Conversation) -> TicketLinkQuerySet:
        return self.filter(conversation=conversation).select_related("ticket").order_by("created_at", "pk")

    def linked_last(self, ticket: Ticket) -> TicketLink | None:
        """Return the newest link of a ticket."""
        return self.filter(ticket=ticket).order_by("created_at", "pk").last()

    def syncing(self) -> TicketLinkQuerySet:
        return self.filter(sync_on=True)

    def are_paused(self) -> bool:
        """Return whether there are links and all of them are paused."""
        return self.exists() and not self.syncing().exists()


class TicketLink(models.Model):
    """A conversation and a ticket. While the sync is on, each new message is written to the ticket's log."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="links")
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="links")
    sync_on = models.BooleanField("sync", default=True)
    linked_by = models.CharField(max_length=200, blank=True, help_text="The teammate who linked it.")
    created_at = models.DateTimeField("linked at", auto_now_add=True)
    # The time and the order (Delivery.part_order) of the last part before the link. Parts up to it are not copied.
    since_part_at = models.BigIntegerField(default=0, editable=False)
    since_part_order = models.BigIntegerField(default=0, editable=False)
    # Whether the PHP extension's attributes in iTop match this row. Also True if iTop has no such attributes.
    attributes_synced = models.BooleanField(default=False, editable=False)
    # The pauses of the sync: {"since", "until"} each, in Unix seconds. "until" is null during the pause.
    pauses = models.JSONField(default=list, editable=False)

    objects = TicketLinkQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "ticket"], name="ticket_link_unique")]

    def __str__(self) -> str:
        return f"{self.ticket} ↔ {self.conversation}"

    def switch(self, *, on: bool, at: float) -> None:
        """Pause or resume the sync, and store the pause. `at` is the time of the change, in Unix seconds."""
        is_pause_open = bool(self.pauses) and self.pauses[-1]["until"] is None
        if not on:
            self.pauses = [*self.pauses, {"since": at, "until": None}][-MAX_PAUSES:]
        elif is_pause_open:
            self.pauses[-1]["until"] = at
        elif not self.sync_on:
            # The link was adopted from the PHP extension with its sync off, so it was paused since its creation.
            pause = {"since": self.created_at.timestamp(), "until": at}
            self.pauses = [*self.pauses, pause][-MAX_PAUSES:]
        self.sync_on, self.attributes_synced = on, False
        self.save(update_fields=["sync_on", "attributes_synced", "pauses"])

    def was_paused_at(self, at: int) -> bool:
        """Return whether the sync was paused at this time, in Unix seconds.

        Intercom's times are whole seconds. The second in which the sync was resumed does not count as paused, because
        people can delete a needless copy of a message, but would not notice a missing message.
        """
        return any(
            int(pause["since"]) <= at and (pause["until"] is None or at < int(pause["until"]))
            for pause in self.pauses
        )
