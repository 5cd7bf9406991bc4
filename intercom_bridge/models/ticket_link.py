from __future__ import annotations

from django.db import models

from .conversation import Conversation
from .ticket import Ticket

# Older ones no longer matter: Intercom hands over a conversation's newest 500 parts.
PAUSES_KEPT = 50


class TicketLinkQuerySet(models.QuerySet["TicketLink"]):
    def of_conversation(self, conversation: Conversation) -> TicketLinkQuerySet:
        return self.filter(conversation=conversation).select_related("ticket").order_by("created_at", "pk")

    def linked_last(self, ticket: Ticket) -> TicketLink | None:
        """Of a ticket's links the newest."""
        return self.filter(ticket=ticket).order_by("created_at", "pk").last()

    def syncing(self) -> TicketLinkQuerySet:
        return self.filter(sync_on=True)

    def are_paused(self) -> bool:
        """Whether there are any, and all of them are paused: a ticket that is linked now is paused with them."""
        return self.exists() and not self.syncing().exists()


class TicketLink(models.Model):
    """One conversation and one ticket. While its sync is on, each new message lands in the ticket's log."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="links")
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="links")
    sync_on = models.BooleanField("sync", default=True)
    linked_by = models.CharField(max_length=200, blank=True, help_text="The teammate who linked it.")
    created_at = models.DateTimeField("linked at", auto_now_add=True)
    # The last part the conversation had when it was linked: what came before it is not copied.
    since_part_at = models.BigIntegerField(default=0, editable=False)
    since_part_order = models.BigIntegerField(default=0, editable=False)
    # Where iTop has the PHP extension's attributes: whether they say what this row says.
    in_step = models.BooleanField(default=False, editable=False)
    # [from, until] of each time that the sync was paused, Unix seconds; until is null while it lasts.
    pauses = models.JSONField(default=list, editable=False)

    objects = TicketLinkQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "ticket"], name="linked_once")]

    def __str__(self) -> str:
        return f"{self.ticket} ↔ {self.conversation}"

    def switch(self, *, on: bool, at: float) -> None:
        """Pauses or resumes the sync, and remembers from when to when it was paused (`at`: Unix seconds).

        A link may be made with its sync off, as the PHP extension left it: it has been paused since then.
        """
        if not on:
            self.pauses = [*self.pauses, [at, None]][-PAUSES_KEPT:]
        elif self.pauses and self.pauses[-1][1] is None:
            self.pauses[-1][1] = at
        elif not self.sync_on:
            self.pauses = [*self.pauses, [self.created_at.timestamp(), at]][-PAUSES_KEPT:]
        self.sync_on, self.in_step = on, False
        self.save(update_fields=["sync_on", "in_step", "pauses"])

    def was_paused_at(self, at: float) -> bool:
        return any(since <= at and (until is None or at < until) for since, until in self.pauses)
