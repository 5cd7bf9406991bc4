from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db import IntegrityError, models, transaction
from django.db.models import F
from django.utils import timezone

from .conversation import Conversation
from .job import Job, JobQuerySet, uncleaned_index
from .reason import ReasonCode
from .ticket import Ticket
from .workspace import Workspace

# The doctor's pings have ids with this prefix.
DOCTOR_ID_PREFIX = "doctor_"


class WebhookEventQuerySet(JobQuerySet["WebhookEvent"]):
    def record(  # noqa: PLR0913 - one argument per column
        self,
        workspace: Workspace,
        notification_id: str,
        topic: str,
        conversation_id: str,
        body: bytes,
        contact_ids: Iterable[str] = (),
    ) -> WebhookEvent:
        """Store a notification and the contacts that it names, and return its row.

        If the notification was stored before, only count it. If its processing failed, queue it again.
        """
        try:
            with transaction.atomic():
                row = self.create(
                    workspace=workspace,
                    notification_id=notification_id,
                    topic=topic[:100],
                    conversation_id=conversation_id[:64],
                    body=body,
                )
                row.mention(contact_ids)
                return row
        except IntegrityError:
            row = self.get(workspace=workspace, notification_id=notification_id)
        self.filter(pk=row.pk).update(times_received=F("times_received") + 1)
        self.filter(pk=row.pk, state=WebhookEvent.State.FAILED).requeue()
        return row

    def due(self) -> WebhookEventQuerySet:
        """Return the events to process now, oldest first."""
        return super().due().order_by("pk")

    def unprocessed_of(self, ticket: Ticket) -> WebhookEventQuerySet:
        """Return the events of this ticket's conversations whose processing has not ended.

        Events that wait to find out whether the bridge posted the message itself are not returned.
        """
        conversations = Conversation.objects.filter(links__ticket=ticket)
        return (
            self.waiting()
            .exclude(reason_code=ReasonCode.OWN_POST_PENDING)
            .filter(
                conversation_id__in=conversations.values("conversation_id"),
                workspace__in=conversations.values("workspace"),
            )
            # Not `select_related`: with a join, the planner would start with the workspace and scan all its events.
            .prefetch_related("workspace")
            .order_by("pk")
        )

    def requeue_unlinked(self, workspace: Workspace, conversation_id: str, since: dt.datetime) -> int:
        """Queue again the events received since `since` that were skipped for lack of a link. Return how many."""
        return self.filter(
            workspace=workspace,
            conversation_id=conversation_id,
            state=WebhookEvent.State.SKIPPED,
            reason_code=ReasonCode.NOT_LINKED,
            received_at__gte=since,
        ).requeue()

    def release_postponed(self, workspace: Workspace, conversation_id: str) -> None:
        """Make the postponed events of a conversation due now."""
        self.waiting().filter(workspace=workspace, conversation_id=conversation_id).requeue()

    def requeue(self) -> int:
        """Queue the events again, and return how many there are. They are due now."""
        return self.update(
            state=WebhookEvent.State.RECEIVED,
            reason_code=ReasonCode.NONE,
            reason_detail="",
            due_at=timezone.now(),
            announced_at=None,
        )


class WebhookEvent(Job):
    """A webhook notification, and what became of it. The row is stored before Intercom gets the response."""

    class State(models.TextChoices):
        RECEIVED = "received", "received"
        HANDLED = "handled", "handled"
        SKIPPED = "skipped", "skipped"
        FAILED = "failed", "failed"

    WAITING_STATE = State.RECEIVED
    FAILED_STATE = State.FAILED
    WITHOUT_CONTENT = {"body": b""}

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="webhook_events")
    notification_id = models.CharField("notification", max_length=100)
    topic = models.CharField(max_length=100)
    conversation_id = models.CharField("conversation", max_length=64, blank=True)
    # Binary, because databases reject some valid JSON texts (with NUL or lone surrogates).
    body = models.BinaryField()
    times_received = models.PositiveIntegerField(default=1)
    received_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVED)

    objects = WebhookEventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "notification_id"], name="webhook_event_unique")
        ]
        indexes = [
            models.Index(fields=["due_at"], name="webhook_event_due", condition=models.Q(state="received")),
            models.Index(fields=["-received_at"], name="webhook_event_received"),
            # For the filters of the admin, which must not read the large bodies.
            models.Index(fields=["topic", "received_at"], name="webhook_event_topic"),
            models.Index(fields=["workspace", "received_at"], name="webhook_event_workspace"),
            models.Index(fields=["reason_code", "state"], name="webhook_event_reason"),
            models.Index(fields=["conversation_id", "state"], name="webhook_event_conversation"),
            # For `unprocessed_of`, which runs before each log entry is written. Without this index, a query planner may
            # scan all events of a workspace.
            models.Index(
                fields=["conversation_id", "workspace"],
                name="webhook_event_unread",
                condition=models.Q(state="received"),
            ),
            uncleaned_index("webhook_event_payload", "state", "received_at"),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.notification_id}"

    def mention(self, contact_ids: Iterable[str]) -> None:
        """Store that the event names these contacts. Contacts that are already stored are kept."""
        mentions = self.mentions
        mentions.bulk_create(
            [mentions.model(webhook_event=self, contact_id=contact_id) for contact_id in contact_ids],
            ignore_conflicts=True,
        )

    def settle(self, state: str, code: str = ReasonCode.NONE, detail: str = "") -> bool:
        """Store the event's final state. Return False, and store nothing, if the row already has a final state."""
        self.state = state
        self.set_reason(code, detail)
        unsettled = type(self).objects.filter(pk=self.pk, state=self.State.RECEIVED)
        return bool(
            unsettled.update(state=state, reason_code=self.reason_code, reason_detail=self.reason_detail)
        )

    def is_cleaned(self) -> bool:
        """Return whether the event's body has been erased in the database since this row was read."""
        return type(self).objects.filter(pk=self.pk, cleaned_at__isnull=False).exists()

    def postpone(self, seconds: float, code: str) -> None:
        """Make the event due in `seconds`, and store why it waits."""
        self.due_at = timezone.now() + dt.timedelta(seconds=seconds)
        self.set_reason(code)
        self.save(update_fields=["due_at", "reason_code", "reason_detail"])
