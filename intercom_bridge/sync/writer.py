"""Write deliveries to iTop: one writer per ticket, messages in order, each message once."""

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

from .authors import accounts_of_authors, forget_accounts
from .circuit_breaker import backoff_seconds, claim_write, record_failure, record_success
from .failure_notes import note_failed_delivery
from .files import MessageWithFiles, copy_small_files, messages_with_files
from .intake import process_unprocessed
from .message import NO_LINKS, idempotency_key_of, log_item, part_from_json
from .reopen import reopen_or_note
from .verify import is_in_log, is_shown_in_log, log_attribute

log = structlog.get_logger(__name__)
Outcome = Delivery.Outcome
State = Delivery.State

# A message is set to failed after iTop has failed this often on this message only.
MAX_SOLO_FAILURES = 5
SOLO_RETRY_SECONDS = 5.0
# The time limit of the read that tests whether iTop works.
READ_SECONDS = 3.0
MAX_RETRY_TIME = dt.timedelta(days=7)
RENDER_BATCH = 20
# After this time, a writer leaves the ticket's other messages for its next turn, so that other tickets do not wait.
TURN_SECONDS = 0.5
# If a ticket has more unprocessed events than this, its writer leaves them to the workers that process events.
MAX_UNPROCESSED = 3
# When iTop fails on a message, failures of other messages within this time show that the instance is the cause.
INSTANCE_TROUBLE_WINDOW = dt.timedelta(minutes=10)
# The fields that an attempt to write a delivery can change.
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

# Set when the process is asked to stop: it finishes the current write and starts no other.
stopping = threading.Event()


def lease_seconds() -> float:
    """Return how long a writer's lease lasts: three times the longest write, so that a slow writer keeps it."""
    return 3 * float(settings.WRITE_SECONDS)


def write_due(ticket: Ticket) -> bool:
    """Write the due deliveries of a ticket, oldest first. Return True if the turn ended before all were written.

    If another worker holds the ticket's lease, do nothing: that worker writes them.
    """
    turn_ends = time.monotonic() + TURN_SECONDS
    while not stopping.is_set():
        lease = take_lease(ticket, lease_seconds())
        if lease is None:
            return False
        with lease:
            are_all_written = _write_in_order(ticket, lease, turn_ends)
        if not are_all_written:
            return time.monotonic() > turn_ends
        # Checked after the lease is released. A delivery may have been created just before the release. The worker
        # that was woken for it found the lease taken and gave up.
        if not Delivery.objects.due().filter(ticket=ticket).exists():
            return False
    return False


def _write_in_order(ticket: Ticket, lease: Lease, turn_ends: float) -> bool:
    """Write the ticket's waiting deliveries in order. Return False if the rest has to wait.

    Return True when the query finds no delivery: all are written, or another worker has taken the lease.
    """
    conversations: dict[int, Conversation] = {}
    # Read under the lease: verification, which also changes `check_at`, takes the same lease.
    ticket = Ticket.objects.select_related("itop").get(pk=ticket.pk)
    # Built once, because building this query takes longer than running it.
    next_delivery = _next_delivery(ticket, lease)
    while not stopping.is_set():
        delivery = next_delivery.first()
        if delivery is None or delivery.has_unprocessed_events:  # type: ignore[attr-defined]  # annotated below
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
        with bound_contextvars(**delivery.conversation.log_fields, ticket=ticket.ref, itop=ticket.itop.name):
            has_itop_responded = _attempt(delivery)
        if not has_itop_responded:
            return False
        _save_response(delivery)
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
    # Last, because this may claim the one probe that an open circuit breaker permits: the write must follow.
    return claim_write(delivery.ticket.itop)


def _next_delivery(ticket: Ticket, lease: Lease) -> DeliveryQuerySet:
    """Return the query for the ticket's waiting deliveries, in order. It finds none once the lease is lost.

    Annotations: `paused_until` is the circuit breaker's present state. `has_unprocessed_events` is whether the ticket
    has unprocessed webhook events, which may contain an earlier message. Events and deliveries are read in one
    statement, so that it finds every stored message as either of the two.
    """
    held = Delivery.objects.waiting().filter(
        ticket=ticket, ticket__lease_token=lease.token, ticket__lease_until__gt=Now()
    )
    unprocessed = WebhookEvent.objects.unprocessed_of(ticket).prefetch_related(None).order_by()
    paused_until = F("ticket__itop__paused_until")
    return held.annotate(has_unprocessed_events=Exists(unprocessed), paused_until=paused_until).in_order()


# --- One attempt ---


