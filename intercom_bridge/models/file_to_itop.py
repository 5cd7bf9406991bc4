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


def _skipped_messages() -> models.QuerySet[Delivery]:
    return Delivery.objects.filter(
        ticket=OuterRef("ticket"),
        conversation=OuterRef("conversation"),
        kind=OuterRef("part_kind"),
        part_id=OuterRef("part_id"),
        state=Delivery.State.SKIPPED,
    )


class FileToItopQuerySet(JobQuerySet["FileToItop"]):
    def with_message(self) -> FileToItopQuerySet:
        """Leave out the files of messages that are not written: the sync was paused, or the ticket unlinked."""
        return self.filter(Q(is_redacted=True) | ~Exists(_skipped_messages()))

    def without_message(self) -> FileToItopQuerySet:
        """Return the files that `with_message` leaves out."""
        return self.filter(Exists(_skipped_messages()), is_redacted=False)

    def with_content(self) -> FileToItopQuerySet:
        """Leave out the files whose content was erased, except those whose copies are to be deleted."""
        return self.filter(Q(is_redacted=True) | Q(cleaned_at=None))

    def retriable(self) -> FileToItopQuerySet:
        """Return the failed files that can be copied after all, or whose copies are still to be deleted."""
        return self.filter(state=FileToItop.State.FAILED).with_content()

    def retry_now(self, **changes: Any) -> int:
        """Put the retriable files back in the queue, each from the time on when no request for it can be running."""
        return super().retry_now(**{"due_at": Greatest("due_at", timezone.now())} | changes)

    def to_copy(self) -> FileToItopQuerySet:
        """Return the files that a worker may copy or delete now."""
        now = timezone.now()
        is_paused = Q(ticket__itop__paused_until__gt=now)
        due = (
            self.due()
            .with_message()
            .with_content()
            .filter(conversation__workspace__enabled=True)
            .exclude(is_paused)
        )
        return due.select_related("ticket__itop", "conversation__workspace__profile").order_by("due_at", "pk")

    def of_message(self, delivery: Delivery) -> FileToItopQuerySet:
        """Return the files of the message that this delivery writes, in their order."""
        return self.filter(
            ticket=delivery.ticket,
            conversation=delivery.conversation,
            part_kind=delivery.kind,
            part_id=delivery.part_id,
        ).order_by("position")

    def unwritten(self) -> FileToItopQuerySet:
        """Return the files that are not in iTop yet."""
        return self.filter(state__in=(FileToItop.State.WAITING, FileToItop.State.FAILED), is_redacted=False)

    def redact(self, *, deletes: bool) -> RedactedFiles:
        """Erase what is stored about the files of a redacted message, and have their copies in iTop deleted.

        With `deletes=False`, copies stay in iTop.
        """
        now = timezone.now()
        count = kept = 0
        for row in self.filter(is_redacted=False).select_for_update().order_by("pk"):
            may_exist = row.attachment_id is not None or row.attempts > 0
            changes: dict[str, Any] = {"state": FileToItop.State.SKIPPED, "reason_code": ReasonCode.REDACTED}
            if row.position == FileToItop.LOOKUP or not may_exist:
                pass
            elif deletes:
                changes = {"is_redacted": True, "state": FileToItop.State.WAITING, "attempts": 0}
                changes |= {"reason_code": ReasonCode.REDACTED, "due_at": row.deletable_at(now)}
                count += 1
            else:
                changes["reason_code"] = ReasonCode.FILE_KEPT
                kept += 1
            self.filter(pk=row.pk).erase_content(
                reason_detail="", attempt_log=[], announced_at=None, **changes
            )
        return RedactedFiles(count, kept)

    def skip(self, code: str, detail: str = "") -> int:
        """Skip the files that are not in iTop yet."""
        return self.unwritten().update(state=FileToItop.State.SKIPPED, reason_code=code, reason_detail=detail)

    def restore_unlinked(self) -> int:
        """Queue the files again that were skipped because their ticket was unlinked, unless they were erased since."""
        return self.filter(cleaned_at=None).restore(ReasonCode.UNLINKED)

    def restore(self, *codes: str, **changes: Any) -> int:
        """Queue the files again that were skipped for one of these reasons. `changes` are values of other fields."""
        skipped = self.filter(state=FileToItop.State.SKIPPED, reason_code__in=codes, is_redacted=False)
        # One attempt stays counted, so that the next one first looks whether an earlier one succeeded.
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

    # The position of a row that stands for files which a notification only mentions, until the conversation is asked.
    LOOKUP = 2_000_000_000

    WAITING_STATE = State.WAITING
    FAILED_STATE = State.FAILED
    WITHOUT_CONTENT = {"name": "", "url": "", "author": {}}

    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="files_to_itop")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="files_to_itop")
    part_kind = models.CharField("kind", max_length=10, choices=Delivery.Kind.choices)
    part_id = models.CharField("message", max_length=64)
    # In the message: first the attached files, then the pictures in the text.
    position = models.PositiveIntegerField()
    is_inline = models.BooleanField("picture in the text", default=False)
    # The message goes to the private log.
    is_private = models.BooleanField("of an internal note", default=False)
    part_created_at = models.BigIntegerField("created in Intercom", help_text="Unix seconds.")
    # As in Delivery.part: type, id, name, email.
    author = models.JSONField(default=dict, blank=True, editable=False)
    # As Intercom reports them; once the file was read, as they are in iTop. The size is in bytes, 0 if unknown.
    name = models.CharField(max_length=MAX_NAME, blank=True)
    content_type = models.CharField("type", max_length=255, blank=True)
    size = models.BigIntegerField(default=0, help_text="Bytes.")
    # Intercom's address, which works for half an hour; "" if the conversation has to be asked for a new one.
    url = models.TextField(blank=True, editable=False)
    url_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # Stored in the Attachment's `temp_id`: iTop refuses a second creation with it.
    idempotency_key = models.CharField(max_length=255, blank=True, editable=False)
    # The secret of the InlineImage's address. It is part of the log entry, and not stored here.
    picture_secret: str = ""
    # The ids in iTop; null until they are known. A picture in the text may have an InlineImage besides its Attachment.
    attachment_id = models.PositiveBigIntegerField("ID of the Attachment in iTop", null=True, blank=True)
    inline_image_id = models.PositiveBigIntegerField(null=True, blank=True, editable=False)
    # The message was redacted: the copies in iTop are to be deleted.
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
            models.Index(fields=["conversation", "state"], name="file_to_itop_conversation"),
            uncleaned_index("file_to_itop_payload", "state", "created_at"),
        ]

    def __str__(self) -> str:
        # Without the name, which an admin's history would keep after it was erased.
        return f"File {self.pk} → {self.ticket}"

    def deletable_at(self, now: dt.datetime) -> dt.datetime:
        """Return when no request that creates a copy can be running any more."""
        unknown_for = dt.timedelta(seconds=settings.UNKNOWN_OUTCOME_SECONDS)
        if self.attachment_id is None:
            # The attempt that is running now, or one whose outcome is unknown.
            return max(self.due_at, now) + unknown_for
        if self.is_inline and self.inline_image_id is None and self.copied_at is not None:
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
