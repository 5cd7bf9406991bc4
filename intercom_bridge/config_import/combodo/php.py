"""Read the PHP of iTop's configuration file without executing it.

Supported is what a configuration consists of: arrays of text, numbers, true, false and null, and pieces of text that
are joined with a dot. Inside the extension's array, anything else is refused with its line, because PHP would have to
compute it. The rest of a config-itop.php may contain any code.

Follows https://www.php.net/manual/en/language.types.string.php (escapes, heredoc) and
https://www.php.net/manual/en/language.types.array.php (keys).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from intercom_bridge.config_import.values import MAX_DEPTH, MODULE, ConfigError, Source, SourceValue

# The only members of $MySettings that are read. Others are secret, like the database's password.
SETTINGS: Final = ("app_root_url", "timezone")

_WORD = r"[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*+"
_HEREDOC = (
    rf"<<<[ \t]*+(?P<quote>['\"]?)(?P<label>{_WORD})(?P=quote)\r?\n"
    r"(?P<body>.*?)^(?P<indent>[ \t]*+)(?P=label)(?![\w\x80-\U0010ffff])"
)
# A token of PHP. "unclosed" is the start of a text or comment whose end was not found. The quantifiers are possessive
# (`++`, `*+`), so that the time stays linear: no part of the file is scanned twice.
_TOKEN = re.compile(
    rf"""(?P<skipped>(?:\s++|(?://|\#)(?:[^\n?]++|\?(?!>))*+|/\*.*?\*/)++)
    |(?P<end>\?>)
    |(?P<single>'[^'\\]*+(?:\\.[^'\\]*+)*+')
    |(?P<double>"[^"\\]*+(?:\\.[^"\\]*+)*+")
    |(?P<heredoc>{_HEREDOC})
    |(?P<unclosed>['"]|/\*|<<<[ \t]*+(?:{_WORD}|'{_WORD}'|"{_WORD}")\r?\n)
    |(?P<variable>\${_WORD})
    |(?P<name>\\?{_WORD}(?:\\{_WORD})*+)
    |(?P<number>0[xX][0-9a-fA-F_]++|0[bB][01_]++|0[oO][0-7_]++
        |(?:[0-9][0-9_]*+\.?[0-9_]*+|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9]++)?)
    |(?P<operator>=>|->|::|.)""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(u\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_INTERPOLATION = re.compile(rb"\$[A-Za-z_\x80-\xff{]|\{\$")
_SIMPLE_ESCAPES = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"v": b"\v",
    b"e": b"\x1b",
    b"f": b"\f",
    b"\\": b"\\",
}
# A text that PHP uses as a number when it is the key of an array.
_DECIMAL_KEY = re.compile(r"0|-?[1-9][0-9]{0,17}")
_TEXT_KINDS = ("single", "double", "heredoc")
_MODULE_KEYS = (f"'{MODULE}'", f'"{MODULE}"')
# Operators that may follow a value: PHP would compute a result.
_COMPUTING_OPERATORS = {*"+-*/%?:|&^<>=!", "::", "->"}


class _Token(NamedTuple):
    """A token. `raw` is its text in the file, and `kind` is the name of a group of _TOKEN."""

    kind: str
    raw: str
    line: int

    def __str__(self) -> str:
        """Describe the token for messages. The content of a text is left out, because it may be a secret."""
        if self.kind in _TEXT_KINDS:
            return "text"
        return self.raw or "the end of the file"


def read_source(text: str) -> Source:
    """Read the extension's parameters from a config-itop.php, or from a part of one. Raise ConfigError."""
    tokens = _tokenize(text)
    position = _find_parameters(tokens)
    if position is None:
        raise ConfigError(
            f"there is no '{MODULE}' => array(...) in this file. Use iTop's config-itop.php, or the part of it "
            "that contains this array."
        )
    parameters = _Parser(tokens, position).value()
    if parameters.members is None:
        raise ConfigError(f"'{MODULE}' is not an array.", parameters.line)
    return Source(parameters.members, _read_settings(tokens))


def _find_parameters(tokens: list[_Token]) -> int | None:
    """Return the index of the token at which the extension's array begins; None if there is none."""
    array_start = _find_assignment(tokens, "$MyModuleSettings")
    candidates = range(len(tokens)) if array_start is None else _member_tokens(tokens, array_start)
    key_indexes = [
        index
        for index in candidates
        if tokens[index].raw in _MODULE_KEYS and _raw(tokens, index + 1) == ["=>"]
    ]
    if key_indexes:
        # PHP uses the last of equal keys in an array. If the file has no $MyModuleSettings, the first key counts.
        key_index = key_indexes[0] if array_start is None else key_indexes[-1]
        return key_index + 2  # after the key and "=>"
    for index, token in enumerate(tokens):
        if token.raw == "$MyModuleSettings" and any(
            _raw(tokens, index + 1, 4) == ["[", key, "]", "="] for key in _MODULE_KEYS
        ):
            return index + 5  # after $MyModuleSettings['…'] =
    return None


def _raw(tokens: list[_Token], start: int, count: int = 1) -> list[str]:
    """Return the texts of `count` tokens, or of fewer at the end of the file."""
    return [token.raw for token in tokens[start : start + count]]


def _find_assignment(tokens: list[_Token], variable: str) -> int | None:
    """Return the index of the value in the last assignment to a variable; None if the file assigns nothing to it."""
    indexes = [index for index, token in enumerate(tokens) if token.raw == variable]
    # The value follows the variable and "=".
    return max((index + 2 for index in indexes if _raw(tokens, index + 1) == ["="]), default=None)


def _member_tokens(tokens: list[_Token], start: int) -> list[int]:
    """Return the indexes of the tokens in the array that begins at `start`, without those in nested brackets."""
    indexes, depth = [], 0
    for index in range(start, len(tokens) - 1):
        raw = tokens[index].raw
        if raw in ("(", "["):
            depth += 1
        elif raw in (")", "]"):
            depth -= 1
            if depth <= 0:
                break
        elif depth == 1:
            indexes.append(index)
    return indexes


def _read_settings(tokens: list[_Token]) -> Mapping[str, SourceValue]:
    """Return those SETTINGS whose values are plain text. Values that may be any code are left out."""
    settings: dict[str, SourceValue] = {}
    start = _find_assignment(tokens, "$MySettings")
    if start is None:
        return settings
    for index in _member_tokens(tokens, start):
        if _raw(tokens, index + 1) != ["=>"]:
            continue
        key, value = tokens[index], tokens[index + 2]
        is_whole_value = _raw(tokens, index + 3) in ([","], [")"], ["]"])
        is_plain = key.kind in _TEXT_KINDS and value.kind in _TEXT_KINDS and is_whole_value
        name = key.raw[1:-1]
        if is_plain and name in SETTINGS:
            with suppress(ConfigError):  # a text with a variable
                settings[name] = SourceValue(_string_value(value), key.line)
    return settings


class _Parser:
    """A recursive-descent parser for PHP values."""

    def __init__(self, tokens: list[_Token], position: int) -> None:
        self._tokens = tokens
        self._position = position
        self._depth = 0

    @property
    def _next(self) -> _Token:
        # At the end of the file, the last token, of the kind "end", stays the next one.
        return self._tokens[min(self._position, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._next
        self._position += 1
        return token

    def value(self) -> SourceValue:
        """Read the value at the current position. Pieces of text that are joined with dots are one value."""
        value = self._operand()
        if self._next.raw == ".":
            pieces = [_joinable(value, self._next)]
            while self._next.raw == ".":
                dot = self._take()
                pieces.append(_joinable(self._operand(), dot))
            value = SourceValue("".join(pieces), value.line)
        if self._next.raw in _COMPUTING_OPERATORS:
            raise ConfigError(
                f"{self._next} has to be computed, and no code is executed. Write the value.", self._next.line
            )
        return value

    def _operand(self) -> SourceValue:
        token = self._take()
        if token.kind in _TEXT_KINDS:
            return SourceValue(_string_value(token), token.line)
        if token.kind == "number":
            return SourceValue(_number(token), token.line)
        if token.raw in ("-", "+") and self._next.kind == "number":
            number = _number(self._take())
            return SourceValue(-number if token.raw == "-" else number, token.line)
        if token.raw == "[":
            return self._array("]", token.line)
        if token.kind == "name":
            return self._named_value(token)
        if token.kind == "variable":
            raise ConfigError(f"{token} is a variable, and no code is executed. Write its value.", token.line)
        raise ConfigError(f"a value is expected here, not {token}.", token.line)

    def _named_value(self, token: _Token) -> SourceValue:
        """Return the value that begins with a name: an array, true, false or null."""
        name = token.raw.lstrip("\\").lower()
        if name == "array" and self._next.raw == "(":
            self._take()
            return self._array(")", token.line)
        if name in ("true", "false"):
            return SourceValue(name == "true", token.line)
        if name == "null":
            return SourceValue(None, token.line)
        kind = "a function call" if self._next.raw == "(" else "a constant"
        raise ConfigError(f"{token} is {kind}, and no code is executed. Write its value.", token.line)

    def _array(self, closing: str, line: int) -> SourceValue:
        """Read the members up to the `closing` bracket. `line` is where the array was opened."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError("the arrays are nested too deep.", line)
        members: dict[str | int, SourceValue] = {}
        next_index = 0  # the key of a member without one; as in PHP, one more than the largest number
        while self._next.raw != closing:
            value = self.value()  # it is the key if "=>" follows
            key: str | int = next_index
            if self._next.raw == "=>":
                self._take()
                key = _array_key(value)
                value = self.value()
            members[key] = value
            if isinstance(key, int):
                next_index = max(next_index, key + 1)
            if self._next.raw == ",":
                self._take()
            elif self._next.raw != closing:
                raise ConfigError(
                    f"a comma or {closing} is expected here, not {self._next}. The array was opened in line {line}.",
                    self._next.line,
                )
        self._take()
        self._depth -= 1
        return SourceValue(members, line)


def _joinable(value: SourceValue, dot: _Token) -> str:
    if isinstance(value.value, str | int) and not isinstance(value.value, bool):
        return str(value.value)
    raise ConfigError("only text can be joined with a dot. Write the value as one text.", dot.line)


def _array_key(key: SourceValue) -> str | int:
    if isinstance(key.value, str):
        # As in PHP, the key '12' is the number 12, and the key '012' is text.
        return int(key.value) if _DECIMAL_KEY.fullmatch(key.value) else key.value
    if isinstance(key.value, int) and not isinstance(key.value, bool):
        return key.value
    raise ConfigError("an array key must be text or a whole number.", key.line)


def _tokenize(text: str) -> list[_Token]:
    """Return the tokens of the whole file, or of its first PHP block. The last one has the kind "end".

    Outside the extension's array, the tokens may be any code. They are needed to find where texts and comments end.
    """
    start = text.find("<?php")
    start = 0 if start < 0 else start + len("<?php")
    line = text.count("\n", 0, start) + 1
    tokens: list[_Token] = []
    for match in _TOKEN.finditer(text, start):
        kind, raw = str(match.lastgroup), match.group()
        if kind == "end":
            break
        if kind == "unclosed":
            opened = "comment" if raw == "/*" else "text"
            raise ConfigError(f"a {opened} is opened with {raw.rstrip()} and not closed.", line)
        if kind != "skipped":
            tokens.append(_Token(kind, raw, line))
        line += raw.count("\n")
    tokens.append(_Token("end", "", line))
    return tokens


def _number(token: _Token) -> int | float:
    digits = token.raw.replace("_", "").lower()
    try:
        if digits.startswith(("0x", "0b", "0o")):
            return int(digits, 0)
        if digits.isdigit():
            base = 8 if digits.startswith("0") else 10  # as in 0755
            return int(digits, base)
        return float(digits)
    except ValueError as error:
        raise ConfigError("this is not a valid PHP number.", token.line) from error


def _string_value(token: _Token) -> str:
    """Return the value of a string literal: single-quoted, double-quoted, heredoc or nowdoc."""
    if token.kind == "single":
        return re.sub(r"\\([\\'])", r"\1", token.raw[1:-1])
    if token.kind == "double":
        return _unescape(token.raw[1:-1], b'"', token.line)
    match = re.match(_HEREDOC, token.raw, re.DOTALL | re.MULTILINE)
    assert match is not None  # noqa: S101 - the same pattern has found the token
    body, indent = match["body"].removesuffix("\n").removesuffix("\r"), match["indent"]
    if indent:
        lines = body.split("\n")
        if any(line.strip() and not line.startswith(indent) for line in lines):
            raise ConfigError(
                f"a line of this text is indented less than its closing {match['label']}.", token.line
            )
        body = "\n".join(line.removeprefix(indent) for line in lines)
    return body if match["quote"] == "'" else _unescape(body, b"", token.line)


def _unescape(body: str, quote: bytes, line: int) -> str:
    """Resolve PHP's escapes, which stand for bytes. Raise ConfigError if the result is not UTF-8, or for a variable.

    `quote` is the quotation mark that an escape may contain; heredocs have none.
    """

    def replacement(match: re.Match[bytes]) -> bytes:
        escape = match[1]
        if escape.startswith(b"u{"):
            number = int(escape[2:-1], 16)
            if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
                raise ConfigError(f"\\{escape.decode()} is not a character.", line)
            return chr(number).encode()
        if escape[:1] == b"x" and len(escape) > 1:
            return bytes([int(escape[1:], 16)])
        if escape[0] in b"01234567":
            return bytes([int(escape, 8) & 0xFF])
        if escape in (b"$", quote):
            return escape
        return _SIMPLE_ESCAPES.get(escape, match[0])  # any other backslash stays

    data = body.encode()
    without_escapes = _ESCAPE.sub(b" ", data)  # "\$name" is not a variable
    if _INTERPOLATION.search(without_escapes):
        raise ConfigError(
            "this text contains a variable, and no code is executed. Write the text itself, in single quotes.",
            line,
        )
    try:
        return _ESCAPE.sub(replacement, data).decode()
    except UnicodeDecodeError as error:
        raise ConfigError("the escapes of this text are not valid UTF-8.", line) from error
