"""Make the names of files safe, and determine a file's type from its name and its first bytes.

If the content shows the type, this counts. Otherwise the name counts, and then the type that the sender declared. The
signatures are from the formats' specifications, as collected in https://www.iana.org/assignments/media-types/ and
https://mimesniff.spec.whatwg.org/.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from typing import Final, NamedTuple

from intercom_bridge.intercom.text import normalize

MAX_NAME: Final = 255
"""iTop's limit, in characters (recording 254)."""

HEAD_BYTES: Final = 4096
"""The number of first bytes that is enough to determine a file's type."""

UNKNOWN: Final = "application/octet-stream"

_MAX_EXTENSION: Final = 16
# A double quote or a semicolon breaks the header with which iTop sends a file (recording 255). The other characters
# have a meaning in paths, in Windows or in shells.
_REPLACED: Final = re.compile(r'[/\\:*?"<>|;`]')
# Unicode's categories of control, format, surrogate, unassigned and private characters.
_INVISIBLE: Final = ("Cc", "Cf", "Cs", "Cn", "Co")
# Names that Windows takes for a device, whatever the extension.
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


class _Format(NamedTuple):
    """A format whose files have the bytes `magic` at `offset`. `extensions` are separated by spaces."""

    magic: bytes
    content_type: str
    extensions: str
    offset: int = 0


_OLE: Final = "application/x-ole-storage"
_ZIP: Final = "application/zip"
_PROGRAM: Final = "application/vnd.microsoft.portable-executable"

_PDF: Final = _Format(b"%PDF-", "application/pdf", "pdf")
_SVG: Final = _Format(b"<svg", "image/svg+xml", "svg")

