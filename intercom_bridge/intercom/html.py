"""Convert message bodies from Intercom into HTML for iTop's logs and into plain text.

A body is HTML or plain text, and nothing in a payload says which: REST and notifications up to API 2.14 contain HTML,
notifications of 2.15 and later contain plain text. All callers use this one rule:

    A body is HTML only if, ignoring white space, it starts with one of the block tags that Intercom wraps everything
    in (p, div, h1-h6, ul, ol, pre, blockquote, table, figure, img) and ends with a closing tag or an image. Anything
    else is plain text.

So "2 < 3 and 5 > 4" and "<not a tag>" are text, and the log shows them as they were typed. A wrong decision for text
would show tags to a person; nothing is lost or executed in either case.

iTop removes tags that are not on its list together with their content. The HTML for the log therefore contains only
tags that iTop keeps, and the text of other tags is preserved. nh3 parses and filters the body; a renderer then writes
the resulting tree again, with every run of text in a block.
"""

from __future__ import annotations

import html
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final, TypeAlias

import nh3

from .text import clean_text, cut

HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
INLINE: Final = frozenset({"a", "b", "strong", "i", "em", "u", "code"})
VOID: Final = frozenset({"br", "hr", "img"})
LISTS: Final = frozenset({"ul", "ol"})
TABLE_SECTIONS: Final = frozenset({"thead", "tbody", "tfoot"})
KEPT_BLOCKS: Final = (
    HEADINGS | LISTS | TABLE_SECTIONS | {"p", "li", "table", "tr", "td", "th", "pre", "blockquote"}
)
# Parsed because they separate paragraphs. The output contains paragraphs instead.
CONTAINERS: Final = (
    frozenset({"div", "section", "article", "header", "footer", "main", "aside", "nav", "address", "center"})
    | {"figure", "figcaption", "caption", "dl", "dt", "dd", "fieldset", "details", "summary", "form"}
)  # fmt: skip
BLOCKS: Final = KEPT_BLOCKS | CONTAINERS | {"hr"}
DROPPED_WITH_CONTENT: Final = (
    frozenset({"script", "style", "iframe", "noscript", "noembed", "noframes", "template", "object", "embed"})
    | {"applet", "svg", "math", "title", "head"}
)  # fmt: skip

MAX_OUTPUT_DEPTH: Final = 40
"""Levels of nesting in the output; deeper content is moved up to the last level."""

MAX_PARSED_DEPTH: Final = 300
"""A deeper body is read as text: the parser's time grows with the square of the depth (16 000 lists take 7 s)."""

NO_BREAK_SPACE: Final = "\u00a0"

