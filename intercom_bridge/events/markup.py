"""Convert HTML of iTop (log entries, solutions) into HTML that Intercom keeps, with all text in block elements.

Intercom documents no list of the tags that it keeps in conversations. The result contains p, h1, h2, ul, ol, li, br,
b, strong, i, em, code, pre and a; everything else becomes one of them: a row of a table is a line, a quotation gets
`>` before each line.

The address of an image within iTop contains the only secret that protects the image, so no such address is sent,
neither of an image nor in a link or a text. Of images, only the name remains.
"""

from __future__ import annotations

import html
import re
from typing import Final
from urllib.parse import unquote

from django.utils.translation import gettext as _

from intercom_bridge.intercom.html import (
    EMBEDDED_DATA,
    HtmlRenderer,
    allowed_url,
    escape,
    is_visible,
    media_label,
    trim,
    visible_element,
)
from intercom_bridge.intercom.text import clean_text, cut
from intercom_bridge.intercom.tree import CELLS, TABLE_SECTIONS, Element, Node, Nodes, parse
from intercom_bridge.models import ItopInstance

MAX_LENGTH: Final = 20_000
"""Characters of the result, not counting the sentence that replaces the rest."""

MAX_READ: Final = 100_000
"""Characters of iTop's HTML that are read."""

PEOPLE: Final = ("Person", "Contact", "User", "UserLocal", "UserLDAP", "UserExternal")
"""Classes of iTop whose objects have people's names."""

