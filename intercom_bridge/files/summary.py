"""Count the files of a conversation that are copied, wait or failed, and find the newest one that failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q

from intercom_bridge.models import Conversation, FileToItop, TicketLink
from intercom_bridge.models.file_to_itop import FileToItopQuerySet
from intercom_bridge.models.reason import ReasonCode

State = FileToItop.State

# Reasons that a retry cannot remove, because there is nothing to copy.
HOPELESS: Final = (ReasonCode.FILE_GONE, ReasonCode.FILE_EMPTY)
RETRIABLE: Final = Q(state=State.FAILED, cleaned_at=None, ticket__gone_at=None) & ~Q(reason_code__in=HOPELESS)


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    """Numbers of files.

    total: the files that were to be copied. Skipped and deleted files are not counted.
    retriable: the failed files that a teammate can retry.
    failure: the newest file that failed, None if none did.
    """

    total: int = 0
    copied: int = 0
    waiting: int = 0
    failed: int = 0
    retriable: int = 0
    failure: FileToItop | None = None


NO_FILES: Final = FileSummary()


def summary_of(conversation: Conversation) -> FileSummary:
    """Return the numbers of files for the tickets that are linked now.

    A file for several tickets counts once. It counts as copied if all these tickets have it.
    """
    return _summary(_rows(conversation))


def summaries_by_ticket(conversation: Conversation) -> dict[int, FileSummary]:
    """Return the numbers of files of each linked ticket that has files, by the ticket's primary key."""
    by_ticket: dict[int, list[Any]] = defaultdict(list)
    for row in _rows(conversation):
        by_ticket[row.ticket_id].append(row)
    return {ticket: _summary(rows) for ticket, rows in by_ticket.items()}


def files_of_conversation(conversation: Conversation | None) -> FileToItopQuerySet:
    """Return the files that were to be copied to the tickets that are linked now, without redacted ones."""
    if conversation is None:
        return FileToItop.objects.none()
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    rows = FileToItop.objects.filter(conversation=conversation, ticket__in=linked, is_redacted=False)
    states = (State.WAITING, State.COPIED, State.FAILED)
    return rows.exclude(position=FileToItop.LOOKUP).filter(state__in=states).with_message().order_by()


def _rows(conversation: Conversation) -> list[Any]:
    rows = files_of_conversation(conversation).annotate(is_retriable=RETRIABLE)
    fields = ("pk", "ticket_id", "part_kind", "part_id", "position", "state", "is_retriable")
    return list(rows.values_list(*fields, named=True))


def _summary(rows: Sequence[Any]) -> FileSummary:
    failed = [row for row in rows if row.state == State.FAILED]
    failure = None
    if failed:
        files = FileToItop.objects.select_related("conversation__workspace")
        failure = files.filter(pk=max(row.pk for row in failed)).first()
    total = _count_files(rows)
    not_copied_to_all = _count_files(row for row in rows if row.state != State.COPIED)
    return FileSummary(
        total=total,
        copied=total - not_copied_to_all,
        waiting=_count_files(row for row in rows if row.state == State.WAITING),
        failed=_count_files(failed),
        retriable=_count_files(row for row in rows if row.is_retriable),
        failure=failure,
    )


def _count_files(rows: Iterable[Any]) -> int:
    """Count each file once, although it has a row for each linked ticket."""
    return len({(row.part_kind, row.part_id, row.position) for row in rows})
