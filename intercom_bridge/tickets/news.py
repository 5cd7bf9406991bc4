"""What is new in iTop about a conversation's tickets, and when the bridge last checked. Read only from our tables."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from intercom_bridge.events.rules import resume
from intercom_bridge.models import Conversation, FileToIntercom, ItopPoll, TicketEvent, TicketSnapshot
from intercom_bridge.models.reason import ReasonCode, reason_label

from .context import PanelContext
from .conversation import find_conversation
from .version import claim_version

MAX_EVENTS = 10


@dataclass(frozen=True, kw_only=True)
class News:
    """The newest change of a linked ticket, and whether the bridge still notices and posts changes.

    happened_at: when the newest change happened, in the workspace's time zone. None if there is no change.
    checked_at: changes before this time were noticed in all linked tickets, in the workspace's time zone. None if no
        ticket was checked yet.
    problem: why the bridge cannot check iTop at present, or "".
    is_stopped: the bridge has stopped posting changes in this conversation, because there were too many.
    """

    latest: TicketEvent | None = None
    happened_at: dt.datetime | None = None
    checked_at: dt.datetime | None = None
    problem: str = ""
    is_stopped: bool = False


def get_news(context: PanelContext) -> News | None:
    """Return what is new in the linked tickets, or None if no ticket is linked."""
    conversation = find_conversation(context)
    if conversation is None or not conversation.links.exists():
        return None
    latest = _events(conversation).select_related("ticket").first()
    checked_at = _checked_at(conversation)
    failing_poll = ItopPoll.objects.filter(itop=context.itop, failures_in_a_row__gt=0).first()
    return News(
        latest=latest,
        happened_at=happened_at(context, latest) if latest else None,
        checked_at=checked_at.astimezone(context.workspace.zone) if checked_at else None,
        problem=reason_label(failing_poll.reason_code, failing_poll.reason_detail) if failing_poll else "",
        is_stopped=conversation.posting_stopped_at is not None,
    )


def _checked_at(conversation: Conversation) -> dt.datetime | None:
    """Return the oldest of the linked tickets' last read times. Count only tickets that are still polled.

    If no ticket is polled any more, return the newest of all last read times, or None if no ticket was read.
    """
    snapshots = TicketSnapshot.objects.filter(ticket__links__conversation=conversation)
    read_times, polled_read_times = [], []
    for read_at, poll_at, gone_at in snapshots.values_list("read_at", "poll_at", "ticket__gone_at"):
        if read_at is None:
            continue
        read_times.append(read_at)
        if poll_at is not None and gone_at is None:
            polled_read_times.append(read_at)
    return min(polled_read_times) if polled_read_times else max(read_times, default=None)


def list_events(context: PanelContext) -> list[TicketEvent]:
    """Return the newest changes of the linked tickets, newest first, MAX_EVENTS at most."""
    conversation = find_conversation(context)
    if conversation is None:
        return []
    return list(_events(conversation).select_related("ticket__itop", "message")[:MAX_EVENTS])


def names_of_files(events: Iterable[TicketEvent]) -> dict[int, list[str]]:
    """Return the names of the attachments that belong to these events, by the event's primary key.

    An event about an added file has that file. An event about a log entry has the files that were saved with the entry.
    """
    event_pks = [event.pk for event in events]
    files = (
        FileToIntercom.objects.filter(Q(event__in=event_pks) | Q(event__entry__in=event_pks))
        .filter(source=FileToIntercom.Source.ATTACHMENT, cleaned_at=None)
        .exclude(name="")
        .order_by("pk")
    )
    # By event, and then by the attachment's id, because an attachment may have several rows.
    names: dict[int, dict[int, str]] = {}
    columns = files.values_list("event", "event__entry", "object_id", "name")
    for event_pk, entry_event_pk, attachment_id, name in columns:
        # A file that was saved with an entry belongs to the entry's event.
        names_by_id = names.setdefault(entry_event_pk or event_pk, {})
        names_by_id.setdefault(attachment_id, name)
    return {event_pk: list(names_by_id.values()) for event_pk, names_by_id in names.items()}


def happened_at(context: PanelContext, event: TicketEvent) -> dt.datetime:
    """Return when a change happened or, if iTop does not say that, when the bridge noticed the change."""
    return (event.happened_at or event.created_at).astimezone(context.workspace.zone)


def resume_posting(context: PanelContext) -> None:
    """Start posting changes in this conversation again, if the bridge has stopped. Raise OutdatedScreenError."""
    conversation = find_conversation(context)
    if conversation is not None and conversation.posting_stopped_at is not None:
        claim_version(context)
        resume(conversation)


def _events(conversation: Conversation) -> QuerySet[TicketEvent]:
    """Return the changes of the tickets that are linked now, newest first.

    Leave out entries that iTop has copied from a parent ticket. Also leave out files that were saved with an entry,
    because the entry names them (`names_of_files`).
    """
    events = TicketEvent.objects.filter(
        conversation=conversation, ticket__in=conversation.links.values("ticket")
    )
    events = events.exclude(reason_code=ReasonCode.REPORTED_WITH_PARENT).filter(entry=None)
    return events.order_by("-created_at", "-pk")
