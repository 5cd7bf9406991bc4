from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Q
from django.utils import timezone

from .lease import Leased
from .workspace import Workspace

# While messages come, and for a day after the last one.
COMPARED_EVERY_SECONDS = 3600.0


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def known(self, workspace: Workspace, conversation_id: str) -> Conversation:
        return self.get_or_create(workspace=workspace, conversation_id=conversation_id)[0]

    def due_for_comparing(self) -> ConversationQuerySet:
        return self.filter(reconcile_at__lte=timezone.now()).order_by("reconcile_at", "pk")

    def compare_within(self, seconds: float) -> int:
        """Has them compared with Intercom in so many seconds, where that is not to be done earlier already."""
        then = timezone.now() + dt.timedelta(seconds=seconds)
        return self.filter(Q(reconcile_at=None) | Q(reconcile_at__gt=then)).update(reconcile_at=then)

    def look_for_missed(self, workspace: Workspace) -> int:
        """Has those whose messages are written compared now: what came while their workspace was off was skipped."""
        linked = self.filter(workspace=workspace, links__sync_on=True)
        return self.filter(pk__in=linked.values("pk")).compare_within(0)


class Conversation(Leased):
    """An Intercom conversation that a ticket was, or is to be, linked to. Its lease serialises presses of Create."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="conversations")
    conversation_id = models.CharField("conversation", max_length=64)
    # When it is compared with Intercom's own next: a notification can be lost.
    reconcile_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Why that was not possible lately, and how often in a row.
    reconcile_trouble = models.CharField(max_length=500, blank=True, editable=False)
    reconcile_failures = models.PositiveIntegerField(default=0, editable=False)
    # When it was merged into another one, in Unix seconds: Intercom says that it was, and not into which.
    merged_away_at = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "conversation_id"], name="one_row_a_conversation")
        ]
        indexes = [
            models.Index(
                fields=["reconcile_at"],
                name="conversation_reconcile",
                condition=models.Q(reconcile_at__isnull=False),
            )
        ]

    def learn_merged_away(self, at: int) -> None:
        """Keeps when it was merged into another conversation; 0 says nothing about it."""
        if at and at != self.merged_away_at:
            self.merged_away_at = at
            self.save(update_fields=["merged_away_at"])

    @property
    def names(self) -> dict[str, str]:
        """What a line of the log calls it."""
        return {"workspace": self.workspace.workspace_id, "conversation": self.conversation_id}

    def __str__(self) -> str:
        return self.conversation_id
