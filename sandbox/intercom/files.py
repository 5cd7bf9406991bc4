"""Files of messages, and the signed addresses from which they are downloaded.

An address is valid for thirty minutes. Each time a conversation is read, its files get new addresses. A download needs
no Authorization header. A download with this header is refused: the host of the files must not get the token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
import secrets
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

VALID_SECONDS = 30 * 60
MAX_FILES = 10
PREFIX = "/i/o/"
CONTENT_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "log": "text/plain",
    "zip": "application/zip",
}
# The reference to a picture in a stored body.
_PICTURE = re.compile(r'src="sandbox-file:([0-9]+)"')


class InvalidFileError(ValueError):
    """A file in a request is not valid. The text says why."""


@dataclass(frozen=True)
class File:
    """A file that somebody sends. If ``content_type`` is "", the ending of the name determines the type."""

    name: str
    content: bytes
    content_type: str = ""

    @property
    def type(self) -> str:
        ending = self.name.rpartition(".")[2].lower()
        return self.content_type or CONTENT_TYPES.get(ending, "application/octet-stream")


@dataclass(frozen=True)
class StoredFile:
    """A file of a message, without its bytes. Only pictures have a width and a height."""

    id: str
    name: str
    content_type: str
    size: int
    width: int | None = None
    height: int | None = None


def example(name: str) -> File:
    """Return a file with this name and example content."""
    file = File(name, b"")
    if file.type.startswith("image/"):
        return File(name, png(320, 180), "image/png" if file.type == "image/png" else file.type)
    return File(name, f"This is {name}.\n".encode(), file.type)


def png(width: int, height: int, colour: tuple[int, int, int] = (64, 110, 180)) -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = (b"\0" + bytes(colour) * width) * height
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def dimensions(content: bytes, content_type: str) -> tuple[int, int] | tuple[None, None]:
    """Return the width and the height of a picture. Only those of a PNG are read; other pictures have 1280 x 720."""
    if not content_type.startswith("image/"):
        return None, None
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return int(width), int(height)
    return 1280, 720


def from_json(given: object) -> File:
    """Return a file from `{"content_type", "data", "name"}`. Raise InvalidFileError."""
    if not isinstance(given, dict):
        raise InvalidFileError("a file must be an object")
    for code in ("content_type", "data", "name"):
        if not isinstance(given.get(code), str) or not given[code]:
            raise InvalidFileError(f"{code} is required")
    content_type, data, name = given["content_type"], given["data"], given["name"]
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise InvalidFileError("data is not valid base64") from error
    return File(name, content, content_type)


def list_from_json(given: object) -> list[File]:
    """Return the files of a reply. Raise InvalidFileError."""
    if given is None:
        return []
    if not isinstance(given, list):
        raise InvalidFileError("attachment_files must be a list")
    if len(given) > MAX_FILES:
        raise InvalidFileError(f"attachment_files has more than {MAX_FILES} files")
    return [from_json(each) for each in given]


def reference(file: StoredFile) -> str:
    """Return the HTML with which a stored body refers to a picture."""
    return f'<div class="intercom-container"><img src="sandbox-file:{file.id}"></div>'


def picture_ids(body: str) -> list[str]:
    """Return the ids of the pictures in a stored body."""
    return _PICTURE.findall(body)


class Addresses:
    """Makes and checks addresses of files. Its clock is `clock_offset` seconds ahead, which lets addresses expire."""

    def __init__(self, workspace_id: str, origin: str, find: Callable[[str], StoredFile]) -> None:
        self.origin = origin
        self.clock_offset = 0.0
        self._workspace_id = workspace_id
        self._find = find
        self._key = secrets.token_bytes(32)

    def now(self) -> float:
        return time.time() + self.clock_offset

    def of(self, file: StoredFile) -> str:
        """Return a new address of a file."""
        digest = hashlib.sha256(f"{file.id} {file.name}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
        name = quote(file.name.replace("/", "_"), safe="", errors="replace") or "file"
        path = f"{PREFIX}{self._workspace_id}/{file.id}/{digest}/{name}"
        expires = int(self.now()) + VALID_SECONDS
        return f"{self.origin}{path}?expires={expires}&signature={self._sign(path, expires)}&req={secrets.token_hex(8)}"

    def fill_in(self, body: str) -> str:
        """Return a stored body in which each reference to a picture is replaced with a new address."""
        return _PICTURE.sub(lambda found: f'src="{html.escape(self.of(self._find(found[1])))}"', body)

    def file_id(self, path: str, query: str) -> str:
        """Return the id of the file at an address. Return "" if the address has expired or was changed."""
        given = parse_qs(query)
        expires, signature = given.get("expires", [""])[0], given.get("signature", [""])[0]
        is_valid = expires.isascii() and expires.isdigit() and int(expires) > self.now()
        if not is_valid or not hmac.compare_digest(self._sign(path, int(expires)), signature):
            return ""
        return path.removeprefix(PREFIX).split("/")[1]

    def _sign(self, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()
