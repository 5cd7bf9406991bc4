"""From notifications to deliveries: which message goes to which tickets, and why another one does not."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, ProgrammingError, transaction
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from intercom_bridge.intercom.payloads import Event, Part, PayloadError
from intercom_bridge.models import Conversation, Delivery, Notification, Posting, TicketLink
from intercom_bridge.models.claim import claim
from intercom_bridge.models.conversation import COMPARED_EVERY_SECONDS
from intercom_bridge.models.delivery import PAUSED
from intercom_bridge.models.notification import NOT_LINKED, NotificationQuerySet

from .message import destination, keep, order_of

log = structlog.get_logger(__name__)

FOLLOWED_TOPICS = ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted")
Verdict = Notification.Verdict

# A notification that somebody has taken up is left alone for so long, then it is somebody else's turn.
CLAIMED_SECONDS = 60.0
# How long a message waits for the answer to a post of ours that it may be.
ECHO_SECONDS = 5.0
LONGEST_WAIT_FOR_ECHO = dt.timedelta(minutes=1)
BATCH = 100


def take_in_batch() -> set[int] | None:
    """Handles the oldest notifications that are due; None when none is.

    Answers the ids of the tickets that have something to be written: their writers need not wait for a long row of
    notifications to be handled whole.
    """
    due = list(Notification.objects.due().select_related("workspace")[:BATCH])
    if not due:
        return None
    tickets: set[int] = set()
    for notification in due:
        if claim(notification, CLAIMED_SECONDS):
            tickets |= _handle_safely(notification) or set()
    return tickets


def take_in_all(unread: NotificationQuerySet, tickets: set[int]) -> bool:
    """Handles what came in for a ticket before its next message is chosen; False when the database was in trouble.

    Adds to `tickets` the ids of all that have something to be written by it: nobody else wakes their writers.

    Notifications are taken in by many threads at once; without this a later message could be written while an
    earlier one, committed before it, is still being looked at. Handling one twice makes nothing twice.
    """
    handled = [_handle_safely(notification) for notification in unread]
    tickets.update(*(made for made in handled if made))
    return None not in handled


def _handle_safely(notification: Notification) -> set[int] | None:
    """One notification that breaks us is set aside, loudly, and stops no other; None: it is still to be handled."""
    workspace = notification.workspace.workspace_id
    try:
        with bound_contextvars(workspace=workspace, conversation=notification.conversation_id):
            return take_in(notification)
    except (InterfaceError, OperationalError, ProgrammingError) as error:
        # The database's trouble, not the message's: it stays as it is and is due again when its claim is over.
        log.warning(
            "intake.later", workspace=workspace, notification=notification.pk, error=type(error).__name__
        )
        return None
    except Exception as error:
        log.exception(
            "intake.broke", workspace=workspace, notification=notification.pk, topic=notification.topic
        )
        notification.settle(Verdict.FAILED, f"could not be handled: {type(error).__name__}")
        return set()


def take_in(notification: Notification) -> set[int]:
    """Makes the deliveries of one notification and settles its verdict, in one transaction."""
    if notification.topic == "ping":
        notification.settle(Verdict.HANDLED, "Intercom tested the address")
        return set()
    if not notification.workspace.enabled:
        return _skip(notification, "the workspace is turned off")
    if notification.topic not in FOLLOWED_TOPICS:
        return _skip(notification, f"the topic {notification.topic} is not followed")
    try:
        event = Event.parse(json.loads(bytes(notification.body)))
    except (PayloadError, ValueError, RecursionError) as error:
        return _skip(notification, f"cannot be read: {error}")
    if event.conversation is None:
        return _skip(notification, "there is no conversation in it")
    conversation = Conversation.objects.filter(
        workspace=notification.workspace, conversation_id=event.conversation.id
    ).first()
    links = list(TicketLink.objects.of_conversation(conversation)) if conversation else []
    if conversation is None or not links:
        _skip(notification, NOT_LINKED)
        # A link that was made since we looked has not seen this one as skipped.
        linked_now = TicketLink.objects.filter(
            conversation__workspace=notification.workspace,
            conversation__conversation_id=event.conversation.id,
        )
        if linked_now.exists():
            Notification.objects.look_again(
                notification.workspace, event.conversation.id, notification.received_at
            )
        return set()
    if not event.conversation.parts:
        return _skip(notification, "there is no message in it")
    is_fresh = notification.received_at > timezone.now() - LONGEST_WAIT_FOR_ECHO
    if is_fresh and any(may_be_our_echo(conversation, part) for part in event.conversation.parts):
        notification.postpone(ECHO_SECONDS, "waits to know whether this is our own post")
        return set()
    with transaction.atomic():
        # Again, and locked: what is unlinked or paused just now gets nothing more.
        links = list(TicketLink.objects.of_conversation(conversation).select_for_update(of=("self",)))
        if not links:
            return _skip(notification, NOT_LINKED)
        made = [
            delivery
            for part in event.conversation.parts
            for link in links
            if (delivery := deliver(link, part, notification)) is not None
        ]
        waiting = {delivery.ticket_id for delivery in made if delivery.state == Delivery.State.WAITING}
        # The next notification may be one that gets lost.
        Conversation.objects.filter(pk=conversation.pk).compare_within(COMPARED_EVERY_SECONDS)
        if not notification.settle(*_verdict(made)) and notification.is_cleaned():
            # Erased since it was read: what was made of it goes as well.
            transaction.set_rollback(True)
            return set()
    return waiting


def deliver_since(link: TicketLink, since: dt.datetime) -> None:
    """What came in since then and was taken in for other tickets of the conversation, for this new one."""
    conversation = link.conversation
    handled = Notification.objects.filter(
        workspace=conversation.workspace,
        conversation_id=conversation.conversation_id,
        verdict=Verdict.HANDLED,
        received_at__gte=since,
        cleaned_at=None,
    )
    for notification in handled.order_by("pk"):
        event = Event.parse(json.loads(bytes(notification.body)))
        for part in event.conversation.parts if event.conversation else ():
            deliver(link, part, notification)


def deliver(link: TicketLink, part: Part, notification: Notification | None = None) -> Delivery | None:
    """The delivery of this part to this ticket, or None when it was known before: by webhook, or by the transcript."""
    delivery, is_new = Delivery.objects.get_or_create(
        ticket=link.ticket,
        conversation=link.conversation,
        kind=part.kind,
        part_id=part.id,
        defaults={"notification": notification, **_draft(link, part, is_late=notification is None)},
    )
    return delivery if is_new else None


def deliver_together(link: TicketLink, parts: Iterable[Part]) -> None:
    """As `deliver`, for so many that a query for each would take too long."""
    Delivery.objects.bulk_create(
        [
            Delivery(
                ticket=link.ticket,
                conversation=link.conversation,
                kind=part.kind,
                part_id=part.id,
                **_draft(link, part),
            )
            for part in parts
        ],
        ignore_conflicts=True,
    )


def is_wanted(link: TicketLink, part: Part) -> bool:
    """Whether the delivery of a part that nobody told us of would be written, and not left out."""
    return not _where(link, part, is_late=True)[1]


def is_left_out_by_pause(link: TicketLink, part: Part) -> bool:
    """Whether it would wait for somebody to decide: it was written while the sync was paused."""
    return _where(link, part, is_late=True)[1] == PAUSED


def _draft(link: TicketLink, part: Part, *, is_late: bool = False) -> dict[str, Any]:
    """What a new delivery says, apart from its key."""
    # A part whose date cannot be read was written about now.
    part = part if part.created_at else replace(part, created_at=int(timezone.now().timestamp()))
    log_name, reason = _where(link, part, is_late=is_late)
    return {
        "part_order": order_of(part.id),
        "part_created_at": part.created_at,
        "author": (part.author.name or part.author.email)[:200],
        "log": log_name,
        "part": keep(part) if log_name else {},
        "state": Delivery.State.SKIPPED if reason else Delivery.State.WAITING,
        "reason": reason,
    }


def _where(link: TicketLink, part: Part, *, is_late: bool) -> tuple[str, str]:
    """The log that the part goes to, and why it is not written there. What a pause leaves out may be wanted later.

    What a notification brings is left out if the sync is paused when it comes; what is found late, if it was when the
    part was written.
    """
    since = (link.since_part_at, link.since_part_order)
    if part.created_at and (part.created_at, order_of(part.id)) <= since:
        return "", "written before the ticket was linked"
    if _is_our_echo(link.conversation, part):
        return "", "our own post"
    log_name, reason = destination(part)
    if log_name and not reason and (not link.sync_on or (is_late and link.was_paused_at(part.created_at))):
        return log_name, PAUSED
    return log_name, reason


def _is_our_echo(conversation: Conversation, part: Part) -> bool:
    """Known by the part id that Intercom answered, or by our app's package code: never by the author."""
    code = conversation.workspace.app_package_code
    if code and part.app_package_code == code:
        return True
    return Posting.objects.filter(conversation=conversation, part_id=part.id).exists()


def may_be_our_echo(conversation: Conversation, part: Part) -> bool:
    """Some app posted it, we do not know our own code yet, and a post of ours is still under way."""
    return (
        bool(part.app_package_code)
        and not conversation.workspace.app_package_code
        and Posting.objects.unfinished().filter(conversation=conversation).exists()
    )


def _skip(notification: Notification, reason: str) -> set[int]:
    notification.settle(Verdict.SKIPPED, reason)
    return set()


def _verdict(made: list[Delivery]) -> tuple[str, str]:
    if not made:
        return Verdict.SKIPPED, "known already: every message in it has its delivery"
    left_out = sorted({delivery.reason for delivery in made if delivery.state == Delivery.State.SKIPPED})
    if len(left_out) == len({delivery.reason for delivery in made}):
        return Verdict.SKIPPED, "; ".join(left_out)
    return Verdict.HANDLED, "; ".join(left_out)
