"""Poll an iTop for changes of linked tickets, and record them.

A ticket's `last_update` shows whether the ticket may have changed. A comparison with its snapshot shows what changed.
iTop's times are only compared with other times of the same iTop, never with our clocks. When a ticket is read, its
snapshot stores the highest `last_update` of all tickets until then, so a poll that fails or is killed loses nothing.
The database's clock decides when rows are due.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from .record import record, version_of
from .sweep import sweep

log = structlog.get_logger(__name__)

# Tickets in one poll. Each failure in a row halves the number, because iTop may be unable to handle so many.
MAX_TICKETS = 1000
MIN_TICKETS = 50
LEASE_SECONDS = 3 * DEADLINE_SECONDS
# Tickets in which something happened this recently are polled most often.
ACTIVE_FOR = dt.timedelta(hours=1)
# A ticket in a final state is no longer polled after this time without activity.
FOLLOWED_FOR = dt.timedelta(days=7)
# The first poll of a ticket usually reports no entries, because they may be older than the link. If this bridge created
# the ticket less than this time ago, it reports the entries that were added after the creation.
NEW_TICKET_AGE = dt.timedelta(days=1)
# If more tickets than this are missing at the same time, the account has probably lost the right to see them. Then a
# ticket is only reported as gone after it has been missing for GONE_AFTER.
MAX_GONE_AT_ONCE = 10
GONE_AFTER = dt.timedelta(days=1)


class LeaseLostError(Exception):
    """Another worker polls this iTop, because this one was too slow."""


def poll_soon(tickets: QuerySet[Ticket]) -> None:
    """Make these tickets and their files due, and wake a worker to poll them."""
    TicketSnapshot.objects.filter(ticket__in=tickets).update(poll_at=Now(), files_read_at=None)
    ItopPoll.objects.filter(itop__in=tickets.values("itop")).update(due_at=Now())
    # Wake only the queues that are cheap to query: pushes are frequent, and the queries of other queues are slow.
    wake(INCOMING)


def poll_itop(poll: ItopPoll) -> None:
    """Read the due tickets of an iTop, and record what changed. Store an error of iTop on `poll`.

    Do nothing if another worker polls this iTop.
    """
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
        # The highest `last_update` of the tickets that this and earlier polls have read.
        self._newest = poll.newest_update
        self._error: Exception | None = None
        # Reason code and detail if iTop answered, but some tickets could not be compared.
        self._problem: tuple[str, str] = (ReasonCode.NONE, "")
        # Halve the number once for each failure.
        self._limit = max(MIN_TICKETS, MAX_TICKETS >> poll.failures_in_a_row)

    def run(self) -> None:
        """Sweep if that is due, read the due tickets, record their changes, and store how the poll ended."""
        ItopPoll.objects.filter(pk=self._poll.pk).update(due_at=_from_now(LEASE_SECONDS))
        try:
            # A poll of many changes makes many calls, and a failed one would lose the answers of all others.
            client = itop_client(self._itop).repeating_reads()
            if self._poll.is_sweep_due:
                self._newest = sweep(self._poll, client, self._keep_lease)
        except (ItopError, SecretDecryptionError) as error:
            self._error = error
        snapshots = self._claim()
        for ticket_class, of_class in _by_class(snapshots).items():
            # These two errors concern one class of tickets. After any other error, all classes would fail.
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
        """Return the due snapshots, and make them due again only after LEASE_SECONDS.

        A push may make a snapshot due during the poll. Then `_mark_read` leaves it due.
        """
        # The long fields are loaded later, and only for the tickets that may have changed.
        due = TicketSnapshot.objects.due(self._itop).defer("entries", "solution", "pending_reason")
        snapshots = list(due[: self._limit])
        _rows_of(snapshots).update(poll_at=_from_now(LEASE_SECONDS))
        for snapshot in snapshots:
            if snapshot.ticket.gone_at is not None:
                # "" means: read this ticket even if it has not changed. Only this shows whether iTop has it again.
                snapshot.seen_until = ""
        return snapshots

    def _keep_lease(self) -> None:
        if not self._lease.renew_in_time(LEASE_SECONDS):
            raise LeaseLostError

    def _read(self, reader: TicketReader, snapshots: list[TicketSnapshot]) -> None:
        """Record what changed in these tickets, all of the reader's class. Raise ItopError."""
        self._keep_lease()
        returned = reader.changed(snapshots, self._poll.newest_update)
        by_id = {snapshot.ticket.object_id: snapshot for snapshot in snapshots}
        failed = self._record_changes(self._find_changes(reader, by_id, returned))
        returned_ids = {ticket.id for ticket in returned}
        # A ticket without `seen_until` was read in any case, so iTop does not have it if it was not returned. Another
        # ticket may just be unchanged.
        missing = [
            snapshot
            for snapshot in snapshots
            if not snapshot.seen_until and snapshot.ticket.object_id not in returned_ids
        ]
        self._store_missing(missing)
        not_read = {snapshot.pk for snapshot in (*failed, *missing)}
        self._mark_read([snapshot for snapshot in snapshots if snapshot.pk not in not_read])
        TicketSnapshot.objects.filter(pk__in=not_read, poll_at__isnull=False).update(
            poll_at=_from_now(settings.ITOP_POLL_IDLE_SECONDS)
        )

    def _find_changes(
        self, reader: TicketReader, by_id: dict[int, TicketSnapshot], returned: Sequence[ItopObject]
    ) -> _Changes:
        """Compare the tickets with their snapshots, and find the new files and the new entries that no bridge wrote.

        `by_id` has the snapshots by the tickets' ids in iTop.
        """
        comparisons = _compared(reader, by_id, returned)
        entries = self._foreign_entries(reader, comparisons)
        files = find_added_files(reader, [comparison.snapshot for comparison in comparisons], entries)
        # A file without an entry may have been saved with an entry after the tickets were read. Read that entry now.
        without_entry = [ticket for ticket, added in files.items() if added.has_file_without_entry]
        second_comparisons = self._read_again(reader, without_entry)
        second_entries = self._foreign_entries(reader, second_comparisons)
        read_again = [comparison.snapshot for comparison in second_comparisons]
        self._find_files_again(reader, read_again, files, second_entries)
        # If the second read found an entry, replace the first comparison. The second one contains all that the first
        # one found, because the snapshot is the same.
        unreplaced = [comparison for comparison in comparisons if comparison.ticket not in second_entries]
        replacing = [comparison for comparison in second_comparisons if comparison.ticket in second_entries]
        return _Changes(
            [*unreplaced, *replacing],
            entries={**entries, **second_entries},
            files=files,
            read_twice=frozenset(second_entries),
        )

    def _record_changes(self, changes: _Changes) -> list[TicketSnapshot]:
        """Record the changes ticket by ticket. Return the snapshots of the tickets for which this failed."""
        files = dict(changes.files)
        failed = []
        for comparison in changes.comparisons:
            self._keep_lease()
            added = files.pop(comparison.ticket, None)
            if not self._record(comparison, changes.entries, added):
                failed.append(comparison.snapshot)
            elif comparison.ticket not in changes.read_twice:
                # Do not count a second read: the next poll would skip what changed in other tickets between the reads.
                self._newest = max(self._newest, comparison.difference.new_values.get(LAST_UPDATE, ""))
        # In the remaining tickets, only the files changed.
        for ticket, added in files.items():
            record(ticket, added.changes, {"files": added.known_ids})
        return failed

    def _record(self, comparison: _Comparison, entries: Entries, files: AddedFiles | None) -> bool:
        """Record what changed in one ticket. Return False if an error occurred that concerns only this ticket."""
        try:
            comparison.record(entries, files)
        except (ItopError, OperationalError):
            raise
        except Exception:
            # The changes of the other tickets must still be reported.
            log.exception("itop.poll_ticket_failed", ticket=comparison.ticket.ref)
            self._problem = (ReasonCode.INTERNAL_ERROR, comparison.ticket.ref)
            return False
        return True

    def _foreign_entries(self, reader: TicketReader, comparisons: Iterable[_Comparison]) -> Entries:
        """Return the new entries that no bridge wrote. Raise ItopError."""
        entries = {
            comparison.ticket: comparison.difference.entries
            for comparison in comparisons
            if comparison.difference.entries
        }
        return foreign_entries(self._itop, reader.client, entries)

    def _read_again(self, reader: TicketReader, tickets: Sequence[Ticket]) -> list[_Comparison]:
        """Read and compare the tickets that have a new file without an entry.

        Files are also read of tickets that are not due. Make these tickets due soon.
        """
        if not tickets:
            return []
        self._keep_lease()
        snapshots = TicketSnapshot.objects.filter(ticket__in=tickets)
        soon = _from_now(settings.ITOP_POLL_SECONDS)
        snapshots.filter(poll_at__gt=soon).update(poll_at=soon)
        by_id = {snapshot.ticket.object_id: snapshot for snapshot in snapshots.select_related("ticket__itop")}
        return _compared(reader, by_id, reader.read(list(by_id.values())))

    def _find_files_again(
        self,
        reader: TicketReader,
        snapshots: Sequence[TicketSnapshot],
        files: dict[Ticket, AddedFiles],
        entries: Entries,
    ) -> None:
        """Update `files` for the tickets that were read again. `entries` are their new entries.

        iTop's console saves the files one after the other, and then the entry. If a ticket has more files than before
        but still no new entry, somebody may be saving it now. Then leave its files to the next poll.
        """
        second_files = find_files_of(reader, snapshots, entries)
        for snapshot in snapshots:
            ticket = snapshot.ticket
            if ticket in entries:
                files[ticket] = second_files.get(ticket, files[ticket])
            elif ticket in second_files and second_files[ticket].known_ids != files[ticket].known_ids:
                del files[ticket]
                TicketSnapshot.objects.filter(pk=snapshot.pk).update(poll_at=Now(), files_read_at=None)

    def _store_missing(self, snapshots: Sequence[TicketSnapshot]) -> None:
        """Store that iTop did not return these tickets. Report a ticket only if an earlier poll missed it as well."""
        if not snapshots:
            return
        now = timezone.now()
        tickets = [snapshot.ticket_id for snapshot in snapshots]
        Ticket.objects.filter(pk__in=tickets, gone_at=None).update(gone_at=now)
        missing = Ticket.objects.filter(
            itop=self._itop, gone_at__isnull=False, snapshot__poll_at__isnull=False
        )
        count = missing.count()
        reported_if_gone_before = now
        if count > MAX_GONE_AT_ONCE:
            self._problem = (ReasonCode.TICKETS_NOT_VISIBLE, str(count))
            reported_if_gone_before = now - GONE_AFTER
        for snapshot in snapshots:
            # None unless an earlier poll missed the ticket: the update above did not change this object.
            gone_at = snapshot.ticket.gone_at
            if gone_at is not None and gone_at < reported_if_gone_before:
                key = f"gone:{gone_at:%Y-%m-%d %H:%M:%S}"
                # Without `poll_at` the ticket is no longer polled. A sweep finds out if it comes back.
                record(snapshot.ticket, [Change(EventKind.GONE, key)], {"poll_at": None})

    def _mark_read(self, snapshots: Sequence[TicketSnapshot]) -> None:
        """Store that these tickets were read, and when each is due again."""
        profiles = TicketProfile.objects.filter(workspaces__itop=self._itop)
        final_states = {state for profile in profiles for state in profile.excluded_states}
        # Only a push during this poll can make a ticket due again, because `_claim` set `poll_at` to a later time.
        is_due_again = Q(poll_at__lte=Now())
        is_active = Q(active_at__gt=Now() - ACTIVE_FOR)
        is_over = Q(status__in=final_states, active_at__lt=Now() - FOLLOWED_FOR)
        _rows_of(snapshots).update(
            read_at=timezone.now(),
            seen_until=self._newest,
            poll_at=Case(
                When(is_due_again, then=F("poll_at")),
                When(is_active, then=_from_now(settings.ITOP_POLL_SECONDS)),
                When(is_over, then=None),
                default=_from_now(settings.ITOP_POLL_IDLE_SECONDS),
            ),
        )
        reappeared = [snapshot.ticket_id for snapshot in snapshots if snapshot.ticket.gone_at is not None]
        if reappeared:
            Ticket.objects.filter(pk__in=reappeared).update(gone_at=None)

    def _postpone(self, snapshots: Iterable[TicketSnapshot]) -> None:
        """Make the tickets due for the next poll, which comes after the pause that follows a failure."""
        _rows_of(snapshots).update(poll_at=Now())

    def _save(self, *, has_more: bool) -> None:
        """Store how the poll ended and when the next one is due. `has_more`: more tickets may be due now."""
        now = timezone.now()
        error = self._error
        code, detail = self._problem if error is None else reason_of(error)
        seconds: float = settings.ITOP_POLL_SECONDS
        failures = 0
        if error:
            failures = self._poll.failures_in_a_row + 1
            seconds = backoff_seconds(failures, settings.ITOP_POLL_SECONDS)
        next_at = Now() if has_more and not error else _from_now(seconds)
        # Only a push during this poll can make the next one due now, because `run` set `due_at` to a later time.
        is_due_again = Q(due_at__lte=Now())
        success: dict[str, Any] = {} if error else {"succeeded_at": now}
        ItopPoll.objects.filter(pk=self._poll.pk).update(
            due_at=Case(When(is_due_again, then=F("due_at")), default=next_at),
            polled_at=now,
            failures_in_a_row=failures,
            reason_code=code,
            reason_detail=detail[:MAX_REASON_DETAIL],
            newest_update=self._newest,
            **success,
        )
        increment(itop_polls, self._itop.name, code)
        if error:
            log.warning("itop.poll_failed", itop=self._itop.name, code=code, seconds=round(seconds))


