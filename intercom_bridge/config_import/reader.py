"""Recognise the format of a configuration file and read it."""

from pathlib import Path

from .bridge_file import BridgeFile
from .combodo import php, xml
from .values import ConfigError, Source

MAX_BYTES = 1_000_000


def read_file(path: Path) -> Source | BridgeFile:
    """Read a configuration file: our own JSON, or the extension's parameters in PHP or XML.

    PHP is iTop's config-itop.php or a part of it, XML is iTop's data model. Raise ConfigError if the file cannot be
    read, has another format, or lacks the parameters.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the file {path} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"the file {path} is larger than 1 MB. This is not a configuration file.")
    if _is_xml(data):
        return Source(xml.read_parameters(data))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8. Save it as UTF-8 and try again.", line) from error
    if text.lstrip().startswith("{"):
        return BridgeFile(text)
    return php.read_source(text)


def _is_xml(data: bytes) -> bool:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True  # UTF-16, which PHP cannot read
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    # PHP begins with "<?php", and a part of a PHP file may begin with a heredoc, "<<<".
    is_php = start.startswith((b"<?", b"<<<")) and not start.startswith(b"<?xml")
    return start.startswith(b"<") and not is_php
