"""The files of one outgoing message: read from iTop and named in its text before its first attempt, then uploaded.

What the text says is stored before the message is posted, so that it is found in the conversation after an unknown
outcome. A further attempt reads the files again, and leaves the text as it is.
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
from django.utils.html import format_html
from django.utils.translation import gettext as _

from intercom_bridge.files.from_itop import FileNotPostedError, FileReader, name_in_history
from intercom_bridge.intercom.client import MAX_FILES, ReplyFile
from intercom_bridge.models import FileToIntercom, OutgoingMessage
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import MAX_REASON_DETAIL, reason_of
from intercom_bridge.models.reason import ReasonCode
from itop_client import ItopError

from .files import FILES
from .note import file_lines, ticket_link

log = structlog.get_logger(__name__)

MB: Final = 1_000_000
# Intercom documents no limit. Its answer is waited for, and a proxy may have one.
MAX_POST_BYTES: Final = 20 * MB
# The files that are not read within this time are posted with a further message.
READ_SECONDS: Final = 60.0
NAME_SECONDS: Final = 5.0
# A message waits so long for an iTop that does not work, and for so many attempts, however old it is: a worker that was
# killed may have had it for that time.
WAITS_FOR: Final = dt.timedelta(minutes=5)
MIN_FAILED_READS: Final = 5

State = FileToIntercom.State


class FilesNotReadyError(Exception):
    """iTop cannot answer now. The message is to be posted a little later. `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class MessageFiles:
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
        """Return what is uploaded with the message, whose text now names its files. Raise FilesNotReadyError.

        Files that are too many or too large together are moved to a further message.
        """
        self._read_deadline = time.monotonic() + READ_SECONDS
        self._uploads = []
        done = 0
        for row in self._rows:
            if (done and self._is_full(row)) or not self._read(row):
                break
            done += 1
        with transaction.atomic():
            self._save(self._rows[:done], self._rows[done:])
        self._rows = self._rows[:done]
        return self._uploads

    def mark_rejected(self, detail: str) -> None:
        """Store that Intercom rejected the files. The message is posted without them, and its text names them."""
        rows = self._message.files.filter(state=State.NAMED)
        reason = detail[:MAX_REASON_DETAIL]
        rows.update(state=State.LINKED, reason_code=ReasonCode.INTERCOM_REJECTED, reason_detail=reason)
        self._uploads = []

    def _is_full(self, row: FileToIntercom) -> bool:
        """Return whether this file is for a further message. Those that the text names already are not."""
        if row.state != State.WAITING:
            return False
        return len(self._uploads) >= MAX_FILES or time.monotonic() >= self._read_deadline or self._left() <= 0

    def _left(self) -> int:
        return MAX_POST_BYTES - sum(upload.size for upload in self._uploads)

    def _read(self, row: FileToIntercom) -> bool:
        """Read the file, or store why it is not posted. Return False if it does not fit into this message."""
        if row.state not in (State.WAITING, State.NAMED):
            return True
        limit = settings.MAX_FILE_TO_INTERCOM_MB * MB
        max_bytes = min(limit, self._left()) if self._uploads else limit
        try:
            seconds = max(1.0, self._read_deadline - time.monotonic())
            file = self._reader.read(row, max_bytes=max_bytes, deadline=seconds)
        except FileNotPostedError as error:
            is_too_large = error.code == ReasonCode.FILE_TOO_LARGE_FOR_INTERCOM
            if is_too_large and max_bytes < limit and row.state == State.WAITING:
                return False
            self._link(row, error.code, error.detail, name=error.name)
        except (ItopError, SecretDecryptionError, OSError) as error:
            is_recent = timezone.now() - self._message.created_at < WAITS_FOR
            row.failed_reads += 1
            FileToIntercom.objects.filter(pk=row.pk).update(failed_reads=row.failed_reads)
            if is_recent or row.failed_reads < MIN_FAILED_READS:
                raise FilesNotReadyError(error) from error
            self._link(row, ReasonCode.FILE_NOT_READABLE, reason_of(error)[1])
        else:
            if row.state == State.WAITING:
                row.name, row.content_type, row.size = file.name, file.content_type, file.size
                row.state = State.NAMED
            self._uploads.append(ReplyFile(file.path, file.name, file.content_type, file.size))
        return True

    def _link(self, row: FileToIntercom, code: str, detail: str, *, name: str = "") -> None:
        if not row.name:
            row.name = name or name_in_history(row, deadline=NAME_SECONDS)
        row.state, row.reason_code, row.reason_detail = State.LINKED, code, detail[:MAX_REASON_DETAIL]
        log.info("file.linked", file=row.pk, code=code)

    def _save(self, rows: Sequence[FileToIntercom], rest: Sequence[FileToIntercom]) -> None:
        message = self._message
        # `name` is erased with the content.
        stored = dict(message.files.values_list("pk", "state"))
        named = [row for row in rows if stored.get(row.pk) == State.WAITING]
        fields = ["name", "content_type", "size", "state", "reason_code", "reason_detail"]
        FileToIntercom.objects.bulk_update(rows, fields)
        if named:
            with translation.override(message.conversation.workspace.language):
                message.body += file_lines(named, for_customer=not message.is_note)
            message.save(update_fields=["body"])
        if rest:
            ticket = rest[0].event.ticket
            shown = ticket_link(ticket) if message.is_note else ticket.ref
            with translation.override(message.conversation.workspace.language):
                text = format_html(_("More files of ticket {ticket}:"), ticket=shown)
            further = OutgoingMessage.objects.create(
                conversation=message.conversation,
                admin_id=message.admin_id,
                admin_name=message.admin_name,
                is_note=message.is_note,
                once_key=f"{FILES}{rest[0].pk}",
                body=format_html("<p>{}</p>", text),
            )
            FileToIntercom.objects.filter(pk__in=[row.pk for row in rest]).update(message=further)
