"""Once an hour, read the state of all linked tickets, whatever their `last_update`.

This finds what no poll finds: deleted tickets, and changes that were made after iTop's clock was set back. It also
deletes the snapshots of tickets that were unlinked.
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
# For this time, each sweep looks for a ticket that iTop no longer returns: the account may regain the right to see it.
LOOKED_FOR = dt.timedelta(days=7)


def sweep(poll: ItopPoll, client: Client, keep_lease: Callable[[], None]) -> str:
    """Make the tickets due that differ from their snapshots. Return the poll's new `newest_update`. Raise ItopError.

    The first sweep of a day includes tickets that are no longer polled. `keep_lease` raises if the lease was lost.
    """
    now = timezone.now()
    snapshots = TicketSnapshot.objects.filter(ticket__itop=poll.itop)
    snapshots.filter(~Exists(TicketLink.objects.filter(ticket=OuterRef("ticket")))).delete()
    is_first_of_day = poll.swept_at is None or poll.swept_at.date() != now.date()
    if not is_first_of_day:
        snapshots = snapshots.filter(Q(poll_at__isnull=False) | Q(ticket__gone_at__gt=now - LOOKED_FOR))
    snapshots = snapshots.select_related("ticket").defer("entries", "solution", "pending_reason")
    changed: list[str] = []
    for ticket_class, group in groupby(
        snapshots.order_by("ticket__ticket_class", "pk"), lambda snapshot: snapshot.ticket.ticket_class
    ):
        reader = TicketReader(poll.itop, client, ticket_class)
        of_class = list(group)
        for start in range(0, len(of_class), MAX_TICKETS):
            keep_lease()
            changed += _sweep_some(reader, of_class[start : start + MAX_TICKETS])
    newest = poll.newest_update
    if changed and max(changed) < newest:
        # iTop's clock was set back. Polls must find later changes, although their dates are lower than before.
        newest = max(changed)
    ItopPoll.objects.filter(pk=poll.pk).update(swept_at=now, newest_update=newest)
    return newest


def _sweep_some(reader: TicketReader, snapshots: list[TicketSnapshot]) -> list[str]:
    """Make the tickets due that differ from their snapshots or are missing in iTop.

    Return the `last_update` of each ticket that differs.
    """
    returned = {ticket.id: ticket for ticket in reader.states(snapshots)}
    different = []
    missing = []
    for snapshot in snapshots:
        ticket = returned.get(snapshot.ticket.object_id)
        # A missing ticket without `poll_at` is known to be gone, or is no longer polled.
        if ticket is None and snapshot.poll_at is not None:
            missing.append(snapshot)
        elif ticket is not None and _differs(reader, snapshot, ticket):
            different.append(snapshot)
    to_read = [snapshot.pk for snapshot in (*different, *missing)]
    if to_read:
        TicketSnapshot.objects.filter(pk__in=to_read).update(seen_until="", poll_at=Now())
    if different:
        log.info("itop.sweep_found_changes", itop=reader.itop.name, tickets=len(different))
    return [returned[snapshot.ticket.object_id].text(LAST_UPDATE) for snapshot in different]


def _differs(reader: TicketReader, snapshot: TicketSnapshot, ticket: ItopObject) -> bool:
    """Return whether the ticket that iTop returned differs from its snapshot, or was gone until now."""
    if snapshot.first_read_at is None:
        # The first poll has not read it yet.
        return False
    # Each profile may read the status from another attribute, so the snapshot's status must be one of these.
    states = {ticket.text(profile.code("status")) for profile in reader.profiles}
    is_back = snapshot.ticket.gone_at is not None
    return is_back or ticket.text(LAST_UPDATE) != snapshot.last_update or snapshot.status not in states
