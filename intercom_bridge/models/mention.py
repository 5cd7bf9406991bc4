from __future__ import annotations

from django.db import models

from .notification import Notification


class Mention(models.Model):
    """An Intercom contact whom a notification names: so that what is known of a person is found without reading all."""

    # Made with each notification: two indexes must do, and the unique one begins with the notification.
    notification = models.ForeignKey(Notification, models.CASCADE, related_name="mentions", db_index=False)
    contact_id = models.CharField("Intercom contact", max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["notification", "contact_id"], name="a_contact_once_a_notification"
            )
        ]
        indexes = [models.Index(fields=["contact_id"], name="mention_contact")]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.notification}"
