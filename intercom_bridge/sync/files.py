"""Decide when a file of a message is copied to iTop, and what becomes of it when that fails.

A failure concerns the file: nothing else waits for it. Only if iTop itself fails, the circuit breaker opens.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from typing import Final

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

from .authors import accounts_of, signed_in_emails
from .circuit_breaker import backoff_seconds, claim_write, record_failure, record_success
from .failure_notes import note_failed_files
from .message import NO_LINKS, FileLinks, may_have_account, part_from_json, part_to_json

log = structlog.get_logger(__name__)

# Download and upload of the largest file together.
ATTEMPT_SECONDS: Final = 120.0
CLAIM_SECONDS: Final = 150.0
LOOKUP_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 3.0
MAX_ATTEMPTS: Final = 20
MAX_RETRY_TIME: Final = dt.timedelta(days=7)
# How long an entry may wait for its own files, and up to which size, so that it can link to them.
HEAD_START_SECONDS: Final = 3.0
HEAD_START_BYTES: Final = 2_000_000
# Less is hardly enough for an upload. One that is broken off has an unknown outcome, for which a worker has to wait.
MIN_SECONDS: Final = 1.0
# After a download that took too long, entries do not wait for this time.
SLOW_FOR: Final = dt.timedelta(minutes=1)
FIELDS: Final = (
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


# --- The worker's turn ---


def copy_file(row: FileToItop) -> None:
    """Copy a due file, or delete the copy of a redacted message's file. The outcome is stored in the row."""
    itop = row.ticket.itop
    if not claim(row, CLAIM_SECONDS):
        return
    if claim_write(itop):
        _attempt(row, ATTEMPT_SECONDS)
        if itop.paused_until is not None:
            # If this was the circuit breaker's probe and iTop was not asked, another write may be the probe now.
            probe = ItopInstance.objects.filter(pk=itop.pk, paused_until=itop.paused_until)
            probe.update(paused_until=timezone.now())
    else:
        FileToItop.objects.filter(pk=row.pk, due_at=row.due_at).update(due_at=timezone.now())


def _attempt(
    row: FileToItop, seconds: float, *, owner: TicketOwner | None = None, shows_picture: bool = False
) -> None:
    """Copy the file once, delete its copy, or look it up. The row is claimed.

    The writer of the message passes the `owner` that its files share; a worker that copies one file passes None.
    """
    is_writers_turn = owner is not None
    row.attempts += 1
    # Counted before the attempt: after a crash, the next one first looks whether this one has succeeded.
    same = FileToItop.objects.waiting().with_content().filter(pk=row.pk, is_redacted=row.is_redacted)
    if not same.update(attempts=row.attempts):
        return  # redacted, erased or skipped after it was claimed
    try:
        if row.is_redacted:
            remove(row, seconds)
        elif row.position == FileToItop.LOOKUP:
            look_up(row, LOOKUP_SECONDS)
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
        record_success(row.ticket.itop)
        _fail(row, error)
    except ItopError as error:
        has_itop_failed = not is_writers_turn and _is_instance_trouble(row, error)
        pause = record_failure(row.ticket.itop, error) if has_itop_failed else backoff_seconds(row.attempts)
        _postpone(row, error, pause)
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
    account_id = _account_of(row)
    try:
        copy(row, seconds, account_id=account_id, shows_picture=shows_picture, owner_of_files=owner)
    except OSError as error:
        raise FileNotStoredError(error.strerror or type(error).__name__) from error


def _is_instance_trouble(row: FileToItop, error: ItopError) -> bool:
    """Return whether iTop itself fails, and not only this file. A short time limit says nothing about iTop."""
    if isinstance(error, ItopPermissionError):
        return False
    if not isinstance(error, UnclassifiedError | ItopNoResponseError):
        return True
    try:
        itop_client(row.ticket.itop).list_operations(deadline=PROBE_SECONDS)
    except (ItopError, SecretDecryptionError):
        return True
    return False


def _fail(row: FileToItop, error: Exception) -> None:
    code, detail = reason_of(error)
    row.log_attempt(FileToItop.Outcome.REFUSED, code, detail)
    row.state = FileToItop.State.FAILED
    row.set_reason(code, detail)
    row.due_at = timezone.now()
    log.warning("file.failed", file=row.pk, code=code, **row.conversation.names)