class _Comparison:
    """The comparison of a ticket that iTop returned with its snapshot."""

    def __init__(self, reader: TicketReader, snapshot: TicketSnapshot, returned: ItopObject) -> None:
        self._reader, self._returned = reader, returned
        self.snapshot, self.ticket = snapshot, snapshot.ticket
        profile = reader.profile_of(self.ticket)
        self._codes = reader.codes(profile)
        self._version = version_of(snapshot)
        if not snapshot.first_read_at:
            snapshot.entries = self._digests_from_creation()
        self.difference = compare(snapshot, returned, profile, self._codes)
        if not snapshot.first_read_at:
            # Store the digests even if nothing was added to them, so that the next entry is recognised as new.
            self.difference.new_values.setdefault("entries", snapshot.entries)

    def record(self, entries: Entries, files: AddedFiles | None) -> None:
        """Record the ticket's changes, its new entries and its new files.

        `entries` are the new entries of all tickets that no bridge wrote. Raise ItopError if iTop has to be asked who
        wrote an entry and cannot answer now.
        """
        itop, client = self._reader.itop, self._reader.client
        caller = EventAuthor(
            name=self._returned.text(self._codes.get("caller_name", "")),
            person_id=self._returned.integer(self._codes.get("caller_id", "")),
        )
        changes = []
        for new in entries.get(self.ticket, []):
            author = author_of(itop, client, new.entry.user_id, new.entry.user_login, caller)
            changes.append(entry_change(new, author, itop.zone))
        changes += self.difference.changes
        new_values = self.difference.new_values
        if files:
            changes += files.changes
            new_values["files"] = files.known_ids
        if not self.snapshot.first_read_at:
            new_values["first_read_at"] = timezone.now()
        if new_values or changes:
            record(self.ticket, changes, new_values, compared_with=self._version)

    def _digests_from_creation(self) -> dict[str, list[str]]:
        """Return the digests of the entries that this bridge wrote when it created the ticket, by log.

        Return {} if it did not create the ticket within NEW_TICKET_AGE. These entries must be recognised here, because
        iTop's history has no idempotency key for entries that are written together with a new ticket.
        """
        since = timezone.now() - NEW_TICKET_AGE
        creation = TicketCreation.objects.filter(ticket=self.ticket, created_at__gte=since).first()
        if creation is None or not creation.fields:
            return {}
        digests = {}
        for name in Log.values:
            if code := self._codes.get(name):
                created_items = creation.fields.get(code, {}).get("items", [])
                # The log begins with the entries that were written at the creation.
                entries = read_log(self._returned.fields.get(code))[: len(created_items)]
                digests[name] = [digest(entry) for entry in entries]
        return digests


