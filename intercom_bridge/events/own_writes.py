"""Recognise the entries that a bridge wrote: by what this one wrote, or by the idempotency key in iTop's history.

Never by author: an agent may write under the same account. Any bridge's key counts, so that two bridges on one iTop do
not report each other's messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from intercom_bridge.models import Delivery, ItopInstance, Ticket
from intercom_bridge.sync.verify import LogMatcher
from itop_client import Client, ItopPermissionError, ItopRejectedError, quote

from .compare import NewEntry

log = structlog.get_logger(__name__)

# How the idempotency keys of messages begin (sync/message.py).
KEY_PATTERNS = ("Intercom message %", "Intercom first message %", "Intercom redaction of message %")
Entries = dict[Ticket, list[NewEntry]]


def foreign_entries(
    itop: ItopInstance, client: Client, codes: Mapping[str, str], entries: Entries
) -> Entries:
    """Return the entries that no bridge wrote. `entries` are of tickets of one class, `codes` the logs' attributes.

    Raise ItopError if iTop cannot answer now.
    """
    unknown = {ticket: _not_written_here(ticket, new) for ticket, new in entries.items()}
    unknown = {ticket: new for ticket, new in unknown.items() if new}
    try:
        return _without_marked(client, codes, unknown) if unknown else {}
    except (ItopPermissionError, ItopRejectedError) as error:
        # What this bridge wrote is already left out.
        log.warning("own_writes.history_unreadable", itop=itop.name, error=type(error).__name__)
        return unknown


def _not_written_here(ticket: Ticket, entries: Iterable[NewEntry]) -> list[NewEntry]:
    """Return the entries that match none of the ticket's deliveries in time, author and content.

    A delivery's item is stored before it is written, so it is known even if its outcome is not.
    """
    items = list(
        Delivery.objects.filter(ticket=ticket, item__isnull=False).order_by("-pk").values_list("log", "item")
    )
    return [entry for entry in entries if not _take(entry, items, ticket.itop)]


def _take(new: NewEntry, items: list[tuple[str, Any]], itop: ItopInstance) -> bool:
    """Return whether an item matches the entry, and remove it: one entry is one item."""
    matcher = LogMatcher([new.entry], itop.zone)
    for item in items:
        if item[0] == new.log and matcher.take(item[1]):
            items.remove(item)
            return True
    return False


def _without_marked(client: Client, codes: Mapping[str, str], entries: Entries) -> Entries:
    """Return the entries without an idempotency key in iTop's history.

    iTop tells which tickets match, not which entries. One call asks about all entries, which is enough if none is a
    bridge's. Then the first, second ... entries of the tickets that it returned are asked about, all tickets together.
    """
    suspected = _marked(client, codes, entries)
    foreign = {ticket: new for ticket, new in entries.items() if ticket.object_id not in suspected}
    rest = {ticket: new for ticket, new in entries.items() if ticket.object_id in suspected}
    for position in range(max(map(len, rest.values()), default=0)):
        asked = {ticket: new[position : position + 1] for ticket, new in rest.items() if position < len(new)}
        marked = _marked(client, codes, asked)
        for ticket, new in asked.items():
            if ticket.object_id not in marked:
                foreign.setdefault(ticket, []).extend(new)
    return foreign


def _marked(client: Client, codes: Mapping[str, str], entries: Entries) -> set[int]:
    """Return the ids of the tickets of which any of these entries was written with an idempotency key."""
    ticket_class = next(iter(entries)).ticket_class
    places = [
        f"(t.id = {quote(ticket.object_id)} AND o.attcode = {quote(codes[new.log])}"
        f" AND o.lastentry = {quote(new.index)})"
        for ticket, of_ticket in entries.items()
        for new in of_ticket
    ]
    keys = " OR ".join(f"o.userinfo LIKE {quote(pattern)}" for pattern in KEY_PATTERNS)
    query = (
        f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
        f" WHERE o.objclass = {quote(ticket_class)} AND ({keys}) AND ({' OR '.join(places)})"
    )
    return {ticket.id for ticket in client.get(ticket_class, query, fields=("id",))}
