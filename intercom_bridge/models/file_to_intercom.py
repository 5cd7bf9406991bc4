from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from .job import uncleaned_index
from .outgoing_message import OutgoingMessage
from .reason import ReasonCode
from .ticket_event import TicketEvent

MAX_NAME = 255


class FileToIntercomQuerySet(models.QuerySet["FileToIntercom"]):
    def erase_content(self) -> int:
        """Erase the names of the files, and the reasons that may quote them. Return how many files there are."""
        return self.update(name="", reason_detail="", cleaned_at=timezone.now())


class FileToIntercom(models.Model):
    """A file that a person added to a ticket in iTop, or a picture in a log entry, in one message to Intercom.

    If a teammate also sends the file to the customer, the file has a second row for that message. If the event is not
    reported, the row has no message. The name, type and size are set after the file was read from iTop.
    """

    class Source(models.TextChoices):
        ATTACHMENT = "attachment", "file of the ticket"
        PICTURE = "picture", "picture in the text"

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        # Its message is being posted, with the name of this file in the text.
        NAMED = "named", "being posted"
        POSTED = "posted", "posted"
        # The message only links to the file in iTop: the file is too large, or iTop could not return it.
        LINKED = "linked", "only as a link"
        SKIPPED = "skipped", "skipped"

    event = models.ForeignKey(TicketEvent, models.CASCADE, related_name="files")
    message = models.ForeignKey(OutgoingMessage, models.CASCADE, null=True, blank=True, related_name="files")
    # The place of a picture among the pictures in the event's text.
    position = models.PositiveIntegerField(default=0)
    source = models.CharField(max_length=10, choices=Source.choices)
    # The id of the Attachment or InlineImage; 0 for a picture whose data is part of the text.
    object_id = models.PositiveBigIntegerField("ID in iTop")
    name = models.CharField(max_length=MAX_NAME, blank=True)
    content_type = models.CharField("type", max_length=255, blank=True)
    size = models.BigIntegerField(default=0, help_text="Bytes.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # How many attempts to read the file from iTop have failed.
    failed_reads = models.PositiveIntegerField(default=0, editable=False)
    reason_code = models.CharField(
        "reason", max_length=40, choices=ReasonCode.choices, default=ReasonCode.NONE, blank=True
    )
    reason_detail = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    cleaned_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = FileToIntercomQuerySet.as_manager()

    class Meta:
        verbose_name = "file for Intercom"
        verbose_name_plural = "files for Intercom"
        ordering = ["event", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["event", "position", "message"], name="file_to_intercom_unique_in_message"
            ),
            models.UniqueConstraint(
                fields=["event", "position"], name="file_to_intercom_unique", condition=models.Q(message=None)
            ),
        ]
        indexes = [uncleaned_index("file_to_intercom_payload", "created_at")]

    def __str__(self) -> str:
        # Not the file's name: the admin's history would keep it after it was erased here.
        return f"File {self.pk} of {self.event}"

    def to_json(self) -> dict[str, Any]:
        """Return what is known about the file, for exports."""
        return {
            "name": self.name,
            "type": self.content_type,
            "size": self.size,
            "ticket": self.event.ticket.ref,
            "state": self.state,
            "created_at": self.created_at.isoformat(),
        }
