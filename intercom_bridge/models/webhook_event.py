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
        """Store an event and the contacts that it names. A known id is counted on its row and processed once."""
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
        except IntegrityError:
            row = self.get(workspace=workspace, notification_id=notification_id)
        else:
            return row
        self.filter(pk=row.pk).update(times_received=F("times_received") + 1)
        # Intercom's repetition is a retry of a failed event.
        self.filter(pk=row.pk, state=WebhookEvent.State.FAILED).requeue()
        return row

    def due(self) -> WebhookEventQuerySet:
        """Return the events to process now, oldest first."""
        return super().due().order_by("pk")

    def unprocessed_of(self, ticket: Ticket) -> WebhookEventQuerySet:
        """Return the events of this ticket's conversations that are not processed, or are being processed now."""
        conversations = Conversation.objects.filter(links__ticket=ticket)
        return (
            self.waiting()
            .exclude(reason_code=ReasonCode.OWN_POST_PENDING)
            .filter(
                conversation_id__in=conversations.values("conversation_id"),
                workspace__in=conversations.values("workspace"),
            )
            # A join would make the planner start with the workspace and scan all its events.
            .prefetch_related("workspace")
            .order_by("pk")
        )

    def requeue_unlinked(self, workspace: Workspace, conversation_id: str, since: dt.datetime) -> int:
        """Process the messages again that were received after `since` and skipped because no ticket was linked.

        Return how many.
        """
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
        """Process the events again as soon as possible, and return how many there are."""
        return self.update(
            state=WebhookEvent.State.RECEIVED,
            reason_code=ReasonCode.NONE,
            reason_detail="",
            due_at=timezone.now(),
            announced_at=None,
        )


class WebhookEvent(Job):
    """A webhook notification, stored before the response, and its result."""

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
    # Bytes, because databases reject some valid JSON (NUL, lone surrogates).
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
            # Queried before each log entry. Otherwise a planner may scan all events of a workspace.
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
        """Store that these contacts are named in the event, in addition to the known ones."""
        mentions = self.mentions
        mentions.bulk_create(
            [mentions.model(webhook_event=self, contact_id=contact_id) for contact_id in contact_ids],
            ignore_conflicts=True,
        )

    def settle(self, state: str, code: str = ReasonCode.NONE, detail: str = "") -> bool:
        """Finish the event; return False if another worker has finished it before."""
        self.state = state
        self.set_reason(code, detail)
        received = type(self).objects.filter(pk=self.pk, state=self.State.RECEIVED)
        return bool(
            received.update(state=state, reason_code=self.reason_code, reason_detail=self.reason_detail)
        )

    def is_cleaned(self) -> bool:
        """Return whether the database no longer holds the body."""
        return type(self).objects.filter(pk=self.pk, cleaned_at__isnull=False).exists()

    def postpone(self, seconds: float, code: str) -> None:
        """Process the event later."""
        self.due_at = timezone.now() + dt.timedelta(seconds=seconds)
        self.set_reason(code)
        self.save(update_fields=["due_at", "reason_code", "reason_detail"])
