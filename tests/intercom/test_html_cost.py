"""No message costs more than linear time: four times as much of anything takes about four times as long.

Each pattern is one that made a parser, or a careless regular expression, take quadratic time.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable

import pytest

from intercom_bridge.intercom import html, tokens, tree
from intercom_bridge.intercom.html import comparable, first_line, text_to_html, to_log_html, to_text
from intercom_bridge.intercom.payloads import Attachment, Part
from intercom_bridge.intercom.text import clean_text, cut, normalize
from intercom_bridge.sync.verify import VisibleContent
from intercom_bridge.tickets.creation.duplicates import _similarity, _words
from intercom_bridge.tickets.links.merge import conversation_id_in
from tests.cases.cost import takes_linear_time

LENGTH = 6_000
"""Characters of the shorter input. The limits of the parser are lifted, so that the longer one is parsed too."""

# The repeated text, and the texts before and after it.
PATTERNS: dict[str, tuple[str, str, str]] = {
    "open comments": ("<p>hi</p>", "<!--", "</p>"),
    "comments without an end": ("<p>", "<!--x--", "</p>"),
    "comments": ("<p>", "<!-- x -->", "</p>"),
    "tags cut off by others": ("<p>", "<svg", "</p>"),
    "open svg": ("<p>", "<svg>", "</p>"),
    "open and closed svg": ("<p>", "<svg><math></svg>", "</p>"),
    "open scripts": ("<p>", "<script>", "</p>"),
    "scripts with half an end": ("<p>", "<script></script", "</p>"),
    "all raw elements": ("<p>", "<style><iframe><noscript><template><object><video><audio>", "</p>"),
    "videos with sources": ("<p>", "<video><source src=x></video>", "</p>"),
    "videos in sounds": ("<p>", "<video><audio>", "</audio></video></p>"),
    "definitions": ("<div>", "<dd><dt>", "</div>"),
    "open definitions": ("<div>", "<dl><dd>", "</div>"),
    "options": ("<div>", "<option><optgroup><select>", "</div>"),
    "unmatched ends after div": ("<div>" * 2500, "</p></b></li></td></a>", "</div>"),
    "unmatched ends after b": ("<p>" + "<b>" * 2500, "</i></div></h1></ul>", "</p>"),
    "font and i": ("<p>", "<font><i>", "</p>"),
    "font and i with text": ("<p>", "<font>a<i>b", "</p>"),
    "misnested formatting": ("<p>", "<b><i></b><u></i><s></u></s>x", "</p>"),
    "formatting around blocks": ("<p>", "<b><p>", "</p>"),
    "formatting around blocks with text": ("<p><i><u><s><code>", "<b>x<p>y</b>", "</p>"),
    "line breaks": ("<p>", "<br>", "x</p>"),
    "line breaks in lists": ("<ul><li>" * 50, "<br>x", "</ul>"),
    "distinct attributes": ("<p><b ", " %d", ">x</b></p>"),
    "equal attributes": ("<p><a ", " href=x", ">x</a></p>"),
    "attributes without a value": ("<p><b ", "= ", ">x</b></p>"),
    "open quotation marks": ("<p>", "<b a=\"<i b='", "</p>"),
    "one open quotation mark": ("<p>", "<b ", 'a="x</p>'),
    "end of a tag in a quotation": ("<p>", "<b ", 'a=">"</p>'),
    "nested blocks": ("", "<div>", "x</div>"),
    "nested quotes": ("", "<blockquote>x", "</blockquote>"),
    "nested lists": ("", "<ul><li>x", "</ul>"),
    "nested tables": ("", "<table><tr><td>x", "</table>"),
    "rows": ("<table>", "<tr><td>x<th>y", "</table>"),
    "cells": ("<table><tr>", "<td>", "x</table>"),
    "text in tables": ("<table>", "<tr>x", "</table>"),
    "list items below blocks": ("<ul><li><ul>" + "<div>" * 100, "<li></li>", "</ul>"),
    "headings": ("", "<h1>x<h6>", "</h1>"),
    "nested links": ("<p>", '<a href="https://abc.example/">x', "</p>"),
    "long links": ("<p>", '<a href="https://é.example/' + "x" * 500 + '">x<div>y</div></a>', "</p>"),
    "a link around blocks": ('<div><a href="https://abc.example/">', "<p>x", "</div>"),
    "blank blocks in a link": ('<p><a href="https://abc.example/">', "<b> </b><div> ", "</p>"),
    "embedded data": ("<p>", "<b x='data:" + "=data:" * 50 + "'>", "</p>"),
    "short embedded data": ("<p>", "=data:x", "</p>"),
    "pictures": ("<p>", '<img src="data:x">', "</p>"),
    "unknown tags": ("<p>", "x<z>", "</p>"),
    "brackets": ("<p>", "<", "</p>"),
    "half end tags": ("<p>", "</", "</p>"),
    "half declarations": ("<p>", "<!", "</p>"),
    "end tags without an end": ("<p>", "</a", "</p>"),
    "zero references": ("<p>", "&#0", "</p>"),
    "long references": ("<p>&#", "9", ";</p>"),
    "ampersands": ("<p>", "&amp", "</p>"),
    "preformatted lines": ("<pre>", "\n ", "x</pre>"),
    "preformatted lines in quotes": ("<blockquote>" * 50 + "<pre>", "\nx", "</pre>"),
    "spaces": ("<p>", " ", "x</p>"),
    "blank text": ("", "\u200b \u00a0", ""),
    "invisible elements": ("<div>", "<p>\u200b</p>", "</div>"),
    "blank lines": ("", "\n \t", "x"),
    "carriage returns": ("x", "\r", "x"),
    "URLs": ("", "https://", " x"),
    "URL of brackets": ("https://x.example/", "()))", ""),
    "short URLs": ("", "https://abc.example/. ", ""),
    "user names in a URL": ("https://", "a:", "/"),
    "mailto of dots": ('<p><a href="mailto:a@', "a.", 'é">x</a></p>'),
    "tabs": ("", "\tx", ""),
    "control characters": ("x", "\x00\ud800", "x"),
    "joined characters": ("", "👩\u200d", ""),
    "flags": ("", "🇫", ""),
    "marks on a letter": ("a", "\u0315\u0300", ""),
    "marks on a letter in HTML": ("<p>a", "\u0315\u0300", "</p>"),
    "marks in a host": ('<p><img src="https://e', "\u0315\u0300", '/x">x</p>'),
    "words that NFKD expands": ("", "\ufdfa ", ""),
    "hosts that look like Intercom's": ('<p><img src="https://', "intercom-attachments.", '">x</p>'),
    "host of one word": ('<p><img src="https://intercom-attachments', "-x", '">x</p>'),
    "ids": ("", "/1", "\n\nx"),
    "path": ("/", "a+%é", ""),
}


logs: dict[str, str] = {}
"""What is verified. It is converted once, and the conversion is measured on its own."""


def to_log(body: str) -> None:
    logs[body] = to_log_html(body)


CONVERSIONS: dict[str, Callable[[str], object]] = {
    "log": to_log,
    "text": to_text,
    "comparison": comparable,
    "text to HTML": text_to_html,
    "title": lambda body: first_line(body, 60),
    "verification": lambda body: VisibleContent.of(logs.get(body) or to_log_html(body)),
    "similarity": lambda body: _similarity(_words(body), _words(body[1:])),
    "conversation id": conversation_id_in,
    "file name": lambda body: Attachment.parse({"url": f"https://{body}", "content_type": body}),
    "part": lambda body: Part.parse({"id": 1, "body": body, "subject": body, "author": {"email": body}}),
    "cut": lambda body: cut(clean_text(body), len(body) // 2),
}


def body_of(pattern: str, length: int) -> str:
    before, repeated, behind = PATTERNS[pattern]
    count = length // len(repeated)
    if "%d" in repeated:
        return before + "".join(repeated % number for number in range(count)) + behind
    return before + repeated * count + behind


def seconds(convert: Callable[[str], object], body: str) -> float:
    start = time.process_time()
    convert(body)
    return time.process_time() - start


@pytest.fixture
def without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_TAGS", 10**9)
    monkeypatch.setattr(tree, "MAX_LENGTH", 10**9)
    monkeypatch.setattr(html, "MAX_TITLE_SOURCE", 10**9)


@pytest.mark.usefixtures("without_limits")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_time_grows_linearly(pattern: str) -> None:
    logs.clear()
    bodies = {factor: body_of(pattern, factor * LENGTH) for factor in (1, 4)}
    for name, convert in CONVERSIONS.items():

        def measure(factor: int, convert: Callable[[str], object] = convert) -> float:
            return seconds(convert, bodies[factor])

        assert takes_linear_time(measure), f"{name} of {pattern}"


def test_text_is_normalized_like_python_does_it() -> None:
    text = "e\u0301 Ame\u0301lie \ufb01 \u212b a\u0315\u0300 한글 \u1112\u1161\u11ab ｆｕｌｌ"
    assert normalize("NFC", text) == unicodedata.normalize("NFC", text)
    assert normalize("NFKD", text) == unicodedata.normalize("NFKD", text)


def test_there_are_enough_patterns() -> None:
    assert len(PATTERNS) >= 50


def test_what_is_behind_the_limits_becomes_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_TAGS", 2)
    assert to_log_html("<p>a</p><b>b &lt;</b><ul><li>c</li></ul>") == "<p>a</p><p>b &lt;</p><p>c</p>"
    monkeypatch.setattr(tree, "MAX_TAGS", 100)
    monkeypatch.setattr(tree, "MAX_LENGTH", 10)
    assert to_log_html("<p>a</p><b>b &lt;</b><ul><li>c</li></ul>") == "<p>a</p><p>b &lt;</p><p>c</p>"
    assert to_text("<p>a b c d e f g</p>") == "a b c\n\nd e f g"
    assert "".join(to_text("<p>abcdefghijklmnop</p>").split()) == "abcdefghijklmnop"


def test_an_embedded_picture_does_not_use_up_the_limit() -> None:
    body = f'<p>a</p><img src="data:image/png;base64,{"A" * 3_000_000}" alt="b"><p>c</p>'
    assert to_log_html(body) == "<p>a</p><p>[Picture: b]</p><p>c</p>"
    assert to_text(body) == "a\n\n[Picture: b]\n\nc"


@pytest.mark.parametrize("word", ["x ", "<b>x</b>"])
def test_a_sentence_stands_for_what_is_left_out(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(html, "MAX_BODY_LENGTH", 100)
    body = f"<p>{word * 50}</p>" if "<" in word else word * 100
    log = to_log_html(body, "https://app.intercom.com/a/1")
    assert log.endswith(
        "<p>[The rest of this message is in Intercom. "
        '<a href="https://app.intercom.com/a/1">https://app.intercom.com/a/1</a>]</p>'
    )
    assert to_log_html(body).endswith("<p>[The rest of this message is in Intercom.]</p>")
    assert len(log) < 400


def test_the_tokens_of_common_html() -> None:
    found = list(tokens.Tokenizer("<P CLASS=x>a<br/><a HREF='b' href=c>&lt;</a ></p>"))
    assert found == [
        tokens.StartTag("p"),
        tokens.TextToken("a"),
        tokens.StartTag("br"),
        tokens.StartTag("a", {"href": "b"}),
        tokens.TextToken("<"),
        tokens.EndTag("a"),
        tokens.EndTag("p"),
    ]
