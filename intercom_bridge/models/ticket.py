from __future__ import annotations

from django.db import models

from .itop_instance import ITOP, ItopInstance
from .lease import Leased


class Ticket(Leased):
    """An iTop ticket that was linked. Its lease makes us its only writer: iTop loses concurrent appends."""

    itop = models.ForeignKey(ItopInstance, models.CASCADE, related_name="tickets", verbose_name=ITOP)
    ticket_class = models.CharField("class", max_length=100)
    object_id = models.PositiveBigIntegerField("id in iTop")
    ref = models.CharField("reference", max_length=100)
    # When its logs are read back, to see that what was written still stands in them.
    check_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Since when we know that iTop no longer has it.
    gone_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["itop", "ticket_class", "object_id"], name="one_row_a_ticket")
        ]
        indexes = [
            models.Index(
                fields=["check_at"], name="ticket_check", condition=models.Q(check_at__isnull=False)
            ),
            models.Index(fields=["ref"], name="ticket_ref"),
        ]

    def __str__(self) -> str:
        return self.ref
