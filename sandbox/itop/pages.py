"""Readable pages, so that "Open in iTop" works in a demonstration, on which visitors act as agent or customer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from . import files, values
from .files import File
from .operations import TRANSITIONS
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
form{border:1px solid #ddd;border-radius:8px;padding:.6rem 1rem;margin:.8rem 0}
textarea{width:100%;box-sizing:border-box;font:inherit;padding:.4rem}
button{font:inherit;padding:.35rem .9rem;margin:.4rem .4rem 0 0;border:1px solid #b0500f;border-radius:6px;
background:#fff;color:#b0500f;cursor:pointer}
button:hover{background:#b0500f;color:#fff}
figure{margin:.4rem 0}
img{max-width:100%;height:auto;border:1px solid #ddd}
.done{background:#e8f5e9;border-left:3px solid #2e7d32;padding:.4rem .8rem}
.failed{background:#fdecea;border-left:3px solid #c62828;padding:.4rem .8rem}
"""
PORTAL = "/pages/exec.php/object/edit/"
# The login in whose name the agent's page acts. The customer's page acts in the name of the ticket's caller.
AGENT = "jverne"
# The agent's team, and a service for tickets that have none.
TEAM, SERVICE = 37, 1
# A picture that is pasted into the text becomes a file of the form's second field.
SCRIPT_ADDRESS = "/sandbox/paste.js"
SCRIPT = """
document.querySelector("textarea").addEventListener("paste", (event) => {
  const pictures = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (!pictures.length) return;
  event.preventDefault();
  const field = document.querySelector("input[name=pictures]");
  const all = new DataTransfer();
  for (const file of [...field.files, ...pictures]) all.items.add(file);
  field.files = all.files;
});
"""


ATTACH = "Attach files only"


@dataclass(frozen=True)
class Written:
    """What a person entered in the form of a page: a text, files to attach, and pictures pasted into the text."""

    text: str = ""
    files: tuple[File, ...] = ()
    pictures: tuple[File, ...] = ()

    def is_enough_for(self, action: Action) -> bool:
        """Return whether the person has entered all that the action needs."""
        if action.label == ATTACH:
            return bool(self.files)
        if action.log:
            return bool(self.text or self.pictures)
        return bool(self.text) or not action.text_code


@dataclass(frozen=True)
class Action:
    """A button of a page.

    With ``log``, it writes an entry in this log. With ``stimulus``, it applies the stimulus, and the text becomes the
    value of ``text_code``. With neither, it only attaches the files.
    """

    label: str
    log: str = ""
    stimulus: str = ""
    text_code: str = ""

    def is_offered(self, status: str) -> bool:
        return not self.stimulus or self.stimulus in TRANSITIONS.get(status, {})

    def arguments(self, store: Store, ticket_id: int, written: Written) -> dict[str, Any]:
        """Return the arguments for `Itop.act`, including values for the attributes that the next state requires."""
        text = written.text
        if self.log:
            entry = {"entry": paragraphs(text), "log": self.log, "pictures": written.pictures}
            return entry | {"files": written.files}
        values: dict[str, Any] = {}
        if self.text_code:
            values[self.text_code] = paragraphs(text) if self.text_code == "solution" else text
        ticket = store.load("UserRequest", ticket_id) or {}
        if self.stimulus == "ev_assign":
            agent = next(user for user in store.all("User") if user["login"] == AGENT)
            values |= {"team_id": TEAM, "agent_id": agent["contactid"]}
            values |= {} if ticket.get("request_type") else {"request_type": "incident"}
        if self.stimulus == "ev_resolve":
            values["resolution_code"] = "assistance"
            values |= {} if ticket.get("service_id") else {"service_id": SERVICE}
        return {"stimulus": self.stimulus, "values": values, "files": written.files}


ACTIONS = {
    "answer": Action("Answer publicly", log="public_log"),
    "note": Action("Note privately", log="private_log"),
    "assign": Action("Assign to me", stimulus="ev_assign"),
    "pending": Action("Set pending", stimulus="ev_pending", text_code="pending_reason"),
    "resolve": Action("Resolve", stimulus="ev_resolve", text_code="solution"),
    "reopen": Action("Reopen", stimulus="ev_reopen"),
    "close": Action("Close", stimulus="ev_close"),
    "attach": Action(ATTACH),
}
CUSTOMER_ACTIONS = {"answer": Action("Send", log="public_log"), "attach": Action(ATTACH)}
DONE = "Saved. In a few seconds, a linked conversation shows the change."


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


