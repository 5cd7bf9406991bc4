"""Files with random content, each different from every other one."""

from __future__ import annotations

import base64
import os
import random
import zlib
from dataclasses import dataclass

from sandbox.intercom.files import png

from .stored import digest_of

TYPES = {"png": "image/png", "pdf": "application/pdf", "log": "text/plain", "zip": "application/zip"}
_START = {"pdf": b"%PDF-1.7\n", "log": b"", "zip": b"PK\x05\x06" + bytes(18)}
# Names as people have them.
_NAMES = (
    "Screenshot {}",
    "Écran d’accueil {}",
    "Fehler bei Müller & Söhne {}",
    "スクリーンショット {}",
    "report_{}",
)


@dataclass(frozen=True)
class Sample:
    """A file, and for which message it is: its number is unique in the run."""

    name: str
    content: bytes
    content_type: str

    @property
    def digest(self) -> str:
        return digest_of(self.content)

    def to_json(self) -> dict[str, str]:
        """Return the file as the stand-in for Intercom takes it."""
        data = base64.b64encode(self.content).decode()
        return {"name": self.name, "content_type": self.content_type, "data": data}


def sample(number: int, size: int, *, is_picture: bool = False) -> Sample:
    """Return a new file of about `size` bytes."""
    extension = "png" if is_picture else random.choice(list(TYPES))
    name = f"{random.choice(_NAMES).format(number)}.{extension}"
    content = picture(size) if extension == "png" else _START[extension] + _random(extension, size)
    return Sample(name, content, TYPES[extension])


def picture(size: int) -> bytes:
    """Return a PNG that browsers display, with a comment of `size` random bytes."""
    whole = png(120, 60, (random.randrange(256), random.randrange(256), random.randrange(256)))
    kind, data = b"tEXt", b"Comment\0" + os.urandom(size)
    comment = len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    # Before the last chunk, which has twelve bytes.
    return whole[:-12] + comment + whole[-12:]


def _random(extension: str, size: int) -> bytes:
    return os.urandom(size // 2).hex().encode() if extension == "log" else os.urandom(size)