@dataclass(frozen=True)
class _Changes:
    """The changes of the tickets of one class.

    entries: the new log entries that no bridge wrote, by ticket.
    files: the new files, by ticket. Some of these tickets are not in `comparisons`.
    read_twice: the tickets whose comparison is from a second read.
    """

    comparisons: list[_Comparison]
    entries: Entries
    files: Mapping[Ticket, AddedFiles]
    read_twice: frozenset[Ticket]


def _compared(
    reader: TicketReader, by_id: Mapping[int, TicketSnapshot], returned: Iterable[ItopObject]
) -> list[_Comparison]:
    """Compare these tickets with their snapshots. The ticket with the oldest `last_update` comes first."""
    tickets = sorted(returned, key=lambda ticket: (ticket.text(LAST_UPDATE), ticket.id))
    with_all_fields = TicketSnapshot.objects.in_bulk([by_id[ticket.id].pk for ticket in tickets])
    comparisons: list[_Comparison] = []
    for ticket in tickets:
        claimed = by_id[ticket.id]
        snapshot = with_all_fields.get(claimed.pk)
        if snapshot is None:
            # The ticket was unlinked in the meantime.
            continue
        snapshot.ticket = claimed.ticket
        comparisons.append(_Comparison(reader, snapshot, ticket))
    return comparisons


def _by_class(snapshots: Iterable[TicketSnapshot]) -> dict[str, list[TicketSnapshot]]:
    by_class: dict[str, list[TicketSnapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_class[snapshot.ticket.ticket_class].append(snapshot)
    return by_class


def _rows_of(snapshots: Iterable[TicketSnapshot]) -> QuerySet[TicketSnapshot]:
    return TicketSnapshot.objects.filter(pk__in=[snapshot.pk for snapshot in snapshots])


def _from_now(seconds: float) -> Any:
    return Now() + dt.timedelta(seconds=seconds)
