"""Convert a conversation part to an entry of a ticket's log: choose the log, the author and the text."""

import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from intercom_bridge.files.names import safe_name
from intercom_bridge.intercom.html import MediaLink, to_log_html
from intercom_bridge.intercom.payloads import Attachment, Author, Part
from intercom_bridge.models import Log
from intercom_bridge.models.reason import ReasonCode
from itop_client import LogItem, idempotency_key

MAX_KEY_LENGTH = 255
_AGAIN = re.compile(r", written again \(\d+\)$")

# part_type -> (log, whether a text or file is required). Text in parts of other types goes to the private log,
# because Intercom does not document who sees it.
LOG_OF_PART_TYPE = {
    "source": (Log.PUBLIC, False),
    "comment": (Log.PUBLIC, False),
    "assignment": (Log.PUBLIC, True),
    "close": (Log.PUBLIC, True),
    "open": (Log.PUBLIC, True),
    "note": (Log.PRIVATE, False),
    "note_and_reopen": (Log.PRIVATE, False),
}


@dataclass(frozen=True)
class FileLinks:
    """The copies of a message's files in iTop.

    `attached` are addresses by the position of the attached file, `pictures` the copies of pictures in the text by the
    picture's address without its query. `expected` is the number of files that cannot be linked, because they are
    copied after the entry is written.
    """

    attached: Mapping[int, str] = field(default_factory=dict)
    pictures: Mapping[str, MediaLink] = field(default_factory=dict)
    expected: int = 0


NO_LINKS = FileLinks()


@dataclass(frozen=True)
class Destination:
    """The log that a part is written to ("public_log", "private_log" or ""), and why it is not written there."""

    log: str = ""
    code: str = ReasonCode.NONE
    detail: str = ""


def destination(part: Part) -> Destination:
    """Return the log for a part; the log is "" and the code is set if the part is never written.

    A part of an unknown type goes to the private log if a person wrote text in it.
    """
    is_known = part.part_type in LOG_OF_PART_TYPE
    log, only_with_text = LOG_OF_PART_TYPE.get(part.part_type, (Log.PRIVATE, True))
    if part.author.type == "bot":
        return Destination(code=ReasonCode.BOT_MESSAGE)
    if part.redacted:
        return Destination(code=ReasonCode.REDACTED)
    is_by_person = part.author.type in ("admin", "user", "lead")
    if not is_known and not (is_by_person and body_html(part)):
        return Destination(code=ReasonCode.UNKNOWN_PART_TYPE, detail=part.part_type[:40])
    if not body_html(part):
        return Destination(code=ReasonCode.NO_MESSAGE if only_with_text else ReasonCode.EMPTY_MESSAGE)
    return Destination(log)


def body_html(part: Part, conversation_url: str = "", links: FileLinks = NO_LINKS) -> str:
    """Return the entry's HTML: the text and the names of the files; "" if there is neither.

    If the text is too long for a log, it ends with `conversation_url`, where the rest can be read. Files are linked to
    their copies in iTop, never to Intercom, whose addresses work for half an hour only (file_attribute model).
    """
    text = to_log_html(part.body, conversation_url, links.pictures)
    if part.subject and part.kind == "source" and text:
        text = f"<p><b>{html.escape(part.subject)}</b></p>{text}"
    if part.attachments:
        names = ", ".join(
            _linked_name(file, links.attached.get(n)) for n, file in enumerate(part.attachments)
        )
        files = ngettext("[File: %(names)s]", "[Files: %(names)s]", len(part.attachments)) % {"names": names}
        text += f"<p>{files}</p>"
    if links.expected:
        sentence = ngettext(
            "[The file is among this ticket's attachments.]",
            "[The files are among this ticket's attachments.]",
            links.expected,
        )
        text += f"<p>{sentence}</p>"
    return text


def _linked_name(file: Attachment, url: str | None) -> str:
    # The name that the copy has, without characters that would change how the rest of the line reads.
    name = html.escape(safe_name(file.name, file.content_type) if file.name else name_of(file))
    return f'<a href="{html.escape(url)}">{name}</a>' if url else name


def name_of(file: Attachment) -> str:
    return file.name or file.content_type or _("without a name")


def shown_name(author: Author) -> str:
    """Return how a log names an author."""
    return label_of_author(author.name or author.email)


