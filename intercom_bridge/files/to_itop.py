"""Copy one file of a message to a ticket: download it from Intercom, and attach it in iTop, once.

The functions raise an exception if something goes wrong, and change a row only when the outcome is certain. Their
caller (sync/files.py) decides what happens to the row.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from intercom_bridge.connections import intercom_client, itop_client
from intercom_bridge.intercom.client import IntercomRejectedError
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import CachedAnswer, Delivery, FileToItop, Log, PersonMatch, TicketLink
from intercom_bridge.models.reason import ReasonCode
from itop_client import (
    AttachmentFile,
    Client,
    Deadline,
    FileOwner,
    FileTooLargeError,
    ItopError,
    ItopPermissionError,
    ItopRejectedError,
    ObjectNotFoundError,
    RemoteError,
    attach,
    create_inline_image,
    delete_attachments,
    find_attachments,
)

from .download import (
    AddressExpiredError,
    Downloaded,
    FileQuarantinedError,
    allowed_hosts,
    check_type,
    download,
    expiry_of,
)
from .names import safe_name
from .parts import VALID_FOR, add_rows, fresh_url

log = structlog.get_logger(__name__)

# A person who gets another account is noticed within this time.
CACHE_SECONDS: Final = 3600.0
# Intercom's part of an attempt; the rest is left to iTop.
READ_SECONDS: Final = 10.0
INLINE_IMAGE: Final = "InlineImage"
# Only bitmaps are shown in a log: iTop sends an InlineImage as it is to whoever opens its address, and the script in an
# SVG file would run with the rights of that user.
SHOWN_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
DATE_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


class FileSkippedError(Exception):
    """The file is not copied, and never will be. `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class FileGoneError(RemoteError):
    """The conversation does not contain the file any more."""

    code = ReasonCode.FILE_GONE.value
    summary = "The file is no longer in the conversation"
    retry = False
    may_have_run = False


class NoAccessTokenError(RemoteError):
    """The address has expired, and without an access token the conversation cannot be asked for a fresh one."""

    code = ReasonCode.NO_ACCESS_TOKEN.value
    summary = "The workspace has no access token"
    may_have_run = False


class TicketFullError(RemoteError):
    """The ticket has as many bytes of files as the workspace allows.

    Whenever a ticket changes, iTop 3.3 reads all its files with their contents.
    """

    code = ReasonCode.FILE_TICKET_FULL.value
    summary = "The ticket has too many files"
    retry = False
    may_have_run = False


class TooLargeForItopError(RemoteError):
    """The file is within the workspace's limit, and iTop does not accept it."""

    code = ReasonCode.FILE_TOO_LARGE_FOR_ITOP.value
    summary = "The file is too large for iTop"
    retry = False
    may_have_run = False


class TicketOwner:
    """The ticket and organization that the files of one message get. iTop is asked for them once."""

    def __init__(self) -> None:
        self._known: FileOwner | None = None

    def of(self, row: FileToItop, client: Client, deadline: Deadline) -> FileOwner:
        """Return the owner of the file. Raise ItopError if iTop has to be asked and does not return the ticket."""
        self._known = self._known or _owner(row, client, deadline)
        return self._known


def copy(
    row: FileToItop,
    seconds: float,
    *,
    account_id: int = 0,
    shows_picture: bool = False,
    owner_of_files: TicketOwner | None = None,
) -> None:
    """Copy the file within `seconds`, and set the row's values; save only what is known before the upload.

    `account_id` is the iTop account of its author, 0 if there is none. With `shows_picture`, a picture of the text also
    becomes an InlineImage, so that the log can show it. Other files of the same message share `owner_of_files`. Raise
    FileSkippedError, DownloadError, ItopError, IntercomError, SecretDecryptionError, or OSError if the downloaded file
    cannot be read.
    """
    workspace = row.conversation.workspace
    if not workspace.copies_files:
        raise FileSkippedError(ReasonCode.FILES_OFF)
    is_attached = workspace.copies_files_of_notes or not row.is_private
    if not is_attached and not (shows_picture and row.is_inline):
        raise FileSkippedError(ReasonCode.FILE_OF_NOTE)
    deadline = Deadline(seconds)
    client = itop_client(row.ticket.itop)
    owner = (owner_of_files or TicketOwner()).of(row, client, deadline)
    if row.attempts > 1:
        found = find_attachments(client, [row.idempotency_key], owner=owner, deadline=deadline.remaining())
        if found:
            _set_copied(row, found[row.idempotency_key])
            return
    with _downloaded(row, deadline) as file:
        check_type(file, name=row.name, types=workspace.forbidden_file_types)
        name = safe_name(row.name or "file", file.content_type)
        upload = AttachmentFile(file.path, name, file.content_type, file.size)
        row.name, row.content_type, row.size = name, file.content_type, file.size
        # If the worker is killed after the upload, the next attempt finds the copy without reading the file again.
        FileToItop.objects.filter(pk=row.pk, cleaned_at=None).update(
            name=name, content_type=file.content_type, size=file.size
        )
        if is_attached:
            _check_space(row, file.size)
            _set_copied(row, _attach(row, client, owner, upload, account_id, deadline))
        if shows_picture and row.is_inline and file.content_type in SHOWN_TYPES:
            _show(row, client, owner, upload, deadline)
        if not is_attached:
            if not picture_url(row):
                raise FileSkippedError(ReasonCode.FILE_OF_NOTE)
            _set_copied(row, None)


def _check_space(row: FileToItop, size: int) -> None:
    """Raise TicketFullError if the ticket would have too many bytes of files of ours."""
    limit_mb = row.conversation.workspace.max_ticket_files_mb
    copied = FileToItop.objects.filter(ticket=row.ticket, attachment_id__isnull=False).exclude(
        state=FileToItop.State.REMOVED
    )
    total = copied.aggregate(total=Sum("size"))["total"] or 0
    if total + size > limit_mb * 1_000_000:
        raise TicketFullError(f"{limit_mb} MB")


def _attach(  # noqa: PLR0913 - what, where and whose
    row: FileToItop,
    client: Client,
    owner: FileOwner,
    upload: AttachmentFile,
    account_id: int,
    deadline: Deadline,
) -> int:
    contact_id = _contact_of(row, client, account_id, deadline)
    date = dt.datetime.fromtimestamp(row.part_created_at, row.ticket.itop.zone)
    try:
        attached = attach(
            client,
            owner,
            upload,
            temp_id=row.idempotency_key,
            contact_id=contact_id,
            user_id=account_id,
            creation_date=f"{date:{DATE_FORMAT}}",
            deadline=deadline.remaining(),
        )
    except FileTooLargeError as error:
        raise TooLargeForItopError(error.detail) from error
    return attached.id


def _show(
    row: FileToItop, client: Client, owner: FileOwner, upload: AttachmentFile, deadline: Deadline
) -> None:
    """Create the InlineImage. The log links to the Attachment if that fails."""
    secret = secrets.token_hex(16)
    try:
        image = create_inline_image(
            client,
            owner,
            upload,
            temp_id=row.idempotency_key,
            secret=secret,
            is_first=row.attempts == 1,
            deadline=deadline.remaining(),
        )
    except ItopPermissionError:
        row.ticket.itop.learn(is_administrator=False)
    except ItopError as error:
        log.warning("file.picture_not_shown", file=row.pk, error=type(error).__name__)
    else:
        row.inline_image_id = image.id
        # One that an earlier attempt created has another secret.
        row.picture_secret = "" if image.existed else secret


def picture_url(row: FileToItop) -> str:
    """Return the address at which iTop shows the picture in a log, "" if it has no InlineImage."""
    if not row.inline_image_id or not row.picture_secret:
        return ""
    root = row.ticket.itop.url
    return (
        f"{root}/pages/ajax.document.php?operation=download_inlineimage"
        f"&id={row.inline_image_id}&s={row.picture_secret}"
    )


def file_url(row: FileToItop) -> str:
    """Return the address of the copy in iTop, or that of the ticket if the file is not copied yet."""
    itop = row.ticket.itop
    if not row.attachment_id:
        return itop.backoffice_url(row.ticket.ticket_class, row.ticket.object_id)
    return itop.attachment_url(row.attachment_id)


def remove(row: FileToItop, seconds: float) -> None:
    """Delete the copies of a redacted message's file in iTop within `seconds`. Raise ItopError.

    They are found by their key, so that also one whose creation had an unknown outcome is deleted.
    """
    deadline = Deadline(seconds)
    client = itop_client(row.ticket.itop)
    for class_name in ("Attachment", INLINE_IMAGE):
        try:
            while _delete_one_copy(row, class_name, client, deadline):
                pass
        except ItopPermissionError:
            # Only Administrators may create and read inline images.
            if class_name != INLINE_IMAGE or row.inline_image_id:
                raise
    row.state = FileToItop.State.REMOVED
    row.set_reason(ReasonCode.FILE_REMOVED)


def _delete_one_copy(row: FileToItop, class_name: str, client: Client, deadline: Deadline) -> int:
    """Delete the copy with the lowest id, and return how many were deleted: 0 if none is left.

    Concurrent creations may have made several, and `find_attachments` returns one at a time.
    """
    found = find_attachments(
        client,
        [row.idempotency_key],
        class_name=class_name,
        owner=FileOwner(row.ticket.ticket_class, row.ticket.object_id, 0),
        deadline=deadline.remaining(),
    )
    return delete_attachments(
        client,
        found.values(),
        class_name=class_name,
        comment="The message was redacted in Intercom",
        deadline=deadline.remaining(),
    )


def look_up(row: FileToItop, seconds: float) -> Part:
    """Store the files that a notification only mentioned, in place of this row, and return the whole part.

    Raise FileGoneError, IntercomError or SecretDecryptionError.
    """
    part = next(
        (part for part in _parts(row, seconds) if (part.kind, part.id) == (row.part_kind, row.part_id)), None
    )
    if part is None:
        raise FileGoneError
    link = TicketLink.objects.filter(ticket=row.ticket, conversation=row.conversation).first()
    with transaction.atomic():
        # A redaction or an erasure changes the message first, and thus comes before this or finds the new rows.
        messages = Delivery.objects.filter(
            ticket=row.ticket, conversation=row.conversation, kind=row.part_kind, part_id=row.part_id
        ).select_for_update()
        is_erased = FileToItop.objects.filter(pk=row.pk).exclude(cleaned_at=None).exists()
        if link is not None and not (is_erased or any(message.cleaned_at for message in messages)):
            link.conversation = row.conversation
            add_rows(link, part, Log.PRIVATE if row.is_private else Log.PUBLIC)
        # It has no file of its own. If the conversation has none either, the text only looked like a file.
        FileToItop.objects.filter(pk=row.pk).delete()
    return part


def _parts(row: FileToItop, seconds: float) -> Iterable[Part]:
    conversation = row.conversation
    if not conversation.workspace.access_token:
        raise NoAccessTokenError
    try:
        found = intercom_client(conversation.workspace).conversation(
            conversation.conversation_id, deadline=min(seconds, READ_SECONDS)
        )
    except IntercomRejectedError as error:
        if error.status == 404:
            raise FileGoneError from error
        raise
    return found.messages


@contextmanager
def _downloaded(row: FileToItop, deadline: Deadline) -> Iterator[Downloaded]:
    """Download the file from the address in the row or, if that has expired, from a fresh one."""
    has_expired = row.url_expires_at is not None and row.url_expires_at <= timezone.now()
    is_fresh = not row.url or has_expired
    if is_fresh:
        _refresh(row, deadline)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_download(row, deadline))
        except (AddressExpiredError, FileQuarantinedError):
            if is_fresh:
                raise
            # Intercom's clock decides, and an address may not say when it expires.
            _refresh(row, deadline)
            file = stack.enter_context(_download(row, deadline))
        yield file


def _download(row: FileToItop, deadline: Deadline) -> AbstractContextManager[Downloaded]:
    workspace = row.conversation.workspace
    return download(
        row.url,
        hosts=allowed_hosts(workspace),
        max_bytes=workspace.max_file_bytes,
        deadline=deadline.remaining(),
        name=row.name,
    )


def _refresh(row: FileToItop, deadline: Deadline) -> None:
    """Ask the conversation for a fresh address. Raise FileGoneError if the file is not there any more."""
    url = fresh_url(row, _parts(row, deadline.remaining()))
    if not url:
        raise FileGoneError
    row.url, row.url_expires_at = url, expiry_of(url) or timezone.now() + VALID_FOR
    FileToItop.objects.filter(pk=row.pk, cleaned_at=None).update(
        url=row.url, url_expires_at=row.url_expires_at
    )


def _owner(row: FileToItop, client: Client, deadline: Deadline) -> FileOwner:
    """Return the ticket with its organization, which decides who may see the file (recording 277).

    Raise ObjectNotFoundError if iTop does not have the ticket any more.
    """
    ticket = row.ticket
    code = row.conversation.workspace.profile.code("org_id")
    found = client.get(
        ticket.ticket_class, ticket.object_id, fields=("id", code), deadline=deadline.remaining()
    )
    if not found.objects:
        raise ObjectNotFoundError(f"Invalid object {ticket.ticket_class}::{ticket.object_id}")
    return FileOwner(ticket.ticket_class, ticket.object_id, found.objects[0].integer(code))


def _set_copied(row: FileToItop, attachment_id: int | None) -> None:
    row.state = FileToItop.State.COPIED
    row.attachment_id = attachment_id
    row.copied_at = timezone.now()
    row.set_reason(ReasonCode.NONE)
    # It is of no use any more, and a credential until it expires.
    row.url = ""


def _contact_of(row: FileToItop, client: Client, account_id: int, deadline: Deadline) -> int:
    """Return the id of the Person in iTop who wrote the message, 0 if it is not known."""
    if account_id:
        return _contact_of_account(row, client, account_id, deadline)
    author: Mapping[str, Any] = row.author or {}
    match = PersonMatch.objects.filter(
        workspace=row.conversation.workspace, itop=row.ticket.itop, contact_id=author.get("id", "")
    ).first()
    if match is None or not author.get("id"):
        return 0
    # A lead may have typed somebody else's address.
    is_sure = author.get("type") == "user" or match.how in (PersonMatch.How.ITOP, PersonMatch.How.CHOSEN)
    return match.person_id if is_sure else 0


def _contact_of_account(row: FileToItop, client: Client, account_id: int, deadline: Deadline) -> int:
    question = f"contact of account {account_id}"
    cached = CachedAnswer.objects.fresh(row.ticket.itop, question, CACHE_SECONDS)
    if cached is not None:
        return int(cached.value)
    try:
        found = client.get("User", account_id, fields=("contactid",), deadline=deadline.remaining())
    except (ItopRejectedError, ItopPermissionError):
        return 0
    contact_id = found.objects[0].integer("contactid") if found.objects else 0
    CachedAnswer.objects.store(row.ticket.itop, question, contact_id)
    return contact_id
