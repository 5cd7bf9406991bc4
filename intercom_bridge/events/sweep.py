"""Once an hour, look at the state of all linked tickets, whatever their `last_update`.

It finds what no poll finds: deleted tickets, and changes that iTop dated before others because its clock was set back.
It also forgets the tickets that were unlinked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import groupby

import structlog
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.models import ItopPoll, TicketLink, TicketSnapshot
from itop_client import Client, ItopObject

from .compare import LAST_UPDATE
from .reading import TicketReader

log = structlog.get_logger(__name__)

MAX_TICKETS = 1000
# Tickets that are gone may come back: the account may get the right to see them again.
LOOKED_FOR = dt.timedelta(days=7)


def sweep(poll: ItopPoll, client: Client, keep_lease: Callable[[], None]) -> str:
    """Make the tickets due that differ from their snapshots. Return the poll's new `newest_update`. Raise ItopError.

    The first sweep of a day includes the tickets that are not polled any more. `keep_lease` raises if it was lost.
    """
    now = timezone.now()
    snapshots = TicketSnapshot.objects.filter(ticket__itop=poll.itop)
    snapshots.filter(~Exists(TicketLink.objects.filter(ticket=OuterRef("ticket")))).delete()
    is_first_of_day = poll.swept_at is None or poll.swept_at.date() != now.date()
    if not is_first_of_day:
        snapshots = snapshots.filter(Q(poll_at__isnull=False) | Q(ticket__gone_at__gt=now - LOOKED_FOR))
    rows = snapshots.select_related("ticket").defer("entries", "solution", "pending_reason")
    changed: list[str] = []
    for ticket_class, of_class in groupby(
        rows.order_by("ticket__ticket_class", "pk"), lambda row: row.ticket.ticket_class
    ):
        reader = TicketReader(poll.itop, client, ticket_class)
        known = list(of_class)
        for start in range(0, len(known), MAX_TICKETS):
            keep_lease()
            changed += _sweep_some(reader, known[start : start + MAX_TICKETS])
    newest = poll.newest_update
    # Later changes will have smaller dates than the highest so far.
    if changed and max(changed) < newest:
        newest = max(changed)
    ItopPoll.objects.filter(pk=poll.pk).update(swept_at=now, newest_update=newest)
    return newest


def _sweep_some(reader: TicketReader, snapshots: list[TicketSnapshot]) -> list[str]:
    """Make the tickets due that differ from their snapshots, and return their `last_update`."""
    found = {ticket.id: ticket for ticket in reader.states(snapshots)}
    present = [row for row in snapshots if row.ticket.object_id in found]
    different = [row for row in present if _differs(reader, row, found[row.ticket.object_id])]
    # Of those that are gone already, nothing more is to be found out.
    missing = [row for row in snapshots if row.ticket.object_id not in found and row.poll_at is not None]
    to_read = [row.pk for row in (*different, *missing)]
    if to_read:
        TicketSnapshot.objects.filter(pk__in=to_read).update(seen_until="", poll_at=Now())
    if different:
        log.info("itop.sweep_found_changes", itop=reader.itop.name, tickets=len(different))
    return [found[row.ticket.object_id].text(LAST_UPDATE) for row in different]


def _differs(reader: TicketReader, snapshot: TicketSnapshot, found: ItopObject) -> bool:
    if snapshot.first_read_at is None:
        return False
    states = {found.text(profile.code("status")) for profile in reader.profiles}
    is_back = snapshot.ticket.gone_at is not None
    return is_back or found.text(LAST_UPDATE) != snapshot.last_update or snapshot.status not in states
