from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from django.db import models
from django.utils import timezone

from .itop_instance import ItopInstance


class CachedAnswerQuerySet(models.QuerySet["CachedAnswer"]):
    def fresh(self, itop: ItopInstance, question: str, seconds: float) -> CachedAnswer | None:
        """Return iTop's last answer to the question, or None if there is none or it is older than `seconds`."""
        since = timezone.now() - dt.timedelta(seconds=seconds)
        return self.filter(itop=itop, key=_key(question), at__gte=since).first()

    def of_any_age(self, itop: ItopInstance, question: str) -> CachedAnswer | None:
        """Return iTop's last answer to the question, however old, or None. Use this only if iTop does not respond."""
        return self.filter(itop=itop, key=_key(question)).first()

    def store(self, itop: ItopInstance, question: str, value: Any) -> None:
        """Store iTop's answer to the question in place of the previous one."""
        self.update_or_create(
            itop=itop,
            key=_key(question),
            defaults={"question": question[:500], "value": value, "at": timezone.now()},
        )


class CachedAnswer(models.Model):
    """A cached result of a frequent iTop query, for example an account or whether a scope contains a person."""

    itop = models.ForeignKey(ItopInstance, models.CASCADE, related_name="answers")
    # A digest of the whole question, which can be longer than the column `question`.
    key = models.CharField(max_length=64)
    question = models.CharField(max_length=500)
    value = models.JSONField()
    at = models.DateTimeField(default=timezone.now)

    objects = CachedAnswerQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["itop", "key"], name="cached_answer_unique")]
        indexes = [models.Index(fields=["at"], name="cached_answer_at")]

    def __str__(self) -> str:
        return self.question


def _key(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()
