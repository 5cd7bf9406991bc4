"""From notifications to deliveries: which message goes to which tickets, and why another one does not."""

from __future__ import annotations

import json
from dataclasses import replace

import structlog
from django.db import transaction
from django.utils import timezone

from intercom_bridge.intercom.payloads import Event, Part, PayloadError
from intercom_bridge.models import Conversation, Delivery, Notification, Posting, Ticket, TicketLink
from intercom_bridge.models.claim import claim
from intercom_bridge.models.notification import NOT_LINKED

from .message import destination, keep, order_of

log = structlog.get_logger(__name__)

FOLLOWED_TOPICS = ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted")
Verdict = Notification.Verdict

# A notification that somebody has taken up is left alone for so long, then it is somebody else's turn.
CLAIMED_SECONDS = 60.0
# How long a message waits for the answer to a post of ours that it may be.
ECHO_SECONDS = 5.0
BATCH = 100


def take_in_due() -> set[int]:
    """Handles every notification that is due; answers the ids of the tickets that have something to be written."""
    tickets: set[int] = set()
    while True:
        due = list(Notification.objects.due().select_related("workspace")[:BATCH])
        if not due:
            return tickets
        for notification in due:
            if claim(notification, CLAIMED_SECONDS):
                tickets |= _handle_safely(notification)


def take_in_for(ticket: Ticket) -> None:
    """Handles what came in for this ticket before its next message is chosen.

    Notifications are taken in by many threads at once; without this a later message could be written while an
    earlier one, committed before it, is still being looked at. Handling one twice makes nothing twice.
    """
    for notification in Notification.objects.unread_of(ticket).select_related("workspace"):
        _handle_safely(notification)


def _handle_safely(notification: Notification) -> set[int]:
    """One notification that breaks us is set aside, loudly, and stops no other."""
    try:
        return take_in(notification)
    except Exception as error:
        log.exception("intake.broke", notification=notification.pk, topic=notification.topic)
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
        return _skip(notification, NOT_LINKED)
    if not event.conversation.parts:
        return _skip(notification, "there is no message in it")
    if any(_may_be_our_echo(conversation, part) for part in event.conversation.parts):
        notification.postpone(ECHO_SECONDS, "waits to know whether this is our own post")
        return set()
    with transaction.atomic():
        made = [
            delivery
            for part in event.conversation.parts
            for link in links
            if (delivery := deliver(link, part, notification)) is not None
        ]
        waiting = {delivery.ticket_id for delivery in made if delivery.state == Delivery.State.WAITING}
        notification.settle(*_verdict(made))
    return waiting


def deliver(link: TicketLink, part: Part, notification: Notification | None = None) -> Delivery | None:
    """The delivery of this part to this ticket, or None when it was known before: by webhook, or by the transcript."""
    # A part whose date cannot be read was written about now.
    part = part if part.created_at else replace(part, created_at=int(timezone.now().timestamp()))
    log_name, reason = _where(link, part)
    delivery, is_new = Delivery.objects.get_or_create(
        ticket=link.ticket,
        conversation=link.conversation,
        kind=part.kind,
        part_id=part.id,
        defaults={
            "notification": notification,
            "part_order": order_of(part.id),
            "part_created_at": part.created_at,
            "author": (part.author.name or part.author.email)[:200],
            "log": log_name,
            "part": keep(part) if log_name else {},
            "state": Delivery.State.WAITING if log_name else Delivery.State.SKIPPED,
            "reason": reason,
        },
    )
    return delivery if is_new else None


def _where(link: TicketLink, part: Part) -> tuple[str, str]:
    if _is_our_echo(link.conversation, part):
        return "", "our own post"
    if (part.created_at, order_of(part.id)) <= (link.since_part_at, link.since_part_order):
        return "", "written before the ticket was linked"
    log_name, reason = destination(part)
    if log_name and not link.sync_on:
        return "", "the sync is paused"
    return log_name, reason


def _is_our_echo(conversation: Conversation, part: Part) -> bool:
    """Known by the part id that Intercom answered, or by our app's package code: never by the author."""
    code = conversation.workspace.app_package_code
    if code and part.app_package_code == code:
        return True
    return Posting.objects.filter(conversation=conversation, part_id=part.id).exists()


def _may_be_our_echo(conversation: Conversation, part: Part) -> bool:
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
