from django.db import models

from .webhook_event import WebhookEvent


class Mention(models.Model):
    """An Intercom contact that a webhook event names, so that a person's data is found without reading all events."""

    # A row is created with each webhook event, so there are only two indexes. The unique one begins with the event.
    webhook_event = models.ForeignKey(WebhookEvent, models.CASCADE, related_name="mentions", db_index=False)
    contact_id = models.CharField("Intercom contact", max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["webhook_event", "contact_id"], name="mention_unique_contact")
        ]
        indexes = [models.Index(fields=["contact_id"], name="mention_contact")]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.webhook_event}"
