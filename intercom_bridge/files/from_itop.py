"""Read files of tickets, and pictures in log entries, from iTop in order to post them in Intercom.

The address of a picture contains the secret that protects the picture, so the address is never sent to Intercom. The
picture is read from the ticket's own iTop with the id and the secret, whatever host the address names.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import structlog

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.tokens import StartTag, Tokenizer
from intercom_bridge.models import FileToIntercom
from intercom_bridge.models.reason import ReasonCode
from itop_client import (
    AttachmentFile,
    FileTooLargeError,
    ItopError,
    ItopPermissionError,
    ItopRejectedError,
    UnclassifiedError,
    quote,
    read_attachment,
    read_inline_image,
)

from .download import create_file
from .names import HEAD_BYTES, content_type_of, is_forbidden, safe_name

log = structlog.get_logger(__name__)

# The most pictures of one text that are posted. Teammates see the others in iTop.
MAX_PICTURES: Final = 20
# The beginning of a data: URL with an image.
_DATA = re.compile(
    r"data:(?P<type>image/[a-z0-9.+-]{1,60})(?:;[a-z0-9=._-]{1,60})*?(?P<base64>;base64)?,", re.IGNORECASE
)
_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_SECRET = re.compile(r"[0-9A-Za-z]{1,100}", re.ASCII)


class FileNotPostedError(Exception):
    """The file cannot be posted, and a further attempt would not change that.

    code: the ReasonCode that says why.
    name: the file's name, "" if unknown.
    """

    def __init__(self, code: str, detail: str = "", *, name: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.name = name


@dataclass(frozen=True)
class Picture:
    """One picture in a text of iTop.

    image_id, secret: of iTop's InlineImage; 0 and "" if the picture is embedded in the text.
    data: the data: URL of an embedded picture, otherwise "".
    """

    image_id: int = 0
    secret: str = ""
    data: str = ""


def pictures_of(markup: str) -> list[Picture]:
    """Return the pictures that are stored in iTop or embedded in the text, in their order.

    Pictures on other servers are left out, because the bridge downloads nothing from them.
    """
    pictures: list[Picture] = []
    if "<img" not in markup.casefold():
        return pictures
    for token in Tokenizer(markup):
        if not isinstance(token, StartTag) or token.name != "img":
            continue
        picture = _picture(token.attributes.get("src", "").strip())
        if picture is not None and picture not in pictures:
            pictures.append(picture)
    return pictures[:MAX_PICTURES]


def _picture(address: str) -> Picture | None:
    """Return the picture with this address, None if it is neither stored in iTop nor embedded."""
    if _DATA.match(address):
        return Picture(data=address)
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.path.rpartition("/")[2] != "ajax.document.php":
        return None
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    number, secret = query.get("id", ""), query.get("s", "")
    is_image = query.get("operation") == "download_inlineimage"
    if is_image and _NUMBER.fullmatch(number) and _SECRET.fullmatch(secret):
        return Picture(image_id=int(number), secret=secret)
    return None


class FileReader(ExitStack):
    """Reads files from iTop into temporary files, which are deleted when the context ends."""

    def read(self, row: FileToIntercom, *, max_bytes: int, deadline: float) -> AttachmentFile:
        """Return the file with a safe name and the type that its content shows. `deadline` is in seconds from now.

        Raise FileNotPostedError if the file can never be posted, ItopError if iTop cannot answer now, and OSError if
        the file cannot be stored.
        """
        descriptor, path = create_file()
        os.close(descriptor)
        self.callback(path.unlink, missing_ok=True)
        try:
            file = self._read(row, path, max_bytes, deadline)
        except FileTooLargeError as error:
            code = ReasonCode.FILE_TOO_LARGE_FOR_INTERCOM
            raise FileNotPostedError(code, error.detail) from error
        except (ItopRejectedError, ItopPermissionError, UnclassifiedError) as error:
            raise FileNotPostedError(ReasonCode.FILE_NOT_READABLE, error.detail) from error
        if not file.size:
            name = safe_name(file.name, file.content_type) if file.name else ""
            raise FileNotPostedError(ReasonCode.FILE_EMPTY, name=name)
        with path.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
        content_type = content_type_of(file.name, head, file.content_type)
        name = safe_name(file.name or f"picture-{_picture_number(row)}", content_type)
        types = row.event.conversation.workspace.forbidden_file_types
        if is_forbidden(name, content_type, head, types):
            raise FileNotPostedError(ReasonCode.FILE_TYPE_FORBIDDEN, name, name=name)
        return replace(file, name=name, content_type=content_type)

    def _read(self, row: FileToIntercom, path: Path, max_bytes: int, deadline: float) -> AttachmentFile:
        """Write the file to the path. Return it with iTop's name and type."""
        client = itop_client(row.event.ticket.itop)
        if row.source == FileToIntercom.Source.ATTACHMENT:
            return read_attachment(client, row.object_id, max_bytes=max_bytes, path=path, deadline=deadline)
        pictures = pictures_of(row.event.content)
        if row.position >= len(pictures):
            # The text was erased.
            raise FileNotPostedError(ReasonCode.FILE_NOT_READABLE)
        picture = pictures[row.position]
        if picture.image_id:
            return read_inline_image(
                client, picture.image_id, picture.secret, max_bytes=max_bytes, path=path, deadline=deadline
            )
        return write_embedded_picture(picture.data, path, max_bytes)


