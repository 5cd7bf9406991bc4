from __future__ import annotations

import datetime as dt

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from .reason import ReasonCode


class AlertQuerySet(models.QuerySet["Alert"]):
    def claim(self, kind: str, about_id: int = 0, *, code: str = "", every: dt.timedelta) -> bool:
        """Record that an e-mail is sent now, and return True.

        Return False if one with this code was sent less than `every` ago, or if another worker sends it.
        """
        now = timezone.now()
        alert, values = self.filter(kind=kind, about_id=about_id), {"code": code, "sent_at": now}
        try:
            with transaction.atomic():
                self.create(kind=kind, about_id=about_id, **values)
        except IntegrityError:
            is_due = models.Q(sent_at__lte=now - every) | ~models.Q(code=code)
            return bool(alert.filter(is_due).update(**values))
        return True


class Alert(models.Model):
    """An e-mail to the operators. The row says that it was sent, also after a restart."""

    class Kind(models.TextChoices):
        FAILURES = "failures"
        ITOP = "itop"
        WORKSPACE = "workspace"

    kind = models.CharField(max_length=20, choices=Kind.choices)
    # The primary key of the iTop or of the workspace; 0 for a digest.
    about_id = models.PositiveBigIntegerField(default=0)
    code = models.CharField(max_length=40, choices=ReasonCode.choices, blank=True)
    sent_at = models.DateTimeField(default=timezone.now)

    objects = AlertQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "about_id"], name="alert_unique")]

    def __str__(self) -> str:
        return f"{self.kind} {self.about_id}"
