"""Convert message bodies from Intercom into HTML for iTop's logs and into plain text.

A body is HTML (in REST, and in notifications up to API 2.14) or plain text (in notifications of 2.15 and later).
Nothing in a payload says which of the two, so all callers use this rule:

    A body is HTML only if, ignoring white space, it starts with one of the block tags that Intercom wraps everything
    in (p, div, h1-h6, ul, ol, pre, blockquote, table, figure, img) and ends with a closing tag or an image. Anything
    else is plain text.

So "2 < 3 and 5 > 4" and "<not a tag>" are text, and the log shows them as they were typed. If the rule decides wrongly,
a person sees tags, but nothing is lost or executed.

iTop has lists of allowed tags and URLs. It removes other tags together with their content, and other URLs. The HTML
for the log therefore contains only the tags and URLs that all versions since 2.7 keep. Of everything else, the text is
preserved. `tree` parses a body in linear time, and a renderer writes the tree as HTML or text.
"""

from __future__ import annotations

import html
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_plus

from django.utils.translation import gettext as _

from .text import clean_text, cut
from .tree import (
    BLOCKS,
    CELLS,
    HEADINGS,
    INLINE,
    LISTS,
    MAX_LENGTH,
    MEDIA,
    TABLE_SECTIONS,
    Element,
    Node,
    Nodes,
    parse,
)

MAX_BODY_LENGTH: Final = 300_000
"""Characters that are converted. iTop accepts few more in one request, so a sentence replaces the rest."""

MAX_TITLE_SOURCE: Final = 20_000
"""Characters of a text in which `first_line` looks for a visible line."""

NO_BREAK_SPACE: Final = "\u00a0"