def details(store: Store, class_name: str, number: str, message: str = "") -> str:
    """Return the page of an object, "" if it does not exist. On a ticket's page, the visitor acts as an agent."""
    row = _load(store, class_name, number)
    if row is None:
        return ""
    body = f'<p><a href="/">All user requests</a></p>{_heading(row)}{message}'
    known = store.model.attributes(row["finalclass"])
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
    if row["finalclass"] == "UserRequest":
        status = escape(str(row["status"]))
        body += f"<p>You act as an agent. The ticket is {status}. "
        body += f'<a href="{portal_link(row)}">The customer\'s page</a></p>'
        body += _form(row, ACTIONS, "What you answer, note, or give as reason or solution")
        body += _files(store, row)
    body += f"<table>{''.join(lines)}</table>"
    for code, attribute in known.items():
        if attribute.kind == "log":
            body += f"<h2>{escape(attribute.label)}</h2>{_entries(store, row, code)}"
    return page(f"{row['friendlyname']} - iTop (sandbox)", body)


def portal_link(row: Row) -> str:
    return f"{PORTAL}{row['finalclass']}/{row['id']}"


def customer_page(store: Store, class_name: str, number: str, message: str = "") -> str:
    """Return a ticket's page for its caller, "" if the ticket does not exist."""
    row = _load(store, class_name, number)
    if row is None or class_name != "UserRequest":
        return ""
    caller = escape(values.shown(store, row, "caller_id_friendlyname"))
    status = escape(str(row["status"]))
    body = f"{_heading(row)}{message}<p>You are {caller}, the customer. The ticket is {status}.</p>"
    body += _form(row, CUSTOMER_ACTIONS, "Your message to the service desk")
    body += _files(store, row) + _entries(store, row, "public_log")
    return page(f"{row['friendlyname']} - customer portal (sandbox)", body)


def notice(problem: str) -> str:
    """Return the line that a page shows after a click: the problem, or that the change was saved."""
    if problem:
        return f'<p class="failed">iTop refused it, and nothing was saved: {escape(problem)}</p>'
    return f'<p class="done">{DONE}</p>'


def caller_login(store: Store, number: str) -> str:
    """Return the login of a ticket's caller in the portal, "" if the caller has no account."""
    row = _load(store, "UserRequest", number)
    logins = [user["login"] for user in store.all("User") if row and user["contactid"] == row["caller_id"]]
    return str(next(iter(logins), ""))


def paragraphs(text: str) -> str:
    lines = filter(None, (line.strip() for line in text.splitlines()))
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _load(store: Store, class_name: str, number: str) -> Row | None:
    if class_name not in store.model or not number.isdigit():
        return None
    row = store.load(class_name, int(number))
    return None if row is None or store.model.is_a(class_name, "User") else row


def _heading(row: Row) -> str:
    title = f" {escape(row['title'])}" if row.get("title") else ""
    return f'<h1 dir="auto">{escape(row["friendlyname"])}{title}</h1>'


def _form(row: Row, actions: Mapping[str, Action], label: str) -> str:
    buttons = "".join(
        f'<button name="action" value="{name}">{escape(action.label)}</button>'
        for name, action in actions.items()
        if action.is_offered(str(row["status"]))
    )
    return (
        f'<form method="post" enctype="multipart/form-data"><label>{escape(label)}'
        '<textarea name="text" rows="3"></textarea></label>'
        '<p><label>Files <input type="file" name="files" multiple></label></p>'
        "<p><label>Pictures for the text (or paste them into it) "
        '<input type="file" name="pictures" accept="image/*" multiple></label></p>'
        f'{buttons}</form><script src="{SCRIPT_ADDRESS}" defer></script>'
    )


def _files(store: Store, row: Row) -> str:
    """Return the HTML list of a ticket's files with their sizes, newest first. Return "" without files."""
    items = ""
    for file, name, size in files.of_ticket(store, row):
        who = values.shown(store, file, "contact_id_friendlyname") or values.shown(
            store, file, "user_id_friendlyname"
        )
        address = (
            f"{files.DOWNLOAD}?operation=download_document&class=Attachment&field=contents&id={file['id']}"
        )
        about = f"{size:,} bytes, {file['creation_date']}, {who}"
        shown = f'<a href="{escape(address)}" dir="auto">{escape(name)}</a>'
        items += f'<li>{shown} <span class="who">{escape(about)}</span></li>'
    return f'<h2>Files</h2><ul class="attachments">{items}</ul>' if items else ""


def _entries(store: Store, row: Row, code: str) -> str:
    body = ""
    style = "entry private" if code == "private_log" else "entry"
    for each in reversed(values.shown(store, row, code)["entries"]):
        who = f'<div class="who">{escape(each["date"])} {escape(each["user_login"])}</div>'
        said = f'<div dir="auto">{each["message_html"]}</div>'
        body += f'<div class="{style}">{who}{said}</div>'
    return body
