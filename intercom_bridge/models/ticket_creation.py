import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from .conversation import Conversation
from .job import JobQuerySet, LoggedJob, uncleaned_index
from .ticket import Ticket


def without_files(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the copied parts without the data of their files. Once the ticket exists, FileToItop stores these data."""
    omitted = ("files", "part_author")
    return [{name: part[name] for name in part if name not in omitted} for part in parts]


class TicketCreationQuerySet(JobQuerySet["TicketCreation"]):
    def erase_content(self, **changes: Any) -> int:
        """Erase the content, and also the names and URLs of the parts' files. For `changes`, see JobQuerySet."""
        for pk, parts in self.values_list("pk", "parts"):
            if any("files" in part for part in parts):
                self.filter(pk=pk).update(parts=without_files(parts))
        return super().erase_content(**changes)

    def release_postponed(self) -> int:
        """Make postponed creations due now, or when iTop can no longer be executing their last request.

        Return how many creations were postponed.
        """
        now = timezone.now()
        unknown_for = dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        postponed = list(self.waiting().filter(due_at__gt=now))
        for creation in postponed:
            # Without a logged attempt, a first request may be running now.
            last_attempt_at = now
            if creation.attempt_log:
                last_attempt_at = dt.datetime.fromtimestamp(creation.attempt_log[-1]["at"], dt.UTC)
            safe_at = max(now, last_attempt_at + unknown_for)
            # Update nothing if a worker has changed the due time in the meantime.
            unchanged = self.filter(pk=creation.pk, due_at=creation.due_at).waiting()
            unchanged.update(due_at=min(creation.due_at, safe_at))
        return len(postponed)


class TicketCreation(LoggedJob):
    """One submission of the create form. The form key makes it idempotent."""

    class State(models.TextChoices):
        CREATING = "creating", "being created"
        CREATED = "created", "created"
        REFUSED = "refused", "rejected by iTop"

    WAITING_STATE = State.CREATING
    FAILED_STATE = State.REFUSED
    WITHOUT_CONTENT = {"fields": {}, "values": {}, "problems": []}

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="ticket_creations")
    form_key = models.CharField(max_length=64)
    admin_id = models.CharField(max_length=64, blank=True)
    admin_name = models.CharField("teammate", max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.CREATING)
    # A remark for the create form's last screen, for example that the transcript is not complete.
    note = models.CharField(max_length=300, blank=True)
    # The request to iTop. It is rendered once, because a retry must be identical.
    ticket_class = models.CharField(max_length=100)
    fields = models.JSONField(default=dict)
    caller_id = models.PositiveBigIntegerField()
    idempotency_key = models.CharField(max_length=255)
    # For a rejected creation: the input, to fill in the form again, and the problems: {"attribute", "detail"} each.
    values = models.JSONField(default=dict)
    problems = models.JSONField(default=list)
    # Whether the panel has shown iTop's rejection, which can arrive after the panel's response.
    rejection_seen = models.BooleanField(default=False)
    # Whether the customer gets a message about the ticket, and whether the message has a link to the portal.
    announce = models.BooleanField(default=True)
    announce_link = models.BooleanField(default=False)
    # The values of the TicketLink's fields. Both are 0 if the ticket gets a copy of the conversation so far.
    since_part_at = models.BigIntegerField(default=0, editable=False)
    since_part_order = models.BigIntegerField(default=0, editable=False)
    # The copied parts: {"kind", "id", "created_at", "log", "author", "author_type", "author_id"} each.
    parts = models.JSONField(default=list)
    ticket = models.ForeignKey(
        Ticket, models.SET_NULL, null=True, blank=True, related_name="ticket_creations"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TicketCreationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "form_key"], name="ticket_creation_unique_form")
        ]
        indexes = [
            models.Index(fields=["due_at"], name="ticket_creation_due", condition=models.Q(state="creating")),
            uncleaned_index("ticket_creation_payload", "state", "created_at"),
            models.Index(fields=["caller_id"], name="ticket_creation_caller"),
        ]

    def __str__(self) -> str:
        return f"{self.form_key} ({self.get_state_display()})"
