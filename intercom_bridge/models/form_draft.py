from __future__ import annotations

import datetime as dt

from django.db import models
from django.utils import timezone

from .conversation import Conversation

MAX_AGE = dt.timedelta(days=1)


class FormDraftQuerySet(models.QuerySet["FormDraft"]):
    def expired(self) -> FormDraftQuerySet:
        return self.filter(saved_at__lt=timezone.now() - MAX_AGE)


class FormDraft(models.Model):
    """A teammate's unsubmitted input in the create form of a conversation.

    It may contain a customer's text, so it has no page in the admin, and sync/retention.py deletes it after a day.
    """

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="form_drafts")
    admin_id = models.CharField(max_length=64)
    # The result of Form.to_stored (panel/form/form.py).
    form = models.JSONField()
    saved_at = models.DateTimeField(default=timezone.now)

    objects = FormDraftQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "admin_id"], name="form_draft_unique")]
        indexes = [models.Index(fields=["saved_at"], name="form_draft_saved_at")]

    def __str__(self) -> str:
        return f"{self.admin_id} in {self.conversation}"
