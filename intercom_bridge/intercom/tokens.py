"""Split HTML into start tags, end tags and text, in linear time whatever the input is.

This follows the HTML standard's tokenizer (https://html.spec.whatwg.org/multipage/parsing.html) except for
malformed input in which a browser would hide words: a comment, tag, attribute or script that is never closed is text
here.

Why it is linear: each step consumes what it has scanned, or finds that the rest of the input contains no `>`,
quotation mark, `-->` or end tag of that name. The result is remembered, so the rest is searched only once for each of
these.
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
"""Elements whose content is not shown. Of them, only the start tag is returned."""

ATTRIBUTES: Final = (
    frozenset({"href", "src", "alt", "data", "start", "type", "reversed", "value"})
    # A mention in iTop
    | {"data-role", "data-object-class", "data-object-id"}
)
"""The attributes that are returned; the others are skipped."""

_TAG_NAME = re.compile(r"[a-zA-Z][^\s/>]*+")
_ATTRIBUTE = re.compile(r"[\s/]*+(?:([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:([\"'])|([^\s>]*+)))?+)?+")
_SELF_CLOSING: Final = frozenset({"svg", "math"})

# Python refuses to convert thousands of digits; no character has more than seven.
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
    """Return the text with its character references as characters, without control characters."""
    return clean_text(html.unescape(_LONG_REFERENCE.sub("\ufffd", text))) if "&" in text else text


class Tokenizer:
    """Iterate over the tokens of HTML. `position` is the index in `markup` behind the last token."""

    def __init__(self, markup: str) -> None:
        self.markup = markup
        self.position = 0
        self._last_index: dict[str, int] = {}
        self._never_closed: set[str] = set()

    def __iter__(self) -> Iterator[Token]:
        markup = self.markup
        text_start = 0
        bracket = markup.find("<")
        while bracket >= 0:
            token, end = self._tag(bracket)
            if end == bracket:  # not a tag: the "<" is text
                bracket = markup.find("<", bracket + 1)
                continue
            if bracket > text_start:
                self.position = bracket
                yield TextToken(unescape(markup[text_start:bracket]))
            is_incomplete = token is None and end == len(markup) and markup[bracket + 1].isalpha()
            if is_incomplete:  # a start tag at the end of the input is displayed as text
                text_start = bracket
                break
            text_start = self.position = end
            if token:
                yield token
            bracket = markup.find("<", end)
        self.position = len(markup)
        if text_start < len(markup):
            yield TextToken(unescape(markup[text_start:]))

    def _tag(self, start: int) -> tuple[StartTag | EndTag | None, int]:
        """Return the token that the "<" at `start` begins, and where it ends: at `start` if it is text.

        The token is None for a comment, and for a start tag that is incomplete at the end of the input.
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
            return None, start + 3
        name = _TAG_NAME.match(markup, start + 2)
        if not name:
            return None, start
        return EndTag(name.group().lower()), markup.index(">", name.end()) + 1

    def _end_of_comment(self, start: int) -> int:
        markup = self.markup
        if markup.startswith("<!--", start):
            if markup.startswith((">", "->"), start + 4):  # <!--> and <!---> are complete
                return markup.index(">", start) + 1
            return markup.index("-->", start + 4) + 3 if self._contains("-->", start + 4) else start
        # <!DOCTYPE>, <?xml ...>; "<!" and "<?" before anything else are text
        return markup.index(">", start) + 1 if markup[start + 2].isalpha() else start

    def _start_tag(self, name: str, position: int) -> tuple[StartTag | None, int]:
        markup = self.markup
        attributes: dict[str, str] = {}
        while (found := _ATTRIBUTE.match(markup, position)) and found.group(1) is not None:
            position = found.end()
            value = found.group(3) or ""
            # A quotation mark without a second one belongs to the next attribute's name, which does no harm.
            if (quote := found.group(2)) and self._contains(quote, position):
                end = markup.index(quote, position)
                value, position = markup[position:end], end + 1
            attribute = found.group(1).lower()
            if attribute in ATTRIBUTES and attribute not in attributes:
                attributes[attribute] = unescape(value)
        position = found.end() if found else position
        if position == len(markup):
            return None, position
        position += 1
        if name not in RAW_ELEMENTS or (name in _SELF_CLOSING and markup[position - 2] == "/"):
            return StartTag(name, attributes), position
        return self._raw_element(name, attributes, position)

    def _raw_element(self, name: str, attributes: dict[str, str], position: int) -> tuple[StartTag, int]:
        """Skip the element's content, if it is closed."""
        found = None
        if name not in self._never_closed:
            end_tag = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE | re.ASCII)
            found = end_tag.search(self.markup, position)
        if not found or not self._contains(">", found.end()):
            self._never_closed.add(name)
            return StartTag(name, attributes), position
        sources: tuple[str, ...] = ()
        if name in ("video", "audio"):
            content = Tokenizer(self.markup[position : found.start()])
            sources = tuple(
                token.attributes.get("src", "")
                for token in content
                if isinstance(token, StartTag) and token.name == "source"
            )
        return StartTag(name, attributes, sources), self.markup.index(">", found.end()) + 1

    def _contains(self, text: str, start: int) -> bool:
        """Return whether the text is found at or behind `start`."""
        if text not in self._last_index:
            self._last_index[text] = self.markup.rfind(text)
        return start <= self._last_index[text]
