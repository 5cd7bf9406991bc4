"""Bodies of messages: what Intercom writes, made fit for iTop's logs, for titles and for the panel.

A body is HTML or plain text, and nothing in a payload says which: REST and notifications up to API 2.14 hold HTML,
notifications of 2.15 and later hold plain text. The one rule, kept here for all callers:

    A body is HTML only if, white space aside, it starts with one of the block tags that Intercom wraps everything in
    (p, div, h1-h6, ul, ol, pre, blockquote, table, figure, img) and ends with a closing tag or an image. Anything
    else is plain text.

So "2 < 3 and 5 > 4" and "<not a tag>" are text, and reach the log as they read. Getting it wrong the other way would
show tags to a person; nothing is lost or executed either way.

iTop removes what is not on its list together with its content (facts/itop-rest: "HTML passes a whitelist"), so what
is sent holds only tags that it keeps, and what stood in others is kept where it is text. nh3 parses and filters; a
small tree of what is left is then written anew, in which every run of text stands in a block.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

import nh3

from .text import clean_text, cut

HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
INLINE: Final = frozenset({"a", "b", "strong", "i", "em", "u", "code"})
VOID: Final = frozenset({"br", "hr", "img"})
LISTS: Final = frozenset({"ul", "ol"})
ROWS: Final = frozenset({"thead", "tbody", "tfoot"})
KEPT_BLOCKS: Final = HEADINGS | LISTS | ROWS | {"p", "li", "table", "tr", "td", "th", "pre", "blockquote"}
# Read, so that the paragraphs they make are seen, and then replaced by paragraphs.
BOXES: Final = (
    frozenset({"div", "section", "article", "header", "footer", "main", "aside", "nav", "address", "center"})
    | {"figure", "figcaption", "caption", "dl", "dt", "dd", "fieldset", "details", "summary", "form"}
)  # fmt: skip
BLOCKS: Final = KEPT_BLOCKS | BOXES | {"hr"}
DROPPED_WITH_CONTENT: Final = (
    frozenset({"script", "style", "iframe", "noscript", "noembed", "noframes", "template", "object", "embed"})
    | {"applet", "svg", "math", "title", "head"}
)  # fmt: skip

DEEPEST: Final = 40
"""Levels of the tree that is written; what is nested deeper is put on the last of them."""

TOO_DEEP: Final = 300
"""Levels after which a body is read as text: the parser's time grows with their square (16 000 lists take 7 s)."""

NO_BREAK_SPACE: Final = "\u00a0"

