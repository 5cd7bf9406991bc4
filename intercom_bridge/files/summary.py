"""How many files of a conversation are in iTop, and why the newest failed one is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import CharField, Count, Q, Value
from django.db.models.functions import Cast, Concat

from intercom_bridge.models import Conversation, FileToItop, TicketLink
from intercom_bridge.models.file_to_itop import FileToItopQuerySet
from intercom_bridge.models.reason import ReasonCode

State = FileToItop.State

# One file has a row for each linked ticket.
FILE: Final = Concat("part_kind", Value(" "), "part_id", Value(" "), Cast("position", CharField()))
# Whenever they are retried, there is nothing to copy.
HOPELESS: Final = (ReasonCode.FILE_GONE, ReasonCode.FILE_EMPTY)
FAILED: Final = Q(state=State.FAILED)
RETRIABLE: Final = Q(state=State.FAILED, cleaned_at=None, ticket__gone_at=None) & ~Q(reason_code__in=HOPELESS)


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    """Files by state: `total` counts those that were to be copied, so neither skipped nor deleted ones.

    `failure` is the newest file that could not be copied.
    """

    total: int = 0
    copied: int = 0
    waiting: int = 0
    failed: int = 0
    retriable: int = 0
    failure: FileToItop | None = None


NO_FILES: Final = FileSummary()


def summary_of(conversation: Conversation) -> FileSummary:
    """Return the files for the tickets linked now. A file is counted once, and copied if all tickets have it."""
    rows = files_of_conversation(conversation)
    return _summary(rows, rows.aggregate(**_counts(FILE, distinct=True)))


def summaries_by_ticket(conversation: Conversation) -> dict[int, FileSummary]:
    """Return the files for each linked ticket that has any, by the ticket's primary key."""
    rows = files_of_conversation(conversation)
    return {
        counts["ticket"]: _summary(rows.filter(ticket=counts["ticket"]), counts)
        for counts in rows.values("ticket").annotate(**_counts("pk"))
    }


def files_of_conversation(conversation: Conversation | None) -> FileToItopQuerySet:
    """Return the files that were to be copied to the tickets that are linked now."""
    if conversation is None:
        return FileToItop.objects.none()
    linked = TicketLink.objects.filter(conversation=conversation).values("ticket")
    rows = FileToItop.objects.filter(conversation=conversation, ticket__in=linked, is_redacted=False)
    states = (State.WAITING, State.COPIED, State.FAILED)
    return rows.exclude(position=FileToItop.LOOKUP).filter(state__in=states).with_message().order_by()


def _counts(file: Any, *, distinct: bool = False) -> dict[str, Count]:
    """Return the numbers of a summary, as aggregates of the files that `file` identifies."""
    filters = {
        "total": None,
        "unfinished": ~Q(state=State.COPIED),
        "waiting": Q(state=State.WAITING),
        "failed": FAILED,
        "retriable": RETRIABLE,
    }
    return {name: Count(file, distinct=distinct, filter=which) for name, which in filters.items()}


def _summary(rows: FileToItopQuerySet, counts: Mapping[str, Any]) -> FileSummary:
    failed = rows.filter(FAILED).select_related("conversation__workspace").order_by("-pk")
    return FileSummary(
        total=counts["total"],
        copied=counts["total"] - counts["unfinished"],
        waiting=counts["waiting"],
        failed=counts["failed"],
        retriable=counts["retriable"],
        failure=failed.first() if counts["failed"] else None,
    )
