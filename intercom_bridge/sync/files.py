"""Decide when a file of a message is copied to iTop, and whether a failed copy is retried.

If copying a file fails, only this file waits. The circuit breaker opens only if iTop itself fails.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from intercom_bridge.connections import itop_client
from intercom_bridge.files.download import DownloadTimeoutError, FileNotStoredError
from intercom_bridge.files.parts import HEAD_START, files_of
from intercom_bridge.files.to_itop import (
    FileSkippedError,
    TicketOwner,
    copy,
    file_url,
    look_up,
    picture_url,
    remove,
)
from intercom_bridge.intercom.client import IntercomError, IntercomRateLimitedError
from intercom_bridge.intercom.html import MediaLink, without_query
from intercom_bridge.intercom.payloads import Author, Part
from intercom_bridge.models import Delivery, FileToItop, ItopInstance, Ticket
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.file_to_itop import FileToItopQuerySet
from intercom_bridge.models.job import claim, reason_of
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops.metrics import count_file
from itop_client import (
    ItopError,
    ItopNoResponseError,
    ItopPermissionError,
    ItopRejectedError,
    RemoteError,
    UnclassifiedError,
)

from .authors import accounts_of_authors
from .circuit_breaker import backoff_seconds, claim_write, record_failure, record_success
from .failure_notes import note_failed_files
from .message import NO_LINKS, FileLinks, part_from_json, part_to_json

log = structlog.get_logger(__name__)

# The time limit for downloading and uploading a file.
ATTEMPT_SECONDS: Final = 120.0
# Longer than an attempt. If the worker crashes, another one tries the file after this time.
CLAIM_SECONDS: Final = 150.0
LOOKUP_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 3.0
MAX_ATTEMPTS: Final = 20
MAX_RETRY_TIME: Final = dt.timedelta(days=7)
# An entry waits this long for its files to be copied, so that it can link to them. It does not wait for files
# over HEAD_START_BYTES.
HEAD_START_SECONDS: Final = 3.0
HEAD_START_BYTES: Final = 2_000_000
# With less time than this, no copy is started. An upload that is cut off has an unknown outcome, and a worker may only
# repeat it after UNKNOWN_OUTCOME_SECONDS.
MIN_SECONDS: Final = 1.0
# After a download has timed out, the workspace's entries do not wait for files during this time.
SLOW_FOR: Final = dt.timedelta(minutes=1)
# The fields that an attempt to copy a file can change.
ATTEMPT_FIELDS: Final = (
    "state",
    "reason_code",
    "reason_detail",
    "attempts",
    "attempt_log",
    "due_at",
    "name",
    "content_type",
    "size",
    "url",
    "attachment_id",
    "inline_image_id",
    "copied_at",
)


class MessageWithFiles(NamedTuple):
    """A message that has files, and the links to their copies in iTop."""

    part: Part
    links: FileLinks


# --- Called by workers, for one file ---


def copy_file(row: FileToItop) -> None:
    """Copy a due file, or delete the copy of a redacted message's file. The outcome is stored in the row."""
    itop = row.ticket.itop
    if not claim(row, CLAIM_SECONDS):
        return
    if not claim_write(itop):
        _release_claim(row)
        return
    _attempt(row, ATTEMPT_SECONDS)
    if itop.paused_until is not None:
        # This file was the circuit breaker's probe. If the stored time is unchanged, the probe neither succeeded nor
        # failed, because iTop was not asked: let another write be the probe now.
        unused_probe = ItopInstance.objects.filter(pk=itop.pk, paused_until=itop.paused_until)
        unused_probe.update(paused_until=timezone.now())


def _release_claim(row: FileToItop) -> None:
    FileToItop.objects.filter(pk=row.pk, due_at=row.due_at).update(due_at=timezone.now())


