"""Convert iTop's HTML (log entries, solutions) into HTML that Intercom keeps, with all text in block elements.

Intercom documents no list of the tags that it keeps in conversations. The result only contains p, h1, h2, ul, ol, li,
br, b, strong, i, em, code, pre and a. Everything else is converted: a row of a table becomes a line, and each line of a
quotation begins with `>`.

The address of an image that is stored in iTop contains the secret that protects the image. So the result contains no
such address, neither in a link nor in the text. Only the image's name remains.
"""

from __future__ import annotations

import html
import re
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from django.utils.translation import gettext as _

from intercom_bridge.intercom.html import (
    BARE_URL,
    EMBEDDED_DATA,
    HtmlRenderer,
    allowed_url,
    escape,
    is_visible,
    media_label,
    strip_punctuation,
    to_text,
    trim,
    visible_element,
)
from intercom_bridge.intercom.text import clean_text, cut
from intercom_bridge.intercom.tree import CELLS, TABLE_SECTIONS, Element, Node, Nodes, parse
from intercom_bridge.models import ItopInstance

MAX_LENGTH: Final = 20_000
"""The most characters of the result, without the sentence about the rest of the text."""

MAX_READ: Final = 100_000
"""The most characters of iTop's HTML that are converted."""

MAX_DECODINGS: Final = 3
"""The most times that an address is decoded. It may be a parameter of an address that is a parameter itself."""

PEOPLE: Final = ("Person", "Contact", "User", "UserLocal", "UserLDAP", "UserExternal")
"""Classes of iTop whose objects have people's names."""

_KEPT_INLINE: Final = frozenset({"b", "strong", "i", "em", "code"})
_KEPT_URL = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*+>")
_WORD = re.compile(r"[^\s<>\"']++")
# A URL, or a word that may be an address without a scheme. The word begins after opening brackets and quotation marks,
# and ends before a URL.
_ADDRESS = re.compile(rf"{BARE_URL.pattern}|[^\s<>\"'(\[{{„“‚‘«»](?:(?!https?://)[^\s<>\"])*+", re.IGNORECASE)
# A part of the address of each image that is stored in iTop.
_IMAGE_OF_ITOP: Final = "download_inlineimage"
# [[Class:id]] or [[Class:id|label]], with which people link to objects in iTop. The groups are class, id and label.
_OBJECT_LINK = re.compile(
    r"\[\[([A-Za-z][A-Za-z0-9_]{0,99}+):([^\[\]|<>\n]{1,200}+)(?:\|([^\[\]<>\n]{1,200}+))?\]\]", re.ASCII
)
_CLASS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_OBJECT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)
_SPACES = re.compile(r"[ \t\r\n]++")


def to_intercom(
    markup: str,
    itop: ItopInstance,
    *,
    for_customer: bool = False,
    only_person: int | None = None,
    max_length: int = MAX_LENGTH,
) -> str:
    """Return iTop's HTML as HTML for Intercom, "" if nothing would be visible.

    Mentions and [[Class:id]] become links to iTop's back office. If `for_customer`, all links to the back office become
    labels, and its addresses in the text become “[Internal link]”. With `only_person`, which is the id of a Person,
    mentions of all other persons become “a colleague”: this hides agents' names.
    """
    text, is_cut = _within_limit(markup)
    renderer = _IntercomRenderer(itop, for_customer=for_customer, only_person=only_person)
    blocks = renderer.blocks(parse(text))
    kept: list[str] = []
    length_left = min(max_length, MAX_LENGTH)
    for block in blocks:
        if len(block) > length_left:
            is_cut = True
            if not kept:
                # Cut the first block, because otherwise nothing would be left. Omit a later one as a whole.
                words = html.unescape(_TAG.sub(" ", block)).strip()
                kept = visible_element("p", escape(cut(words, length_left)))
            break
        kept.append(block)
        length_left -= len(block)
    if is_cut:
        kept.append(f"<p>[{escape(_('The rest of this text is in iTop.'))}]</p>")
    return "".join(kept)


