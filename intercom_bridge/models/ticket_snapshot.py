from __future__ import annotations

import datetime as dt

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from .itop_instance import ItopInstance
from .lease import database_time
from .ticket import Ticket


class TicketSnapshotQuerySet(models.QuerySet["TicketSnapshot"]):
    def due(self, itop: ItopInstance) -> TicketSnapshotQuerySet:
        """Return the snapshots to compare with this iTop now, the longest overdue first."""
        due = self.filter(ticket__itop=itop, poll_at__lte=database_time())
        return due.select_related("ticket__itop").order_by("poll_at", "pk")

    def with_content(self) -> TicketSnapshotQuerySet:
        return self.exclude(solution="", pending_reason="")

    def erase_content(self) -> int:
        """Erase the texts that people wrote, and return how many snapshots there are."""
        return self.update(solution="", pending_reason="")

    def note_activity(self) -> int:
        """Poll these tickets now and often for the next hour, because somebody wrote to them.

        Return how many were changed. A ticket whose activity was noted less than a minute ago is left unchanged.
        """
        is_stale = Q(poll_at=None) | Q(active_at__lt=Now() - dt.timedelta(minutes=1))
        return self.filter(is_stale).update(active_at=Now(), poll_at=Now())


class TicketSnapshot(models.Model):
    """A linked ticket as iTop last returned it. The next poll reports the differences from this state."""

    ticket = models.OneToOneField(Ticket, models.CASCADE, related_name="snapshot")
    # When the bridge first and last read the ticket; null until then.
    first_read_at = models.DateTimeField(null=True, blank=True, editable=False)
    read_at = models.DateTimeField("last read", null=True, blank=True, editable=False)
    # Codes and friendly names as iTop returns them; "0" and "" mean nobody.
    status = models.CharField(max_length=100, blank=True)
    status_label = models.CharField(max_length=200, blank=True)
    agent_id = models.CharField(max_length=20, blank=True)
    agent_name = models.CharField("agent", max_length=200, blank=True)
    team_id = models.CharField(max_length=20, blank=True)
    team_name = models.CharField("team", max_length=200, blank=True)
    caller_id = models.CharField(max_length=20, blank=True)
    pending_reason = models.TextField(blank=True)
    # HTML of iTop.
    solution = models.TextField(blank=True)
    # The ticket's `last_update`, in iTop's time zone and format.
    last_update = models.CharField(max_length=30, blank=True)
    # The highest `last_update` of all tickets in this iTop when this ticket was last read; "" to read all again.
    seen_until = models.CharField(max_length=30, blank=True)
    # The digests of the entries that have been examined, by log, in the order of the entries' indexes. The
    # digests of entries that were replaced come last, after "".
    entries = models.JSONField(default=dict, blank=True)
    # The ids of the examined Attachments that people added; null until the Attachments are first read.
    files = models.JSONField(null=True, blank=True, editable=False)
    files_read_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When something last changed in the ticket or the conversation. Active tickets are polled more often.
    active_at = models.DateTimeField(default=timezone.now)
    # When the ticket is next polled; null if it has been closed for a long time, or no longer exists.
    poll_at = models.DateTimeField(null=True, blank=True, default=timezone.now)

    objects = TicketSnapshotQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["poll_at"], name="ticket_snapshot_due", condition=models.Q(poll_at__isnull=False)
            ),
            models.Index(
                fields=["read_at"], name="ticket_snapshot_payload", condition=models.Q(poll_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.ticket}: {self.status}"
