"""What a conversation part becomes in a ticket: which log, whose words, what text."""

from __future__ import annotations

import html
import re
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.intercom.html import to_log_html
from intercom_bridge.intercom.payloads import Attachment, Author, Part
from itop_client import LogItem, marker

PUBLIC, PRIVATE = "public_log", "private_log"

MARKER_LIMIT = 255
_AGAIN = re.compile(r", written again \(\d+\)$")

# part_type -> (the log it goes to, whether only with a text or files). Whatever is not here is left out, visibly.
LOG_OF_PART_TYPE = {
    "source": (PUBLIC, False),
    "comment": (PUBLIC, False),
    "assignment": (PUBLIC, True),
    "close": (PUBLIC, True),
    "open": (PUBLIC, True),
    "note": (PRIVATE, False),
    "note_and_reopen": (PRIVATE, False),
}


def destination(part: Part) -> tuple[str, str]:
    """("public_log" or "private_log", "") for a part that is to be written, else ("", why it is left out)."""
    if part.part_type not in LOG_OF_PART_TYPE:
        return "", f"nothing that people wrote (part type “{part.part_type[:40]}”)"
    log, only_with_text = LOG_OF_PART_TYPE[part.part_type]
    if part.author.type == "bot":
        return "", "written by a bot"
    if part.redacted:
        return "", "redacted in Intercom"
    if not body_html(part):
        return "", "nothing to say in it" if only_with_text else "empty: neither text nor files"
    return log, ""


def body_html(part: Part) -> str:
    """The entry's HTML: the text as it was, and the names of the files; "" when there is neither.

    Files are named, not linked: Intercom's links to them die after half an hour (file_attribute model).
    """
    text = to_log_html(part.body)
    if part.subject and part.kind == "source" and text:
        text = f"<p><b>{html.escape(part.subject)}</b></p>{text}"
    if not part.attachments:
        return text
    names = ", ".join(html.escape(name_of(file)) for file in part.attachments)
    files = ngettext("[File: %(names)s]", "[Files: %(names)s]", len(part.attachments)) % {"names": names}
    return f"{text}<p>{files}</p>"


def name_of(file: Attachment) -> str:
    return file.name or file.content_type or _("without a name")


def shown_name(author: Author) -> str:
    """How somebody without an iTop account is named in a log: "Jo Park (Intercom)"."""
    name = author.name or author.email or _("Somebody")
    return f"{name} (Intercom)"[:200]


def may_have_account(author: Author) -> bool:
    """A lead never writes under a user's account: anybody can type an e-mail address."""
    return author.type in ("admin", "user") and bool(author.email)


def log_item(part: Part, account_id: int, *, may_set_author: bool) -> dict[str, Any]:
    """The item that iTop is sent: under the author's account, else under the author's name.

    `account_id` 0 means no account. Without the Administrator profile iTop refuses to be told an author; then the
    name stands in the text (facts: "Setting the author of a log entry needs Administrator").
    """
    text = body_html(part)
    if not may_set_author:
        text = f"<p><b>{html.escape(shown_name(part.author))}</b></p>{text}"
        return LogItem(message=text, date=part.created_at).to_json()
    login = "" if account_id else shown_name(part.author)
    return LogItem(message=text, date=part.created_at, user_id=account_id, user_login=login).to_json()


def marker_of(workspace_id: str, part: Part) -> str:
    """What iTop's history shows as who did it, and what makes the write happen once (facts, "may still run")."""
    what = "first message" if part.kind == "source" else "message"
    return marker(f"Intercom {what} {part.id} ({workspace_id})", part.author.name or part.author.email)


def again(marker: str, times: int) -> str:
    """The marker of an entry that is written once more since somebody's save had erased it."""
    first = _AGAIN.sub("", marker)
    return f"{first[: MARKER_LIMIT - 20]}, written again ({times})"


def keep(part: Part) -> dict[str, Any]:
    """The part as a Delivery row holds it until it is rendered."""
    return {
        "kind": part.kind,
        "id": part.id,
        "part_type": part.part_type,
        "body": part.body,
        "subject": part.subject,
        "created_at": part.created_at,
        "author": {
            "type": part.author.type,
            "id": part.author.id,
            "name": part.author.name,
            "email": part.author.email,
        },
        "attachments": [
            {"name": file.name, "url": "", "content_type": file.content_type, "size": file.size}
            for file in part.attachments
        ],
    }


def restore(kept: dict[str, Any]) -> Part:
    """The inverse of `keep`."""
    return Part(
        kind=kept["kind"],
        id=kept["id"],
        part_type=kept["part_type"],
        body=kept["body"],
        subject=kept["subject"],
        created_at=kept["created_at"],
        author=Author(**kept["author"]),
        attachments=tuple(Attachment(**file) for file in kept["attachments"]),
        redacted=False,
        app_package_code="",
    )


def order_of(part_id: str) -> int:
    """Part ids sort as numbers where they are numbers that a database can hold."""
    return int(part_id) if part_id.isascii() and part_id.isdigit() and len(part_id) < 19 else 0
