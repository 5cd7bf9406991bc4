from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, TypedDict

from django.conf import settings
from django.db import models
from django.db.models import F
from django.db.models.expressions import CombinedExpression
from django.utils import timezone

from .conversation import Conversation
from .itop_instance import ItopInstance
from .job import MAX_REASON_DETAIL, JobQuerySet, LoggedJob, uncleaned_index
from .reason import ReasonCode
from .ticket import Ticket
from .webhook_event import WebhookEvent


def without_index(column: str) -> CombinedExpression:
    """Return the column as an expression for which the query planner cannot use the column's index.

    With this index, the planner might read all rows of a workspace or an iTop, although another condition of the query
    selects only a few of them.
    """
    return F(column) + 0


class SkippedDelivery(TypedDict):
    """The values of a delivery before it was skipped because its ticket was unlinked."""

    id: int
    state: str
    reason_code: str
    reason_detail: str


class DeliveryQuerySet(JobQuerySet["Delivery"]):
    def in_itop(self) -> DeliveryQuerySet:
        return self.filter(state__in=(Delivery.State.WRITTEN, Delivery.State.RESTORED))

    def retry_now(self, **changes: Any) -> int:
        """Put the failed deliveries whose content is still stored back in the queue. Return how many there are."""
        return super().retry_now(solo_failures=0, queued_at=timezone.now(), **changes)

    def left_out_by_pause(self) -> DeliveryQuerySet:
        """Return the messages that arrived during a pause and that a teammate has not decided about yet."""
        paused = self.filter(
            state=Delivery.State.SKIPPED, reason_code=ReasonCode.SYNC_PAUSED, cleaned_at=None
        )
        # Without a log, the message was not meant for the ticket anyway.
        return paused.exclude(log="")

    def write_after_all(self) -> int:
        """Queue these skipped deliveries after all, and return their number. None of them may be erased."""
        now = timezone.now()
        return self.update(
            state=Delivery.State.WAITING,
            reason_code=ReasonCode.NONE,
            reason_detail="",
            due_at=now,
            queued_at=now,
        )

    def release_postponed(self, itop: ItopInstance) -> int:
        """Make postponed deliveries due now, except those whose last request iTop may still be executing."""
        now = timezone.now()
        outcome_known_before = now - dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        postponed = self.waiting().filter(
            ticket__itop=itop, due_at__gt=now, last_failed_at__lt=outcome_known_before
        )
        return postponed.update(due_at=now)

    def verifiable(self) -> DeliveryQuerySet:
        """Return the written deliveries whose entry the bridge still stores. A worker can look for it in the log."""
        return self.in_itop().filter(cleaned_at=None, item__isnull=False)

    def verify_now(self) -> int:
        """Let a worker check as soon as possible whether the entries are in the logs."""
        Ticket.objects.filter(pk__in=self.values("ticket")).update(check_at=timezone.now())
        # A missing entry is looked for again, because somebody may have restored it in iTop.
        self.filter(reason_code=ReasonCode.ENTRY_MISSING).update(reason_code=ReasonCode.NONE)
        return self.update(checked_at=None)

    def unwritten(self) -> DeliveryQuerySet:
        return self.filter(state__in=(Delivery.State.WAITING, Delivery.State.FAILED))

    def skip(self, code: str, detail: str = "") -> int:
        """Skip the deliveries that are not written yet, and return how many there are."""
        return self.unwritten().update(
            state=Delivery.State.SKIPPED, reason_code=code, reason_detail=detail[:MAX_REASON_DETAIL]
        )

    def skip_for_unlinking(self) -> list[SkippedDelivery]:
        """Skip the deliveries that are not written yet. Return their previous values, for `restore_skipped`.

        Must run in a transaction, because the rows are locked.
        """
        unwritten = self.unwritten().select_for_update().order_by("pk")
        skipped = [
            SkippedDelivery(id=pk, state=state, reason_code=code, reason_detail=detail)
            for pk, state, code, detail in unwritten.values_list(
                "pk", "state", "reason_code", "reason_detail"
            )
        ]
        self.filter(pk__in=[delivery["id"] for delivery in skipped]).skip(ReasonCode.UNLINKED)
        return skipped

    def restore_skipped(self, skipped: Iterable[SkippedDelivery]) -> int:
        """Undo `skip_for_unlinking`, except for deliveries that have changed since. Return how many were restored."""
        now = timezone.now()
        unchanged = self.filter(
            state=Delivery.State.SKIPPED, reason_code=ReasonCode.UNLINKED, cleaned_at=None
        )
        return sum(
            unchanged.filter(pk=delivery["id"]).update(
                state=delivery["state"],
                reason_code=delivery["reason_code"],
                reason_detail=delivery["reason_detail"],
                queued_at=now,
            )
            for delivery in skipped
        )

    def of_day(self, date: dt.date) -> DeliveryQuerySet:
        """Return the deliveries that were created on this day (UTC)."""
        start = dt.datetime.combine(date, dt.time(), dt.UTC)
        return self.filter(created_at__gte=start, created_at__lt=start + dt.timedelta(days=1))

    def in_order(self) -> DeliveryQuerySet:
        """Sort in the order of the conversation: by time, then by part id as a number."""
        return self.order_by("part_created_at", "part_order", "part_id", "pk")


