"""Create, find, read and delete the files of tickets: iTop's classes Attachment and InlineImage.

Files are streamed: none is ever completely in memory.

Creating an attachment is idempotent. The idempotency key is its attribute `temp_id`, which iTop keeps unchanged for
an attachment of a ticket. iTop searches for the key while it executes the request (recordings 243 to 246).
Recordings are exchanges with a real iTop, in tests/recordings; 243 is tests/recordings/itop-files/243-*.json.

Measured on iTop 3.3.0-dev (PHP 8.2, MariaDB 10.11) with the account of a Support Agent:

- Uploading 20 MB takes 3.7 s, reading them 1.9 s. The upload increases our process's memory by 1 MB.
- A file of 26 MB exceeds a post_max_size of 32M, because base64 adds a third. PHP then drops all fields of the
  request. iTop answers code 2 to a token in the header, and "Invalid login" to a user and a password.
- With a memory_limit of 128M, iTop accepts 12 MB. For 16 MB and 20 MB, PHP responds with HTTP 500.
- iTop refuses any `user_id` but the account's own ("Invalid object User::8"): only an Administrator sees other users.
- An attachment without a ticket has expired as soon as it is created.
- iTop answers a request for an inline image that does not exist with HTTP 200 and an HTML page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from .client import Client, Found
from .errors import (
    FileTooLargeError,
    InvalidValueError,
    ItopError,
    ItopLoginError,
    ItopNoResponseError,
    MalformedRequestError,
    NoMatchError,
    ObjectNotFoundError,
    OutOfResourcesError,
    RequestTooLargeError,
    UnclassifiedError,
)
from .http import Deadline
from .idempotent import CALLER_CLASS, idempotency_key, start_deadline, unknown_caller_error
from .oql import ids, quote
from .streams import FILE_DATA, DocumentSink, FileSink

ATTACHMENT: Final = "Attachment"
INLINE_IMAGE: Final = "InlineImage"
# No server has limits below this size. If the file is smaller, an ambiguous error must have another cause.
MIN_TOO_LARGE_BYTES: Final = 500_000
# A response with a file of n bytes has at most 3 n + 1,000,000 bytes. Base64 needs 4 characters for 3 bytes, PHP writes
# each slash as two characters, and the rest is the envelope. FileSink checks the exact limit on the decoded bytes.
_RESPONSE_FACTOR: Final = 3
_RESPONSE_EXTRA_BYTES: Final = 1_000_000
# Text of the HTML page (status 200) that iTop sends if the image does not exist or the secret is wrong.
_NO_SUCH_IMAGE: Final = re.compile(rb"Invalid (?:id|secret)\b.{0,40}\bfor class 'InlineImage'")


@dataclass(frozen=True)
class AttachmentFile:
    """A file on disk, with the name and the MIME type that it has in iTop. `size` is in bytes."""

    path: Path
    name: str
    content_type: str
    size: int


@dataclass(frozen=True)
class FileOwner:
    """The ticket that a file belongs to.

    `org_id` is the ticket's organization. An account that is limited to some organizations sees a file only if its
    `org_id` is one of them (recording 277).
    """

    item_class: str
    item_id: int
    org_id: int


class Attached(NamedTuple):
    """The id of a file in iTop. `existed` is whether an earlier attempt had already created the file."""

    id: int
    existed: bool


def attach(  # noqa: PLR0913 - what, where and how
    client: Client,
    owner: FileOwner,
    file: AttachmentFile,
    *,
    temp_id: str,
    contact_id: int = 0,
    user_id: int = 0,
    creation_date: str = "",
    expires: bool = False,
    deadline: float | None = None,
) -> Attached:
    """Create an attachment. If an earlier attempt created it (same owner, same `temp_id`), return that one.

    iTop shows the Person `contact_id` and the User `user_id` as those who added the file. With a contact, iTop itself
    prevents a duplicate: the contact is sent as a query that matches nobody once this contact has an attachment with
    this `temp_id`. Only two creations at exactly the same time can both succeed.
    Without a contact (0), this function searches for the attachment before it creates one. So before you repeat a call
    whose outcome is unknown, wait until iTop can no longer be executing the first request.

    `creation_date` is in iTop's time zone ("2026-11-20 10:00:00"); "" means now. If the account may not see the user
    `user_id`, the attachment is created without a user. `expires` is for tests: the file then belongs to no ticket,
    whatever the owner's `item_id`, and iTop's garbage collector deletes it. `deadline` limits all requests together.

    Raise FileTooLargeError if iTop does not accept a file of this size, and InvalidValueError if the contact does not
    exist. Raise ItopNoResponseError if iTop rejected the creation without a valid reason: try again later. Raise
    OSError if the file cannot be read.
    """
    time_limit = start_deadline(client, deadline)
    if expires:
        owner = FileOwner(owner.item_class, 0, owner.org_id)
    upload = _Upload(client, ATTACHMENT, owner, idempotency_key(temp_id), time_limit)
    fields: dict[str, Any] = {}
    if user_id > 0:
        fields["user_id"] = user_id
    if creation_date:
        fields["creation_date"] = creation_date
    if contact_id <= 0:
        return upload.find() or upload.create(file, fields)
    fields["contact_id"] = (
        f"SELECT {CALLER_CLASS} AS p WHERE p.id = {quote(contact_id)} AND p.id NOT IN"
        f" (SELECT {CALLER_CLASS} AS q JOIN {ATTACHMENT} AS a ON a.contact_id = q.id"
        f" WHERE {_belongs_to(owner)} AND a.temp_id = {quote(upload.temp_id)})"
    )
    try:
        return upload.create(file, fields)
    except NoMatchError as rejection:
        # The attribute is "" if iTop did not name it.
        if rejection.attribute not in ("", "contact_id"):
            raise
        # The query matched nobody: an earlier attempt created the attachment, or the contact does not exist.
        if earlier := upload.find():
            return earlier
        if not client.get(CALLER_CLASS, contact_id, deadline=time_limit.remaining()):
            raise unknown_caller_error("contact_id", contact_id) from rejection
        raise ItopNoResponseError("the creation was rejected without a valid reason") from rejection


def create_inline_image(  # noqa: PLR0913 - what, where and how
    client: Client,
    owner: FileOwner,
    file: AttachmentFile,
    *,
    temp_id: str,
    secret: str,
    is_first: bool = False,
    deadline: float | None = None,
) -> Attached:
    """Create a picture for a log entry. If an earlier attempt created it (same owner, same `temp_id`), return that one.

    iTop shows the picture to everyone who knows its id and `secret` (recordings 230 and 232). A duplicate is prevented
    only by a search beforehand, as in `attach` without a contact. If no earlier attempt was made, set `is_first` to
    skip this search.

    Raise the errors of `attach`, and ItopPermissionError if the account is not an Administrator (recording 231).
    """
    upload = _Upload(client, INLINE_IMAGE, owner, idempotency_key(temp_id), start_deadline(client, deadline))
    earlier = None if is_first else upload.find()
    return earlier or upload.create(file, {"secret": secret})


def find_attachments(
    client: Client,
    temp_ids: Iterable[str],
    *,
    class_name: str = ATTACHMENT,
    owner: FileOwner | None = None,
    deadline: float | None = None,
) -> dict[str, int]:
    """Return the ids of the existing files with these `temp_ids`, by `temp_id`. Of duplicates, return the lowest id.

    iTop's column `temp_id` contains the idempotency key of the caller's `temp_id` (recording 252). `owner` limits the
    search to one ticket: a file that is copied to several tickets has the same `temp_id` in each of them.
    """
    temp_id_by_key = {idempotency_key(temp_id): temp_id for temp_id in temp_ids}
    if not temp_id_by_key:
        return {}
    query = f"SELECT {class_name} AS a WHERE a.temp_id IN ({', '.join(map(quote, temp_id_by_key))})"
    if owner is not None:
        query += f" AND {_belongs_to(owner)}"
    id_by_temp_id: dict[str, int] = {}
    for file in client.get(class_name, query, fields=("id", "temp_id"), deadline=deadline):
        # The database ignores case and accents, so iTop may return a key that was not asked for.
        temp_id = temp_id_by_key.get(file.text("temp_id"))
        if temp_id is not None:
            id_by_temp_id[temp_id] = min(file.id, id_by_temp_id.get(temp_id, file.id))
    return id_by_temp_id


def delete_attachments(
    client: Client,
    attachment_ids: Iterable[int],
    *,
    class_name: str = ATTACHMENT,
    comment: str = "File deleted",
    deadline: float | None = None,
) -> int:
    """Delete the files with these ids, and return how many were deleted. An id that does not exist is ignored."""
    attachment_ids = tuple(attachment_ids)
    if not attachment_ids:
        return 0
    query = f"SELECT {class_name} AS a WHERE a.id IN ({ids(attachment_ids)})"
    try:
        return client.delete(class_name, query, comment=comment, deadline=deadline)
    except NoMatchError:
        return 0


def list_attachments(  # noqa: PLR0913 - which attachments, and which fields
    client: Client,
    item_class: str,
    item_ids: Iterable[int],
    *,
    added_by_people: bool = False,
    fields: Iterable[str] = ("id", "item_id"),
    deadline: float | None = None,
) -> Found:
    """Return the attachments of these tickets without their contents (recordings 275 and 276).

    Name, type and size of a file are not available either: iTop returns them only together with the contents.
    `added_by_people` leaves out attachments that were created over REST, so those from the console and the portal
    remain. Raise ValueError if `fields` include the contents, because iTop would then send every file.
    """
    fields = tuple(fields)
    if any(name in ("contents", "*", "*+") for name in fields):
        raise ValueError("the contents of attachments are read one by one, with read_attachment")
    query = "SELECT a FROM Attachment AS a"
    condition = f"a.item_class = {quote(item_class)} AND a.item_id IN ({ids(item_ids)})"
    if added_by_people:
        query += " JOIN CMDBChangeOpAttachmentAdded AS o ON o.attachment_id = a.id"
        query += " JOIN CMDBChange AS c ON o.change = c.id"
        condition += " AND c.origin != 'webservice-rest'"
    return client.get(ATTACHMENT, f"{query} WHERE {condition}", fields=fields, deadline=deadline)


def read_attachment(
    client: Client, attachment_id: int, *, max_bytes: int, path: Path, deadline: float | None = None
) -> AttachmentFile:
    """Download an attachment to `path` and return it (recording 251). After an error, the file at `path` is deleted.

    Raise FileTooLargeError if the attachment has more than `max_bytes` or does not fit into iTop's memory, and
    ObjectNotFoundError if it does not exist.
    """
    try:
        with path.open("wb") as opened:
            file = FileSink(opened, max_bytes)
            found = client.get_document(
                ATTACHMENT,
                attachment_id,
                "contents",
                into=DocumentSink(file),
                max_bytes=_RESPONSE_FACTOR * max_bytes + _RESPONSE_EXTRA_BYTES,
                deadline=deadline,
            )
            if not found.objects:
                raise ObjectNotFoundError(f"Invalid object {ATTACHMENT}::{attachment_id}")
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OutOfResourcesError):
            raise FileTooLargeError(error.detail) from error
        raise
    contents = found.objects[0].fields.get("contents")
    document = contents if isinstance(contents, dict) else {}
    return AttachmentFile(
        path, str(document.get("filename", "")), str(document.get("mimetype", "")), file.size
    )


def read_inline_image(  # noqa: PLR0913 - which image, and where to write it
    client: Client, image_id: int, secret: str, *, max_bytes: int, path: Path, deadline: float | None = None
) -> AttachmentFile:
    """Download a picture of a log entry to `path` and return it. Its `name` is "", because iTop does not send one.

    The request carries no login, because id and secret suffice. After an error, the file at `path` is deleted. Raise
    the errors of `read_attachment`, and UnclassifiedError if iTop sent anything but a picture.
    """
    query = urlencode({"operation": "download_inlineimage", "id": image_id, "s": secret})
    try:
        with path.open("wb") as opened:
            file = FileSink(opened, max_bytes)
            response = client.download(
                f"/pages/ajax.document.php?{query}", into=file, max_bytes=max_bytes, deadline=deadline
            )
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status != 200 or not content_type.startswith("image/"):
            raise _no_picture_error(response.status, content_type, path, image_id)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return AttachmentFile(path, "", content_type, file.size)


def _no_picture_error(status: int, content_type: str, path: Path, image_id: int) -> ItopError:
    """Return the error for a response that is not a picture. Its body is the file at `path`."""
    with path.open("rb") as opened:
        page = opened.read(_RESPONSE_EXTRA_BYTES)
    if status == 404 or (status == 200 and _NO_SUCH_IMAGE.search(page)):
        return ObjectNotFoundError(f"Invalid object {INLINE_IMAGE}::{image_id}, or a wrong secret")
    return UnclassifiedError(
        f"HTTP {status}: not a picture ({content_type or 'no content type'})", status=status
    )


def _belongs_to(owner: FileOwner) -> str:
    """Return the OQL condition that the file with the alias `a` belongs to this ticket."""
    return f"a.item_class = {quote(owner.item_class)} AND a.item_id = {quote(owner.item_id)}"


@dataclass(frozen=True)
class _Upload:
    """Finds or creates one file in iTop."""

    client: Client
    class_name: str
    owner: FileOwner
    temp_id: str
    time_limit: Deadline

    def find(self) -> Attached | None:
        """Return the file that an earlier attempt created, or None."""
        id_by_temp_id = find_attachments(
            self.client,
            [self.temp_id],
            class_name=self.class_name,
            owner=self.owner,
            deadline=self.time_limit.remaining(),
        )
        return Attached(id_by_temp_id[self.temp_id], existed=True) if id_by_temp_id else None

    def create(self, file: AttachmentFile, fields: Mapping[str, Any]) -> Attached:
        """Create the file with these additional fields."""
        values = {
            "item_class": self.owner.item_class,
            "item_id": self.owner.item_id,
            "item_org_id": self.owner.org_id,
            "temp_id": self.temp_id,
            "contents": {
                "data": FILE_DATA,
                "mimetype": file.content_type,
                "filename": file.name,
                "downloads_count": 0,  # without it, PHP 8 writes a warning to iTop's log
            },
            **fields,
        }
        try:
            return self._send(file, values)
        except InvalidValueError as rejection:
            if rejection.attribute != "user_id" or "user_id" not in values:
                raise
        # Nothing was written. An author that cannot be set must not prevent the upload.
        del values["user_id"]
        return self._send(file, values)

    def _send(self, file: AttachmentFile, values: Mapping[str, Any]) -> Attached:
        with file.path.open("rb") as opened:
            try:
                created = self.client.create(
                    self.class_name,
                    values,
                    comment=self.temp_id,
                    output_fields=("id",),
                    file=opened,
                    deadline=self.time_limit.remaining(),
                )
            except (
                RequestTooLargeError,
                MalformedRequestError,
                ItopLoginError,
                OutOfResourcesError,
            ) as error:
                size = opened.seek(0, os.SEEK_END)
                return self._find_after(error, size)
        return Attached(created.id, existed=False)

    def _find_after(self, error: ItopError, size: int) -> Attached:
        """Return the file if iTop created it in spite of the error. Otherwise raise the error or FileTooLargeError.

        A large file makes PHP drop parts of the request, so iTop reports another problem. If the body exceeds
        post_max_size, all fields are missing, including the login (recordings 256 and 257). If a part exceeds
        upload_max_filesize, that part is missing. A file that exceeds PHP's memory or the database's
        max_allowed_packet ends the request with OutOfResourcesError. iTop may have created the file before that
        (recording 258).
        """
        if size < MIN_TOO_LARGE_BYTES and not isinstance(error, RequestTooLargeError):
            raise error
        if isinstance(error, ItopLoginError):
            # If the login itself is refused, this raises the error.
            self.client.list_operations(deadline=self.time_limit.remaining())
        elif isinstance(error, OutOfResourcesError) and (created := self.find()):
            return created
        raise FileTooLargeError(error.detail, size=size) from error
