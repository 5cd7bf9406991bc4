from __future__ import annotations

from django.db import models

from .conversation import Conversation
from .ticket import Ticket


class TicketLinkQuerySet(models.QuerySet["TicketLink"]):
    def of_conversation(self, conversation: Conversation) -> TicketLinkQuerySet:
        return self.filter(conversation=conversation).select_related("ticket").order_by("created_at", "pk")

    def linked_last(self, ticket: Ticket) -> TicketLink | None:
        """Of a ticket's links the newest."""
        return self.filter(ticket=ticket).order_by("created_at", "pk").last()

    def syncing(self) -> TicketLinkQuerySet:
        return self.filter(sync_on=True)


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

    objects = TicketLinkQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "ticket"], name="linked_once")]

    def __str__(self) -> str:
        return f"{self.ticket} ↔ {self.conversation}"
