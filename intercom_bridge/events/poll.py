"""Poll an iTop for changes of linked tickets, and record them.

`last_update` tells which tickets may have changed; what changed is found by comparing them with their snapshots. All
times of iTop are compared with times of iTop only. Each snapshot stores up to which `last_update` its iTop had been
read, so a poll that fails or is killed loses nothing. When rows are due is decided by the database's clock.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from django.conf import settings
from django.db import OperationalError
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.connections import itop_client
from intercom_bridge.models import (
    EventKind,
    ItopPoll,
    Log,
    Ticket,
    TicketCreation,
    TicketProfile,
    TicketSnapshot,
)
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import MAX_REASON_DETAIL, reason_of
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops.metrics import increment, itop_polls
from intercom_bridge.sync.circuit_breaker import backoff_seconds
from intercom_bridge.wake import INCOMING, wake
from itop_client import ItopError, ItopObject, ItopPermissionError, ItopRejectedError, read_log

from .added_files import AddedFiles, find_added_files, find_files_of
from .authors import author_of
from .compare import LAST_UPDATE, Change, EventAuthor, compare, digest, entry_change
from .own_writes import Entries, foreign_entries
from .reading import DEADLINE_SECONDS, TicketReader
from .record import record, state_of
from .sweep import sweep

log = structlog.get_logger(__name__)

MAX_TICKETS = 1000
# After failures fewer tickets are read, in case it is the number that iTop cannot handle.
MIN_TICKETS = 50
LEASE_SECONDS = 3 * DEADLINE_SECONDS
ACTIVE_FOR = dt.timedelta(hours=1)
FOLLOWED_FOR = dt.timedelta(days=7)
# In a ticket that this bridge created, entries are news from the creation on, unless the first poll is later than this.
NEW_TICKET_AGE = dt.timedelta(days=1)
# If more tickets than this disappear together, the account has probably lost the right to see them. Nobody is told
# that they are gone until they have been away for a day.
MAX_GONE_AT_ONCE = 10
GONE_AFTER = dt.timedelta(days=1)


class LeaseLostError(Exception):
    """Another worker polls this iTop, because this one was too slow."""


def poll_soon(tickets: QuerySet[Ticket]) -> None:
    """Have these tickets compared with iTop at once."""
    TicketSnapshot.objects.filter(ticket__in=tickets).update(poll_at=Now(), files_read_at=None)
    ItopPoll.objects.filter(itop__in=tickets.values("itop")).update(due_at=Now())
    # Polls are looked for all the time. The slow queries of other queues must not follow each push.
    wake(INCOMING)


def poll_itop(poll: ItopPoll) -> None:
    """Read the due tickets of an iTop, and record what changed. Store an error of iTop on the row."""
    lease = take_lease(poll, LEASE_SECONDS)
    if lease is None:
        return
    with lease:
        try:
            _Poll(poll, lease).run()
        except LeaseLostError:
            log.warning("itop.poll_lease_lost", itop=poll.itop.name)


class _Poll:
    """One poll of one iTop."""

    def __init__(self, poll: ItopPoll, lease: Lease) -> None:
        self._poll, self._lease, self._itop = poll, lease, poll.itop
        # The highest `last_update` of a ticket that changed.
        self._newest = poll.newest_update
        self._error: Exception | None = None
        # Why some tickets could not be compared although iTop answered.
        self._problem: tuple[str, str] = (ReasonCode.NONE, "")
        self._limit = max(MIN_TICKETS, MAX_TICKETS >> min(poll.failures_in_a_row, 10))

    def run(self) -> None:
        ItopPoll.objects.filter(pk=self._poll.pk).update(due_at=_from_now(LEASE_SECONDS))
        try:
            # A poll of many changes makes many calls, and records nothing if one of them fails.
            client = itop_client(self._itop).repeating_reads()
            if self._poll.is_sweep_due:
                self._newest = sweep(self._poll, client, self._keep_lease)
        except (ItopError, SecretDecryptionError) as error:
            self._error = error
        snapshots = self._claim()
        for ticket_class, of_class in _by_class(snapshots).items():
            # Another error is about the whole iTop.
            if self._error and not isinstance(self._error, ItopPermissionError | ItopRejectedError):
                self._postpone(of_class)
                continue
            try:
                self._read(TicketReader(self._itop, client, ticket_class), of_class)
            except ItopError as error:
                self._error = error
                self._postpone(of_class)
        self._save(has_more=len(snapshots) == self._limit)

    def _claim(self) -> list[TicketSnapshot]:
        """Return the due snapshots, leased for LEASE_SECONDS.

        If a push makes one due again in the meantime, `_mark_read` leaves it due.
        """
        # The long fields are only loaded for the snapshots that changed.
        due = TicketSnapshot.objects.due(self._itop).defer("entries", "solution", "pending_reason")
        snapshots = list(due[: self._limit])
        _rows(snapshots).update(poll_at=_from_now(LEASE_SECONDS))
        for snapshot in snapshots:
            if snapshot.ticket.gone_at is not None:
                # Only a read without the condition on `last_update` shows whether iTop has the ticket again.
                snapshot.seen_until = ""
        return snapshots

    def _keep_lease(self) -> None:
        if not self._lease.renew_in_time(LEASE_SECONDS):
            raise LeaseLostError

    def _read(self, reader: TicketReader, snapshots: list[TicketSnapshot]) -> None:
        """Record what changed in these tickets, all of the reader's class. Raise ItopError."""
        self._keep_lease()
        found = reader.changed(snapshots, self._poll.newest_update)
        by_id = {snapshot.ticket.object_id: snapshot for snapshot in snapshots}
        failed = self._record_changes(reader, by_id, found)
        found_ids = {ticket.id for ticket in found}
        missing = [row for row in snapshots if not row.seen_until and row.ticket.object_id not in found_ids]
        self._note_missing(missing)
        left = {row.pk for row in (*failed, *missing)}
        self._mark_read([row for row in snapshots if row.pk not in left])
        TicketSnapshot.objects.filter(pk__in=left, poll_at__isnull=False).update(
            poll_at=_from_now(settings.ITOP_POLL_IDLE_SECONDS)
        )

    def _record_changes(
        self, reader: TicketReader, by_id: dict[int, TicketSnapshot], found: Sequence[ItopObject]
    ) -> list[TicketSnapshot]:
        """Compare the tickets with their snapshots, and record what changed. Return those that could not be."""
        comparisons = _compared(reader, by_id, found)
        foreign = self._foreign_entries(reader, comparisons)
        files = find_added_files(reader, [row.snapshot for row in comparisons], foreign)
        again = self._read_again(reader, [ticket for ticket, added in files.items() if added.is_apart])
        written = self._foreign_entries(reader, again)
        comparisons = [row for row in comparisons if row.ticket not in written]
        comparisons += [row for row in again if row.ticket in written]
        foreign = {**foreign, **written}
        self._find_files_again(reader, [row.snapshot for row in again], files, written)
        failed = []
        for comparison in comparisons:
            self._keep_lease()
            try:
                comparison.record(foreign, files.pop(comparison.ticket, None))
            except (ItopError, OperationalError):
                raise
            except Exception:
                # It must not keep the changes of other tickets from being reported.
                log.exception("itop.poll_ticket_failed", ticket=comparison.ticket.ref)
                self._problem = (ReasonCode.INTERNAL_ERROR, comparison.ticket.ref)
                failed.append(comparison.snapshot)
            else:
                # What was read later says nothing about the other tickets.
                if comparison.ticket not in written:
                    self._newest = max(self._newest, str(comparison.difference.update.get(LAST_UPDATE, "")))
        for unchanged, added in files.items():
            record(unchanged, added.changes, {"files": added.known})
        return failed

    def _foreign_entries(self, reader: TicketReader, comparisons: Iterable[_Comparison]) -> Entries:
        entries = {row.ticket: row.difference.entries for row in comparisons if row.difference.entries}
        return foreign_entries(self._itop, reader.client, entries)

    def _read_again(self, reader: TicketReader, tickets: Sequence[Ticket]) -> list[_Comparison]:
        """Read tickets with files that no known entry was saved with.

        The entry may be newer than what was read of the ticket: iTop is asked for the files afterwards, and for those
        of tickets that were not due to be read, too. There is activity in them, so they are due sooner from now on.
        """
        if not tickets:
            return []
        self._keep_lease()
        snapshots = TicketSnapshot.objects.filter(ticket__in=tickets)
        soon = _from_now(settings.ITOP_POLL_SECONDS)
        snapshots.filter(poll_at__gt=soon).update(poll_at=soon)
        by_id = {row.ticket.object_id: row for row in snapshots.select_related("ticket__itop")}
        return _compared(reader, by_id, reader.read(list(by_id.values())))

    def _find_files_again(
        self,
        reader: TicketReader,
        snapshots: Sequence[TicketSnapshot],
        files: dict[Ticket, AddedFiles],
        written: Entries,
    ) -> None:
        """Ask for the files of tickets that were read again. Update `files`.

        iTop's console saves the files one after the other, and then the entry. What is being saved is left out, and
        read by the next poll.
        """
        found = find_files_of(reader, snapshots, written)
        for snapshot in snapshots:
            ticket = snapshot.ticket
            if ticket in written:
                files[ticket] = found.get(ticket, files[ticket])
            elif ticket in found and found[ticket].known != files[ticket].known:
                del files[ticket]
                TicketSnapshot.objects.filter(pk=snapshot.pk).update(poll_at=Now(), files_read_at=None)

    def _note_missing(self, snapshots: Sequence[TicketSnapshot]) -> None:
        """Note that iTop does not return these tickets, and report it if that was noted before."""
        now = timezone.now()
        Ticket.objects.filter(pk__in=[row.ticket_id for row in snapshots], gone_at=None).update(gone_at=now)
        since = now
        away = Ticket.objects.filter(itop=self._itop, gone_at__isnull=False, snapshot__poll_at__isnull=False)
        if snapshots and (count := away.count()) > MAX_GONE_AT_ONCE:
            self._problem = (ReasonCode.TICKETS_NOT_VISIBLE, str(count))
            since = now - GONE_AFTER
        for snapshot in snapshots:
            gone_at = snapshot.ticket.gone_at
            if gone_at is not None and gone_at < since:
                key = f"gone:{gone_at:%Y-%m-%d %H:%M:%S}"
                record(snapshot.ticket, [Change(EventKind.GONE, key)], {"poll_at": None})

    def _mark_read(self, snapshots: Sequence[TicketSnapshot]) -> None:
        """Store that these tickets were read, and when they are read again."""
        profiles = TicketProfile.objects.filter(workspaces__itop=self._itop)
        finished = {
            state for states in profiles.values_list("excluded_states", flat=True) for state in states
        }
        _rows(snapshots).update(
            read_at=timezone.now(),
            seen_until=self._newest,
            poll_at=Case(
                When(poll_at__lte=Now(), then=F("poll_at")),
                When(active_at__gt=Now() - ACTIVE_FOR, then=_from_now(settings.ITOP_POLL_SECONDS)),
                When(Q(status__in=finished, active_at__lt=Now() - FOLLOWED_FOR), then=None),
                default=_from_now(settings.ITOP_POLL_IDLE_SECONDS),
            ),
        )
        back = [row.ticket_id for row in snapshots if row.ticket.gone_at is not None]
        if back:
            Ticket.objects.filter(pk__in=back).update(gone_at=None)

    def _postpone(self, snapshots: Iterable[TicketSnapshot]) -> None:
        """Have the tickets read when the pause after a failure is over."""
        _rows(snapshots).update(poll_at=Now())

    def _save(self, *, has_more: bool) -> None:
        """Save how the poll ended and when the next one is due. A push in the meantime makes it due at once."""
        now = timezone.now()
        error = self._error
        code, detail = self._problem if error is None else reason_of(error)
        failures = self._poll.failures_in_a_row + 1 if error else 0
        seconds = (
            backoff_seconds(failures, settings.ITOP_POLL_SECONDS) if error else settings.ITOP_POLL_SECONDS
        )
        values: dict[str, Any] = {} if error else {"succeeded_at": now}
        next_at = Now() if has_more and not error else _from_now(seconds)
        ItopPoll.objects.filter(pk=self._poll.pk).update(
            due_at=Case(When(due_at__lte=Now(), then=F("due_at")), default=next_at),
            polled_at=now,
            failures_in_a_row=failures,
            reason_code=code,
            reason_detail=detail[:MAX_REASON_DETAIL],
            newest_update=self._newest,
            **values,
        )
        increment(itop_polls, self._itop.name, code)
        if error:
            log.warning("itop.poll_failed", itop=self._itop.name, code=code, seconds=round(seconds))


