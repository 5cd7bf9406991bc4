"""Read from iTop what is to be posted in Intercom: files of tickets, and the pictures in the text of entries.

A picture's address contains the only secret that protects it. It stays here: the picture is read with its id and
secret, from the iTop that the ticket is in, whatever host the address names.
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

# Of one text. Further pictures are seen in iTop.
MAX_PICTURES: Final = 20
_DATA = re.compile(
    r"data:(?P<type>image/[a-z0-9.+-]{1,60})(?:;[a-z0-9=._-]{1,60})*(?P<base64>;base64)?,", re.IGNORECASE
)
_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_SECRET = re.compile(r"[0-9A-Za-z]{1,100}", re.ASCII)


class FileNotPostedError(Exception):
    """The file cannot be posted, however often it is tried.

    `code` is the ReasonCode that says why, `name` the file's name, "" if it is not known.
    """

    def __init__(self, code: str, detail: str = "", *, name: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.name = name


@dataclass(frozen=True)
class Picture:
    """One picture in the text of an entry: id and secret of an InlineImage, or else its `data` as a data: URL."""

    image_id: int = 0
    secret: str = ""
    data: str = ""


def pictures_of(markup: str) -> list[Picture]:
    """Return the pictures that are stored in iTop or in the text itself, in their order. Others are only addresses."""
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
    if _DATA.match(address):
        return Picture(data=address)
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if not parts.path.endswith("/ajax.document.php") and parts.path != "ajax.document.php":
        return None
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    number, secret = query.get("id", ""), query.get("s", "")
    is_image = query.get("operation") == "download_inlineimage"
    if is_image and _NUMBER.fullmatch(number) and _SECRET.fullmatch(secret):
        return Picture(image_id=int(number), secret=secret)
    return None


class FileReader(ExitStack):
    """Reads files into temporary files that exist as long as the context. Its methods may raise OSError."""

    def read(self, row: FileToIntercom, *, max_bytes: int, deadline: float) -> AttachmentFile:
        """Return the file with a safe name and the type that its content has.

        Raise FileNotPostedError if this does not depend on the time, and ItopError if iTop cannot answer now.
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
        name = safe_name(file.name or f"picture-{row.position + 1}", content_type)
        types = row.event.conversation.workspace.forbidden_file_types
        if is_forbidden(name, content_type, head, types):
            raise FileNotPostedError(ReasonCode.FILE_TYPE_FORBIDDEN, name, name=name)
        return replace(file, name=name, content_type=content_type)

    def _read(self, row: FileToIntercom, path: Path, max_bytes: int, deadline: float) -> AttachmentFile:
        client = itop_client(row.event.ticket.itop)
        if row.source == FileToIntercom.Source.ATTACHMENT:
            return read_attachment(client, row.object_id, max_bytes=max_bytes, path=path, deadline=deadline)
        # The text is empty once it was erased.
        pictures = pictures_of(row.event.content)
        if row.position >= len(pictures):
            raise FileNotPostedError(ReasonCode.FILE_NOT_READABLE)
        picture = pictures[row.position]
        if picture.image_id:
            return read_inline_image(
                client, picture.image_id, picture.secret, max_bytes=max_bytes, path=path, deadline=deadline
            )
        return _decode(picture.data, path, max_bytes)


def _decode(data: str, path: Path, max_bytes: int) -> AttachmentFile:
    head = _DATA.match(data)
    encoded = data[head.end() :] if head else ""
    if len(encoded) > 3 * max_bytes:
        raise FileTooLargeError(f"it has more than {max_bytes} bytes")
    content = unquote_to_bytes(encoded)
    if head and head["base64"]:
        try:
            content = base64.b64decode(content)
        except binascii.Error as error:
            raise FileNotPostedError(ReasonCode.FILE_NOT_READABLE) from error
    if len(content) > max_bytes:
        raise FileTooLargeError(f"it has more than {max_bytes} bytes", size=len(content))
    path.write_bytes(content)
    return AttachmentFile(path, "", head["type"].lower() if head else "", len(content))


def name_in_history(row: FileToIntercom, *, deadline: float) -> str:
    """Return the name of a file that cannot be read as iTop's history has it, "" if the account may not read it."""
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
    """Return the address of the file for agents. For a picture it is that of the ticket, because its own is secret."""
    ticket = row.event.ticket
    if row.source != FileToIntercom.Source.ATTACHMENT:
        return ticket.itop.backoffice_url(ticket.ticket_class, ticket.object_id)
    return ticket.itop.attachment_url(row.object_id)
