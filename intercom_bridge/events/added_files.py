"""Find the files that people added to linked tickets.

A file alone does not move a ticket's `last_update`, and neither ids nor dates say when it was saved: an upload into a
form is older than the save. So the ids of a ticket's files are compared with those that are known. Files that came over
REST, such as the bridge's own, and those that iTop copied have no line in the history and are not asked for.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from intercom_bridge.models import EventKind, Log, Ticket, TicketSnapshot
from itop_client import ItopObject, ItopPermissionError, ItopRejectedError, ids, list_attachments, quote

from .authors import author_of
from .compare import Change, EventAuthor, NewEntry, local_time
from .own_writes import Entries
from .reading import DEADLINE_SECONDS, TicketReader

log = structlog.get_logger(__name__)

ACTIVE_FOR: Final = dt.timedelta(hours=1)
MAX_TICKETS: Final = 1000
# Entries that are asked about, one call each, whether files were saved with them.
MAX_ENTRIES: Final = 20
FIELDS: Final = ("id", "item_id", "creation_date", "user_id", "contact_id_friendlyname")


@dataclass(frozen=True)
class AddedFiles:
    """The files of a ticket that people added: the ids of all that are known now, and the changes that new ones are."""

    known: list[int]
    changes: list[Change]

    @property
    def has_file_without_entry(self) -> bool:
        """Return whether there is a file that none of the entries was saved with."""
        return any(not change.entry_key for change in self.changes)


def find_added_files(
    reader: TicketReader, snapshots: Iterable[TicketSnapshot], entries: Entries
) -> dict[Ticket, AddedFiles]:
    """Return the files of those tickets that have new ones. Raise ItopError if iTop cannot answer now.

    iTop is asked, with one call, if files are due to be asked for, or if people wrote the `entries` in tickets of
    `snapshots`. What is in a ticket that was never asked about is no change.
    """
    if not reader.wants_files:
        # When a workspace wants to hear of files again, those of the meantime will be no news.
        TicketSnapshot.objects.filter(
            ticket__itop=reader.itop, ticket__ticket_class=reader.ticket_class, files__isnull=False
        ).update(files=None, files_read_at=None)
        return {}
    return find_files_of(
        reader, _due(reader, [snapshot for snapshot in snapshots if entries.get(snapshot.ticket)]), entries
    )


def find_files_of(
    reader: TicketReader, asked: Sequence[TicketSnapshot], entries: Entries
) -> dict[Ticket, AddedFiles]:
    """Ask for the files of these tickets, whether they are due or not. For the rest, see `find_added_files`."""
    if not asked:
        return {}
    by_id = {snapshot.ticket.object_id: snapshot for snapshot in asked}
    try:
        found = list_attachments(
            reader.client, reader.ticket_class, by_id, added_by_people=True, deadline=DEADLINE_SECONDS
        )
        added = _compare(by_id, found)
        changes = _changes(reader, {by_id[number]: new for number, new in added.items()}, entries)
    except (ItopPermissionError, ItopRejectedError) as error:
        log.warning("files.unreadable", itop=reader.itop.name, error=type(error).__name__)
        changes = {}
    pks = [snapshot.pk for snapshot in asked]
    TicketSnapshot.objects.filter(pk__in=pks).update(files_read_at=timezone.now())
    return {
        snapshot.ticket: AddedFiles([*(snapshot.files or []), *(int(change.key[5:]) for change in new)], new)
        for snapshot, new in changes.items()
    }


def _due(reader: TicketReader, written: Sequence[TicketSnapshot]) -> list[TicketSnapshot]:
    """Return the followed tickets to ask about, none if nothing is due.

    If one is due, or `written` to, the others that would be due soon are included, so that they are due together.
    """
    now = timezone.now()
    period = dt.timedelta(seconds=settings.FILES_SECONDS)
    idle = dt.timedelta(seconds=settings.ITOP_POLL_IDLE_SECONDS)
    followed = TicketSnapshot.objects.filter(
        ticket__itop=reader.itop,
        ticket__ticket_class=reader.ticket_class,
        ticket__gone_at=None,
        poll_at__isnull=False,
    )
    is_active = Q(active_at__gt=now - ACTIVE_FOR)
    is_unread = Q(files_read_at=None)
    is_due = is_unread | Q(is_active, files_read_at__lte=now - period) | Q(files_read_at__lte=now - idle)
    if not written and not followed.filter(is_due).exists():
        return []
    is_soon_due = is_unread | is_active | Q(files_read_at__lte=now - max(idle - period, period))
    together = followed.filter(is_soon_due | Q(pk__in=[snapshot.pk for snapshot in written]))
    rows = together.select_related("ticket__itop").defer("entries", "solution", "pending_reason")
    return list(rows.order_by("files_read_at", "pk")[:MAX_TICKETS])


def _compare(by_id: Mapping[int, TicketSnapshot], found: Iterable[ItopObject]) -> dict[int, list[int]]:
    """Return the ids of the new files by that of their ticket. Store those of tickets that were never asked about."""
    of_ticket: dict[int, set[int]] = {number: set() for number in by_id}
    for item in found:
        if (number := item.integer("item_id")) in of_ticket:
            of_ticket[number].add(item.id)
    unread = []
    added = {}
    for number, snapshot in by_id.items():
        if snapshot.files is None:
            snapshot.files = sorted(of_ticket[number])
            unread.append(snapshot)
        elif new := of_ticket[number] - set(snapshot.files):
            added[number] = sorted(new)
    TicketSnapshot.objects.bulk_update(unread, ["files"], batch_size=100)
    return added


def _changes(
    reader: TicketReader, added: Mapping[TicketSnapshot, list[int]], entries: Entries
) -> dict[TicketSnapshot, list[Change]]:
    if not added:
        return {}
    by_id = {snapshot.ticket.object_id: snapshot for snapshot in added}
    found = list_attachments(
        reader.client,
        reader.ticket_class,
        by_id,
        added_by_people=True,
        fields=FIELDS,
        deadline=DEADLINE_SECONDS,
    )
    entry_keys = _entry_keys(reader, [snapshot.ticket for snapshot in added], entries)
    changes: dict[TicketSnapshot, list[Change]] = defaultdict(list)
    for item in sorted(found, key=lambda item: item.id):
        snapshot = by_id.get(item.integer("item_id"))
        if snapshot is None or item.id not in added[snapshot]:
            continue
        author = author_of(
            reader.itop,
            reader.client,
            item.integer("user_id"),
            item.text("contact_id_friendlyname"),
            EventAuthor(person_id=int(snapshot.caller_id or 0)),
        )
        changes[snapshot].append(
            Change(
                EventKind.FILE,
                f"file:{item.id}",
                happened_at=local_time(item.text("creation_date"), reader.itop.zone),
                author=author,
                entry_key=entry_keys.get((snapshot.ticket.object_id, item.id), ""),
            )
        )
    return changes


def _entry_keys(
    reader: TicketReader, tickets: Sequence[Ticket], entries: Entries
) -> dict[tuple[int, int], str]:
    """Return the keys of the public entries that files were saved with, by the ids of the ticket and of the file.

    A file that was saved with a private entry, too, is left out: iTop does not mark it, only the history says so.
    """
    written: dict[tuple[str, int], list[tuple[Ticket, NewEntry]]] = defaultdict(list)
    for ticket in tickets:
        for new in entries.get(ticket, []):
            if new.log == Log.PUBLIC:
                written[new.code, new.index].append((ticket, new))
    if not written:
        return {}
    keys = {}
    for (code, index), places in sorted(written.items(), key=lambda item: item[0])[:MAX_ENTRIES]:
        of_ticket = {ticket.object_id: new.key for ticket, new in places}
        condition = f"l.attcode = {quote(code)} AND l.lastentry = {quote(index)}"
        for number, file in _saved_with(reader, of_ticket, condition):
            keys[number, file] = of_ticket[number]
    codes = {profile.code(Log.PRIVATE) for profile in reader.profiles}
    private = f"l.attcode IN ({', '.join(map(quote, sorted(codes)))})"
    for place in _saved_with(reader, {number for number, _file in keys}, private) if keys else ():
        keys.pop(place, None)
    return keys


def _saved_with(reader: TicketReader, tickets: Iterable[int], condition: str) -> list[tuple[int, int]]:
    """Return the files that were saved together with such an entry, as (id of the ticket, id of the file)."""
    tickets = tuple(tickets)
    query = "SELECT a FROM Attachment AS a JOIN CMDBChangeOpAttachmentAdded AS o ON o.attachment_id = a.id"
    query += " JOIN CMDBChange AS c ON o.change = c.id JOIN CMDBChangeOpSetAttributeCaseLog AS l ON l.change = c.id"
    query += f" WHERE a.item_class = {quote(reader.ticket_class)} AND a.item_id IN ({ids(tickets)})"
    query += f" AND l.objclass = {quote(reader.ticket_class)} AND l.objkey = a.item_id AND {condition}"
    found = reader.client.get("Attachment", query, fields=("id", "item_id"), deadline=DEADLINE_SECONDS)
    return [(item.integer("item_id"), item.id) for item in found if item.integer("item_id") in tickets]
