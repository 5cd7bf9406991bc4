"""Build a tree of the elements that matter from HTML, in linear time whatever the input is.

A browser's tree builder (https://html.spec.whatwg.org/multipage/parsing.html#tree-construction) takes quadratic time
for some inputs, and builds deep trees. This one builds the same tree for common HTML and a plausible one for the rest:

- Formatting (b, i, ...) is not on the stack of open elements. It is a state that is applied to text as it arrives.
  So end tags may come in any order, and formatting continues in the next block.
- At most MAX_DEPTH elements are open. Further start tags only separate the content before them from that after them.
- After MAX_TAGS tags or MAX_LENGTH characters, the rest is read as plain text: each piece becomes a paragraph.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from .tokens import StartTag, TextToken, Tokenizer, unescape

HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
FORMATTING: Final = (
    frozenset({"b", "strong", "i", "em", "u", "code"})
    | {"s", "del", "ins", "q", "small", "kbd", "cite"}
)  # fmt: skip
INLINE: Final = FORMATTING | {"a"}
MEDIA: Final = frozenset({"img", "video", "audio", "iframe", "object", "embed"})
VOID: Final = MEDIA | {"br", "hr"}
LISTS: Final = frozenset({"ul", "ol"})
TABLE_SECTIONS: Final = frozenset({"thead", "tbody", "tfoot"})
CELLS: Final = frozenset({"td", "th"})
BLOCKS: Final = (
    (HEADINGS | LISTS | TABLE_SECTIONS | CELLS | {"p", "li", "table", "tr", "pre", "blockquote", "hr"})
    # Parsed because they separate paragraphs. The output contains paragraphs instead.
    | {"div", "section", "article", "header", "footer", "main", "aside", "nav", "address", "center"}
    | {"figure", "figcaption", "caption", "dl", "dt", "dd", "fieldset", "details", "summary", "form"}
)

MAX_DEPTH: Final = 40
"""Blocks and links that may be open at once. A renderer copies their content once for each level."""

MAX_FORMATTING: Final = 5
"""Kinds of formatting that are applied at once. The tree repeats them in each block that they extend over."""

MAX_TAGS: Final = 20_000

MAX_LENGTH: Final = 200_000
"""Characters of HTML that are parsed. Nobody writes a longer message."""

# Tags that iTop removes, and the tags of the same meaning that it keeps.
_SYNONYMS: Final = {"strike": "s", "tt": "code", "samp": "code", "dir": "ul", "menu": "ul", "image": "img"}
# The search for the element that an end tag closes does not go beyond these elements. For other end tags: CELLS.
_SCOPES: Final = {
    "li": LISTS | CELLS,
    "table": frozenset[str](),
    **dict.fromkeys(CELLS | TABLE_SECTIONS | {"tr"}, frozenset({"table"})),
}
# Each of these start tags first closes an open element of the given names. The search stops at _LIST_SCOPE.
_CLOSED_BY: Final = {"li": frozenset({"li"}), "dt": frozenset({"dt", "dd"}), "dd": frozenset({"dt", "dd"})}
_LIST_SCOPE: Final = LISTS | CELLS | {"table", "blockquote", "dl"}
_TABLE_PARTS: Final = TABLE_SECTIONS | CELLS | {"tr"}
# The elements that may contain each part of a table. Other elements are closed before the part begins.
_PARENTS: Final = {
    **dict.fromkeys(TABLE_SECTIONS, frozenset({"table"})),
    "tr": TABLE_SECTIONS | {"table"},
    **dict.fromkeys(CELLS, TABLE_SECTIONS | {"table", "tr"}),
}
_KNOWN: Final = BLOCKS | INLINE | VOID
_TAG = re.compile(r"<[^<>]*+>")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    @property
    def is_block(self) -> bool:
        return self.tag in BLOCKS


Node: TypeAlias = "Element | str"
Nodes: TypeAlias = Sequence[Node]


def parse(markup: str) -> Nodes:
    """Return the top-level nodes of the tree."""
    tokens = Tokenizer(markup[: _end_of_parsed(markup)])
    builder = _TreeBuilder()
    tag_count = 0
    for token in tokens:
        if isinstance(token, TextToken):
            builder.text(token.text)
            continue
        if isinstance(token, StartTag):
            builder.start(token)
        else:
            builder.end(token.name)
        tag_count += 1
        if tag_count == MAX_TAGS:
            break
    builder.flush()
    return [*builder.root.children, *_flatten(markup[tokens.position :])]


def _end_of_parsed(markup: str) -> int:
    """Return the index at which the parsed part ends: MAX_LENGTH, or a little before if that is in a tag or word."""
    if len(markup) <= MAX_LENGTH:
        return len(markup)
    last_start, last_end = markup.rfind("<", 0, MAX_LENGTH), markup.rfind(">", 0, MAX_LENGTH)
    if last_start > last_end:
        return last_start
    last_space = markup.rfind(" ", 0, MAX_LENGTH)
    return max(last_end, last_space) + 1


def _flatten(markup: str) -> Nodes:
    """Return the text of HTML as paragraphs, one for each line and each piece between tags."""
    lines = unescape(_TAG.sub("\n", markup)).split("\n")
    return [Element("p", children=[line]) for line in lines if line.strip()]


@dataclass
class _Open:
    """An open block or link."""

    element: Element
    inherited: tuple[str, ...] = ()
    """If this is a link or is within one: the formatting around the link, which is not repeated in the element."""

    inline: list[Element] = field(default_factory=list)
    """The open formatting elements in this element, outermost first. Text is added to the last one."""

    outer_formatting: tuple[list[str], Counter[str]] | None = None
    """For a table cell: the builder's formatting before the cell, which is restored when the cell ends."""


