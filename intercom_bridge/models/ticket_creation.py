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
    """Return copied parts without their files, whose rows exist once the ticket is created."""
    omitted = ("files", "part_author")
    return [{name: part[name] for name in part if name not in omitted} for part in parts]


class TicketCreationQuerySet(JobQuerySet["TicketCreation"]):
    def erase_content(self, **changes: Any) -> int:
        """Erase the content, and the names and addresses of the parts' files. `changes`: see JobQuerySet."""
        for pk, parts in self.values_list("pk", "parts"):
            if any("files" in part for part in parts):
                self.filter(pk=pk).update(parts=without_files(parts))
        return super().erase_content(**changes)

    def release_postponed(self) -> int:
        """Make postponed creations due now, but not while iTop may still be executing the last request."""
        now = timezone.now()
        unknown_for = dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        postponed = list(self.waiting().filter(due_at__gt=now))
        for creation in postponed:
            last_at = now
            if creation.attempt_log:
                last_at = dt.datetime.fromtimestamp(creation.attempt_log[-1]["at"], dt.UTC)
            due_at = min(creation.due_at, max(now, last_at + unknown_for))
            self.filter(pk=creation.pk, due_at=creation.due_at).waiting().update(due_at=due_at)
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
    # A remark for the last screen: the transcript is not complete.
    note = models.CharField(max_length=300, blank=True)
    # The request, rendered once: a retry must be identical.
    ticket_class = models.CharField(max_length=100)
    fields = models.JSONField(default=dict)
    caller_id = models.PositiveBigIntegerField()
    idempotency_key = models.CharField(max_length=255)
    # `values` fill the form again; `problems` are {"attribute", "detail"} each; `rejection_seen`: whether the
    # teammate has seen the rejection, which may arrive after the panel's response.
    values = models.JSONField(default=dict)
    problems = models.JSONField(default=list)
    rejection_seen = models.BooleanField(default=False)
    # Whether the customer gets a message about the ticket, and whether it links to the portal.
    announce = models.BooleanField(default=True)
    announce_link = models.BooleanField(default=False)
    # The link's `since_part_at` and `since_part_order`. They are 0 if the conversation so far is copied.
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
