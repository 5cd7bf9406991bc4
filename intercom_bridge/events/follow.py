"""Begin to poll tickets that were linked, so that their changes are reported."""

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.models import ItopPoll, Ticket, TicketLink, TicketSnapshot
from intercom_bridge.sync.writer import stopping

# Tickets in one INSERT, so that it does not block other writers for long.
MAX_AT_ONCE = 500


def unfollowed_tickets() -> QuerySet[Ticket]:
    """Return linked tickets that are not polled: newly linked ones, and finished ones that were linked again."""
    linked = TicketLink.objects.filter(ticket=OuterRef("pk"))
    linked_again = linked.filter(created_at__gt=OuterRef("snapshot__active_at"))
    return Ticket.objects.filter(
        Q(Exists(linked), snapshot=None) | Q(Exists(linked_again), snapshot__poll_at=None, gone_at=None)
    )


def follow_tickets(_first: Ticket) -> None:
    """Begin to poll all unfollowed tickets, not only the one that the queue found."""
    while not stopping.is_set() and (tickets := list(unfollowed_tickets()[:MAX_AT_ONCE])):
        # A ticket that was linked again gets a new snapshot: what happened while it was not linked is not reported.
        TicketSnapshot.objects.filter(ticket__in=tickets, poll_at=None).delete()
        TicketSnapshot.objects.bulk_create(
            # The database's clock decides when a ticket is due, so it also sets this time.
            [TicketSnapshot(ticket=ticket, poll_at=Now()) for ticket in tickets],
            ignore_conflicts=True,
        )
        for itop_id in sorted({ticket.itop_id for ticket in tickets}):
            ItopPoll.objects.get_or_create(
                itop_id=itop_id, defaults={"swept_at": timezone.now(), "due_at": Now()}
            )
            # Poll at once, so that few changes fall before the first read. An iTop that fails keeps its pause.
            ItopPoll.objects.filter(itop_id=itop_id, failures_in_a_row=0).update(due_at=Now())
