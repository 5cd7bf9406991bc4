"""Write deliveries to iTop: one writer per ticket, parts in order, each part once."""

import datetime as dt
import threading
import time

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F
from django.db.models.functions import Now
from django.utils import timezone, translation
from structlog.contextvars import bound_contextvars

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, TicketSnapshot, WebhookEvent
from intercom_bridge.models.delivery import DeliveryQuerySet
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import reason_of
from intercom_bridge.models.lease import Lease, take_lease
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops.metrics import count_delivery
from itop_client import (
    Client,
    Deadline,
    ItopError,
    ItopNoResponseError,
    ItopNotAdministratorError,
    ItopRejectedError,
    ObjectNotFoundError,
    UnclassifiedError,
    append,
    written_keys,
)

from .authors import accounts_of, forget_accounts, signed_in_emails
from .circuit_breaker import backoff_seconds, claim_write, record_failure, record_success
from .failure_notes import note_failed_delivery
from .files import copy_first, messages_with_files
from .intake import process_unprocessed
from .message import NO_LINKS, FileLinks, idempotency_key_of, log_item, may_have_account, part_from_json
from .reopen import follow_up_write
from .verify import is_in_log, is_shown_in_log, log_attribute

log = structlog.get_logger(__name__)
Outcome = Delivery.Outcome
State = Delivery.State

# A message on which iTop fails this often, while it can be read and other messages do not fail, is set aside.
MAX_SOLO_FAILURES = 5
SOLO_RETRY_SECONDS = 5.0
# For the read that shows whether iTop works.
READ_SECONDS = 3.0
MAX_RETRY_TIME = dt.timedelta(days=7)
RENDER_BATCH = 20
# After this time a writer lets other tickets have their turn.
TURN_SECONDS = 0.5
# If more events of a ticket are unprocessed, its writer leaves them to the workers that process events.
MAX_UNPROCESSED = 3
# If iTop accepted other messages that failed within this time, the instance is unreliable, not the message.
INSTANCE_TROUBLE_WINDOW = dt.timedelta(minutes=10)
# The fields that an attempt can change.
ATTEMPT_FIELDS = (
    "state",
    "reason_code",
    "reason_detail",
    "item",
    "attempts",
    "solo_failures",
    "last_failed_at",
    "due_at",
    "written_at",
    "attempt_log",
)

# Set when the process is asked to stop: the current write is finished, no other is started.
stopping = threading.Event()


def lease_seconds() -> float:
    """Return three times the longest write, so that a slow holder does not lose the lease."""
    return 3 * float(settings.WRITE_SECONDS)


def write_due(ticket: Ticket) -> bool:
    """Write the due deliveries of a ticket, oldest first. Return True if some are left because its turn is over.

    Return immediately if another worker holds the lease: it will continue.
    """
    turn_ends = time.monotonic() + TURN_SECONDS
    while not stopping.is_set():
        lease = take_lease(ticket, lease_seconds())
        if lease is None:
            return False
        with lease:
            is_done = _write_in_order(ticket, lease, turn_ends)
        if not is_done:
            return time.monotonic() > turn_ends
        # Checked without the lease: a worker that came just before its release found it taken.
        if not Delivery.objects.due().filter(ticket=ticket).exists():
            return False
    return False


def _write_in_order(ticket: Ticket, lease: Lease, turn_ends: float) -> bool:
    """Write until nothing is left or the lease is lost, and return True; return False if the rest has to wait."""
    conversations: dict[int, Conversation] = {}
    # Read with the lease: until its end, nobody else verifies the ticket.
    ticket = Ticket.objects.select_related("itop").get(pk=ticket.pk)
    # Built once: for a message, that takes more time than the query.
    next_of_holder = _next_of_holder(ticket, lease)
    while not stopping.is_set():
        delivery = next_of_holder.first()
        if delivery is None or delivery.is_overtaking:  # type: ignore[attr-defined]  # annotated below
            unprocessed = WebhookEvent.objects.unprocessed_of(ticket)
            if delivery is None and not unprocessed.exists():
                return True
            if not process_unprocessed(unprocessed, MAX_UNPROCESSED):
                return False
            continue
        delivery.ticket = ticket
        ticket.itop.paused_until = delivery.paused_until  # type: ignore[attr-defined]  # annotated below
        if not _may_write(delivery, lease):
            return False
        conversation_id = delivery.conversation_id
        if conversation_id not in conversations:
            with_profile = Conversation.objects.select_related("workspace__profile")
            conversations[conversation_id] = with_profile.get(pk=conversation_id)
        delivery.conversation = conversations[conversation_id]
        with bound_contextvars(**delivery.conversation.names, ticket=ticket.ref, itop=ticket.itop.name):
            has_response = _attempt(delivery)
        if not has_response:
            return False
        _save_success(delivery)
        if time.monotonic() > turn_ends:
            return False
    return True


