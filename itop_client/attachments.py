"""Files of tickets: the classes Attachment and InlineImage. No file is ever whole in memory.

An attachment is created once, however often that is attempted: its `temp_id` is the idempotency key, and iTop looks
for it when it executes the request (recordings 243 to 246). `temp_id` is kept once `item_id` is set.

Measured on an iTop 3.3.0-dev (PHP 8.2, MariaDB 10.11), with an account that is a Support Agent:

- An upload of 20 MB takes 3.7 s and reading it 1.9 s; the process's memory grows by 1 MB with the upload.
- 26 MB over a post_max_size of 32M is code 2 with a token, and "Invalid login" with a user and a password.
- With a memory_limit of 128M, 12 MB are accepted; 16 MB and 20 MB are HTTP 500.
- A `user_id` other than the account's own is refused ("Invalid object User::8"): only an Administrator sees users.
- An attachment without a ticket expires when it is created; a picture that does not exist is HTTP 200 with a page.
"""

from __future__ import annotations

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
from .idempotent import CALLER_CLASS, budget_of, idempotency_key, unknown_caller_error
from .oql import ids, quote
from .streams import FILE_DATA, DocumentSink, FileSink

ATTACHMENT: Final = "Attachment"
INLINE_IMAGE: Final = "InlineImage"
# No server's limits are lower than this. A smaller file is not the reason of a failure that may have others.
MIN_TOO_LARGE_BYTES: Final = 500_000
# A response has four characters for three bytes, and PHP writes a slash as two. The decoded bytes are counted anyway.
_RESPONSE_FACTOR: Final = 3
_RESPONSE_EXTRA: Final = 1_000_000
# iTop's page for an image that is gone, and for a wrong secret; with status 200.
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

    `org_id` is the ticket's organization: accounts that are limited to organizations find files by it
    (recording 277).
    """

    item_class: str
    item_id: int
    org_id: int


class Attached(NamedTuple):
    """The id of a file in iTop, and whether an earlier attempt had created it."""

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
    """Create an attachment, or return the one that an earlier attempt created for this owner with this `temp_id`.

    The contact is sent as a query that matches nobody once this contact has an attachment with this `temp_id`. Two
    creations at exactly the same time still both succeed, and without a contact (0) there is only a check beforehand:
    after an unknown outcome, wait until the earlier request cannot run any more. `creation_date` is in iTop's time
    zone ("2026-11-20 10:00:00"), "" for now. `user_id` is left out if the account may not see that user: only
    Administrators see all. With `expires`, the file belongs to no ticket, whatever the owner's
    `item_id`, and iTop's garbage collector deletes it: for tests. `deadline` covers everything.

    Raise FileTooLargeError if iTop does not accept a file of this size, InvalidValueError if the contact does not
    exist, and ItopNoResponseError if iTop rejected the creation without a valid reason: try again later. Raise OSError
    if the file cannot be read.
    """
    budget = budget_of(client, deadline)
    if expires:
        owner = FileOwner(owner.item_class, 0, owner.org_id)
    upload = _Upload(client, ATTACHMENT, owner, idempotency_key(temp_id), budget)
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
        f" WHERE {_condition(owner)} AND a.temp_id = {quote(upload.temp_id)})"
    )
    try:
        return upload.create(file, fields)
    except NoMatchError as rejection:
        if rejection.attribute not in ("", "contact_id"):
            raise
        if earlier := upload.find():
            return earlier
        if not client.get(CALLER_CLASS, contact_id, deadline=budget.remaining()):
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
    """Create a picture for a log entry, or return the one that an earlier attempt created for this owner.

    It is shown to everyone who knows its id and `secret` (recordings 230 and 232). There is only a check beforehand,
    as in `attach` without a contact, and with `is_first` none: no earlier attempt was made. Raise ItopPermissionError
    if the account is no Administrator (recording 231), and what `attach` raises.
    """
    upload = _Upload(client, INLINE_IMAGE, owner, idempotency_key(temp_id), budget_of(client, deadline))
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
    """Return the ids of the files that have one of these `temp_ids`, by `temp_id` (the lowest, if there are several).

    A message that is linked to several tickets has the same `temp_id` in each: `owner` chooses one. Recording 252.
    """
    wanted = {idempotency_key(temp_id): temp_id for temp_id in temp_ids}
    if not wanted:
        return {}
    query = f"SELECT {class_name} AS a WHERE a.temp_id IN ({', '.join(map(quote, wanted))})"
    if owner is not None:
        query += f" AND {_condition(owner)}"
    found: dict[str, int] = {}
    for item in client.get(class_name, query, fields=("id", "temp_id"), deadline=deadline):
        if (temp_id := wanted.get(item.text("temp_id"))) is not None:
            found[temp_id] = min(item.id, found.get(temp_id, item.id))
    return found


def delete_attachments(
    client: Client,
    attachment_ids: Iterable[int],
    *,
    class_name: str = ATTACHMENT,
    comment: str = "File deleted",
    deadline: float | None = None,
) -> int:
    """Delete the files with these ids, and return how many there were. One that does not exist is no error."""
    attachment_ids = tuple(attachment_ids)
    if not attachment_ids:
        return 0
    query = f"SELECT {class_name} AS a WHERE a.id IN ({ids(attachment_ids)})"
    try:
        return client.delete(class_name, query, comment=comment, deadline=deadline)
    except NoMatchError:
        return 0


def list_attachments(  # noqa: PLR0913 - which, and what of them
    client: Client,
    item_class: str,
    item_ids: Iterable[int],
    *,
    added_by_people: bool = False,
    fields: Iterable[str] = ("id", "item_id"),
    deadline: float | None = None,
) -> Found:
    """Return the attachments of these tickets without their contents: iTop knows name, type and size only with them.

    With `added_by_people`, only those that came from the console or the portal, not over REST. Recordings 275 and 276.
    Raise ValueError if the fields contain the contents, which would bring every file.
    """
    fields = tuple(fields)
    if any(name in ("contents", "*", "*+") for name in fields):
        raise ValueError("the contents of attachments are read one by one, with read_attachment")
    query = "SELECT a FROM Attachment AS a"
    if added_by_people:
        query += " JOIN CMDBChangeOpAttachmentAdded AS o ON o.attachment_id = a.id"
        query += " JOIN CMDBChange AS c ON o.change = c.id"
    query += f" WHERE a.item_class = {quote(item_class)} AND a.item_id IN ({ids(item_ids)})"
    if added_by_people:
        query += " AND c.origin != 'webservice-rest'"
    return client.get(ATTACHMENT, query, fields=fields, deadline=deadline)


def read_attachment(
    client: Client, attachment_id: int, *, max_bytes: int, path: Path, deadline: float | None = None
) -> AttachmentFile:
    """Write an attachment to `path` and return it. Nothing is left there if an error is raised.

    Raise FileTooLargeError as soon as more than `max_bytes` have come, or if it does not fit into iTop's memory, and
    ObjectNotFoundError if it does not exist (any more). Recording 251.
    """
    try:
        with path.open("wb") as opened:
            file = FileSink(opened, max_bytes)
            found = client.get_document(
                ATTACHMENT,
                attachment_id,
                "contents",
                into=DocumentSink(file),
                max_bytes=_RESPONSE_FACTOR * max_bytes + _RESPONSE_EXTRA,
                deadline=deadline,
            )
            if not found.objects:
                raise ObjectNotFoundError(f"Invalid object {ATTACHMENT}::{attachment_id}")
    except OutOfResourcesError as error:
        path.unlink(missing_ok=True)
        raise FileTooLargeError(error.detail) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    contents = found.objects[0].fields.get("contents")
    document = contents if isinstance(contents, dict) else {}
    return AttachmentFile(
        path, str(document.get("filename", "")), str(document.get("mimetype", "")), file.size
    )


def read_inline_image(  # noqa: PLR0913 - which, and where to
    client: Client, image_id: int, secret: str, *, max_bytes: int, path: Path, deadline: float | None = None
) -> AttachmentFile:
    """Write a picture of a log entry to `path` and return it; its name is not known (""). Recording 226.

    It is fetched without a login: id and secret suffice. Nothing is left at `path` if an error is raised: as for
    `read_attachment`, and UnclassifiedError if iTop sent something else than a picture.
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
            raise _not_a_picture(response.status, content_type, path, image_id)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return AttachmentFile(path, "", content_type, file.size)


