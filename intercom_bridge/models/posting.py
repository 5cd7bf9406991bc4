from __future__ import annotations

from django.db import models
from django.utils import timezone

from .conversation import Conversation


class PostingQuerySet(models.QuerySet["Posting"]):
    def unfinished(self) -> PostingQuerySet:
        return self.filter(state=Posting.State.WAITING)

    def due(self) -> PostingQuerySet:
        return self.unfinished().filter(due_at__lte=timezone.now())

    def part_ids_in(self, conversation: Conversation) -> frozenset[str]:
        """The ids of the parts that Intercom made of what we said in the conversation."""
        posted = self.filter(conversation=conversation).exclude(part_id="")
        return frozenset(posted.values_list("part_id", flat=True))

    def retriable(self) -> PostingQuerySet:
        """Failed, and its words are still kept."""
        return self.filter(state=Posting.State.FAILED, cleaned_at=None)

    def try_again(self) -> int:
        """Puts failed ones back. An earlier try may have arrived: this is never taken for the first."""
        return self.retriable().update(
            state=Posting.State.WAITING, reason="", attempts=1, due_at=timezone.now()
        )


class Posting(models.Model):
    """Something we say in a conversation, as a teammate: the link to a new ticket, a note about a linked one."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        POSTED = "posted", "posted"
        FAILED = "failed", "failed"

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="postings")
    admin_id = models.CharField(max_length=64)
    is_note = models.BooleanField(default=False)
    body = models.TextField(help_text="HTML")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    # The part it became: how we know it again when it comes back as a webhook.
    part_id = models.CharField(max_length=64, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)
    # When its payload was no longer kept (sync/retention.py).
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PostingQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], name="posting_due", condition=models.Q(state="waiting")),
            models.Index(
                fields=["state", "created_at"],
                name="posting_payload",
                condition=models.Q(cleaned_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{'note' if self.is_note else 'comment'} in {self.conversation}"
