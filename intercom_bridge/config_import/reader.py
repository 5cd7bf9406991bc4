from __future__ import annotations

from pathlib import Path

from . import php, xml
from .bridge_file import BridgeFile
from .source import ConfigError, Source

MAX_BYTES = 5_000_000


def read_file(path: Path) -> Source | BridgeFile:
    """What is in `path`: the extension's parameters (a config-itop.php, a part of one, an XML data model), or our own.

    Raises ConfigError when it cannot be read, is none of these, or does not hold them.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than 5 MB: this is not a configuration file.")
    if _is_xml(data):
        return Source(xml.read_parameters(data))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 here. Save it as UTF-8 and try again.", line) from error
    if text.lstrip().startswith("{"):
        return BridgeFile(text)
    return php.read_source(text)


def _is_xml(data: bytes) -> bool:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: PHP cannot be
        return True
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    # <<< opens one of PHP's long strings.
    return start.startswith(b"<?xml") or (start.startswith(b"<") and not start.startswith((b"<?", b"<<<")))
