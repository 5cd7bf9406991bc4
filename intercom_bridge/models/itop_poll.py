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

# All followed tickets are compared this often, whatever their `last_update`.
SWEEP_EVERY = dt.timedelta(hours=1)


class ItopPollQuerySet(models.QuerySet["ItopPoll"]):
    def due(self) -> ItopPollQuerySet:
        """Return the polls whose time has come and that have tickets to read or a sweep to do.

        A poll that a worker is executing, according to its lease, is left out.
        """
        is_free = Q(lease_until=None) | Q(lease_until__lt=Now())
        tickets = TicketSnapshot.objects.filter(ticket__itop=OuterRef("itop"), poll_at__lte=database_time())
        is_sweep_due = Q(swept_at=None) | Q(swept_at__lt=timezone.now() - SWEEP_EVERY)
        return self.filter(
            is_free, Exists(tickets) | is_sweep_due, due_at__lte=database_time()
        ).select_related("itop")


class ItopPoll(Leased):
    """The polling of an iTop for changes of linked tickets: when it is next due, and how the last poll ended.

    Its lease lets one worker at a time poll an iTop.
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
    # The highest `last_update` seen, in iTop's own time zone and format: no clock of ours is compared with iTop's.
    newest_update = models.CharField(max_length=30, blank=True)
    # When all followed tickets were last compared, whatever their `last_update`.
    swept_at = models.DateTimeField(null=True, blank=True)

    objects = ItopPollQuerySet.as_manager()

    @property
    def is_sweep_due(self) -> bool:
        return self.swept_at is None or self.swept_at < timezone.now() - SWEEP_EVERY

    def __str__(self) -> str:
        return f"polling of {self.itop}"
