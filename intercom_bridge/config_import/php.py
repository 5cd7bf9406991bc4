"""The PHP of iTop's configuration file, read without running it.

Only what a configuration file is made of has a meaning here: arrays of text, numbers, true, false and null, and
pieces of text joined with a dot. Anything that PHP would have to compute is refused, naming its line, but only
within our module's array: what the rest of a config-itop.php does is none of our business.

Follows https://www.php.net/manual/en/language.types.string.php (escapes, heredoc) and
https://www.php.net/manual/en/language.types.array.php (keys).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .source import MAX_DEPTH, MODULE, ConfigError, Node, Source

_SKIPPED = re.compile(r"(?:\s+|//[^\n]*?(?=\n|\?>|\Z)|\#[^\n]*?(?=\n|\?>|\Z)|/\*.*?\*/)+", re.DOTALL)
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
    r"|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?"
)
_NAME = re.compile(r"\\?[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff\\]*")
_VARIABLE = re.compile(r"\$[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*")
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_HEREDOC = re.compile(r"<<<[ \t]*(['\"]?)([A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)\1\r?\n")
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_INTERPOLATION = re.compile(r"\$(?=[A-Za-z_\x80-\U0010ffff{])|\{\$")
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "e": "\x1b", "f": "\f", "\\": "\\", "$": "$"}
# Of $MySettings; the database's password, say, stays in the file.
SETTINGS = ("app_root_url", "timezone")
_DECIMAL_KEY = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class _Token:
    kind: str  # text, interpolated, number, name, variable, sign, end
    value: str | int | float
    line: int

    def is_sign(self, sign: str) -> bool:
        return self.kind == "sign" and self.value == sign

    def __str__(self) -> str:
        """For messages: never the content of a text, which may be a secret."""
        named = {"text": "text", "interpolated": "text", "end": "the end of the file"}
        return named.get(self.kind) or str(self.value)


def read_source(text: str) -> Source:
    """The parameters in a whole config-itop.php, or in the part of one that holds them. Raises ConfigError."""
    tokens = _tokens(text)
    settings = _assigned(tokens, "$MyModuleSettings")
    where, depth = (0, -1) if settings is None else (settings, 1)
    found = _value_of(tokens, where, depth)
    if found is None:
        found = _own_assignment(tokens)
    if found is None:
        raise ConfigError(
            f"there is no '{MODULE}' => array(...) in this file. Give iTop's config-itop.php, or the part of it "
            "that holds it."
        )
    parameters = _Reader(tokens, found).value()
    if parameters.children is None:
        raise ConfigError(f"'{MODULE}' is not an array.", parameters.line)
    return Source(parameters.children, _plain_settings(tokens))


def _assigned(tokens: list[_Token], variable: str) -> int | None:
    """Where the value begins that `variable` is last given; None when it never is."""
    found = None
    for index, token in enumerate(tokens[:-1]):
        if token.kind == "variable" and token.value == variable and tokens[index + 1].is_sign("="):
            found = index + 2
    return found


def _value_of(tokens: list[_Token], start: int, wanted_depth: int) -> int | None:
    """Where our module's value begins: the last one at that depth of brackets, or the first at any (-1)."""
    depth, found = 0, None
    for index in range(start, len(tokens) - 1):
        token = tokens[index]
        if token.kind == "sign" and token.value in ("(", "["):
            depth += 1
        elif token.kind == "sign" and token.value in (")", "]"):
            depth -= 1
            if wanted_depth > 0 and depth <= 0:
                break
        elif token.kind == "text" and token.value == MODULE and tokens[index + 1].is_sign("=>"):
            if wanted_depth < 0:
                return index + 2
            if depth == wanted_depth:
                found = index + 2
    return found


def _own_assignment(tokens: list[_Token]) -> int | None:
    """$MyModuleSettings['combodo-intercom-integration'] = ..."""
    for index in range(len(tokens) - 5):
        variable, opening, key, closing, equals = tokens[index : index + 5]
        if variable.value != "$MyModuleSettings" or key.kind != "text" or key.value != MODULE:
            continue
        if opening.is_sign("[") and closing.is_sign("]") and equals.is_sign("="):
            return index + 5
    return None