_KEPT_INLINE: Final = frozenset({"b", "strong", "i", "em", "code"})
_KEPT_URL = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*+>")
_WORD = re.compile(r"[^\s<>\"']++")
_IMAGE_OF_ITOP: Final = "download_inlineimage"
# [[Class:id]] or [[Class:id|label]], as people type them in iTop.
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

    Mentions and [[Class:id]] become links to iTop's back office, `for_customer` only their labels. If `only_person` is
    given, mentions name no other person than the one with this id: the customer, where agents' names are hidden.
    """
    text, is_cut = _read(markup)
    blocks = _IntercomRenderer(None if for_customer else itop, only_person).blocks(parse(text))
    kept: list[str] = []
    left = min(max_length, MAX_LENGTH)
    for block in blocks:
        if len(block) > left:
            is_cut = True
            words = html.unescape(_TAG.sub(" ", block)).strip()
            # Of a later block, nothing is kept: few are that long.
            kept += [] if kept else visible_element("p", escape(cut(words, left)))
            break
        kept.append(block)
        left -= len(block)
    if is_cut:
        kept.append(f"<p>[{escape(_('The rest of this text is in iTop.'))}]</p>")
    return "".join(kept)


def _read(markup: str) -> tuple[str, bool]:
    """Return the HTML that is converted, and whether some is left out. Embedded pictures must not use up the limit."""
    text = clean_text(markup).strip()
    if len(text) > MAX_READ:
        text = EMBEDDED_DATA.sub("data:", text)
    if len(text) <= MAX_READ:
        return text, False
    text = text[:MAX_READ]
    start = text.rfind("<")
    return (text[:start] if start > text.rfind(">") else text), True


class _IntercomRenderer(HtmlRenderer):
    def __init__(self, itop: ItopInstance | None, only_person: int | None) -> None:
        super().__init__()
        self._itop = itop
        self._only_person = only_person
        self._is_preformatted = False

    def inline(self, node: Node) -> str:
        if isinstance(node, str):
            return _without_image_urls(node) if self._is_preformatted else self._text(_SPACES.sub(" ", node))
        if node.tag == "a" or node.is_block or node.tag in _KEPT_INLINE or not node.children:
            return super().inline(node)
        return self._run(node.children)

    def _text(self, text: str) -> str:
        """Return text with links for [[Class:id]], and without the addresses of iTop's images."""
        pieces: list[str] = []
        end = 0
        for found in _OBJECT_LINK.finditer(text):
            pieces.append(_without_image_urls(text[end : found.start()]))
            name, object_id, label = found.groups()
            pieces.append(self._object(name, object_id.strip(), (label or "").strip()))
            end = found.end()
        return "".join([*pieces, _without_image_urls(text[end:])])

    def _object(self, class_name: str, object_id: str, label: str) -> str:
        if self._only_person is not None and class_name in PEOPLE and object_id != str(self._only_person):
            return escape(_("a colleague"))
        shown = _without_image_urls(label or f"{class_name} {object_id}")
        is_known = _CLASS_NAME.fullmatch(class_name) and _OBJECT_ID.fullmatch(object_id)
        if self._itop is None or not is_known:
            return shown
        url = self._itop.backoffice_url(class_name, int(object_id))
        return f'<a href="{html.escape(url)}">{shown}</a>'

    def _link(self, node: Element, content: str) -> str:
        label = html.unescape(_TAG.sub("", content))
        if node.attributes.get("data-role") == "object-mention":
            class_name = node.attributes.get("data-object-class", "")
            return self._object(class_name, node.attributes.get("data-object-id", ""), label)
        url = allowed_url(node.attributes.get("href", ""), _KEPT_URL)
        if not url or _is_image_of_itop(url):
            return escape(label)
        return f'<a href="{html.escape(url)}">{escape(label)}</a>'

    def _media(self, node: Element) -> str:
        name = " ".join(node.attributes.get("alt", "").split())
        return escape(media_label(node.tag, "" if _is_image_of_itop(name) else cut(name, 200)))

    def _heading(self, node: Element) -> list[str]:
        return visible_element("h1" if node.tag == "h1" else "h2", trim(self._run(node.children)))

    def _preformatted(self, node: Element) -> list[str]:
        outside, self._is_preformatted = self._is_preformatted, True
        content = "".join(self.inline(child) for child in node.children)
        self._is_preformatted = outside
        code = _TAG.sub("", content.replace("<br>", "\n")).strip("\n")
        return [f"<pre><code>{code}</code></pre>"] if is_visible(code) else []

    def _quote(self, node: Element) -> list[str]:
        return [_quoted(block) for block in self.blocks(node.children)]

    def _item(self, nodes: Nodes) -> str:
        """Return the content of a list item: lines, and lists within the list."""
        pieces: list[str] = []
        for block in self.blocks(nodes):
            is_paragraph = block.startswith("<p>")
            if pieces and is_paragraph:
                pieces.append("<br>")
            pieces.append(block.removeprefix("<p>").removesuffix("</p>") if is_paragraph else block)
        return "".join(pieces)

    def _table(self, node: Element) -> list[str]:
        """Return the table as one paragraph with a line for each row."""
        lines: list[str] = []
        before: list[str] = []
        for child in _rows(node):
            if not isinstance(child, Element) or child.tag != "tr":
                before += self.blocks([child])
                continue
            cells = [cell for cell in child.children if isinstance(cell, Element) or cell.strip()]
            line = " | ".join(map(self._cell, cells))
            if is_visible(line.replace("|", "")):
                is_header = all(isinstance(cell, Element) and cell.tag == "th" for cell in cells)
                lines.append(f"<b>{line}</b>" if is_header else line)
        return [*before, *visible_element("p", "<br>".join(lines))]

    def _cell(self, cell: Node) -> str:
        is_cell = isinstance(cell, Element) and cell.tag in CELLS
        nodes = cell.children if isinstance(cell, Element) and is_cell else [cell]
        return trim(self._run(nodes)).replace("<br>", " ")


def _rows(node: Element) -> list[Node]:
    """Return the rows of a table, and what else is in it, such as its caption."""
    rows: list[Node] = []
    for child in node.children:
        is_section = isinstance(child, Element) and child.tag in TABLE_SECTIONS
        rows += child.children if isinstance(child, Element) and is_section else [child]
    return rows


def _quoted(block: str) -> str:
    if not block.startswith("<p>"):
        return block
    return "<p>&gt; " + block.removeprefix("<p>").replace("<br>", "<br>&gt; ")


def _without_image_urls(text: str) -> str:
    """Return escaped text in which the addresses of iTop's images are replaced."""
    if _IMAGE_OF_ITOP in unquote(text).casefold():
        text = _WORD.sub(lambda word: f"[{_('Picture')}]" if _is_image_of_itop(word[0]) else word[0], text)
    return escape(text)


def _is_image_of_itop(url: str) -> bool:
    # Encoded once more if the address is a parameter of another one.
    return _IMAGE_OF_ITOP in unquote(unquote(url)).casefold()
