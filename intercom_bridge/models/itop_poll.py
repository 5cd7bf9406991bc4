from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from .itop_instance import ItopInstance
from .lease import Leased, database_time
from .reason import ReasonCode
from .ticket_snapshot import TicketSnapshot

# How often a sweep takes place. It compares all polled tickets, even if their `last_update` is unchanged.
SWEEP_EVERY = dt.timedelta(hours=1)


class ItopPollQuerySet(models.QuerySet["ItopPoll"]):
    def due(self) -> ItopPollQuerySet:
        """Return the polls that a worker may execute now: a ticket or a sweep is due, and no worker has the lease."""
        is_free = Q(lease_until=None) | Q(lease_until__lt=Now())
        due_tickets = TicketSnapshot.objects.filter(
            ticket__itop=OuterRef("itop"), poll_at__lte=database_time()
        )
        is_sweep_due = Q(swept_at=None) | Q(swept_at__lt=timezone.now() - SWEEP_EVERY)
        has_work = Exists(due_tickets) | is_sweep_due
        return self.filter(is_free, has_work, due_at__lte=database_time()).select_related("itop")


class ItopPoll(Leased):
    """The polling of an iTop for changes of linked tickets: when it is next due, and how the last poll ended.

    The lease ensures that only one worker at a time polls an iTop.
    """

    itop = models.OneToOneField(ItopInstance, models.CASCADE, related_name="poll")
    due_at = models.DateTimeField(default=timezone.now)
    polled_at = models.DateTimeField("last poll", null=True, blank=True)
    succeeded_at = models.DateTimeField("last successful poll", null=True, blank=True)
    failures_in_a_row = models.PositiveIntegerField(default=0)
    reason_code = models.CharField(
        "problem of the last poll", max_length=40, choices=ReasonCode.choices, blank=True
    )
    reason_detail = models.CharField(max_length=500, blank=True)
    # The highest `last_update` that iTop returned, in iTop's time zone and format. It is compared only with other times
    # by iTop's clock.
    newest_update = models.CharField(max_length=30, blank=True)
    # When the last sweep ended.
    swept_at = models.DateTimeField(null=True, blank=True)

    objects = ItopPollQuerySet.as_manager()

    @property
    def is_sweep_due(self) -> bool:
        return self.swept_at is None or self.swept_at < timezone.now() - SWEEP_EVERY

    def __str__(self) -> str:
        return f"polling of {self.itop}"
