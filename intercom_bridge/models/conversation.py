from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Q
from django.utils import timezone

from intercom_bridge.intercom.client import conversation_url

from .lease import Leased
from .reason import ReasonCode
from .workspace import Workspace

# Until a day after its last message, a conversation is compared with Intercom this often (sync/reconcile.py).
COMPARED_EVERY_SECONDS = 3600.0


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def find_or_create(self, workspace: Workspace, conversation_id: str) -> Conversation:
        return self.get_or_create(workspace=workspace, conversation_id=conversation_id)[0]

    def due_for_comparing(self) -> ConversationQuerySet:
        return self.filter(reconcile_at__lte=timezone.now()).order_by("reconcile_at", "pk")

    def compare_within(self, seconds: float) -> int:
        """Schedule a comparison in `seconds`, except where one is scheduled earlier. Return how many were scheduled."""
        then = timezone.now() + dt.timedelta(seconds=seconds)
        return self.filter(Q(reconcile_at=None) | Q(reconcile_at__gt=then)).update(reconcile_at=then)

    def compare_syncing_now(self, workspace: Workspace) -> int:
        """Schedule a comparison of the workspace's conversations whose sync is on. Return how many were scheduled.

        The comparison fetches the messages that were skipped while the workspace was disabled.
        """
        syncing = self.filter(workspace=workspace, links__sync_on=True)
        return self.filter(pk__in=syncing.values("pk")).compare_within(0)


class Conversation(Leased):
    """An Intercom conversation that has a ticket, or for whose customer a teammate chose the person in iTop.

    Its lease ensures that only one ticket at a time is created from it.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="conversations")
    conversation_id = models.CharField("conversation", max_length=64)
    # When the next comparison with Intercom is due; null for never. It finds messages whose notifications were lost.
    reconcile_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Why the last comparison failed, and how many comparisons have failed in a row.
    reconcile_code = models.CharField(
        "problem of the last comparison",
        max_length=40,
        choices=ReasonCode.choices,
        blank=True,
        editable=False,
    )
    reconcile_detail = models.CharField(max_length=500, blank=True, editable=False)
    reconcile_failures = models.PositiveIntegerField(default=0, editable=False)
    # When it was merged into another conversation, in Unix seconds; 0 if it was not. Intercom does not name the other.
    merged_away_at = models.BigIntegerField(default=0, editable=False)
    # When the bridge stopped posting here because of too many posts; null again once somebody resumes posting.
    posting_stopped_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What its attributes in Intercom show: the reference and the status code of the ticket that was linked last.
    shown_attributes = models.CharField(max_length=210, blank=True, default="", editable=False)
    # Until when a worker has the exclusive right to update the attributes. The lease does not protect them, because the
    # creation of a ticket must not wait for a slow Intercom.
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
        """Store when the conversation was merged into another one (Unix seconds). Do nothing if `at` is 0 (unknown)."""
        if at and at != self.merged_away_at:
            self.merged_away_at = at
            self.save(update_fields=["merged_away_at"])

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields that identify the conversation in a line of our log."""
        return {"workspace": self.workspace.workspace_id, "conversation": self.conversation_id}

    @property
    def url(self) -> str:
        """The conversation's address in Intercom's inbox."""
        return conversation_url(self.workspace.region, self.workspace.workspace_id, self.conversation_id)

    def __str__(self) -> str:
        return self.conversation_id
