"""HTML of iTop becomes HTML that Intercom keeps, with all text in blocks and without the addresses of iTop's images."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.events import markup
from intercom_bridge.events.markup import to_intercom, to_plain_text
from intercom_bridge.intercom import tree
from intercom_bridge.intercom.html import to_text
from intercom_bridge.models import ItopInstance
from sandbox.intercom.markup import normalise
from tests.cases.cost import takes_linear_time
from tests.ids import short_id
from tests.intercom.test_html_cost import LENGTH, PATTERNS, body_of

RECORDINGS = Path(__file__).parent.parent / "recordings"
ITOP = ItopInstance(name="iTop", url="https://itop.example")
CONSOLE = "https://itop.example/pages/UI.php?operation=details&amp;class={}&amp;id={}"
IMAGE = "https://itop.example/pages/ajax.document.php?operation=download_inlineimage&amp;id=1&amp;s=83c310"
CASES = {
    "<p>My screen <b>flickers</b></p>": "<p>My screen <b>flickers</b></p>",
    "no block": "<p>no block</p>",
    "<div>a<div>b</div></div>": "<p>a</p><p>b</p>",
    "<p>a\n  b</p>": "<p>a b</p>",
    "<h1>a</h1><h3>b</h3>": "<h1>a</h1><h2>b</h2>",
    "<p>1 &lt; 2 &amp; &quot;x&quot;</p>": '<p>1 &lt; 2 &amp; "x"</p>',
    "<p><mark>a</mark> <u>b</u> <em>c</em></p>": "<p>a b <em>c</em></p>",
    "<script>alert(1)</script><p onclick='x'>a</p>": "<p>a</p>",
    "<ul><li>a<ul><li>b</li></ul></li><li><p>c</p><p>d</p></li></ul>": (
        "<ul><li>a<ul><li>b</li></ul></li><li>c<br>d</li></ul>"
    ),
    '<ol start="3"><li>a</li></ol>': '<ol start="3"><li>a</li></ol>',
    '<pre><code class="language-sql">SELECT 1\n  FROM <b>x</b></code></pre>': (
        "<pre><code>SELECT 1\n  FROM x</code></pre>"
    ),
    "<blockquote><p>a<br>b</p><p>c</p></blockquote>": "<p>&gt; a<br>&gt; b</p><p>&gt; c</p>",
    "<blockquote><blockquote>a</blockquote></blockquote>": "<p>&gt; &gt; a</p>",
    '<figure class="table"><table><thead><tr><th>Host</th><th>State</th></tr></thead>'
    "<tbody><tr><td>db1</td><td><p>up</p><p>slow</p></td></tr><tr><td></td><td>x</td></tr></tbody></table></figure>": (
        "<p><b>Host | State</b><br>db1 | up slow<br> | x</p>"
    ),
    "<table><tr>a<td>b</td></tr></table>": "<p>a | b</p>",
    "<table>\n <tr>\n <th>a</th>\n <th>b</th> </tr>\n</table>": "<p><b>a | b</b></p>",
    "<table><caption>Hosts</caption><tr><td>a</td></tr></table>": "<p>Hosts</p><p>a</p>",
    '<p><a href="https://x.example/a?b=1&amp;c=2">x</a></p>': (
        '<p><a href="https://x.example/a?b=1&amp;c=2">x</a></p>'
    ),
    '<p><a href="javascript:alert(1)">x</a> <a href="../pages/UI.php">y</a></p>': "<p>x y</p>",
    '<p>Hi <a data-role="object-mention" data-object-class="Person" data-object-id="9" href="https://itop.example/x">'
    "@Jules Verne</a></p>": f'<p>Hi <a href="{CONSOLE.format("Person", 9)}">@Jules Verne</a></p>',
    '<p><a data-role="object-mention" data-object-class="x&quot;y" data-object-id="1">@x</a></p>': "<p>@x</p>",
    "<p>See [[UserRequest:12|R-000012]].</p>": (
        f'<p>See <a href="{CONSOLE.format("UserRequest", 12)}">R-000012</a>.</p>'
    ),
    "<p>[[UserRequest:12]]</p>": f'<p><a href="{CONSOLE.format("UserRequest", 12)}">UserRequest 12</a></p>',
    "<p>[[Server:db1.example]] [[not a link]] [[A:]]</p>": (
        "<p>Server db1.example [[not a link]] [[A:]]</p>"
    ),
    "<p>[[Server:1|<b>db</b>]]</p>": "<p>[[Server:1|<b>db</b>]]</p>",
    "<p>[[Server:1|a &lt;b&gt;]]</p>": "<p>[[Server:1|a &lt;b&gt;]]</p>",
    '<p><a href="https://x.example">[[Server:1]]</a></p>': '<p><a href="https://x.example">Server 1</a></p>',
    "<pre>[[ 0:1 ]] [[A:1]]</pre>": "<pre><code>[[ 0:1 ]] [[A:1]]</code></pre>",
    f'<p>a</p><p><img src="{IMAGE}" alt="shot.png" data-img-id="1"></p>': "<p>a</p><p>[Picture: shot.png]</p>",
    f'<p><img src="{IMAGE}"></p>': "<p>[Picture]</p>",
    '<p><img src="https://other.example/logo.png" alt="logo"></p>': "<p>[Picture: logo]</p>",
    '<p><img src="data:image/png;base64,AAAA"></p>': "<p>[Picture]</p>",
    f'<p><a href="{IMAGE}"><img src="{IMAGE}" alt="shot.png"></a></p>': "<p>[Picture: shot.png]</p>",
    f'<p><a href="{IMAGE}">open</a></p>': "<p>open</p>",
    f"<p>It is at {IMAGE} now</p>": "<p>It is at [Picture] now</p>",
    f"<pre>{IMAGE}</pre>": "<pre><code>[Picture]</code></pre>",
    "<p><a href='https://x.example/?u=https%253A%252F%252Fi%252F%253Fo%253Ddownload%255Finlineimage'>x</a></p>": (
        "<p>x</p>"
    ),
    "<p>It is at https://x.example/?u=download%255Finlineimage%2526s%253D83c310 now</p>": (
        "<p>It is at [Picture] now</p>"
    ),
    "<p>It is at https://x.example/?u=download%25255Finlineimage%252526s%25253D83c310 now</p>": (
        "<p>It is at [Picture] now</p>"
    ),
    "<p>100%25 of https://x.example/?u=a%255Fb</p>": "<p>100%25 of https://x.example/?u=a%255Fb</p>",
    f'<p><img src="x" alt="{IMAGE}"></p>': "<p>[Picture]</p>",
    f"<p>[[A:1|{IMAGE}]]</p>": f'<p><a href="{CONSOLE.format("A", 1)}">[Picture]</a></p>',
    "": "",
    "<p>&nbsp;</p><p>\u200b</p>": "",
}


@pytest.mark.parametrize("given_html", CASES, ids=short_id)
def test_conversion(given_html: str) -> None:
    result = to_intercom(given_html, ITOP)
    assert result == CASES[given_html]
    assert "83c310" not in result


def test_customers_get_no_address_of_the_back_office() -> None:
    mention = (
        '<a data-role="object-mention" data-object-class="Person" data-object-id="9" href="x">@Jules</a>'
    )
    html = f"<p>{mention} [[UserRequest:12|R-000012]] [[Server:1]]</p>"
    assert to_intercom(html, ITOP, for_customer=True) == "<p>@Jules R-000012 Server 1</p>"
    console = f'<p><a href="{ITOP.url}/pages/UI.php?operation=details&amp;id=1">R-000001</a></p>'
    assert to_intercom(console, ITOP, for_customer=True) == "<p>R-000001</p>"
    portal = f'<p><a href="{ITOP.url}/pages/exec.php/object/edit/UserRequest/1">R-000001</a></p>'
    assert to_intercom(portal, ITOP, for_customer=True) == portal


@pytest.mark.parametrize(
    "given_html",
    [
        "<p>See ({url}).</p>",
        '<p>See (<a href="{url}">{url}</a>).</p>',
        '<p>See (<a href="{url}"><b>{url}</b></a>).</p>',
        "<p>See ([[Server:1|{url}]]).</p>",
    ],
    ids=["text", "link", "bold link", "label"],
)
def test_an_address_of_the_back_office_in_a_text_is_replaced_for_customers(given_html: str) -> None:
    html = given_html.format(url=CONSOLE.format("UserRequest", 12))
    assert to_intercom(html, ITOP, for_customer=True) == "<p>See ([Internal link]).</p>"
    assert "operation=details" in to_intercom(html, ITOP)


@pytest.mark.parametrize(
    "address",
    [
        "itop.example/pages/UI.php?operation=details&amp;class=UserRequest&amp;id=12",
        "https://x.example/?url=https://itop.example/pages/UI.php",
        "https://x.example/?url=https%3A%2F%2Fitop.example%2Fpages%2FUI.php%3Fid%3D12&amp;data=05",
        "https://x.example/?u=https%3A%2F%2Fy.example%2F%3Fu%3Dhttps%253A%252F%252Fitop.example%252Fpages%252FUI.php",
        "x.example/?url=itop.example%2Fpages%2FUI.php",
    ],
    ids=["without https", "parameter", "encoded parameter", "encoded twice", "both without https"],
)
def test_an_address_within_another_or_without_https_is_replaced_for_customers(address: str) -> None:
    text = f"<p>See ({address}), please.</p>"
    assert to_intercom(text, ITOP, for_customer=True) == "<p>See ([Internal link]), please.</p>"
    label = f'<p><a href="https://x.example/">({address})</a></p>'
    expected = '<p><a href="https://x.example/">([Internal link])</a></p>'
    assert to_intercom(label, ITOP, for_customer=True) == expected
    assert "UI.php" in to_intercom(text, ITOP)


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/?url=https%3A%2F%2Fitop.example%2Fpages%2FUI.php&amp;data=05",
        "mailto:a@x.example?body=itop.example/pages/UI.php",
    ],
)
def test_a_link_with_an_address_of_the_back_office_is_a_label_for_customers(url: str) -> None:
    html = f'<p><a href="{url}">R-000012</a></p>'
    assert to_intercom(html, ITOP, for_customer=True) == "<p>R-000012</p>"
    assert to_intercom(html, ITOP) == html


def test_other_addresses_in_a_text_are_kept_for_customers() -> None:
    html = (
        "<p>See https://x.example/?a=1&amp;b=2, https://itop.example, (itop.example/), me@itop.example, "
        "https://x.example/?url=https%3A%2F%2Fitop.example%2F&amp;data=05 and [[x]].</p>"
    )
    assert to_intercom(html, ITOP, for_customer=True) == html


def test_an_address_of_the_back_office_in_code_is_replaced_for_customers() -> None:
    html = f"<pre>curl {CONSOLE.format('Server', 1)}\nexit</pre>"
    expected = "<pre><code>curl [Internal link]\nexit</code></pre>"
    assert to_intercom(html, ITOP, for_customer=True) == expected


def test_an_address_of_the_back_office_as_the_name_of_a_picture_is_replaced_for_customers() -> None:
    html = f'<p><img src="https://x.example/a.png" alt="{CONSOLE.format("Server", 1)}"></p>'
    assert to_intercom(html, ITOP, for_customer=True) == "<p>[Picture: [Internal link]]</p>"
    assert "operation=details" in to_intercom(html, ITOP)


def test_links_to_itop_are_only_labels_in_plain_text_for_teammates() -> None:
    html = '<p><a href="HTTPS://iTop.example:443/pages/UI.php?id=1">R-000001</a> <a href="https://x.example">x</a></p>'
    assert to_plain_text(html, ITOP) == "R-000001 x (https://x.example)"


def test_a_mention_is_linked_by_the_id_in_its_address() -> None:
    """iTop 3.3 writes no id in `data-object-id`."""
    mention = (
        '<p><a data-role="object-mention" data-object-class="Person" data-object-id="@Jules" '
        'href="https://itop.example/pages/UI.php?operation=details&amp;class=Person&amp;id=9">@Jules</a></p>'
    )
    assert "class=Person&amp;id=9" in to_intercom(mention, ITOP)
    assert to_intercom(mention, ITOP, for_customer=True, only_person=9) == "<p>@Jules</p>"
    assert "Jules" not in to_intercom(mention, ITOP, for_customer=True, only_person=8)


def test_the_entries_of_the_recordings_are_converted_without_the_secrets_of_images() -> None:
    secrets, entries = set(), []
    for file in sorted(RECORDINGS.rglob("*.json")):
        text = file.read_text()
        secrets |= set(re.findall(r"&amp;s=([0-9a-f]+)", text))
        entries += re.findall(r'"message_html": ("(?:[^"\\]|\\.)*")', text)
    assert len(entries) > 50
    for entry in entries:
        result = to_intercom(json.loads(entry), ITOP)
        assert not [secret for secret in secrets if secret in result]
        assert "download_inlineimage" not in result


class _TextOutsideBlocks(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not set(self.open) & {"p", "h1", "h2", "li", "pre"}:
            self.found.append(data)


TAGS = (
    "<p> </p> <div> </div> <b> </b> <u> <s> <ul> <li> </ul> <blockquote> </blockquote> <pre> </pre> <code> </code> "
    "<br> <h3> </h3> <table> <tbody> <caption> <tr> <tr>ω</tr> <td> ω<td>ω <th> </table> "
    "<figure> <figcaption> <dl><dd> </a>"
)
PIECES = [
    *TAGS.split(" "),
    *(
        '<a href="https://x.example">',
        f'<img src="{IMAGE}">',
        f" {IMAGE} ",
        "[[A:1]]",
        "ω",
        "&lt;",
        " ",
        "\n",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_all_text_is_in_blocks_and_intercom_keeps_it(pieces: list[str]) -> None:
    result = to_intercom("".join(pieces), ITOP)
    reader = _TextOutsideBlocks()
    reader.feed(result)
    reader.close()
    assert (reader.open, reader.found) == ([], [])
    assert "83c310" not in result
    assert result.count("ω") == "".join(pieces).count("ω")
    words = "".join(to_text(result).split())
    assert "".join(to_text(normalise(result)).split()) == words


def test_the_rest_of_a_long_text_is_replaced_by_a_sentence() -> None:
    rest = "<p>[The rest of this text is in iTop.]</p>"
    paragraph = f"<p>{'x ' * 2000}</p>"
    result = to_intercom(paragraph * 10, ITOP)
    assert result.endswith(rest) and len(result) <= markup.MAX_LENGTH + len(rest)
    assert result.count("<p>x") == 4
    one = to_intercom(f"<p>{'word ' * 10_000}</p>", ITOP)
    assert one.endswith(f"word…</p>{rest}") and len(one) <= markup.MAX_LENGTH + len(rest) + len("<p></p>")
    assert to_intercom("<p>a</p>", ITOP, max_length=0) == rest
    assert to_intercom("", ITOP, max_length=0) == ""


def test_what_is_behind_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = "<p>[The rest of this text is in iTop.]</p>"
    embedded = f'<p>a</p><p><img alt="b" src="data:image/png;base64,{"A" * 200_000}"></p><p>c</p>'
    assert to_intercom(embedded, ITOP) == "<p>a</p><p>[Picture: b]</p><p>c</p>"
    monkeypatch.setattr(markup, "MAX_READ", 12)
    assert to_intercom('<p>a</p><a href="https://x.example">b</a>', ITOP) == f"<p>a</p>{rest}"


ITOP_PATTERNS: dict[str, tuple[str, str, str]] = {
    "open object links": ("<p>", "[[", "</p>"),
    "object links": ("<p>", "[[A:1]]", "</p>"),
    "labels without an end": ("<p>", "[[A:1|x", "</p>"),
    "names without an end": ("<p>", "[[A", "</p>"),
    "one long name": ("<p>[[", "A", "</p>"),
    "one long id": ("<p>[[A:", "1", "</p>"),
    "one long label": ("<p>[[A:1|", "x", "</p>"),
    "addresses of images": ("<p>", "https://x/?download_inlineimage ", "</p>"),
    "one long address of an image": ("<p>download_inlineimage", "x", "</p>"),
    "quotation marks around an image": ("<p>download_inlineimage", '"x', "</p>"),
    "encoded address": ("<p>download_inlineimage", "%25", "</p>"),
    "address that is encoded several times": ("<p>", "%252525 ", "download%25255Finlineimage</p>"),
    "encoded link": ('<p><a href="https://x/', "%25", '">x</a></p>'),
    "mentions": ("<p>", '<a data-role="object-mention" data-object-class=A data-object-id=1>x', "</p>"),
    "addresses of pages": ("<p>", "https://itop.example/pages/x. ", "</p>"),
    "one long address of a page": ("<p>https://itop.example/pages/", "x)", "</p>"),
    "quotes of lines": ("<blockquote>" * 30, "x<br>", ""),
    "tables in cells": ("", "<table><tr><td>x</td><td>", ""),
    "line breaks in cells": ("<table><tr><td>", "x<br>", "</table>"),
    "paragraphs in items": ("<ul><li>", "<p>x</p>", "</ul>"),
    "code in code": ("<pre>", "<code><b>x\n", "</pre>"),
    "spaces in text": ("<p>x", " \n", "x</p>"),
    "iTop's address": ("<p>", "itop.example", "</p>"),
    "addresses of a portal": ("<p>", "itop.example/pages/exec.php/", "</p>"),
    "console addresses": ("<p>", "(itop.example/pages/ ", "</p>"),
}


def body(pattern: str, length: int) -> str:
    if pattern in PATTERNS:
        return body_of(pattern, length)
    before, repeated, behind = ITOP_PATTERNS[pattern]
    return before + repeated * (length // len(repeated)) + behind


@pytest.mark.parametrize("pattern", [*ITOP_PATTERNS, *PATTERNS])
def test_time_grows_linearly(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_TAGS", "MAX_LENGTH"):
        monkeypatch.setattr(tree, name, 10**9)
    for name in ("MAX_READ", "MAX_LENGTH"):
        monkeypatch.setattr(markup, name, 10**9)
    bodies = {factor: body(pattern, factor * LENGTH) for factor in (1, 4)}

    def seconds(factor: int, convert: Callable[..., str] = to_intercom) -> float:
        start = time.process_time()
        convert(bodies[factor], ITOP, max_length=10**9)
        convert(bodies[factor], ITOP, for_customer=True, max_length=10**9)
        return time.process_time() - start

    assert takes_linear_time(seconds)
