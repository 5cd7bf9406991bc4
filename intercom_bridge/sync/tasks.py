"""The engine: Huey runs these. Rows are the truth; a task only wakes somebody up, and may be lost."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import structlog
from django.conf import settings
from django.utils import timezone
from huey import Huey, MemoryHuey, RedisHuey, SqliteHuey, crontab
from huey.api import Task

from intercom_bridge.models import (
    Conversation,
    DayCount,
    Delivery,
    ItopInstance,
    Notification,
    Posting,
    Submission,
    Ticket,
    TicketLink,
    Unlinking,
    Workspace,
)
from intercom_bridge.models.claim import claim
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.models.lease import take_lease
from itop_client import ItopError

from .creator import BACKGROUND_DEADLINE_SECONDS, finish
from .extension import bring_in_step, learn, tell_of_unlinking
from .intake import take_in_batch
from .mentions import note_mentions
from .poster import post
from .readback import check_log
from .reconcile import CLAIMED_SECONDS as COMPARING_SECONDS
from .reconcile import reconcile
from .retention import clean_payloads
from .writer import lease_seconds, write_due

log = structlog.get_logger(__name__)

# A wait that is longer is left to the sweep, which comes every minute.
SCHEDULED_SECONDS = 60.0
CLAIMED_SECONDS = 60.0
# Of the conversations that are due; the others' turn is a minute later. Intercom counts our calls.
COMPARED_AT_ONCE = 500
READ_BACK_LATER = dt.timedelta(minutes=5)


class ForgetfulRedisHuey(RedisHuey):
    """A wake-up that cannot be left is lost. Who gives it goes on; the sweep finds the work by the rows."""

    def enqueue(self, task: Task) -> Any:
        try:
            return super().enqueue(task)
        except Exception as error:  # noqa: BLE001 - whatever the queue's library raises
            log.warning("wake_up.lost", task=task.name, error=type(error).__name__)
            return None


def _engine() -> Huey:
    name = "intercom_bridge"
    if settings.REDIS_URL:
        from redis import ConnectionPool

        try:
            # A Redis that is away must be noticed at once, not waited for.
            pool = ConnectionPool.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=5)
        except ValueError:
            # Named by `manage.py check` (E008), without which the worker does not start.
            return MemoryHuey(name, results=False)
        return ForgetfulRedisHuey(name, connection_pool=pool, results=False)
    if settings.HUEY_FILE is None:
        return MemoryHuey(name, results=False)
    return SqliteHuey(name, filename=str(settings.HUEY_FILE), results=False)


huey = _engine()


@huey.task()  # type: ignore[untyped-decorator]
def take_in() -> None:
    """Something came in: make its deliveries, have them written."""
    while (tickets := take_in_batch()) is not None:
        for ticket_id in tickets:
            write_ticket(ticket_id)


@huey.task()  # type: ignore[untyped-decorator]
def write_ticket(ticket_id: int) -> None:
    ticket = Ticket.objects.select_related("itop").get(pk=ticket_id)
    is_checked = ticket.check_at is None
    ended = write_due(ticket)
    if ended.again_in is not None and ended.again_in <= SCHEDULED_SECONDS:
        # All that waits for this iTop, not this ticket only: it may have been paused.
        write_waiting.schedule((ticket.itop_id,), delay=ended.again_in)
    if ended.own_turn_in is not None and 0 < ended.own_turn_in <= SCHEDULED_SECONDS:
        write_ticket.schedule((ticket_id,), delay=ended.own_turn_in)
    for other in ended.others:
        write_ticket(other)
    if ended.itop_works_again:
        write_waiting(ticket.itop_id)
    if is_checked and ticket.check_at is not None:
        read_back.schedule((ticket_id,), delay=settings.CHECK_AFTER_SECONDS + 1)


@huey.task()  # type: ignore[untyped-decorator]
def write_waiting(itop_id: int) -> None:
    """Every ticket of an iTop that something is due for."""
    due = Delivery.objects.due().filter(ticket__itop=itop_id).order_by()
    for ticket_id in list(due.values_list("ticket_id", flat=True).distinct()):
        write_ticket(ticket_id)


@huey.task()  # type: ignore[untyped-decorator]
def read_back(ticket_id: int) -> None:
    """Sees that what was written to a ticket still stands in its logs."""
    ticket = Ticket.objects.select_related("itop").get(pk=ticket_id)
    if ticket.check_at is None or ticket.check_at > timezone.now():
        return
    lease = take_lease(ticket, lease_seconds())
    if lease is None:
        return
    with lease:
        try:
            check_log(ticket)
        except (ItopError, SecretUnreadable) as error:
            log.warning("readback.later", ticket=ticket.ref, error=type(error).__name__)
            Ticket.objects.filter(pk=ticket_id).update(check_at=timezone.now() + READ_BACK_LATER)
        else:
            Ticket.objects.filter(pk=ticket_id, check_at=ticket.check_at).update(check_at=None)
    # What it found erased; and what came while it held the ticket, and found it taken.
    write_ticket(ticket_id)


@huey.task()  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Finds all work that is due, whoever forgot it."""
    take_in()
    waiting = Delivery.objects.due().order_by().values_list("ticket_id", flat=True).distinct()
    for ticket_id in list(waiting):
        write_ticket(ticket_id)
    for ticket_id in list(Ticket.objects.filter(check_at__lte=timezone.now()).values_list("pk", flat=True)):
        read_back(ticket_id)
    for posting_id in list(Posting.objects.due().values_list("pk", flat=True)):
        say(posting_id)
    for submission_id in list(Submission.objects.due().values_list("pk", flat=True)):
        finish_creating(submission_id)
    for itop_id in list(
        ItopInstance.objects.filter(has_intercom_attributes=None).values_list("pk", flat=True)
    ):
        get_to_know(itop_id)
    for link_id in list(TicketLink.objects.filter(in_step=False).values_list("pk", flat=True)):
        keep_in_step(link_id)
    for unlinking_id in list(Unlinking.objects.to_be_told().values_list("pk", flat=True)):
        keep_unlinking_in_step(unlinking_id)
    due = Conversation.objects.due_for_comparing().values_list("pk", flat=True)
    for conversation_pk in list(due[:COMPARED_AT_ONCE]):
        compare_with_intercom(conversation_pk)