def _may_write(delivery: Delivery, lease: Lease) -> bool:
    """Return whether the delivery is due, the lease is still held, and the circuit breaker permits a write."""
    if delivery.due_at > timezone.now():
        # Later messages wait too, because the order must be kept.
        return False
    if not lease.renew_in_time(lease_seconds()):
        log.warning("writer.lease_lost", ticket=delivery.ticket.ref)
        return False
    # Last, and only if there is something to send: an open circuit breaker permits one probe.
    return claim_write(delivery.ticket.itop)


def _next_of_holder(ticket: Ticket, lease: Lease) -> DeliveryQuerySet:
    """Return the next delivery with the present state of the circuit breaker; nothing once the lease is lost.

    `is_overtaking` is true if an unprocessed event of this ticket exists, which may be older. It is read in the same
    statement: whatever was committed before is then either an unprocessed event or already a waiting delivery.
    """
    held = Delivery.objects.waiting().filter(
        ticket=ticket, ticket__lease_token=lease.token, ticket__lease_until__gt=Now()
    )
    unprocessed = WebhookEvent.objects.unprocessed_of(ticket).prefetch_related(None).order_by()
    paused_until = F("ticket__itop__paused_until")
    return held.annotate(is_overtaking=Exists(unprocessed), paused_until=paused_until).in_order()


# One attempt


def _attempt(delivery: Delivery) -> bool:
    """Try to write a delivery and set its new state.

    Return True if iTop responded, even with a rejection. Otherwise open the circuit breaker, save the delivery and
    return False.
    """
    ticket = delivery.ticket
    files = copy_first(delivery) if delivery.item is None else None
    # Shared by all calls of the attempt, because the lease depends on it.
    deadline = Deadline(settings.WRITE_SECONDS)
    try:
        client = itop_client(ticket.itop)
        if delivery.item is None:
            _render(delivery, client, deadline, files)
        if _is_already_in_log(delivery, client, deadline):
            _set_written(delivery, *follow_up_write(delivery, None, client, deadline))
            return True
        written = append(
            client,
            ticket.ticket_class,
            ticket.object_id,
            log_attribute(delivery),
            delivery.item or {},
            idempotency_key=delivery.idempotency_key,
            output_fields=(delivery.conversation.workspace.profile.code("status"),),
            deadline=deadline.remaining(),
        )
    except ItopNotAdministratorError as error:
        if ticket.itop.is_administrator is False:
            _retry_later(delivery, error)
            return False
        _write_without_authors(delivery, error)
    except ItopRejectedError as error:
        _reject(delivery, error)
    except (ItopError, SecretDecryptionError) as error:
        _retry_later(delivery, error)
        return False
    else:
        _set_written(delivery, *follow_up_write(delivery, written, client, deadline))
        _detect_change_tracking(delivery, client, deadline)
    return True


def _render(
    delivery: Delivery, client: Client, deadline: Deadline, files: tuple[Part, FileLinks] | None
) -> None:
    """Render the entry once and store it before the first attempt: a retry must be the same request.

    The next waiting deliveries without files are rendered too, in one transaction.
    """
    itop = delivery.ticket.itop
    may_set_author = itop.is_administrator is not False
    waiting = Delivery.objects.waiting().filter(ticket=delivery.ticket).in_order()
    following = list(waiting.select_related("conversation__workspace__profile")[:RENDER_BATCH])
    with_files = messages_with_files(delivery.ticket, {other.part_id for other in following})
    batch = [delivery] + [
        other
        for other in following
        if other.item is None
        and other.pk != delivery.pk
        and (other.conversation_id, other.kind, other.part_id) not in with_files
    ]
    first, links = files or (part_from_json(delivery.part), NO_LINKS)
    parts = [first, *(part_from_json(row.part) for row in batch[1:])]
    # Without the right to set authors, nobody's account is needed.
    signed_in = signed_in_emails(itop, {part.author.id for part in parts}) if may_set_author else {}
    addresses = [
        signed_in.get((row.conversation.workspace_id, part.author.id))
        or (part.author.email if may_have_account(part.author) else "")
        for row, part in zip(batch, parts, strict=True)
    ]
    emails = set(filter(None, addresses))
    accounts: dict[str, int] = {}
    if may_set_author and emails:
        accounts = accounts_of(itop, client, emails, deadline=deadline.remaining())
        # The look-up may have found that the account is no Administrator.
        may_set_author = itop.is_administrator is not False
    # Converted before the transaction begins: on SQLite, it excludes all other writers.
    for row, part, address in zip(batch, parts, addresses, strict=True):
        account = accounts.get(address.casefold(), 0) if address else 0
        workspace = row.conversation.workspace
        with translation.override(workspace.language):
            row.item = log_item(
                part,
                account,
                row.conversation.url,
                may_set_author=may_set_author,
                links=links if row is delivery else NO_LINKS,
            )
        row.idempotency_key = idempotency_key_of(workspace.workspace_id, part)
    with transaction.atomic():
        for row in batch:
            # A delivery that was erased in the meantime stays erased.
            Delivery.objects.filter(pk=row.pk, cleaned_at=None).update(
                item=row.item, idempotency_key=row.idempotency_key
            )