_SPACE: Final = " \t\r\n"
_INVISIBLE = re.compile("(?:<[^>]*>|[\\s\u00ad\u200b-\u200f\u2060\ufeff])*")
_STARTS_AS_HTML = re.compile(
    r"<(?:p|div|h[1-6]|ul|ol|pre|blockquote|table|figure|img)(?:[\s/][^>]*)?>", re.IGNORECASE
)
_ENDS_AS_HTML = re.compile(r"</[a-z][a-z0-9]*\s*>|<img[\s/][^<>]*>", re.IGNORECASE)
_LINK_URL = re.compile(r"(?:https?://|mailto:|tel:)[^\s]", re.IGNORECASE)
_IMAGE_URL = re.compile(r"https?://[^\s]", re.IGNORECASE)
_BARE_URL = re.compile('https?://[^\\s<>"\u200b-\u200f\u2060\ufeff]+', re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
# Tags that can be nested without limit. The others close themselves or have no content.
_NESTING_TAG = re.compile(
    r"<(/?)(?!(?:p|li|dt|dd|tr|td|th|thead|tbody|tfoot|option|br|hr|img|input|meta|link|col|wbr|area|base|source"
    r"|track|embed|param)[\s/>])[a-z]",
    re.IGNORECASE,
)


# --- Public functions ---


def to_log_html(body: str) -> str:
    """Return the body (HTML or plain text, see above) as HTML that iTop keeps, "" if nothing would be visible.

    The result contains p, h1-h6, ul, ol, li, table with its parts, pre, blockquote, b, strong, i, em, u, code, br, a
    with an http(s), mailto or tel address, and img with an http(s) address. It starts and ends with a block. Applied
    to its own result, the function changes nothing.
    """
    text = clean_text(body).strip()
    if not _is_html(text):
        return text_to_html(text)
    return "".join(_HtmlRenderer().blocks(_parse(text)))


def to_text(body: str) -> str:
    """Return the body (HTML or plain text) as plain text: paragraphs, list markers, links as `label (address)`."""
    text = clean_text(body).strip()
    if _is_html(text):
        text = "\n\n".join(_TextRenderer().blocks(_parse(text))).replace(NO_BREAK_SPACE, " ")
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def text_to_html(text: str) -> str:
    """Return plain text as HTML that looks the same, "" if nothing would be visible.

    Blank lines separate paragraphs, line ends become `<br>`, indentation is kept, http(s) addresses become links.
    """
    paragraphs = (
        "<br>".join(_line_to_html(line) for line in paragraph.split("\n"))
        for paragraph in _BLANK_LINES.split(clean_text(text).strip())
    )
    return "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if _is_visible(paragraph))


def first_line(text: str, limit: int) -> str:
    """Return the first visible line of plain text, in at most `limit` characters, cut at a word with `…`."""
    for line in clean_text(text).split("\n"):
        if _is_visible(html.escape(line)):
            return cut(" ".join(line.split()), limit)
    return ""


def _is_html(text: str) -> bool:
    # Only the last tag is examined: searching a long text full of "<" would take quadratic time.
    end = text[text.rfind("<") :] if text.endswith(">") else ""
    return bool(_ENDS_AS_HTML.fullmatch(end) and _STARTS_AS_HTML.match(text))


def _is_visible(markup: str) -> bool:
    """Return whether the HTML shows an image, or text other than white space and zero-width characters."""
    return "<img " in markup or not _INVISIBLE.fullmatch(markup)


# --- Plain text to HTML ---


def _line_to_html(line: str) -> str:
    pieces: list[str] = []
    end = 0
    line = line.expandtabs(4).rstrip()
    for found in _BARE_URL.finditer(line):
        url = _strip_punctuation(found.group())
        if url.endswith("//"):
            continue
        pieces.append(_words_to_html(line[end : found.start()], is_line_start=end == 0))
        pieces.append(f'<a href="{html.escape(url)}">{_escape(url)}</a>')
        end = found.start() + len(url)
    pieces.append(_words_to_html(line[end:], is_line_start=end == 0))
    return "".join(pieces)


def _words_to_html(words: str, *, is_line_start: bool) -> str:
    # HTML collapses spaces and drops them at the start of a line, which would lose the indentation of code.
    words = re.sub(" (?= )", NO_BREAK_SPACE, words)
    if is_line_start and words.startswith(" "):
        words = NO_BREAK_SPACE + words[1:]
    return _escape(words)


def _strip_punctuation(url: str) -> str:
    """Remove the punctuation of the sentence around a URL. A closing bracket is kept if the URL also opens it."""
    unmatched = {")": url.count(")") - url.count("("), "]": url.count("]") - url.count("[")}
    end = len(url)
    while end:
        last = url[end - 1]
        if unmatched.get(last, 0) > 0:
            unmatched[last] -= 1
        elif last not in ".,;:!?'*…»”’}":
            break
        end -= 1
    return url[:end]


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


# --- HTML to a tree ---


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Node] = field(default_factory=list)
    contains_block: bool = False

    @property
    def is_block(self) -> bool:
        return self.tag in BLOCKS or (self.contains_block and self.tag != "a")


_Node: TypeAlias = "_Element | str"
_Nodes: TypeAlias = Sequence[_Node]


