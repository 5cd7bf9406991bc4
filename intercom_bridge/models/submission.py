from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db import models
from django.utils import timezone

from .conversation import Conversation
from .ticket import Ticket
from .tries import Tried


class SubmissionQuerySet(models.QuerySet["Submission"]):
    def unfinished(self) -> SubmissionQuerySet:
        return self.filter(state=Submission.State.CREATING)

    def try_now(self) -> int:
        """Has what nobody knows the outcome of tried now, save what iTop may still be executing."""
        now = timezone.now()
        rest = dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        put_off = list(self.unfinished().filter(due_at__gt=now))
        for one in put_off:
            last = dt.datetime.fromtimestamp(one.tries[-1][0], dt.UTC) if one.tries else now
            due_at = min(one.due_at, max(now, last + rest))
            self.filter(pk=one.pk, due_at=one.due_at).unfinished().update(due_at=due_at)
        return len(put_off)

    def due(self) -> SubmissionQuerySet:
        return self.unfinished().filter(due_at__lte=timezone.now())


class Submission(Tried):
    """One press of Create: its form's key makes it happen once, however often the press arrives."""

    class State(models.TextChoices):
        CREATING = "creating", "being created"
        CREATED = "created", "created"
        REFUSED = "refused", "refused by iTop"

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="submissions")
    form_key = models.CharField(max_length=64)
    admin_id = models.CharField(max_length=64, blank=True)
    admin_name = models.CharField("teammate", max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.CREATING)
    reason = models.CharField(max_length=1000, blank=True)
    # Something to be told on the last screen: that the transcript is not whole.
    note = models.CharField(max_length=300, blank=True)
    # The create as it is sent, rendered once: a repeat must be the same request.
    ticket_class = models.CharField(max_length=100)
    fields = models.JSONField(default=dict)
    caller_id = models.PositiveBigIntegerField()
    marker = models.CharField(max_length=255)
    # What was typed, to fill the form with again; what was wrong with it, [attribute, reason] each; whether the
    # teammate has been told of a refusal that came when the panel had already answered.
    values = models.JSONField(default=dict)
    problems = models.JSONField(default=list)
    told = models.BooleanField(default=False)
    # The parts of the transcript in it: [kind, part id, created_at, log, author].
    parts = models.JSONField(default=list)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    ticket = models.ForeignKey(Ticket, models.SET_NULL, null=True, blank=True, related_name="submissions")
    created_at = models.DateTimeField(auto_now_add=True)
    # When its payload was no longer kept (sync/retention.py).
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = SubmissionQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "form_key"], name="one_ticket_a_form")]
        indexes = [
            models.Index(fields=["due_at"], name="submission_due", condition=models.Q(state="creating")),
            models.Index(
                fields=["state", "created_at"],
                name="submission_payload",
                condition=models.Q(cleaned_at__isnull=True),
            ),
            models.Index(fields=["caller_id"], name="submission_caller"),
        ]

    def __str__(self) -> str:
        return f"{self.form_key} ({self.get_state_display()})"
