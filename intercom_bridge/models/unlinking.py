from __future__ import annotations

from django.db import models
from django.utils import timezone

from .conversation import Conversation
from .ticket import Ticket


class UnlinkingQuerySet(models.QuerySet["Unlinking"]):
    def standing(self) -> UnlinkingQuerySet:
        """Those that nobody has undone."""
        return self.filter(undone_at=None)

    def to_be_told(self) -> UnlinkingQuerySet:
        """Those that iTop's own attributes do not know of yet."""
        return self.standing().filter(in_step=False)


class Unlinking(models.Model):
    """A link that a teammate has taken away: what it was, so that it can be put back as it was."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="unlinkings")
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="unlinkings")
    unlinked_by = models.CharField(max_length=200, blank=True, help_text="The teammate who unlinked it.")
    unlinked_at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(null=True, blank=True)
    # What the link was.
    linked_by = models.CharField(max_length=200, blank=True)
    linked_at = models.DateTimeField()
    sync_on = models.BooleanField()
    pauses = models.JSONField(default=list, blank=True, editable=False)
    since_part_at = models.BigIntegerField(editable=False)
    since_part_order = models.BigIntegerField(editable=False)
    # [id, state, reason] of each delivery that was left out by it.
    left_out = models.JSONField(default=list, blank=True, editable=False)
    # Where iTop has the PHP extension's attributes: whether they no longer name this conversation.
    in_step = models.BooleanField(default=False, editable=False)

    objects = UnlinkingQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["in_step"],
                name="unlinking_to_be_told",
                condition=models.Q(in_step=False, undone_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.ticket} no longer ↔ {self.conversation}"
