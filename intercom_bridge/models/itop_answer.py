from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from django.db import models
from django.utils import timezone

from .itop_instance import ItopInstance


class ItopAnswerQuerySet(models.QuerySet["ItopAnswer"]):
    def fresh(self, itop: ItopInstance, question: str, seconds: float) -> ItopAnswer | None:
        """What iTop last answered, unless that is more than `seconds` ago."""
        since = timezone.now() - dt.timedelta(seconds=seconds)
        return self.filter(itop=itop, key=_key(question), at__gte=since).first()

    def last_said(self, itop: ItopInstance, question: str) -> ItopAnswer | None:
        """What iTop last answered, however long ago that is: for when it does not answer now."""
        return self.filter(itop=itop, key=_key(question)).first()

    def keep(self, itop: ItopInstance, question: str, value: Any) -> None:
        self.update_or_create(
            itop=itop,
            key=_key(question),
            defaults={"question": question[:500], "value": value, "at": timezone.now()},
        )


class ItopAnswer(models.Model):
    """What iTop answered to a question that comes up again and again, and when: a scope's verdict, an account."""

    itop = models.ForeignKey(ItopInstance, models.CASCADE, related_name="answers")
    key = models.CharField(max_length=64)
    question = models.CharField(max_length=500)
    value = models.JSONField()
    at = models.DateTimeField(default=timezone.now)

    objects = ItopAnswerQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["itop", "key"], name="one_answer_a_question")]
        indexes = [models.Index(fields=["at"], name="answer_at")]

    def __str__(self) -> str:
        return self.question


def _key(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()