def _parse(text: str) -> _Nodes:
    if _nesting_depth(text) > MAX_PARSED_DEPTH:
        return _flatten(text)
    clean = nh3.clean(
        text,
        tags=set(BLOCKS | INLINE | VOID),
        clean_content_tags=set(DROPPED_WITH_CONTENT),
        attributes={"a": {"href"}, "img": {"src", "alt"}},
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel=None,
    )
    builder = _TreeBuilder()
    builder.feed(clean_text(clean))  # a reference such as &#27; has become a character
    builder.close()
    return builder.root.children


def _nesting_depth(text: str) -> int:
    """Return how deeply the tags are nested, not counting tags that close themselves."""
    depth = deepest = 0
    for found in _NESTING_TAG.finditer(re.sub("<!--.*?-->", "", text, flags=re.DOTALL)):
        depth = max(depth - 1, 0) if found.group(1) else depth + 1
        deepest = max(deepest, depth)
    return deepest


def _flatten(text: str) -> _Nodes:
    """Return the text of an extremely nested body as paragraphs."""
    text = re.sub(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", "", text, flags=re.IGNORECASE | re.DOTALL)
    text = html.unescape(re.sub(r"<[^<>]*>", "\n", text))
    return [_Element("p", children=[line]) for line in clean_text(text).split("\n") if line.strip()]


class _TreeBuilder(HTMLParser):
    """Builds a tree from nh3's output, which is well-formed and contains known tags only."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = _Element("div")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = _Element(tag, {name: value or "" for name, value in attributes})
        if tag in BLOCKS:
            for ancestor in reversed(self.open):
                if ancestor.contains_block:
                    break
                ancestor.contains_block = True
        if tag in VOID:
            self.open[-1].children.append(element)
        elif len(self.open) < MAX_OUTPUT_DEPTH and not self._is_nested_link(tag):
            self.open[-1].children.append(element)
            self.open.append(element)
        else:
            # Too deep, or a link within a link (nh3 produces one from a select): the content goes to the enclosing
            # element, and the end tag only closes this entry.
            self.open.append(self.open[-1])

    def _is_nested_link(self, tag: str) -> bool:
        return tag == "a" and any(element.tag == "a" for element in self.open)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and len(self.open) > 1:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def _list_items(node: _Element) -> Sequence[_Nodes]:
    """Return the content of each list item. A list directly within a list belongs to the item before it."""
    items: list[list[_Node]] = []
    for child in node.children:
        if isinstance(child, _Element) and child.tag == "li":
            items.append(list(child.children))
        elif isinstance(child, _Element) and child.tag in LISTS and items:
            items[-1].append(child)
        elif isinstance(child, _Element) or child.strip():
            items.append([child])
    return items


def _allowed_url(value: str, pattern: re.Pattern[str]) -> str:
    """Return the URL as a browser reads it, "" if it is not allowed (another scheme, or relative)."""
    value = re.sub(r"[\t\n]", "", clean_text(value)).strip()
    return re.sub(r"\s", "%20", value) if pattern.match(value) else ""


def _image(node: _Element) -> tuple[str, str]:
    """Return the image's URL ("" if it is not allowed) and its description."""
    return _allowed_url(node.attributes.get("src", ""), _IMAGE_URL), node.attributes.get("alt", "").strip()


# --- The tree to HTML or text ---


class _Renderer(ABC):
    """Renders a tree as a list of blocks, all of them visible. Subclasses define the format of each tag."""

    block_renderers: dict[str, Callable[[_Element], list[str]]]
    """By tag. Of a block without an entry, only the content is rendered."""

    def blocks(self, nodes: _Nodes) -> list[str]:
        """Return the blocks. Text outside of blocks becomes a paragraph."""
        blocks: list[str] = []
        run: list[str] = []
        for node in nodes:
            if isinstance(node, _Element) and node.is_block:
                render = self.block_renderers.get(node.tag)
                content = render(node) if render else self.blocks(node.children)
                blocks += [self.paragraph("".join(run)), *content]
                run = []
            else:
                run.append(self.inline(node))
        blocks.append(self.paragraph("".join(run)))
        return [block for block in blocks if block]

    @abstractmethod
    def paragraph(self, run: str) -> str:
        """Return inline content as a block, "" if nothing of it is visible."""

    @abstractmethod
    def inline(self, node: _Node) -> str:
        """Return the node as inline content."""


class _HtmlRenderer(_Renderer):
    def __init__(self) -> None:
        self.block_renderers = {
            **dict.fromkeys(HEADINGS, self._heading),
            **dict.fromkeys(LISTS, self._list),
            "li": self._single_item,
            "pre": self._preformatted,
            "blockquote": self._quote,
            "table": self._table,
        }

    def paragraph(self, run: str) -> str:
        return "".join(_visible_element("p", _trim(run)))

    def inline(self, node: _Node) -> str:
        if isinstance(node, str):
            return _escape(node)
        if node.tag == "br":
            return "<br>"
        if node.tag == "img":
            return self._image(node)
        content = self._run(node.children)
        if node.tag not in INLINE or not _is_visible(content):
            return content
        if node.tag != "a":
            return f"<{node.tag}>{content}</{node.tag}>"
        url = _allowed_url(node.attributes.get("href", ""), _LINK_URL)
        return f'<a href="{html.escape(url)}">{content}</a>' if url else content

    def _image(self, node: _Element) -> str:
        url, description = _image(node)
        if not url:
            return _escape(description)
        alt = f' alt="{html.escape(description)}"' if description else ""
        return f'<img src="{html.escape(url)}"{alt}>'

    def _run(self, nodes: _Nodes) -> str:
        """Return inline content. A block in it, where none is allowed, gets lines of its own."""
        pieces: list[str] = []
        is_line_open = needs_break = False
        for node in nodes:
            is_block = isinstance(node, _Element) and node.tag in BLOCKS
            if isinstance(node, _Element) and is_block:
                piece = _trim(self._run(node.children))
            else:
                piece = self.inline(node)
            if _is_visible(piece):
                if needs_break or (is_block and is_line_open):
                    pieces.append("<br>")
                is_line_open, needs_break = True, is_block
            elif is_block:
                continue
            pieces.append(piece)
        return "".join(pieces)

    def _heading(self, node: _Element) -> list[str]:
        return _visible_element(node.tag, _trim(self._run(node.children)))

    def _preformatted(self, node: _Element) -> list[str]:
        content = "".join(self.inline(child) for child in node.children)
        return _visible_element("pre", content.strip("\n"))

    def _quote(self, node: _Element) -> list[str]:
        return _visible_element("blockquote", "".join(self.blocks(node.children)))

    def _list(self, node: _Element) -> list[str]:
        items = (_visible_element("li", self._item(item)) for item in _list_items(node))
        return _visible_element(node.tag, "".join(itertools.chain.from_iterable(items)))

    def _single_item(self, node: _Element) -> list[str]:
        return _visible_element("ul", "".join(_visible_element("li", self._item(node.children))))

    def _item(self, nodes: _Nodes) -> str:
        """Return the content of a list item or a table cell, where a single paragraph needs no tag."""
        blocks = self.blocks(nodes)
        is_list = [block.startswith(("<ul>", "<ol>")) for block in blocks]
        if blocks and blocks[0].startswith("<p>") and all(is_list[1:]):
            blocks[0] = blocks[0].removeprefix("<p>").removesuffix("</p>")
        return "".join(blocks)

    def _table(self, node: _Element) -> list[str]:
        before: list[str] = []
        sections: list[str] = []
        for child in node.children:
            if isinstance(child, _Element) and child.tag in TABLE_SECTIONS:
                tag = "thead" if child.tag == "thead" else "tbody"
                rows = "".join(map(self._row, child.children))
                sections.append(f"<{tag}>{rows}</{tag}>" if rows else "")
            else:
                before += self.blocks([child])
        return [*before, *_visible_element("table", "".join(sections))]

    def _row(self, row: _Node) -> str:
        children: _Nodes = row.children if isinstance(row, _Element) and row.tag == "tr" else [row]
        cells: list[str] = []
        for cell in children:
            if isinstance(cell, _Element) and cell.tag in ("td", "th"):
                cells.append(f"<{cell.tag}>{self._item(cell.children)}</{cell.tag}>")
            elif content := self._item([cell]):  # only below the maximum depth
                cells.append(f"<td>{content}</td>")
        return f"<tr>{''.join(cells)}</tr>" if cells else ""


def _visible_element(tag: str, content: str) -> list[str]:
    """Return the content within the tag as the only entry of a list, which is empty if nothing is visible."""
    return [f"<{tag}>{content}</{tag}>"] if _is_visible(content) else []


def _trim(markup: str) -> str:
    """Remove white space and line breaks at both ends. A no-break space is intended and stays."""
    lines = markup.split("<br>")
    filled = [index for index, line in enumerate(lines) if line.strip(_SPACE)]
    return "<br>".join(lines[filled[0] : filled[-1] + 1]).strip(_SPACE) if filled else ""


class _TextRenderer(_Renderer):
    def __init__(self) -> None:
        self.block_renderers = {
            **dict.fromkeys(LISTS, self._list),
            "li": self._single_item,
            "pre": self._preformatted,
            "blockquote": self._quote,
            **dict.fromkeys(TABLE_SECTIONS | {"table"}, self._table),
            "tr": self._row,
        }

    def paragraph(self, run: str) -> str:
        text = _strip_lines(run)
        return text if _is_visible(html.escape(text)) else ""

    def inline(self, node: _Node, *, is_preformatted: bool = False) -> str:
        if isinstance(node, str):
            return node if is_preformatted else re.sub(f"[{_SPACE}]+", " ", node)
        if node.tag == "br":
            return "\n"
        if node.tag == "img":
            url, description = _image(node)
            return f"{description} ({url})" if description and url else description or url
        text = "".join(self.inline(child, is_preformatted=is_preformatted) for child in node.children)
        if node.tag in BLOCKS:
            return f"\n{text}\n"
        return _link_text(node, text) if node.tag == "a" else text

    def _preformatted(self, node: _Element) -> list[str]:
        text = "".join(self.inline(child, is_preformatted=True) for child in node.children).strip("\n")
        return [text] if text.strip() else []

    def _quote(self, node: _Element) -> list[str]:
        text = "\n\n".join(self.blocks(node.children))
        return ["> " + text.replace("\n", "\n> ")] if text else []

    def _list(self, node: _Element) -> list[str]:
        items = [text for item in _list_items(node) if (text := self._item(item))]
        is_numbered = node.tag == "ol"
        bullets = [f"{number}. " if is_numbered else "- " for number in range(1, len(items) + 1)]
        return ["\n".join(map(_indent, bullets, items))]

    def _single_item(self, node: _Element) -> list[str]:
        text = self._item(node.children)
        return [_indent("- ", text)] if text else []

    def _item(self, nodes: _Nodes) -> str:
        return "\n".join(self.blocks(nodes))

    def _table(self, node: _Element) -> list[str]:
        return ["\n".join(block for child in node.children for block in self.blocks([child]))]

    def _row(self, node: _Element) -> list[str]:
        cells = (child for child in node.children if isinstance(child, _Element) or child.strip())
        text = " | ".join(self._item([cell]).replace("\n", " ") for cell in cells)
        return [text] if text.strip(" |") else []


def _link_text(node: _Element, text: str) -> str:
    url, label = _allowed_url(node.attributes.get("href", ""), _LINK_URL), _strip_lines(text)
    if not url or not label or label in (url, url.removeprefix("mailto:"), url.removeprefix("tel:")):
        return text
    return f"{label} ({url})"


def _indent(bullet: str, text: str) -> str:
    return bullet + text.replace("\n", "\n" + " " * len(bullet))


def _strip_lines(text: str) -> str:
    """Remove the spaces around line ends, which HTML does not show."""
    return "\n".join(line.strip(_SPACE) for line in text.split("\n")).strip("\n")