def _plain_settings(tokens: list[_Token]) -> Mapping[str, Node]:
    """Those members of $MySettings that are of use here, where they are plain text; the others may be anything."""
    start = _assigned(tokens, "$MySettings")
    found: dict[str, Node] = {}
    if start is None:
        return found
    depth = 0
    for index in range(start, len(tokens) - 3):
        key, arrow, value, after = tokens[index : index + 4]
        if key.kind == "sign" and key.value in ("(", "["):
            depth += 1
        elif key.kind == "sign" and key.value in (")", "]"):
            depth -= 1
            if depth <= 0:
                break
        elif (
            depth == 1
            and key.kind == value.kind == "text"
            and key.value in SETTINGS
            and arrow.is_sign("=>")
            and (after.is_sign(",") or after.is_sign(")") or after.is_sign("]"))
        ):
            found[str(key.value)] = Node(value.value, key.line)
    return found


class _Reader:
    def __init__(self, tokens: list[_Token], at: int) -> None:
        self._tokens = tokens
        self._at = at
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def value(self) -> Node:
        """One value, with what is joined to it by dots."""
        first = self._single()
        if not self._next.is_sign("."):
            self._refuse_operator()
            return first
        pieces = [_joinable(first, self._next)]
        while self._next.is_sign("."):
            dot = self._take()
            pieces.append(_joinable(self._single(), dot))
        self._refuse_operator()
        return Node("".join(pieces), first.line)

    def _single(self) -> Node:
        token = self._take()
        if token.kind == "text":
            return Node(token.value, token.line)
        if token.kind == "number":
            return Node(token.value, token.line)
        if token.kind == "interpolated":
            raise ConfigError(
                "a text with a variable in it has no value that could be read. Write the text itself, in single "
                "quotes.",
                token.line,
            )
        if token.kind == "sign" and token.value in ("-", "+") and self._next.kind == "number":
            number = self._take().value
            return Node(-number if token.value == "-" and not isinstance(number, str) else number, token.line)
        if token.is_sign("["):
            return self._array("]", token.line)
        if token.kind == "name":
            return self._named(token)
        if token.kind == "variable":
            raise ConfigError(f"{token} is a variable: nothing is run here. Write its value.", token.line)
        raise ConfigError(f"a value is expected here, not {token}.", token.line)

    def _named(self, token: _Token) -> Node:
        name = str(token.value).lstrip("\\").lower()
        if name == "array" and self._next.is_sign("("):
            self._take()
            return self._array(")", token.line)
        if name in ("true", "false"):
            return Node(name == "true", token.line)
        if name == "null":
            return Node(None, token.line)
        what = "a function's call" if self._next.is_sign("(") else "a constant"
        raise ConfigError(f"{token} is {what}: nothing is run here. Write its value.", token.line)

    def _array(self, closing: str, line: int) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError("the arrays are nested too deep.", line)
        members: dict[str | int, Node] = {}
        following = 0
        while not self._next.is_sign(closing):
            first = self.value()
            if self._next.is_sign("=>"):
                self._take()
                key = _key(first)
                members[key] = self.value()
            else:
                key = following
                members[key] = first
            if isinstance(key, int):
                following = max(following, key + 1)
            if self._next.is_sign(","):
                self._take()
            elif not self._next.is_sign(closing):
                raise ConfigError(
                    f"a comma or {closing} is expected here, not {self._next}. The array was opened in line {line}.",
                    self._next.line,
                )
        self._take()
        self._depth -= 1
        return Node(members, line)

    def _refuse_operator(self) -> None:
        token = self._next
        if (
            token.kind == "sign"
            and str(token.value) in "+-*/%?:|&^<>=!"
            or token.is_sign("::")
            or token.is_sign("->")
        ):
            raise ConfigError(
                f"{token} has to be computed: nothing is run here. Write the value.", token.line
            )


def _joinable(node: Node, dot: _Token) -> str:
    if isinstance(node.value, str):
        return node.value
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return str(node.value)
    raise ConfigError("only text can be joined with a dot. Write the value as one text.", dot.line)


