"""Begin to follow tickets that were linked."""

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.models import ItopPoll, Ticket, TicketLink, TicketSnapshot
from intercom_bridge.sync.writer import stopping

# So that a transaction is short.
MAX_AT_ONCE = 500


def unfollowed_tickets() -> QuerySet[Ticket]:
    """Return the linked tickets that are not polled: newly linked ones, and others that were linked again."""
    linked = TicketLink.objects.filter(ticket=OuterRef("pk"))
    linked_again = linked.filter(created_at__gt=OuterRef("snapshot__active_at"))
    return Ticket.objects.filter(
        Q(Exists(linked), snapshot=None) | Q(Exists(linked_again), snapshot__poll_at=None, gone_at=None)
    )


def follow_tickets(_first: Ticket) -> None:
    """Follow all these tickets from now on."""
    while not stopping.is_set() and (tickets := list(unfollowed_tickets()[:MAX_AT_ONCE])):
        # What happened before a ticket was linked again is no news.
        TicketSnapshot.objects.filter(ticket__in=tickets, poll_at=None).delete()
        TicketSnapshot.objects.bulk_create(
            # By the database's clock, as everything that decides when a ticket is read: until then, nothing of it is
            # news.
            [TicketSnapshot(ticket=ticket, poll_at=Now()) for ticket in tickets],
            ignore_conflicts=True,
        )
        for itop_id in sorted({ticket.itop_id for ticket in tickets}):
            ItopPoll.objects.get_or_create(
                itop_id=itop_id, defaults={"swept_at": timezone.now(), "due_at": Now()}
            )
            # An iTop that fails keeps its pause.
            ItopPoll.objects.filter(itop_id=itop_id, failures_in_a_row=0).update(due_at=Now())
