"""The work of a worker: a table of queues, each with a query for its due rows and a function that handles one row.

Only the rows in the database say what is to do. All workers see the same rows, so a handler takes a claim or a lease
before it acts. To add work, add a queue.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from django.core.management import call_command
from django.db import OperationalError
from django.db.models import Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from intercom_bridge.datamodel.importing import run_import
from intercom_bridge.events.attributes import outdated_workspaces, update_outdated
from intercom_bridge.events.follow import follow_tickets, unfollowed_tickets
from intercom_bridge.events.poll import poll_itop
from intercom_bridge.events.poster import post
from intercom_bridge.models import (
    CachedTickets,
    Conversation,
    DataModelImport,
    DayCount,
    Delivery,
    FileToItop,
    ItopInstance,
    ItopPoll,
    LinkRemoval,
    OutgoingMessage,
    Participant,
    Ticket,
    TicketCreation,
    TicketLink,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import claim
from intercom_bridge.models.lease import take_lease
from intercom_bridge.sync.extension_attributes import (
    detect_extension,
    push_link_attributes,
    push_link_removal,
)
from intercom_bridge.sync.files import copy_file
from intercom_bridge.sync.intake import process_batch
from intercom_bridge.sync.reconcile import CLAIMED_SECONDS as COMPARISON_SECONDS
from intercom_bridge.sync.reconcile import reconcile
from intercom_bridge.sync.retention import clean_payloads
from intercom_bridge.sync.verify import check_log
from intercom_bridge.sync.writer import lease_seconds, stopping, write_due
from intercom_bridge.tickets.creation.attempt import BACKGROUND_DEADLINE_SECONDS, retry_creation
from intercom_bridge.tickets.links.adopt import apply_link_changes
from itop_client import ItopError

log = structlog.get_logger(__name__)

MINUTE = 60.0
ATTRIBUTES_SECONDS = 60.0
# How long the intake processes batches before the loop looks for due rows again.
INTAKE_TURN_SECONDS = 2.0
# Short, because an admin waits for the import. Usually a signal starts it even sooner.
IMPORT_SECONDS = 5.0
# If iTop cannot answer, the verification is repeated after this time.
VERIFY_AGAIN_AFTER = dt.timedelta(minutes=5)
# A row that is still due after it was handled is left alone for this time: another worker has it, or iTop is paused.
STILL_DUE_SECONDS = 1.0
# A row is left alone for this time after its handler raised an unexpected exception.
FAILED_ROW_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Queue:
    """Rows of one kind of work.

    due: returns a new query for the rows to be handled now.
    handle: handles a row. If the row is still due afterwards, it is left alone for the number of seconds that `handle`
        returns. 0.0 means that it may be handled again at once, None means STILL_DUE_SECONDS.
    workspace: the field or expression for a row's workspace, if workspaces take turns.
    customer: the field or expression for the customer who writes, if a workspace's customers take turns.
    every: the seconds between two queries for due rows. 0.0 means as often as the loop queries.
    max_rows: the number of rows that one query returns at most.
    max_running: the number of rows that one worker handles at the same time, None for as many as it has threads.
    """

    name: str
    due: Callable[[], QuerySet[Any]]
    handle: Callable[[Any], float | None]
    every: float = 0.0
    max_rows: int = 500
    max_running: int | None = None
    workspace: str | Subquery = ""
    customer: str | Subquery = ""


def run_row(queue: Queue, pk: int) -> float:
    """Handle a row if it is still due. Return for how many seconds to leave it alone. Never raise an exception."""
    try:
        row = queue.due().filter(pk=pk).first()
        if row is None:
            return 0.0
        seconds = queue.handle(row)
        if seconds is None:
            seconds = STILL_DUE_SECONDS
        is_still_due = bool(seconds) and queue.due().filter(pk=pk).exists()
        return seconds if is_still_due else 0.0
    except OperationalError as error:
        log.warning("worker.database_failed", queue=queue.name, row=pk, error=type(error).__name__)
        return STILL_DUE_SECONDS
    except Exception:
        log.exception("worker.row_failed", queue=queue.name, row=pk)
        return FAILED_ROW_SECONDS


def clean_up() -> None:
    """Do the nightly work: erase old contents, delete expired sessions, count days, reset detected capabilities."""
    clean_payloads()
    # A session of the admin site may contain the encrypted secrets of a workspace that was never connected.
    call_command("clearsessions")
    DayCount.objects.recount()
    # Detected again, because a permission may have been granted or an extension installed in the meantime.
    ItopInstance.objects.filter(is_administrator=False).update(is_administrator=None)
    Workspace.objects.update(has_extension_attributes=None)


def _has_no_lease() -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=Now())


def _tickets_to_write() -> QuerySet[Ticket]:
    due = Delivery.objects.due().order_by().values("ticket")
    is_paused = Q(itop__paused_until__gt=timezone.now())
    return Ticket.objects.filter(_has_no_lease(), pk__in=due).exclude(is_paused)


# A ticket may have conversations of several workspaces and customers. Any one of them will do for taking turns.
WORKSPACE_OF_TICKET = Subquery(
    Delivery.objects.waiting().filter(ticket=OuterRef("pk")).values("conversation__workspace")[:1]
)
CUSTOMER_OF_TICKET = Subquery(
    Participant.objects.filter(
        conversation__deliveries__ticket=OuterRef("pk"),
        conversation__deliveries__state=Delivery.State.WAITING,
    ).values("contact_id")[:1]
)


def _tickets_to_verify() -> QuerySet[Ticket]:
    return Ticket.objects.filter(_has_no_lease(), check_at__lte=timezone.now()).select_related("itop")


def _workspaces_to_detect() -> QuerySet[Workspace]:
    return Workspace.objects.filter(enabled=True, has_extension_attributes=None).select_related(
        "itop", "profile"
    )


def _process_notifications(_oldest: WebhookEvent) -> float:
    """Process batches of due events for INTAKE_TURN_SECONDS. `process_batch` chooses the events, not the queue."""
    ends = time.monotonic() + INTAKE_TURN_SECONDS
    while not stopping.is_set() and time.monotonic() < ends:
        if not process_batch():
            break
    return 0.0


def _write(ticket: Ticket) -> float | None:
    """Write the ticket's due deliveries. Return 0.0 if the next turn may follow at once, None otherwise (see Queue)."""
    return 0.0 if write_due(ticket) else None