_SPACE: Final = " \t\r\n"
_INVISIBLE = re.compile("(?:<[^>]*+>|[\\s\u00ad\u200b-\u200f\u2060\ufeff])*+")
_STARTS_AS_HTML = re.compile(
    r"<(?:p|div|h[1-6]|ul|ol|pre|blockquote|table|figure|img)(?:[\s/][^>]*)?>", re.IGNORECASE
)
_ENDS_AS_HTML = re.compile(r"</[a-z][a-z0-9]*\s*>|<img[\s/][^<>]*>", re.IGNORECASE)
_LINK_URL = re.compile(r"(?:(?:https?|ftp)://|mailto:|tel:|sms:)[^\s]", re.IGNORECASE)
_IMAGE_URL = re.compile(r"https?://[^\s]", re.IGNORECASE)
BARE_URL = re.compile('https?://[^\\s<>"\u200b-\u200f\u2060\ufeff]+', re.IGNORECASE)
_ADDRESS = re.compile(r"\(?+(?:https?://|mailto:)\S++", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*+>")
_LINK_TAG = re.compile(r"</?a(?: [^>]*+)?>")
EMBEDDED_DATA = re.compile(r"(?<=[\"'=])data:[^\s\"'<>]{200,}+", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
# The URLs that iTop keeps. iTop removes those with a host outside ASCII, an IPv6 address, a host of less than three
# letters, an e-mail address with a plus, or a phone number.
_URL_KEPT_BY_ITOP = re.compile(
    r"(?:https?|ftp)://(?:[a-z0-9._+-]++(?::[a-z0-9._+-]*+)?@)?[a-z0-9.-]{3}"
    r"|mailto:[a-z0-9._&'-]++@[a-z0-9.-]+\.[a-z0-9-]{2}",
    re.IGNORECASE | re.ASCII,
)
# The characters of a URL that iTop does not percent-encode, besides ASCII letters and digits.
_NOT_ENCODED_BY_ITOP: Final = "@/:=?;#%&,+-_.!~*'()"
# The hosts of Intercom's files. Their URLs are valid for half an hour.
_INTERCOM_HOST = re.compile(
    r"(?:.+\.)?(?:intercomcdn\.(?:com|eu)|intercom-attachments[\w-]*\.com|intercomassets\.(?:com|eu))"
)
# Elements whose file may be stored by Intercom.
_FILE_TAGS: Final = frozenset({"img", "video", "audio"})
_FILE_TAG = re.compile(r"<(?:img|video|audio)[\s/>]", re.IGNORECASE)
# In a name, these control characters would change the direction of the text after it.
_BIDIRECTIONAL: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LIST_NUMBER = re.compile(r"-?[0-9]{1,6}", re.ASCII)
_LIST_TYPES: Final = frozenset("1aAiI")


@dataclass(frozen=True)
class MediaLink:
    """What a log shows in place of a picture: the one at `picture_url`, or if that is "", a link to `url`."""

    url: str
    picture_url: str = ""
    name: str = ""


def media_in(body: str) -> list[tuple[str, str]]:
    """Return the pictures, videos and recordings in the body that Intercom stores, as (URL, name), in order."""
    text, is_html = _clean_body(body)
    if not is_html or not _FILE_TAG.search(text):
        return []
    media: list[tuple[str, str]] = []
    # A stack of the nodes still to visit, the next one last: depth first, in document order.
    to_visit: list[Node] = list(reversed(parse(text[:MAX_BODY_LENGTH])))
    while to_visit:
        node = to_visit.pop()
        if isinstance(node, str):
            continue
        to_visit += reversed(node.children)
        url = allowed_url(node.attributes.get("src", ""), _IMAGE_URL) if node.tag in _FILE_TAGS else ""
        if url and _is_stored_by_intercom(url):
            media.append((url, _file_name(url)))
    return media


def to_log_html(body: str, conversation_url: str = "", links: Mapping[str, MediaLink] | None = None) -> str:
    """Return the body (HTML or plain text, see above) as HTML that iTop keeps, "" if nothing would be visible.

    The result starts and ends with a block. It contains p, h1-h4, ul, ol, li, table with its parts, pre, blockquote,
    br, formatting, img with an http(s) URL, and a with a URL as iTop stores it. URLs that iTop would remove are written
    as text. A result that is passed in again is returned unchanged, unless it is longer than `tree.MAX_LENGTH`.

    A body longer than MAX_BODY_LENGTH is cut, and ends with a sentence that contains `conversation_url`. `links` are
    the copies of pictures in the text, by the picture's URL without its query.
    """
    text, is_html = _clean_body(body)
    if is_html:
        markup = "".join(HtmlRenderer(links).blocks(parse(text[:MAX_BODY_LENGTH])))
    else:
        markup = text_to_html(text[:MAX_BODY_LENGTH])
    if len(text) > MAX_BODY_LENGTH:
        sentence = _("The rest of this message is in Intercom.")
        markup += text_to_html(f"[{sentence} {conversation_url}".rstrip() + "]")
    return markup


def to_text(body: str, *, is_hidden: Callable[[str], bool] | None = None) -> str:
    """Return the body (HTML or plain text) as plain text, with list markers, and links as `label (URL)`.

    If `is_hidden(url)` is true for the URL of a link, only the label of the link remains.
    """
    text, is_html = _clean_body(body)
    text = text[:MAX_BODY_LENGTH]
    if is_html:
        text = "\n\n".join(_TextRenderer(is_hidden).blocks(parse(text))).replace(NO_BREAK_SPACE, " ")
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def comparable(body: str) -> str:
    """Return a body's text without white space and URLs, to find a message that the bridge has posted.

    Intercom changes the HTML and the URLs of a message. If a text has nothing but URLs, they are kept.
    """
    text = to_text(body)
    without_urls = _ADDRESS.sub("", text)
    return "".join(without_urls.split()) or "".join(text.split())


def text_to_html(text: str) -> str:
    """Return plain text as HTML that looks the same, "" if nothing would be visible.

    Blank lines separate paragraphs. Line ends become `<br>`, and http(s) URLs become links. Indentation is kept.
    """
    paragraphs = (
        "<br>".join(_line_to_html(line) for line in paragraph.split("\n"))
        for paragraph in _BLANK_LINES.split(clean_text(text).strip())
    )
    return "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs if is_visible(paragraph))


def first_line(text: str, limit: int) -> str:
    """Return the first visible line of plain text, in at most `limit` characters, cut at a word with `…`."""
    for line in clean_text(text[:MAX_TITLE_SOURCE]).split("\n"):
        if is_visible(html.escape(line)):
            return cut(" ".join(line.split()), limit)
    return ""


def _clean_body(body: str) -> tuple[str, bool]:
    """Return the clean body, and whether it is HTML."""
    text = clean_text(body).strip()
    is_html = _is_html(text)
    if is_html and len(text) > MAX_LENGTH:
        # Embedded pictures are never shown, and the data of one could fill the MAX_LENGTH that is parsed.
        text = EMBEDDED_DATA.sub("data:", text)
    return text, is_html


def _is_html(text: str) -> bool:
    # The pattern is only applied to the last tag: searching a long text full of "<" would take quadratic time.
    last_tag = text[text.rfind("<") :] if text.endswith(">") else ""
    return bool(_ENDS_AS_HTML.fullmatch(last_tag) and _STARTS_AS_HTML.match(text))


def is_visible(markup: str) -> bool:
    """Return whether the HTML shows an image, or text other than white space and zero-width characters."""
    return "<img " in markup or not _INVISIBLE.fullmatch(markup)


# --- Plain text to HTML ---


def _line_to_html(line: str) -> str:
    """Return a line of plain text as HTML, with links for its URLs."""
    pieces: list[str] = []
    converted = 0  # the index up to which the line is converted
    line = line.expandtabs(4).rstrip()
    for match in BARE_URL.finditer(line):
        url = strip_punctuation(match.group())
        if url.endswith("//"):  # nothing after the scheme
            continue
        pieces.append(_words_to_html(line[converted : match.start()], is_line_start=converted == 0))
        href = url_in_itop(url)
        pieces.append(f'<a href="{html.escape(href)}">{escape(url)}</a>' if href else escape(url))
        converted = match.start() + len(url)
    pieces.append(_words_to_html(line[converted:], is_line_start=converted == 0))
    return "".join(pieces)


def _words_to_html(words: str, *, is_line_start: bool) -> str:
    # HTML collapses spaces and drops them at the start of a line. The indentation of code would be lost.
    words = re.sub(" (?= )", NO_BREAK_SPACE, words)
    if is_line_start and words.startswith(" "):
        words = NO_BREAK_SPACE + words[1:]
    return escape(words)


def strip_punctuation(url: str) -> str:
    """Remove the punctuation of the surrounding sentence from the end of a URL. Keep brackets that the URL opened."""
    # How many closing brackets of each kind have no opening bracket in the URL.
    unopened = {")": url.count(")") - url.count("("), "]": url.count("]") - url.count("[")}
    end = len(url)
    while end:
        last = url[end - 1]
        if unopened.get(last, 0) > 0:
            unopened[last] -= 1
        elif last not in ".,;:!?'*…»”’}":
            break
        end -= 1
    return url[:end]


def escape(text: str) -> str:
    return html.escape(text, quote=False)


# --- Elements ---


def list_items(node: Element) -> Sequence[Element]:
    """Return the items of a list. A list directly within the list becomes part of the item before it."""
    items: list[Element] = []
    for child in node.children:
        if isinstance(child, Element) and child.tag == "li":
            items.append(Element("li", child.attributes, list(child.children)))
        elif isinstance(child, Element) and child.tag in LISTS and items:
            items[-1].children.append(child)
        elif isinstance(child, Element) or child.strip():
            items.append(Element("li", children=[child]))
    return items


def allowed_url(value: str, pattern: re.Pattern[str]) -> str:
    """Return the URL as a browser reads it, "" if it does not match the pattern of allowed URLs."""
    value = re.sub(r"[\t\n]", "", clean_text(value)).strip()
    return re.sub(r"\s", "%20", value) if pattern.match(value) else ""


def without_query(url: str) -> str:
    """Return the URL without query and fragment. Only these change when Intercom signs the URL of a file again."""
    return url.partition("?")[0].partition("#")[0]


def url_in_itop(url: str) -> str:
    """Return the URL as iTop stores it in a link or image, "" if iTop would remove it."""
    return quote(url, safe=_NOT_ENCODED_BY_ITOP) if _URL_KEPT_BY_ITOP.match(url) else ""


def _shows_url(label: str, url: str) -> bool:
    """Return whether a link's label already shows its URL, with or without `mailto:` or `tel:`."""
    address = url.removeprefix("mailto:").removeprefix("tel:")
    if label in (url, address):
        return True
    digits_of_label, digits_of_url = (re.sub(r"[\s()./-]", "", text) for text in (label, address))
    return url.startswith("tel:") and digits_of_label == digits_of_url


@dataclass(frozen=True)
class _Media:
    """A picture, video or other file within the text.

    `url` is "" if it is not allowed, or if Intercom stores the file, because the URL would expire.
    """

    tag: str
    url: str
    description: str

    @classmethod
    def of(cls, node: Element) -> _Media | None:
        """Return the file that the element shows, None if the element has no `src`."""
        src, alt = node.attributes.get("src", ""), node.attributes.get("alt", "").strip()
        if not src.strip():
            return None
        url = allowed_url(src, _IMAGE_URL)
        if not url:
            return cls(node.tag, "", alt)
        if _is_stored_by_intercom(url):
            return cls(node.tag, "", _file_name(url) or alt)
        return cls(node.tag, url, alt)

    def label(self) -> str:
        return media_label(self.tag, self.description or self.url)


def media_label(tag: str, name: str) -> str:
    """Return the text that replaces a picture, video or recording, such as "[Picture: plan.png]"."""
    words = {"img": _("Picture"), "video": _("Video"), "audio": _("Recording")}
    word = words.get(tag, _("Embedded content"))
    return f"[{word}: {name}]" if name else f"[{word}]"


def _is_stored_by_intercom(url: str) -> bool:
    """Return whether Intercom stores the file: at one of its hosts, or at a signed URL that expires."""
    address, _mark, query = url.lower().partition("#")[0].partition("?")
    # The host is between "//" and "/", without user and port. `urlsplit` would raise an exception for some hosts.
    host = address.partition("//")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
    is_signed = "expires=" in query and "signature=" in query
    return is_signed or bool(_INTERCOM_HOST.fullmatch(host))


def _file_name(url: str) -> str:
    name = clean_text(unquote_plus(without_query(url).rpartition("/")[2]))
    return " ".join(_BIDIRECTIONAL.sub("", name).split())


def _list_attributes(node: Element) -> dict[str, str]:
    """Return the valid attributes of a list or item that determine its numbers. iTop keeps these attributes."""
    attributes: dict[str, str] = {}
    if node.tag == "li" and _LIST_NUMBER.fullmatch(node.attributes.get("value", "").strip()):
        attributes["value"] = node.attributes["value"].strip()
    if node.tag == "ol":
        if "reversed" in node.attributes:
            attributes["reversed"] = ""
        if _LIST_NUMBER.fullmatch(node.attributes.get("start", "").strip()):
            attributes["start"] = node.attributes["start"].strip()
        if node.attributes.get("type", "") in _LIST_TYPES:
            attributes["type"] = node.attributes["type"]
    return attributes


# --- The tree to HTML or text ---


class _Renderer(ABC):
    """Renders a tree as a list of blocks, all of them visible. Subclasses define the format of each tag."""

    block_renderers: dict[str, Callable[[Element], list[str]]]
    """The renderer of each block tag. A block of another tag is replaced by its content."""

    def blocks(self, nodes: Nodes) -> list[str]:
        """Return the nodes as blocks. Inline nodes between two blocks become one paragraph."""
        blocks: list[str] = []
        inline_run: list[str] = []
        for node in nodes:
            if isinstance(node, Element) and node.is_block:
                render = self.block_renderers.get(node.tag)
                content = render(node) if render else self.blocks(node.children)
                blocks += [self.paragraph("".join(inline_run)), *content]
                inline_run = []
            else:
                inline_run.append(self.inline(node))
        blocks.append(self.paragraph("".join(inline_run)))
        return [block for block in blocks if block]

    def _item_alone(self, node: Element) -> list[str]:
        """Render an item outside of a list as a list."""
        return self.block_renderers["ul"](Element("ul", children=[Element("li", children=node.children)]))

    @abstractmethod
    def paragraph(self, run: str) -> str:
        """Return inline content as a block, "" if nothing of it is visible."""

    @abstractmethod
    def inline(self, node: Node) -> str:
        """Return the node as inline content."""


class HtmlRenderer(_Renderer):
    """Renders for iTop's logs. A subclass may render for a target that keeps other tags."""

    def __init__(self, links: Mapping[str, MediaLink] | None = None) -> None:
        self._links = links or {}
        self.block_renderers = {
            **dict.fromkeys(HEADINGS, self._heading),
            **dict.fromkeys(LISTS, self._list),
            "li": self._item_alone,
            "pre": self._preformatted,
            "blockquote": self._quote,
            "table": self._table,
        }

    def paragraph(self, run: str) -> str:
        return "".join(visible_element("p", trim(run)))

    def inline(self, node: Node) -> str:
        if isinstance(node, str):
            return escape(node)
        if node.tag == "br":
            return "<br>"
        if node.tag in MEDIA:
            return self._media(node)
        content = self._run(node.children)
        if node.tag not in INLINE or not is_visible(content):
            return content
        return self._link(node, content) if node.tag == "a" else f"<{node.tag}>{content}</{node.tag}>"

    def _link(self, node: Element, content: str) -> str:
        """Return the link as HTML, or as `label (URL)` if iTop would remove its URL."""
        # A link must not contain another one, such as that of a video.
        content = _LINK_TAG.sub("", content)
        url = allowed_url(node.attributes.get("href", ""), _LINK_URL)
        if href := url_in_itop(url):
            return f'<a href="{html.escape(href)}">{content}</a>'
        label = html.unescape(_TAG.sub("", content))
        if not url or _shows_url(label.strip(), url):
            return content
        without_space = content.rstrip(_SPACE)
        space = content[len(without_space) :]
        return f"{without_space} ({escape(url)}){space}"

    def _media(self, node: Element) -> str:
        """Return an image, or else a link or a label. If the file has a copy in iTop, show or link the copy."""
        media = _Media.of(node)
        if not media:  # the element has no `src`
            return escape(node.attributes.get("alt", "").strip())
        label = escape(media.label())
        if link := self._links.get(without_query(node.attributes.get("src", "").strip())):
            if not link.picture_url:
                return f'<a href="{html.escape(link.url)}">{label}</a>'
            alt = html.escape(link.name or media.description)
            return f'<img src="{html.escape(link.picture_url)}" alt="{alt}">'
        if node.tag != "img" or not media.url:
            url = url_in_itop(media.url)
            return f'<a href="{html.escape(url)}">{label}</a>' if url else label
        alt = f' alt="{html.escape(media.description)}"' if media.description else ""
        return f'<img src="{html.escape(quote(media.url, safe=_NOT_ENCODED_BY_ITOP))}"{alt}>'

    def _run(self, nodes: Nodes) -> str:
        """Return the nodes as inline content. Blocks are not allowed there: each becomes lines of its own."""
        pieces: list[str] = []
        # Whether something visible was added, and whether the next visible piece must begin a new line.
        has_content = needs_break = False
        for node in nodes:
            if isinstance(node, Element) and node.is_block:
                is_block, piece = True, trim(self._run(node.children))
            else:
                is_block, piece = False, self.inline(node)
            if is_visible(piece):
                if needs_break or (is_block and has_content):
                    pieces.append("<br>")
                has_content, needs_break = True, is_block
            elif is_block:  # an empty block is not shown, but separates the lines around it
                needs_break = has_content
                continue
            pieces.append(piece)
        return "".join(pieces)

    def _heading(self, node: Element) -> list[str]:
        # iTop removes h5 and h6 with their content.
        tag = "h4" if node.tag in ("h5", "h6") else node.tag
        return visible_element(tag, trim(self._run(node.children)))

    def _preformatted(self, node: Element) -> list[str]:
        content = "".join(self.inline(child) for child in node.children)
        return visible_element("pre", content.strip("\n"))

    def _quote(self, node: Element) -> list[str]:
        return visible_element("blockquote", "".join(self.blocks(node.children)))

    def _list(self, node: Element) -> list[str]:
        items = "".join(
            "".join(visible_element("li", self._item(item.children), _list_attributes(item)))
            for item in list_items(node)
        )
        return visible_element(node.tag, items, _list_attributes(node))

    def _item(self, nodes: Nodes) -> str:
        """Return the content of a list item or a table cell.

        A paragraph that is alone, or followed only by lists, is written without its tag.
        """
        blocks = self.blocks(nodes)
        are_only_lists_after = all(block.startswith(("<ul", "<ol")) for block in blocks[1:])
        if blocks and blocks[0].startswith("<p>") and are_only_lists_after:
            blocks[0] = blocks[0].removeprefix("<p>").removesuffix("</p>")
        return "".join(blocks)

    def _table(self, node: Element) -> list[str]:
        """Return the table. Content outside of its sections, such as a caption, is written before the table."""
        before: list[str] = []
        sections: list[str] = []
        for child in node.children:
            if isinstance(child, Element) and child.tag in TABLE_SECTIONS:
                tag = "thead" if child.tag == "thead" else "tbody"
                rows = "".join(map(self._row, child.children))
                sections.append(f"<{tag}>{rows}</{tag}>" if rows else "")
            else:
                before += self.blocks([child])
        return [*before, *visible_element("table", "".join(sections))]

    def _row(self, row: Node) -> str:
        children: Nodes = row.children if isinstance(row, Element) and row.tag == "tr" else [row]
        cells: list[str] = []
        for cell in children:
            if isinstance(cell, Element) and cell.tag in CELLS:
                cells.append(f"<{cell.tag}>{self._item(cell.children)}</{cell.tag}>")
            elif content := self._item([cell]):
                # Only in elements nested deeper than `tree.MAX_DEPTH`: there, a row may contain other nodes than cells.
                cells.append(f"<td>{content}</td>")
        return f"<tr>{''.join(cells)}</tr>" if cells else ""


def visible_element(tag: str, content: str, attributes: Mapping[str, str] = {}) -> list[str]:
    """Return a list with the element as its only entry, or an empty list if the content is not visible."""
    attributes_html = "".join(
        f' {name}="{value}"' if value else f" {name}" for name, value in attributes.items()
    )
    return [f"<{tag}{attributes_html}>{content}</{tag}>"] if is_visible(content) else []


def trim(markup: str) -> str:
    """Remove white space and `<br>` at both ends. No-break spaces stay, because an author typed them on purpose."""
    lines = markup.split("<br>")
    not_empty = [index for index, line in enumerate(lines) if line.strip(_SPACE)]
    if not not_empty:
        return ""
    first, last = not_empty[0], not_empty[-1]
    return "<br>".join(lines[first : last + 1]).strip(_SPACE)


class _TextRenderer(_Renderer):
    def __init__(self, is_hidden: Callable[[str], bool] | None) -> None:
        self._is_hidden = is_hidden
        self.block_renderers = {
            **dict.fromkeys(LISTS, self._list),
            "li": self._item_alone,
            "pre": self._preformatted,
            "blockquote": self._quote,
            **dict.fromkeys(TABLE_SECTIONS | {"table"}, self._table),
            "tr": self._row,
        }

    def paragraph(self, run: str) -> str:
        text = _strip_lines(run)
        return text if is_visible(html.escape(text)) else ""

    def inline(self, node: Node, *, is_preformatted: bool = False) -> str:
        if isinstance(node, str):
            return node if is_preformatted else re.sub(f"[{_SPACE}]+", " ", node)
        if node.tag == "br":
            return "\n"
        if node.tag in MEDIA:
            return self._media(node)
        text = "".join(self.inline(child, is_preformatted=is_preformatted) for child in node.children)
        if node.tag in BLOCKS:
            return f"\n{text}\n"
        return self._link(node, text) if node.tag == "a" else text

    def _link(self, node: Element, text: str) -> str:
        """Return a link with this text as `label (URL)`. Leave the URL out if it is hidden or the text shows it."""
        url, label = allowed_url(node.attributes.get("href", ""), _LINK_URL), _strip_lines(text)
        is_hidden = self._is_hidden is not None and self._is_hidden(url)
        needs_url = bool(url and label) and not is_hidden and not _shows_url(label, url)
        return f"{label} ({url})" if needs_url else text

    def _preformatted(self, node: Element) -> list[str]:
        text = "".join(self.inline(child, is_preformatted=True) for child in node.children).strip("\n")
        return [text] if text.strip() else []

    def _quote(self, node: Element) -> list[str]:
        text = "\n\n".join(self.blocks(node.children))
        return ["> " + text.replace("\n", "\n> ")] if text else []

    @staticmethod
    def _media(node: Element) -> str:
        media = _Media.of(node)
        if not media:  # the element has no `src`
            return node.attributes.get("alt", "").strip()
        if node.tag != "img" or not media.url:
            is_named = media.description not in ("", media.url)
            return f"{media.label()} {media.url}".rstrip() if is_named else media.label()
        return f"{media.description} ({media.url})" if media.description else media.url

    def _list(self, node: Element) -> list[str]:
        texts = [(item, self._item(item.children)) for item in list_items(node)]
        items = [(item, text) for item, text in texts if text]
        attributes = _list_attributes(node)
        is_reversed = "reversed" in attributes
        first_number = len(items) if is_reversed else 1
        step = -1 if is_reversed else 1
        number = int(attributes.get("start", first_number))
        lines: list[str] = []
        for item, text in items:
            number = int(_list_attributes(item).get("value", number))
            lines.append(_indent(f"{number}. " if node.tag == "ol" else "- ", text))
            number += step
        return ["\n".join(lines)]

    def _item(self, nodes: Nodes) -> str:
        return "\n".join(self.blocks(nodes))

    def _table(self, node: Element) -> list[str]:
        return ["\n".join(block for child in node.children for block in self.blocks([child]))]

    def _row(self, node: Element) -> list[str]:
        cells = (child for child in node.children if isinstance(child, Element) or child.strip())
        text = " | ".join(self._item([cell]).replace("\n", " ") for cell in cells)
        return [text] if text.strip(" |") else []


def _indent(bullet: str, text: str) -> str:
    return bullet + text.replace("\n", "\n" + " " * len(bullet))


def _strip_lines(text: str) -> str:
    """Remove the spaces around line ends, which HTML does not show."""
    return "\n".join(line.strip(_SPACE) for line in text.split("\n")).strip("\n")
