from django.db import models

from .itop_instance import ITOP, ItopInstance
from .lease import Leased


class Ticket(Leased):
    """An iTop ticket that is or was linked.

    Only the holder of its lease writes to it, because iTop loses log entries that are written at the same time.
    """

    itop = models.ForeignKey(ItopInstance, models.CASCADE, related_name="tickets", verbose_name=ITOP)
    ticket_class = models.CharField("class", max_length=100)
    object_id = models.PositiveBigIntegerField("id in iTop")
    ref = models.CharField("reference", max_length=100)
    # When a worker next reads the ticket's logs, to verify that they contain the written entries; null for never.
    check_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When iTop first reported that the ticket does not exist; null otherwise.
    gone_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["itop", "ticket_class", "object_id"], name="ticket_unique")
        ]
        indexes = [
            models.Index(
                fields=["check_at"], name="ticket_check", condition=models.Q(check_at__isnull=False)
            ),
            models.Index(fields=["ref"], name="ticket_ref"),
        ]

    def __str__(self) -> str:
        return self.ref
