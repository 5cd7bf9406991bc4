"""Find and store the files of a conversation part: its attachments, and the pictures in its text."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.utils import timezone

from intercom_bridge.intercom.html import media_in, to_text, without_query
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import FileToItop, Log, TicketLink, Workspace
from intercom_bridge.models.reason import ReasonCode
from itop_client import idempotency_key

from .download import expiry_of
from .names import is_forbidden, safe_name

# Further files of a part are not copied, only named in the log.
MAX_FILES: Final = 200
# How long a file's address in Intercom works if it does not contain its expiry.
VALID_FOR: Final = dt.timedelta(minutes=30)
# A message's writer tries to copy its files first, so that the log entry can link to them. Then it makes the files that
# are not copied yet due at once. If the writer is killed, they are due after this time.
HEAD_START: Final = dt.timedelta(seconds=60)
# Fields of FileToItop with values from the message, which are erased with the message's content.
CONTENT: Final = ("name", "content_type", "size", "url", "url_expires_at", "author")
# In plain text bodies, Intercom writes this instead of a file (API 2.15 and later, "Plain text bodies").
_MARKER: Final = re.compile(r"\[(?:Image|GIF|Attachment|Video)(?:[ :][^\]\n]*)?\]", re.IGNORECASE)


@dataclass(frozen=True)
class PartFile:
    """A file of a part.

    position: identifies the file within the part. The attachments come first, then the pictures in the text.
    size: in bytes, 0 if unknown.
    is_inline: whether it is a picture in the text.
    """

    position: int
    name: str
    url: str
    content_type: str = ""
    size: int = 0
    is_inline: bool = False


def files_of(part: Part) -> tuple[PartFile, ...]:
    """Return the files of a part, at most MAX_FILES. A picture that is also an attachment is only an attachment."""
    attached = [
        PartFile(position, file.name, file.url, file.content_type, file.size)
        for position, file in enumerate(part.attachments)
        if file.url
    ]
    # The query contains an expiring signature, so addresses are compared without it.
    attached_urls = {without_query(file.url) for file in attached}
    pictures: dict[str, PartFile] = {}
    for url, name in media_in(part.body):
        # Count all attachments and pictures, even those that are left out: parts that the bridge stored have lost the
        # addresses of their attachments, but their files must keep their positions.
        position = len(part.attachments) + len(pictures)
        pictures.setdefault(without_query(url), PartFile(position, name, url, is_inline=True))
    inline = [file for url, file in pictures.items() if url not in attached_urls]
    return (*attached, *inline)[:MAX_FILES]


@dataclass(frozen=True, kw_only=True)
class FilesToCopy:
    """The files that would be copied with messages.

    count: how many, as far as known. `is_count_known` is False if a message may have further files.
    too_large: the names of files that are too large to be copied. They are not counted.
    """

    count: int = 0
    is_count_known: bool = True
    too_large: tuple[str, ...] = ()


def copies_files_of(workspace: Workspace, log: str) -> bool:
    """Return whether the workspace copies the files of messages that are written to this log."""
    return workspace.copies_files and (workspace.copies_files_of_notes or log == Log.PUBLIC)


def files_to_copy(workspace: Workspace, messages: Iterable[tuple[Part, str]]) -> FilesToCopy:
    """Return the files that would be copied with these messages. Each message comes with the log it is written to.

    Files that only turn out to be too large or of a forbidden type when they are downloaded are counted, too.
    """
    parts = [part for part, log in messages if copies_files_of(workspace, log)]
    files = [file for part in parts for file in files_of(part)]
    too_large = tuple(
        safe_name(file.name, file.content_type) for file in files if file.size > workspace.max_file_bytes
    )
    return FilesToCopy(
        count=len(files) - len(too_large),
        is_count_known=not any(map(lacks_file_urls, parts)),
        too_large=too_large,
    )


def count_expected(workspace: Workspace, part: Part, log: str) -> int:
    """Return how many files of a message to this log will be copied, as far as known before the download."""
    if not copies_files_of(workspace, log):
        return 0
    types = workspace.forbidden_file_types
    return sum(
        file.size <= workspace.max_file_bytes and not is_forbidden(file.name, file.content_type, b"", types)
        for file in files_of(part)
    )


def lacks_file_urls(part: Part) -> bool:
    """Return whether the part only names its files and does not contain their addresses.

    Notifications of API 2.15 and later are like this. The conversation that Intercom returns has the addresses.
    """
    if files_of(part) or media_in(part.body):
        return False
    return any(not file.url for file in part.attachments) or bool(_MARKER.search(to_text(part.body)))


def fresh_url(file: FileToItop, parts: Iterable[Part]) -> str:
    """Return the file's address in the parts of a conversation that was just read, "" if the file is not there."""
    for part in parts:
        if (part.kind, part.id) == (file.part_kind, file.part_id) and not part.redacted:
            return next((current.url for current in files_of(part) if current.position == file.position), "")
    return ""


