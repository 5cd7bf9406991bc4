"""The work of a worker: a table of queues, each with the rows that are due and the function that handles one of them.

The rows are the truth. A handler takes a claim or a lease before it acts, because other workers see the same rows.
To add work, add a queue.
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
# An admin waits for the outcome. Usually the signal comes first.
IMPORT_SECONDS = 5.0
VERIFY_AGAIN_AFTER = dt.timedelta(minutes=5)
# A row that is still due after it was handled is left alone for this time: another worker has it, or iTop is paused.
STILL_DUE_SECONDS = 1.0
# A row whose handler failed unexpectedly.
FAILED_ROW_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Queue:
    """Rows of one kind of work.

    due: returns the rows to be handled now, newly evaluated.
    handle: handles a row. It may return for how many seconds the row is left alone if it is still due; 0.0 if it is
        to have its next turn at once.
    workspace: the field or expression with the rows' workspace, if workspaces take turns.
    customer: the expression with the customer who writes in a row, if a workspace's customers take turns.
    every: seconds between two queries for due rows; 0.0 means as often as the loop runs.
    max_rows: how many rows one query returns at most.
    max_running: how many rows one worker handles at the same time; None means as many as it has threads.
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
    """Handle a row if it is still due. Return for how many seconds it is to be left alone. Never raises."""
    try:
        row = queue.due().filter(pk=pk).first()
        if row is None:
            return 0.0
        seconds = queue.handle(row)
        if seconds is None:
            seconds = STILL_DUE_SECONDS
        return seconds if seconds and queue.due().filter(pk=pk).exists() else 0.0
    except OperationalError as error:
        log.warning("worker.database_failed", queue=queue.name, row=pk, error=type(error).__name__)
        return STILL_DUE_SECONDS
    except Exception:
        log.exception("worker.row_failed", queue=queue.name, row=pk)
        return FAILED_ROW_SECONDS


def clean_up() -> None:
    """Do the nightly work: delete old contents and sessions, count days, and reset detected capabilities."""
    clean_payloads()
    # Ended sessions of the admin. One may contain the encrypted secrets of a workspace that was never connected.
    call_command("clearsessions")
    DayCount.objects.recount()
    # A permission may have been granted or an extension installed since, so both are detected again.
    ItopInstance.objects.filter(is_administrator=False).update(is_administrator=None)
    Workspace.objects.update(has_intercom_attributes=None)


def _is_free() -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=Now())


def _tickets_to_write() -> QuerySet[Ticket]:
    due = Delivery.objects.due().order_by().values("ticket")
    is_paused = Q(itop__paused_until__gt=timezone.now())
    return Ticket.objects.filter(_is_free(), pk__in=due).exclude(is_paused)


# A ticket may have conversations of several workspaces and customers: one of them is enough to take turns.
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
    return Ticket.objects.filter(_is_free(), check_at__lte=timezone.now()).select_related("itop")


def _unknown_workspaces() -> QuerySet[Workspace]:
    return Workspace.objects.filter(enabled=True, has_intercom_attributes=None).select_related(
        "itop", "profile"
    )


def _process_notifications(_oldest: WebhookEvent) -> float:
    """Process batches for a while: each begins with what a flood must not delay."""
    ends = time.monotonic() + INTAKE_TURN_SECONDS
    while not stopping.is_set() and process_batch() and time.monotonic() < ends:
        pass
    return 0.0


def _write(ticket: Ticket) -> float | None:
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
            Ticket.objects.filter(pk=ticket.pk, check_at=ticket.check_at).update(check_at=None)


def _create(creation: TicketCreation) -> float:
    lease = take_lease(creation.conversation, 2 * BACKGROUND_DEADLINE_SECONDS)
    if lease is not None:
        with lease:
            creation.refresh_from_db()
            if creation.state == TicketCreation.State.CREATING:
                retry_creation(creation)
    return BACKGROUND_DEADLINE_SECONDS


def _reconcile(conversation: Conversation) -> None:
    """Find the messages of a conversation whose notifications were lost."""
    if claim(conversation, COMPARISON_SECONDS, due_field="reconcile_at"):
        reconcile(conversation)


def _if_itop_answers(handle: Callable[[Any], None]) -> Callable[[Model], None]:
    """Return `handle`, with a warning in place of an error that the next attempt may not meet."""

    def guarded(row: Model) -> None:
        try:
            handle(row)
        except (ItopError, SecretDecryptionError) as error:
            kind = row._meta.model_name
            log.warning("worker.row_postponed", kind=kind, row=row.pk, error=type(error).__name__)

    return guarded


QUEUES = (
    Queue(
        "process_notifications", WebhookEvent.objects.due, _process_notifications, max_rows=1, max_running=1
    ),
    Queue(
        "write_ticket", _tickets_to_write, _write, workspace=WORKSPACE_OF_TICKET, customer=CUSTOMER_OF_TICKET
    ),
    # A file takes memory and time; the messages need the other threads.
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
    # Reading a file takes CPU time that the other threads need.
    Queue(
        "import_data_model",
        lambda: DataModelImport.objects.due().select_related("itop"),
        run_import,
        every=IMPORT_SECONDS,
        max_rows=1,
        max_running=1,
    ),
    # The attributes say which links the extension left.
    Queue("detect_extension", _unknown_workspaces, _if_itop_answers(detect_extension), every=MINUTE),
    Queue(
        "push_link",
        lambda: TicketLink.objects.filter(attributes_synced=False),
        _if_itop_answers(push_link_attributes),
        every=MINUTE,
    ),
    Queue(
        "push_link_removal", LinkRemoval.objects.unsynced, _if_itop_answers(push_link_removal), every=MINUTE
    ),
    Queue(
        "apply_link_changes",
        lambda: CachedTickets.objects.with_link_changes().select_related(
            "workspace__itop", "workspace__profile"
        ),
        apply_link_changes,
        every=MINUTE,
    ),
    # Intercom limits our calls: the rest has its turn a minute later.
    Queue(
        "reconcile_conversation",
        lambda: Conversation.objects.due_for_comparing().select_related("workspace"),
        _reconcile,
        every=MINUTE,
    ),
)