def _key(node: Node) -> str | int:
    if isinstance(node.value, str):
        # PHP's own rule: '12' is the number 12, '012' is a text.
        return int(node.value) if _DECIMAL_KEY.fullmatch(node.value) else node.value
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    raise ConfigError("the key of an array must be text or a whole number.", node.line)


def _tokens(text: str) -> list[_Token]:
    """All of the file's tokens; of code that is not ours, only that its texts and comments end matters."""
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
        token, end = _token(text, position, line)
        tokens.append(token)
        line += text.count("\n", position, end)
        position = end
    tokens.append(_Token("end", "", line))
    return tokens


def _token(text: str, position: int, line: int) -> tuple[_Token, int]:
    char = text[position]
    if char == "'":
        match = _SINGLE.match(text, position)
        if match is None:
            raise ConfigError("a text is opened with ' and not closed.", line)
        value = re.sub(r"\\([\\'])", r"\1", match.group(1))
        return _Token("text", value, line), match.end()
    if char == '"':
        match = _DOUBLE.match(text, position)
        if match is None:
            raise ConfigError('a text is opened with " and not closed.', line)
        return _double_quoted(match.group(1), line, '"'), match.end()
    if char == "<" and (match := _HEREDOC.match(text, position)):
        return _heredoc(text, match, line)
    if text.startswith("/*", position):
        raise ConfigError("a comment is opened with /* and not closed.", line)
    if char.isdigit() or (char == "." and text[position + 1 : position + 2].isdigit()):
        match = _NUMBER.match(text, position)
        if match is not None:
            return _Token("number", _number(match.group(), line), line), match.end()
    if match := _VARIABLE.match(text, position):
        return _Token("variable", match.group(), line), match.end()
    if match := _NAME.match(text, position):
        return _Token("name", match.group(), line), match.end()
    for sign in ("=>", "->", "::"):
        if text.startswith(sign, position):
            return _Token("sign", sign, line), position + 2
    return _Token("sign", char, line), position + 1


def _number(literal: str, line: int) -> int | float:
    digits = literal.replace("_", "").lower()
    try:
        if digits.startswith(("0x", "0b", "0o")):
            return int(digits, 0)
        if digits.isdigit():
            # A leading zero is octal, as in 0755.
            return int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
        return float(digits)
    except ValueError as error:
        raise ConfigError("this is not a number that PHP knows.", line) from error


def _heredoc(text: str, opening: re.Match[str], line: int) -> tuple[_Token, int]:
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
        if any(one.strip() and not one.startswith(indent) for one in lines):
            raise ConfigError(f"a line of this text is indented less than its closing {label}.", line)
        body = "\n".join(one.removeprefix(indent) for one in lines)
    if quote == "'":
        return _Token("text", body, line), end.end()
    return _double_quoted(body, line, ""), end.end()


def _double_quoted(body: str, line: int, quote: str) -> _Token:
    """With PHP's escapes, which make bytes; what they make up must be UTF-8."""
    made = bytearray()
    position = 0
    for match in _ESCAPE.finditer(body):
        before = body[position : match.start()]
        if _INTERPOLATION.search(before):
            return _Token("interpolated", "", line)
        made += before.encode("utf-8") + _unescaped(match.group(1), quote, line)
        position = match.end()
    rest = body[position:]
    if _INTERPOLATION.search(rest):
        return _Token("interpolated", "", line)
    made += rest.encode("utf-8")
    try:
        return _Token("text", made.decode("utf-8"), line)
    except UnicodeDecodeError as error:
        raise ConfigError("the escapes of this text do not make UTF-8.", line) from error


def _unescaped(escape: str, quote: str, line: int) -> bytes:
    if escape.startswith("u{"):
        number = int(escape[2:-1], 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ConfigError(f"\\{escape} is no character.", line)
        return chr(number).encode("utf-8")
    if escape[0] == "x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    if escape[0] in "01234567":
        return bytes([int(escape, 8) & 0xFF])
    if escape in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[escape].encode()
    if quote and escape == quote:
        return quote.encode()
    return f"\\{escape}".encode()
