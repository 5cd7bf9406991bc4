"""Copy one file of a message to a ticket exactly once: download it from Intercom, and attach it in iTop.

If something goes wrong, the functions raise an exception, and their caller (sync/files.py) decides what happens to the
row. The functions set the row's outcome only when it is certain.
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
from .parts import VALID_FOR, add_files, fresh_url

log = structlog.get_logger(__name__)

# How long the person of an iTop account is cached.
CACHE_SECONDS: Final = 3600.0
# The deadline for reading the conversation from Intercom. The rest of an attempt's time is for the download and iTop.
READ_SECONDS: Final = 10.0
INLINE_IMAGE: Final = "InlineImage"
# Only bitmaps are shown in a log. iTop sends an InlineImage unchanged to any user who opens its address, so a script in
# an SVG file would run with that user's rights.
SHOWN_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
DATE_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


class FileSkippedError(Exception):
    """The file is not to be copied. `code` is the ReasonCode that says why."""

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
    """The file needs a fresh address, which cannot be read from the conversation without an access token."""

    code = ReasonCode.NO_ACCESS_TOKEN.value
    summary = "The workspace has no access token"
    may_have_run = False


class TicketFullError(RemoteError):
    """With this file, the ticket would have more bytes of files than the workspace allows.

    There is a limit because iTop 3.3 reads all files of a ticket with their contents whenever the ticket changes.
    """

    code = ReasonCode.FILE_TICKET_FULL.value
    summary = "The ticket has too many files"
    retry = False
    may_have_run = False


class TooLargeForItopError(RemoteError):
    """The file is within the workspace's limit, but too large for iTop."""

    code = ReasonCode.FILE_TOO_LARGE_FOR_ITOP.value
    summary = "The file is too large for iTop"
    retry = False
    may_have_run = False


class TicketOwner:
    """The owner (ticket and organization) of all files of one message. It is read from iTop only once."""

    def __init__(self) -> None:
        self._owner: FileOwner | None = None

    def of(self, row: FileToItop, client: Client, deadline: Deadline) -> FileOwner:
        """Return the owner of the file. Raise ItopError if iTop has to be asked and does not return the ticket."""
        if self._owner is None:
            self._owner = _read_owner(row, client, deadline)
        return self._owner


def copy(
    row: FileToItop,
    seconds: float,
    *,
    account_id: int = 0,
    shows_picture: bool = False,
    owner_of_files: TicketOwner | None = None,
) -> None:
    """Copy the file within `seconds`, and set the outcome on the row. The caller then saves the row.

    account_id: the iTop account of the file's author, 0 if there is none.
    shows_picture: if the file is a picture in the text, also create an InlineImage, so that the log can show it.
    owner_of_files: an object that the caller shares between the files of one message.

    Raise FileSkippedError, DownloadError, ItopError, IntercomError, SecretDecryptionError, or OSError if the downloaded
    file cannot be read.
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
        # An earlier attempt may have copied the file without learning the outcome.
        found = find_attachments(client, [row.idempotency_key], owner=owner, deadline=deadline.remaining())
        if row.idempotency_key in found:
            _set_copied(row, found[row.idempotency_key])
            return
    with _downloaded(row, deadline) as file:
        check_type(file, name=row.name, types=workspace.forbidden_file_types)
        upload = _store_metadata(row, file)
        if is_attached:
            _check_space(row, file.size)
            _set_copied(row, _attach(row, client, owner, upload, account_id, deadline))
        if shows_picture and row.is_inline and file.content_type in SHOWN_TYPES:
            _create_inline_image(row, client, owner, upload, deadline)
    if not is_attached:
        # Without an Attachment, the picture is only copied if the private log can show it.
        if not picture_url(row):
            raise FileSkippedError(ReasonCode.FILE_OF_NOTE)
        _set_copied(row, None)


def _store_metadata(row: FileToItop, file: Downloaded) -> AttachmentFile:
    """Store what the download showed about the file. Return the file as it is uploaded.

    If the worker is killed after the upload, the next attempt finds the copy in iTop and does not download the file
    again, so it could not find out these values.
    """
    name = safe_name(row.name or "file", file.content_type)
    row.name, row.content_type, row.size = name, file.content_type, file.size
    FileToItop.objects.filter(pk=row.pk, cleaned_at=None).update(
        name=name, content_type=file.content_type, size=file.size
    )
    return AttachmentFile(file.path, name, file.content_type, file.size)


def _check_space(row: FileToItop, size: int) -> None:
    """Raise TicketFullError if the bridge's copies would exceed the workspace's limit of bytes for one ticket."""
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
    """Create the Attachment with the message's author and time. Return its id."""
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


