"""Readable pages, so that "Open in iTop" works in a demonstration."""

from __future__ import annotations

from html import escape

from . import values
from .store import Row, Store

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
h1{font-size:1.3rem}
h2{font-size:1.05rem;margin-top:2rem}
.entry{border-left:3px solid #e8762d;padding:.1rem .8rem;margin:.8rem 0}
.private{border-color:#888;background:#f6f6f6}
.who{color:#666;font-size:.85rem}
a{color:#b0500f}
"""


def page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )


def index(store: Store) -> str:
    """Return a page with all user requests, newest first, each with a link to its page."""
    rows = ""
    for row in store.all("UserRequest"):
        cells = [f'<a href="{link(row)}">{escape(row["ref"] or "")}</a>']
        cells += [escape(row[code] or "") for code in ("status", "title")]
        cells += [escape(values.shown(store, row, code)) for code in ("caller_id_friendlyname", "org_name")]
        rows += "<tr>" + "".join(f'<td dir="auto">{cell}</td>' for cell in cells) + "</tr>"
    names = ("Ref", "Status", "Title", "Caller", "Organization")
    head = "".join(f"<th>{name}</th>" for name in names)
    title = "<h1>iTop (sandbox): user requests</h1>"
    return page("iTop (sandbox)", f"{title}<table><tr>{head}</tr>{rows}</table>")


def link(row: Row) -> str:
    return f"/pages/UI.php?operation=details&amp;class={row['finalclass']}&amp;id={row['id']}"


def details(store: Store, class_name: str, number: str) -> str:
    """Return the page of an object, or "" without one."""
    if class_name not in store.model or not number.isdigit():
        return ""
    row = store.load(class_name, int(number))
    if row is None or store.model.is_a(class_name, "User"):
        return ""
    known = store.model.attributes(row["finalclass"])
    body = f'<p><a href="/">All user requests</a></p><h1 dir="auto">{escape(row["friendlyname"])}'
    body += f" {escape(row['title'])}</h1>" if row.get("title") else "</h1>"
    lines = []
    for code, attribute in known.items():
        if attribute.derived or attribute.kind in (
            "links",
            "log",
            "blob",
            "secret",
            "stopwatch",
            "stopwatch_part",
        ):
            continue
        name = store.value(row, f"{code}_friendlyname") if attribute.kind == "key" else None
        value = name or ("" if attribute.kind == "key" else values.shown(store, row, code))
        if value:
            shown = value if attribute.kind == "html" else escape(str(value))
            lines.append(f'<tr><th>{escape(attribute.label or code)}</th><td dir="auto">{shown}</td></tr>')
    body += f"<table>{''.join(lines)}</table>"
    for code, attribute in known.items():
        if attribute.kind == "log":
            body += f"<h2>{escape(attribute.label)}</h2>"
            style = "entry private" if code == "private_log" else "entry"
            for each in reversed(values.shown(store, row, code)["entries"]):
                who = f'<div class="who">{escape(each["date"])} {escape(each["user_login"])}</div>'
                said = f'<div dir="auto">{each["message_html"]}</div>'
                body += f'<div class="{style}">{who}{said}</div>'
    return page(f"{row['friendlyname']} - iTop (sandbox)", body)
