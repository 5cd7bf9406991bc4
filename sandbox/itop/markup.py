"""Process HTML as iTop does: sanitise it in requests, and convert it to plain text in responses.

This follows recordings 082, 083, 090, 099 and 102, and the behaviour of iTop 2.7 to 3.3. Some of it looks odd:

- An unknown element is removed *with* its content: if it is not closed, up to the end of its parent.
- Of a link whose address does not match iTop's own pattern for web and e-mail addresses, only the label is kept.
- Addresses are stored percent-encoded.
- A text that begins without an element gets a paragraph.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import quote

from .datamodel import VERSIONS

BLOCKS = (
    frozenset(["p", "div", "h1", "h2", "h3", "h4", "ul", "ol", "li", "pre", "blockquote", "hr", "center"])
    | {"table", "colgroup", "thead", "tbody", "tr", "td", "th"}
    | {"fieldset", "nav", "section", "figure", "figcaption"}
)
WITHOUT_ATTRIBUTES = frozenset(
    ["br", "big", "small", "tt", "kbd", "samp", "var", "del", "s", "ins", "cite", "q", "center", "colgroup"]
)
WITH_CLASS = frozenset(["b", "i", "u", "em", "strong", "pre", "mark", "figcaption"])
WITH_STYLE = (
    frozenset(["p", "div", "h1", "h2", "h3", "h4", "ul", "ol", "li", "blockquote", "hr"])
    | {"a", "span", "img", "code", "font"}
    | {"table", "thead", "tbody", "tr", "td", "th"}
    | {"fieldset", "legend", "nav", "section", "figure"}
)
FURTHER_ATTRIBUTES = {
    "a": frozenset(["href", "name", "target", "title", "data-role", "data-object-class", "data-object-id"]),
    "img": frozenset(["src", "alt", "title", "width", "height"]),
    "ol": frozenset(["reversed", "start", "type"]),
    "li": frozenset(["value"]),
    "table": frozenset(["width", "summary", "align", "border", "cellpadding", "cellspacing"]),
    "col": frozenset(["style"]),
    "font": frozenset(["face", "color", "size"]),
    **dict.fromkeys(["tr", "td", "th"], frozenset(["colspan", "rowspan"])),
}
ALLOWED = WITHOUT_ATTRIBUTES | WITH_CLASS | WITH_STYLE | {"col"}
# The first version that keeps an element, or an attribute of an element ("": of any element). Version 2.7 already
# keeps all others.
ELEMENTS_SINCE = dict.fromkeys(["mark", "figure", "figcaption", "col", "colgroup"], "3.2")
ATTRIBUTES_SINCE = {
    **dict.fromkeys([("a", "data-role"), ("a", "data-object-class"), ("a", "data-object-id")], "3.0"),
    **dict.fromkeys([("ol", "reversed"), ("ol", "start"), ("ol", "type"), ("li", "value")], "3.1"),
    **dict.fromkeys([("", "class"), ("img", "width"), ("img", "height")], "3.2"),
}
VOID = frozenset(["img", "br", "hr", "col"])
# Void elements of HTML 4 that are not allowed: they have no content to remove. The parser does not know the void
# elements of HTML 5 (source, track, wbr), so these are removed with what follows them.
FOREIGN_VOID = frozenset(["area", "base", "basefont", "embed", "frame", "input", "link", "meta", "param"])
# A start tag -> the elements that it closes if they are the innermost open element.
CLOSED_BY = {"li": ("li",), "td": ("td", "th"), "th": ("td", "th"), "tr": ("td", "th", "tr")}
STYLES = (
    frozenset(["background-color", "color", "font", "font-family", "font-size", "font-style", "white-space"])
    | {"border", "border-collapse", "bordercolor", "cellpadding", "cellspacing", "margin", "padding"}
    | {"aspect-ratio", "height", "width", "float", "text-align", "vertical-align"}
)
# iTop keeps a link only if its address contains a match: a web address (with a host of at least three ASCII letters,
# so not an IDN, an IPv6 address or a host of one letter), an e-mail address (without a plus), or a placeholder.
LINK_ADDRESS = re.compile(
    r"(?:https?|ftp)://(?:[a-z0-9+!*(),;?&=$_.:-]+@)?[a-z0-9.-]{3}"
    r"|mailto:[a-z0-9._&'-]+@[a-z0-9.-]+\.[a-z0-9-]{2}"
    r"|(?:\$|%24)\w[\w>()-]*(?:\$|%24)",
    re.IGNORECASE | re.ASCII,
)
PICTURE_ADDRESS = re.compile(r"https?:|data:", re.IGNORECASE)
# The characters of an address that the serializer does not percent-encode, besides ASCII letters and digits.
NOT_ENCODED = "@/:=?;#%&,+-_.!~*'()<>"
# What iTop stores for an empty message (recording 102).
EMPTY = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 4.0 Transitional//EN" '
    '"http://www.w3.org/TR/REC-html40/loose.dtd">\n<?xml encoding="UTF-8"?>\n'
)


class Cleaner(HTMLParser):
    def __init__(self, version: str) -> None:
        super().__init__(convert_charrefs=True)
        self.version = version
        self.out: list[str] = []
        self.open: list[str] = []  # the open elements that are kept
        self.dropping: list[
            str
        ] = []  # the open elements that are removed: a forbidden one and those inside it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropping:
            if tag not in VOID | FOREIGN_VOID:
                self.dropping.append(tag)
            return
        if tag in ("html", "body"):
            return
        if tag not in ALLOWED or self.version < ELEMENTS_SINCE.get(tag, ""):
            if tag not in VOID | FOREIGN_VOID:
                self.dropping.append(tag)
            return
        if tag in BLOCKS and self.open and self.open[-1] == "p":
            self.close_element("p")
        if self.open and self.open[-1] in CLOSED_BY.get(tag, ()):
            self.close_element(self.open[-1])
            if tag == "tr" and self.open and self.open[-1] == "tr":
                self.close_element("tr")
        if tag == "a" and "a" in self.open:
            self.close_element("a")
        kept = "".join(f" {name}{serialized(value)}" for name, value in self.kept_attributes(tag, attrs))
        self.out.append(f"<{tag}{kept}>")
        if tag not in VOID:
            self.open.append(tag)

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
            if tag not in self.open:
                return
            self.dropping.clear()  # the end of the parent
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

    def kept_attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """Return the attributes of an allowed element that iTop keeps, in the form in which it stores them."""
        kept: dict[str, str | None] = {}
        for name, value in attrs:
            if name not in self.allowed_attributes(tag) or name in kept:
                continue
            if name == "href" and not LINK_ADDRESS.search(value or ""):
                continue
            if name == "src" and not PICTURE_ADDRESS.match(value or ""):
                continue
            if name == "style":
                value = clean_style(value or "")
                if not value:
                    continue
            if name in ("href", "src") or (name, tag) == ("name", "a"):
                value = quote((value or "").lstrip(), safe=NOT_ENCODED)
            kept[name] = value
        return list(kept.items())

    def allowed_attributes(self, tag: str) -> set[str]:
        """Return the names of the attributes that this version of iTop keeps for an element."""
        allowed = set(FURTHER_ATTRIBUTES.get(tag, ()))
        if tag in WITH_STYLE:
            allowed |= {"style", "class"}
        if tag in WITH_CLASS:
            allowed.add("class")

        def is_kept(name: str) -> bool:
            # The first version that keeps it: for all elements (""), and for this element.
            since = ATTRIBUTES_SINCE.get(("", name), ""), ATTRIBUTES_SINCE.get((tag, name), "")
            return all(self.version >= version for version in since)

        return set(filter(is_kept, allowed))

    def result(self) -> str:
        self.close_element("")
        return "".join(self.out).strip()


def serialized(value: str | None) -> str:
    """Return an attribute's value with the equals sign before it, in quotation marks.

    If the value contains quotation marks and no apostrophe, apostrophes surround it.
    """
    if value is None:
        return ""
    text = html.escape(value, quote=False)
    if '"' in text and "'" not in text:
        return f"='{text}'"
    return '="' + text.replace('"', "&quot;") + '"'


def clean_style(style: str) -> str:
    """Return the declarations whose property is allowed. Their values are not checked."""
    rules = (rule.strip() for rule in style.split(";"))
    return ";".join(rule for rule in rules if rule.partition(":")[0].strip().lower() in STYLES)


def sanitise(markup: str, version: str = VERSIONS[-1]) -> str:
    """Return HTML or plain text as this version of iTop stores it. Return "" if nothing is left."""
    cleaner = Cleaner(version)
    cleaner.feed(markup)
    cleaner.close()
    return cleaner.result()


def mark_pictures(markup: str, root_address: str) -> str:
    """Add ``data-img-id`` and ``data-img-secret`` to each picture of this iTop (recordings 232 and 233)."""
    address = html.escape(f"{root_address}pages/ajax.document.php?operation=download_inlineimage&id=")
    pattern = rf'(<img [^>]*src="{re.escape(address)}([0-9]+)&amp;s=([0-9a-f]+)"[^>]*)>'
    return re.sub(
        pattern, lambda found: f'{found[1]} data-img-id="{found[2]}" data-img-secret="{found[3]}">', markup
    )


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.links: list[tuple[str, int]] = []  # open links: the address, and where in `out` the label begins

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.out.append("\n")
        elif tag == "li":
            self.out.append("\n- ")
        elif tag == "img" and dict(attrs).get("alt"):
            self.out.append(f"[{dict(attrs)['alt']}]")  # recording 232
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
    """Return an entry's HTML as plain text: the ``message`` in a response.

    Blank lines separate paragraphs, list items begin with "- ", and links become [label](url).
    """
    reader = Reader()
    reader.feed(markup)
    reader.close()
    lines = re.sub(r" *\n *", "\n", "".join(reader.out))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def text_to_html(text: str) -> str:
    """Return the HTML of an entry that was sent with ``format: text`` (recording 094)."""
    return html.escape(text).replace("&#x27;", "&#039;").replace("\r\n", "\n").replace("\n", "<br/>")
