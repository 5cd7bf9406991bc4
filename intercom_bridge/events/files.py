"""Store the files and pictures of events, and with which message each is posted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from intercom_bridge.files.from_itop import pictures_of
from intercom_bridge.models import EventKind, EventRules, FileToIntercom, OutgoingMessage, TicketEvent
from intercom_bridge.models.event_rules import FileAction, rules_of

from .compare import FILE_KEY_PREFIX

Source = FileToIntercom.Source
# The prefix of `once_key` of a message that contains only files.
FILES = "files:"


def add_file_rows(events: Sequence[TicketEvent], rules: EventRules) -> None:
    """Store a row for each file and picture of these saved events, unless the rules report no files."""
    if rules.files == FileAction.NOTHING:
        return
    rows = []
    for event in events:
        if event.kind == EventKind.FILE:
            attachment_id = int(event.key.removeprefix(FILE_KEY_PREFIX))
            rows.append(FileToIntercom(event=event, source=Source.ATTACHMENT, object_id=attachment_id))
            continue
        rows += [
            FileToIntercom(event=event, source=Source.PICTURE, object_id=picture.image_id, position=position)
            for position, picture in enumerate(pictures_of(event.content))
        ]
    FileToIntercom.objects.bulk_create(rows)


def files_of_event(event: TicketEvent) -> list[FileToIntercom]:
    """Return the files that belong to an entry: the pictures in its text, and the files that were saved with it.

    A file has another row for each message in which a teammate sent it to the customer. Only its first row is returned.
    """
    rows = FileToIntercom.objects.filter(Q(event=event) | Q(event__entry=event))
    first_rows: dict[tuple[int, int], FileToIntercom] = {}
    for row in rows.select_related("event__ticket__itop", "event__conversation__workspace").order_by("pk"):
        first_rows.setdefault((row.event_id, row.position), row)
    return list(first_rows.values())


@transaction.atomic
def attach_files(message: OutgoingMessage, event: TicketEvent) -> None:
    """Add the files of an entry to the message with which a teammate sends the entry to the customer.

    Do nothing if the workspace's rules send no files to customers. Call this in the transaction that creates the
    message, so that a worker cannot post the message without its files.
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


def rows_by_event(events: Sequence[TicketEvent]) -> defaultdict[int, list[FileToIntercom]]:
    """Return the files of these events that have no message yet, by the event's primary key."""
    by_event = defaultdict[int, list[FileToIntercom]](list)
    for row in FileToIntercom.objects.filter(event__in=events, message=None).order_by("event", "position"):
        by_event[row.event_id].append(row)
    return by_event


def assign_files(
    events: Sequence[TicketEvent], messages: Sequence[OutgoingMessage], rules: EventRules
) -> None:
    """Store with which of the saved messages about these events each file is posted.

    This is the message that reports the file's event. If that is a reply, and the rules keep files internal, it is the
    note instead.
    """
    pks = {message.pk for message in messages}
    # Prefer a note that contains only files to a note that reports other events.
    notes = [message for message in messages if message.is_note and is_about_files(message)]
    notes += [event.message for event in events if event.message and event.message.is_note]
    note = notes[0] if notes else None
    files = rows_by_event(events)
    assigned = []
    for event in events:
        message = event.message
        if message is None or message.pk not in pks:
            continue
        is_with_message = message.is_note or rules.files == FileAction.WITH_REPLY
        for row in files[event.pk]:
            row.message = message if is_with_message else note
            assigned.append(row)
    FileToIntercom.objects.bulk_update(assigned, ["message"])


def is_about_files(message: OutgoingMessage) -> bool:
    """Return whether the message contains nothing but files and pictures."""
    return message.once_key.startswith(FILES)
