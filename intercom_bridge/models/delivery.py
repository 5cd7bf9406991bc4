from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F
from django.db.models.expressions import CombinedExpression
from django.utils import timezone

from .conversation import Conversation
from .itop_instance import ItopInstance
from .notification import Notification
from .ticket import Ticket
from .tries import Tried

PAUSED = "the sync is paused"
UNLINKED = "the ticket was unlinked from the conversation"
LEFT_OUT = "left out while the sync was paused"
MISSING = "no longer in the ticket's log: somebody may have removed it there"
COPIED = "copied when the ticket was created"


def reckoned(column: str) -> CombinedExpression:
    """A column that no planner begins with: by its name it may go through all that a workspace or an iTop ever got,
    where only the few rows of a state are asked for."""
    return F(column) + 0


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.WAITING)

    def in_itop(self) -> DeliveryQuerySet:
        return self.filter(state__in=(Delivery.State.WRITTEN, Delivery.State.RESTORED))

    def due(self) -> DeliveryQuerySet:
        return self.waiting().filter(due_at__lte=timezone.now())

    def retriable(self) -> DeliveryQuerySet:
        """Failed, and what was to be written is still kept."""
        return self.filter(state=Delivery.State.FAILED, cleaned_at=None)

    def try_again(self) -> int:
        """Puts failed ones back. One try is counted, so that an iTop without a guard is asked before the next."""
        now = timezone.now()
        return self.retriable().update(
            state=Delivery.State.WAITING, reason="", attempts=1, strikes=0, due_at=now, waiting_since=now
        )

    def left_out_by_pause(self) -> DeliveryQuerySet:
        """What came while the sync was paused and nobody has decided about yet. The messages are still kept."""
        return self.filter(state=Delivery.State.SKIPPED, reason=PAUSED, cleaned_at=None).exclude(log="")

    def write_after_all(self) -> int:
        """Puts what was left out among the waiting: only for those whose messages are kept."""
        now = timezone.now()
        return self.update(state=Delivery.State.WAITING, reason="", due_at=now, waiting_since=now)

    def hasten(self, itop: ItopInstance) -> int:
        """Has what was put off after a failure tried now, save what iTop may still be executing."""
        now = timezone.now()
        rested = now - dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        put_off = self.waiting().filter(ticket__itop=itop, due_at__gt=now, last_failed_at__lt=rested)
        return put_off.update(due_at=now)

    def readable_back(self) -> DeliveryQuerySet:
        """Written, and what was written is still kept, so that a log can be searched for it."""
        return self.in_itop().filter(cleaned_at=None, item__isnull=False)

    def read_back_now(self) -> int:
        """Has the logs of their tickets read back, as soon after they were written."""
        Ticket.objects.filter(pk__in=self.values("ticket")).update(check_at=timezone.now())
        # Somebody may have put it back in iTop: the log is asked anew.
        self.filter(reason=MISSING).update(reason="")
        return self.update(checked_at=None)

    def unwritten(self) -> DeliveryQuerySet:
        return self.filter(state__in=(Delivery.State.WAITING, Delivery.State.FAILED))

    def skip(self, reason: str) -> int:
        """Leaves out what is not in iTop yet."""
        return self.unwritten().update(state=Delivery.State.SKIPPED, reason=reason[:500])

    def skip_for_unlinking(self) -> list[tuple[int, str, str]]:
        """Leaves out what is not in iTop yet; answers what `put_back` needs. To be called in a transaction."""
        unwritten = self.unwritten().select_for_update()
        as_they_were = list(unwritten.order_by("pk").values_list("pk", "state", "reason"))
        self.filter(pk__in=[pk for pk, _state, _reason in as_they_were]).skip(UNLINKED)
        return as_they_were

    def put_back(self, as_they_were: Iterable[Sequence[Any]]) -> int:
        """Exactly those that an unlinking has left out, as they were; not what was decided about since."""
        now = timezone.now()
        return sum(
            self.filter(pk=pk, state=Delivery.State.SKIPPED, reason=UNLINKED, cleaned_at=None).update(
                state=state, reason=reason, waiting_since=now
            )
            for pk, state, reason in as_they_were
        )

    def of_day(self, date: dt.date) -> DeliveryQuerySet:
        """Those that came in on a day in UTC."""
        start = dt.datetime.combine(date, dt.time(), dt.UTC)
        return self.filter(created_at__gte=start, created_at__lt=start + dt.timedelta(days=1))

    def in_order(self) -> DeliveryQuerySet:
        """As the messages were written in the conversation: by time, then by part id as a number."""
        return self.order_by("part_created_at", "part_order", "part_id", "pk")


