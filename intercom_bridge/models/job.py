"""The abstract base of every row that a worker processes and may have to retry."""

import datetime as dt
from typing import Any, ClassVar, Self, TypedDict, TypeVar

from django.db import models
from django.utils import timezone

from .reason import ReasonCode

# A row keeps only its latest attempts.
MAX_LOGGED_ATTEMPTS = 20
MAX_REASON_DETAIL = 500


J = TypeVar("J", bound="Job")


class JobQuerySet(models.QuerySet[J]):
    """The queries that every kind of job has."""

    def waiting(self) -> Self:
        """Return the jobs that are not finished."""
        return self.filter(state=self.model.WAITING_STATE)

    def due(self) -> Self:
        """Return the waiting jobs that a worker may process now."""
        return self.waiting().filter(due_at__lte=timezone.now())

    def retriable(self) -> Self:
        """Return the failed jobs whose content is still stored."""
        return self.filter(state=self.model.FAILED_STATE, cleaned_at=None)

    def retry_now(self, **changes: Any) -> int:
        """Put the retriable jobs back in the queue and return how many there are. `changes` are values of other fields.

        `attempts` is 1, not 0: after a first attempt, a worker checks whether it succeeded before trying again.
        """
        values: dict[str, Any] = {
            "state": self.model.WAITING_STATE,
            "reason_code": ReasonCode.NONE,
            "reason_detail": "",
            "attempts": 1,
            "due_at": timezone.now(),
            "announced_at": None,
        }
        return self.retriable().update(**values | changes)

    def erase_content(self, **changes: Any) -> int:
        """Erase the content of the jobs and return how many there are. `changes` are values of other fields."""
        return self.update(**self.model.WITHOUT_CONTENT, cleaned_at=timezone.now(), **changes)


class Job(models.Model):
    """A row that a worker processes until its state is final.

    `reason_code` is why the row waits, was skipped or failed. `reason_detail` is the remote system's own message
    or another fact, such as a person's name. Subclasses declare the field `state`.
    """

    WAITING_STATE: ClassVar[str]
    FAILED_STATE: ClassVar[str]
    # The fields with content, such as a message's text, and the values that they have after it was erased.
    WITHOUT_CONTENT: ClassVar[dict[str, Any]]

    reason_code = models.CharField(
        "reason", max_length=40, choices=ReasonCode.choices, default=ReasonCode.NONE, blank=True
    )
    reason_detail = models.CharField(max_length=MAX_REASON_DETAIL, default="", blank=True)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField("next attempt at", default=timezone.now)
    # When the content was erased.
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When the operators got an e-mail about the failure (ops/alerts.py).
    announced_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def set_reason(self, code: str, detail: object = "") -> None:
        """Set the reason without saving the row."""
        self.reason_code, self.reason_detail = code, str(detail)[:MAX_REASON_DETAIL]


def uncleaned_index(name: str, *fields: str) -> models.Index:
    """Return an index that contains only the rows whose content is not erased yet."""
    return models.Index(fields=fields, name=name, condition=models.Q(cleaned_at__isnull=True))


def claim(row: Any, seconds: float, *, due_field: str = "due_at") -> bool:
    """Take a due row for `seconds`, by postponing its due time. Return False if another worker was faster.

    If this worker crashes, the row is due again after `seconds`. `due_field` is the name of the due time's field.
    """
    until = timezone.now() + dt.timedelta(seconds=seconds)
    # The due time is as this worker read it, unless another worker has taken the row.
    unclaimed = type(row)._default_manager.filter(pk=row.pk, **{due_field: getattr(row, due_field)})
    if not unclaimed.update(**{due_field: until}):
        return False
    setattr(row, due_field, until)
    return True


class Attempt(TypedDict):
    """One attempt to write to iTop: when (Unix seconds), its LoggedJob.Outcome, and the reason."""

    at: float
    outcome: str
    code: str
    detail: str


class LoggedJob(Job):
    """A job that writes to iTop. `attempt_log` contains its attempts, oldest first, each as an Attempt."""

    class Outcome(models.TextChoices):
        WRITTEN = "written", "written"
        # iTop confirmed that the attempt wrote nothing.
        REFUSED = "refused", "rejected by iTop"
        # The request did not reach iTop, or iTop certainly did not execute it.
        NOT_EXECUTED = "trouble", "not written: no connection to iTop"
        UNKNOWN = "unknown", "unknown: iTop may have written it"

    attempt_log = models.JSONField(default=list, db_default=[], blank=True, editable=False)

    class Meta:
        abstract = True

    def log_attempt(self, outcome: str, code: str = ReasonCode.NONE, detail: object = "") -> None:
        """Record an attempt without saving the row."""
        attempt = Attempt(
            at=round(timezone.now().timestamp(), 3),
            outcome=str(outcome),
            code=str(code),
            detail=str(detail)[:MAX_REASON_DETAIL],
        )
        self.attempt_log = [*self.attempt_log, attempt][-MAX_LOGGED_ATTEMPTS:]

    def log_failed_attempt(self, error: Exception) -> None:
        """Record an attempt that ended with an error other than a rejection."""
        may_have_run = getattr(error, "may_have_run", False)
        outcome = self.Outcome.UNKNOWN if may_have_run else self.Outcome.NOT_EXECUTED
        code, detail = reason_of(error)
        self.log_attempt(outcome, code, detail)


def reason_of(error: Exception) -> tuple[str, str]:
    """Return the reason code and the reason detail of an error.

    Errors of the remote systems and SecretDecryptionError have both. Any other exception is an internal error.
    """
    return getattr(error, "code", ReasonCode.INTERNAL_ERROR), getattr(error, "detail", type(error).__name__)
