from django.db import models

from .webhook_event import WebhookEvent


class Mention(models.Model):
    """An Intercom contact whom a webhook event names. The GDPR export finds a person's events by this row."""

    # The index of the unique constraint begins with this column, so it needs no index of its own.
    webhook_event = models.ForeignKey(WebhookEvent, models.CASCADE, related_name="mentions", db_index=False)
    contact_id = models.CharField("Intercom contact", max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["webhook_event", "contact_id"], name="mention_unique_contact")
        ]
        indexes = [models.Index(fields=["contact_id"], name="mention_contact")]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.webhook_event}"
