"""Gaps: a notification can get lost, so what Intercom has of a conversation is compared with what we have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.db import transaction
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.api import IntercomError, IntercomRateLimited, IntercomRefused
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Conversation, Delivery, Participant, Ticket, TicketLink
from intercom_bridge.models.conversation import COMPARED_EVERY_SECONDS
from intercom_bridge.models.encryption import SecretUnreadable
from intercom_bridge.reasons import GONE, NO_TOKEN

from .instance import pause_after
from .intake import LONGEST_WAIT_FOR_ECHO, deliver, is_left_out_by_pause, is_wanted, may_be_our_echo
from .message import order_of

log = structlog.get_logger(__name__)

FETCH_SECONDS = 10.0
# Long enough for a fetch; should we die meanwhile, it is somebody else's turn then.
CLAIMED_SECONDS = 60.0
ACTIVE = dt.timedelta(days=1)
# When parts may be our own posts, and the answers to those are still on their way.
UNSURE_SECONDS = 60.0


class CannotCompare(Exception):
    """Intercom could not be asked, or did not answer. The text says why, `until` (Unix seconds) how long at least."""

    def __init__(self, reason: str, until: float = 0.0) -> None:
        super().__init__(reason)
        self.until = until


class ConversationGone(Exception):
    """Intercom has no such conversation any more."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How many messages a linked ticket lacks, or lacked."""

    ticket: Ticket
    messages: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`unsure`: some parts may be our own posts, which the next comparison will know."""

    gaps: tuple[Gap, ...] = ()
    unsure: bool = False


def compare(conversation: Conversation, *, fill: bool) -> Comparison:
    """What the tickets whose sync is on lack of the conversation; `fill` makes it waiting deliveries, in order.

    Intercom hands over the 500 newest parts. Raises CannotCompare, ConversationGone.
    """
    links = TicketLink.objects.of_conversation(conversation).syncing()
    if not links.exists():
        return Comparison()
    messages = sorted(_fetch(conversation), key=lambda part: (part.created_at, order_of(part.id)))
    with transaction.atomic():
        # Asked again: the sync may have been paused while Intercom was answering.
        comparison = _compare(conversation, list(links.all()), messages, fill=fill)
        if fill:
            _note(conversation, trouble="", failures=0)
    for gap in comparison.gaps if fill else ():
        log.warning("reconcile.filled", ticket=gap.ticket.ref, messages=gap.messages, **conversation.names)
    return comparison


def _compare(
    conversation: Conversation, links: list[TicketLink], messages: list[Part], *, fill: bool
) -> Comparison:
    keys = Delivery.objects.filter(conversation=conversation, ticket__in=[link.ticket for link in links])
    known = set(keys.values_list("ticket_id", "kind", "part_id"))
    gaps, unsure = [], False
    for link in links:
        link.conversation = conversation
        missing = [
            part
            for part in messages
            if (link.ticket_id, part.kind, part.id) not in known and is_wanted(link, part)
        ]
        sure = [part for part in missing if not (_is_fresh(part) and may_be_our_echo(conversation, part))]
        unsure = unsure or len(sure) < len(missing)
        if fill:
            sure = [part for part in sure if deliver(link, part) is not None]
            for part in messages:
                # Found late, it is offered as what a pause left out is: nobody has decided about it.
                if is_left_out_by_pause(link, part):
                    deliver(link, part)
        if sure:
            gaps.append(Gap(ticket=link.ticket, messages=len(sure)))
    return Comparison(gaps=tuple(gaps), unsure=unsure)


def _is_fresh(part: Part) -> bool:
    return part.created_at > (timezone.now() - LONGEST_WAIT_FOR_ECHO).timestamp()


def _fetch(conversation: Conversation) -> Iterable[Part]:
    workspace = conversation.workspace
    if not workspace.access_token:
        raise CannotCompare(NO_TOKEN)
    try:
        client = intercom_client(workspace)
        found = client.conversation(conversation.conversation_id, deadline=FETCH_SECONDS)
        conversation.learn_merged_away(found.merged_away_at)
        Participant.objects.note(conversation, found.contact_ids)
        return found.messages
    except IntercomRefused as refusal:
        if refusal.status == 404:
            raise ConversationGone(GONE) from refusal
        raise CannotCompare(str(refusal)) from refusal
    except IntercomRateLimited as limit:
        raise CannotCompare(str(limit), until=limit.until) from limit
    except (IntercomError, SecretUnreadable) as trouble:
        raise CannotCompare(str(trouble)) from trouble


# The worker's


def reconcile(conversation: Conversation) -> set[int]:
    """Fills the gaps of a conversation that the caller has claimed, and says when it is compared next.

    Answers the ids of the tickets that have something to be written.
    """
    if not conversation.workspace.enabled:
        _next(conversation, _in_an_hour_if_active(conversation))
        return set()
    try:
        comparison = compare(conversation, fill=True)
    except ConversationGone:
        log.info("reconcile.gone", **conversation.names)
        _note(conversation, trouble=GONE, failures=0)
        _next(conversation, None)
        return set()
    except CannotCompare as trouble:
        _try_later(conversation, trouble)
        return set()
    if comparison.unsure:
        _next(conversation, timezone.now() + dt.timedelta(seconds=UNSURE_SECONDS))
    else:
        _next(conversation, _in_an_hour_if_active(conversation))
    return {gap.ticket.pk for gap in comparison.gaps}


def _in_an_hour_if_active(conversation: Conversation) -> dt.datetime | None:
    now = timezone.now()
    recent = Delivery.objects.filter(conversation=conversation, created_at__gte=now - ACTIVE)
    return now + dt.timedelta(seconds=COMPARED_EVERY_SECONDS) if recent.exists() else None


def _next(conversation: Conversation, when: dt.datetime | None) -> None:
    """Unless somebody has asked for it meanwhile: then it stays due."""
    claimed = Conversation.objects.filter(pk=conversation.pk, reconcile_at=conversation.reconcile_at)
    claimed.update(reconcile_at=when)


def _note(conversation: Conversation, *, trouble: str, failures: int) -> None:
    if (conversation.reconcile_trouble, conversation.reconcile_failures) == (trouble, failures):
        return
    conversation.reconcile_trouble, conversation.reconcile_failures = trouble[:500], failures
    conversation.save(update_fields=["reconcile_trouble", "reconcile_failures"])


def _try_later(conversation: Conversation, trouble: CannotCompare) -> None:
    """It is the workspace's trouble, not this conversation's: the others wait with it, and do not each find out."""
    _note(conversation, trouble=str(trouble), failures=conversation.reconcile_failures + 1)
    if str(trouble) == NO_TOKEN:
        # Nothing that time will mend: the next message, or the next link, looks again.
        _next(conversation, _in_an_hour_if_active(conversation))
        return
    now = timezone.now()
    seconds = max(pause_after(conversation.reconcile_failures), trouble.until - now.timestamp())
    then = now + dt.timedelta(seconds=seconds)
    _next(conversation, then)
    Conversation.objects.filter(workspace=conversation.workspace, reconcile_at__lt=then).update(
        reconcile_at=then,
        reconcile_trouble=conversation.reconcile_trouble,
        reconcile_failures=conversation.reconcile_failures,
    )
    log.warning("reconcile.later", seconds=round(seconds), said=str(trouble)[:200], **conversation.names)