_SPACE: Final = " \t\r\n"
_INVISIBLE = re.compile("(?:<[^>]*>|[\\s\u00ad\u200b-\u200f\u2060\ufeff])*")
_STARTS_AS_HTML = re.compile(
    r"<(?:p|div|h[1-6]|ul|ol|pre|blockquote|table|figure|img)(?:[\s/][^>]*)?>", re.IGNORECASE
)
_ENDS_AS_HTML = re.compile(r"</[a-z][a-z0-9]*\s*>|<img[\s/][^<>]*>", re.IGNORECASE)
_LINKABLE = re.compile(r"(?:https?://|mailto:|tel:)[^\s]", re.IGNORECASE)
_IMAGE = re.compile(r"https?://[^\s]", re.IGNORECASE)
_URL = re.compile('https?://[^\\s<>"\u200b-\u200f\u2060\ufeff]+', re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
# Tags that can be nested without end; the others close themselves or hold nothing.
_NESTING_TAG = re.compile(
    r"<(/?)(?!(?:p|li|dt|dd|tr|td|th|thead|tbody|tfoot|option|br|hr|img|input|meta|link|col|wbr|area|base|source"
    r"|track|embed|param)[\s/>])[a-z]",
    re.IGNORECASE,
)


# --- What others call ---


def to_log_html(body: str) -> str:
    """The body (HTML or plain text, see above) as HTML that iTop keeps; "" when nothing would be seen of it.

    The answer holds p, h1-h6, ul, ol, li, table with its parts, pre, blockquote, b, strong, i, em, u, code, br, a
    with an http(s), mailto or tel address and img with an http(s) one. It starts and ends with a block; given to
    this function again it stays as it is.
    """
    text = clean_text(body).strip()
    if not _is_html(text):
        return text_to_html(text)
    return "".join(_write_blocks(_tree(text)))


def to_text(body: str) -> str:
    """The body (HTML or plain text) as plain text: paragraphs, list marks, links as `label (address)`."""
    text = clean_text(body).strip()
    if _is_html(text):
        text = "\n\n".join(_say_blocks(_tree(text))).replace(NO_BREAK_SPACE, " ")
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def text_to_html(text: str) -> str:
    """Plain text as HTML that reads the same: "" when nothing would be seen of it.

    Blank lines make paragraphs, line ends `<br>`; indentation stays; http(s) addresses become links.
    """
    paragraphs = (
        "<br>".join(_write_line(line) for line in paragraph.split("\n"))
        for paragraph in _BLANK_LINES.split(clean_text(text).strip())
    )
    return "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if _is_seen(paragraph))


def first_line(text: str, limit: int) -> str:
    """The first line of plain text that says something, in at most `limit` characters, cut at a word with `…`."""
    for line in clean_text(text).split("\n"):
        if _is_seen(html.escape(line)):
            return cut(" ".join(line.split()), limit)
    return ""


def _is_html(text: str) -> bool:
    # Looked for at the end only: a search through a long text full of "<" would take its square.
    end = text[text.rfind("<") :] if text.endswith(">") else ""
    return bool(_ENDS_AS_HTML.fullmatch(end) and _STARTS_AS_HTML.match(text))


def _is_seen(written: str) -> bool:
    """Whether the HTML shows anything: an image, or text other than white space and zero-width characters."""
    return "<img " in written or not _INVISIBLE.fullmatch(written)


# --- Plain text ---


def _write_line(line: str) -> str:
    pieces: list[str] = []
    end = 0
    line = line.expandtabs(4).rstrip()
    for found in _URL.finditer(line):
        url = _without_closing_marks(found.group())
        if url.endswith("//"):
            continue
        pieces.append(_write_words(line[end : found.start()], at_start=end == 0))
        pieces.append(f'<a href="{html.escape(url)}">{html.escape(url, quote=False)}</a>')
        end = found.start() + len(url)
    pieces.append(_write_words(line[end:], at_start=end == 0))
    return "".join(pieces)


def _write_words(words: str, *, at_start: bool) -> str:
    # HTML shows several spaces as one, and none at the start of a line: code would lose its indentation.
    words = re.sub(" (?= )", NO_BREAK_SPACE, words)
    if at_start and words.startswith(" "):
        words = NO_BREAK_SPACE + words[1:]
    return html.escape(words, quote=False)


def _without_closing_marks(url: str) -> str:
    """The address without the punctuation of the sentence around it; a bracket is part of it if it opens there."""
    spare = {")": url.count(")") - url.count("("), "]": url.count("]") - url.count("[")}
    end = len(url)
    while end:
        last = url[end - 1]
        if spare.get(last, 0) > 0:
            spare[last] -= 1
        elif last not in ".,;:!?'*…»”’}":
            break
        end -= 1
    return url[:end]


# --- The tree of what nh3 lets through ---


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Element | str] = field(default_factory=list)
    holds_block: bool = False


_Nodes = Sequence[_Element | str]


def _tree(text: str) -> _Nodes:
    if _depth(text) > TOO_DEEP:
        return _flattened(text)
    clean = nh3.clean(
        text,
        tags=set(BLOCKS | INLINE | VOID),
        clean_content_tags=set(DROPPED_WITH_CONTENT),
        attributes={"a": {"href"}, "img": {"src", "alt"}},
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel=None,
    )
    builder = _Builder()
    builder.feed(clean_text(clean))  # a reference such as &#27; has become a character by now
    builder.close()
    return builder.root.children


def _depth(text: str) -> int:
    """How deep the tags are nested, as far as their text tells; tags that close themselves are not counted."""
    depth = deepest = 0
    for found in _NESTING_TAG.finditer(re.sub("<!--.*?-->", "", text, flags=re.DOTALL)):
        depth = max(depth - 1, 0) if found.group(1) else depth + 1
        deepest = max(deepest, depth)
    return deepest


