from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db import IntegrityError, models, transaction
from django.db.models import F
from django.utils import timezone

from .conversation import Conversation
from .ticket import Ticket
from .workspace import Workspace

NOT_LINKED = "the conversation is not linked to a ticket"
# The doctor's pings are known by the beginning of their ids among what Intercom sends.
DOCTORS = "doctor_"


class NotificationQuerySet(models.QuerySet["Notification"]):
    def record(
        self,
        workspace: Workspace,
        notification_id: str,
        topic: str,
        conversation_id: str,
        body: bytes,
        contact_ids: Iterable[str] = (),
    ) -> Notification:
        """Keeps what came in, and whom it names. One with a known id is counted on the row that is there: it is
        handled once."""
        try:
            with transaction.atomic():
                row = self.create(
                    workspace=workspace,
                    notification_id=notification_id,
                    topic=topic[:100],
                    conversation_id=conversation_id[:64],
                    body=body,
                    mentions_noted=True,
                )
                row.mention(contact_ids)
        except IntegrityError:
            row = self.get(workspace=workspace, notification_id=notification_id)
        else:
            return row
        self.filter(pk=row.pk).update(times_received=F("times_received") + 1)
        # One that broke us gets the chance that Intercom gives it.
        self.filter(pk=row.pk, verdict=Notification.Verdict.FAILED).update(
            verdict=Notification.Verdict.RECEIVED, reason="", due_at=timezone.now()
        )
        return row

    def due(self) -> NotificationQuerySet:
        """What intake has to look at now, oldest first."""
        return self.filter(verdict=Notification.Verdict.RECEIVED, due_at__lte=timezone.now()).order_by("pk")

    def unread_of(self, ticket: Ticket) -> NotificationQuerySet:
        """What came in for this ticket's conversations and nobody has looked at, or somebody is just looking at."""
        conversations = Conversation.objects.filter(links__ticket=ticket)
        return (
            self.filter(
                verdict=Notification.Verdict.RECEIVED,
                reason="",
                conversation_id__in=conversations.values("conversation_id"),
                workspace__in=conversations.values("workspace"),
            )
            # Not joined: a planner would begin with the workspace, and go through all that it ever got.
            .prefetch_related("workspace")
            .order_by("pk")
        )

    def look_again(self, workspace: Workspace, conversation_id: str, since: dt.datetime) -> int:
        """Messages that found no linked ticket since then: one has been linked meanwhile."""
        return self.filter(
            workspace=workspace,
            conversation_id=conversation_id,
            verdict=Notification.Verdict.SKIPPED,
            reason=NOT_LINKED,
            received_at__gte=since,
        ).update(verdict=Notification.Verdict.RECEIVED, reason="", due_at=timezone.now())

    def retriable(self) -> NotificationQuerySet:
        """Failed, and what came in is still kept."""
        return self.filter(verdict=Notification.Verdict.FAILED, cleaned_at=None)

    def try_again(self) -> int:
        """Has failed ones looked at once more."""
        return self.retriable().update(
            verdict=Notification.Verdict.RECEIVED, reason="", due_at=timezone.now()
        )

    def look_now(self, workspace: Workspace, conversation_id: str) -> None:
        """What was postponed in this conversation is due now."""
        self.filter(
            workspace=workspace, conversation_id=conversation_id, verdict=Notification.Verdict.RECEIVED
        ).update(reason="", due_at=timezone.now())


class Notification(models.Model):
    """What Intercom's webhook sent: kept as bytes before it is answered, and what became of it."""

    class Verdict(models.TextChoices):
        RECEIVED = "received", "received"
        HANDLED = "handled", "handled"
        SKIPPED = "skipped", "skipped"
        FAILED = "failed", "failed"

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="notifications")
    notification_id = models.CharField("notification", max_length=100)
    topic = models.CharField(max_length=100)
    conversation_id = models.CharField("conversation", max_length=64, blank=True)
    # As it came: databases refuse some of what JSON may hold (NUL, lone surrogates).
    body = models.BinaryField()
    # False: written by 0.1, which noted nobody (sync/mentions.py).
    mentions_noted = models.BooleanField(default=False, db_default=False, editable=False)
    times_received = models.PositiveIntegerField(default=1)
    received_at = models.DateTimeField(default=timezone.now)
    verdict = models.CharField(max_length=10, choices=Verdict.choices, default=Verdict.RECEIVED)
    reason = models.CharField(max_length=300, blank=True)
    due_at = models.DateTimeField(default=timezone.now)
    # When its payload was no longer kept (sync/retention.py).
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "notification_id"], name="one_row_a_notification")
        ]
        indexes = [
            models.Index(fields=["due_at"], name="notification_due", condition=models.Q(verdict="received")),
            models.Index(fields=["-received_at"], name="notification_received"),
            # What people look for in the admin, newest first: never by reading bodies, which are large.
            models.Index(fields=["topic", "received_at"], name="notification_topic"),
            models.Index(fields=["workspace", "received_at"], name="notification_workspace"),
            models.Index(fields=["reason"], name="notification_failed", condition=models.Q(verdict="failed")),
            models.Index(
                fields=["reason"], name="notification_skipped", condition=models.Q(verdict="skipped")
            ),
            models.Index(fields=["conversation_id", "verdict"], name="notification_conversation"),
            # Asked before each log entry: a planner may else go through all that a workspace ever got.
            models.Index(
                fields=["conversation_id", "workspace"],
                name="notification_unread",
                condition=models.Q(verdict="received"),
            ),
            models.Index(
                fields=["verdict", "received_at"],
                name="notification_payload",
                condition=models.Q(cleaned_at__isnull=True),
            ),
            models.Index(
                fields=["workspace"],
                name="notification_not_noted",
                condition=models.Q(mentions_noted=False, cleaned_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.notification_id}"

    def mention(self, contact_ids: Iterable[str]) -> None:
        """Keeps that these contacts are named in it; those that are known stay."""
        mentions = self.mentions
        mentions.bulk_create(
            [mentions.model(notification=self, contact_id=one) for one in contact_ids], ignore_conflicts=True
        )

    def settle(self, verdict: str, reason: str = "") -> bool:
        """False when somebody has settled it before: who looks at it at the same time makes nothing of it."""
        self.verdict, self.reason = verdict, reason[:300]
        received = type(self).objects.filter(pk=self.pk, verdict=self.Verdict.RECEIVED)
        return bool(received.update(verdict=self.verdict, reason=self.reason))

    def is_cleaned(self) -> bool:
        """Whether what came in is no longer kept, as the database has it now."""
        return type(self).objects.filter(pk=self.pk, cleaned_at__isnull=False).exists()

    def postpone(self, seconds: float, reason: str) -> None:
        """Looked at again later: a row that cannot be handled now must not loop."""
        self.due_at, self.reason = timezone.now() + dt.timedelta(seconds=seconds), reason[:300]
        self.save(update_fields=["due_at", "reason"])