def _write_without_authors(delivery: Delivery, error: ItopNotAdministratorError) -> None:
    """Have the entry rendered again with the author's name in its text. The rejected request wrote nothing."""
    delivery.log_attempt(Outcome.REFUSED, error.code, error.detail)
    delivery.ticket.itop.learn(is_administrator=False)
    Delivery.objects.waiting().filter(ticket=delivery.ticket, attempts=0).update(item=None)
    delivery.item = None


def _reject(delivery: Delivery, error: ItopRejectedError) -> None:
    """Fail the delivery, unless iTop only rejected a cached account: then have it rendered again."""
    delivery.log_attempt(Outcome.REFUSED, error.code, error.detail)
    has_account = (delivery.item or {}).get("user_id")
    if error.attribute == "user_id" and has_account and not delivery.attempts:
        forget_accounts(delivery.ticket.itop)
        delivery.item = None
        delivery.attempts += 1
        return
    if isinstance(error, ObjectNotFoundError):
        Ticket.objects.filter(pk=delivery.ticket_id, gone_at=None).update(gone_at=timezone.now())
    _set_failed(delivery, error.code, error.detail)


# Data models that do not track changes of a log


def _is_already_in_log(delivery: Delivery, client: Client, deadline: Deadline) -> bool:
    """Return whether the log already contains the entry, where no idempotency key protects the write.

    That is so before a retry if iTop tracks no changes of the log, and before the first attempt if the PHP extension
    may have written the message. Count the first attempt now, so that a retry is recognised even after a crash.
    """
    if not delivery.attempts and delivery.may_be_in_log:
        return is_shown_in_log(client, delivery.ticket, delivery, deadline=deadline.remaining())
    if delivery.ticket.itop.tracked_logs.get(_log_key(delivery)) is True:
        return False
    if not delivery.attempts:
        Delivery.objects.filter(pk=delivery.pk).update(attempts=1)
        return False
    return is_in_log(client, delivery.ticket, delivery, deadline=deadline.remaining())


def _detect_change_tracking(delivery: Delivery, client: Client, deadline: Deadline) -> None:
    """After the first write to each log of an iTop, find out whether its idempotency key can be found."""
    ticket, key = delivery.ticket, _log_key(delivery)
    if key in ticket.itop.tracked_logs:
        return
    try:
        found = written_keys(
            client,
            ticket.ticket_class,
            ticket.object_id,
            [delivery.idempotency_key],
            deadline=deadline.remaining(),
        )
    except ItopError as error:
        log.warning("itop.change_tracking_unknown", itop=ticket.itop.name, error=type(error).__name__)
        return
    ticket.itop.learn_tracking(key, is_tracked=bool(found))


def _log_key(delivery: Delivery) -> str:
    return f"{delivery.ticket.ticket_class}.{log_attribute(delivery)}"


# The outcome of an attempt


def _set_written(delivery: Delivery, code: str, detail: str = "") -> None:
    if delivery.erased_times:
        # Keep the reason, which says who had overwritten the entry.
        delivery.state = State.RESTORED
    else:
        delivery.state = State.WRITTEN
        delivery.set_reason(code, detail)
    delivery.log_attempt(Outcome.WRITTEN, code, detail)
    delivery.written_at = timezone.now()
    delivery.attempts += 1
    count_delivery(delivery)
    log.info("delivery.written", delivery=delivery.pk, log=delivery.log)


def _set_failed(delivery: Delivery, code: str, detail: str) -> None:
    delivery.state = State.FAILED
    delivery.set_reason(code, detail)
    delivery.attempts += 1
    delivery.last_failed_at = timezone.now()
    count_delivery(delivery)
    log.error("delivery.failed", delivery=delivery.pk, code=code)


