"""Recognise the entries that a bridge wrote: by what this one wrote, or by the idempotency key in iTop's history.

Never by author: an agent may write under the same account. Any bridge's key counts, so that two bridges on one iTop do
not report each other's messages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import structlog

from intercom_bridge.models import Delivery, ItopInstance, Ticket
from intercom_bridge.sync.verify import LogMatcher, local_date
from itop_client import Client, ItopPermissionError, ItopRejectedError, ids, quote

from .compare import NewEntry

log = structlog.get_logger(__name__)

# How the idempotency keys of messages begin (sync/message.py).
KEY_PATTERNS = ("Intercom message %", "Intercom first message %", "Intercom redaction of message %")
# Positions in logs that one query asks about, of any number of tickets: nested conditions need space on a stack.
MAX_POSITIONS = 20

Entries = dict[Ticket, list[NewEntry]]
Place = tuple[Ticket, NewEntry]


def foreign_entries(itop: ItopInstance, client: Client, entries: Entries) -> Entries:
    """Return the entries that no bridge wrote. `entries` are of tickets of one class.

    Raise ItopError if iTop cannot answer now.
    """
    unknown = [
        (ticket, new) for ticket, of_ticket in entries.items() for new in _not_written_here(ticket, of_ticket)
    ]
    # Of an entry that was replaced, the history may have the operation of the one before.
    asked = [
        (ticket, new)
        for ticket, new in unknown
        if not new.replaces and itop.tracked_logs.get(f"{ticket.ticket_class}.{new.code}") is not False
    ]
    marked: set[tuple[int, str]] = set()
    try:
        for batch in _batches(asked):
            marked |= _marked(client, batch)
    except (ItopPermissionError, ItopRejectedError) as error:
        # What this bridge wrote is already left out.
        log.warning("own_writes.history_unreadable", itop=itop.name, error=type(error).__name__)
    foreign: Entries = defaultdict(list)
    for ticket, new in unknown:
        if (ticket.pk, new.key) not in marked:
            foreign[ticket].append(new)
    return foreign


def _not_written_here(ticket: Ticket, entries: Iterable[NewEntry]) -> list[NewEntry]:
    """Return the entries that match none of the ticket's deliveries in time, author and content.

    A delivery's item is stored before it is written, so it is known even if its outcome is not.
    """
    items: dict[tuple[str, str], list[Any]] = defaultdict(list)
    deliveries = Delivery.objects.filter(ticket=ticket, item__isnull=False)
    for log_name, item in deliveries.order_by("pk").values_list("log", "item"):
        items[log_name, local_date(item or {}, ticket.itop.zone)].append(item)
    zone = ticket.itop.zone
    return [
        new
        for new in entries
        if not any(LogMatcher([new.entry], zone).take(item) for item in items[new.log, new.entry.date])
    ]


def _batches(places: Iterable[Place]) -> Iterator[list[Place]]:
    by_position: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for ticket, new in places:
        by_position[new.code, new.index].append((ticket, new))
    positions = sorted(by_position)
    for start in range(0, len(positions), MAX_POSITIONS):
        yield [
            place for position in positions[start : start + MAX_POSITIONS] for place in by_position[position]
        ]


def _marked(client: Client, places: list[Place]) -> set[tuple[int, str]]:
    """Return the entries that have an idempotency key in iTop's history, as (ticket's pk, key of the entry).

    iTop tells which tickets match, not which entries. One call asks about all entries, which is enough if none is a
    bridge's. Of the tickets that it returns, the first, second ... entries are asked about, all tickets together.
    """
    suspected = _matching(client, places)
    rest: dict[Ticket, list[NewEntry]] = defaultdict(list)
    for ticket, new in places:
        if ticket.object_id in suspected:
            rest[ticket].append(new)
    marked: set[tuple[int, str]] = set()
    for position in range(max(map(len, rest.values()), default=0)):
        asked = [(ticket, new[position]) for ticket, new in rest.items() if position < len(new)]
        matching = _matching(client, asked)
        ours = [(ticket, new) for ticket, new in asked if ticket.object_id in matching]
        # iTop loses one of two simultaneous saves, but both leave an operation. Then the entry that is there may be
        # somebody else's, as this bridge would know its own.
        shared = _matching(client, ours, with_key=False)
        marked |= {(ticket.pk, new.key) for ticket, new in ours if ticket.object_id not in shared}
    return marked


def _matching(client: Client, places: list[Place], *, with_key: bool = True) -> set[int]:
    """Return the ids of the tickets of which any of these entries has an operation with (without) such a key."""
    if not places:
        return set()
    ticket_class = places[0][0].ticket_class
    by_position: dict[tuple[str, int], list[int]] = defaultdict(list)
    for ticket, new in places:
        by_position[new.code, new.index].append(ticket.object_id)
    conditions = [
        f"(o.attcode = {quote(code)} AND o.lastentry = {quote(index)} AND t.id IN ({ids(tickets)}))"
        for (code, index), tickets in by_position.items()
    ]
    # OQL has no NOT for a condition in parentheses.
    joined, operator = (" OR ", "LIKE") if with_key else (" AND ", "NOT LIKE")
    keys = joined.join(f"o.userinfo {operator} {quote(pattern)}" for pattern in KEY_PATTERNS)
    query = (
        f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
        f" WHERE o.objclass = {quote(ticket_class)} AND ({keys}) AND ({' OR '.join(conditions)})"
    )
    return {ticket.id for ticket in client.get(ticket_class, query, fields=("id",))}