def files_to_json(part: Part) -> dict[str, Any]:
    """Return the author and the files of a part as JSON values, {} if it has no files.

    If the part only names its files, return one placeholder for all of them: a worker looks them up later.
    """
    files = [PartFile(FileToItop.LOOKUP, "", "")] if lacks_file_urls(part) else files_of(part)
    if not files:
        return {}
    return {"part_author": asdict(part.author), "files": [asdict(file) for file in files]}


def add_files(link: TicketLink, part: Part, log: str) -> None:
    """Store the files of a part that is written to this log of the link's ticket.

    Call this in the transaction that stores the delivery of the part, so that neither is stored without the other.
    """
    if stored := _to_stored(part, log):
        add_stored(link, stored, wait=HEAD_START)


def restore_files(link: TicketLink, part: Part, log: str) -> None:
    """Queue again the files that were skipped together with the part, and restore their erased content.

    Call this in the transaction that queues the part again.
    """
    stored = _to_stored(part, log)
    due_at = timezone.now() + HEAD_START
    for file in stored.get("files", ()):
        row = _row(link, stored, file, due_at)
        content = {name: getattr(row, name) for name in CONTENT}
        skipped = FileToItop.objects.filter(
            ticket=link.ticket,
            conversation=link.conversation,
            part_kind=part.kind,
            part_id=part.id,
            position=row.position,
        )
        skipped.restore(ReasonCode.UNLINKED, ReasonCode.SYNC_PAUSED, cleaned_at=None, **content)


def _to_stored(part: Part, log: str) -> dict[str, Any]:
    """Return a part as `add_stored` expects it, {} if it has no files."""
    files = files_to_json(part)
    if not files:
        return {}
    return {"kind": part.kind, "id": part.id, "created_at": part.created_at, "log": log} | files


def add_stored(link: TicketLink, part: dict[str, Any], *, wait: dt.timedelta = dt.timedelta()) -> None:
    """Store the files of a part. `part` has the keys kind, id, created_at and log, and those of `files_to_json`.

    The files are due after `wait`, during which the writer of the message may copy them.
    """
    due_at = timezone.now() + wait
    FileToItop.objects.bulk_create(
        [_row(link, part, file, due_at) for file in part.get("files", ())], ignore_conflicts=True
    )


def _row(link: TicketLink, part: dict[str, Any], file: dict[str, Any], due_at: dt.datetime) -> FileToItop:
    """Return an unsaved row for one file. `part` is the argument of `add_stored`."""
    now = timezone.now()
    workspace = link.conversation.workspace
    # A first message, whose kind is "source", and a reply can have the same id, so their keys have different words.
    what = "file of first message" if part["kind"] == "source" else "file"
    url = file["url"]
    return FileToItop(
        ticket=link.ticket,
        conversation=link.conversation,
        part_kind=part["kind"],
        part_id=part["id"],
        position=file["position"],
        is_inline=file["is_inline"],
        is_private=part["log"] == Log.PRIVATE,
        part_created_at=part["created_at"] or int(now.timestamp()),
        author=part.get("part_author", {}),
        name=safe_name(file["name"], file["content_type"]) if file["name"] else "",
        content_type=file["content_type"][:255],
        size=file["size"],
        url=url,
        url_expires_at=(expiry_of(url) or now + VALID_FOR) if url else None,
        idempotency_key=idempotency_key(
            f"Intercom {what} {part['id']}/{file['position']} ({workspace.workspace_id})"
        ),
        due_at=due_at,
    )
