"""Read the files of an outgoing message from iTop, and name them in its text before it is posted.

The text with the names is stored before the first attempt to post. After an unknown outcome the message is looked for
by this text, so a further attempt reads the files again but leaves the text as it is.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from typing import Final

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation

from intercom_bridge.files.from_itop import FileNotPostedError, FileReader, name_in_history
from intercom_bridge.intercom.client import MAX_FILES, ReplyFile
from intercom_bridge.models import FileToIntercom, OutgoingMessage
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import MAX_REASON_DETAIL, reason_of
from intercom_bridge.models.reason import ReasonCode
from itop_client import ItopError

from .files import FILES
from .note import file_lines, more_files_body

log = structlog.get_logger(__name__)

MB: Final = 1_000_000
# The limit for all files of a message together. Intercom documents none, but the upload has a deadline, and a proxy may
# have a limit.
MAX_POST_BYTES: Final = 20 * MB
# Files that are not read within this time are posted with a further message.
READ_SECONDS: Final = 60.0
# The deadline of the call that reads a file's name from iTop's history.
NAME_SECONDS: Final = 5.0
# While iTop does not work, a message waits until it is this old and this many reads of a file have failed. The age
# alone is not enough, because a worker that was killed may have held the message for that time.
WAITS_FOR: Final = dt.timedelta(minutes=5)
MIN_FAILED_READS: Final = 5

State = FileToIntercom.State


class FilesNotReadyError(Exception):
    """iTop cannot return a file now, so the message has to wait. `cause` is iTop's error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class MessageFiles:
    """The files of one message. The object is false if there are none."""

    def __init__(self, message: OutgoingMessage, reader: FileReader) -> None:
        self._message = message
        self._reader = reader
        rows = message.files.select_related("event__ticket__itop", "event__conversation__workspace")
        self._rows = list(rows.order_by("event", "position"))
        # When reading ends, as a value of time.monotonic().
        self._read_deadline = 0.0
        self._uploads: list[ReplyFile] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def read(self) -> list[ReplyFile]:
        """Return the files to upload with the message, and store their names in its text. Raise FilesNotReadyError.

        If the files are too many or together too large, move the rest to a further message.
        """
        self._read_deadline = time.monotonic() + READ_SECONDS
        self._uploads = []
        count = 0
        for row in self._rows:
            # Each message takes at least one file, so that all are posted in the end.
            is_full = count > 0 and self._is_for_further_message(row)
            if is_full or not self._read(row):
                break
            count += 1
        rows, rest = self._rows[:count], self._rows[count:]
        with transaction.atomic():
            self._save(rows, rest)
        self._rows = rows
        return self._uploads

    def mark_rejected(self, detail: str) -> None:
        """Store that Intercom rejected the files, so the message was posted without them."""
        rows = self._message.files.filter(state=State.NAMED)
        reason = detail[:MAX_REASON_DETAIL]
        rows.update(state=State.LINKED, reason_code=ReasonCode.INTERCOM_REJECTED, reason_detail=reason)
        self._uploads = []

    def _is_for_further_message(self, row: FileToIntercom) -> bool:
        """Return whether this message has no room or no time left for the file."""
        if row.state != State.WAITING:
            # An earlier attempt put the file's name into this message's text.
            return False
        has_max_files = len(self._uploads) >= MAX_FILES
        return has_max_files or self._bytes_left() <= 0 or time.monotonic() >= self._read_deadline

    def _bytes_left(self) -> int:
        return MAX_POST_BYTES - sum(upload.size for upload in self._uploads)

    def _read(self, row: FileToIntercom) -> bool:
        """Read the file and add it to the uploads. If it cannot be posted, let the message link to it (`_set_linked`).

        Return False to leave the file to a further message. Raise FilesNotReadyError if the message has to wait.
        """
        if row.state not in (State.WAITING, State.NAMED):
            return True  # an earlier attempt decided to link to it, so there is nothing to upload
        max_file_bytes = settings.MAX_FILE_TO_INTERCOM_MB * MB
        # The first file may be larger than MAX_POST_BYTES.
        max_bytes = min(max_file_bytes, self._bytes_left()) if self._uploads else max_file_bytes
        try:
            seconds = max(1.0, self._read_deadline - time.monotonic())
            file = self._reader.read(row, max_bytes=max_bytes, deadline=seconds)
        except FileNotPostedError as error:
            is_too_large = error.code == ReasonCode.FILE_TOO_LARGE_FOR_INTERCOM
            has_less_room = max_bytes < max_file_bytes  # because of the files before it
            if is_too_large and has_less_room and row.state == State.WAITING:
                # It may fit into a message of its own. A NAMED file has to stay: this message's text names it.
                return False
            self._set_linked(row, error.code, error.detail, name=error.name)
        except (ItopError, SecretDecryptionError, OSError) as error:
            is_recent = timezone.now() - self._message.created_at < WAITS_FOR
            row.failed_reads += 1
            FileToIntercom.objects.filter(pk=row.pk).update(failed_reads=row.failed_reads)
            if is_recent or row.failed_reads < MIN_FAILED_READS:
                raise FilesNotReadyError(error) from error
            _code, detail = reason_of(error)
            self._set_linked(row, ReasonCode.FILE_NOT_READABLE, detail)
        else:
            if row.state == State.WAITING:
                row.name, row.content_type, row.size = file.name, file.content_type, file.size
                row.state = State.NAMED
            self._uploads.append(ReplyFile(file.path, file.name, file.content_type, file.size))
        return True

    def _set_linked(self, row: FileToIntercom, code: str, detail: str, *, name: str = "") -> None:
        """Set the state LINKED with this reason. The message then only names the file and links to it."""
        if not row.name:
            row.name = name or name_in_history(row, deadline=NAME_SECONDS)
        row.state, row.reason_code, row.reason_detail = State.LINKED, code, detail[:MAX_REASON_DETAIL]
        log.info("file.linked", file=row.pk, code=code)

    def _save(self, rows: Sequence[FileToIntercom], rest: Sequence[FileToIntercom]) -> None:
        """Store `rows`, and their names in the message's text. Move `rest` to a further message."""
        message = self._message
        stored_states = dict(message.files.values_list("pk", "state"))
        # Only the stored state shows whether the text names a file already, because names can be erased.
        to_name = [row for row in rows if stored_states.get(row.pk) == State.WAITING]
        fields = ["name", "content_type", "size", "state", "reason_code", "reason_detail"]
        FileToIntercom.objects.bulk_update(rows, fields)
        if to_name:
            with translation.override(message.conversation.workspace.language):
                message.body += file_lines(to_name, for_customer=not message.is_note)
            message.save(update_fields=["body"])
        if rest:
            further = OutgoingMessage.objects.create(
                conversation=message.conversation,
                admin_id=message.admin_id,
                admin_name=message.admin_name,
                is_note=message.is_note,
                once_key=f"{FILES}{rest[0].pk}",
                body=more_files_body(rest[0].event.ticket, message.conversation, is_note=message.is_note),
            )
            FileToIntercom.objects.filter(pk__in=[row.pk for row in rest]).update(message=further)
