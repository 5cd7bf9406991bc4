"""The log shows a message as it was: text, paragraphs and links, without anything that iTop would remove or run."""

from __future__ import annotations

import html as stdlib_html
import re

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.intercom.html import comparable, first_line, text_to_html, to_log_html, to_text
from sandbox.itop.markup import sanitise
from tests.ids import short_id

ITOP_KEEPS = {
    "p",
    "b",
    "strong",
    "i",
    "em",
    "u",
    "a",
    "img",
    "ul",
    "ol",
    "li",
    "pre",
    "blockquote",
    "code",
    "br",
}
ITOP_KEEPS |= {"table", "thead", "tbody", "tr", "td", "th", "h1", "h2", "h3", "h4"}
ITOP_KEEPS |= {"s", "del", "ins", "q", "small", "kbd", "cite"}
ATTRIBUTES = {"a": {"href"}, "img": {"src", "alt"}, "ol": {"start", "type", "reversed"}, "li": {"value"}}


def visible_text(markup: str) -> str:
    """Return the text that HTML shows, without white space."""
    return re.sub(r"\s+", "", stdlib_html.unescape(re.sub(r"<[^>]*>", "", markup)))


# --- HTML ---


@pytest.mark.parametrize(
    ("body", "log"),
    [
        ("<p>hello</p>", "<p>hello</p>"),
        ('<p class="no-margin">hello</p>', "<p>hello</p>"),
        ("\n <P>hello</P>\n", "<p>hello</p>"),
        ("<p>a</p>\n<p></p>\n<p>b</p>", "<p>a</p><p>b</p>"),
        ("<p>a<br>b<br></p>", "<p>a<br>b</p>"),
        ("<div>a<div>b</div>c</div>", "<p>a</p><p>b</p><p>c</p>"),
        ("<p><span style='color:red'>a</span> <font>b</font></p>", "<p>a b</p>"),
        ("<p><b>a</b><strong>b</strong><i>c</i><em>d</em><u>e</u><code>f</code></p>",) * 2,
        ("<p><b></b><i> </i>x</p>", "<p>x</p>"),
        ("<h1>a</h1><h4>b</h4><h5>c</h5><h6>d</h6>", "<h1>a</h1><h4>b</h4><h4>c</h4><h4>d</h4>"),
        ("<h2>a<div>b</div></h2>", "<h2>a<br>b</h2>"),
        ("<ul><li>a</li><li><p>b</p></li><li></li></ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("<ol><li>a<ul><li>b</li></ul></li></ol>",) * 2,
        ("<ul><li>a</li><ul><li>b</li></ul></ul>", "<ul><li>a<ul><li>b</li></ul></li></ul>"),
        ("<p>a</p><li>b</li>", "<p>a</p><ul><li>b</li></ul>"),
        ("<blockquote>a<p>b</p></blockquote>", "<blockquote><p>a</p><p>b</p></blockquote>"),
        ("<pre>\n  a\n    b\n</pre>", "<pre>  a\n    b</pre>"),
        ("<pre><code>a &lt; b</code></pre>",) * 2,
        (
            "<table><tr><th>a<th>b<tr><td><p>1</p><td></table>",
            "<table><tbody><tr><th>a</th><th>b</th></tr><tr><td>1</td><td></td></tr></tbody></table>",
        ),
        ("<table><tr><td></td></tr></table>", ""),
        ("<figure><img src='https://i.example/a'><figcaption>c</figcaption></figure>",)
        + ('<p><img src="https://i.example/a"></p><p>c</p>',),
        ("<p><b>a<p>b</p></b></p>", "<p><b>a</b></p><p><b>b</b></p>"),
        ("<p>a &lt;b&gt; &amp;amp; c</p>",) * 2,
        ("<p>a<hr>b</p>", "<p>a</p><p>b</p>"),
        ("<p>a<!-- b --></p>", "<p>a</p>"),
        ("<p>unclosed <b>bold<div>x</div></p>", "<p>unclosed <b>bold</b></p><p><b>x</b></p>"),
    ],
    ids=short_id,
)
def test_html_is_reduced_to_the_tags_that_itop_keeps(body: str, log: str) -> None:
    assert to_log_html(body) == log


@pytest.mark.parametrize(
    ("body", "log"),
    [
        ('<p><a href="https://a.example/?x=1&amp;y=2" target="_blank" rel="nofollow">a</a></p>',)
        + ('<p><a href="https://a.example/?x=1&amp;y=2">a</a></p>',),
        ('<p><a href="mailto:jo@client.example">mail</a></p>',) * 2,
        ('<p><a href="javascript:alert(1)">a</a></p>', "<p>a</p>"),
        ('<p><a href="JaVa\tScript:alert(1)">a</a></p>', "<p>a</p>"),
        ('<p><a href="data:text/html,x">a</a></p>', "<p>a</p>"),
        ('<p><a href="/relative">a</a> <a href="//evil.example">b</a> <a>c</a></p>', "<p>a b c</p>"),
        ('<p><a href="ht\ntps://a.example/a b">a</a></p>', '<p><a href="https://a.example/a%20b">a</a></p>'),
        ('<p><a href="https://a.example"></a></p>', ""),
        ('<div><a href="https://a.example"><div>a</div><div>b</div></a></div>',)
        + ('<p><a href="https://a.example">a<br>b</a></p>',),
        ('<p><img src="http://i.example/a.png" alt="&quot;x&quot; &gt; y" width="1" onerror="x()"></p>',)
        + ('<p><img src="http://i.example/a.png" alt="&quot;x&quot; &gt; y"></p>',),
        ('<p><img src="data:image/png;base64,AAAA" alt="a picture"></p>', "<p>[Picture: a picture]</p>"),
        ('<p><img src="cid:1"></p>', "<p>[Picture]</p>"),
        ('<p><img alt="a picture"><img></p>', "<p>a picture</p>"),
        ('<img src="https://i.example/a.png">', '<p><img src="https://i.example/a.png"></p>'),
        ('<p onclick="x()">a</p>', "<p>a</p>"),
    ],
    ids=short_id,
)
def test_links_and_images_keep_only_safe_urls(body: str, log: str) -> None:
    assert to_log_html(body) == log


@pytest.mark.parametrize(
    "active",
    [
        "<script>alert(1)</script>",
        "<style>p { color: red }</style>",
        "<iframe>fallback</iframe>",
        "<noscript>x</noscript><svg/>",
        "<svg><text>x</text><script>alert(1)</script></svg>",
        "<template><p>x</p></template>",
        "<object><p>x</p></object>",
    ],
    ids=short_id,
)
def test_active_content_is_removed(active: str) -> None:
    assert to_log_html(f"<p>before</p>{active}<p>after</p>") == "<p>before</p><p>after</p>"


@pytest.mark.parametrize(
    ("body", "log"),
    [
        (
            "<p><s>a</s><strike>b</strike><del>c</del><ins>d</ins><q>e</q><small>f</small><kbd>g</kbd></p>",
            "<p><s>ab</s><del>c</del><ins>d</ins><q>e</q><small>f</small><kbd>g</kbd></p>",
        ),
        ("<p>x<sup>2</sup> <sub>a</sub> <mark>b</mark> <abbr>c</abbr></p>", "<p>x2 a b c</p>"),
        ("<div><dl><dt>a</dt><dd>b</dd></dl></div>", "<p>a</p><p>b</p>"),
        ('<ol start="3" type="a" reversed><li>a</li><li value="7">b</li></ol>',)
        + ('<ol reversed start="3" type="a"><li>a</li><li value="7">b</li></ol>',),
        ('<ol start="x" type="z"><li value="1e9">a</li></ol>', "<ol><li>a</li></ol>"),
    ],
    ids=short_id,
)
def test_formatting_and_list_numbers_are_kept_or_written_as_text(body: str, log: str) -> None:
    assert to_log_html(body) == log


@pytest.mark.parametrize(
    ("link", "log"),
    [
        ('<a href="tel:+4930123456">our hotline</a>', "our hotline (tel:+4930123456)"),
        ('<a href="tel:+4930123456">+49 (30) 123-456</a>', "+49 (30) 123-456"),
        ('<a href="sms:+4930123">text us</a>', "text us (sms:+4930123)"),
        (
            '<a href="mailto:help+vip@acme.example"><b>support</b> </a>now',
            "<b>support</b> (mailto:help+vip@acme.example) now",
        ),
        ('<a href="mailto:help+vip@acme.example">help+vip@acme.example</a>', "help+vip@acme.example"),
        ('<a href="mailto:é@acme.example">mail</a>', "mail (mailto:é@acme.example)"),
        (
            '<a href="https://bücher.example/?a=1&amp;b">books</a>',
            "books (https://bücher.example/?a=1&amp;b)",
        ),
        ('<a href="https://bücher.example">https://bücher.example</a>', "https://bücher.example"),
        ('<a href="http://x/">host</a>', "host (http://x/)"),
        ('<a href="http://[::1]/">IPv6</a>', "IPv6 (http://[::1]/)"),
        ('<a href="https://a_b.example/">host</a>', "host (https://a_b.example/)"),
        ('<a href="https://u:p@abc.example/">a</a>',) * 2,
        ('<a href="ftp://abc.example/">a</a>',) * 2,
        ('<a href="mailto:a.b@c.example?subject=Hello%20world">a</a>',) * 2,
        (
            '<a href="https://de.wikipedia.org/wiki/Köln">this page</a>',
            '<a href="https://de.wikipedia.org/wiki/K%C3%B6ln">this page</a>',
        ),
        (
            '<a href="https://a.example/?q={a}|b^c\\d[1]&quot;`$%20">a</a>',
            '<a href="https://a.example/?q=%7Ba%7D%7Cb%5Ec%5Cd%5B1%5D%22%60%24%20">a</a>',
        ),
    ],
    ids=short_id,
)
def test_addresses_are_sent_as_itop_stores_them_or_as_text(link: str, log: str) -> None:
    assert to_log_html(f"<p>{link}</p>") == f"<p>{log}</p>"
    assert sanitise(f"<p>{log}</p>") == f"<p>{log}</p>"


SIGNED = "https://downloads.intercomcdn.com/i/o/abcd1234/1584654217/db0a/Screenshot+2026-01-10.png"


@pytest.mark.parametrize(
    ("media", "log"),
    [
        (
            f'<img src="{SIGNED}?expires=1768033800&amp;signature=06847e99&amp;req=dSUv">',
            "[Picture: Screenshot 2026-01-10.png]",
        ),
        (f'<img src="{SIGNED}" alt="A screen">', "[Picture: Screenshot 2026-01-10.png]"),
        ('<img src="https://a.intercom-attachments-7.com/i/a%20b.png">', "[Picture: a b.png]"),
        ('<img src="https://files.example/x.png?Expires=1&amp;Signature=2">', "[Picture: x.png]"),
        ('<img src="https://files.example/x é.png">', '<img src="https://files.example/x%20%C3%A9.png">'),
        (
            '<iframe src="https://www.youtube.com/embed/x">fallback</iframe>',
            '<a href="https://www.youtube.com/embed/x">[Embedded content: https://www.youtube.com/embed/x]</a>',
        ),
        (
            '<video controls><source src="https://v.example/a.mp4">fallback</video>',
            '<a href="https://v.example/a.mp4">[Video: https://v.example/a.mp4]</a>',
        ),
        (
            '<a href="https://l.example/"><video src="https://v.example/a"></video></a>',
            '<a href="https://l.example/">[Video: https://v.example/a]</a>',
        ),
        (f'<video src="{SIGNED[:-4]}.mp4"></video>', "[Video: Screenshot 2026-01-10.mp4]"),
        (f'<audio src="{SIGNED[:-4]}.mp3"></audio>', "[Recording: Screenshot 2026-01-10.mp3]"),
        ('<object data="https://o.example/a.pdf">x</object>',)
        + ('<a href="https://o.example/a.pdf">[Embedded content: https://o.example/a.pdf]</a>',),
    ],
    ids=short_id,
)
def test_media_that_a_log_cannot_show_is_named(media: str, log: str) -> None:
    assert to_log_html(f"<p>a</p><div>{media}</div>") == f"<p>a</p><p>{log}</p>"
    assert re.sub(r"<[^>]*>", "", log) in to_text(f"<p>a</p><div>{media}</div>")


@pytest.mark.parametrize(
    ("body", "log"),
    [
        ("<p>value <not a tag> rest</p>", "<p>value  rest</p>"),
        ("<p>a <!-- never closed</p>", "<p>a &lt;!-- never closed</p>"),
        ("<p>a <script> b</p>", "<p>a  b</p>"),
        ("<p>a < b </ c <3 <! d</p>", "<p>a &lt; b &lt;/ c &lt;3 &lt;! d</p>"),
        ('<p>a <b class="x>y</b> z</p>', "<p>a <b>y</b> z</p>"),
        ("<p>a<!doctype html><?xml?><!----><!-->b</></p>", "<p>ab</p>"),
        ("<p>a &#" + "9" * 5000 + "; &#x" + "f" * 5000 + "; b</p>", "<p>a \ufffd \ufffd b</p>"),
        ("<p><b>a<i>b</b>c</i></p>", "<p><b>a<i>b</i></b><i>c</i></p>"),
        ('<p><a href="https://abc.example">a<p>b</p>', '<p><a href="https://abc.example">a</a></p><p>b</p>'),
        ('<p><a href="https://abc.example"><h3>a</h3></a></p>', '<p><a href="https://abc.example">a</a></p>'),
        ("<table><tr><td><b>a<td>b</table><p>c</p>",)
        + ("<table><tbody><tr><td><b>a</b></td><td>b</td></tr></tbody></table><p>c</p>",),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</ul>", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("<div>a</p>b</div>", "<p>a</p><p>b</p>"),
        ("<div>a<td>b</td>c</div>", "<p>a</p><p>b</p><p>c</p>"),
    ],
    ids=short_id,
)
def test_malformed_html_loses_no_words(body: str, log: str) -> None:
    assert to_log_html(body).startswith(log)


def test_text_in_unsupported_tags_is_kept() -> None:
    body = (
        "<p>a <made-up>b</made-up> <button>c</button></p><form>d<input value='x'></form><section>e</section>"
    )
    assert to_log_html(body) == "<p>a b c</p><p>d</p><p>e</p>"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "   ",
        "\n\t\n",
        '<p class="no-margin"></p>',
        "<p>&nbsp;</p>",
        "<p> <br> </p><div><span>&nbsp;</span></div>",
        "<p>\u200b\ufeff</p>",
        "\u200b",
        "<ul><li></li></ul>",
        "<p><script>x</script></p>",
        "<blockquote><p></p></blockquote>",
        "\x00",
    ],
    ids=short_id,
)
def test_an_invisible_body_is_empty(body: str) -> None:
    assert to_log_html(body) == ""
    assert to_text(body).strip("\u200b\ufeff \n") == ""


