"""The stand-in keeps of HTML what a real iTop keeps, and nothing more.

The stored values were read from iTop's own sanitiser (3.3), run with these values.
"""

from __future__ import annotations

import html

import pytest

from sandbox.itop.datamodel import VERSIONS
from sandbox.itop.markup import sanitise
from tests.ids import short_id


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("<h4>a</h4><h5>b</h5><p>c</p><h6>d</h6>", "<h4>a</h4><p>c</p>"),
        (
            "<p><s>a</s><del>b</del><ins>c</ins><q>d</q><small>e</small><kbd>f</kbd><cite>g</cite><mark>h</mark></p>",
        )
        * 2,
        ("<p>x<sub>a</sub><sup>b</sup><strike>c</strike><abbr>d</abbr></p>", "<p>x</p>"),
        ("<dl><dt>a</dt><dd>b</dd></dl><p>x</p>", "<p>x</p>"),
        (
            "<table><caption>c</caption><tfoot><tr><td>f</td></tr></tfoot><tr><td>x<td>y<tr><td>z</table>",
            "<table><tr><td>x</td><td>y</td></tr><tr><td>z</td></tr></table>",
        ),
        ("<details><summary>x</summary>y</details>", ""),
        ("<p><a>x<a>y</a></a></p>", "<p><a>x</a><a>y</a></p>"),
        ("<p>a<unknown>b</p><p>c</p>", "<p>a</p><p>c</p>"),
        ("<p>x<input>y<wbr>z</p>", "<p>xy</p>"),
        (
            "<ol start=3 type=a reversed><li value=5 title=x>a</li></ol>",
            '<ol start="3" type="a" reversed><li value="5">a</li></ol>',
        ),
        (
            "<img src='https://x.example/a b.png?é[]'><img src='data:image/png;base64,AA'><img src=cid:1>",
            '<img src="https://x.example/a%20b.png?%C3%A9%5B%5D"><img src="data:image/png;base64,AA"><img>',
        ),
        (
            "<p class='a\"b<c>&amp;é' title=t style='color: red ; position:fixed;font-weight:bold'>x</p>",
            '<p class=\'a"b&lt;c&gt;&amp;é\' style="color: red">x</p>',
        ),
        ("<a name='é b' href='https://x.example/'>x</a>",)
        + ('<a name="%C3%A9%20b" href="https://x.example/">x</a>',),
        ("<figure><img src='https://x.example/a'><figcaption>c</figcaption></figure>",)
        + ('<figure><img src="https://x.example/a"><figcaption>c</figcaption></figure>',),
    ],
    ids=short_id,
)
def test_elements_and_attributes(sent: str, stored: str) -> None:
    assert sanitise(sent) == stored


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("https://x.example/",) * 2,
        ("ftp://x.example/a",) * 2,
        ("http://localhost:8080/a",) * 2,
        ("https://u:p@x.example/",) * 2,
        ("https://x.example/a b", "https://x.example/a%20b"),
        ("https://x.example/a%20b?x=%zz",) * 2,
        ("https://x.example/(a)'b';c,d@e!f~g*h+i=j",) * 2,
        ("https://x.example/?q={a}|b^c\\d[]`$", "https://x.example/?q=%7Ba%7D%7Cb%5Ec%5Cd%5B%5D%60%24"),
        ('https://x.example/é?ü="ö"#ß', "https://x.example/%C3%A9?%C3%BC=%22%C3%B6%22#%C3%9F"),
        ("https://x.example/😀\u200b", "https://x.example/%F0%9F%98%80%E2%80%8B"),
        ("mailto:o'neil@b.example?subject=Hello%20world",) * 2,
        ("MAILTO:a@b.example?cc=x@y.example",) * 2,
        ("tel:https://x.example/",) * 2,
        ("https://x/", ""),
        ("https://[::1]/", ""),
        ("https://a_b.example/", ""),
        ("https://münchen.example/", ""),
        ("https://😀.example/", ""),
        ("ftps://x.example", ""),
        ("mailto:a+b@c.example", ""),
        ("mailto:é@b.example", ""),
        ("mailto:a@b.c", ""),
        ("tel:+49301234", ""),
        ("sms:+49301234", ""),
        ("javascript:alert(1)", ""),
        ("/relative", ""),
        ("#fragment", ""),
        ("data:text/html,x", ""),
    ],
    ids=short_id,
)
def test_addresses_of_links(sent: str, stored: str) -> None:
    link = f'<a href="{html.escape(stored)}">x</a>' if stored else "<a>x</a>"
    assert (
        sanitise(f'<p><a href="{html.escape(sent)}">x</a></p>') == f"<p>{link.replace('&#x27;', chr(39))}</p>"
    )


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (
            "<p>a<mark>b</mark></p><figure>c</figure>",
            {"2.7": "<p>a</p>", "3.1": "<p>a</p>", "3.2": "<p>a<mark>b</mark></p><figure>c</figure>"},
        ),
        (
            '<ol start="3"><li value="5">a</li></ol>',
            {
                "2.7": "<ol><li>a</li></ol>",
                "3.0": "<ol><li>a</li></ol>",
                "3.1": '<ol start="3"><li value="5">a</li></ol>',
            },
        ),
        (
            '<table><colgroup><col style="width: 1px"></colgroup><tr><td class="x">a</td></tr></table>',
            {
                "3.1": "<table><tr><td>a</td></tr></table>",
                "3.2": '<table><colgroup><col style="width: 1px"></colgroup><tr><td class="x">a</td></tr></table>',
            },
        ),
        ("<h5>a</h5><p><s>b</s></p>", dict.fromkeys(VERSIONS, "<p><s>b</s></p>")),
    ],
    ids=short_id,
)
def test_older_versions_keep_less(sent: str, stored: dict[str, str]) -> None:
    assert {version: sanitise(sent, version) for version in stored} == stored
