"""The files of events: which there are, which message they are posted with, and adding them to a teammate's message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from intercom_bridge.files.from_itop import pictures_of
from intercom_bridge.models import EventKind, EventRules, FileToIntercom, OutgoingMessage, TicketEvent
from intercom_bridge.models.event_rules import FileAction, rules_of

Source = FileToIntercom.Source
# How the key of a message begins that contains only files.
FILES = "files:"


def add_rows(events: Sequence[TicketEvent], rules: EventRules) -> None:
    """Store a row for each file and picture of these saved events, unless the rules report no files."""
    if rules.files == FileAction.NOTHING:
        return
    rows = []
    for event in events:
        if event.kind == EventKind.FILE:
            number = int(event.key.removeprefix("file:"))
            rows.append(FileToIntercom(event=event, source=Source.ATTACHMENT, object_id=number))
            continue
        rows += [
            FileToIntercom(event=event, source=Source.PICTURE, object_id=picture.image_id, position=position)
            for position, picture in enumerate(pictures_of(event.content))
        ]
    FileToIntercom.objects.bulk_create(rows)


def files_of_event(event: TicketEvent) -> list[FileToIntercom]:
    """Return the files that belong to an entry: the pictures in its text, and the files that were saved with it.

    These are the rows of the event itself, without the copies of messages that teammates sent.
    """
    if event.pk is None:
        return []
    rows = FileToIntercom.objects.filter(Q(event=event) | Q(event__entry=event))
    first: dict[tuple[int, int], FileToIntercom] = {}
    for row in rows.select_related("event__ticket__itop", "event__conversation__workspace").order_by("pk"):
        first.setdefault((row.event_id, row.position), row)
    return list(first.values())


@transaction.atomic
def attach_files(message: OutgoingMessage, event: TicketEvent) -> None:
    """Have the files of an entry posted with a message of a teammate to the customer, if the workspace's rules do so.

    Call it in the transaction that creates the message: it must not be posted before.
    """
    if rules_of(message.conversation.workspace).files != FileAction.WITH_REPLY:
        return
    rows = [
        FileToIntercom(
            event=row.event,
            message=message,
            position=row.position,
            source=row.source,
            object_id=row.object_id,
        )
        for row in files_of_event(event)
    ]
    FileToIntercom.objects.bulk_create(rows)


def rows_by_event(events: Sequence[TicketEvent]) -> dict[int, list[FileToIntercom]]:
    """Return the rows of these events that have no message yet, by the primary key of the event."""
    by_event: dict[int, list[FileToIntercom]] = defaultdict(list)
    for row in FileToIntercom.objects.filter(event__in=events, message=None).order_by("event", "position"):
        by_event[row.event_id].append(row)
    return by_event


def assign_files(
    events: Sequence[TicketEvent], messages: Sequence[OutgoingMessage], rules: EventRules
) -> None:
    """Store which of the saved messages about these events each file is posted with: where its text is, or the note."""
    of_plan = {message.pk for message in messages}
    note = next((message for message in messages if message.is_note and is_about_files(message)), None)
    note = note or next((event.message for event in events if event.message and event.message.is_note), None)
    rows_of = rows_by_event(events)
    rows = []
    for event in events:
        message = event.message
        if message is None or message.pk not in of_plan:
            continue
        if not message.is_note and rules.files != FileAction.WITH_REPLY:
            message = note
        for row in rows_of[event.pk]:
            row.message = message
            rows.append(row)
    FileToIntercom.objects.bulk_update(rows, ["message"])


def is_about_files(message: OutgoingMessage) -> bool:
    return message.once_key.startswith(FILES)
