from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Greatest, Least
from django.utils import timezone

from .conversation import Conversation
from .delivery import Delivery
from .job import JobQuerySet, LoggedJob, uncleaned_index
from .reason import ReasonCode
from .ticket import Ticket

MAX_NAME = 255


class RedactedFiles(NamedTuple):
    """How many copies of a redacted message's files are to be deleted in iTop, and how many stay there."""

    to_delete: int = 0
    kept: int = 0


def _skipped_deliveries() -> models.QuerySet[Delivery]:
    """Return a subquery for FileToItop: the skipped delivery of the file's message, if any."""
    return Delivery.objects.filter(
        ticket=OuterRef("ticket"),
        conversation=OuterRef("conversation"),
        kind=OuterRef("part_kind"),
        part_id=OuterRef("part_id"),
        state=Delivery.State.SKIPPED,
    )


class FileToItopQuerySet(JobQuerySet["FileToItop"]):
    def with_message(self) -> FileToItopQuerySet:
        """Return the files except those of a skipped message: its sync was paused, or its ticket was unlinked.

        The files of redacted messages are always returned, because their copies in iTop are to be deleted.
        """
        return self.filter(Q(is_redacted=True) | ~Exists(_skipped_deliveries()))

    def without_message(self) -> FileToItopQuerySet:
        """Return the files that `with_message` leaves out."""
        return self.filter(Exists(_skipped_deliveries()), is_redacted=False)

    def with_content(self) -> FileToItopQuerySet:
        """Return the files whose content is still stored, and all files of redacted messages."""
        return self.filter(Q(is_redacted=True) | Q(cleaned_at=None))

    def retriable(self) -> FileToItopQuerySet:
        """Return the failed files that a worker can try again to copy, or to delete in iTop."""
        return self.filter(state=FileToItop.State.FAILED).with_content()

    def retry_now(self, **changes: Any) -> int:
        """Put the retriable files back in the queue, and return how many there are.

        A due time in the future stays, because until then the last request for the file may still be running.
        """
        return super().retry_now(**{"due_at": Greatest("due_at", timezone.now())} | changes)

    def to_copy(self) -> FileToItopQuerySet:
        """Return the files that a worker may copy, or delete in iTop, now. The longest overdue come first."""
        is_itop_paused = Q(ticket__itop__paused_until__gt=timezone.now())
        due = self.due().with_message().with_content()
        allowed = due.filter(conversation__workspace__enabled=True).exclude(is_itop_paused)
        related = allowed.select_related("ticket__itop", "conversation__workspace__profile")
        return related.order_by("due_at", "pk")

    def of_message(self, delivery: Delivery) -> FileToItopQuerySet:
        """Return the files of the message that this delivery writes, in their order in the message."""
        return self.filter(
            ticket=delivery.ticket,
            conversation=delivery.conversation,
            part_kind=delivery.kind,
            part_id=delivery.part_id,
        ).order_by("position")

    def unwritten(self) -> FileToItopQuerySet:
        """Return the files that are waiting or failed, except those of redacted messages."""
        return self.filter(state__in=(FileToItop.State.WAITING, FileToItop.State.FAILED), is_redacted=False)

    def redact(self, *, deletes: bool) -> RedactedFiles:
        """Erase what is stored about the files of a redacted message, and queue the deletion of their copies in iTop.

        If `deletes` is False, the copies stay in iTop.
        """
        now = timezone.now()
        to_delete = kept = 0
        for row in self.filter(is_redacted=False).select_for_update().order_by("pk"):
            changes: dict[str, Any] = {"state": FileToItop.State.SKIPPED, "reason_code": ReasonCode.REDACTED}
            if row.may_have_copy and deletes:
                changes |= {"is_redacted": True, "state": FileToItop.State.WAITING, "attempts": 0}
                changes["due_at"] = row.deletable_at(now)
                to_delete += 1
            elif row.may_have_copy:
                changes["reason_code"] = ReasonCode.FILE_KEPT
                kept += 1
            self.filter(pk=row.pk).erase_content(
                reason_detail="", attempt_log=[], announced_at=None, **changes
            )
        return RedactedFiles(to_delete, kept)

    def skip(self, code: str, detail: str = "") -> int:
        """Skip the unwritten files, and return how many there are."""
        return self.unwritten().update(state=FileToItop.State.SKIPPED, reason_code=code, reason_detail=detail)

    def restore_unlinked(self) -> int:
        """Queue the files again that were skipped because their ticket was unlinked, unless their content is erased."""
        return self.filter(cleaned_at=None).restore(ReasonCode.UNLINKED)

    def restore(self, *codes: str, **changes: Any) -> int:
        """Queue the files again that were skipped for one of these reasons, and return how many there are.

        `changes` are values of other fields.
        """
        skipped = self.filter(state=FileToItop.State.SKIPPED, reason_code__in=codes, is_redacted=False)
        # After an attempt, `attempts` is 1, not 0: a worker first checks whether an earlier attempt succeeded.
        return skipped.update(
            state=FileToItop.State.WAITING,
            reason_code=ReasonCode.NONE,
            reason_detail="",
            attempts=Least("attempts", 1),
            due_at=Greatest("due_at", timezone.now()),
            **changes,
        )


