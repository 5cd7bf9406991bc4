from django.db import models

from .ticket import Ticket


class Broadcast(models.Model):
    """One text that a teammate posted in all conversations of a ticket. Its messages hold the outcomes."""

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="broadcasts")
    # Makes the submission of the form idempotent.
    form_key = models.CharField(max_length=64, unique=True)
    admin_id = models.CharField(max_length=64)
    admin_name = models.CharField("teammate", max_length=200, blank=True)
    is_note = models.BooleanField(default=True)
    # Conversations of people who have another one in the list: {"conversation": id, "reason": code} each.
    left_out = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"broadcast about {self.ticket}"
