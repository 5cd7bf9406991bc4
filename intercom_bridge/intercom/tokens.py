"""Split HTML into start tags, end tags and text, in linear time whatever the input is.

This follows the HTML standard's tokenizer (https://html.spec.whatwg.org/multipage/parsing.html), with one exception: a
comment, tag, attribute or script that is never closed is text here. A browser would hide its words.

Why it is linear: each step consumes what it has scanned, or fails to find the end of a construct (`>`, a quotation
mark, `-->`, an end tag). Each of these searches fails only once, because the result is remembered.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from .text import clean_text

RAW_ELEMENTS: Final = (
    frozenset({"script", "style", "iframe", "noscript", "noembed", "noframes", "template", "object"})
    | {"applet", "svg", "math", "title", "head", "video", "audio"}
)  # fmt: skip
"""Elements whose content is not shown. The tokenizer skips the content and the end tag."""

ATTRIBUTES: Final = (
    frozenset({"href", "src", "alt", "data", "start", "type", "reversed", "value"})
    # Of a mention in iTop.
    | {"data-role", "data-object-class", "data-object-id"}
)
"""The attributes that are returned. Others are left out."""

_TAG_NAME = re.compile(r"[a-zA-Z][^\s/>]*+")
# White space and slashes, and then perhaps an attribute: with a quoted value, an unquoted one or none.
_ATTRIBUTE = re.compile(
    r"[\s/]*+(?:(?P<name>[^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:(?P<quote>[\"'])|(?P<unquoted>[^\s>]*+)))?+)?+"
)
_SELF_CLOSING: Final = frozenset({"svg", "math"})

# The reference of a character has at most seven digits. Python refuses to convert thousands of them.
_LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{20,}+;?")


@dataclass(frozen=True)
class StartTag:
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    """The addresses of the `source` elements within a `video` or `audio` element."""


@dataclass(frozen=True)
class EndTag:
    name: str


@dataclass(frozen=True)
class TextToken:
    text: str


Token: TypeAlias = StartTag | EndTag | TextToken


def unescape(text: str) -> str:
    """Return the text with its character references replaced by characters, but no control characters."""
    return clean_text(html.unescape(_LONG_REFERENCE.sub("\ufffd", text))) if "&" in text else text


class Tokenizer:
    """Iterate over the tokens of HTML. `position` is the index in `markup` after the last token."""

    def __init__(self, markup: str) -> None:
        self.markup = markup
        self.position = 0
        # A cache of `_contains`: text -> its last index in `markup`, or -1. It saves a search at every tag.
        self._last_index: dict[str, int] = {}
        # The names of raw elements that have no end tag in the rest of `markup`.
        self._never_closed: set[str] = set()

    def __iter__(self) -> Iterator[Token]:
        markup = self.markup
        text_start = 0
        bracket = markup.find("<")
        while bracket >= 0:
            token, end = self._tag(bracket)
            if end == bracket:  # the "<" is text
                bracket = markup.find("<", bracket + 1)
                continue
            if bracket > text_start:
                self.position = bracket
                yield TextToken(unescape(markup[text_start:bracket]))
            is_incomplete_start_tag = token is None and end == len(markup) and markup[bracket + 1].isalpha()
            if is_incomplete_start_tag:
                text_start = bracket  # it is returned as text, below
                break
            text_start = self.position = end
            if token:
                yield token
            bracket = markup.find("<", end)
        self.position = len(markup)
        if text_start < len(markup):
            yield TextToken(unescape(markup[text_start:]))

    def _tag(self, start: int) -> tuple[StartTag | EndTag | None, int]:
        """Return the token that the "<" at `start` begins, and the index after it.

        If the "<" is text, the index is `start`. The token is None for text, for a comment, and for an incomplete start
        tag at the end of the input.
        """
        markup = self.markup
        following = markup[start + 1 : start + 2]
        if not self._contains(">", start):
            return None, start
        if following == "/":
            return self._end_tag(start)
        if following in ("!", "?"):
            return None, self._end_of_comment(start)
        name = _TAG_NAME.match(markup, start + 1)
        return self._start_tag(name.group().lower(), name.end()) if name else (None, start)

    def _end_tag(self, start: int) -> tuple[EndTag | None, int]:
        markup = self.markup
        if markup.startswith(">", start + 2):
            return None, start + 3  # "</>" is ignored, like a comment
        name = _TAG_NAME.match(markup, start + 2)
        if not name:
            return None, start
        return EndTag(name.group().lower()), markup.index(">", name.end()) + 1

    def _end_of_comment(self, start: int) -> int:
        """Return the index after the comment or declaration that begins at `start`, or `start` if that is text."""
        markup = self.markup
        if markup.startswith("<!--", start):
            if markup.startswith((">", "->"), start + 4):  # <!--> and <!---> are complete
                return markup.index(">", start) + 1
            return markup.index("-->", start + 4) + 3 if self._contains("-->", start + 4) else start
        # A declaration such as <!DOCTYPE> or <?xml ...> has a letter here.
        return markup.index(">", start) + 1 if markup[start + 2].isalpha() else start

    def _start_tag(self, name: str, position: int) -> tuple[StartTag | None, int]:
        """Return the start tag, None if it is incomplete, and the index after it. `position` is the end of its name."""
        markup = self.markup
        attributes: dict[str, str] = {}
        while (match := _ATTRIBUTE.match(markup, position)) and match["name"] is not None:
            position = match.end()
            value = match["unquoted"] or ""
            # Without a closing quotation mark, the value is "", and attributes may follow directly after the mark.
            quote = match["quote"]
            if quote and self._contains(quote, position):
                end = markup.index(quote, position)
                value, position = markup[position:end], end + 1
            attribute = match["name"].lower()
            if attribute in ATTRIBUTES and attribute not in attributes:
                attributes[attribute] = unescape(value)
        bracket = match.end() if match else position
        if bracket == len(markup):
            return None, bracket
        is_closed = name in _SELF_CLOSING and markup[bracket - 1] == "/"
        if name in RAW_ELEMENTS and not is_closed:
            return self._raw_element(name, attributes, bracket + 1)
        return StartTag(name, attributes), bracket + 1

    def _raw_element(self, name: str, attributes: dict[str, str], position: int) -> tuple[StartTag, int]:
        """Return the start tag and the index after the element. Without an end tag, this is `position`."""
        end_tag = None
        if name not in self._never_closed:
            pattern = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE | re.ASCII)
            end_tag = pattern.search(self.markup, position)
        if not end_tag or not self._contains(">", end_tag.end()):
            self._never_closed.add(name)
            return StartTag(name, attributes), position
        sources: tuple[str, ...] = ()
        if name in ("video", "audio"):
            content = Tokenizer(self.markup[position : end_tag.start()])
            sources = tuple(
                token.attributes.get("src", "")
                for token in content
                if isinstance(token, StartTag) and token.name == "source"
            )
        return StartTag(name, attributes, sources), self.markup.index(">", end_tag.end()) + 1

    def _contains(self, text: str, start: int) -> bool:
        """Return whether the text occurs at or after `start`."""
        if text not in self._last_index:
            self._last_index[text] = self.markup.rfind(text)
        return start <= self._last_index[text]