def _create_inline_image(
    row: FileToItop, client: Client, owner: FileOwner, upload: AttachmentFile, deadline: Deadline
) -> None:
    """Create the InlineImage with which the log shows the picture. If iTop refuses, the log links to the Attachment."""
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
        # If an earlier attempt created the image, its secret is another one and unknown.
        row.picture_secret = "" if image.existed else secret


def picture_url(row: FileToItop) -> str:
    """Return the address at which iTop shows the picture in a log, "" if there is none or its secret is unknown."""
    if not row.inline_image_id or not row.picture_secret:
        return ""
    itop_url = row.ticket.itop.url
    return (
        f"{itop_url}/pages/ajax.document.php?operation=download_inlineimage"
        f"&id={row.inline_image_id}&s={row.picture_secret}"
    )


def file_url(row: FileToItop) -> str:
    """Return the address of the copy in iTop, or that of the ticket if the file is not copied yet."""
    itop = row.ticket.itop
    if not row.attachment_id:
        return itop.backoffice_url(row.ticket.ticket_class, row.ticket.object_id)
    return itop.attachment_url(row.attachment_id)


def remove(row: FileToItop, seconds: float) -> None:
    """Delete all copies of a redacted message's file in iTop within `seconds`. Raise ItopError.

    The copies are found by their idempotency key, because a copy whose creation had an unknown outcome has no id here.
    """
    deadline = Deadline(seconds)
    client = itop_client(row.ticket.itop)
    for class_name in ("Attachment", INLINE_IMAGE):
        try:
            while _delete_one_copy(row, class_name, client, deadline):
                pass
        except ItopPermissionError:
            # Only Administrators can create and read inline images, so without an id there is none.
            if class_name != INLINE_IMAGE or row.inline_image_id:
                raise
    row.state = FileToItop.State.REMOVED
    row.set_reason(ReasonCode.FILE_REMOVED)


def _delete_one_copy(row: FileToItop, class_name: str, client: Client, deadline: Deadline) -> bool:
    """Delete one copy. Return False if no copy is left.

    Concurrent attempts may have created several copies, of which `find_attachments` only returns one.
    """
    found = find_attachments(
        client,
        [row.idempotency_key],
        class_name=class_name,
        owner=FileOwner(row.ticket.ticket_class, row.ticket.object_id, org_id=0),  # looked up by ticket only
        deadline=deadline.remaining(),
    )
    copy_id = found.get(row.idempotency_key)
    if copy_id is None:
        return False
    deleted = delete_attachments(
        client,
        [copy_id],
        class_name=class_name,
        comment="The message was redacted in Intercom",
        deadline=deadline.remaining(),
    )
    return deleted > 0