def _postpone(row: FileToItop, error: Exception, seconds: float) -> None:
    row.log_failed_attempt(error)
    # A copy is deleted from the time of the redaction on.
    since = (row.is_redacted and row.cleaned_at) or row.created_at
    now = timezone.now()
    is_old = since < now - MAX_RETRY_TIME
    may_have_run = isinstance(error, ItopError) and error.may_have_run
    # iTop may still be executing the request, also when a person wants another attempt at once.
    unknown_seconds = settings.UNKNOWN_OUTCOME_SECONDS if may_have_run else 0.0
    if isinstance(error, FileNotStoredError):
        log.error("file.not_stored", file=row.pk, directory=str(settings.FILES_DIR), reason=error.detail)
    # An operator has to act on these, and may need more time than the attempts take.
    is_ours = isinstance(error, FileNotStoredError | SecretDecryptionError)
    if is_old or (row.attempts >= MAX_ATTEMPTS and not is_ours):
        row.state = FileToItop.State.FAILED
        row.set_reason(ReasonCode.GAVE_UP if is_old else ReasonCode.TOO_MANY_ATTEMPTS, reason_of(error)[1])
        row.due_at = now + dt.timedelta(seconds=unknown_seconds)
        return
    if isinstance(error, IntercomRateLimitedError):
        seconds = max(seconds, error.until - now.timestamp())
    seconds = max(seconds, unknown_seconds)
    row.due_at = now + dt.timedelta(seconds=seconds)
    row.set_reason(*reason_of(error))
    log.info("file.postponed", file=row.pk, seconds=round(seconds), error=type(error).__name__)


def _save(row: FileToItop) -> None:
    """Save the outcome, with the note about a failure.

    If the message was redacted or erased in the meantime, or a file that is not in iTop was skipped, that decides about
    the row.
    """
    with transaction.atomic():
        # Locked: of two workers with files of the same message, the second one sees the first one's outcome.
        list(_of_same_message(row).select_for_update().order_by("pk").values_list("pk"))
        if _save_outcome(row):
            note_failed_files(row)
            return
    same = FileToItop.objects.filter(pk=row.pk, is_redacted=row.is_redacted)
    ids = {name: getattr(row, name) for name in ("attachment_id", "inline_image_id", "copied_at")}
    if same.update(**ids):
        return  # erased, or redacted and kept
    # The next attempt deletes what this one has created, or what iTop may still create.
    is_unknown = [entry["outcome"] for entry in row.attempt_log[-1:]] == [FileToItop.Outcome.UNKNOWN]
    seconds = settings.UNKNOWN_OUTCOME_SECONDS if is_unknown and row.attachment_id is None else 0.0
    FileToItop.objects.filter(pk=row.pk).update(due_at=timezone.now() + dt.timedelta(seconds=seconds), **ids)


def _save_outcome(row: FileToItop) -> bool:
    """Save the values of a row that was neither redacted nor erased. Return False if it was."""
    same = FileToItop.objects.filter(pk=row.pk, is_redacted=row.is_redacted).with_content()
    values = {name: getattr(row, name) for name in FIELDS}
    is_unfinished = row.state in (FileToItop.State.WAITING, FileToItop.State.FAILED)
    if (same.waiting() if is_unfinished else same).update(**values):
        count_file(row)
        return True
    decided = ("state", "reason_code", "reason_detail")
    return bool(same.update(**{name: value for name, value in values.items() if name not in decided}))


def _account_of(row: FileToItop) -> int:
    """Return the iTop account of the file's author, 0 if there is none."""
    itop = row.ticket.itop
    author = Author(**(row.author or {}))
    signed_in = signed_in_emails(itop, {author.id}).get((row.conversation.workspace_id, author.id))
    email = signed_in or (author.email if may_have_account(author) else "")
    if itop.is_administrator is False or not email:
        return 0
    return accounts_of(itop, itop_client(itop), {email}, deadline=settings.WRITE_SECONDS).get(
        email.casefold(), 0
    )


# --- The turn of the message's writer ---


def messages_with_files(ticket: Ticket, part_ids: Iterable[str]) -> set[tuple[int, str, str]]:
    """Return conversation, kind and id of those of these messages to the ticket that have files.

    Files that a worker has copied already count too: the entries link to them.
    """
    rows = FileToItop.objects.filter(ticket=ticket, part_id__in=part_ids, is_redacted=False)
    return set(rows.values_list("conversation_id", "part_kind", "part_id"))


