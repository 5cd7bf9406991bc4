"""The files of a conversation part: those that are attached to it, and the pictures in its text."""

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

# A message with more files names the rest.
MAX_FILES: Final = 200
# An address of Intercom works for half an hour.
VALID_FOR: Final = dt.timedelta(minutes=30)
# The writer of the message has the first chance to copy its files, so that the entry can link to them. It hands over
# what it does not copy; the workers only wait for it until this time.
HEAD_START: Final = dt.timedelta(seconds=60)
# What is known about a file from its message.
CONTENT: Final = ("name", "content_type", "size", "url", "url_expires_at", "author")
# What stands in plain text for a file of the message (API 2.15 and later, "Plain text bodies").
_MARKER: Final = re.compile(r"\[(?:Image|GIF|Attachment|Video)(?:[ :][^\]\n]*)?\]", re.IGNORECASE)


@dataclass(frozen=True)
class PartFile:
    """A file of a part. `position` is its place: first the attached files, then the pictures in the text.

    `size` is in bytes, 0 if unknown.
    """

    position: int
    name: str
    url: str
    content_type: str = ""
    size: int = 0
    is_inline: bool = False


def files_of(part: Part) -> tuple[PartFile, ...]:
    """Return the files of a part, at most MAX_FILES. A picture that is attached as well counts once."""
    attached = [
        PartFile(number, file.name, file.url, file.content_type, file.size)
        for number, file in enumerate(part.attachments)
        if file.url
    ]
    paths = {without_query(file.url) for file in attached}
    # In a stored part, attached files have no address any more: each picture keeps its position.
    pictures: dict[str, tuple[str, str]] = {}
    for url, name in media_in(part.body):
        pictures.setdefault(without_query(url), (url, name))
    inline = [
        PartFile(len(part.attachments) + number, name, url, is_inline=True)
        for number, (path, (url, name)) in enumerate(pictures.items())
        if path not in paths
    ]
    return (*attached, *inline)[:MAX_FILES]


@dataclass(frozen=True, kw_only=True)
class FilesToCopy:
    """The files that would be copied: how many, if that is known, and the names of those that are too large."""

    count: int = 0
    is_count_known: bool = True
    too_large: tuple[str, ...] = ()


def copies_files_of(workspace: Workspace, log: str) -> bool:
    """Return whether the workspace copies the files of messages that are written to this log."""
    return workspace.copies_files and (workspace.copies_files_of_notes or log == Log.PUBLIC)


def files_to_copy(workspace: Workspace, messages: Iterable[tuple[Part, str]]) -> FilesToCopy:
    """Return the files that would be copied with these messages. Each message comes with its log.

    Their number is not known if a text only mentions its files. Files that turn out to be too large or of a forbidden
    type count, too.
    """
    wanted = [part for part, log in messages if copies_files_of(workspace, log)]
    files = [file for part in wanted for file in files_of(part)]
    too_large = tuple(
        safe_name(file.name, file.content_type) for file in files if file.size > workspace.max_file_bytes
    )
    return FilesToCopy(
        count=len(files) - len(too_large),
        is_count_known=not any(map(lacks_files, wanted)),
        too_large=too_large,
    )


def count_expected(workspace: Workspace, part: Part, log: str) -> int:
    """Return how many files of a message to this log are to be copied, as far as is known before the download."""
    if not copies_files_of(workspace, log):
        return 0
    types = workspace.forbidden_file_types
    return sum(
        file.size <= workspace.max_file_bytes and not is_forbidden(file.name, file.content_type, b"", types)
        for file in files_of(part)
    )


def lacks_files(part: Part) -> bool:
    """Return whether the text names files that the part does not contain: notifications of API 2.15 and later.

    The conversation has them.
    """
    if files_of(part) or media_in(part.body):
        return False
    return any(not file.url for file in part.attachments) or bool(_MARKER.search(to_text(part.body)))


def fresh_url(file: FileToItop, parts: Iterable[Part]) -> str:
    """Return the file's address in a conversation that was just read, "" if it is not there any more."""
    for part in parts:
        if (part.kind, part.id) == (file.part_kind, file.part_id) and not part.redacted:
            return next((found.url for found in files_of(part) if found.position == file.position), "")
    return ""


def files_to_json(part: Part) -> dict[str, Any]:
    """Return the author and the files of a part as JSON values, {} if it has no files."""
    found = [PartFile(FileToItop.LOOKUP, "", "")] if lacks_files(part) else files_of(part)
    if not found:
        return {}
    return {"part_author": asdict(part.author), "files": [asdict(file) for file in found]}


def add_rows(link: TicketLink, part: Part, log: str) -> None:
    """Store the files of a part that is written to this log of this link's ticket.

    Call it in the delivery's transaction.
    """
    if stored := _to_stored(part, log):
        add_stored(link, stored, wait=HEAD_START)


def restore_rows(link: TicketLink, part: Part, log: str) -> None:
    """Queue the files again that were skipped together with this part, and store what was erased of them meanwhile.

    Call it in the transaction that queues the part again.
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
    """Return the argument of `add_stored`, {} if the part has no files."""
    files = files_to_json(part)
    key = {"kind": part.kind, "id": part.id, "created_at": part.created_at, "log": log}
    return key | files if files else {}


def add_stored(link: TicketLink, part: dict[str, Any], *, wait: dt.timedelta = dt.timedelta()) -> None:
    """Store the files of a part: kind, id, created_at, log, and what `files_to_json` returned.

    `wait` is how long the workers leave them to the writer of the message.
    """
    due_at = timezone.now() + wait
    FileToItop.objects.bulk_create(
        [_row(link, part, file, due_at) for file in part.get("files", ())], ignore_conflicts=True
    )


def _row(link: TicketLink, part: dict[str, Any], file: dict[str, Any], due_at: dt.datetime) -> FileToItop:
    now = timezone.now()
    workspace = link.conversation.workspace
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
