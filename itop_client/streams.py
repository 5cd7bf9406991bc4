"""Encode files while they are sent, and decode files while they are received, piece by piece."""

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

# Divisible by three, so that the pieces' base64, joined, is the base64 of the whole file.
_PIECE_BYTES: Final = 49_152
# The size of a response without the file's data: the envelope, and the file's name and type.
_MAX_ENVELOPE_BYTES: Final = 1_000_000
_DATA_START: Final = b'"data":"'

# A placeholder in a request: MultipartBody sends the base64 of the file in its place. It is random, so that no text
# of a person contains it.
FILE_DATA: Final = f"file-{secrets.token_hex(16)}"


class MultipartBody:
    """A multipart/form-data body with the fields of `form`, and with the request as the field `json_data`.

    In `json_data`, the base64 of the file takes the place of FILE_DATA. The size of the body is fixed when it is
    created. If the file becomes shorter afterwards, sending raises ValueError.
    """

    def __init__(self, form: Mapping[str, str], request: Mapping[str, Any], file: BinaryIO) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.file_size = os.fstat(file.fileno()).st_size
        fields = "".join(_form_field(boundary, name, value) for name, value in form.items())
        head, _, tail = _to_json(request).partition(FILE_DATA)
        start_of_json_data = _form_field(boundary, "json_data", head).removesuffix("\r\n")
        self._file = file
        self._head = (fields + start_of_json_data).encode("utf-8", "replace")
        self._tail = f"{tail}\r\n--{boundary}--\r\n".encode("utf-8", "replace")

    def __len__(self) -> int:
        base64_size = (self.file_size + 2) // 3 * 4  # four characters for each three bytes, rounded up
        return len(self._head) + base64_size + len(self._tail)

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


def _form_field(boundary: str, name: str, value: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def _to_json(request: Mapping[str, Any]) -> str:
    return json.dumps(request, allow_nan=False, ensure_ascii=False)


class FileSink:
    """Writes to `file`, and counts the bytes. Raises FileTooLargeError if they are more than `max_bytes`."""

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

    `envelope` is the response without the data: the text up to `"data":"`, and the text from the quote after the data.
    PHP writes the slashes of base64 as "\/". Raise FileTooLargeError if the file's limit is exceeded, and
    ItopUnavailableError if the data is not base64.
    """

    def __init__(self, file: FileSink) -> None:
        self.envelope = b""
        self._file = file
        self._is_in_data = False
        self._data_began = False
        self._undecoded = b""  # fewer than four characters of base64, which only the next piece completes

    def write(self, data: bytes) -> None:
        if self._is_in_data:
            data = self._decode(data)
            if self._is_in_data:  # the data does not end in this piece
                return
        # _DATA_START may be divided between two pieces.
        search_from = max(0, len(self.envelope) - len(_DATA_START))
        self.envelope += data
        position = self.envelope.find(_DATA_START, search_from)
        if position >= 0 and not self._data_began:
            data_start = position + len(_DATA_START)
            data, self.envelope = self.envelope[data_start:], self.envelope[:data_start]
            self._data_began = self._is_in_data = True
            self.write(data)
        if len(self.envelope) > _MAX_ENVELOPE_BYTES:
            raise unexpected_response("it has too much text besides the document")

    def _decode(self, data: bytes) -> bytes:
        """Decode base64 up to the quote at its end. Return the rest of the response from this quote on."""
        encoded, quote, after = data.partition(b'"')
        encoded = self._undecoded + encoded.replace(b"\\", b"")
        end = len(encoded) if quote else len(encoded) // 4 * 4
        self._undecoded = encoded[end:]
        try:
            self._file.write(base64.b64decode(encoded[:end], validate=True))
        except binascii.Error:
            raise unexpected_response("its data is not base64") from None
        self._is_in_data = not quote
        return quote + after
