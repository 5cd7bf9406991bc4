from __future__ import annotations

from django.db import models
from django.utils import timezone

from .itop_instance import ItopInstance
from .workspace import Workspace


class CachedTicketsQuerySet(models.QuerySet["CachedTickets"]):
    def outdate(self, itop: ItopInstance, person_id: int) -> int:
        """Make the next panel request query iTop again. If iTop is down, the panel still shows the cached rows."""
        return self.filter(workspace__itop=itop, person_id=person_id).update(question="")

    def with_link_changes(self) -> CachedTicketsQuerySet:
        """Return the rows whose `link_changes` are not applied yet, oldest first."""
        return self.filter(link_changes__isnull=False).order_by("at", "pk")


class CachedTickets(models.Model):
    """The last list of a person's tickets that the panel showed in a conversation.

    The panel shows it while iTop is slow or down. It contains titles of tickets, so sync/retention.py deletes it after
    some days.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="cached_tickets")
    person_id = models.PositiveBigIntegerField("Person in iTop")
    conversation_id = models.CharField("conversation", max_length=64)
    # A digest of the workspace's scope and iTop. After either has changed, the list must not be displayed.
    terms = models.CharField(max_length=64)
    # A digest of the query; "" if the bridge has changed one of the tickets since, so that the list is outdated.
    question = models.CharField(max_length=64, blank=True)
    rows = models.JSONField(default=list)
    # Whether iTop has more tickets than `rows`.
    more = models.BooleanField(default=False)
    # The differences between iTop and our links that a worker has to apply (tickets/links/adopt.py); null if none.
    link_changes = models.JSONField(null=True, editable=False)
    # When iTop returned the list.
    at = models.DateTimeField(default=timezone.now)

    objects = CachedTicketsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "cached tickets"
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "person_id", "conversation_id"], name="cached_tickets_unique"
            )
        ]
        indexes = [
            models.Index(fields=["at"], name="cached_tickets_at"),
            models.Index(
                fields=["at"], name="cached_tickets_changes", condition=models.Q(link_changes__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person_id} in {self.conversation_id}"
