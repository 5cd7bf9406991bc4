"""The files of a conversation and of a ticket, as far as the bridge has copied them or is to copy them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, Q, Value
from django.db.models.functions import Concat

from intercom_bridge.events.files import Source
from intercom_bridge.files import from_itop, to_itop
from intercom_bridge.models import Conversation, FileToIntercom, FileToItop, ItopInstance, TicketLink
from intercom_bridge.models.file_to_itop import FileToItopQuerySet
from intercom_bridge.models.reason import reason_label

State = FileToItop.State
# One file has a row for each linked ticket.
FILE = Concat("part_kind", Value(" "), "part_id", Value(" "), "position")
MAX_FILES = 10
# Another attempt cannot change these, unless the workspace's settings are changed first.
RETRIABLE = Q(state=State.FAILED, cleaned_at=None, ticket__gone_at=None)


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """Files of messages by state. A file is counted once, however many tickets it goes to.

    `failed_name` and `failed_reason` are those of the last file that could not be copied.
    """

    total: int = 0
    waiting: int = 0
    failed: int = 0
    retriable: int = 0
    failed_name: str = ""
    failed_reason: str = ""

    @property
    def copied(self) -> int:
        return max(0, self.total - self.waiting - self.failed)


@dataclass(frozen=True, kw_only=True)
class TicketFile:
    """A file of a ticket. `size` is in bytes, 0 if unknown; `url` is its address in iTop."""

    name: str
    size: int
    url: str
    at: dt.datetime | None


def file_status(conversation: Conversation) -> FileStatus:
    """Return how many of the conversation's files are in the tickets that are linked now."""
    rows = _to_itop(conversation)
    counts = rows.aggregate(
        total=Count(FILE, distinct=True, filter=~Q(state=State.SKIPPED)),
        waiting=Count(FILE, distinct=True, filter=Q(state=State.WAITING)),
        failed=Count(FILE, distinct=True, filter=Q(state=State.FAILED)),
        retriable=Count(FILE, distinct=True, filter=RETRIABLE),
    )
    last = rows.filter(state=State.FAILED).order_by("-pk").first() if counts["failed"] else None
    return FileStatus(
        **counts,
        failed_name=last.name if last else "",
        failed_reason=reason_label(last.reason_code, last.reason_detail) if last else "",
    )


def retriable_files(conversation: Conversation) -> FileToItopQuerySet:
    """Return the files that could not be copied to the linked tickets and can be tried again."""
    return _to_itop(conversation).filter(RETRIABLE)


def _to_itop(conversation: Conversation) -> FileToItopQuerySet:
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    rows = FileToItop.objects.filter(conversation=conversation, ticket__in=linked, is_redacted=False)
    return rows.with_message().exclude(position=FileToItop.LOOKUP)


def files_of_ticket(itop: ItopInstance, ticket_class: str, ticket_id: int) -> tuple[TicketFile, ...]:
    """Return the files of a ticket whose names are known here, newest first, without asking iTop.

    iTop tells the name and size of a file only together with its content, so those that the bridge has not seen are
    missing: the ticket in iTop has them.
    """
    ticket = {"itop": itop, "ticket_class": ticket_class, "object_id": ticket_id}
    copied = FileToItop.objects.filter(
        state=State.COPIED,
        attachment_id__isnull=False,
        cleaned_at=None,
        **{f"ticket__{name}": value for name, value in ticket.items()},
    )
    found = {
        row.attachment_id: TicketFile(
            name=row.name, size=row.size, url=to_itop.file_url(row), at=row.copied_at
        )
        for row in copied.select_related("ticket__itop").order_by("-pk")[:MAX_FILES]
    }
    added = FileToIntercom.objects.filter(
        source=Source.ATTACHMENT,
        cleaned_at=None,
        **{f"event__ticket__{name}": value for name, value in ticket.items()},
    ).exclude(name="")
    for row in added.select_related("event__ticket__itop").order_by("-pk")[:MAX_FILES]:
        file = TicketFile(name=row.name, size=row.size, url=from_itop.file_url(row), at=row.created_at)
        found.setdefault(row.object_id, file)
    newest = sorted(found.items(), key=lambda item: -(item[0] or 0))
    return tuple(file for _number, file in newest[:MAX_FILES])