def _attempt(
    row: FileToItop, seconds: float, *, owner: TicketOwner | None = None, shows_picture: bool = False
) -> None:
    """Copy the file once, delete its copy, or look it up in the conversation. The row must be claimed.

    The writer of the message passes the `owner` that its files share; a worker that copies one file passes None.
    """
    is_called_by_writer = owner is not None
    row.attempts += 1
    # Counted before the attempt. After a crash, the next attempt thus knows that the file may be in iTop already.
    wanted = FileToItop.objects.waiting().with_content().filter(pk=row.pk, is_redacted=row.is_redacted)
    if not wanted.update(attempts=row.attempts):
        return  # redacted, erased or skipped after it was claimed
    try:
        if row.is_redacted:
            remove(row, seconds)
        elif row.position == FileToItop.LOOKUP:
            look_up(row, LOOKUP_SECONDS)
            # The look-up has replaced the row by the rows of the files, so there is no outcome to save.
            _hand_over(_of_same_message(row))
            return
        else:
            _copy(row, seconds, owner, shows_picture=shows_picture)
        record_success(row.ticket.itop)
        row.log_attempt(FileToItop.Outcome.WRITTEN)
    except FileSkippedError as error:
        row.state = FileToItop.State.SKIPPED
        row.set_reason(error.code)
    except ItopRejectedError as error:
        record_success(row.ticket.itop)  # iTop has responded: it rejects only this file
        _fail(row, error)
    except ItopError as error:
        # A failure within the writer's short time limit says nothing about iTop.
        has_itop_failed = not is_called_by_writer and _is_instance_trouble(row, error)
        wait = record_failure(row.ticket.itop, error) if has_itop_failed else backoff_seconds(row.attempts)
        _postpone(row, error, wait)
    except RemoteError as error:
        if error.retry:
            _postpone(row, error, backoff_seconds(row.attempts))
        else:
            _fail(row, error)
    except SecretDecryptionError as error:
        _postpone(row, error, backoff_seconds(row.attempts))
    _save(row)


def _copy(row: FileToItop, seconds: float, owner: TicketOwner | None, *, shows_picture: bool) -> None:
    """Copy the file. Raise what `copy` raises, and FileNotStoredError instead of OSError."""
    author = (row.conversation.workspace_id, Author(**(row.author or {})))
    (account_id,) = accounts_of_authors(row.ticket.itop, [author], deadline=settings.WRITE_SECONDS)
    try:
        copy(row, seconds, account_id=account_id, shows_picture=shows_picture, owner_of_files=owner)
    except OSError as error:
        raise FileNotStoredError(error.strerror or type(error).__name__) from error


def _is_instance_trouble(row: FileToItop, error: ItopError) -> bool:
    """Return whether iTop itself fails, and not only this file. After a timeout or an unclear error, probe iTop."""
    if isinstance(error, ItopPermissionError):
        return False  # messages can be written without the rights on Attachments
    if not isinstance(error, UnclassifiedError | ItopNoResponseError):
        return True
    try:
        itop_client(row.ticket.itop).list_operations(deadline=PROBE_SECONDS)
    except (ItopError, SecretDecryptionError):
        return True
    return False


def _fail(row: FileToItop, error: Exception) -> None:
    """Set the file to failed. The caller saves the row."""
    code, detail = reason_of(error)
    row.log_attempt(FileToItop.Outcome.REFUSED, code, detail)
    row.state = FileToItop.State.FAILED
    row.set_reason(code, detail)
    # A person may retry the file at once: the claim of this attempt ends here.
    row.due_at = timezone.now()
    log.warning("file.failed", file=row.pk, code=code, **row.conversation.log_fields)


def _postpone(row: FileToItop, error: Exception, seconds: float) -> None:
    """Try again after at least `seconds`, or set the file to failed after too many attempts or too long a time."""
    row.log_failed_attempt(error)
    # Retries to delete a copy began with the redaction, which set `cleaned_at`.
    retried_since = row.cleaned_at if row.is_redacted and row.cleaned_at else row.created_at
    now = timezone.now()
    is_too_old = retried_since < now - MAX_RETRY_TIME
    may_have_run = isinstance(error, ItopError) and error.may_have_run
    # iTop may still be executing the request. A person who clicks “Try again” on a failed file has to wait, too.
    unknown_seconds = settings.UNKNOWN_OUTCOME_SECONDS if may_have_run else 0.0
    if isinstance(error, FileNotStoredError):
        log.error("file.not_stored", file=row.pk, directory=str(settings.FILES_DIR), reason=error.detail)
    # For these errors, the number of attempts is not limited: an operator has to solve the problem, which takes time.
    is_bridges_fault = isinstance(error, FileNotStoredError | SecretDecryptionError)
    if is_too_old or (row.attempts >= MAX_ATTEMPTS and not is_bridges_fault):
        code = ReasonCode.GAVE_UP if is_too_old else ReasonCode.TOO_MANY_ATTEMPTS
        _code, detail = reason_of(error)
        row.state = FileToItop.State.FAILED
        row.set_reason(code, detail)
        row.due_at = now + dt.timedelta(seconds=unknown_seconds)
        return
    if isinstance(error, IntercomRateLimitedError):
        seconds = max(seconds, error.until - now.timestamp())
    seconds = max(seconds, unknown_seconds)
    row.due_at = now + dt.timedelta(seconds=seconds)
    row.set_reason(*reason_of(error))
    log.info("file.postponed", file=row.pk, seconds=round(seconds), error=type(error).__name__)