class Delivery(Tried):
    """One conversation part for one linked ticket. Its key outlives everything: written once, never again."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        WRITTEN = "written", "written"
        # Somebody else's save had erased the entry from the log; it was written once more, under a new marker.
        RESTORED = "restored", "written again"
        SKIPPED = "skipped", "left out"
        FAILED = "failed", "failed"

    class Kind(models.TextChoices):
        # A conversation's first message and a reply may bear the same id.
        SOURCE = "source", "first message"
        PART = "part", "part"

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="deliveries")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="deliveries")
    notification = models.ForeignKey(
        Notification, models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    part_id = models.CharField("part", max_length=64)
    part_order = models.BigIntegerField(default=0, editable=False)
    part_created_at = models.BigIntegerField("created in Intercom", help_text="Unix seconds.")
    author = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    # What the part says, until it is rendered for iTop; then the log, the item and the marker that are sent.
    part = models.JSONField(default=dict, blank=True)
    log = models.CharField(max_length=100, blank=True)
    item = models.JSONField(null=True, blank=True)
    marker = models.CharField(max_length=255, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    # Since when it has been waiting without anybody's asking for another try.
    waiting_since = models.DateTimeField(default=timezone.now, editable=False)
    # Failures while other writes to the same iTop worked: those are the message's own.
    strikes = models.PositiveIntegerField(default=0)
    last_failed_at = models.DateTimeField(null=True, blank=True, editable=False)
    due_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)
    written_at = models.DateTimeField(null=True, blank=True)
    # How often somebody else's save has erased it from the log.
    erased_times = models.PositiveIntegerField(default=0, editable=False)
    # When it was read back from the log.
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When its payload was no longer kept (sync/retention.py).
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        permissions = [("read_messages", "Can read the texts of messages")]
        constraints = [
            # A ticket's conversations may be of several workspaces, and part ids are unique within one only.
            models.UniqueConstraint(
                fields=["ticket", "conversation", "kind", "part_id"], name="a_part_once_a_ticket"
            )
        ]
        indexes = [
            models.Index(
                fields=["ticket", "part_created_at"],
                name="delivery_waiting",
                condition=models.Q(state="waiting"),
            ),
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(state="waiting")),
            models.Index(fields=["conversation", "state"], name="delivery_of_conversation"),
            models.Index(
                fields=["state", "created_at"],
                name="delivery_payload",
                condition=models.Q(cleaned_at__isnull=True),
            ),
            models.Index(fields=["part_id"], name="delivery_part"),
            # The dashboard counts days by it, without reading a row.
            models.Index(fields=["created_at", "state", "conversation", "ticket"], name="delivery_counted"),
            # What people look for in the admin. Most deliveries are written and there is nothing to say about them:
            # they are in none of these.
            models.Index(fields=["reason"], name="delivery_failed", condition=models.Q(state="failed")),
            models.Index(fields=["reason"], name="delivery_skipped", condition=models.Q(state="skipped")),
            models.Index(fields=["reason"], name="delivery_restored", condition=models.Q(state="restored")),
            models.Index(
                fields=["reason"],
                name="delivery_remarked",
                condition=models.Q(state="written", reason__gt=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.part_id} → {self.ticket}"