def label_of_author(name: str) -> str:
    """Return how a log names an author without an iTop account: "Jo Park (Intercom)"."""
    return f"{name or _('Somebody')} (Intercom)"[:200]


def may_have_account(author: Author) -> bool:
    """Return whether the author may have an iTop account. A lead may not: anyone can type an e-mail address."""
    return author.type in ("admin", "user") and bool(author.email)


def log_item(
    part: Part, account_id: int, conversation_url: str, *, may_set_author: bool, links: FileLinks = NO_LINKS
) -> dict[str, Any]:
    """Return the log item, under the author's account or else with the author's name.

    `account_id` 0 means no account. iTop accepts an author only from accounts with the Administrator profile. Without
    it, the name is part of the text.
    """
    text = body_html(part, conversation_url, links)
    if not may_set_author:
        text = f"<p><b>{html.escape(shown_name(part.author))}</b></p>{text}"
        return LogItem(message=text, date=part.created_at).to_json()
    login = "" if account_id else shown_name(part.author)
    return LogItem(message=text, date=part.created_at, user_id=account_id, user_login=login).to_json()


def idempotency_key_of(workspace_id: str, part: Part) -> str:
    """Return the idempotency key, which iTop's history shows as the author of the change."""
    what = {"source": "first message", "redaction": "redaction of message"}.get(part.kind, "message")
    return idempotency_key(
        f"Intercom {what} {part.id} ({workspace_id})", part.author.name or part.author.email
    )


def rewrite_key(idempotency_key: str, times: int) -> str:
    """Return the idempotency key of the entry's next write, after concurrent saves removed it `times` times."""
    first = _AGAIN.sub("", idempotency_key)
    return f"{first[: MAX_KEY_LENGTH - 20]}, written again ({times})"


def redaction_of(part: Part, at: int, *, deleted_files: int = 0, kept_files: int = 0) -> Part:
    """Return the notice that a part was redacted at this time (Unix seconds). It does not repeat the part's text.

    `deleted_files` are the files whose copies are being deleted, `kept_files` those that the workspace keeps.
    """
    author = html.escape(part.author.name or part.author.email or _("Somebody"))
    sentences = [_("A message from %(author)s was redacted in Intercom.") % {"author": author}]
    if deleted_files:
        text = ngettext(
            "Its file is being deleted from this ticket.",
            "Its %(count)d files are being deleted from this ticket.",
            deleted_files,
        )
        sentences.append(text % {"count": deleted_files})
    if kept_files:
        text = ngettext(
            "Its file stays in this ticket: the workspace keeps the files of redacted messages.",
            "Its %(count)d files stay in this ticket: the workspace keeps the files of redacted messages.",
            kept_files,
        )
        sentences.append(text % {"count": kept_files})
    sentences.append(
        _(
            "The bridge cannot remove the text from this ticket's log, and cannot recall e-mails that iTop has sent "
            "with it."
        )
    )
    return Part(
        kind="redaction",
        id=part.id,
        part_type="note",
        body=f"<p>{' '.join(sentences)}</p>",
        created_at=at,
        author=Author(name=_("Notice")),
    )


def part_to_json(part: Part) -> dict[str, Any]:
    """Return the part as JSON values: a Delivery stores them until the entry is rendered."""
    return {
        "kind": part.kind,
        "id": part.id,
        "part_type": part.part_type,
        "body": part.body,
        "subject": part.subject,
        "created_at": part.created_at,
        "author": asdict(part.author),
        "attachments": [
            {"name": file.name, "url": "", "content_type": file.content_type, "size": file.size}
            for file in part.attachments
        ],
    }


def part_from_json(stored: dict[str, Any]) -> Part:
    """Return the part that `part_to_json` returned. Raise KeyError or TypeError for other data."""
    return Part(
        kind=stored["kind"],
        id=stored["id"],
        part_type=stored["part_type"],
        body=stored["body"],
        subject=stored["subject"],
        created_at=stored["created_at"],
        author=Author(**stored["author"]),
        attachments=tuple(Attachment(**file) for file in stored["attachments"]),
        redacted=False,
        app_package_code="",
    )


def order_of(part_id: str) -> int:
    """Return the part id as a number to sort by, or 0 if it is none that a database can hold."""
    return int(part_id) if part_id.isascii() and part_id.isdigit() and len(part_id) < 19 else 0