class _Comparison:
    """A ticket that iTop returned, and how it differs from its snapshot."""

    def __init__(self, reader: TicketReader, snapshot: TicketSnapshot, found: ItopObject) -> None:
        self._reader, self._found = reader, found
        self.snapshot, self.ticket = snapshot, snapshot.ticket
        profile = reader.profile_of(self.ticket)
        self._codes = reader.codes(profile)
        self._state = state_of(snapshot)
        if not snapshot.first_read_at:
            snapshot.entries = self._created_entries()
        self.difference = compare(snapshot, found, profile, self._codes)
        if not snapshot.first_read_at:
            # Also if nothing was added to what the creation wrote: otherwise the next entry would be no news.
            self.difference.update.setdefault("entries", snapshot.entries)

    def record(self, foreign: Entries, files: AddedFiles | None) -> None:
        """Record the changes, without entries that a bridge wrote, with the new files. Raise ItopError."""
        itop, client = self._reader.itop, self._reader.client
        codes = self._codes
        caller = EventAuthor(
            name=self._found.text(codes.get("caller_name", "")),
            person_id=self._found.integer(codes.get("caller_id", "")),
        )
        changes = []
        for new in foreign.get(self.ticket, []):
            author = author_of(itop, client, new.entry.user_id, new.entry.user_login, caller)
            changes.append(entry_change(new, author, itop.zone))
        changes += self.difference.changes
        update = self.difference.update
        if files:
            changes += files.changes
            update["files"] = files.known
        if not self.snapshot.first_read_at:
            update["first_read_at"] = timezone.now()
        if update or changes:
            record(self.ticket, changes, update, compared_with=self._state)

    def _created_entries(self) -> dict[str, list[str]]:
        """Return the digests of the entries with which this bridge created the ticket a short time ago.

        Their writing left no operation in iTop's history. All later entries are examined, as those of a known ticket.
        """
        since = timezone.now() - NEW_TICKET_AGE
        creation = TicketCreation.objects.filter(ticket=self.ticket, created_at__gte=since).first()
        if creation is None or not creation.fields:
            return {}
        entries = {}
        for name in Log.values:
            if name in self._codes:
                created = creation.fields.get(self._codes[name], {}).get("items", [])
                read = read_log(self._found.fields.get(self._codes[name]))
                entries[name] = [digest(entry) for entry in read[: len(created)]]
        return entries


