"""Read the PHP of iTop's configuration file without executing it.

Only what a configuration file consists of is supported: arrays of text, numbers, true, false and null, and pieces of
text joined with a dot. Anything that PHP would have to compute is refused with its line, but only inside the
extension's array: the rest of a config-itop.php may contain any code.

Follows https://www.php.net/manual/en/language.types.string.php (escapes, heredoc) and
https://www.php.net/manual/en/language.types.array.php (keys).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from intercom_bridge.config_import.values import ConfigError, SourceValue

from .source import MAX_DEPTH, MODULE, Source

# The members of $MySettings that are read. The others, like the database's password, are not.
SETTINGS: Final = ("app_root_url", "timezone")

_SKIPPED = re.compile(r"(?:\s+|//[^\n]*?(?=\n|\?>|\Z)|\#[^\n]*?(?=\n|\?>|\Z)|/\*.*?\*/)+", re.DOTALL)
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
    r"|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?"
)
_NAME = re.compile(r"\\?[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff\\]*")
_VARIABLE = re.compile(r"\$[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*")
_OPERATOR = re.compile(r"=>|->|::|.", re.DOTALL)
_QUOTED = {quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL) for quote in ("'", '"')}
_HEREDOC = re.compile(r"<<<[ \t]*(['\"]?)([A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)\1\r?\n")
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_INTERPOLATION = re.compile(r"\$(?=[A-Za-z_\x80-\U0010ffff{])|\{\$")
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "e": "\x1b", "f": "\f", "\\": "\\", "$": "$"}
_DECIMAL_KEY = re.compile(r"0|-?[1-9][0-9]{0,17}")

# "interpolated" is a text that contains a variable.
_Kind = Literal["text", "interpolated", "number", "name", "variable", "operator", "end"]


@dataclass(frozen=True)
class _Token:
    kind: _Kind
    value: str | int | float
    line: int

    def is_operator(self, *operators: str) -> bool:
        return self.kind == "operator" and self.value in operators

    def __str__(self) -> str:
        """Describe the token for messages, without the content of a text, which may be a secret."""
        descriptions = {"text": "text", "interpolated": "text", "end": "the end of the file"}
        return descriptions.get(self.kind) or str(self.value)


def read_source(text: str) -> Source:
    """Read the parameters from a config-itop.php, or from a part of one. Raise ConfigError."""
    tokens = _tokenize(text)
    position = _find_module(tokens)
    if position is None:
        raise ConfigError(
            f"there is no '{MODULE}' => array(...) in this file. Give iTop's config-itop.php, or the part of it "
            "that contains it."
        )
    parameters = _Parser(tokens, position).value()
    if parameters.members is None:
        raise ConfigError(f"'{MODULE}' is not an array.", parameters.line)
    return Source(parameters.members, _read_settings(tokens))


def _find_module(tokens: list[_Token]) -> int | None:
    """Return the index at which the value of our module begins."""
    settings = _find_assignment(tokens, "$MyModuleSettings")
    if settings is not None:
        # Of equal keys in one array, PHP uses the last.
        positions = [index + 2 for index in _members(tokens, settings) if _is_module_key(tokens, index)]
        position = positions[-1] if positions else None
    else:
        keys = (index + 2 for index in range(len(tokens) - 1) if _is_module_key(tokens, index))
        position = next(keys, None)
    return _find_item_assignment(tokens) if position is None else position


def _is_module_key(tokens: list[_Token], index: int) -> bool:
    key, arrow = tokens[index : index + 2]
    return key.kind == "text" and key.value == MODULE and arrow.is_operator("=>")


def _find_assignment(tokens: list[_Token], variable: str) -> int | None:
    """Return the index at which the value of the last assignment to a variable begins."""
    for index in range(len(tokens) - 2, -1, -1):
        token = tokens[index]
        if token.kind == "variable" and token.value == variable and tokens[index + 1].is_operator("="):
            return index + 2
    return None


def _find_item_assignment(tokens: list[_Token]) -> int | None:
    """Return the index of the value of $MyModuleSettings['combodo-intercom-integration'] = ..."""
    for index in range(len(tokens) - 5):
        variable, opening, key, closing, equals = tokens[index : index + 5]
        if variable.value != "$MyModuleSettings" or key.kind != "text" or key.value != MODULE:
            continue
        if opening.is_operator("[") and closing.is_operator("]") and equals.is_operator("="):
            return index + 5
    return None


def _members(tokens: list[_Token], start: int) -> list[int]:
    """Return the indexes of all tokens directly inside the array that begins at `start`."""
    indexes, depth = [], 0
    for index in range(start, len(tokens) - 1):
        if tokens[index].is_operator("(", "["):
            depth += 1
        elif tokens[index].is_operator(")", "]"):
            depth -= 1
            if depth <= 0:
                break
        elif depth == 1:
            indexes.append(index)
    return indexes


def _read_settings(tokens: list[_Token]) -> Mapping[str, SourceValue]:
    """Return the SETTINGS whose values are plain text; the other values may be any code."""
    settings: dict[str, SourceValue] = {}
    start = _find_assignment(tokens, "$MySettings")
    for index in [] if start is None else _members(tokens, start):
        if index + 4 > len(tokens):
            break
        key, arrow, value, following = tokens[index : index + 4]
        if (
            key.kind == value.kind == "text"
            and key.value in SETTINGS
            and arrow.is_operator("=>")
            and following.is_operator(",", ")", "]")
        ):
            settings[str(key.value)] = SourceValue(value.value, key.line)
    return settings


class _Parser:
    """A recursive-descent parser for PHP values."""

    def __init__(self, tokens: list[_Token], position: int) -> None:
        self._tokens = tokens
        self._position = position
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[min(self._position, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._next
        self._position += 1
        return token

    def value(self) -> SourceValue:
        """Read one value, or several that are joined with dots."""
        first = self._operand()
        if not self._next.is_operator("."):
            self._reject_operator()
            return first
        pieces = [_joinable(first, self._next)]
        while self._next.is_operator("."):
            dot = self._take()
            pieces.append(_joinable(self._operand(), dot))
        self._reject_operator()
        return SourceValue("".join(pieces), first.line)

    def _operand(self) -> SourceValue:
        token = self._take()
        if token.kind in ("text", "number"):
            return SourceValue(token.value, token.line)
        if token.is_operator("-", "+") and self._next.kind == "number":
            number = self._take().value
            is_negative = token.value == "-" and not isinstance(number, str)
            return SourceValue(-number if is_negative else number, token.line)  # type: ignore[operator]
        if token.is_operator("["):
            return self._array("]", token.line)
        if token.kind == "name":
            return self._named(token)
        if token.kind == "interpolated":
            raise ConfigError(
                "this text contains a variable, and no code is executed. Write the text itself, in single quotes.",
                token.line,
            )
        if token.kind == "variable":
            raise ConfigError(f"{token} is a variable, and no code is executed. Write its value.", token.line)
        raise ConfigError(f"a value is expected here, not {token}.", token.line)

    def _named(self, token: _Token) -> SourceValue:
        name = str(token.value).lstrip("\\").lower()
        if name == "array" and self._next.is_operator("("):
            self._take()
            return self._array(")", token.line)
        if name in ("true", "false"):
            return SourceValue(name == "true", token.line)
        if name == "null":
            return SourceValue(None, token.line)
        kind = "a function call" if self._next.is_operator("(") else "a constant"
        raise ConfigError(f"{token} is {kind}, and no code is executed. Write its value.", token.line)

    def _array(self, closing: str, line: int) -> SourceValue:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError("the arrays are nested too deep.", line)
        members: dict[str | int, SourceValue] = {}
        next_index = 0
        while not self._next.is_operator(closing):
            value = self.value()
            key: str | int = next_index
            if self._next.is_operator("=>"):
                self._take()
                key = _array_key(value)
                value = self.value()
            members[key] = value
            if isinstance(key, int):
                next_index = max(next_index, key + 1)
            if self._next.is_operator(","):
                self._take()
            elif not self._next.is_operator(closing):
                raise ConfigError(
                    f"a comma or {closing} is expected here, not {self._next}. The array was opened in line {line}.",
                    self._next.line,
                )
        self._take()
        self._depth -= 1
        return SourceValue(members, line)

    def _reject_operator(self) -> None:
        if self._next.is_operator(*"+-*/%?:|&^<>=!", "::", "->"):
            raise ConfigError(
                f"{self._next} has to be computed, and no code is executed. Write the value.", self._next.line
            )


def _joinable(value: SourceValue, dot: _Token) -> str:
    if isinstance(value.value, str | int) and not isinstance(value.value, bool):
        return str(value.value)
    raise ConfigError("only text can be joined with a dot. Write the value as one text.", dot.line)


def _array_key(key: SourceValue) -> str | int:
    if isinstance(key.value, str):
        # As in PHP: '12' is the number 12, '012' is text.
        return int(key.value) if _DECIMAL_KEY.fullmatch(key.value) else key.value
    if isinstance(key.value, int) and not isinstance(key.value, bool):
        return key.value
    raise ConfigError("an array key must be text or a whole number.", key.line)


def _tokenize(text: str) -> list[_Token]:
    """Return the tokens of the whole file. Outside of our array it only matters where texts and comments end."""
    position = text.find("<?php")
    position = 0 if position < 0 else position + len("<?php")
    line = text.count("\n", 0, position) + 1
    tokens: list[_Token] = []
    while position < len(text):
        if skipped := _SKIPPED.match(text, position):
            line += skipped.group().count("\n")
            position = skipped.end()
            continue
        if text.startswith("?>", position):
            break
        token, end = _read_token(text, position, line)
        tokens.append(token)
        line += text.count("\n", position, end)
        position = end
    tokens.append(_Token("end", "", line))
    return tokens


def _read_token(text: str, position: int, line: int) -> tuple[_Token, int]:
    char = text[position]
    if char in _QUOTED:
        return _read_quoted(text, position, line)
    if char == "<" and (match := _HEREDOC.match(text, position)):
        return _read_heredoc(text, match, line)
    if text.startswith("/*", position):
        raise ConfigError("a comment is opened with /* and not closed.", line)
    patterns: tuple[tuple[_Kind, re.Pattern[str]], ...] = (("variable", _VARIABLE), ("name", _NAME))
    for kind, pattern in patterns:
        if match := pattern.match(text, position):
            return _Token(kind, match.group(), line), match.end()
    if match := _NUMBER.match(text, position):
        return _Token("number", _number(match.group(), line), line), match.end()
    operator = _OPERATOR.match(text, position)
    assert operator is not None  # noqa: S101 - the pattern matches any character
    return _Token("operator", operator.group(), line), operator.end()


def _read_quoted(text: str, position: int, line: int) -> tuple[_Token, int]:
    quote = text[position]
    match = _QUOTED[quote].match(text, position)
    if match is None:
        raise ConfigError(f"a text is opened with {quote} and not closed.", line)
    if quote == '"':
        return _double_quoted(match.group(1), line, quote), match.end()
    return _Token("text", re.sub(r"\\([\\'])", r"\1", match.group(1)), line), match.end()


def _number(literal: str, line: int) -> int | float:
    digits = literal.replace("_", "").lower()
    try:
        if digits.startswith(("0x", "0b", "0o")):
            return int(digits, 0)
        if digits.isdigit():
            # A leading zero means octal, as in 0755.
            return int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
        return float(digits)
    except ValueError as error:
        raise ConfigError("this is not a valid PHP number.", line) from error


def _read_heredoc(text: str, opening: re.Match[str], line: int) -> tuple[_Token, int]:
    quote, label = opening.group(1), opening.group(2)
    closing = re.compile(rf"^([ \t]*){re.escape(label)}(?![\w\x80-\U0010ffff])", re.MULTILINE)
    end = closing.search(text, opening.end())
    if end is None:
        raise ConfigError(f"a text is opened with <<<{label} and not closed.", line)
    body = text[opening.end() : end.start()]
    body = body.removesuffix("\n").removesuffix("\r")
    indent = end.group(1)
    if indent:
        lines = body.split("\n")
        if any(body_line.strip() and not body_line.startswith(indent) for body_line in lines):
            raise ConfigError(f"a line of this text is indented less than its closing {label}.", line)
        body = "\n".join(body_line.removeprefix(indent) for body_line in lines)
    if quote == "'":
        return _Token("text", body, line), end.end()
    return _double_quoted(body, line, ""), end.end()


def _double_quoted(body: str, line: int, quote: str) -> _Token:
    """Resolve PHP's escapes. They denote bytes, and the result must be UTF-8."""
    decoded = bytearray()
    position = 0
    for match in _ESCAPE.finditer(body):
        literal = body[position : match.start()]
        if _INTERPOLATION.search(literal):
            return _Token("interpolated", "", line)
        decoded += literal.encode("utf-8") + _unescape(match.group(1), quote, line)
        position = match.end()
    if _INTERPOLATION.search(body, position):
        return _Token("interpolated", "", line)
    decoded += body[position:].encode("utf-8")
    try:
        return _Token("text", decoded.decode("utf-8"), line)
    except UnicodeDecodeError as error:
        raise ConfigError("the escapes of this text are not valid UTF-8.", line) from error


def _unescape(escape: str, quote: str, line: int) -> bytes:
    if escape.startswith("u{"):
        number = int(escape[2:-1], 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ConfigError(f"\\{escape} is not a character.", line)
        return chr(number).encode("utf-8")
    if escape[0] == "x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    if escape[0] in "01234567":
        return bytes([int(escape, 8) & 0xFF])
    if escape in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[escape].encode()
    return quote.encode() if quote and escape == quote else f"\\{escape}".encode()