def _save(row: FileToItop) -> None:
    """Save the outcome of an attempt, and queue the note about failed files.

    If the message was redacted or erased during the attempt, save only what is in iTop now.
    """
    with transaction.atomic():
        # Locked: if two workers finish files of the same message, the second one sees the outcome of the first one.
        list(_of_same_message(row).select_for_update().order_by("pk").values_list("pk"))
        if _save_outcome(row):
            note_failed_files(row)
            return
    in_itop = {name: getattr(row, name) for name in ("attachment_id", "inline_image_id", "copied_at")}
    staying_in_itop = FileToItop.objects.filter(pk=row.pk, is_redacted=row.is_redacted)
    if staying_in_itop.update(**in_itop):
        return  # The content was erased, or the message was redacted in a workspace that keeps the copies.
    # The message was redacted, and its copies are to be deleted. The next attempt deletes what this one has created, or
    # what iTop may still create.
    is_unknown = bool(row.attempt_log) and row.attempt_log[-1]["outcome"] == FileToItop.Outcome.UNKNOWN
    seconds = settings.UNKNOWN_OUTCOME_SECONDS if is_unknown and row.attachment_id is None else 0.0
    due_at = timezone.now() + dt.timedelta(seconds=seconds)
    FileToItop.objects.filter(pk=row.pk).update(due_at=due_at, **in_itop)


def _save_outcome(row: FileToItop) -> bool:
    """Save the outcome of an attempt. Return False if the stored row was redacted or erased during the attempt.

    If the stored row was skipped during the attempt, a file that was not copied stays skipped.
    """
    stored = FileToItop.objects.filter(pk=row.pk, is_redacted=row.is_redacted).with_content()
    values = {name: getattr(row, name) for name in ATTEMPT_FIELDS}
    is_without_success = row.state in (FileToItop.State.WAITING, FileToItop.State.FAILED)
    replaceable = stored.waiting() if is_without_success else stored
    if replaceable.update(**values):
        count_file(row)
        return True
    for name in ("state", "reason_code", "reason_detail"):
        del values[name]
    return bool(stored.update(**values))


# --- Called by the message's writer, for the files of one message ---


def messages_with_files(ticket: Ticket, part_ids: Iterable[str]) -> set[tuple[int, str, str]]:
    """Return the messages to the ticket that have files, as (conversation pk, part kind, part id).

    Files that are copied already count too, because the entry links to them.
    """
    rows = FileToItop.objects.filter(ticket=ticket, part_id__in=part_ids, is_redacted=False)
    return set(rows.values_list("conversation_id", "part_kind", "part_id"))


def copy_small_files(delivery: Delivery) -> MessageWithFiles | None:
    """Copy the small files of a message that is about to be written, within HEAD_START_SECONDS.

    Return the message with the links to its files, or None if it has no files. If the notification left files out, the
    message is completed from the conversation. Files that are not copied in time are left to the workers. An error of
    a file is stored in its row, and not raised.
    """
    rows = _rows_of(delivery)
    if not rows or not delivery.part:
        return None
    part = part_from_json(delivery.part)
    if not delivery.conversation.workspace.copies_files:
        _hand_over(rows)  # the workers set them to skipped
        return MessageWithFiles(part, NO_LINKS)
    if not delivery.attempts and not _is_slow(delivery):
        ends = time.monotonic() + HEAD_START_SECONDS
        part = _completed(delivery, part, rows)
        rows = _rows_of(delivery)
        _copy_until(ends, delivery, rows)
    _hand_over(rows)
    return MessageWithFiles(part, _links(part, [row for row in rows if row.position != FileToItop.LOOKUP]))