# The first match counts, so a special case comes before the general one.
_FORMATS: Final = (
    _Format(b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    _Format(b"\xff\xd8\xff", "image/jpeg", "jpg jpeg"),
    _Format(b"GIF87a", "image/gif", "gif"),
    _Format(b"GIF89a", "image/gif", "gif"),
    _Format(b"WEBP", "image/webp", "webp", 8),
    _Format(b"WAVE", "audio/x-wav", "wav", 8),
    _Format(b"AVI ", "video/x-msvideo", "avi", 8),
    _Format(b"ftypavif", "image/avif", "avif", 4),
    _Format(b"ftyphei", "image/heic", "heic", 4),
    _Format(b"ftypmif1", "image/heic", "heic", 4),
    _Format(b"ftypqt", "video/quicktime", "mov", 4),
    _Format(b"ftyp", "video/mp4", "mp4", 4),
    _Format(b"II*\0", "image/tiff", "tif tiff"),
    _Format(b"MM\0*", "image/tiff", "tif tiff"),
    _Format(b"BM", "image/bmp", "bmp"),
    _PDF,
    _Format(b"META-INF/", "application/java-archive", "jar", 30),
    _Format(b"PK\x03\x04", _ZIP, "zip"),
    _Format(b"PK\x05\x06", _ZIP, "zip"),
    _Format(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLE, ""),
    _Format(b"Rar!\x1a\x07", "application/vnd.rar", "rar"),
    _Format(b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", "7z"),
    _Format(b"\x1f\x8b", "application/gzip", "gz tgz"),
    _Format(b"BZh", "application/x-bzip2", "bz2"),
    _Format(b"\xfd7zXZ\0", "application/x-xz", "xz"),
    _Format(b"\x1aE\xdf\xa3", "video/webm", "webm mkv"),
    _Format(b"OggS", "audio/ogg", "ogg"),
    _Format(b"ID3", "audio/mpeg", "mp3"),
    _Format(b"{\\rtf", "application/rtf", "rtf"),
    _Format(b"MZ", _PROGRAM, "exe dll scr cpl com pif"),
    _Format(b"\x7fELF", "application/x-elf", "elf so"),
    _Format(b"\xca\xfe\xba\xbe", "application/java-vm", "class jar"),
    _Format(b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut", "lnk"),
    _Format(b"#@~^", "text/vbscript.encode", "vbe jse"),
)
# Formats that are text. They are compared in lower case, without a byte order mark and leading white space.
_TEXT_FORMATS: Final = (
    _Format(b"<!doctype html", "text/html", "html htm"),
    _Format(b"<html", "text/html", "html htm"),
    _Format(b"<head", "text/html", "html htm"),
    _Format(b"<body", "text/html", "html htm"),
    _Format(b"<script", "text/html", "html htm"),
    _SVG,
    _Format(b"<!doctype svg", "image/svg+xml", "svg"),
    _Format(b"#!", "text/x-shellscript", "sh"),
    _Format(b"@echo off", "text/x-batch", "bat cmd"),
    _Format(b"windows registry editor", "text/x-registry", "reg"),
    _Format(b"regedit4", "text/x-registry", "reg"),
)
# Formats in a container that other formats use, too, so that only the name shows the format. For each extension: the
# format's media type and the container's.
_CONTAINED: Final = {
    "docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", _ZIP),
    "xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", _ZIP),
    "pptx": ("application/vnd.openxmlformats-officedocument.presentationml.presentation", _ZIP),
    "docm": ("application/vnd.ms-word.document.macroenabled.12", _ZIP),
    "xlsm": ("application/vnd.ms-excel.sheet.macroenabled.12", _ZIP),
    "odt": ("application/vnd.oasis.opendocument.text", _ZIP),
    "ods": ("application/vnd.oasis.opendocument.spreadsheet", _ZIP),
    "odp": ("application/vnd.oasis.opendocument.presentation", _ZIP),
    "epub": ("application/epub+zip", _ZIP),
    "apk": ("application/vnd.android.package-archive", _ZIP),
    "jar": ("application/java-archive", _ZIP),
    "doc": ("application/msword", _OLE),
    "xls": ("application/vnd.ms-excel", _OLE),
    "ppt": ("application/vnd.ms-powerpoint", _OLE),
    "msg": ("application/vnd.ms-outlook", _OLE),
    "vsd": ("application/vnd.visio", _OLE),
    "msi": ("application/x-msi", _OLE),
    "m4a": ("audio/mp4", "video/mp4"),
    "mkv": ("video/x-matroska", "video/webm"),
    "ogv": ("video/ogg", "audio/ogg"),
}
# Only Python's own table of types by name: the table of the operating system differs between machines.
_BY_NAME: Final = mimetypes.MimeTypes()
# Types whose files always begin with a signature. An MP3 file may begin with any frame, an old QuickTime file with any
# atom.
_SIGNED: Final = frozenset(
    [known.content_type for known in _FORMATS]
    + [content_type for content_type, _container in _CONTAINED.values()]
) - {"audio/mpeg", "video/quicktime"}


def _default_extensions() -> dict[str, str]:
    """Return the extension that a name without one gets, by media type. A double click executes none of these files."""
    extensions: dict[str, str] = {}
    for known in (*_FORMATS, *_TEXT_FORMATS):
        is_medium = known.content_type.startswith(("image/", "audio/", "video/"))
        if is_medium or known.extensions in ("pdf", "zip"):
            extensions.setdefault(known.content_type, known.extensions.split()[0])
    for extension, (content_type, _container) in _CONTAINED.items():
        if extension not in ("jar", "apk", "msi"):
            extensions[content_type] = extension
    return extensions


_DEFAULT_EXTENSIONS: Final = _default_extensions()


def safe_name(name: str, content_type: str = "") -> str:
    """Return the name without anything that is dangerous in a path, in a header or on a screen.

    The result has 1 to 255 characters, and no path separators, quotes, or control, bidirectional or invisible
    characters. It is not ".", ".." or the name of a device in Windows, and does not end with a dot. A long name keeps
    its extension. A name without an extension gets that of the content type, if one is known.
    """
    spaced = "".join(" " if character.isspace() else character for character in name)
    visible = "".join(character for character in spaced if unicodedata.category(character) not in _INVISIBLE)
    cleaned = _REPLACED.sub("_", normalize("NFC", visible)).replace("'", "’")
    cleaned = " ".join(cleaned.split()).rstrip(". ")
    if _DEVICE.match(cleaned):
        cleaned = f"_{cleaned}"
    stem, extension = _split(cleaned or "file")
    if not extension:
        extension = _DEFAULT_EXTENSIONS.get(_media_type(content_type), "")
    suffix = f".{extension}" if extension else ""
    return (stem[: MAX_NAME - len(suffix)].rstrip(". ") or "file") + suffix


def content_type_of(name: str, head: bytes, declared: str = "") -> str:
    """Return the media type, in lower case and without parameters, of a file with this name and these first bytes.

    `declared` is the type that the sender declared. It counts if neither the content nor the name shows the type. If
    the files of the claimed type begin with a signature, and this file does not, the type is text/plain or
    application/octet-stream.
    """
    extension = extension_of(name)
    type_in_container, container = _CONTAINED.get(extension, ("", ""))
    recognised = _recognise(head)
    if recognised is not None:
        # With a password, an Office document that is normally a ZIP file is an OLE container.
        is_with_password = container == _ZIP and recognised.content_type == _OLE
        if type_in_container and (recognised.content_type == container or is_with_password):
            return type_in_container
        return recognised.content_type
    type_by_name = type_in_container
    if extension and not type_by_name:
        type_by_name = _BY_NAME.guess_type(f"x.{extension}")[0] or ""
    claimed = type_by_name or _media_type(declared) or UNKNOWN
    if head and claimed in _SIGNED:
        return "text/plain" if _is_text(head) else UNKNOWN
    return claimed


def is_forbidden(name: str, content_type: str, head: bytes, types: str) -> bool:
    """Return whether the file has a forbidden type by its name, its content type or its first bytes, the `head`.

    `types` are the forbidden extensions, separated by spaces, commas or semicolons. The head shows programs, shortcuts,
    archives and other formats with a signature, whatever the file's name. The contents of archives are not examined.
    """
    forbidden = {extension.lower().lstrip("*.") for extension in re.split(r"[\s,;]+", types)} - {""}
    if not forbidden:
        return False
    extensions = {extension_of(name)}
    recognised = _recognise(head)
    if recognised is not None:
        extensions.update(recognised.extensions.split())
    # An HTML application, which Windows executes, is otherwise recognised as HTML.
    if b"<hta:application" in head.lower():
        extensions.add("hta")
    media_type = _media_type(content_type)
    for known in (*_FORMATS, *_TEXT_FORMATS):
        if known.content_type == media_type:
            extensions.update(known.extensions.split())
    return not extensions.isdisjoint(forbidden)


def extension_of(name: str) -> str:
    """Return the extension as Windows determines it, in lower case and without the dot, "" if there is none."""
    _stem, dot, extension = safe_name(name).rpartition(".")
    return extension.lower() if dot else ""


def _split(name: str) -> tuple[str, str]:
    """Return the parts before and after the last dot. If no extension follows the dot, the second part is ""."""
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension) > _MAX_EXTENSION or not extension.isalnum():
        return name, ""
    return stem, extension


