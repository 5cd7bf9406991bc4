from __future__ import annotations

from django.db import models
from django.utils import timezone

from .itop_instance import ItopInstance
from .workspace import Workspace


class KnownTicketsQuerySet(models.QuerySet["KnownTickets"]):
    def outdate(self, itop: ItopInstance, person_id: int) -> int:
        """Has iTop asked again for this person's tickets. What it said last is still there for when it is away."""
        return self.filter(workspace__itop=itop, person_id=person_id).update(question="")


class KnownTickets(models.Model):
    """What iTop said last of a person's tickets, in a conversation: so that the panel can answer without it.

    Titles of tickets are in it, and sync/retention.py deletes it after some days.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="known_tickets")
    person_id = models.PositiveBigIntegerField("Person in iTop")
    conversation_id = models.CharField("conversation", max_length=64)
    # Under which scope, of which iTop: under another one it is nobody's business.
    terms = models.CharField(max_length=64)
    # What was asked, in full; "" when something was written since.
    question = models.CharField(max_length=64, blank=True)
    rows = models.JSONField(default=list)
    more = models.BooleanField(default=False)
    # When iTop was asked.
    at = models.DateTimeField(default=timezone.now)

    objects = KnownTicketsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "known tickets"
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "person_id", "conversation_id"],
                name="one_list_a_person_and_conversation",
            )
        ]
        indexes = [models.Index(fields=["at"], name="known_tickets_at")]

    def __str__(self) -> str:
        return f"{self.person_id} in {self.conversation_id}"