class FileToItop(LoggedJob):
    """One file of a conversation part, or one picture in its text, for one linked ticket: an Attachment in iTop.

    The row is never deleted, so that the file is never copied twice.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        COPIED = "copied", "copied"
        SKIPPED = "skipped", "skipped"
        FAILED = "failed", "failed"
        # The message was redacted in Intercom, and the copy was deleted in iTop.
        REMOVED = "removed", "deleted in iTop"

    # The position of a placeholder: the notification mentions files without their addresses. A worker replaces this row
    # by one row for each file, after it has read the conversation from Intercom.
    LOOKUP = 2_000_000_000

    WAITING_STATE = State.WAITING
    FAILED_STATE = State.FAILED
    WITHOUT_CONTENT = {"name": "", "url": "", "author": {}}

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="files_to_itop")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="files_to_itop")
    part_kind = models.CharField("kind", max_length=10, choices=Delivery.Kind.choices)
    part_id = models.CharField("message", max_length=64)
    # The place in the message: the attached files come first, then the pictures in the text.
    position = models.PositiveIntegerField()
    is_inline = models.BooleanField("picture in the text", default=False)
    # Whether the message is written to the private log.
    is_private = models.BooleanField("of an internal note", default=False)
    part_created_at = models.BigIntegerField("created in Intercom", help_text="Unix seconds.")
    # As in Delivery.part: type, id, name, email.
    author = models.JSONField(default=dict, blank=True, editable=False)
    # The name, type and size from Intercom; after the file was downloaded, those in iTop. A size of 0 means unknown.
    name = models.CharField(max_length=MAX_NAME, blank=True)
    content_type = models.CharField("type", max_length=255, blank=True)
    size = models.BigIntegerField(default=0, help_text="Bytes.")
    # Intercom's URL of the file, which expires after half an hour; "" if the worker has to get a new URL first.
    url = models.TextField(blank=True, editable=False)
    url_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # Stored in the Attachment's `temp_id`. iTop refuses to create a second Attachment with this key.
    idempotency_key = models.CharField(max_length=255, blank=True, editable=False)
    # The secret in the InlineImage's URL. It is not a column, because only the log entry needs it.
    picture_secret: str = ""
    # The ids in iTop; null until they are known. A picture in the text can have an InlineImage besides its Attachment.
    attachment_id = models.PositiveBigIntegerField("ID of the Attachment in iTop", null=True, blank=True)
    inline_image_id = models.PositiveBigIntegerField(null=True, blank=True, editable=False)
    # Whether the copies in iTop are to be deleted, or were deleted, because the message was redacted.
    is_redacted = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    copied_at = models.DateTimeField(null=True, blank=True)

    objects = FileToItopQuerySet.as_manager()

    class Meta:
        verbose_name = "file for iTop"
        verbose_name_plural = "files for iTop"
        constraints = [
            models.UniqueConstraint(
                fields=["ticket", "conversation", "part_kind", "part_id", "position"],
                name="file_to_itop_unique",
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], name="file_to_itop_due", condition=models.Q(state="waiting")),
            # The dashboard counts the failed files. Each minute a worker looks for those that no e-mail has reported.
            models.Index(
                fields=["created_at"], name="file_to_itop_failed", condition=models.Q(state="failed")
            ),
            models.Index(fields=["conversation", "state"], name="file_to_itop_conversation"),
            uncleaned_index("file_to_itop_payload", "state", "created_at"),
        ]

    def __str__(self) -> str:
        # Not the file's name: the admin's history would keep it after it was erased here.
        return f"File {self.pk} → {self.ticket}"

    @property
    def may_have_copy(self) -> bool:
        """Return whether iTop may contain a copy of this file."""
        is_attempted = self.attachment_id is not None or self.attempts > 0
        return is_attempted and self.position != self.LOOKUP

    def deletable_at(self, now: dt.datetime) -> dt.datetime:
        """Return the time from which no request that creates a copy can still be running in iTop."""
        unknown_for = dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        if self.attachment_id is None:
            # An attempt is running now, or its outcome is unknown.
            return max(self.due_at, now) + unknown_for
        if self.is_inline and self.inline_image_id is None and self.copied_at is not None:
            # The Attachment exists, but the request for the InlineImage may still be running.
            return max(now, self.copied_at + unknown_for)
        return now

    def to_json(self) -> dict[str, Any]:
        """Return what is known about the file, for exports."""
        return {
            "name": self.name,
            "type": self.content_type,
            "size": self.size,
            "ticket": self.ticket.ref,
            "state": self.state,
            "reason": self.reason_code or ReasonCode.NONE,
            "created_at": self.created_at.isoformat(),
        }