def _media_type(text: str) -> str:
    """Return a media type in lower case and without parameters, "" if the text is not one."""
    media_type = text.partition(";")[0].strip().lower()
    return media_type if _TYPE.fullmatch(media_type) else ""


def _recognise(head: bytes) -> _Format | None:
    """Return the format that the first bytes show, None if they show none."""
    for known in _FORMATS:
        if head.startswith(known.magic, known.offset) and _is_certain(known, head):
            return known
    text = _text(head)
    for known in _TEXT_FORMATS:
        if text.startswith(known.magic):
            return known
    # A picture in SVG may begin with an XML declaration and comments.
    if text.startswith((b"<?xml", b"<!--")) and b"<svg" in text:
        return _SVG
    # Some programs write other bytes before a PDF file's header, and viewers accept that.
    return _PDF if _PDF.magic in head[:1024] and not _is_text(head) else None


def _is_certain(known: _Format, head: bytes) -> bool:
    """Return whether a file with the format's magic bytes really has this format."""
    if known.offset == 8:
        # These formats are in a RIFF container.
        return head.startswith(b"RIFF")
    # A text can begin with the same letters, for example "BMW" or "MZ".
    is_short_word = len(known.magic) < 4 and known.magic.isalnum()
    return not (is_short_word and _is_text(head))


def _text(head: bytes) -> bytes:
    """Return the first bytes as UTF-8 text in lower case, without a byte order mark and leading white space."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        # UTF-16 has two bytes for each character, so leave out a last byte without its partner.
        head = head[: len(head) // 2 * 2].decode("utf-16", "replace").encode()
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\f").lower()


def _is_text(head: bytes) -> bool:
    """Return whether the only control characters are white space (9 to 13) and escape (27)."""
    return all(9 <= byte <= 13 or byte == 27 or byte >= 32 for byte in head)