class Delivery(LoggedJob):
    """One conversation part for one linked ticket.

    The row is never deleted, so that the part is never written twice.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        WRITTEN = "written", "written"
        # Somebody's save had removed the entry from the log. The bridge wrote it again, with a new idempotency key.
        RESTORED = "restored", "written again"
        SKIPPED = "skipped", "skipped"
        FAILED = "failed", "failed"

    WAITING_STATE = State.WAITING
    FAILED_STATE = State.FAILED
    WITHOUT_CONTENT = {"part": {}, "item": None}

    class Kind(models.TextChoices):
        # A conversation's first message and a reply can have the same id, so the kind tells them apart.
        SOURCE = "source", "first message"
        PART = "part", "part"
        # The notice that a part was redacted in Intercom.
        REDACTION = "redaction", "redaction"

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="deliveries")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="deliveries")
    webhook_event = models.ForeignKey(
        WebhookEvent, models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    part_id = models.CharField("message", max_length=64)
    # The part id as a number, for sorting (sync/message.py: order_of).
    part_order = models.BigIntegerField(default=0, editable=False)
    part_created_at = models.BigIntegerField("created in Intercom", help_text="Unix seconds.")
    author = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # `part` is the conversation part until it is rendered for iTop. Then `log`, `item` (the entry) and
    # `idempotency_key` are the request.
    part = models.JSONField(default=dict, blank=True)
    log = models.CharField(max_length=100, blank=True)
    item = models.JSONField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, blank=True)
    # Whether the PHP extension may have written the message, before the bridge adopted the extension's link.
    may_be_in_log = models.BooleanField(default=False, editable=False)
    # When it was last queued: when it was created, or when somebody requested a retry.
    queued_at = models.DateTimeField(default=timezone.now, editable=False)
    # How often iTop failed on this message while it accepted others. The cause is then probably the message itself.
    solo_failures = models.PositiveIntegerField(default=0)
    last_failed_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    written_at = models.DateTimeField(null=True, blank=True)
    # How often somebody's save removed the entry from the log, and the bridge wrote it again.
    erased_times = models.PositiveIntegerField(
        "times removed by someone's save and written again", default=0, editable=False
    )
    # When a worker last looked for the entry in the log; null if it still has to.
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        permissions = [("read_messages", "Can read the texts of messages")]
        constraints = [
            # Contains the conversation, because a ticket's conversations can belong to several workspaces, and part ids
            # are unique only within one workspace.
            models.UniqueConstraint(
                fields=["ticket", "conversation", "kind", "part_id"], name="delivery_unique_part"
            )
        ]
        indexes = [
            models.Index(
                fields=["ticket", "part_created_at"],
                name="delivery_waiting",
                condition=models.Q(state="waiting"),
            ),
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(state="waiting")),
            models.Index(fields=["conversation", "state"], name="delivery_conversation"),
            uncleaned_index("delivery_payload", "state", "created_at"),
            models.Index(fields=["part_id"], name="delivery_part"),
            # For the counts on the dashboard: the index contains all columns that they need.
            models.Index(fields=["created_at", "state", "conversation", "ticket"], name="delivery_day_count"),
            # Admins filter by reason. Written deliveries mostly have none and are not in this index.
            models.Index(
                fields=["reason_code", "state"],
                name="delivery_reason",
                condition=models.Q(reason_code__gt=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.part_id} → {self.ticket}"
