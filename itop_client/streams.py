"""The contents of files, encoded and decoded while they are sent and received, a piece at a time."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from .errors import FileTooLargeError
from .response import unexpected_response

# Divisible by three, so that the base64 of the pieces is the base64 of the whole.
_PIECE_BYTES: Final = 49_152
# What surrounds a file's data in a response: the envelope, the file's name and its type.
_MAX_ENVELOPE_BYTES: Final = 1_000_000
_DATA_START: Final = b'"data":"'

# Stands where the base64 of the streamed file belongs in a request.
FILE_DATA: Final = f"file-{secrets.token_hex(16)}"


class MultipartBody:
    """A body of multipart/form-data with `form` and with a `json_data` in which a file takes the place of FILE_DATA.

    It is as long as the file is when the body is made: if the file shrinks while it is sent, sending fails.
    """

    def __init__(self, form: Mapping[str, str], request: Mapping[str, Any], file: BinaryIO) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.file_size = os.fstat(file.fileno()).st_size
        parts = "".join(_part(boundary, name, value) for name, value in form.items())
        head, _, tail = _to_json(request).partition(FILE_DATA)
        self._file = file
        self._head = (parts + _part(boundary, "json_data", head).removesuffix("\r\n")).encode(
            "utf-8", "replace"
        )
        self._tail = f"{tail}\r\n--{boundary}--\r\n".encode("utf-8", "replace")

    def __len__(self) -> int:
        return len(self._head) + (self.file_size + 2) // 3 * 4 + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        self._file.seek(0)
        left = self.file_size
        while left:
            piece = self._file.read(min(_PIECE_BYTES, left))
            if not piece:
                raise ValueError("the file became shorter while it was sent")
            left -= len(piece)
            yield base64.b64encode(piece)
        yield self._tail


def _part(boundary: str, name: str, value: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def _to_json(request: Mapping[str, Any]) -> str:
    return json.dumps(request, allow_nan=False, ensure_ascii=False)


class FileSink:
    """Writes what it is given to `file`, and raises FileTooLargeError above `max_bytes`."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.size = 0
        self._file = file
        self._max_bytes = max_bytes

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            raise FileTooLargeError(f"it has more than {self._max_bytes} bytes", size=self.size)
        self._file.write(data)


class DocumentSink:
    r"""Takes the response to a `core/get` of one object with a document, and decodes the document's data into `file`.

    `envelope` is the response without the data. PHP writes the slashes of base64 as "\/". Raise FileTooLargeError
    above `max_bytes` of decoded data, and ItopUnavailableError if the data is not base64.
    """

    def __init__(self, file: FileSink) -> None:
        self.envelope = b""
        self._file = file
        self._in_data = False
        self._found = False
        self._rest = b""  # base64 that is not yet a multiple of four characters

    def write(self, data: bytes) -> None:
        """Take the next piece of the response."""
        if self._in_data:
            data = self._take_data(data)
        if self._in_data:
            return
        searched_from = max(0, len(self.envelope) - len(_DATA_START))
        self.envelope += data
        start = -1 if self._found else self.envelope.find(_DATA_START, searched_from)
        if start >= 0:
            start += len(_DATA_START)
            data, self.envelope = self.envelope[start:], self.envelope[:start]
            self._found = self._in_data = True
            self.write(data)
        if len(self.envelope) > _MAX_ENVELOPE_BYTES:
            raise unexpected_response("it is not that of one document")

    def _take_data(self, data: bytes) -> bytes:
        """Decode the data up to its end, and return what follows it."""
        encoded, quote, after = data.partition(b'"')
        encoded = self._rest + encoded.replace(b"\\", b"")
        end = len(encoded) if quote else len(encoded) // 4 * 4
        self._rest = encoded[end:]
        try:
            self._file.write(base64.b64decode(encoded[:end], validate=True))
        except binascii.Error:
            raise unexpected_response("its data is not base64") from None
        self._in_data = not quote
        return quote + after
