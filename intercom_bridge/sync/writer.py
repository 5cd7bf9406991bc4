"""From deliveries to iTop: one writer a ticket, parts in order, each written once."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from dataclasses import dataclass, replace

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.utils import timezone, translation
from structlog.contextvars import bound_contextvars

from intercom_bridge import reasons
from intercom_bridge.authors import accounts_of, forget_accounts
from intercom_bridge.connections import itop_client
from intercom_bridge.deadline import Deadline
from intercom_bridge.metrics import count_delivery, why
from intercom_bridge.models import Conversation, Delivery, ItopInstance, Notification, Ticket
from intercom_bridge.models.delivery import DeliveryQuerySet
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.models.lease import Lease, take_lease
from itop_client import (
    Client,
    ItopError,
    ItopNotAdministrator,
    ItopObject,
    ItopRefused,
    LogFull,
    ObjectGone,
    append,
    written_markers,
)

from .instance import is_paused, note_success, note_trouble, seconds_to_wait
from .intake import take_in_all
from .message import log_item, marker_of, may_have_account, restore
from .readback import log_attribute, stands_in

log = structlog.get_logger(__name__)
Outcome = Delivery.Outcome

# A message that fails so often while others of the same iTop are written is at fault itself.
MOST_STRIKES = 5
GIVEN_UP_AFTER = dt.timedelta(days=7)
RENDERED_AT_ONCE = 20
# An iTop that failed at others within this time, which it took later, is in trouble of its own.
GENERAL_TROUBLE = dt.timedelta(minutes=10)
# When the database could not say what came in for a ticket.
TAKE_IN_AGAIN_SECONDS = 1.0
# What a try may change of a delivery.
KEPT = ("state", "reason", "item", "attempts", "strikes", "last_failed_at", "due_at", "written_at", "tries")

# Set when this process is asked to end: the write in hand is finished, no other is begun.
stopping = threading.Event()


# SQLite has one writer at a time, and who finds it taken sleeps, longer each time: our own threads queue up instead.
_one_at_a_time = threading.Lock() if connection.vendor == "sqlite" else contextlib.nullcontext()


@dataclass(frozen=True)
class Round:
    """How a turn at a ticket ended. `again_in`: seconds until it is worth another one, None when nothing waits.

    `itop_works_again`: this turn ended a pause of the iTop, so that everything that waits for it can go on.
    `own_turn_in`: seconds until the message that failed may be tried again, which may be later than that.
    """

    again_in: float | None = None
    itop_works_again: bool = False
    own_turn_in: float | None = None
    others: frozenset[int] = frozenset()


def lease_seconds() -> float:
    """Three times the longest write, so that a holder who is only slow is not overtaken."""
    return 3 * float(settings.WRITE_SECONDS)


def write_due(ticket: Ticket) -> Round:
    """Writes what is due for this ticket, in order.

    Returns at once when another writer holds the ticket, or when its iTop is paused: whoever holds it goes on
    until nothing is due, and whoever paused it comes back.
    """
    works_again = False
    took_in_for: set[int] = set()
    while not stopping.is_set() and Delivery.objects.due().filter(ticket=ticket).exists():
        if is_paused(ticket.itop):
            break
        lease = take_lease(ticket, lease_seconds())
        if lease is None:
            break
        with lease:
            ended = _write_in_order(ticket, lease, took_in_for)
        works_again |= ended.itop_works_again
        if ended.again_in is not None:
            return replace(ended, itop_works_again=works_again, others=frozenset(took_in_for - {ticket.pk}))
        # Once more without the lease: what came in just before it was released found it taken.
    return Round(None, works_again, others=frozenset(took_in_for - {ticket.pk}))


def _write_in_order(ticket: Ticket, lease: Lease, took_in_for: set[int]) -> Round:
    """Writes until nothing is due, the iTop is in trouble, or the lease is lost."""
    works_again = False
    # Made once: for a long row of messages, making the same queries again costs more than asking them.
    unread, mine = Notification.objects.unread_of(ticket), _next_of_holder(ticket, lease)
    conversations: dict[int, Conversation] = {}
    took_in = False
    while not stopping.is_set():
        delivery = next(iter(mine.all()), None)
        if delivery is None and took_in:
            return Round(None, works_again) if lease.is_held() else _lost(ticket, works_again)
        if delivery is None or delivery.is_overtaking:  # type: ignore[attr-defined]
            if not take_in_all(unread.all(), took_in_for):
                return Round(TAKE_IN_AGAIN_SECONDS, works_again)
            took_in = True
            continue
        took_in = False
        seconds = (delivery.due_at - timezone.now()).total_seconds()
        if seconds > 0:
            # The later ones wait: order matters more than haste.
            return Round(seconds, works_again)
        if not lease.renew_in_time(lease_seconds()):
            return _lost(ticket, works_again)
        # Not before something is to be sent: a pause has one probe.
        if seconds_to_wait(delivery.ticket.itop) > 0:
            break
        delivery.conversation = _known(conversations, delivery.conversation_id)
        itop = delivery.ticket.itop.name
        with bound_contextvars(**delivery.conversation.names, ticket=ticket.ref, itop=itop):
            paused_for = _write(delivery)
        if paused_for:
            own = (delivery.due_at - timezone.now()).total_seconds()
            return Round(paused_for, works_again, own)
        works_again |= _keep(delivery)
        ticket.check_at = delivery.ticket.check_at
    return Round(None, works_again)


def _lost(ticket: Ticket, works_again: bool) -> Round:
    log.warning("writer.lease_lost", ticket=ticket.ref)
    return Round(lease_seconds(), works_again)


def _next_of_holder(ticket: Ticket, lease: Lease) -> DeliveryQuerySet:
    """What is to be written next, with its ticket and iTop as they are now; nothing once the lease is lost.

    `is_overtaking`: something that came in for this ticket has not been looked at, and may be older. Asked in the
    same statement, so that whatever was committed before it is either seen there or among what waits.
    """
    held = Delivery.objects.waiting().filter(
        ticket=ticket, ticket__lease_token=lease.token, ticket__lease_until__gt=Now()
    )
    # Made into SQL once: it is a third of what making the whole statement costs.
    sql, values = Notification.objects.unread_of(ticket).order_by().values("pk").query.sql_with_params()
    is_overtaking = RawSQL(f"EXISTS ({sql})", values, output_field=BooleanField())  # noqa: S611 - Django's own
    return held.annotate(is_overtaking=is_overtaking).in_order().select_related("ticket__itop")[:1]


def _known(conversations: dict[int, Conversation], pk: int) -> Conversation:
    """The conversation with its workspace and profile, asked for once a turn."""
    if pk not in conversations:
        conversations[pk] = Conversation.objects.select_related("workspace__profile").get(pk=pk)
    return conversations[pk]


def _waiting(ticket: Ticket) -> DeliveryQuerySet:
    """What waits for this ticket, in the order it is to be written in."""
    waiting = Delivery.objects.waiting().filter(ticket=ticket).in_order()
    return waiting.select_related("conversation__workspace__profile")


def _write(delivery: Delivery) -> float:
    """One try. Answers for how many seconds the iTop is paused: 0.0 when it answered, be it with a refusal."""
    ticket = delivery.ticket
    # One for all the calls of a try: the lease is reckoned by it.
    clock = Deadline(settings.WRITE_SECONDS)
    try:
        client = itop_client(ticket.itop)
        if delivery.item is None:
            _render(delivery, client, clock)
        if _was_written_unmarked(delivery, client, clock):
            _settle(delivery, "found in the log: an earlier try had arrived")
            return 0.0
        written = append(
            client,
            ticket.ticket_class,
            ticket.object_id,
            log_attribute(delivery),
            delivery.item or {},
            marker=delivery.marker,
            read=(delivery.conversation.workspace.profile.code("status"),),
            deadline=clock.remaining(),
        )
    except ItopNotAdministrator as refusal:
        if ticket.itop.is_administrator is False:
            return _try_later(delivery, refusal)
        # Refused, so nothing was written: from now on the author's name stands in the text.
        delivery.note_try(Outcome.REFUSED, refusal.reason)
        ticket.itop.learn(is_administrator=False)
        Delivery.objects.waiting().filter(ticket=ticket, attempts=0).update(item=None)
        delivery.item = None
    except ItopRefused as refusal:
        if "user_id" in refusal.reason and (delivery.item or {}).get("user_id") and not delivery.attempts:
            # An account that we remember and that iTop no longer has: nothing was written, and it is asked again.
            delivery.note_try(Outcome.REFUSED, refusal.reason)
            forget_accounts(ticket.itop)
            delivery.item = None
            delivery.attempts += 1
        else:
            if isinstance(refusal, ObjectGone):
                Ticket.objects.filter(pk=ticket.pk, gone_at=None).update(gone_at=timezone.now())
            delivery.note_try(Outcome.REFUSED, refusal.reason)
            _fail(delivery, _plain_reason(refusal))
    except (ItopError, SecretUnreadable) as trouble:
        return _try_later(delivery, trouble)
    else:
        _settle(delivery, _what_came_with_it(delivery, written))
        _learn_whether_changes_are_kept(delivery, client, clock)
    return 0.0


def _render(delivery: Delivery, client: Client, clock: Deadline) -> None:
    """Renders the entry once and keeps it before the first try: a repeat must be the same request.

    The next ones are rendered with it, so that a long row of messages costs one write to the database for many.
    """
    itop = delivery.ticket.itop
    batch = [
        one
        for one in _waiting(delivery.ticket)[:RENDERED_AT_ONCE]
        if one.item is None and one.pk != delivery.pk
    ]
    parts = [(one, restore(one.part)) for one in (delivery, *batch)]
    accounts: dict[str, int] = {}
    emails = {part.author.email for _, part in parts if may_have_account(part.author)}
    if itop.is_administrator is not False and emails:
        accounts = accounts_of(itop, client, emails, deadline=clock.remaining())
    for one, part in parts:
        account = accounts.get(part.author.email.casefold(), 0) if may_have_account(part.author) else 0
        with translation.override(one.conversation.workspace.language):
            one.item = log_item(part, account, may_set_author=itop.is_administrator is not False)
        one.marker = marker_of(one.conversation.workspace.workspace_id, part)
    with _one_at_a_time, transaction.atomic():
        # bulk_update takes three times as long to make its statement. What was erased meanwhile stays so.
        for one, _ in parts:
            Delivery.objects.filter(pk=one.pk, cleaned_at=None).update(item=one.item, marker=one.marker)


# Data models that keep no changes of a log


def _key_of_log(delivery: Delivery) -> str:
    return f"{delivery.ticket.ticket_class}.{log_attribute(delivery)}"


def _was_written_unmarked(delivery: Delivery, client: Client, clock: Deadline) -> bool:
    """Where iTop keeps no changes the marker guards nothing: before a repeat, the log itself is asked.

    So that a repeat is known as one even after a sudden death, the try is noted before it is made.
    """
    if delivery.ticket.itop.tracked_logs.get(_key_of_log(delivery)) is True:
        return False
    if not delivery.attempts:
        Delivery.objects.filter(pk=delivery.pk).update(attempts=1)
        return False
    return stands_in(client, delivery.ticket, delivery, deadline=clock.remaining())


def _learn_whether_changes_are_kept(delivery: Delivery, client: Client, clock: Deadline) -> None:
    """Once for each iTop and log, after the first write: can its marker be found?"""
    ticket, key = delivery.ticket, _key_of_log(delivery)
    if key in ticket.itop.tracked_logs:
        return
    try:
        found = written_markers(
            client, ticket.ticket_class, ticket.object_id, [delivery.marker], deadline=clock.remaining()
        )
    except ItopError as error:
        log.warning("itop.tracking_not_known_yet", itop=ticket.itop.name, error=type(error).__name__)
        return
    ticket.itop.learn_tracking(key, kept=bool(found))


# How a try ended


def _what_came_with_it(delivery: Delivery, written: ItopObject | None) -> str:
    """What is worth knowing of a write that went well; "" when nothing is."""
    if written is None:
        return "iTop had it already: an earlier try had arrived"
    profile = delivery.conversation.workspace.profile
    state = written.text(profile.code("status"))
    if state in profile.excluded_states:
        return f"The ticket is no longer open ({state}). The message was written all the same."
    return ""


def _settle(delivery: Delivery, reason: str) -> None:
    if delivery.erased_times:
        # The reason says who had erased it.
        delivery.state = Delivery.State.RESTORED
    else:
        delivery.state, delivery.reason = Delivery.State.WRITTEN, reason
    delivery.note_try(Outcome.WRITTEN, reason)
    delivery.written_at = timezone.now()
    delivery.attempts += 1
    count_delivery(delivery)
    log.info("delivery.written", delivery=delivery.pk, log=delivery.log)


def _fail(delivery: Delivery, reason: str) -> None:
    delivery.state, delivery.reason = Delivery.State.FAILED, reason[:500]
    delivery.attempts += 1
    delivery.last_failed_at = timezone.now()
    count_delivery(delivery)
    log.error("delivery.failed", delivery=delivery.pk, why=why(reason))


def _keep(delivery: Delivery) -> bool:
    """Keeps what iTop answered, in one transaction; True when that ended a pause of the iTop."""
    ticket = delivery.ticket
    with _one_at_a_time, transaction.atomic():
        _save(delivery)
        if delivery.written_at and ticket.check_at is None:
            ticket.check_at = delivery.written_at + dt.timedelta(seconds=settings.CHECK_AFTER_SECONDS)
            Ticket.objects.filter(pk=ticket.pk, check_at=None).update(check_at=ticket.check_at)
        return note_success(ticket.itop)


def _save(delivery: Delivery) -> None:
    """Keeps what came of a try.

    One that waits may have been left out meanwhile: that stands; and should it be put back, it rests as long. Of one
    that was erased meanwhile no more is kept than that it is in the log.
    """
    values = {name: getattr(delivery, name) for name in KEPT}
    row = Delivery.objects.filter(pk=delivery.pk, cleaned_at=None)
    if delivery.state != Delivery.State.WAITING:
        kept = row.update(**values)
    else:
        without_verdict = {name: values[name] for name in KEPT if name not in ("state", "reason")}
        kept = row.waiting().update(**values) or row.update(**without_verdict)
    if not kept and delivery.state in (Delivery.State.WRITTEN, Delivery.State.RESTORED):
        Delivery.objects.filter(pk=delivery.pk).update(state=delivery.state, written_at=delivery.written_at)


def _try_later(delivery: Delivery, trouble: Exception) -> float:
    """The instance is in trouble, not the message; unless the instance takes all others. Answers the pause."""
    itop = delivery.ticket.itop
    if _others_worked_meanwhile(delivery, itop):
        delivery.strikes += 1
    paused_for = note_trouble(itop, trouble)
    delivery.note_trouble(trouble)
    if delivery.strikes >= MOST_STRIKES:
        _fail(delivery, reasons.ONLY_THIS_ONE % {"count": MOST_STRIKES, "reason": trouble})
        _save(delivery)
        return paused_for
    if delivery.waiting_since < timezone.now() - GIVEN_UP_AFTER:
        _fail(delivery, reasons.GIVEN_UP % {"reason": trouble})
        _save(delivery)
        return paused_for
    delivery.attempts += 1
    # The iTop's pause grows with its trouble; a second back-off on each message would only add to it.
    seconds = paused_for
    if isinstance(trouble, ItopError) and trouble.may_have_run:
        # It may still be executing the first request.
        seconds = max(seconds, settings.UNKNOWN_OUTCOME_SECONDS)
    delivery.last_failed_at = timezone.now()
    delivery.due_at = delivery.last_failed_at + dt.timedelta(seconds=seconds)
    delivery.reason = (reasons.TRIED % {"count": delivery.attempts, "reason": trouble})[:500]
    _save(delivery)
    log.warning("delivery.later", delivery=delivery.pk, seconds=round(seconds), error=type(trouble).__name__)
    return paused_for


def _others_worked_meanwhile(delivery: Delivery, itop: ItopInstance) -> bool:
    if delivery.last_failed_at is None:
        return False
    last = ItopInstance.objects.values_list("last_success_at", flat=True).get(pk=itop.pk)
    if last is None or last <= delivery.last_failed_at:
        return False
    # An iTop that fails at every third call fails at some message five times: others that it failed at since,
    # and took later, say that it is not this one's fault.
    recovered = Delivery.objects.in_itop().filter(
        ticket__itop=itop, last_failed_at__gt=timezone.now() - GENERAL_TROUBLE
    )
    return not recovered.exists()


def _plain_reason(refusal: ItopRefused) -> str:
    if isinstance(refusal, ObjectGone):
        return reasons.TICKET_GONE
    if isinstance(refusal, LogFull):
        return reasons.LOG_FULL
    return reasons.REFUSED % {"reason": refusal.reason}