def _attempt(delivery: Delivery) -> bool:
    """Try to write a delivery and set its new state.

    Return True if iTop accepted or rejected the write: the caller then saves the delivery. Return False if the
    delivery was postponed or has failed without a response, and is saved already.
    """
    ticket = delivery.ticket
    files = copy_small_files(delivery) if delivery.item is None else None
    # One time limit for all calls of the attempt, because the lease must outlast them together.
    deadline = Deadline(settings.WRITE_SECONDS)
    try:
        client = itop_client(ticket.itop)
        if delivery.item is None:
            _render(delivery, deadline, files)
        if _is_already_in_log(delivery, client, deadline):
            _set_written(delivery, *reopen_or_note(delivery, None, client, deadline))
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
            # The entry was already rendered without an author's account, so rendering it again would not help.
            _retry_later(delivery, error)
            return False
        _render_again_without_accounts(delivery, error)
    except ItopRejectedError as error:
        _handle_rejection(delivery, error)
    except (ItopError, SecretDecryptionError) as error:
        _retry_later(delivery, error)
        return False
    else:
        _set_written(delivery, *reopen_or_note(delivery, written, client, deadline))
        _detect_change_tracking(delivery, client, deadline)
    return True


def _render(delivery: Delivery, deadline: Deadline, files: MessageWithFiles | None) -> None:
    """Render the entry once and store it before the first attempt: a retry must send the same request.

    Also render the ticket's next deliveries without files, to save queries. `files` is None if the message has none.
    """
    following = _next_without_files(delivery)
    batch = [delivery, *following]
    own_part, links = files or (part_from_json(delivery.part), NO_LINKS)
    parts = [own_part, *(part_from_json(other.part) for other in following)]
    authors = [
        (other.conversation.workspace_id, part.author) for other, part in zip(batch, parts, strict=True)
    ]
    account_ids = accounts_of_authors(delivery.ticket.itop, authors, deadline=deadline.remaining())
    # Read after the look-up of the accounts, which may have found that the bridge's account is no Administrator.
    may_set_author = delivery.ticket.itop.is_administrator is not False
    # Rendered before the transaction begins: on SQLite, a transaction excludes all other writers.
    for rendered, part, account_id in zip(batch, parts, account_ids, strict=True):
        workspace = rendered.conversation.workspace
        with translation.override(workspace.language):
            rendered.item = log_item(
                part,
                account_id,
                rendered.conversation.url,
                may_set_author=may_set_author,
                links=links if rendered is delivery else NO_LINKS,
            )
        rendered.idempotency_key = idempotency_key_of(workspace.workspace_id, part)
    with transaction.atomic():
        for rendered in batch:
            # A delivery that was erased in the meantime stays erased.
            Delivery.objects.filter(pk=rendered.pk, cleaned_at=None).update(
                item=rendered.item, idempotency_key=rendered.idempotency_key
            )


def _next_without_files(delivery: Delivery) -> list[Delivery]:
    """Return those of the ticket's next waiting deliveries that are not rendered yet and have no files."""
    waiting = Delivery.objects.waiting().filter(ticket=delivery.ticket).in_order()
    following = list(waiting.select_related("conversation__workspace__profile")[:RENDER_BATCH])
    with_files = messages_with_files(delivery.ticket, {other.part_id for other in following})
    return [
        other
        for other in following
        if other.item is None
        and other.pk != delivery.pk
        and (other.conversation_id, other.kind, other.part_id) not in with_files
    ]


def _render_again_without_accounts(delivery: Delivery, error: ItopNotAdministratorError) -> None:
    """Have the entry rendered again with the author's name in its text. The rejected request wrote nothing.

    The ticket's other deliveries are rendered again too, unless they were attempted: a retry must not differ.
    """
    delivery.log_attempt(Outcome.REFUSED, error.code, error.detail)
    delivery.ticket.itop.learn(is_administrator=False)
    Delivery.objects.waiting().filter(ticket=delivery.ticket, attempts=0).update(item=None)
    delivery.item = None


def _handle_rejection(delivery: Delivery, error: ItopRejectedError) -> None:
    """Set the delivery to failed. If iTop only rejected the author's cached account, have it rendered once more."""
    delivery.log_attempt(Outcome.REFUSED, error.code, error.detail)
    has_account = (delivery.item or {}).get("user_id")
    if error.attribute == "user_id" and has_account and not delivery.attempts:
        # The account was deleted in iTop after the bridge had looked it up.
        forget_accounts(delivery.ticket.itop)
        delivery.item = None
        delivery.attempts += 1
        return
    if isinstance(error, ObjectNotFoundError):
        Ticket.objects.filter(pk=delivery.ticket_id, gone_at=None).update(gone_at=timezone.now())
    _set_failed(delivery, error.code, error.detail)


# --- Logs whose changes iTop does not track ---


def _is_already_in_log(delivery: Delivery, client: Client, deadline: Deadline) -> bool:
    """Return whether the log already contains the entry. Read the log only if no idempotency key protects the write.

    Before the first attempt, no key protects a message that the PHP extension may have written. Before a retry, none
    does if iTop does not track changes of this log, because iTop stores the key with the change.
    """
    is_tracked = delivery.ticket.itop.tracked_logs.get(_log_key(delivery)) is True
    if delivery.attempts:
        return not is_tracked and is_in_log(client, delivery.ticket, delivery, deadline=deadline.remaining())
    if delivery.may_be_in_log:
        return is_shown_in_log(client, delivery.ticket, delivery, deadline=deadline.remaining())
    if not is_tracked:
        # Counted before the request is sent, so that a retry is recognised even after a crash.
        Delivery.objects.filter(pk=delivery.pk).update(attempts=1)
    return False


