"""What came of each try to write something to iTop. On the row itself, in the update that is made anyway."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

# Of a long trouble the latest tries say what there is to say.
MOST_TRIES = 20
MOST_WORDS = 300


class Tried(models.Model):
    """A row that iTop is tried with, perhaps more than once. `tries`: [Unix seconds, outcome, why], newest last."""

    class Outcome(models.TextChoices):
        WRITTEN = "written", "written"
        # iTop's own word: nothing was written by it.
        REFUSED = "refused", "refused by iTop"
        # It certainly did not run, and neither the message nor iTop's answer to it is at fault.
        TROUBLE = "trouble", "not written: iTop could not be asked"
        UNKNOWN = "unknown", "outcome unknown: it may have been written"

    tries = models.JSONField(default=list, db_default=[], blank=True, editable=False)

    class Meta:
        abstract = True

    def note_try(self, outcome: str, why: object = "") -> None:
        """Notes it on the row. Whoever calls saves it, with whatever else the try has changed."""
        one: list[Any] = [round(timezone.now().timestamp(), 3), str(outcome), str(why)[:MOST_WORDS]]
        self.tries = [*self.tries, one][-MOST_TRIES:]

    def note_trouble(self, trouble: Exception) -> None:
        may_have_run = getattr(trouble, "may_have_run", False)
        self.note_try(self.Outcome.UNKNOWN if may_have_run else self.Outcome.TROUBLE, trouble)