def _flattened(text: str) -> _Nodes:
    """What a body of absurd depth says, without its structure: paragraphs of text."""
    text = re.sub(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", "", text, flags=re.IGNORECASE | re.DOTALL)
    text = html.unescape(re.sub(r"<[^<>]*>", "\n", text))
    return [_Element("p", children=[line]) for line in clean_text(text).split("\n") if line.strip()]


class _Builder(HTMLParser):
    """The tree of HTML that nh3 wrote: well-formed, known tags only."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = _Element("div")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = _Element(tag, {name: value or "" for name, value in attributes})
        if tag in BLOCKS:
            for above in reversed(self.open):
                if above.holds_block:
                    break
                above.holds_block = True
        if tag in VOID:
            self.open[-1].children.append(element)
        elif len(self.open) < DEEPEST and not (tag == "a" and any(one.tag == "a" for one in self.open)):
            self.open[-1].children.append(element)
            self.open.append(element)
        else:
            # Too deep, or a link in a link (nh3 makes one of what stood in a select): its content goes to the one it
            # stands in, and its end tag closes nothing but this place.
            self.open.append(self.open[-1])

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and len(self.open) > 1:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


# --- Written as HTML ---


def _write_blocks(nodes: _Nodes) -> list[str]:
    """Blocks of HTML, in each of which something is seen; text that stands in none gets a paragraph."""
    blocks: list[str] = []
    run: list[str] = []

    def end_paragraph() -> None:
        words = _trimmed("".join(run))
        run.clear()
        if _is_seen(words):
            blocks.append(f"<p>{words}</p>")

    for node in nodes:
        if isinstance(node, _Element) and (node.tag in BLOCKS or (node.holds_block and node.tag != "a")):
            end_paragraph()
            blocks += _write_block(node)
        else:
            run.append(_write_inline(node))
    end_paragraph()
    return blocks


def _write_block(node: _Element) -> list[str]:
    if node.tag in HEADINGS:
        words = _trimmed(_write_run(node.children))
        return [f"<{node.tag}>{words}</{node.tag}>"] if _is_seen(words) else []
    if node.tag == "pre":
        words = "".join(_write_inline(child) for child in node.children).strip("\n")
        return [f"<pre>{words}</pre>"] if _is_seen(words) else []
    if node.tag == "blockquote":
        inner = "".join(_write_blocks(node.children))
        return [f"<blockquote>{inner}</blockquote>"] if inner else []
    if node.tag in LISTS:
        items = [f"<li>{item}</li>" for item in map(_write_item, _items(node)) if item]
        return [f"<{node.tag}>{''.join(items)}</{node.tag}>"] if items else []
    if node.tag == "li":
        item = _write_item(node.children)
        return [f"<ul><li>{item}</li></ul>"] if item else []
    if node.tag == "table":
        return _write_table(node)
    return _write_blocks(node.children)


def _items(node: _Element) -> Iterable[_Nodes]:
    """What each item of a list holds; a list directly in a list belongs to the item before it."""
    items: list[list[_Element | str]] = []
    for child in node.children:
        if isinstance(child, _Element) and child.tag == "li":
            items.append(list(child.children))
        elif isinstance(child, _Element) and child.tag in LISTS and items:
            items[-1].append(child)
        elif isinstance(child, _Element) or child.strip():
            items.append([child])
    return items


def _write_item(nodes: _Nodes) -> str:
    """The content of a list item or of a table's cell: a single paragraph needs no tag there."""
    blocks = _write_blocks(nodes)
    if (
        blocks
        and blocks[0].startswith("<p>")
        and all(block.startswith(("<ul>", "<ol>")) for block in blocks[1:])
    ):
        blocks[0] = blocks[0].removeprefix("<p>").removesuffix("</p>")
    return "".join(blocks)


def _write_table(node: _Element) -> list[str]:
    before: list[str] = []
    sections: list[str] = []
    for child in node.children:
        if isinstance(child, _Element) and child.tag in ROWS:
            tag = "thead" if child.tag == "thead" else "tbody"
            rows = "".join(map(_write_row, child.children))
            if rows:
                sections.append(f"<{tag}>{rows}</{tag}>")
        else:
            before += _write_blocks([child])
    table = f"<table>{''.join(sections)}</table>"
    return [*before, table] if _is_seen(table) else before


def _write_row(row: _Element | str) -> str:
    children: _Nodes = row.children if isinstance(row, _Element) and row.tag == "tr" else [row]
    cells: list[str] = []
    for cell in children:
        if isinstance(cell, _Element) and cell.tag in ("td", "th"):
            cells.append(f"<{cell.tag}>{_write_item(cell.children)}</{cell.tag}>")
        elif words := _write_item([cell]):  # only where the depth was cut
            cells.append(f"<td>{words}</td>")
    return f"<tr>{''.join(cells)}</tr>" if cells else ""


def _write_inline(node: _Element | str) -> str:
    if isinstance(node, str):
        return html.escape(node, quote=False)
    if node.tag == "br":
        return "<br>"
    if node.tag == "img":
        return _write_image(node)
    words = _write_run(node.children)
    if node.tag not in INLINE or not _is_seen(words):
        return words
    if node.tag == "a":
        url = _address(node.attributes.get("href", ""), _LINKABLE)
        return f'<a href="{html.escape(url)}">{words}</a>' if url else words
    return f"<{node.tag}>{words}</{node.tag}>"


def _write_run(nodes: _Nodes) -> str:
    """Inline content; a block in it, where none may be, stands on lines of its own."""
    pieces: list[str] = []
    within_line = break_due = False
    for node in nodes:
        is_block = isinstance(node, _Element) and node.tag in BLOCKS
        piece = (
            _trimmed(_write_run(node.children))
            if isinstance(node, _Element) and is_block
            else _write_inline(node)
        )
        if _is_seen(piece):
            if break_due or (is_block and within_line):
                pieces.append("<br>")
            within_line, break_due = True, is_block
        elif is_block:
            continue
        pieces.append(piece)
    return "".join(pieces)


def _write_image(node: _Element) -> str:
    url, alt = _address(node.attributes.get("src", ""), _IMAGE), node.attributes.get("alt", "").strip()
    if not url:
        return html.escape(alt, quote=False)
    return (
        f'<img src="{html.escape(url)}" alt="{html.escape(alt)}">'
        if alt
        else f'<img src="{html.escape(url)}">'
    )


def _address(value: str, allowed: re.Pattern[str]) -> str:
    """The address as a browser would read it, or "" for one that is not allowed (another scheme, a relative one)."""
    value = re.sub(r"[\t\n]", "", clean_text(value)).strip()
    return re.sub(r"\s", "%20", value) if allowed.match(value) else ""


def _trimmed(written: str) -> str:
    """Without white space and line breaks at both ends. A no-break space was meant, and stays."""
    start, end = 0, len(written)
    while start < end and (step := _gap(written[start : start + 4], written[start])):
        start += step
    while start < end and (step := _gap(written[max(start, end - 4) : end], written[end - 1])):
        end -= step
    return written[start:end]


def _gap(piece: str, character: str) -> int:
    """How much of it shows nothing at an end: a `<br>`, or a space."""
    return 4 if piece == "<br>" else int(character in _SPACE)


# --- Said as text ---


def _say_blocks(nodes: _Nodes) -> list[str]:
    blocks: list[str] = []
    run: list[str] = []

    def end_paragraph() -> None:
        words = _lines("".join(run))
        run.clear()
        if _is_seen(html.escape(words)):
            blocks.append(words)

    for node in nodes:
        if isinstance(node, _Element) and (node.tag in BLOCKS or (node.holds_block and node.tag != "a")):
            end_paragraph()
            blocks += _say_block(node)
        else:
            run.append(_say_inline(node))
    end_paragraph()
    return blocks


def _say_block(node: _Element) -> list[str]:
    if node.tag in LISTS:
        marks = (f"{number}. " if node.tag == "ol" else "- " for number in range(1, len(node.children) + 1))
        contents = (_say_item(item) for item in _items(node))
        items = [mark + item.replace("\n", "\n" + " " * len(mark)) for item, mark in _marked(contents, marks)]
        return ["\n".join(items)] if items else []
    if node.tag == "li":
        item = _say_item(node.children)
        return ["- " + item.replace("\n", "\n  ")] if item else []
    if node.tag == "blockquote":
        inner = "\n\n".join(_say_blocks(node.children))
        return ["> " + inner.replace("\n", "\n> ")] if inner else []
    if node.tag == "pre":
        words = "".join(_say_inline(child, keep=True) for child in node.children).strip("\n")
        return [words] if words.strip() else []
    if node.tag == "tr":
        cells = (child for child in node.children if isinstance(child, _Element) or child.strip())
        row = " | ".join(_say_item([cell]).replace("\n", " ") for cell in cells)
        return [row] if row.strip(" |") else []
    if node.tag in ROWS or node.tag == "table":
        rows = [block for child in node.children for block in _say_blocks([child])]
        return ["\n".join(rows)] if rows else []
    return _say_blocks(node.children)


def _marked(contents: Iterable[str], marks: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Each item that says something with the next mark: an empty one uses up no number."""
    return zip((item for item in contents if item), marks, strict=False)


def _say_item(nodes: _Nodes) -> str:
    return "\n".join(_say_blocks(nodes))


def _say_inline(node: _Element | str, *, keep: bool = False) -> str:
    """The words; `keep` for white space that counts, as in a `pre`."""
    if isinstance(node, str):
        return node if keep else re.sub(f"[{_SPACE}]+", " ", node)
    if node.tag == "br":
        return "\n"
    if node.tag == "img":
        url, alt = _address(node.attributes.get("src", ""), _IMAGE), node.attributes.get("alt", "").strip()
        return f"{alt} ({url})" if alt and url else alt or url
    words = "".join(_say_inline(child, keep=keep) for child in node.children)
    if node.tag in BLOCKS:
        return f"\n{words}\n"
    if node.tag != "a":
        return words
    url, label = _address(node.attributes.get("href", ""), _LINKABLE), _lines(words)
    if not url or not label or label in (url, url.removeprefix("mailto:"), url.removeprefix("tel:")):
        return words
    return f"{label} ({url})"


def _lines(words: str) -> str:
    """Without the spaces around line ends, which HTML does not show."""
    return "\n".join(line.strip(_SPACE) for line in words.split("\n")).strip("\n")
