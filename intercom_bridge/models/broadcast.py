from django.db import models

from .ticket import Ticket


class Broadcast(models.Model):
    """A text that a teammate posted in all conversations of a ticket. Its OutgoingMessages contain the outcomes."""

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="broadcasts")
    # Makes the submission of the form idempotent.
    form_key = models.CharField(max_length=64, unique=True)
    admin_id = models.CharField(max_length=64)
    admin_name = models.CharField("teammate", max_length=200, blank=True)
    is_note = models.BooleanField(default=True)
    # The conversations that do not get the text: {"conversation": primary key, "reason": code} each. If the customer
    # gets the text in another conversation, "instead" is that conversation's primary key. If the message there failed,
    # "conversation" gets the text after all, and "replaces" is the failed message's primary key.
    left_out = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"broadcast about {self.ticket}"