def look_up(row: FileToItop, seconds: float) -> Part:
    """Replace this row, which stands for files that a notification only named, by a row for each file.

    Read the conversation from Intercom for this, and return the complete part. Raise FileGoneError, IntercomError or
    SecretDecryptionError.
    """
    parts = _read_parts(row, seconds)
    part = next((part for part in parts if (part.kind, part.id) == (row.part_kind, row.part_id)), None)
    if part is None:
        raise FileGoneError
    link = TicketLink.objects.filter(ticket=row.ticket, conversation=row.conversation).first()
    with transaction.atomic():
        # Lock the message. A redaction or an erasure changes the message before the files. So either its change is
        # visible here already, or it waits for the lock and then finds the new rows.
        messages = Delivery.objects.filter(
            ticket=row.ticket, conversation=row.conversation, kind=row.part_kind, part_id=row.part_id
        ).select_for_update()
        is_erased = FileToItop.objects.filter(pk=row.pk).exclude(cleaned_at=None).exists()
        if link is not None and not (is_erased or any(message.cleaned_at for message in messages)):
            add_files(link, part, Log.PRIVATE if row.is_private else Log.PUBLIC)
        # The row itself stands for no file. If the part has no files, its text only looked as if it named one.
        FileToItop.objects.filter(pk=row.pk).delete()
    return part


def _read_parts(row: FileToItop, seconds: float) -> Iterable[Part]:
    """Read the messages of the file's conversation from Intercom. Raise FileGoneError if it was deleted there."""
    conversation = row.conversation
    if not conversation.workspace.access_token:
        raise NoAccessTokenError
    try:
        payload = intercom_client(conversation.workspace).conversation(
            conversation.conversation_id, deadline=min(seconds, READ_SECONDS)
        )
    except IntercomRejectedError as error:
        if error.status == 404:
            raise FileGoneError from error
        raise
    return payload.messages


@contextmanager
def _downloaded(row: FileToItop, deadline: Deadline) -> Iterator[Downloaded]:
    """Download the file from the stored address or, if this has expired, from a fresh one."""
    has_expired = row.url_expires_at is not None and row.url_expires_at <= timezone.now()
    needs_fresh_url = not row.url or has_expired
    if needs_fresh_url:
        _refresh_url(row, deadline)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_download(row, deadline))
        except (AddressExpiredError, FileQuarantinedError):
            if needs_fresh_url:
                raise
            # The stored address may have expired nevertheless: Intercom's clock decides, and not every address contains
            # its expiry.
            _refresh_url(row, deadline)
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


def _refresh_url(row: FileToItop, deadline: Deadline) -> None:
    """Store the file's address from the conversation. Raise FileGoneError if the conversation has lost the file."""
    url = fresh_url(row, _read_parts(row, deadline.remaining()))
    if not url:
        raise FileGoneError
    row.url, row.url_expires_at = url, expiry_of(url) or timezone.now() + VALID_FOR
    FileToItop.objects.filter(pk=row.pk, cleaned_at=None).update(
        url=row.url, url_expires_at=row.url_expires_at
    )


def _read_owner(row: FileToItop, client: Client, deadline: Deadline) -> FileOwner:
    """Return the ticket and its organization. The organization decides who may see the file (recording 277).

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
    """Mark the row as copied. `attachment_id` is None for a picture that is only an InlineImage."""
    row.state = FileToItop.State.COPIED
    row.attachment_id = attachment_id
    row.copied_at = timezone.now()
    row.set_reason(ReasonCode.NONE)
    # The address is no longer needed, and it is a credential until it expires.
    row.url = ""


def _contact_of(row: FileToItop, client: Client, account_id: int, deadline: Deadline) -> int:
    """Return the id of the Person in iTop who wrote the message, 0 if it is not known."""
    if account_id:
        return _contact_of_account(row, client, account_id, deadline)
    author: Mapping[str, Any] = row.author or {}
    if not author.get("id"):
        return 0
    person_match = PersonMatch.objects.filter(
        workspace=row.conversation.workspace, itop=row.ticket.itop, contact_id=author["id"]
    ).first()
    if person_match is None:
        return 0
    # A lead may have typed somebody else's e-mail address, so a match by this address is not enough.
    is_confirmed = person_match.how in (PersonMatch.How.ITOP, PersonMatch.How.CHOSEN)
    return person_match.person_id if is_confirmed or author.get("type") == "user" else 0


def _contact_of_account(row: FileToItop, client: Client, account_id: int, deadline: Deadline) -> int:
    """Return the id of the Person that the account belongs to, 0 if it has none or the bridge cannot read it."""
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