def _detect_change_tracking(delivery: Delivery, client: Client, deadline: Deadline) -> None:
    """After the first write to a log, find out whether iTop tracks changes of this log.

    If it does, its history contains the delivery's idempotency key.
    """
    ticket, log_key = delivery.ticket, _log_key(delivery)
    if log_key in ticket.itop.tracked_logs:
        return
    try:
        stored_keys = written_keys(
            client,
            ticket.ticket_class,
            ticket.object_id,
            [delivery.idempotency_key],
            deadline=deadline.remaining(),
        )
    except ItopError as error:
        log.warning("itop.change_tracking_unknown", itop=ticket.itop.name, error=type(error).__name__)
        return
    ticket.itop.learn_tracking(log_key, is_tracked=bool(stored_keys))


def _log_key(delivery: Delivery) -> str:
    """Return the delivery's log as `ItopInstance.tracked_logs` names it: class and attribute code."""
    return f"{delivery.ticket.ticket_class}.{log_attribute(delivery)}"


# --- The outcome of an attempt ---


def _set_written(delivery: Delivery, code: str, detail: str = "") -> None:
    if delivery.erased_times:
        # Keep the reason that verification has set: it says whose save had removed the entry.
        delivery.state = State.RESTORED
    else:
        delivery.state = State.WRITTEN
        delivery.set_reason(code, detail)
    delivery.log_attempt(Outcome.WRITTEN, code, detail)
    delivery.written_at = timezone.now()
    delivery.attempts += 1
    log.info("delivery.written", delivery=delivery.pk, log=delivery.log)


def _set_failed(delivery: Delivery, code: str, detail: str) -> None:
    delivery.state = State.FAILED
    delivery.set_reason(code, detail)
    delivery.attempts += 1
    delivery.last_failed_at = timezone.now()
    log.error("delivery.failed", delivery=delivery.pk, code=code)


def _retry_later(delivery: Delivery, error: Exception) -> None:
    """Postpone a delivery after an error, or let it fail if it was retried too often or too long. Save it.

    If iTop fails on this message only, other messages are still written. Otherwise the instance fails, and its
    circuit breaker opens.
    """
    itop = delivery.ticket.itop
    if _is_message_specific(delivery, itop, error):
        delivery.solo_failures += 1
        seconds = backoff_seconds(delivery.solo_failures, SOLO_RETRY_SECONDS)
    else:
        # The message waits as long as the circuit breaker's pause, which grows by itself with each failure.
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
    """Return whether iTop fails on this message only: no other message has failed lately, and iTop can be read.

    Other kinds of errors, such as a refused account, always concern the whole instance.
    """
    if not isinstance(error, UnclassifiedError | ItopNoResponseError):
        return False
    since = timezone.now() - INSTANCE_TROUBLE_WINDOW
    others = Delivery.objects.filter(ticket__itop=itop, last_failed_at__gt=since).exclude(pk=delivery.pk)
    # A message that has failed on its own twice may itself be the cause of its failures.
    still_failing = others.waiting().filter(solo_failures__lt=2)
    last_success = ItopInstance.objects.values_list("last_success_at", flat=True).get(pk=itop.pk)
    if last_success is not None:
        still_failing = still_failing.filter(last_failed_at__gt=last_success)
    # A message that failed lately and is in iTop now shows that the failure was not the message's own.
    if still_failing.exists() or others.in_itop().exists():
        return False
    return _is_readable(delivery)


def _is_readable(delivery: Delivery) -> bool:
    """Return whether iTop answers a harmless read of the ticket."""
    ticket = delivery.ticket
    try:
        itop_client(ticket.itop).get(ticket.ticket_class, ticket.object_id, deadline=READ_SECONDS)
    except ItopRejectedError:
        return True  # iTop has responded
    except (ItopError, SecretDecryptionError):
        return False
    return True


def _save_response(delivery: Delivery) -> None:
    """Save a delivery after iTop has responded. Schedule the verification of its entry. Close the circuit breaker."""
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
    """Save and count the result of an attempt, and queue a note if the delivery failed. Must run in a transaction.

    The stored delivery may have changed during the attempt. If it was skipped, a delivery that was not written stays
    skipped: save neither its state nor its reason. If its content was erased, save only that it was written.
    """
    values = {name: getattr(delivery, name) for name in ATTEMPT_FIELDS}
    is_written = delivery.state in (State.WRITTEN, State.RESTORED)
    stored = Delivery.objects.filter(pk=delivery.pk, cleaned_at=None)
    replaceable = stored if is_written else stored.waiting()
    is_saved = bool(replaceable.update(**values))
    if is_written and not is_saved:
        Delivery.objects.filter(pk=delivery.pk).update(state=delivery.state, written_at=delivery.written_at)
    elif not is_saved:
        for name in ("state", "reason_code", "reason_detail"):
            del values[name]
        stored.update(**values)
    has_failed = is_saved and delivery.state == State.FAILED
    if is_written or has_failed:
        count_delivery(delivery)
    if has_failed:
        note_failed_delivery(delivery)
