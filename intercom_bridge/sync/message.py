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
_WRITTEN_AGAIN = re.compile(r", written again \(\d+\)$")

# The log by part_type. Text in parts of other types goes to the private log, because Intercom does not document who
# sees such a text.
LOG_OF_PART_TYPE = {
    "source": Log.PUBLIC,
    "comment": Log.PUBLIC,
    "assignment": Log.PUBLIC,
    "close": Log.PUBLIC,
    "open": Log.PUBLIC,
    "note": Log.PRIVATE,
    "note_and_reopen": Log.PRIVATE,
}
# Parts of these types usually are events without a text.
_EVENT_TYPES = ("assignment", "close", "open")


@dataclass(frozen=True)
class FileLinks:
    """The links of a log entry to the copies of the message's files in iTop."""

    attached: Mapping[int, str] = field(default_factory=dict)
    """The address of the copy, by the attached file's position."""

    pictures: Mapping[str, MediaLink] = field(default_factory=dict)
    """The copy of a picture in the text, by the picture's address in Intercom without its query."""

    copied_later: int = 0
    """The number of files that cannot be linked, because they are copied after the entry is written."""


NO_LINKS = FileLinks()


@dataclass(frozen=True)
class Destination:
    """The log that a part is written to: "public_log" or "private_log".

    If the part is not written, `code` and `detail` are the reason. Then `log` is "", unless the part may be written
    later, because the sync is paused.
    """

    log: str = ""
    code: str = ReasonCode.NONE
    detail: str = ""


def destination(part: Part) -> Destination:
    """Return the log for a part. If the part is never written, return the reason code without a log.

    A part of an unknown type goes to the private log if a person wrote text in it.
    """
    if part.author.type == "bot":
        return Destination(code=ReasonCode.BOT_MESSAGE)
    if part.redacted:
        return Destination(code=ReasonCode.REDACTED)
    has_content = bool(body_html(part))
    is_by_person = part.author.type in ("admin", "user", "lead")
    log = LOG_OF_PART_TYPE.get(part.part_type)
    if log is None:
        if is_by_person and has_content:
            return Destination(Log.PRIVATE)
        return Destination(code=ReasonCode.UNKNOWN_PART_TYPE, detail=part.part_type[:40])
    if has_content:
        return Destination(log)
    is_event = part.part_type in _EVENT_TYPES
    return Destination(code=ReasonCode.NO_MESSAGE if is_event else ReasonCode.EMPTY_MESSAGE)


def body_html(part: Part, conversation_url: str = "", links: FileLinks = NO_LINKS) -> str:
    """Return the entry's HTML: the text and the names of the files. Return "" if there is neither.

    A text that is too long for a log is cut, and ends with `conversation_url`, where the rest can be read. Files are
    linked to their copies in iTop, not to Intercom, where an address works for half an hour only
    (Intercom's reference, `file_attribute`). Of files that are copied later, a sentence says where they will be.
    """
    text = to_log_html(part.body, conversation_url, links.pictures)
    if part.subject and part.kind == "source" and text:
        text = f"<p><b>{html.escape(part.subject)}</b></p>{text}"
    if part.attachments:
        names = ", ".join(
            _linked_name(file, links.attached.get(position)) for position, file in enumerate(part.attachments)
        )
        files = ngettext("[File: %(names)s]", "[Files: %(names)s]", len(part.attachments)) % {"names": names}
        text += f"<p>{files}</p>"
    if links.copied_later:
        sentence = ngettext(
            "[The file is among this ticket's attachments.]",
            "[The files are among this ticket's attachments.]",
            links.copied_later,
        )
        text += f"<p>{sentence}</p>"
    return text


def _linked_name(file: Attachment, url: str | None) -> str:
    # The name of the copy in iTop. It has no control characters that would change the order of the text after it.
    name = html.escape(safe_name(file.name, file.content_type) if file.name else name_of(file))
    return f'<a href="{html.escape(url)}">{name}</a>' if url else name


def name_of(file: Attachment) -> str:
    return file.name or file.content_type or _("without a name")


def shown_name(author: Author) -> str:
    """Return the name that a log shows for an author without an iTop account."""
    return label_of_author(author.name or author.email)


def label_of_author(name: str) -> str:
    """Return the name that a log shows for an author without an iTop account, such as "Jo Park (Intercom)"."""
    return f"{name or _('Somebody')} (Intercom)"[:200]


def log_item(
    part: Part, account_id: int, conversation_url: str, *, may_set_author: bool, links: FileLinks = NO_LINKS
) -> dict[str, Any]:
    """Return the log item as JSON. Its author is the iTop account `account_id`, or just a name if that is 0.

    Without `may_set_author`, the text begins with the author's name instead: iTop accepts an author only from accounts
    with the Administrator profile.
    """
    text = body_html(part, conversation_url, links)
    author_name = shown_name(part.author)
    if not may_set_author:
        text = f"<p><b>{html.escape(author_name)}</b></p>{text}"
        return LogItem(message=text, date=part.created_at).to_json()
    login = "" if account_id else author_name
    return LogItem(message=text, date=part.created_at, user_id=account_id, user_login=login).to_json()


def idempotency_key_of(workspace_id: str, part: Part) -> str:
    """Return the idempotency key. iTop's history shows it as the author of the change, so it is readable."""
    label = {"source": "first message", "redaction": "redaction of message"}.get(part.kind, "message")
    return idempotency_key(
        f"Intercom {label} {part.id} ({workspace_id})", part.author.name or part.author.email
    )


def rewrite_key(idempotency_key: str, times: int) -> str:
    """Return a new idempotency key for an entry that other saves have removed `times` times from the log."""
    original_key = _WRITTEN_AGAIN.sub("", idempotency_key)
    # The suffix has at most 20 characters.
    return f"{original_key[: MAX_KEY_LENGTH - 20]}, written again ({times})"


def redaction_of(part: Part, at: int, *, deleted_files: int = 0, kept_files: int = 0) -> Part:
    """Return the notice that a part was redacted at this time (Unix seconds), as a part for the private log.

    `deleted_files` is how many files are being deleted from the ticket, `kept_files` how many the workspace keeps.
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
    """Return the part as JSON, in which a Delivery stores it until the entry is rendered.

    The addresses of attached files are left out, because they expire.
    """
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
    """Return the part from its JSON (see `part_to_json`). Raise KeyError or TypeError for other data."""
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
    """Return the part id as a number to sort by. Return 0 if it is not a number or too large for a BigIntegerField."""
    return int(part_id) if part_id.isascii() and part_id.isdigit() and len(part_id) < 19 else 0
