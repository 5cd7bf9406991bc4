"""Recognise which new log entries a bridge wrote: this bridge by its stored items, any bridge by idempotency keys.

The keys are in iTop's history. An entry's author proves nothing, because an agent may write under the same account.
The keys of other bridges count, too, so that two bridges on one iTop do not report each other's messages.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import structlog

from intercom_bridge.models import Delivery, ItopInstance, Ticket
from intercom_bridge.sync.verify import LogMatcher, local_date
from itop_client import Client, ItopPermissionError, ItopRejectedError, ids, quote

from .compare import DATE_FORMAT, NewEntry, local_time

log = structlog.get_logger(__name__)

# How the idempotency keys of messages begin (sync/message.py).
KEY_PATTERNS = ("Intercom message %", "Intercom first message %", "Intercom redaction of message %")
# Positions in logs that one query asks about, for any number of tickets. A query with many more nested conditions could
# exceed iTop's stack.
MAX_POSITIONS = 20
# An entry that a bridge writes has the time of the message in Intercom, so its date may be later than its operation's:
# clocks differ, and both are local times.
MAX_ENTRY_AHEAD = dt.timedelta(days=1)
# All other entries have the time of iTop's clock, as their operations do. But all operations of a script may have the
# time at which the script began.
MAX_OTHER_ENTRY_AHEAD = dt.timedelta(hours=1)

Entries = dict[Ticket, list[NewEntry]]
TicketEntry = tuple[Ticket, NewEntry]


def foreign_entries(itop: ItopInstance, client: Client, entries: Entries) -> Entries:
    """Return the new entries without those that a bridge wrote. All tickets are of one class.

    Raise ItopError if iTop cannot answer now.
    """
    unknown = [
        (ticket, new)
        for ticket, of_ticket in entries.items()
        for new in _written_elsewhere(ticket, of_ticket)
    ]
    # iTop's history identifies an entry only by its position in the log. Do not ask if another entry was there before,
    # because the history may mean that one, or if the log is known to have no history.
    asked = [
        (ticket, new)
        for ticket, new in unknown
        if not new.replaces and itop.tracked_logs.get(f"{ticket.ticket_class}.{new.code}") is not False
    ]
    by_bridges: set[tuple[int, str]] = set()
    try:
        for batch in _batches(asked):
            by_bridges |= _with_idempotency_key(client, batch)
    except (ItopPermissionError, ItopRejectedError) as error:
        # Without the history, only the entries of this bridge are recognised.
        log.warning("own_writes.history_unreadable", itop=itop.name, error=type(error).__name__)
    foreign: Entries = defaultdict(list)
    for ticket, new in unknown:
        if (ticket.pk, new.key) not in by_bridges:
            foreign[ticket].append(new)
    return foreign


def _written_elsewhere(ticket: Ticket, entries: Iterable[NewEntry]) -> list[NewEntry]:
    """Return the entries that this bridge did not write.

    An entry is this bridge's if it matches the item of a delivery in time, author and content. The item is the entry as
    it is sent to iTop. It is stored before that, so an entry is recognised even if the outcome of its write is unknown.
    """
    zone = ticket.itop.zone
    items: dict[tuple[str, str], list[Any]] = defaultdict(list)
    deliveries = Delivery.objects.filter(ticket=ticket, item__isnull=False)
    for log_name, item in deliveries.order_by("pk").values_list("log", "item"):
        items[log_name, local_date(item or {}, zone)].append(item)

    def is_written_here(new: NewEntry) -> bool:
        matcher = LogMatcher([new.entry], zone)
        return any(matcher.take(item) for item in items[new.log, new.entry.date])

    return [new for new in entries if not is_written_here(new)]


def _batches(ticket_entries: Iterable[TicketEntry]) -> Iterator[list[TicketEntry]]:
    """Yield the entries in batches of MAX_POSITIONS positions (attribute and index) each."""
    by_position: dict[tuple[str, int], list[TicketEntry]] = defaultdict(list)
    for ticket, new in ticket_entries:
        by_position[new.code, new.index].append((ticket, new))
    positions = sorted(by_position)
    for start in range(0, len(positions), MAX_POSITIONS):
        asked = positions[start : start + MAX_POSITIONS]
        yield [entry for position in asked for entry in by_position[position]]


def _with_idempotency_key(client: Client, ticket_entries: list[TicketEntry]) -> set[tuple[int, str]]:
    """Return the entries that have an idempotency key in iTop's history, as (ticket's primary key, entry's key).

    A query returns tickets, not entries. The first query asks about all entries at once. It usually returns no ticket,
    because most entries are not a bridge's. For the tickets that it returns, further queries ask about one entry per
    ticket: about the first entry of each ticket, then about the second, and so on.
    """
    suspected = _tickets_with_operation(client, ticket_entries)
    remaining: dict[Ticket, list[NewEntry]] = defaultdict(list)
    for ticket, new in ticket_entries:
        if ticket.object_id in suspected:
            remaining[ticket].append(new)
    by_bridges: set[tuple[int, str]] = set()
    most_entries = max(map(len, remaining.values()), default=0)
    for index in range(most_entries):
        asked = [(ticket, entries[index]) for ticket, entries in remaining.items() if index < len(entries)]
        matching = _tickets_with_operation(client, asked)
        with_key = [(ticket, new) for ticket, new in asked if ticket.object_id in matching]
        # When two saves of a log are concurrent, both leave an operation with the same position, but iTop loses one of
        # the entries. The entry in the log may be the one without a key, so it is reported. This bridge's own entries
        # are not among these: `_written_elsewhere` has recognised them.
        shared = _tickets_with_operation(client, with_key, has_key=False)
        by_bridges |= {(ticket.pk, new.key) for ticket, new in with_key if ticket.object_id not in shared}
    return by_bridges


def _tickets_with_operation(
    client: Client, ticket_entries: list[TicketEntry], *, has_key: bool = True
) -> set[int]:
    """Return the ids of the tickets where one of these entries has an operation in iTop's history.

    Only operations with a bridge's idempotency key count or, if not `has_key`, only those without one. An
    operation that is much older than all these entries does not count: it wrote an entry that was replaced since.
    """
    if not ticket_entries:
        return set()
    ticket_class = ticket_entries[0][0].ticket_class
    by_position: dict[tuple[str, int], list[int]] = defaultdict(list)
    for ticket, new in ticket_entries:
        by_position[new.code, new.index].append(ticket.object_id)
    is_entry = " OR ".join(
        f"(o.attcode = {quote(code)} AND o.lastentry = {quote(index)} AND t.id IN ({ids(ticket_ids)}))"
        for (code, index), ticket_ids in by_position.items()
    )
    # OQL has no NOT for a condition in parentheses, so each pattern is negated.
    junction, operator = (" OR ", "LIKE") if has_key else (" AND ", "NOT LIKE")
    is_wanted = junction.join(f"o.userinfo {operator} {quote(pattern)}" for pattern in KEY_PATTERNS)
    query = (
        f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
        f" WHERE o.objclass = {quote(ticket_class)} AND ({is_wanted}) AND ({is_entry})"
    )
    dates = [local_time(new.entry.date, dt.UTC) for _ticket, new in ticket_entries]
    known_dates = [date for date in dates if date]
    if known_dates:
        earliest = min(known_dates) - (MAX_ENTRY_AHEAD if has_key else MAX_OTHER_ENTRY_AHEAD)
        query += f" AND o.date >= {quote(f'{earliest:{DATE_FORMAT}}')}"
    return {ticket.id for ticket in client.get(ticket_class, query, fields=("id",))}
