"""Poll an iTop for changes of linked tickets, and record them.

`last_update` tells which tickets may have changed; what changed is found by comparing them with their snapshots. All
times of iTop are compared with times of iTop only. Each snapshot stores up to which `last_update` its iTop had been
read, so a poll that fails or is killed loses nothing. When rows are due is decided by the database's clock.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence

import structlog
from django.conf import settings
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.connections import itop_client
from intercom_bridge.models import ItopPoll, Log, Ticket, TicketCreation, TicketProfile, TicketSnapshot
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import MAX_REASON_DETAIL, reason_of
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.sync.circuit_breaker import backoff_seconds
from intercom_bridge.wake import EVERYTHING, wake
from itop_client import ItopError, ItopObject, read_log

from .authors import author_of
from .change import EventAuthor
from .compare import LAST_UPDATE, compare, digest, entry_change
from .own_writes import foreign_entries
from .reading import DEADLINE_SECONDS, TicketReader
from .record import record

log = structlog.get_logger(__name__)

MAX_TICKETS = 1000
LEASE_SECONDS = 3 * DEADLINE_SECONDS
ACTIVE_FOR = dt.timedelta(hours=1)
FOLLOWED_FOR = dt.timedelta(days=7)
# In a ticket that this bridge created, entries are news from the creation on, unless the first poll is later than this.
NEW_TICKET_AGE = dt.timedelta(days=1)


def poll_soon(tickets: QuerySet[Ticket] | Ticket) -> None:
    """Have these tickets compared with iTop at once."""
    if isinstance(tickets, Ticket):
        tickets = Ticket.objects.filter(pk=tickets.pk)
    TicketSnapshot.objects.filter(ticket__in=tickets).update(poll_at=Now())
    ItopPoll.objects.filter(itop__in=tickets.values("itop")).update(due_at=Now())
    wake(EVERYTHING)


def poll_itop(poll: ItopPoll) -> None:
    """Read the due tickets of an iTop, and record what changed. Store an error of iTop on the row."""
    lease = take_lease(poll, LEASE_SECONDS)
    if lease is None:
        return
    with lease:
        snapshots = _claim(poll)
        try:
            newest = _poll(poll, snapshots, lease)
        except (ItopError, SecretDecryptionError) as error:
            _save_failure(poll, snapshots, error)
        else:
            _save_success(poll, snapshots, newest)


def _claim(poll: ItopPoll) -> list[TicketSnapshot]:
    """Return the due snapshots. Those that become due again while they are read stay due."""
    # The long fields are needed for those that changed only.
    due = TicketSnapshot.objects.due(poll.itop).defer("entries", "solution", "pending_reason")
    snapshots = list(due[:MAX_TICKETS])
    _rows(snapshots).update(poll_at=_from_now(LEASE_SECONDS))
    ItopPoll.objects.filter(pk=poll.pk).update(due_at=_from_now(LEASE_SECONDS))
    return snapshots


def _poll(poll: ItopPoll, snapshots: Iterable[TicketSnapshot], lease: Lease) -> str:
    """Record what changed in these tickets. Return the highest `last_update` of this iTop. Raise ItopError."""
    newest = poll.newest_update
    client = itop_client(poll.itop)
    by_class: dict[str, list[TicketSnapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_class[snapshot.ticket.ticket_class].append(snapshot)
    for ticket_class, of_class in by_class.items():
        if not lease.renew_in_time(LEASE_SECONDS):
            break
        reader = TicketReader.of(poll.itop, client, ticket_class)
        found = reader.changed(of_class, poll.newest_update)
        _record_changes(reader, {snapshot.ticket.object_id: snapshot for snapshot in of_class}, found)
        newest = max([newest, *(ticket.text(LAST_UPDATE) for ticket in found)])
    return newest


def _record_changes(
    reader: TicketReader, snapshots: dict[int, TicketSnapshot], found: Sequence[ItopObject]
) -> None:
    """Compare the tickets with their snapshots, and record what changed."""
    itop, client = reader.itop, reader.client
    for ticket in found:
        snapshot = snapshots[ticket.id]
        profile = reader.profile_of(snapshot.ticket)
        codes = reader.codes(profile)
        _seed(snapshot, ticket, codes)
        difference = compare(snapshot, ticket, profile, codes)
        foreign = (
            foreign_entries(itop, client, codes, {snapshot.ticket: difference.entries})
            if difference.entries
            else {}
        )
        caller = EventAuthor(
            name=ticket.text(codes.get("caller_name", "")),
            person_id=ticket.integer(codes.get("caller_id", "")),
        )
        changes = [
            entry_change(new, author_of(itop, client, new.entry, caller), itop.zone)
            for new in foreign.get(snapshot.ticket, [])
        ]
        update = difference.update
        if not snapshot.first_read_at:
            update["first_read_at"] = timezone.now()
        if update or changes or difference.changes:
            record(snapshot.ticket, [*changes, *difference.changes], update)


def _seed(snapshot: TicketSnapshot, found: ItopObject, codes: dict[str, str]) -> None:
    """Before the first comparison of a ticket that this bridge created, remember the entries that it created."""
    if snapshot.first_read_at:
        return
    since = timezone.now() - NEW_TICKET_AGE
    creation = TicketCreation.objects.filter(ticket=snapshot.ticket, created_at__gte=since).first()
    if creation is None or not creation.fields:
        return
    entries = {}
    for log_name in Log.values:
        if log_name in codes:
            created = len(creation.fields.get(codes[log_name], {}).get("items", []))
            read = read_log(found.fields.get(codes[log_name]))
            entries[log_name] = [digest(entry) for entry in read[:created]]
    snapshot.entries = entries


def _save_success(poll: ItopPoll, snapshots: Iterable[TicketSnapshot], newest: str) -> None:
    now = timezone.now()
    profiles = TicketProfile.objects.filter(workspaces__itop=poll.itop)
    finished = {state for states in profiles.values_list("excluded_states", flat=True) for state in states}
    _rows(snapshots).update(
        read_at=now,
        seen_until=newest,
        poll_at=Case(
            When(poll_at__lte=Now(), then=F("poll_at")),
            When(active_at__gt=Now() - ACTIVE_FOR, then=_from_now(settings.ITOP_POLL_SECONDS)),
            When(Q(status__in=finished, active_at__lt=Now() - FOLLOWED_FOR), then=None),
            default=_from_now(settings.ITOP_POLL_IDLE_SECONDS),
        ),
    )
    next_poll = Case(When(due_at__lte=Now(), then=F("due_at")), default=_from_now(settings.ITOP_POLL_SECONDS))
    ItopPoll.objects.filter(pk=poll.pk).update(
        due_at=next_poll,
        polled_at=now,
        succeeded_at=now,
        failures_in_a_row=0,
        reason_code="",
        reason_detail="",
        newest_update=newest,
    )


def _save_failure(poll: ItopPoll, snapshots: Iterable[TicketSnapshot], error: Exception) -> None:
    """Store the problem, and have the same tickets read when the pause is over."""
    failures = poll.failures_in_a_row + 1
    seconds = backoff_seconds(failures, settings.ITOP_POLL_SECONDS)
    code, detail = reason_of(error)
    _rows(snapshots).update(poll_at=Now())
    ItopPoll.objects.filter(pk=poll.pk).update(
        due_at=_from_now(seconds),
        polled_at=timezone.now(),
        failures_in_a_row=failures,
        reason_code=code,
        reason_detail=detail[:MAX_REASON_DETAIL],
    )
    log.warning("itop.poll_failed", itop=poll.itop.name, code=code, seconds=round(seconds))


def _rows(snapshots: Iterable[TicketSnapshot]) -> QuerySet[TicketSnapshot]:
    return TicketSnapshot.objects.filter(pk__in=[snapshot.pk for snapshot in snapshots])


def _from_now(seconds: float) -> object:
    return Now() + dt.timedelta(seconds=seconds)