class _TreeBuilder:
    def __init__(self) -> None:
        self.root = Element("div")
        self._open = [_Open(self.root)]
        # How many start tags of each name were ignored below MAX_DEPTH. Their end tags are ignored, too.
        self._ignored: Counter[str] = Counter()
        # The formatting that is applied, and how many tags of each kind are open.
        self._formatting: list[str] = []
        self._formatting_depth: Counter[str] = Counter()
        self._text: list[str] = []

    def text(self, text: str) -> None:
        self._text.append(text)

    def flush(self) -> None:
        """Add the collected text as one string, even if unknown tags divide it."""
        if self._text:
            text, self._text = "".join(self._text), []
            self._add_inline(text)

    def start(self, tag: StartTag) -> None:
        name = _SYNONYMS.get(tag.name, tag.name)
        if name not in _KNOWN:
            return
        self.flush()
        if name in FORMATTING:
            self._formatting_depth[name] += 1
            if self._formatting_depth[name] == 1 and len(self._formatting) < MAX_FORMATTING:
                self._formatting.append(name)
        elif name in VOID:
            self._add_void(name, tag)
        elif name == "a":
            # Links cannot be nested: a new link ends the one before it.
            self._close(frozenset({"a"}), CELLS)
            self._push(Element("a", tag.attributes), is_inline=True)
        else:
            self._start_block(Element(name, tag.attributes))

    def end(self, name: str) -> None:
        name = _SYNONYMS.get(name, name)
        if name not in _KNOWN:
            return
        self.flush()
        if name in FORMATTING:
            self._end_formatting(name)
        elif name == "br":
            # A browser reads </br> as <br>.
            self._add_inline(Element("br"))
        elif self._ignored[name]:
            self._ignored[name] -= 1
            self._separate()
        else:
            # As in a browser, the end tag of any heading closes an open heading.
            names = HEADINGS if name in HEADINGS else frozenset({name})
            is_closed = self._close(names, _SCOPES.get(name, CELLS))
            if not is_closed and name != "a":
                self._separate()

    def _end_formatting(self, name: str) -> None:
        if not self._formatting_depth[name]:
            return
        self._formatting_depth[name] -= 1
        if not self._formatting_depth[name] and name in self._formatting:
            self._formatting.remove(name)

    def _add_void(self, name: str, tag: StartTag) -> None:
        """Add an element without content."""
        if name == "hr":
            self._close_paragraph()
            self._open[-1].element.children.append(Element("hr"))
            return
        # An `object` has its URL in `data`. A `video` or `audio` may have it in `source` elements.
        urls = [tag.attributes.get("src"), tag.attributes.get("data"), *tag.sources]
        src = next((url for url in urls if url), "")
        self._add_inline(Element(name, {**tag.attributes, "src": src}))

    def _add_inline(self, node: Node) -> None:
        """Add text or an inline element in the current formatting. Continue the open formatting elements that match."""
        current = self._open[-1]
        wanted = [name for name in self._formatting if name not in current.inherited]
        matching = 0
        for element, name in zip(current.inline, wanted, strict=False):
            if element.tag != name:
                break
            matching += 1
        del current.inline[matching:]
        for name in wanted[matching:]:
            element = Element(name)
            self._innermost(current).children.append(element)
            current.inline.append(element)
        self._innermost(current).children.append(node)

    @staticmethod
    def _innermost(current: _Open) -> Element:
        return current.inline[-1] if current.inline else current.element

    def _start_block(self, element: Element) -> None:
        name = element.tag
        if name in _TABLE_PARTS:
            if not self._prepare_table_part(name):
                self._separate()
                return
        else:
            self._close_paragraph()
            if name in HEADINGS and self._open[-1].element.tag in HEADINGS:
                self._pop()
            if name in _CLOSED_BY:
                self._close(_CLOSED_BY[name], _LIST_SCOPE)
        self._push(element)

    def _close_paragraph(self) -> None:
        """Close an open paragraph before a block begins. A link in it that has content is closed, too.

        A link without content stays open, with its paragraph: the block becomes the link's content.
        """
        link = self._open[-1].element
        if link.tag == "a" and self._open[-2].element.tag == "p" and any(map(_is_content, link.children)):
            self._pop()
        if self._open[-1].element.tag == "p":
            self._pop()

    def _prepare_table_part(self, name: str) -> bool:
        """Close and open elements so that a part of a table can begin. Return False outside of a table."""
        if all(entry.element.tag != "table" for entry in self._open):
            return False
        while self._open[-1].element.tag not in _PARENTS[name]:
            self._pop()
        if name not in TABLE_SECTIONS and self._open[-1].element.tag == "table":
            self._push(Element("tbody"))
        if name in CELLS and self._open[-1].element.tag != "tr":
            self._push(Element("tr"))
        return True

    def _push(self, element: Element, *, is_inline: bool = False) -> None:
        """Add the element to the tree and open it. At MAX_DEPTH, ignore it and only separate the content."""
        if len(self._open) > MAX_DEPTH:
            self._ignored[element.tag] += 1
            if not is_inline:
                self._separate()
            return
        current = self._open[-1]
        inherited = current.inherited
        if is_inline:
            self._add_inline(element)
            inherited = (*inherited, *self._formatting)
        else:
            current.inline.clear()
            current.element.children.append(element)
        entry = _Open(element, inherited)
        if element.tag in CELLS:
            entry.outer_formatting = self._formatting, self._formatting_depth
            self._formatting, self._formatting_depth = [], Counter()
        self._open.append(entry)

    def _pop(self) -> None:
        entry = self._open.pop()
        if entry.outer_formatting:
            self._formatting, self._formatting_depth = entry.outer_formatting

    def _close(self, names: frozenset[str], scope: frozenset[str]) -> bool:
        """Close the innermost open element of these names, and the elements in it. Return False if there is none.

        The search stops at an element whose name is in `scope`.
        """
        for position in range(len(self._open) - 1, 0, -1):
            name = self._open[position].element.tag
            if name in names:
                while len(self._open) > position:
                    self._pop()
                return True
            if name in scope:
                return False
        return False

    def _separate(self) -> None:
        """Separate the content before this point from the content after it, as a block between them would."""
        current = self._open[-1]
        current.inline.clear()
        if current.element.children:
            current.element.children.append(Element("p"))


def _is_content(node: Node) -> bool:
    return isinstance(node, Element) or bool(node.strip())
