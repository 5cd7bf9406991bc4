from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Q
from django.utils import timezone

from intercom_bridge.intercom.client import conversation_url

from .lease import Leased
from .reason import ReasonCode
from .workspace import Workspace

# Conversations are compared this often until a day after their last message.
COMPARED_EVERY_SECONDS = 3600.0


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def known(self, workspace: Workspace, conversation_id: str) -> Conversation:
        return self.get_or_create(workspace=workspace, conversation_id=conversation_id)[0]

    def due_for_comparing(self) -> ConversationQuerySet:
        return self.filter(reconcile_at__lte=timezone.now()).order_by("reconcile_at", "pk")

    def compare_within(self, seconds: float) -> int:
        """Compare the conversations within `seconds`, if no earlier comparison is due."""
        then = timezone.now() + dt.timedelta(seconds=seconds)
        return self.filter(Q(reconcile_at=None) | Q(reconcile_at__gt=then)).update(reconcile_at=then)

    def look_for_missed(self, workspace: Workspace) -> int:
        """Compare a workspace's syncing conversations now: messages that arrived while it was disabled were skipped."""
        linked = self.filter(workspace=workspace, links__sync_on=True)
        return self.filter(pk__in=linked.values("pk")).compare_within(0)


class Conversation(Leased):
    """An Intercom conversation with a ticket, or whose customer a teammate chose. Its lease serialises creations."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="conversations")
    conversation_id = models.CharField("conversation", max_length=64)
    # When it is next compared with Intercom, because a notification can be lost.
    reconcile_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Why the last comparison failed, and how many failed in a row.
    reconcile_code = models.CharField(
        "problem of the last comparison",
        max_length=40,
        choices=ReasonCode.choices,
        blank=True,
        editable=False,
    )
    reconcile_detail = models.CharField(max_length=500, blank=True, editable=False)
    reconcile_failures = models.PositiveIntegerField(default=0, editable=False)
    # When it was merged into another one (Unix seconds). Intercom does not say into which.
    merged_away_at = models.BigIntegerField(default=0, editable=False)
    # When too many posts stopped the bridge from posting here, until a teammate or an admin resumes it.
    posting_stopped_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What its attributes in Intercom show: the reference and the status code of the ticket that was linked last.
    shown_attributes = models.CharField(max_length=210, blank=True, default="", editable=False)
    # Until when one worker updates them. It is not the lease: creations must not wait for a slow Intercom.
    attributes_claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    # Counts the panel's clicks that changed something (tickets/version.py).
    panel_version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "conversation_id"], name="conversation_unique")
        ]
        indexes = [
            models.Index(
                fields=["reconcile_at"],
                name="conversation_reconcile",
                condition=models.Q(reconcile_at__isnull=False),
            )
        ]

    def learn_merged_away(self, at: int) -> None:
        """Store when the conversation was merged into another; 0 means unknown."""
        if at and at != self.merged_away_at:
            self.merged_away_at = at
            self.save(update_fields=["merged_away_at"])

    @property
    def names(self) -> dict[str, str]:
        """The log fields that identify the conversation."""
        return {"workspace": self.workspace.workspace_id, "conversation": self.conversation_id}

    @property
    def url(self) -> str:
        """The conversation's address in Intercom's inbox."""
        return conversation_url(self.workspace.region, self.workspace.workspace_id, self.conversation_id)

    def __str__(self) -> str:
        return self.conversation_id