def test_control_characters_in_character_references_are_removed() -> None:
    assert to_log_html("<p>a&#27;b&#x0c;c</p>") == "<p>abc</p>"


# --- Plain text ---


@pytest.mark.parametrize(
    ("body", "log"),
    [
        ("hello", "<p>hello</p>"),
        ("<not a tag>", "<p>&lt;not a tag&gt;</p>"),
        ("2 < 3 and 5 > 4", "<p>2 &lt; 3 and 5 &gt; 4</p>"),
        ("<p>", "<p>&lt;p&gt;</p>"),
        ("<p is less than q>", "<p>&lt;p is less than q&gt;</p>"),
        ("<p> and <br>", "<p>&lt;p&gt; and &lt;br&gt;</p>"),
        ("<pizza>", "<p>&lt;pizza&gt;</p>"),
        ("<p>starts as HTML, ends as text", "<p>&lt;p&gt;starts as HTML, ends as text</p>"),
        ("<b>bold</b>", "<p>&lt;b&gt;bold&lt;/b&gt;</p>"),
        ("a\nb\r\nc", "<p>a<br>b<br>c</p>"),
        ("a\n\nb\n \t\n\n\nc", "<p>a</p><p>b</p><p>c</p>"),
        ("if x:\n    y  z", "<p>if x:<br>\u00a0\u00a0\u00a0 y\u00a0 z</p>"),
        ("\ty\n\tz", "<p>y<br>\u00a0\u00a0\u00a0 z</p>"),
        ("Tom & Jerry &amp; co", "<p>Tom &amp; Jerry &amp;amp; co</p>"),
        ("[Image]", "<p>[Image]</p>"),
    ],
    ids=short_id,
)
def test_plain_text_looks_the_same_in_the_log(body: str, log: str) -> None:
    assert to_log_html(body) == log


