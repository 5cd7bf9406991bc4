"""What is new in iTop for a conversation, and when it was last checked. Asks only the database."""

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
    """The newest change of a linked ticket, and how the checks for changes are doing.

    `happened_at` is when the newest change happened, `checked_at` is when all followed tickets had last been compared
    with iTop, both in the workspace's time zone; None if unknown. `problem`: why iTop cannot be checked now.
    `is_stopped`: the bridge posts no changes in this conversation, because there were too many.
    """

    latest: TicketEvent | None = None
    happened_at: dt.datetime | None = None
    checked_at: dt.datetime | None = None
    problem: str = ""
    is_stopped: bool = False


def get_news(context: PanelContext) -> News | None:
    """Return what is new in the linked tickets, or None if there are none."""
    conversation = find_conversation(context)
    if conversation is None or not conversation.links.exists():
        return None
    latest = _events(conversation).select_related("ticket").first()
    snapshots = TicketSnapshot.objects.filter(ticket__links__conversation=conversation).values_list(
        "read_at", "poll_at", "ticket__gone_at"
    )
    read = [(read_at, bool(poll_at and not gone_at)) for read_at, poll_at, gone_at in snapshots if read_at]
    followed = [read_at for read_at, is_followed in read if is_followed]
    # If no ticket is polled any more, use the last time that one was read.
    checked_at = min(followed) if followed else max((read_at for read_at, _ in read), default=None)
    poll = ItopPoll.objects.filter(itop=context.itop, failures_in_a_row__gt=0).first()
    return News(
        latest=latest,
        happened_at=happened_at(context, latest) if latest else None,
        checked_at=checked_at.astimezone(context.workspace.zone) if checked_at else None,
        problem=reason_label(poll.reason_code, poll.reason_detail) if poll else "",
        is_stopped=conversation.posting_stopped_at is not None,
    )


def list_events(context: PanelContext) -> list[TicketEvent]:
    """Return the last changes of the linked tickets, newest first."""
    conversation = find_conversation(context)
    if conversation is None:
        return []
    return list(_events(conversation).select_related("ticket__itop", "message")[:MAX_EVENTS])


def names_of_files(events: Iterable[TicketEvent]) -> dict[int, list[str]]:
    """Return the names of the files that these events report or that were saved with them, by the event's key."""
    pks = [event.pk for event in events]
    rows = (
        FileToIntercom.objects.filter(Q(event__in=pks) | Q(event__entry__in=pks))
        .filter(source=FileToIntercom.Source.ATTACHMENT, cleaned_at=None)
        .exclude(name="")
        .order_by("pk")
    )
    names: dict[int, dict[int, str]] = {}
    for event, entry, number, name in rows.values_list("event", "event__entry", "object_id", "name"):
        names.setdefault(entry or event, {}).setdefault(number, name)
    return {event: list(found.values()) for event, found in names.items()}


def happened_at(context: PanelContext, event: TicketEvent) -> dt.datetime:
    """Return when a change happened, or if iTop does not say, when the bridge noticed it."""
    return (event.happened_at or event.created_at).astimezone(context.workspace.zone)


def resume_posting(context: PanelContext) -> None:
    """Post changes in this conversation again. Raise OutdatedScreenError."""
    conversation = find_conversation(context)
    if conversation is not None and conversation.posting_stopped_at is not None:
        claim_version(context)
        resume(conversation)


def _events(conversation: Conversation) -> QuerySet[TicketEvent]:
    """Return the changes of the tickets that are linked now.

    iTop's copies of a parent's entries are left out, and so are files that were saved with an entry: they are named
    there (`names_of_files`).
    """
    events = TicketEvent.objects.filter(
        conversation=conversation, ticket__in=conversation.links.values("ticket")
    )
    events = events.exclude(reason_code=ReasonCode.REPORTED_WITH_PARENT).filter(entry=None)
    return events.order_by("-created_at", "-pk")