def to_plain_text(markup: str, itop: ItopInstance) -> str:
    """Return iTop's HTML as plain text for teammates.

    Of a link to one of iTop's own pages, only the label is kept, because these addresses are long and say nothing.
    Of an image, only the name is kept, because its address is secret.
    """
    return to_text(to_intercom(markup, itop), is_hidden=itop.has_page)


def _within_limit(markup: str) -> tuple[str, bool]:
    """Return the HTML within MAX_READ, and whether the rest was cut off."""
    text = clean_text(markup).strip()
    if len(text) > MAX_READ:
        # Embedded pictures are not converted, so they must not use up the limit.
        text = EMBEDDED_DATA.sub("data:", text)
    if len(text) <= MAX_READ:
        return text, False
    text = text[:MAX_READ]
    last_start = text.rfind("<")
    if last_start > text.rfind(">"):
        # The cut is within a tag.
        text = text[:last_start]
    return text, True


class _IntercomRenderer(HtmlRenderer):
    def __init__(self, itop: ItopInstance, *, for_customer: bool, only_person: int | None) -> None:
        super().__init__()
        self._itop = itop
        self._for_customer = for_customer
        self._only_person = only_person
        self._is_preformatted = False

    def inline(self, node: Node) -> str:
        if isinstance(node, str):
            if self._is_preformatted:
                return self._escape(node)
            return self._text(_SPACES.sub(" ", node))
        if node.tag == "a" or node.is_block or node.tag in _KEPT_INLINE or not node.children:
            return super().inline(node)
        # Intercom does not keep any other inline tag, so only its content remains.
        return self._run(node.children)

    def _text(self, text: str) -> str:
        """Return text as HTML, with links for [[Class:id]] and without the addresses that must not be sent."""
        pieces: list[str] = []
        end = 0
        for match in _OBJECT_LINK.finditer(text):
            pieces.append(self._escape(text[end : match.start()]))
            class_name, object_id, label = match.groups()
            pieces.append(self._object_link(class_name, object_id.strip(), (label or "").strip()))
            end = match.end()
        pieces.append(self._escape(text[end:]))
        return "".join(pieces)

    def _escape(self, text: str) -> str:
        """Return the text escaped, without the addresses of iTop's images and, for customers, of its back office."""
        return escape(self._for_reader(_without_image_urls(text)))

    def _for_reader(self, text: str) -> str:
        """Return the text as it is for teammates. For customers, replace the addresses of iTop's back office."""
        return _ADDRESS.sub(self._address_for_customer, text) if self._for_customer else text

    def _address_for_customer(self, match: re.Match[str]) -> str:
        address = strip_punctuation(match[0])
        if not self._is_internal(address):
            return match[0]
        label = _("Internal link")
        return f"[{label}]{match[0].removeprefix(address)}"

    def _is_internal(self, address: str) -> bool:
        """Return whether this is, or contains, the address of a page in iTop's back office."""
        return self._itop.is_console_page(address) or self._itop.has_console_page_in(_decoded(address))

    def _object_link(self, class_name: str, object_id: str, label: str) -> str:
        """Return a link to an object in iTop as HTML, or only its label if there must be no link.

        “a colleague” replaces a person whose name is hidden.
        """
        if self._only_person is not None and class_name in PEOPLE and object_id != str(self._only_person):
            return escape(_("a colleague"))
        shown = self._escape(label or f"{class_name} {object_id}")
        # A mention's attributes may contain anything.
        is_valid = _CLASS_NAME.fullmatch(class_name) and _OBJECT_ID.fullmatch(object_id)
        if self._for_customer or not is_valid:
            return shown
        url = self._itop.backoffice_url(class_name, int(object_id))
        return f'<a href="{html.escape(url)}">{shown}</a>'

    def _link(self, node: Element, content: str) -> str:
        """Return an `a` element as a link, or only its label if the link must not be sent."""
        label = html.unescape(_TAG.sub("", content))
        url = allowed_url(node.attributes.get("href", ""), _KEPT_URL)
        if node.attributes.get("data-role") == "object-mention":
            object_id = node.attributes.get("data-object-id", "")
            if not _OBJECT_ID.fullmatch(object_id):
                # iTop 3.3 writes "@name" here, so the id is only in the address.
                object_id = _query_value(url, "id")
            return self._object_link(node.attributes.get("data-object-class", ""), object_id, label)
        if not url or _has_image_url(url) or (self._for_customer and self._is_internal(url)):
            return escape(label)
        return f'<a href="{html.escape(url)}">{escape(label)}</a>'

    def _media(self, node: Element) -> str:
        name = " ".join(node.attributes.get("alt", "").split())
        if _has_image_url(name):
            name = ""
        return escape(media_label(node.tag, cut(self._for_reader(name), 200)))

    def _heading(self, node: Element) -> list[str]:
        return visible_element("h1" if node.tag == "h1" else "h2", trim(self._run(node.children)))

    def _preformatted(self, node: Element) -> list[str]:
        was_preformatted, self._is_preformatted = self._is_preformatted, True
        content = "".join(self.inline(child) for child in node.children)
        self._is_preformatted = was_preformatted
        code = _TAG.sub("", content.replace("<br>", "\n")).strip("\n")
        return [f"<pre><code>{code}</code></pre>"] if is_visible(code) else []

    def _quote(self, node: Element) -> list[str]:
        return [_quoted(block) for block in self.blocks(node.children)]

    def _item(self, nodes: Nodes) -> str:
        """Return the content of a list item: its paragraphs as lines, and its nested lists."""
        pieces: list[str] = []
        for block in self.blocks(nodes):
            is_paragraph = block.startswith("<p>")
            if pieces and is_paragraph:
                pieces.append("<br>")
            pieces.append(block.removeprefix("<p>").removesuffix("</p>") if is_paragraph else block)
        return "".join(pieces)

    def _table(self, node: Element) -> list[str]:
        """Return the table as one paragraph with a line for each row. Anything else, such as a caption, comes first."""
        lines: list[str] = []
        before: list[str] = []
        for child in _rows_and_others(node):
            if not isinstance(child, Element) or child.tag != "tr":
                before += self.blocks([child])
                continue
            # Between the cells there may be white space.
            cells = [cell for cell in child.children if isinstance(cell, Element) or cell.strip()]
            line = " | ".join(map(self._cell, cells))
            if is_visible(line.replace("|", "")):
                is_header = all(isinstance(cell, Element) and cell.tag == "th" for cell in cells)
                lines.append(f"<b>{line}</b>" if is_header else line)
        return [*before, *visible_element("p", "<br>".join(lines))]

    def _cell(self, cell: Node) -> str:
        nodes = cell.children if isinstance(cell, Element) and cell.tag in CELLS else [cell]
        return trim(self._run(nodes)).replace("<br>", " ")


