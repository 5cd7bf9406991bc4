"""Message bodies as Intercom stores them: normalised HTML, and the plain text made from it."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

BLOCKS = frozenset({"p", "h1", "h2", "ul", "ol", "li", "pre", "blockquote"})
INLINE = frozenset({"b", "strong", "i", "em", "a", "code", "br", "img"})
_LINES = BLOCKS | {"div"}
_DROPPED = frozenset({"script", "style"})
_PARAGRAPH = '<p class="no-margin">'


def normalise(body: str) -> str:
    """Return posted HTML in the form that Intercom stores: only known tags, all text within blocks.

    Each `p` gets the class `no-margin`. Return "" if no text is left.
    """
    writer = _Normaliser()
    writer.feed(body)
    writer.close()
    return writer.result()


def from_text(text: str) -> str:
    """Return typed text as HTML: blank lines make paragraphs, line breaks stay, addresses become links."""
    paragraphs = re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())
    return "".join(
        f"{_PARAGRAPH}{_linked(paragraph).replace(chr(10), '<br>')}</p>"
        for paragraph in paragraphs
        if paragraph
    )


def to_text(body: str) -> str:
    """Return a body as plain text, as in notifications of API 2.15 and with `display_as=plaintext`.

    Links become `label (url)`.
    """
    reader = _TextReader()
    reader.feed(body)
    reader.close()
    return reader.result()


def _linked(text: str) -> str:
    pieces = re.split(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:!?)])", text)
    return "".join(
        f'<a href="{html.escape(piece)}" rel="nofollow noopener noreferrer" target="_blank">{html.escape(piece)}</a>'
        if index % 2
        else html.escape(piece, quote=False)
        for index, piece in enumerate(pieces)
    )


class _Normaliser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []  # the open elements
        self._own_paragraph = False  # whether a paragraph is open that was added around text without a block
        self._dropping = 0  # how many script and style elements are open: their content is dropped

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping += 1
        elif tag in BLOCKS:
            self._end_own_paragraph()
            self._out.append(_PARAGRAPH if tag == "p" else f"<{tag}>")
            self._open.append(tag)
        elif tag in INLINE:
            self._start_own_paragraph()
            self._inline(tag, dict(attrs))

    def _inline(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "br":
            self._out.append("<br>")
        elif tag == "img":
            source = attributes.get("src") or ""
            if source.startswith("https://"):
                self._out.append(f'<img src="{html.escape(source)}">')
        else:
            address = attributes.get("href") or ""
            if tag == "a" and re.match(r"(https?|mailto):", address):
                link = f'<a href="{html.escape(address)}" rel="nofollow noopener noreferrer" target="_blank">'
                self._out.append(link)
            elif tag == "a":
                return
            else:
                self._out.append(f"<{tag}>")
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropping = max(0, self._dropping - 1)
        elif tag in self._open:
            while True:
                closing = self._open.pop()
                self._out.append(f"</{closing}>")
                if closing == tag:
                    return

    def handle_data(self, data: str) -> None:
        if self._dropping or (not data.strip() and not self._inside_text()):
            return
        self._start_own_paragraph()
        self._out.append(html.escape(data, quote=False))

    def _inside_text(self) -> bool:
        return self._own_paragraph or any(tag not in ("ul", "ol") for tag in self._open)

    def _start_own_paragraph(self) -> None:
        if not self._open and not self._own_paragraph:
            self._out.append(_PARAGRAPH)
            self._own_paragraph = True

    def _end_own_paragraph(self) -> None:
        if self._own_paragraph:
            while self._open:
                self._out.append(f"</{self._open.pop()}>")
            self._out.append("</p>")
            self._own_paragraph = False

    def result(self) -> str:
        while self._open:
            self._out.append(f"</{self._open.pop()}>")
        self._end_own_paragraph()
        whole = "".join(self._out).strip()
        return whole if to_text(whole) else ""


class _TextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._address = ""
        self._label = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _LINES and tag not in ("ul", "ol"):
            self._out.append("\n- " if tag == "li" else "\n")
        elif tag == "br":
            self._out.append("\n")
        elif tag == "img":
            self._out.append("[Image]")
        elif tag == "a":
            self._address, self._label = dict(attrs).get("href") or "", ""

    def handle_endtag(self, tag: str) -> None:
        if tag in _LINES and tag not in ("ul", "ol", "li"):
            self._out.append("\n")
        elif tag == "a":
            if self._address and self._label.strip() != self._address:
                self._out.append(f" ({self._address})")
            self._address = ""

    def handle_data(self, data: str) -> None:
        self._out.append(data)
        if self._address:
            self._label += data

    def result(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", "".join(self._out)).strip()