def _not_a_picture(status: int, content_type: str, path: Path, image_id: int) -> ItopError:
    with path.open("rb") as opened:
        text = opened.read(_RESPONSE_EXTRA)
    if status == 404 or (status == 200 and _NO_SUCH_IMAGE.search(text)):
        return ObjectNotFoundError(f"Invalid object {INLINE_IMAGE}::{image_id}, or a wrong secret")
    return UnclassifiedError(
        f"HTTP {status}: not a picture ({content_type or 'no content type'})", status=status
    )


def _condition(owner: FileOwner) -> str:
    return f"a.item_class = {quote(owner.item_class)} AND a.item_id = {quote(owner.item_id)}"


@dataclass(frozen=True)
class _Upload:
    """The creation of one file in iTop."""

    client: Client
    class_name: str
    owner: FileOwner
    temp_id: str
    budget: Deadline

    def find(self) -> Attached | None:
        """Return the file that an earlier attempt created."""
        found = find_attachments(
            self.client,
            [self.temp_id],
            class_name=self.class_name,
            owner=self.owner,
            deadline=self.budget.remaining(),
        )
        return Attached(found[self.temp_id], existed=True) if found else None

    def create(self, file: AttachmentFile, fields: Mapping[str, Any]) -> Attached:
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
            return self._create(file, values)
        except InvalidValueError as rejection:
            if rejection.attribute != "user_id" or not values.pop("user_id", 0):
                raise
            # Nothing was written. An author that cannot be set must not prevent the upload.
            return self._create(file, values)

    def _create(self, file: AttachmentFile, values: Mapping[str, Any]) -> Attached:
        with file.path.open("rb") as opened:
            try:
                created = self.client.create(
                    self.class_name,
                    values,
                    comment=self.temp_id,
                    output_fields=("id",),
                    file=opened,
                    deadline=self.budget.remaining(),
                )
            except (
                RequestTooLargeError,
                MalformedRequestError,
                ItopLoginError,
                OutOfResourcesError,
            ) as error:
                size = opened.seek(0, 2)
                return self._find_after(error, size)
        return Attached(created.id, existed=False)

    def _find_after(self, error: ItopError, size: int) -> Attached:
        """Return the file if iTop created it in spite of the error, else raise the error: of the file or of iTop.

        PHP drops the fields of a body over its post_max_size, the login among them (recordings 256 and 257), and a
        part over its upload_max_filesize; PHP's memory and the database's packet end the request (recording 258).
        """
        if isinstance(error, ItopLoginError):
            if size < MIN_TOO_LARGE_BYTES:
                raise error
            self.client.list_operations(deadline=self.budget.remaining())  # raises if the login is refused
        elif not isinstance(error, RequestTooLargeError) and size < MIN_TOO_LARGE_BYTES:
            raise error
        elif isinstance(error, OutOfResourcesError) and (found := self.find()):
            return found
        raise FileTooLargeError(error.detail, size=size) from error