def _rows_and_others(table: Element) -> list[Node]:
    """Return a table's children, with the sections thead, tbody and tfoot replaced by their own children."""
    nodes: list[Node] = []
    for child in table.children:
        nodes += child.children if isinstance(child, Element) and child.tag in TABLE_SECTIONS else [child]
    return nodes


def _quoted(block: str) -> str:
    """Return the block with `>` before each line if it is a paragraph."""
    if not block.startswith("<p>"):
        return block
    return "<p>&gt; " + block.removeprefix("<p>").replace("<br>", "<br>&gt; ")


def _without_image_urls(text: str) -> str:
    """Return the text with “[Picture]” instead of each word that contains the address of an image in iTop."""
    if not _has_image_url(text):
        return text
    picture = f"[{_('Picture')}]"
    return _WORD.sub(lambda word: picture if _has_image_url(word[0]) else word[0], text)


def _query_value(url: str, name: str) -> str:
    """Return the value of a parameter in the query of a URL, "" if there is none."""
    try:
        return parse_qs(urlsplit(url).query).get(name, [""])[0]
    except ValueError:
        return ""


def _has_image_url(text: str) -> bool:
    """Return whether the text contains the address of an image in iTop, which may be encoded several times."""
    return _IMAGE_OF_ITOP in _decoded(text).casefold()


def _decoded(text: str) -> str:
    """Return the text without percent-encoding. It may be encoded several times."""
    for _decoding in range(MAX_DECODINGS):
        decoded = unquote(text)
        if decoded == text:
            break
        text = decoded
    return text
