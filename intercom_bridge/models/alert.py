from __future__ import annotations

import datetime as dt

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from .reason import ReasonCode


class AlertQuerySet(models.QuerySet["Alert"]):
    def claim(
        self, kind: str, about_id: int = 0, *, code: str = "", every: dt.timedelta
    ) -> dt.datetime | None:
        """Return the time of the claim if the caller has to send this e-mail now, and record that it is sent.

        Return None if the e-mail is not due: the last one of its kind had the same code and was sent less than `every`
        ago. If several workers call this at the same moment, only one gets a time.
        """
        now = timezone.now()
        values = {"code": code, "sent_at": now}
        try:
            with transaction.atomic():
                self.create(kind=kind, about_id=about_id, **values)
        except IntegrityError:
            is_due = models.Q(sent_at__lte=now - every) | ~models.Q(code=code)
            is_claimed = self.filter(is_due, kind=kind, about_id=about_id).update(**values)
            return now if is_claimed else None
        return now

    def release(self, kind: str, about_id: int, claimed_at: dt.datetime, earlier: Alert | None) -> None:
        """Restore the alert that a claim has replaced, so that the e-mail is due again.

        earlier: that alert, None if there was none. Another worker's later claim stays as it is.
        """
        claimed = self.filter(kind=kind, about_id=about_id, sent_at=claimed_at)
        if earlier is None:
            claimed.delete()
        else:
            claimed.update(code=earlier.code, sent_at=earlier.sent_at)


class Alert(models.Model):
    """The last e-mail of one kind to the operators, about one iTop or workspace."""

    class Kind(models.TextChoices):
        FAILURES = "failures"
        ITOP = "itop"
        WORKSPACE = "workspace"

    kind = models.CharField(max_length=20, choices=Kind.choices)
    # The primary key of the iTop or workspace; 0 for FAILURES, because its e-mail is about all iTops and workspaces.
    about_id = models.PositiveBigIntegerField(default=0)
    code = models.CharField(max_length=40, choices=ReasonCode.choices, blank=True)
    sent_at = models.DateTimeField(default=timezone.now)

    objects = AlertQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "about_id"], name="alert_unique")]

    def __str__(self) -> str:
        return f"{self.kind} {self.about_id}"