def link(url: str) -> str:
    return f'<a href="{url}">{url}</a>'


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("see https://a.example/x.", f"see {link('https://a.example/x')}."),
        ("(https://a.example/x)", f"({link('https://a.example/x')})"),
        ("https://a.example/x_(y)!", f"{link('https://a.example/x_(y)')}!"),
        ("<https://a.example/>", f"&lt;{link('https://a.example/')}&gt;"),
        ("https://a.example/?a=1&b='2'", '<a href="https://a.example/?a=1&amp;b=&#x27;2">'),
        (
            'HTTP://A.example/"><script>',
            f"{link('HTTP://A.example/')}&quot;&gt;&lt;script&gt;".replace("&quot;", '"'),
        ),
        ("http:// and https://.", "http:// and https://."),
        ("the log (https://a.example/l?x=(1)), ok", f"the log ({link('https://a.example/l?x=(1)')}), ok"),
        (
            "https://a.example/é/日本",
            '<a href="https://a.example/%C3%A9/%E6%97%A5%E6%9C%AC">https://a.example/é/日本</a>',
        ),
        (
            "https://a.example/?x=[1]|2$",
            '<a href="https://a.example/?x=%5B1%5D%7C2%24">https://a.example/?x=[1]|2$',
        ),
        ("https://bücher.example/", "https://bücher.example/</p>"),
        ("http://x/", "http://x/</p>"),
        ("http://[::1]/", "http://[::1]/</p>"),
        ("ftp://a.example www.b.example", "ftp://a.example www.b.example"),
    ],
    ids=short_id,
)
def test_bare_urls_become_links(text: str, markup: str) -> None:
    assert text_to_html(text).startswith(f"<p>{markup}")


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧 👍🏽 🇫🇷", "مرحبا بالعالم", "e\u0301 ŏ̥ नमस्ते", "日本語", "\u202bعربي\u202c"], ids=short_id
)
def test_all_writing_systems_are_preserved(text: str) -> None:
    assert to_log_html(text) == f"<p>{text}</p>"
    assert to_log_html(f"<p>{text}</p>") == f"<p>{text}</p>"
    assert to_text(f"<p>{text}</p>") == text


