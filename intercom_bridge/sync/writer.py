"""From deliveries to iTop: one writer a ticket, parts in order, each written once."""

from __future__ import annotations

import datetime as dt
import random
import threading

import structlog
from django.utils import timezone

from intercom_bridge.authors import accounts_of
from intercom_bridge.connections import itop_client
from intercom_bridge.models import Delivery, ItopInstance, Ticket
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.models.lease import Lease, take_lease
from itop_client import (
    Client,
    ItopError,
    ItopNotAdministrator,
    ItopRefused,
    LogFull,
    ObjectGone,
    append,
)

from .intake import take_in_for
from .message import log_item, marker_of, may_have_account, restore

log = structlog.get_logger(__name__)

WRITE_SECONDS = 10.0
# Three times the longest write, so that a holder who is only slow is not overtaken.
LEASE_SECONDS = 3 * WRITE_SECONDS
# After an unknown outcome iTop may still be executing the first request; so long it is left alone (facts).
UNKNOWN_OUTCOME_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0

# Set when this process is asked to end: the write in hand is finished, no other is begun.
stopping = threading.Event()


def write_due(ticket: Ticket) -> float | None:
    """Writes what is due for this ticket, in order.

    Answers the seconds until it is worth another try, None when nothing is due or another writer is at it: that
    one goes on until nothing is.
    """
    while not stopping.is_set() and Delivery.objects.due().filter(ticket=ticket).exists():
        lease = take_lease(ticket, LEASE_SECONDS)
        if lease is None:
            return None
        with lease:
            seconds = _write_in_order(ticket, lease)
        if seconds:
            return seconds
        # Once more without the lease: what came in just before it was released found it taken.
    return None


def _write_in_order(ticket: Ticket, lease: Lease) -> float:
    """Writes until nothing is due; 0.0 when nothing waits, else the seconds that the first one has to."""
    while not stopping.is_set():
        take_in_for(ticket)
        delivery = Delivery.objects.waiting().filter(ticket=ticket).in_order().first()
        if delivery is None:
            return 0.0
        seconds = (delivery.due_at - timezone.now()).total_seconds()
        if seconds > 0:
            return seconds  # The later ones wait: order matters more than haste.
        if not lease.renew(LEASE_SECONDS):
            log.warning("writer.lease_lost", ticket=ticket.ref)
            return LEASE_SECONDS
        _write(delivery, ticket)
    return 0.0


def _write(delivery: Delivery, ticket: Ticket) -> None:
    try:
        client = itop_client(ticket.itop)
        _render(delivery, ticket.itop, client)
        written = append(
            client,
            ticket.ticket_class,
            ticket.object_id,
            _log_attribute(delivery),
            delivery.item or {},
            marker=delivery.marker,
            deadline=WRITE_SECONDS,
        )
    except ItopNotAdministrator as refusal:
        if ticket.itop.is_administrator is False:
            _try_later(delivery, refusal)
            return
        # Refused, so nothing was written: from now on the author's name stands in the text.
        ticket.itop.learn(is_administrator=False)
        delivery.item = None
        delivery.save(update_fields=["item"])
    except ItopRefused as refusal:
        _fail(delivery, _plain_reason(refusal))
    except (ItopError, SecretUnreadable) as trouble:
        _try_later(delivery, trouble)
    else:
        _settle(delivery, "" if written else "iTop had it already: an earlier try had arrived")


def _render(delivery: Delivery, itop: ItopInstance, client: Client) -> None:
    """Renders the entry once and keeps it before the first try: a repeat must be the same request."""
    if delivery.item is not None:
        return
    part = restore(delivery.part)
    account = 0
    if itop.is_administrator is not False and may_have_account(part.author):
        accounts = accounts_of(itop, client, [part.author.email], deadline=WRITE_SECONDS)
        account = accounts.get(part.author.email.casefold(), 0)
    delivery.item = log_item(part, account, may_set_author=itop.is_administrator is not False)
    delivery.marker = marker_of(delivery.conversation.workspace.workspace_id, part)
    delivery.save(update_fields=["item", "marker"])


def _log_attribute(delivery: Delivery) -> str:
    return delivery.conversation.workspace.profile.code(delivery.log)


def _settle(delivery: Delivery, reason: str) -> None:
    delivery.state, delivery.reason = Delivery.State.WRITTEN, reason
    delivery.written_at = timezone.now()
    delivery.attempts += 1
    delivery.save(update_fields=["state", "reason", "written_at", "attempts"])
    log.info("delivery.written", delivery=delivery.pk, ticket=delivery.ticket.ref, log=delivery.log)


def _fail(delivery: Delivery, reason: str) -> None:
    delivery.state, delivery.reason = Delivery.State.FAILED, reason[:500]
    delivery.attempts += 1
    delivery.save(update_fields=["state", "reason", "attempts"])
    log.error("delivery.failed", delivery=delivery.pk, ticket=delivery.ticket.ref, reason=reason)


def _try_later(delivery: Delivery, trouble: Exception) -> None:
    delivery.attempts += 1
    seconds = pause_after(delivery.attempts)
    if isinstance(trouble, ItopError) and trouble.may_have_run:
        seconds = max(seconds, UNKNOWN_OUTCOME_SECONDS)
    delivery.due_at = timezone.now() + dt.timedelta(seconds=seconds)
    delivery.reason = f"tried {delivery.attempts} times; iTop: {trouble}"[:500]
    delivery.save(update_fields=["attempts", "due_at", "reason"])
    log.warning("delivery.later", delivery=delivery.pk, ticket=delivery.ticket.ref, seconds=round(seconds))


def pause_after(attempts: int) -> float:
    """Seconds until the next try: doubling from two, with jitter, ten minutes at most."""
    return min(LONGEST_PAUSE_SECONDS, 2.0 ** min(attempts, 12)) * random.uniform(0.75, 1.0)  # noqa: S311


def _plain_reason(refusal: ItopRefused) -> str:
    if isinstance(refusal, ObjectGone):
        return "The ticket no longer exists in iTop."
    if isinstance(refusal, LogFull):
        return "The ticket's log is full: iTop keeps about 300 entries in one."
    return f"iTop refused it: {refusal.reason}"
