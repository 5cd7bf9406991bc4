from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from .conversation import Conversation
from .job import uncleaned_index
from .outgoing_message import OutgoingMessage
from .reason import ReasonCode
from .ticket import Ticket


class EventKind(models.TextChoices):
    """What happened to a ticket in iTop."""

    PUBLIC_ENTRY = "public_entry", "public entry by an agent"
    CUSTOMER_ENTRY = "customer_entry", "public entry by the customer in the portal"
    PRIVATE_ENTRY = "private_entry", "private entry"
    STATUS = "status", "other change of status"
    ASSIGNMENT = "assignment", "assignment"
    PENDING = "pending", "pending"
    RESOLVED = "resolved", "resolved"
    CLOSED = "closed", "closed"
    REOPENED = "reopened", "reopened"
    FILE = "file", "file added by a person"
    GONE = "gone", "deleted or no longer visible"


class TicketEventQuerySet(models.QuerySet["TicketEvent"]):
    def erase_content(self) -> int:
        """Erase the texts and names in the events, and return how many events there are."""
        # The values of other kinds of events are not names of people.
        self.filter(kind=EventKind.ASSIGNMENT).update(before="", after="")
        return self.update(author_name="", author_email="", content="", cleaned_at=timezone.now())


class TicketEvent(models.Model):
    """A change of a ticket in iTop, for one of its conversations, and what became of it.

    The row is committed before anything is posted. The events of one save in iTop share one message. If an event has no
    message, it was not reported, and `reason_code` says why. The row is never deleted, so nothing is reported twice.
    """

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="events")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="ticket_events")
    kind = models.CharField(max_length=20, choices=EventKind.choices)
    # Identifies the change within the ticket, for example "public_log:17:<digest>" or "status:<last_update>:resolved".
    key = models.CharField(max_length=200, editable=False)
    # When the change happened, by iTop's clock; null if iTop does not return this.
    happened_at = models.DateTimeField(null=True, blank=True)
    # When the bridge noticed the change.
    created_at = models.DateTimeField("seen at", auto_now_add=True)
    author_name = models.CharField("author", max_length=200, blank=True)
    author_email = models.CharField("author's e-mail address", max_length=254, blank=True)
    # Whether the author belongs to a team in iTop. Only such authors' texts are sent to customers automatically.
    is_by_agent = models.BooleanField("author is in a team", default=False)
    # The labels of the values before and after the change.
    before = models.CharField(max_length=200, blank=True)
    after = models.CharField(max_length=200, blank=True)
    # The text of the entry, the solution or the pending reason, as iTop's HTML.
    content = models.TextField(blank=True)
    # If this event is a file: the public entry that the same person saved together with the file.
    entry = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="file_events", editable=False
    )
    message = models.ForeignKey(
        OutgoingMessage, models.SET_NULL, null=True, blank=True, related_name="events"
    )
    # Whether the event reopened the conversation.
    reopened = models.BooleanField(default=False)
    reason_code = models.CharField(
        "reason", max_length=40, choices=ReasonCode.choices, default=ReasonCode.NONE, blank=True
    )
    reason_detail = models.CharField(max_length=500, blank=True)
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TicketEventQuerySet.as_manager()

    class Meta:
        verbose_name = "change in iTop"
        verbose_name_plural = "changes in iTop"
        constraints = [
            models.UniqueConstraint(fields=["ticket", "conversation", "key"], name="ticket_event_unique")
        ]
        indexes = [
            models.Index(fields=["conversation", "created_at"], name="ticket_event_conversation"),
            uncleaned_index("ticket_event_payload", "created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.ticket}: {self.get_kind_display()}"

    @property
    def outcome(self) -> str:
        """The state of the event's message, or "" if it has no message."""
        return str(self.message.state) if self.message else ""

    def to_json(self) -> dict[str, Any]:
        """Return the event's content for the GDPR export."""
        return {
            "kind": self.kind,
            "ticket": self.ticket.ref,
            "happened_at": self.happened_at,
            "author": self.author_name,
            "before": self.before,
            "after": self.after,
            "content": self.content,
        }