# --- Properties ---

TAGS = "p div b i u code ul ol li pre table caption tfoot tr td h1 figure form select script style svg math"
OTHER_PIECES = [
    "<sup>",
    "<h5>",
    "<s>",
    "<video src='https://x.example/v'>",
    "</video>",
    "<br>",
    "<hr>",
    "<img>",
    "<!--",
    "-->",
    "&amp;",
    "&lt;",
    "&nbsp;",
    "&#27;",
    "</p ",
    "<p ",
    "<p class='x'>",
]
LINKS = [
    '<a href="tel:+1">',
    '<a href="https://é.example/é">',
    '<a href="https://abc.example/é|">',
    '<img src="data:x" alt="y">',
    '<a href="https://x.example/?a&b">',
    '<a href="javascript:x">',
    "</a>",
    '<img src="https://x.example/i">',
]
TEXTS = [*"<>&\"'ab \n\té", "\n\n", "\u200b", "\u00a0", "https://x.example/(a)"]
PIECES = st.lists(
    st.sampled_from(
        [f"<{slash}{tag}>" for tag in TAGS.split() for slash in ("", "/")] + OTHER_PIECES + LINKS + TEXTS
    ),
    max_size=25,
).map("".join)
BODIES = (
    st.text()
    | PIECES
    | PIECES.map(lambda body: f"<p>{body}</p>")
    | st.text().map(lambda text: f"<p>{text}</p>")
)