def _copy_until(ends: float, delivery: Delivery, rows: Sequence[FileToItop]) -> None:
    """Copy the small files that have not been tried yet, until `ends` (monotonic clock)."""
    owner = TicketOwner()
    # Pictures come first: the log can only show a picture that is copied before the entry is written.
    for row in sorted(rows, key=lambda row: not row.is_inline):
        seconds = ends - time.monotonic()
        if seconds < MIN_SECONDS:
            return
        if row.state != FileToItop.State.WAITING or row.attempts:
            continue
        if row.size <= HEAD_START_BYTES and claim(row, CLAIM_SECONDS):
            _attempt(row, seconds, owner=owner, shows_picture=_shows_pictures(delivery))
            row.refresh_from_db(fields=["state", "attachment_id", "inline_image_id"])


def _hand_over(rows: Iterable[FileToItop]) -> None:
    """Make the files that were not tried due now, so that workers copy them. Until now they waited for the message."""
    for row in rows:
        if row.due_at > row.created_at + HEAD_START:
            continue  # a worker has claimed it
        untouched = FileToItop.objects.waiting().filter(pk=row.pk, due_at=row.due_at, attempts=0)
        untouched.update(due_at=timezone.now())


def _of_same_message(row: FileToItop) -> FileToItopQuerySet:
    return FileToItop.objects.filter(
        ticket=row.ticket, conversation=row.conversation, part_kind=row.part_kind, part_id=row.part_id
    )


def _rows_of(delivery: Delivery) -> list[FileToItop]:
    files = FileToItop.objects.of_message(delivery).filter(is_redacted=False)
    rows = list(files.select_related("ticket__itop", "conversation__workspace__profile"))
    for row in rows:
        # One object for the instance, so that a capability learnt from a file holds for the entry, too.
        row.ticket.itop = delivery.ticket.itop
    return rows


def _completed(delivery: Delivery, part: Part, rows: Sequence[FileToItop]) -> Part:
    """If the notification only mentioned the files, fetch the part from Intercom and store it. Return the part.

    If Intercom does not return it now, leave the look-up to a worker and return `part` unchanged.
    """
    lookup = next((row for row in rows if row.position == FileToItop.LOOKUP), None)
    if lookup is None or not claim(lookup, CLAIM_SECONDS):
        return part
    try:
        whole = look_up(lookup, HEAD_START_SECONDS)
    except (IntercomError, RemoteError, SecretDecryptionError) as error:
        FileToItop.objects.filter(pk=lookup.pk).update(due_at=timezone.now())
        log.info("file.lookup_postponed", file=lookup.pk, error=type(error).__name__)
        return part
    stored = part_to_json(whole)
    Delivery.objects.filter(pk=delivery.pk, cleaned_at=None).update(part=stored)
    # `whole` also contains the addresses of attached files, which a message must not have when it is rendered.
    return part_from_json(stored)


def _is_slow(delivery: Delivery) -> bool:
    """Return whether a download of this workspace has recently timed out."""
    return FileToItop.objects.filter(
        conversation__workspace=delivery.conversation.workspace_id,
        state=FileToItop.State.WAITING,
        reason_code=DownloadTimeoutError.code,
        due_at__gt=timezone.now() - SLOW_FOR,
        attempts__gt=0,
    ).exists()


def _shows_pictures(delivery: Delivery) -> bool:
    # Only an Administrator can create an InlineImage. None until it is known.
    is_administrator = delivery.ticket.itop.is_administrator
    return is_administrator is not False and delivery.conversation.workspace.shows_pictures_in_log


def _is_copied_or_will_be(row: FileToItop) -> bool:
    if row.state == FileToItop.State.WAITING:
        return row.size <= row.conversation.workspace.max_file_bytes
    return row.state == FileToItop.State.COPIED


def _links(part: Part, rows: Sequence[FileToItop]) -> FileLinks:
    by_position = {row.position: row for row in rows if _is_copied_or_will_be(row)}
    # Attached files have the first positions, pictures in the text the following ones.
    attached = {
        position: file_url(row) for position, row in by_position.items() if position < len(part.attachments)
    }
    pictures = {}
    for file in files_of(part):
        row = by_position.get(file.position)
        if file.is_inline and row is not None:
            pictures[without_query(file.url)] = MediaLink(file_url(row), picture_url(row), row.name)
    return FileLinks(attached=attached, pictures=pictures)