def copy_first(delivery: Delivery) -> tuple[Part, FileLinks] | None:
    """Copy the small files of a message that is about to be written, within HEAD_START_SECONDS.

    Return the message, completed from the conversation if the notification left files out, and the links to its files;
    None if it has no files. What is not copied in time is left to the workers. Never raises because of a file.
    """
    rows = _rows_of(delivery)
    if not rows or not delivery.part:
        return None
    part = part_from_json(delivery.part)
    if not delivery.conversation.workspace.copies_files:
        _hand_over(rows)
        return part, NO_LINKS
    ends = time.monotonic() + HEAD_START_SECONDS
    owner = TicketOwner()
    if not delivery.attempts and not _is_slow(delivery):
        part = _completed(delivery, part, rows)
        rows = _rows_of(delivery)
        # Pictures first: only this attempt can show them, and a file that comes later is among those of the ticket.
        for row in sorted(rows, key=lambda row: not row.is_inline):
            seconds = ends - time.monotonic()
            if seconds < MIN_SECONDS:
                break
            if row.state != FileToItop.State.WAITING or row.attempts:
                continue
            if row.size <= HEAD_START_BYTES and claim(row, CLAIM_SECONDS):
                _attempt(row, seconds, owner=owner, shows_picture=_shows_pictures(delivery))
                row.refresh_from_db(fields=["state", "attachment_id", "inline_image_id"])
    _hand_over(rows)
    return part, _links(part, [row for row in rows if row.position != FileToItop.LOOKUP])


def _hand_over(rows: Iterable[FileToItop]) -> None:
    """Leave the files that were not tried to the workers, which need not wait for the message any longer."""
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
    rows = FileToItop.objects.of_message(delivery).filter(is_redacted=False)
    found = list(rows.select_related("ticket__itop", "conversation__workspace__profile"))
    for row in found:
        row.ticket.itop = delivery.ticket.itop
    return found


def _completed(delivery: Delivery, part: Part, rows: Sequence[FileToItop]) -> Part:
    """Return the part as the conversation has it, if the notification only mentioned its files."""
    lookup = next((row for row in rows if row.position == FileToItop.LOOKUP), None)
    if lookup is None or not claim(lookup, CLAIM_SECONDS):
        return part
    try:
        whole = look_up(lookup, HEAD_START_SECONDS)
    except (IntercomError, RemoteError, SecretDecryptionError) as error:
        FileToItop.objects.filter(pk=lookup.pk).update(due_at=timezone.now())
        log.info("file.lookup_postponed", file=lookup.pk, error=type(error).__name__)
        return part
    Delivery.objects.filter(pk=delivery.pk, cleaned_at=None).update(part=part_to_json(whole))
    return part_from_json(part_to_json(whole))


def _is_slow(delivery: Delivery) -> bool:
    """Return whether a download of this workspace took too long a moment ago."""
    return FileToItop.objects.filter(
        conversation__workspace=delivery.conversation.workspace_id,
        state=FileToItop.State.WAITING,
        reason_code=DownloadTimeoutError.code,
        due_at__gt=timezone.now() - SLOW_FOR,
        attempts__gt=0,
    ).exists()


def _shows_pictures(delivery: Delivery) -> bool:
    is_administrator = delivery.ticket.itop.is_administrator
    return is_administrator is not False and delivery.conversation.workspace.shows_pictures_in_log


def _is_coming(row: FileToItop) -> bool:
    """Return whether the file is in the ticket or is expected there."""
    is_too_large = row.size > row.conversation.workspace.max_file_bytes
    return row.state == FileToItop.State.COPIED or (
        row.state == FileToItop.State.WAITING and not is_too_large
    )


def _links(part: Part, rows: Sequence[FileToItop]) -> FileLinks:
    by_position = {row.position: row for row in rows if _is_coming(row)}
    attached = {
        position: file_url(row) for position, row in by_position.items() if position < len(part.attachments)
    }
    pictures = {}
    for file in files_of(part):
        row = by_position.get(file.position)
        if file.is_inline and row is not None:
            pictures[without_query(file.url)] = MediaLink(file_url(row), picture_url(row), row.name)
    return FileLinks(attached, pictures)