@given(BODIES)
def test_log_html_is_always_well_formed_and_within_itops_tags(body: str) -> None:
    log = to_log_html(body)
    filtered = nh3.clean(
        log,
        tags=ITOP_KEEPS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel=None,
    )
    # nh3 writes a no-break space as a reference and does not escape apostrophes in URLs; nothing else changes.
    assert filtered.replace("&nbsp;", "\u00a0") == log.replace("&#x27;", "'")
    assert "<script" not in log
    if log:
        assert log.startswith("<")
        assert log.endswith(">")
        assert visible_text(log).strip("\u200b\ufeff") or "<img " in log


@given(BODIES)
def test_itop_stores_the_log_html_unchanged(body: str) -> None:
    log = to_log_html(body)
    assert sanitise(log) == log.replace("&#x27;", "'")


@given(BODIES)
def test_log_html_is_stable_when_converted_again(body: str) -> None:
    log = to_log_html(body)
    assert to_log_html(log) == log


@given(st.text())
def test_plain_text_loses_only_white_space(text: str) -> None:
    expected = re.sub(r"[\s\x00-\x1f\x7f-\x9f\ufffe\uffff]", "", text)
    if re.search(r"[^\u00ad\u200b-\u200f\u2060\ufeff]", expected):
        assert visible_text(text_to_html(text)) == expected


@given(BODIES)
def test_text_of_any_body_has_no_stray_blank_lines(body: str) -> None:
    text = to_text(body)
    assert "\n\n\n" not in text
    assert text == text.strip("\n")


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 50_000 + "deep</div>",
        "<ul><li>" * 30_000 + "deep</ul>",
        "<div>" * 299 + "deep" + "</div>" * 299,
        "<p>" + "<br>" * 50_000 + "deep</p>",
        "<p>" + "<b>" * 50_000 + "deep</p>",
        "<table><tr><td>" * 200 + "deep</table>",
        "deep https://x.example/" + ")" * 100_000,
        "deep" + " " * 100_000 + "x",
        "deep" + "\n \t" * 50_000 + "x",
    ],
    ids=short_id,
)
def test_extreme_bodies_are_converted_without_recursion_errors(body: str) -> None:
    assert "deep" in to_log_html(body)
    assert "deep" in to_text(body)


