"""Reading a configuration takes linear time: four times as much of anything takes about four times as long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from intercom_bridge.config_import import BridgeFile, ConfigError, read_file, reader
from tests.cases.cost import takes_linear_time

MODULE = "'combodo-intercom-integration' => "
DOCUMENT = '{"format": "intercom-itop-bridge", "version": 1, '

# The text before, the repeated text, and the text after it. %d is replaced with the number of the repetition.
PATTERNS: dict[str, tuple[str, str, str]] = {
    "commas": ("", ",", ""),
    "dots": ("", ".", ""),
    "joined texts": (f"{MODULE}['a' => 'a'", ".'a'", "]"),
    "items": (f"{MODULE}[", "'%d' => 1,", "]"),
    "empty texts": ("", "''", ""),
    "escapes in an open text": ("'", "\\'", ""),
    "escapes": (f'{MODULE}["', "\\x41\\u{e9}$ ", '"]'),
    "comments": ("", "/**/", ""),
    "a comment without an end": ("", "/*", ""),
    "comments to the end of the line": ("", "#?\n", ""),
    "texts without an end": ("", "<<<A\n", ""),
    "heredocs": ("", "<<<A\nA\n", ""),
    "half a heredoc": ("", "<<< a", ""),
    "indented lines": ("<<<A\n", " \n", ""),
    "almost the end of a heredoc": (f"{MODULE}[<<<A\n", "AA\n", "A]"),
    "digits": (f"{MODULE}[", "1", "]"),
    "names": ("", "a\\", ""),
    "assignments": ("", "$MySettings = $MyModuleSettings[", ""),
    "open arrays": ("", "[", ""),
    "modules": ("$MyModuleSettings = [", MODULE, "]"),
    "names of an object": (DOCUMENT, '"%d": 1, ', '"x": 1, "x": 1}'),
    "unknown names": (f'{DOCUMENT}"workspaces": [{{"name": "a"', ', "nam%d": 1', "}]}"),
    "elements": ("<a>", "<b/>", "</a>"),
    "pieces of text": ("<a>", "&amp;<!-- -->", "</a>"),
}


def seconds(file: Path, pattern: str, length: int) -> float:
    """Write a file of this length, and return the processor time that reading it takes."""
    before, repeated, behind = PATTERNS[pattern]
    count = (length - len(before) - len(behind)) // len(repeated.replace("%d", "12345"))
    text = "".join(repeated.replace("%d", str(number)) for number in range(count))
    file.write_text(before + text + behind, encoding="utf-8")
    start = time.process_time()
    try:
        source = read_file(file)
        if isinstance(source, BridgeFile):
            source.apply(dry_run=True)
    except ConfigError as error:
        assert "larger than" not in str(error)
    return time.process_time() - start


@pytest.mark.django_db
@pytest.mark.parametrize("pattern", PATTERNS)
def test_time_grows_linearly(tmp_path: Path, pattern: str) -> None:
    file = tmp_path / "config.php"
    assert takes_linear_time(lambda factor: seconds(file, pattern, factor * 20_000))


@pytest.mark.parametrize("pattern", ["commas", "dots"])
def test_the_largest_file_is_read_in_seconds(tmp_path: Path, pattern: str) -> None:
    # The whole takes about 1.5 s; one token at a time with its own search took 20 s.
    assert seconds(tmp_path / "config.php", pattern, reader.MAX_BYTES // 8) < 8 / 8


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.php"
    file.write_bytes(b"," * (reader.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than 1 MB. This is not a configuration file"):
        read_file(file)
