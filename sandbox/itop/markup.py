"""What iTop does to HTML: the whitelist for input, and the plain text in output.

Follows recordings 082, 083, 090, 099 and 102. Two habits of iTop look odd: an unknown element is removed *with*
its content (an unclosed one removes the rest of the message), and text that begins without an element gets a
paragraph.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

BLOCKS = frozenset(
    [
        "p",
        "div",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "td",
        "th",
        "pre",
        "blockquote",
        "hr",
        "center",
        "fieldset",
        "nav",
        "section",
    ]  # fmt: skip
)
INLINE = frozenset(
    [
        "a",
        "b",
        "i",
        "u",
        "em",
        "strong",
        "span",
        "img",
        "br",
        "code",
        "font",
        "big",
        "small",
        "tt",
        "kbd",
        "samp",
        "var",
        "del",
        "s",
        "strike",
        "sub",
        "sup",
        "q",
        "cite",
        "abbr",
        "figure",
        "legend",
    ]  # fmt: skip
)
ALLOWED = BLOCKS | INLINE
VOID = frozenset(["img", "br", "hr"])
# Void elements that are not allowed: they have no content to remove.
FOREIGN_VOID = frozenset(
    ["area", "base", "col", "embed", "input", "link", "meta", "param", "source", "track", "wbr"]
)
ATTRIBUTES = frozenset(
    [
        "style",
        "class",
        "title",
        "name",
        "target",
        "alt",
        "width",
        "height",
        "href",
        "src",
        "colspan",
        "rowspan",
        "align",
        "dir",
        "start",
        "type",
    ]  # fmt: skip
)
STYLES = frozenset(
    [
        "color",
        "background-color",
        "font-size",
        "font-family",
        "font-weight",
        "font-style",
        "text-align",
        "text-decoration",
        "width",
        "height",
        "margin",
        "margin-left",
        "margin-right",
        "padding",
        "border",
        "border-collapse",
        "border-color",
        "float",
        "display",
        "vertical-align",
        "line-height",
    ]  # fmt: skip
)
ONLY_FOR = {"href": "a", "target": "a", "src": "img", "alt": "img"}
WEB = re.compile(r"^(https?|ftps?|mailto|tel)[:/]", re.IGNORECASE)
PICTURE = re.compile(r"^(https?://|data:image/)", re.IGNORECASE)
# What an empty message becomes in the real one (recording 102).
EMPTY = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 4.0 Transitional//EN" '
    '"http://www.w3.org/TR/REC-html40/loose.dtd">\n<?xml encoding="UTF-8"?>\n'
)


class Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.open: list[str] = []
        self.dropping: list[str] = []  # the forbidden element and the open elements inside it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropping:
            if tag not in VOID | FOREIGN_VOID:
                self.dropping.append(tag)
            return
        if tag in ("html", "body"):
            return
        if tag not in ALLOWED:
            if tag not in FOREIGN_VOID:
                self.dropping.append(tag)
            return
        if tag in BLOCKS and self.open and self.open[-1] == "p":
            self.close_element("p")
        if tag == "li" and "li" in self.open and self.open[-1] == "li":
            self.close_element("li")
        kept = "".join(f' {name}="{html.escape(value)}"' for name, value in self.kept(tag, attrs))
        self.out.append(f"<{tag}{kept}>")
        if tag not in VOID:
            self.open.append(tag)

    def kept(self, tag: str, attrs: list[tuple[str, str | None]]) -> list[tuple[str, str]]:
        found = []
        for name, raw in attrs:
            value = raw or ""
            if name not in ATTRIBUTES or ONLY_FOR.get(name, tag) != tag:
                continue
            if name == "href" and not (WEB.match(value) or value.startswith("#")):
                continue
            if name == "src" and not PICTURE.match(value):
                continue
            if name == "style":
                value = clean_style(value)
            if value:
                found.append((name, value))
        return found

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID | FOREIGN_VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.dropping:
            if tag in self.dropping:
                while self.dropping.pop() != tag:
                    pass
            return
        if tag in self.open:
            self.close_element(tag)

    def close_element(self, tag: str) -> None:
        while self.open:
            last = self.open.pop()
            self.out.append(f"</{last}>")
            if last == tag:
                return

    def handle_data(self, data: str) -> None:
        if self.dropping or not data:
            return
        if not self.out:
            data = data.lstrip()
            if not data:
                return
            self.handle_starttag("p", [])
        self.out.append(html.escape(data, quote=False))

    def result(self) -> str:
        self.close_element("")
        return "".join(self.out).strip()


def clean_style(style: str) -> str:
    found = []
    for rule in style.split(";"):
        name, _, value = rule.partition(":")
        if name.strip().lower() in STYLES and "url(" not in value and "expression" not in value:
            found.append(f"{name.strip()}:{value.strip()}")
    return ";".join(found)


def sanitise(markup: str) -> str:
    """Return HTML or plain text as iTop stores it; "" if nothing is left."""
    cleaner = Cleaner()
    cleaner.feed(markup)
    cleaner.close()
    return cleaner.result()


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.out.append("\n")
        elif tag == "li":
            self.out.append("\n- ")
        elif tag == "a":
            self.links.append((dict(attrs).get("href") or "", len(self.out)))
        elif tag in BLOCKS:
            self.out.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self.links:
            address, start = self.links.pop()
            label = "".join(self.out[start:])
            if address and address != label:
                self.out[start:] = [f"[{label}]({address})"]
        elif tag in BLOCKS and tag != "li":
            self.out.append("\n\n")

    def handle_data(self, data: str) -> None:
        self.out.append(re.sub(r"\s+", " ", data))


def to_text(markup: str) -> str:
    """Return the plain text that a response has as ``message``.

    Paragraphs are separated, list items begin with "- ", links are [label](url).
    """
    reader = Reader()
    reader.feed(markup)
    reader.close()
    lines = re.sub(r" *\n *", "\n", "".join(reader.out))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def text_to_html(text: str) -> str:
    """Return the HTML of an entry that was sent with ``format: text`` (recording 094)."""
    return html.escape(text).replace("&#x27;", "&#039;").replace("\r\n", "\n").replace("\n", "<br/>")