def _picture_number(row: FileToIntercom) -> int:
    """Return the number of the picture among those of all events that are reported with its event, from 1.

    A note can report several entries, and pictures in entries have no names.
    """
    reported_with = row.event.message_id
    if reported_with is None:
        return row.position + 1
    earlier = FileToIntercom.objects.filter(
        source=FileToIntercom.Source.PICTURE, event__message=reported_with, event__lt=row.event_id
    )
    # A picture has further rows if a teammate has sent it to the customer.
    return earlier.order_by().values("event", "position").distinct().count() + row.position + 1


def write_embedded_picture(data: str, path: Path, max_bytes: int) -> AttachmentFile:
    """Write the content of a data: URL to the path.

    Raise FileTooLargeError, or FileNotPostedError if the content is not valid base64.
    """
    prefix = _DATA.match(data)
    encoded = data[prefix.end() :] if prefix else ""
    # A byte takes three characters with percent-encoding, and fewer with base64.
    if len(encoded) > 3 * max_bytes:
        raise FileTooLargeError(f"it has more than {max_bytes} bytes")
    content = unquote_to_bytes(encoded)
    if prefix and prefix["base64"]:
        try:
            content = base64.b64decode(content)
        except binascii.Error as error:
            raise FileNotPostedError(ReasonCode.FILE_NOT_READABLE) from error
    if len(content) > max_bytes:
        raise FileTooLargeError(f"it has more than {max_bytes} bytes", size=len(content))
    path.write_bytes(content)
    return AttachmentFile(path, "", prefix["type"].lower() if prefix else "", len(content))


def name_in_history(row: FileToIntercom, *, deadline: float) -> str:
    """Return the name that iTop's history has for a file, "" if it has none or cannot be read.

    This is for files that iTop does not return. A picture has no name in the history.
    """
    if row.source != FileToIntercom.Source.ATTACHMENT:
        return ""
    query = f"SELECT CMDBChangeOpAttachmentAdded AS o WHERE o.attachment_id = {quote(row.object_id)}"
    client = itop_client(row.event.ticket.itop)
    try:
        found = client.get("CMDBChangeOpAttachmentAdded", query, fields=("filename",), deadline=deadline)
    except ItopError as error:
        log.info("files.name_unreadable", error=type(error).__name__)
        return ""
    return next((safe_name(item.text("filename")) for item in found if item.text("filename")), "")


def file_url(row: FileToIntercom) -> str:
    """Return the address at which agents see the file in iTop.

    For a picture it is the ticket's address, because the picture's own address contains its secret.
    """
    ticket = row.event.ticket
    if row.source != FileToIntercom.Source.ATTACHMENT:
        return ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id)
    return ticket.itop.attachment_url(row.object_id)