@huey.periodic_task(crontab(minute="*"))  # type: ignore[untyped-decorator]
def sweep_every_minute() -> None:
    sweep()


@huey.periodic_task(crontab(hour="3", minute="17"))  # type: ignore[untyped-decorator]
def clean_up_every_day() -> None:
    clean_payloads()
    note_mentions()
    DayCount.objects.recount()
    # A right may have been given, an extension installed: what an iTop could not do is tried again.
    ItopInstance.objects.filter(is_administrator=False).update(is_administrator=None)
    ItopInstance.objects.filter(has_intercom_attributes=False).update(has_intercom_attributes=None)


@huey.task()  # type: ignore[untyped-decorator]
def say(posting_id: int) -> None:
    posting = Posting.objects.due().filter(pk=posting_id).first()
    if posting is None or not claim(posting, CLAIMED_SECONDS):
        return
    post(posting)
    if posting.state == Posting.State.POSTED:
        # Messages that waited to know whether they are this post.
        conversation = posting.conversation
        Notification.objects.look_now(conversation.workspace, conversation.conversation_id)
        take_in()


@huey.task()  # type: ignore[untyped-decorator]
def compare_with_intercom(conversation_pk: int) -> None:
    """Finds the messages of a conversation whose notifications were lost, and has them written."""
    due = Conversation.objects.due_for_comparing().select_related("workspace").filter(pk=conversation_pk)
    conversation = due.first()
    if conversation is None or not claim(conversation, COMPARING_SECONDS, due="reconcile_at"):
        return
    for ticket_id in reconcile(conversation):
        write_ticket(ticket_id)


@huey.task()  # type: ignore[untyped-decorator]
def finish_creating(submission_id: int) -> None:
    submission = Submission.objects.due().filter(pk=submission_id).first()
    if submission is None:
        return
    lease = take_lease(submission.conversation, 2 * BACKGROUND_DEADLINE_SECONDS)
    if lease is None:
        return
    with lease:
        submission.refresh_from_db()
        if submission.state == Submission.State.CREATING:
            finish(submission)
    if submission.state == Submission.State.CREATED:
        sweep()
    elif submission.state == Submission.State.CREATING:
        finish_creating.schedule((submission_id,), delay=BACKGROUND_DEADLINE_SECONDS)


@huey.task()  # type: ignore[untyped-decorator]
def get_to_know(itop_id: int) -> None:
    """Before anybody has linked anything: links that the PHP extension left can only be found once we know."""
    workspace = Workspace.objects.filter(itop=itop_id, enabled=True).select_related("itop", "profile").first()
    if workspace is None:
        return
    try:
        learn(workspace)
    except (ItopError, SecretUnreadable) as error:
        log.warning("itop.not_known_yet", itop=itop_id, error=type(error).__name__)


@huey.task()  # type: ignore[untyped-decorator]
def keep_in_step(link_id: int) -> None:
    link = TicketLink.objects.filter(pk=link_id, in_step=False).first()
    if link is None:
        return
    try:
        bring_in_step(link)
    except (ItopError, SecretUnreadable) as error:
        log.warning("link.not_in_step", link=link_id, error=type(error).__name__)


@huey.task()  # type: ignore[untyped-decorator]
def keep_unlinking_in_step(unlinking_id: int) -> None:
    unlinking = Unlinking.objects.to_be_told().filter(pk=unlinking_id).first()
    if unlinking is None:
        return
    try:
        tell_of_unlinking(unlinking)
    except (ItopError, SecretUnreadable) as error:
        log.warning("unlinking.not_in_step", unlinking=unlinking_id, error=type(error).__name__)


class _Waker:
    """Puts a task into the queue without the caller waiting for it: a failed wake-up never delays an answer.

    Many calls in a row become one task. What is lost here is found by the sweep.
    """

    def __init__(self, name: str, task: Any) -> None:
        self._name = name
        self._task = task
        self._called = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        self._called.set()
        with self._lock:
            # Started here and not at import: web servers fork, and threads do not survive that.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._called.wait()
            self._called.clear()
            try:
                self._task()
            except Exception as error:  # noqa: BLE001
                log.warning("wake_up.lost", error=type(error).__name__)


wake_for_intake = _Waker("wake for intake", take_in)
wake_for_everything = _Waker("wake for everything", sweep)
