"""Files: parse uploads, store attachments and pasted pictures, and answer downloads."""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
import struct
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING

from . import accounts
from .store import Row, Store

if TYPE_CHECKING:
    from .operations import Call

DOWNLOAD = "/pages/ajax.document.php"
MAX_AGE = 31_556_926  # browsers keep a download for a year
A_DAY = 86_400
# How many bytes of memory PHP needs for each byte of a file. Measured: a limit of 128 MB allows 12 MB, but not 14 MB.
MEMORY_FOR_A_BYTE = 10
GONE = "the object does not exist or you are not allowed to view it"


@dataclass(frozen=True)
class File:
    """A file that a person chooses in a form, or a picture that is pasted."""

    name: str
    content: bytes
    content_type: str = "application/octet-stream"

    def stored(self) -> str:
        data = base64.b64encode(self.content).decode()
        return json.dumps({"data": data, "mimetype": self.content_type, "filename": self.name})


@dataclass(frozen=True)
class Download:
    """The response to a download: a file, or a page that says why there is no file. The status is 200 for both."""

    content: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


# --- requests


def multipart(body: bytes, content_type: str) -> tuple[dict[str, str], list[tuple[str, File]]]:
    """Return the fields and the files of a multipart/form-data body. Return none if its last boundary is missing."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    fields: dict[str, str] = {}
    files: list[tuple[str, File]] = []
    if not isinstance(boundary, str):
        return fields, files
    mark = b"--" + boundary.encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        return fields, files
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "surrogateescape").split("\r\n")
        given = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        disposition = given.get("content-disposition", "")
        name, filename = _parameter(disposition, "name"), _parameter(disposition, "filename")
        if filename is None:
            fields[name or ""] = content.decode("utf-8", "surrogateescape")
        else:
            files.append(
                (name or "", File(filename, content, given.get("content-type") or "application/octet-stream"))
            )
    return fields, files


def _parameter(disposition: str, name: str) -> str | None:
    found = re.search(rf'; *{name}="((?:[^"\\]|\\.)*)"', disposition)
    return None if found is None else found[1].replace("%22", '"').replace('\\"', '"')


# --- pages


def attach(call: Call, ticket: Row, file: File, comment: str) -> None:
    """Attach a file to a ticket, as a person does. iTop records it in the history, and keeps ``last_update``."""
    store = call.store
    row = store.blank("Attachment") | _file_values(store, ticket, file)
    row |= {"id": store.take_number("Attachment"), "creation_date": store.now(), "user_id": call.user["id"]}
    row["contact_id"] = call.user["contactid"] or 0
    added = {"attachment_id": row["id"], "filename": file.name}
    call.commit(comment, ticket, [("CMDBChangeOpAttachmentAdded", added)], lambda: store.insert_row(row))


def new_secret() -> str:
    """Return a new secret for a picture. Like those of iTop's console, it has 24 bits (recording 226)."""
    return secrets.token_hex(3)


def show_inline(call: Call, ticket: Row, picture: File) -> str:
    """Store a picture that was pasted into an entry, and return the HTML that shows it there."""
    store = call.store
    values = _file_values(store, ticket, picture) | {"secret": new_secret()}
    row = store.insert("InlineImage", **values)
    address = (
        f"{store.root_address}{DOWNLOAD[1:]}?operation=download_inlineimage&id={row['id']}&s={row['secret']}"
    )
    style, size = _size(picture.content)
    return f'<figure class="image"><img{style} src="{html.escape(address)}"{size}></figure>'


def _size(content: bytes) -> tuple[str, str]:
    """Return the style and the attributes with which iTop's editor records a picture's size. Only for PNG."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        return "", ""
    width, height = struct.unpack(">II", content[16:24])
    return f' style="aspect-ratio:{width}/{height}"', f' width="{width}" height="{height}"'


def _file_values(store: Store, ticket: Row, file: File) -> Row:
    """Return the attributes of an Attachment or InlineImage of a ticket."""
    return {
        "expire": store.local(store.clock() + A_DAY),
        "temp_id": "",
        "item_class": ticket["finalclass"],
        "item_id": ticket["id"],
        "item_org_id": ticket["org_id"],
        "contents": file.stored(),
    }


def of_ticket(store: Store, ticket: Row) -> list[tuple[Row, str, int]]:
    """Return the attachments of a ticket, newest first, each with its name and its size in bytes."""
    query = f"SELECT Attachment WHERE item_class = '{ticket['finalclass']}' AND item_id = {int(ticket['id'])}"
    found = []
    for row in sorted(store.find(query)[1], key=lambda each: int(each["id"]), reverse=True):
        file = store.file(row, "contents")
        found.append((row, str(file["filename"] or ""), len(base64.b64decode(file["data"]))))
    return found


# --- downloads


def download_attachment(store: Store, user: Row, class_name: str, number: str) -> Download:
    """Return the file of an attachment, or a page if the user may not open it."""
    row = store.load(class_name, int(number)) if class_name == "Attachment" and number.isdigit() else None
    if row is None or not _may_open(store, user, row):
        return _error(f"Invalid id ({number}) for class '{class_name}' - {GONE}")
    return _sent(store.file(row, "contents"), "attachment")


def _may_open(store: Store, user: Row, row: Row) -> bool:
    if accounts.PORTAL not in accounts.profiles_of(store, user):
        return accounts.sees(row, accounts.organizations_of(store, user))
    ticket = store.load("Ticket", row["item_id"] or 0)
    contact = store.load("Person", user["contactid"] or 0)
    return ticket is not None and contact is not None and ticket["org_id"] == contact["org_id"]


def download_inline_image(store: Store, number: str, secret: str) -> Download:
    """Return a picture if the secret is right, otherwise a page. No login is needed."""
    if not number or not secret:
        return Download(b"", "text/html;charset=UTF-8")
    row = store.load("InlineImage", int(number)) if number.isdigit() else None
    if row is None:
        return _error(f"Invalid id ({number}) for class 'InlineImage' - {GONE}")
    if not row["secret"] or not secrets.compare_digest(row["secret"].encode(), secret.encode()):
        return _error(f"Invalid secret for class 'InlineImage' - {GONE}")
    return _sent(store.file(row, "contents"), "inline")


def _sent(file: Row, how: str) -> Download:
    # iTop does not escape the name, so a quotation mark in it breaks the header (recording 255).
    name = re.sub(r"[\r\n]", "", str(file["filename"] or ""))
    headers = [
        ("Content-Disposition", f'{how}; filename="{name}"'.encode().decode("latin-1")),
        ("Cache-Control", f"no-transform,public,max-age={MAX_AGE}"),
    ]
    content_type = str(file["mimetype"] or "application/octet-stream")
    if content_type.startswith("text/"):
        content_type += ";charset=UTF-8"
    if content_type.startswith(("text/html", "image/svg+xml")):
        headers.append(("Content-Security-Policy", "sandbox"))
    return Download(base64.b64decode(file["data"]), content_type, tuple(headers))


def _error(text: str) -> Download:
    headers = (("Cache-Control", f"no-transform,public,max-age={MAX_AGE},s-maxage={MAX_AGE}"),)
    return Download(f"<p>{html.escape(text, quote=False)}</p>\n".encode(), "text/html;charset=UTF-8", headers)
