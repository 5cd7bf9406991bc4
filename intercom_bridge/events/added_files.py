"""Find the files that people added to linked tickets.

A file alone does not change a ticket's `last_update`. Ids and dates do not show when a file was saved either, because
a file that is uploaded into a form exists before the form is saved. So the ids of a ticket's files are compared with
those in its snapshot.

Only files with an entry in iTop's history are read, because only these were added by people. Files that came over REST,
such as the bridge's own, have no such entry, nor do files that iTop copied from another ticket.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from intercom_bridge.models import EventKind, Log, Ticket, TicketSnapshot
from itop_client import ItopObject, ItopPermissionError, ItopRejectedError, ids, list_attachments, quote

from .authors import author_of
from .compare import FILE_KEY_PREFIX, Change, EventAuthor, local_time
from .own_writes import Entries
from .reading import DEADLINE_SECONDS, TicketReader

log = structlog.get_logger(__name__)

ACTIVE_FOR: Final = dt.timedelta(hours=1)
MAX_TICKETS: Final = 1000
# The most calls that look for the files saved with new entries. Each asks about one position in the tickets' logs.
MAX_ENTRIES: Final = 20
FIELDS: Final = ("id", "item_id", "creation_date", "user_id", "contact_id_friendlyname")


class FilePlace(NamedTuple):
    """A file of a ticket, both by their ids in iTop."""

    ticket_id: int
    file_id: int


@dataclass(frozen=True)
class AddedFiles:
    """A ticket's files that people added.

    known_ids: the ids of all files that have been examined, including the new ones.
    changes: the changes to report, one for each new file.
    """

    known_ids: list[int]
    changes: list[Change]

    @property
    def has_file_without_entry(self) -> bool:
        """Return whether there is a new file that was not saved together with a new public entry."""
        return any(not change.entry_key for change in self.changes)


def find_added_files(
    reader: TicketReader, snapshots: Iterable[TicketSnapshot], entries: Entries
) -> dict[Ticket, AddedFiles]:
    """Return the new files by ticket, only for tickets that have some. Raise ItopError if iTop cannot answer now.

    Ask iTop only if the files of a ticket are due, or if `entries` has new entries of tickets of `snapshots`. The first
    time that a ticket's files are read, they are stored as known and not reported.
    """
    if not reader.wants_files:
        # If a workspace wants files again later, those that were added until then must not be reported.
        TicketSnapshot.objects.filter(
            ticket__itop=reader.itop, ticket__ticket_class=reader.ticket_class, files__isnull=False
        ).update(files=None, files_read_at=None)
        return {}
    with_entries = [snapshot for snapshot in snapshots if entries.get(snapshot.ticket)]
    return find_files_of(reader, _due(reader, with_entries), entries)


def find_files_of(
    reader: TicketReader, snapshots: Sequence[TicketSnapshot], entries: Entries
) -> dict[Ticket, AddedFiles]:
    """Return the new files of these tickets as `find_added_files` does, but ask iTop even if none is due."""
    if not snapshots:
        return {}
    by_id = {snapshot.ticket.object_id: snapshot for snapshot in snapshots}
    try:
        attachments = list_attachments(
            reader.client, reader.ticket_class, by_id, added_by_people=True, deadline=DEADLINE_SECONDS
        )
        changes = _changes(reader, _find_new_ids(by_id, attachments), entries)
    except (ItopPermissionError, ItopRejectedError) as error:
        log.warning("files.unreadable", itop=reader.itop.name, error=type(error).__name__)
        changes = {}
    pks = [snapshot.pk for snapshot in snapshots]
    TicketSnapshot.objects.filter(pk__in=pks).update(files_read_at=timezone.now())
    added = {}
    for snapshot, file_changes in changes.items():
        new_ids = [int(change.key.removeprefix(FILE_KEY_PREFIX)) for change in file_changes]
        added[snapshot.ticket] = AddedFiles([*(snapshot.files or []), *new_ids], file_changes)
    return added


def _due(reader: TicketReader, with_entries: Sequence[TicketSnapshot]) -> list[TicketSnapshot]:
    """Return the tickets whose files are to be read now, [] if none is due and there are none `with_entries`.

    One call reads many tickets, so include all active ones and those that are due soon. Then they are due at the same
    time again.
    """
    now = timezone.now()
    period = dt.timedelta(seconds=settings.FILES_SECONDS)
    idle_period = dt.timedelta(seconds=settings.ITOP_POLL_IDLE_SECONDS)
    polled = TicketSnapshot.objects.filter(
        ticket__itop=reader.itop,
        ticket__ticket_class=reader.ticket_class,
        ticket__gone_at=None,
        poll_at__isnull=False,
    )
    is_unread = Q(files_read_at=None)
    is_active = Q(active_at__gt=now - ACTIVE_FOR)
    is_active_and_due = is_active & Q(files_read_at__lte=now - period)
    is_due_even_if_idle = Q(files_read_at__lte=now - idle_period)
    is_due = is_unread | is_active_and_due | is_due_even_if_idle
    if not with_entries and not polled.filter(is_due).exists():
        return []
    # Due within the next `period`, but not read within the last one.
    is_due_soon = Q(files_read_at__lte=now - max(idle_period - period, period))
    has_entries = Q(pk__in=[snapshot.pk for snapshot in with_entries])
    to_read = polled.filter(is_unread | is_active | is_due_soon | has_entries)
    with_ticket = to_read.select_related("ticket__itop").defer("entries", "solution", "pending_reason")
    return list(with_ticket.order_by("files_read_at", "pk")[:MAX_TICKETS])


def _find_new_ids(
    by_id: Mapping[int, TicketSnapshot], attachments: Iterable[ItopObject]
) -> dict[TicketSnapshot, list[int]]:
    """Return the ids of the new files by their ticket's snapshot. `by_id` has the snapshots by the ticket's id in iTop.

    If a ticket's files were never read before, store all of them as known. None of them is new then.
    """
    current_ids: dict[int, set[int]] = {ticket_id: set() for ticket_id in by_id}
    for attachment in attachments:
        ticket_id = attachment.integer("item_id")
        if ticket_id in current_ids:
            current_ids[ticket_id].add(attachment.id)
    first_read = []
    new_ids = {}
    for ticket_id, snapshot in by_id.items():
        if snapshot.files is None:
            snapshot.files = sorted(current_ids[ticket_id])
            first_read.append(snapshot)
        elif added := current_ids[ticket_id] - set(snapshot.files):
            new_ids[snapshot] = sorted(added)
    TicketSnapshot.objects.bulk_update(first_read, ["files"], batch_size=100)
    return new_ids


def _changes(
    reader: TicketReader, new_ids: Mapping[TicketSnapshot, list[int]], entries: Entries
) -> dict[TicketSnapshot, list[Change]]:
    """Return the changes to report for the new files, with their authors and the entries they were saved with."""
    if not new_ids:
        return {}
    by_id = {snapshot.ticket.object_id: snapshot for snapshot in new_ids}
    attachments = list_attachments(
        reader.client,
        reader.ticket_class,
        by_id,
        added_by_people=True,
        fields=FIELDS,
        deadline=DEADLINE_SECONDS,
    )
    entry_keys = _entry_keys(reader, [snapshot.ticket for snapshot in new_ids], entries)
    changes: dict[TicketSnapshot, list[Change]] = defaultdict(list)
    for attachment in sorted(attachments, key=lambda attachment: attachment.id):
        snapshot = by_id.get(attachment.integer("item_id"))
        if snapshot is None or attachment.id not in new_ids[snapshot]:
            continue
        author = author_of(
            reader.itop,
            reader.client,
            attachment.integer("user_id"),
            attachment.text("contact_id_friendlyname"),
            EventAuthor(person_id=int(snapshot.caller_id or 0)),
        )
        changes[snapshot].append(
            Change(
                EventKind.FILE,
                f"{FILE_KEY_PREFIX}{attachment.id}",
                happened_at=local_time(attachment.text("creation_date"), reader.itop.zone),
                author=author,
                entry_key=entry_keys.get(FilePlace(snapshot.ticket.object_id, attachment.id), ""),
            )
        )
    return changes


def _entry_keys(reader: TicketReader, tickets: Sequence[Ticket], entries: Entries) -> dict[FilePlace, str]:
    """Return for each file the key of the public entry, one of `entries`, that it was saved with.

    Leave out a file if a private entry was saved together with it, too: the file may belong to that entry.
    """
    by_position: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for ticket in tickets:
        for new in entries.get(ticket, []):
            if new.log == Log.PUBLIC:
                by_position[new.code, new.index][ticket.object_id] = new.key
    keys: dict[FilePlace, str] = {}
    for (code, index), keys_of_tickets in sorted(by_position.items())[:MAX_ENTRIES]:
        condition = f"l.attcode = {quote(code)} AND l.lastentry = {quote(index)}"
        for place in _saved_with(reader, keys_of_tickets, condition):
            keys[place] = keys_of_tickets[place.ticket_id]
    if not keys:
        return {}
    private_codes = sorted({profile.code(Log.PRIVATE) for profile in reader.profiles})
    is_private = f"l.attcode IN ({', '.join(map(quote, private_codes))})"
    for place in _saved_with(reader, {place.ticket_id for place in keys}, is_private):
        keys.pop(place, None)
    return keys


def _saved_with(reader: TicketReader, ticket_ids: Iterable[int], condition: str) -> list[FilePlace]:
    """Return the files of these tickets that were saved together with a log entry that meets the OQL condition.

    iTop records the file and the entry in the same change. In the condition, `l` is the operation on the log.
    """
    query = "SELECT a FROM Attachment AS a JOIN CMDBChangeOpAttachmentAdded AS o ON o.attachment_id = a.id"
    query += " JOIN CMDBChange AS c ON o.change = c.id JOIN CMDBChangeOpSetAttributeCaseLog AS l ON l.change = c.id"
    query += f" WHERE a.item_class = {quote(reader.ticket_class)} AND a.item_id IN ({ids(ticket_ids)})"
    query += f" AND l.objclass = {quote(reader.ticket_class)} AND l.objkey = a.item_id AND {condition}"
    found = reader.client.get("Attachment", query, fields=("id", "item_id"), deadline=DEADLINE_SECONDS)
    return [FilePlace(attachment.integer("item_id"), attachment.id) for attachment in found]
