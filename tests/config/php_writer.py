"""Write PHP literals, independently of the reader, for round-trip tests."""

from __future__ import annotations


def single_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def double_quoted(text: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\v": "\\v", "\x1b": "\\e", "\f": "\\f"}
    out = []
    for index, char in enumerate(text):
        if char in named:
            out.append(named[char])
        elif char in '\\"$':
            out.append("\\" + char)
        elif ord(char) < 32:
            # Alternate between both notations; three digits, so that a following digit does not belong to the escape.
            out.append(f"\\{ord(char):03o}" if index % 2 else f"\\x{ord(char):02x}")
        elif ord(char) > 0xFFFF or index % 3 == 0 and ord(char) > 127:
            out.append(f"\\u{{{ord(char):X}}}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def nowdoc(text: str) -> str:
    return f"<<<'END_OF_IT'\n{text}\nEND_OF_IT"


def literal(value: object, style: int = 0) -> str:
    """Return a value as PHP. Style 0: array(...), single quotes; 1: [...], double quotes; 2: like 0 with comments."""
    if isinstance(value, bool):
        return (["true", "TRUE", "True"] if value else ["false", "FALSE", "False"])[style]
    if value is None:
        return ["null", "NULL", "Null"][style]
    if isinstance(value, str):
        return double_quoted(value) if style == 1 else single_quoted(value)
    if isinstance(value, dict):
        opening, closing = ("[", "]") if style == 1 else ("array(", ")")
        comment = " /* ')' */ // ')\n # \"\n" if style == 2 else "\n"
        members = [f"{literal(key, style)} => {literal(member, style)}" for key, member in value.items()]
        return opening + comment + f",{comment}".join(members) + ("," if members and style else "") + closing
    return repr(value)