def _compared(
    reader: TicketReader, by_id: Mapping[int, TicketSnapshot], found: Iterable[ItopObject]
) -> list[_Comparison]:
    """Compare these tickets with their snapshots, the one that was changed first in iTop first."""
    tickets = sorted(found, key=lambda ticket: (ticket.text(LAST_UPDATE), ticket.id))
    complete = TicketSnapshot.objects.in_bulk([by_id[ticket.id].pk for ticket in tickets])
    comparisons: list[_Comparison] = []
    for ticket in tickets:
        known = by_id[ticket.id]
        # It is missing if its ticket was unlinked meanwhile.
        if snapshot := complete.get(known.pk):
            snapshot.ticket = known.ticket
            comparisons.append(_Comparison(reader, snapshot, ticket))
    return comparisons


def _by_class(snapshots: Iterable[TicketSnapshot]) -> dict[str, list[TicketSnapshot]]:
    by_class: dict[str, list[TicketSnapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_class[snapshot.ticket.ticket_class].append(snapshot)
    return by_class


def _rows(snapshots: Iterable[TicketSnapshot]) -> QuerySet[TicketSnapshot]:
    return TicketSnapshot.objects.filter(pk__in=[snapshot.pk for snapshot in snapshots])


def _from_now(seconds: float) -> Any:
    return Now() + dt.timedelta(seconds=seconds)
