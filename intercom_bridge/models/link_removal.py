from __future__ import annotations

from django.db import models
from django.utils import timezone

from .conversation import Conversation
from .outgoing_message import OutgoingMessage
from .ticket import Ticket


class LinkRemovalQuerySet(models.QuerySet["LinkRemoval"]):
    def not_undone(self) -> LinkRemovalQuerySet:
        """Return the removals that were not undone."""
        return self.filter(undone_at=None)

    def unsynced(self) -> LinkRemovalQuerySet:
        """Return the removals that iTop's attributes (those of the PHP extension) do not show yet."""
        return self.not_undone().filter(attributes_synced=False)


class LinkRemoval(models.Model):
    """A link that a teammate removed, with the data to restore it."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="link_removals")
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="link_removals")
    unlinked_by = models.CharField(max_length=200, blank=True, help_text="The teammate who unlinked it.")
    unlinked_at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(null=True, blank=True)
    # The note about the removal. An undo withdraws the note if it is not posted yet.
    note = models.ForeignKey(
        OutgoingMessage, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    # The values of the removed link.
    linked_by = models.CharField(max_length=200, blank=True)
    linked_at = models.DateTimeField()
    sync_on = models.BooleanField()
    pauses = models.JSONField(default=list, blank=True, editable=False)
    since_part_at = models.BigIntegerField(editable=False)
    since_part_order = models.BigIntegerField(editable=False)
    # The deliveries that the removal skipped, each as a SkippedDelivery.
    left_out = models.JSONField(default=list, blank=True, editable=False)
    # Whether the PHP extension's attributes in iTop no longer name this conversation, or do not exist.
    attributes_synced = models.BooleanField(default=False, editable=False)

    objects = LinkRemovalQuerySet.as_manager()

    class Meta:
        verbose_name = "removed link"
        indexes = [
            models.Index(
                fields=["attributes_synced"],
                name="link_removal_push",
                condition=models.Q(attributes_synced=False, undone_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.ticket} no longer ↔ {self.conversation}"