def test_content_below_the_maximum_depth_is_kept() -> None:
    body = "<blockquote>" * 100 + "<table><tr><td>one</td><td>two</td></tr></table><ul><li>three</li></ul>"
    log = to_log_html(body + "</blockquote>" * 100)
    for word in ("one", "two", "three"):
        assert word in log
    assert to_log_html(log) == log


# --- Text ---


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("plain\r\n\r\n\r\n\r\ntext  \n", "plain\n\ntext"),
        ("  indented\n    code", "indented\n    code"),
        ("<p>a</p><p>b<br>c</p>", "a\n\nb\nc"),
        ("<p>a\n  b</p>", "a b"),
        ("<p>a&nbsp;b &amp; c &lt; d</p>", "a b & c < d"),
        (
            "<h1>T</h1><ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li></ul>",
            "T\n\n- a\n- b\n  1. c\n  2. d",
        ),
        ("<ol><li></li><li>first</li></ol>", "1. first"),
        ("<ol start=3><li>a<li value=7>b<li>c</ol>", "3. a\n7. b\n8. c"),
        ("<ol reversed><li>a<li>b</ol>", "2. a\n1. b"),
        ('<p><a href="tel:+4930123">hotline</a></p>', "hotline (tel:+4930123)"),
        ('<p><a href="https://bücher.example/é">books</a></p>', "books (https://bücher.example/é)"),
        ('<p><a href="https://a.example/">the log</a></p>', "the log (https://a.example/)"),
        ('<p><a href="https://a.example/">https://a.example/</a></p>', "https://a.example/"),
        ('<p><a href="mailto:jo@client.example">jo@client.example</a></p>', "jo@client.example"),
        ('<p><a href="javascript:x">a</a></p>', "a"),
        ('<p><img src="https://i.example/a.png" alt="a"></p>', "a (https://i.example/a.png)"),
        ('<p><img src="https://i.example/a.png"></p>', "https://i.example/a.png"),
        ("<blockquote><p>a</p><p>b</p></blockquote><p>c</p>", "> a\n>\n> b\n\nc"),
        ("<pre>  a\n    b</pre>", "  a\n    b"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
        ("<p>x</p><script>alert(1)</script>", "x"),
    ],
    ids=short_id,
)
def test_a_body_as_text(body: str, text: str) -> None:
    assert to_text(body) == text


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("The export button does nothing\nat all", 60, "The export button does nothing"),
        ("\n  \n\u200b\n second\tline ", 60, "second line"),
        ("The export button does nothing", 20, "The export button…"),
        ("<p> is a tag", 60, "<p> is a tag"),
        ("", 60, ""),
        (" \n ", 60, ""),
        ("a👩‍👩‍👧b", 3, "a…"),
    ],
    ids=short_id,
)
def test_the_first_visible_line_is_the_title(text: str, limit: int, line: str) -> None:
    assert first_line(text, limit) == line


@given(st.text(), st.integers(0, 40))
def test_a_title_never_exceeds_its_limit(text: str, limit: int) -> None:
    assert len(first_line(text, limit)) <= limit


@pytest.mark.parametrize(
    ("posted", "returned"),
    [
        ("<p>a</p><p>b c</p>", '<p class="no-margin">a</p>\n<p>b&nbsp;c</p>'),
        ('<p>See <a href="https://x.example/?a=b c">R-1</a>.</p>', "See R-1 (https://x.example/?a=b%20c)."),
        ("<p>https://x.example/a</p>", '<p><a href="https://x.example/a">https://x.example/a</a></p>'),
        ("<h1>a</h1><ul><li>b</li></ul>", "a\n\n- b"),
    ],
)
def test_what_intercom_returns_is_comparable_with_what_was_posted(posted: str, returned: str) -> None:
    assert comparable(posted) == comparable(returned)


@pytest.mark.parametrize("other", ["", "<p>b</p>", "<p>https://x.example/b</p>"])
def test_other_messages_differ(other: str) -> None:
    assert comparable("<p>https://x.example/a</p>") != comparable(other)
    assert comparable("<p>a https://x.example/a</p>") != comparable(other)
