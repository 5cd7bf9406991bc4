from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from .broadcast import Broadcast
from .conversation import Conversation
from .job import Job, JobQuerySet, uncleaned_index
from .reason import ReasonCode


class OutgoingMessageQuerySet(JobQuerySet["OutgoingMessage"]):
    def part_ids_in(self, conversation: Conversation) -> frozenset[str]:
        """Return the ids of the parts that the bridge posted in the conversation."""
        posted = self.filter(conversation=conversation).exclude(part_id="")
        return frozenset(posted.values_list("part_id", flat=True))

    def next_due(self) -> OutgoingMessageQuerySet:
        """Return the messages that a worker may post now: the first waiting message of each conversation, if it is due.

        A message that waits so that it can be withdrawn does not count as the first, so later messages can overtake it.
        """
        # The claim of a message sets its due time by the database's clock, so this clock decides, too. Otherwise, a
        # worker whose own clock is ahead would take a claimed message. SQLite's clock has only milliseconds.
        is_unclaimed = Q(attempts=0) | Q(due_at__lte=Now() + dt.timedelta(milliseconds=2))
        # Only notes about unlinked tickets can be withdrawn (tickets/links/notes.py). They have no `once_key`.
        is_withdrawable = Q(attempts=0, once_key="", due_at__gt=timezone.now())
        earlier = self.model.objects.waiting().filter(
            conversation=OuterRef("conversation"), pk__lt=OuterRef("pk")
        )
        first = self.due().filter(is_unclaimed, ~Exists(earlier.exclude(is_withdrawable)))
        return first.order_by("due_at", "pk")


def is_token_refused() -> Q:
    """Return a condition on Workspace: Intercom refuses its access token.

    This is so if a message or a comparison of a conversation waits for that reason.
    """
    code = ReasonCode.INTERCOM_TOKEN_REFUSED
    messages = OutgoingMessage.objects.waiting().filter(
        conversation__workspace=OuterRef("pk"), reason_code=code
    )
    conversations = Conversation.objects.filter(
        workspace=OuterRef("pk"), reconcile_at__isnull=False, reconcile_code=code
    )
    return Exists(messages) | Exists(conversations)


class OutgoingMessage(Job):
    """A message or note that the bridge posts in a conversation.

    Intercom accepts only teammates as authors. If `admin_id` is empty, the owner of the access token is the author.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        POSTED = "posted", "posted"
        FAILED = "failed", "failed"

    WAITING_STATE = State.WAITING
    FAILED_STATE = State.FAILED
    WITHOUT_CONTENT = {"body": ""}

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="outgoing_messages")
    admin_id = models.CharField(max_length=64, blank=True)
    # The teammate who sent it in the panel; "" if the bridge posts it on its own.
    admin_name = models.CharField("teammate", max_length=200, blank=True, editable=False)
    is_note = models.BooleanField(default=False)
    body = models.TextField(help_text="HTML")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # The id of the posted part in Intercom. The bridge recognises its own message by this id in webhook notifications.
    part_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # An idempotency key: a conversation gets only one message with this key. "" for a message without such a limit.
    once_key = models.CharField(max_length=100, blank=True, editable=False)
    broadcast = models.ForeignKey(
        Broadcast, models.SET_NULL, null=True, blank=True, related_name="messages", editable=False
    )
    # Whether the bridge opens the conversation after posting, and to whom it assigns the conversation then: {"type":
    # "admin" or "team", "id": …}, or {} to leave the assignee unchanged.
    reopens = models.BooleanField(default=False, editable=False)
    assign_to = models.JSONField(default=dict, blank=True, editable=False)
    reopened_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = OutgoingMessageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "once_key"],
                name="outgoing_message_once",
                condition=models.Q(once_key__gt=""),
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], name="outgoing_message_due", condition=models.Q(state="waiting")),
            uncleaned_index("outgoing_message_payload", "state", "created_at"),
        ]

    def __str__(self) -> str:
        return f"{'note' if self.is_note else 'comment'} in {self.conversation}"