def _verify(ticket: Ticket) -> None:
    """Check that the written entries are still in the ticket's logs."""
    lease = take_lease(ticket, lease_seconds())
    if lease is None:
        return
    with lease:
        try:
            check_log(ticket)
        except (ItopError, SecretDecryptionError) as error:
            log.warning("verification.postponed", ticket=ticket.ref, error=type(error).__name__)
            Ticket.objects.filter(pk=ticket.pk).update(check_at=timezone.now() + VERIFY_AGAIN_AFTER)
        else:
            # If `check_at` has changed since the ticket was read (`verify_now`), the new check stays due.
            Ticket.objects.filter(pk=ticket.pk, check_at=ticket.check_at).update(check_at=None)


def _create(creation: TicketCreation) -> float:
    """Finish a creation that the panel has left to the workers, unless another process is doing it now."""
    lease = take_lease(creation.conversation, 2 * BACKGROUND_DEADLINE_SECONDS)
    if lease is not None:
        with lease:
            creation.refresh_from_db()
            if creation.state == TicketCreation.State.CREATING:
                retry_creation(creation)
    return BACKGROUND_DEADLINE_SECONDS


def _reconcile(conversation: Conversation) -> None:
    """Schedule the messages of a conversation whose notifications were lost."""
    if claim(conversation, COMPARISON_SECONDS, due_field="reconcile_at"):
        reconcile(conversation)


def _tolerating_errors(handle: Callable[[Any], None]) -> Callable[[Model], None]:
    """Return a handler that calls `handle` and logs an error of iTop as a warning. The row stays due."""

    def handle_tolerantly(row: Model) -> None:
        try:
            handle(row)
        except (ItopError, SecretDecryptionError) as error:
            kind = row._meta.model_name
            log.warning("worker.row_postponed", kind=kind, row=row.pk, error=type(error).__name__)

    return handle_tolerantly


QUEUES = (
    Queue(
        "process_notifications", WebhookEvent.objects.due, _process_notifications, max_rows=1, max_running=1
    ),
    Queue(
        "write_ticket", _tickets_to_write, _write, workspace=WORKSPACE_OF_TICKET, customer=CUSTOMER_OF_TICKET
    ),
    # Two at a time, because a file takes memory and time, and messages need the other threads.
    Queue(
        "copy_file",
        FileToItop.objects.to_copy,
        copy_file,
        max_rows=100,
        max_running=2,
        workspace="conversation__workspace",
    ),
    Queue("verify_ticket", _tickets_to_verify, _verify),
    Queue("post_message", OutgoingMessage.objects.next_due, post, workspace="conversation__workspace"),
    Queue("create_ticket", TicketCreation.objects.due, _create),
    Queue("follow_ticket", unfollowed_tickets, follow_tickets, every=MINUTE, max_rows=1, max_running=1),
    Queue("poll_itop", ItopPoll.objects.due, poll_itop),
    Queue("update_attributes", outdated_workspaces, update_outdated, every=ATTRIBUTES_SECONDS),
    # One at a time, because reading a data model takes CPU time that the other threads need.
    Queue(
        "import_data_model",
        lambda: DataModelImport.objects.due().select_related("itop"),
        run_import,
        every=IMPORT_SECONDS,
        max_rows=1,
        max_running=1,
    ),
    # Links that the PHP extension has left can only be found where its attributes are detected.
    Queue("detect_extension", _workspaces_to_detect, _tolerating_errors(detect_extension), every=MINUTE),
    Queue(
        "push_link",
        lambda: TicketLink.objects.filter(attributes_synced=False),
        _tolerating_errors(push_link_attributes),
        every=MINUTE,
    ),
    Queue(
        "push_link_removal", LinkRemoval.objects.unsynced, _tolerating_errors(push_link_removal), every=MINUTE
    ),
    Queue(
        "apply_link_changes",
        lambda: CachedTickets.objects.with_link_changes().select_related(
            "workspace__itop", "workspace__profile"
        ),
        apply_link_changes,
        every=MINUTE,
    ),
    # Once a minute, because Intercom limits the number of calls.
    Queue(
        "reconcile_conversation",
        lambda: Conversation.objects.due_for_comparing().select_related("workspace"),
        _reconcile,
        every=MINUTE,
    ),
)