def _retry_later(delivery: Delivery, error: Exception) -> None:
    """Postpone a delivery that failed, and save it.

    If iTop fails on this message only, other messages are still written. Otherwise the circuit breaker opens, because
    the instance fails. The delivery fails after a few failures of its own, or when it has been retried for too long.
    """
    itop = delivery.ticket.itop
    if _is_message_specific(delivery, itop, error):
        delivery.solo_failures += 1
        seconds = backoff_seconds(delivery.solo_failures, SOLO_RETRY_SECONDS)
    else:
        # The circuit breaker's pause grows; a second back-off per message would only add to it.
        seconds = record_failure(itop, error)
    delivery.log_failed_attempt(error)
    if delivery.solo_failures >= MAX_SOLO_FAILURES:
        _set_failed(delivery, ReasonCode.MESSAGE_SPECIFIC, str(error))
    elif delivery.queued_at < timezone.now() - MAX_RETRY_TIME:
        _set_failed(delivery, ReasonCode.GAVE_UP, str(error))
    else:
        if isinstance(error, ItopError) and error.may_have_run:
            # iTop may still be executing the request.
            seconds = max(seconds, settings.UNKNOWN_OUTCOME_SECONDS)
        delivery.attempts += 1
        delivery.last_failed_at = timezone.now()
        delivery.due_at = delivery.last_failed_at + dt.timedelta(seconds=seconds)
        delivery.set_reason(*reason_of(error))
        log.warning(
            "delivery.postponed", delivery=delivery.pk, seconds=round(seconds), error=type(error).__name__
        )
    with transaction.atomic():
        _save(delivery)


def _is_message_specific(delivery: Delivery, itop: ItopInstance, error: Exception) -> bool:
    """Return whether iTop fails on this message only: it can be read, and no other message fails.

    An error that is known to be the instance's, such as a refused account, is not examined.
    """
    if not isinstance(error, UnclassifiedError | ItopNoResponseError):
        return False
    now = timezone.now()
    others = Delivery.objects.filter(
        ticket__itop=itop, last_failed_at__gt=now - INSTANCE_TROUBLE_WINDOW
    ).exclude(pk=delivery.pk)
    last_success = ItopInstance.objects.values_list("last_success_at", flat=True).get(pk=itop.pk)
    # Failures of others after the last success, or which succeeded when repeated, are those of the instance.
    unresolved = others.waiting().filter(solo_failures__lt=2)
    if last_success is not None:
        unresolved = unresolved.filter(last_failed_at__gt=last_success)
    if unresolved.exists() or others.in_itop().exists():
        return False
    return _is_readable(delivery)


def _is_readable(delivery: Delivery) -> bool:
    """Return whether iTop answers a harmless read of the ticket."""
    ticket = delivery.ticket
    try:
        itop_client(ticket.itop).get(ticket.ticket_class, ticket.object_id, deadline=READ_SECONDS)
    except ItopRejectedError:
        return True
    except (ItopError, SecretDecryptionError):
        return False
    return True


def _save_success(delivery: Delivery) -> None:
    """Save a delivery that iTop responded to, and close the circuit breaker."""
    ticket = delivery.ticket
    with transaction.atomic():
        _save(delivery)
        if delivery.written_at and ticket.check_at is None:
            ticket.check_at = delivery.written_at + dt.timedelta(seconds=settings.VERIFY_AFTER_SECONDS)
            Ticket.objects.filter(pk=ticket.pk, check_at=None).update(check_at=ticket.check_at)
        if delivery.written_at:
            TicketSnapshot.objects.filter(ticket=ticket).note_activity()
        record_success(ticket.itop)


def _save(delivery: Delivery) -> None:
    """Save the result of an attempt, with the note about a failure. Must run in a transaction.

    A waiting delivery may have been skipped in the meantime: it stays skipped, and if it is queued again it waits as
    long. Of a delivery whose content was deleted in the meantime, only the state is saved.
    """
    values = {name: getattr(delivery, name) for name in ATTEMPT_FIELDS}
    row = Delivery.objects.filter(pk=delivery.pk, cleaned_at=None)
    if delivery.state == State.WAITING:
        decided = ("state", "reason_code", "reason_detail")
        saved = row.waiting().update(**values) or row.update(
            **{name: value for name, value in values.items() if name not in decided}
        )
    else:
        saved = row.update(**values)
    if saved and delivery.state == State.FAILED:
        note_failed_delivery(delivery)
    if not saved and delivery.state in (State.WRITTEN, State.RESTORED):
        Delivery.objects.filter(pk=delivery.pk).update(state=delivery.state, written_at=delivery.written_at)
