"""Compare conversations with Intercom and add the messages whose notifications were lost."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.db import transaction
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.client import IntercomError, IntercomRateLimitedError, IntercomRejectedError
from intercom_bridge.intercom.payloads import Part
from intercom_bridge.models import Conversation, Delivery, Participant, Ticket, TicketLink
from intercom_bridge.models.conversation import COMPARED_EVERY_SECONDS
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.models.job import reason_of
from intercom_bridge.models.reason import ReasonCode, reason_label

from .circuit_breaker import backoff_seconds
from .intake import LONGEST_WAIT_FOR_ECHO, deliver, may_be_our_echo, reason_to_skip
from .message import Destination, destination, order_of

log = structlog.get_logger(__name__)

FETCH_SECONDS = 10.0
# Longer than a fetch. If the worker crashes, another one compares the conversation after this time.
CLAIMED_SECONDS = 60.0
# A conversation with a message within this time is compared regularly.
ACTIVE = dt.timedelta(days=1)
# Some parts may be the bridge's own posts whose ids are not known yet. Then the comparison is repeated after this time.
UNSURE_SECONDS = 60.0


class ComparisonError(Exception):
    """The conversation could not be compared. A retry before `until` (Unix seconds, 0 if unknown) is useless."""

    def __init__(self, code: str, detail: str = "", *, until: float = 0.0) -> None:
        super().__init__(reason_label(code, detail))
        self.code, self.detail = code, detail
        self.until = until


class ConversationDeletedError(Exception):
    """Intercom has no such conversation any more."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A linked ticket with missing messages. `messages` is how many were missing."""

    ticket: Ticket
    messages: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison. If `unsure`, some parts may be the bridge's own posts: compare again later."""

    gaps: tuple[Gap, ...] = ()
    unsure: bool = False


def compare(conversation: Conversation, *, fill: bool) -> Comparison:
    """Compare the 500 newest parts in Intercom with the tickets whose sync is on. Return which tickets lack messages.

    With `fill`, also schedule the missing messages, in order. Raise ComparisonError or ConversationDeletedError.
    """
    links = TicketLink.objects.of_conversation(conversation).syncing()
    if not links.exists():
        return Comparison()
    parts = sorted(_fetch_messages(conversation), key=lambda part: (part.created_at, order_of(part.id)))
    # Determined before the transaction begins: on SQLite, a transaction excludes all other writers.
    messages = [(part, destination(part)) for part in parts]
    with transaction.atomic():
        # Query the links again: the sync may have been paused during the request to Intercom.
        comparison = _compare(conversation, list(links.all()), messages, fill=fill)
        if fill:
            _save_outcome(conversation)
    if fill:
        for gap in comparison.gaps:
            log.warning(
                "reconcile.filled", ticket=gap.ticket.ref, messages=gap.messages, **conversation.log_fields
            )
    return comparison


def _compare(
    conversation: Conversation,
    links: list[TicketLink],
    messages: list[tuple[Part, Destination]],
    *,
    fill: bool,
) -> Comparison:
    deliveries = Delivery.objects.filter(
        conversation=conversation, ticket__in=[link.ticket for link in links]
    )
    delivered = set(deliveries.values_list("ticket_id", "kind", "part_id"))
    gaps, unsure = [], False
    for link in links:
        link.conversation = conversation
        missing = 0
        for part, target in messages:
            if (link.ticket_id, part.kind, part.id) in delivered:
                continue
            code = reason_to_skip(link, part, target)
            if code:
                if fill and code == ReasonCode.SYNC_PAUSED:
                    # Stored as skipped, so that a teammate can have it copied after the pause.
                    deliver(link, part, target)
            elif _is_fresh(part) and may_be_our_echo(conversation, part):
                unsure = True
            # `deliver` returns None if another worker has just added the message.
            elif not fill or deliver(link, part, target) is not None:
                missing += 1
        if missing:
            gaps.append(Gap(ticket=link.ticket, messages=missing))
    return Comparison(gaps=tuple(gaps), unsure=unsure)


def _is_fresh(part: Part) -> bool:
    return part.created_at > (timezone.now() - LONGEST_WAIT_FOR_ECHO).timestamp()


def _fetch_messages(conversation: Conversation) -> Iterable[Part]:
    """Return the conversation's messages from Intercom. Also store its participants, and whether it was merged away.

    Raise ComparisonError or ConversationDeletedError.
    """
    workspace = conversation.workspace
    if not workspace.access_token:
        raise ComparisonError(ReasonCode.NO_ACCESS_TOKEN)
    try:
        client = intercom_client(workspace)
        fetched = client.conversation(conversation.conversation_id, deadline=FETCH_SECONDS)
        conversation.learn_merged_away(fetched.merged_away_at)
        Participant.objects.record(conversation, fetched.contact_ids)
        return fetched.messages
    except (IntercomError, SecretDecryptionError) as error:
        if isinstance(error, IntercomRejectedError) and error.status == 404:
            raise ConversationDeletedError from error
        until = error.until if isinstance(error, IntercomRateLimitedError) else 0.0
        raise ComparisonError(*reason_of(error), until=until) from error


def reconcile(conversation: Conversation) -> None:
    """Schedule the missing messages of a conversation, and store when it is compared next.

    A worker calls this after it has claimed the conversation.
    """
    if not conversation.workspace.enabled:
        _schedule_next(conversation, _in_an_hour_if_active(conversation))
        return
    try:
        comparison = compare(conversation, fill=True)
    except ConversationDeletedError:
        log.info("reconcile.conversation_deleted", **conversation.log_fields)
        _save_outcome(conversation, code=ReasonCode.CONVERSATION_DELETED)
        _schedule_next(conversation, None)
        return
    except ComparisonError as error:
        _postpone_workspace(conversation, error)
        return
    if comparison.unsure:
        _schedule_next(conversation, timezone.now() + dt.timedelta(seconds=UNSURE_SECONDS))
    else:
        _schedule_next(conversation, _in_an_hour_if_active(conversation))


def _in_an_hour_if_active(conversation: Conversation) -> dt.datetime | None:
    """Return the next regular comparison, None if the conversation has no recent message."""
    now = timezone.now()
    recent = Delivery.objects.filter(conversation=conversation, created_at__gte=now - ACTIVE)
    return now + dt.timedelta(seconds=COMPARED_EVERY_SECONDS) if recent.exists() else None


def _schedule_next(conversation: Conversation, when: dt.datetime | None) -> None:
    """Store when the conversation is compared next, None for never. Keep a date that was set after our claim."""
    claimed = Conversation.objects.filter(pk=conversation.pk, reconcile_at=conversation.reconcile_at)
    claimed.update(reconcile_at=when)


def _save_outcome(
    conversation: Conversation, *, code: str = ReasonCode.NONE, detail: str = "", failures: int = 0
) -> None:
    """Save the outcome of a comparison, if it differs from the last one. Without a code, it succeeded."""
    new = (code, detail[:500], failures)
    if (conversation.reconcile_code, conversation.reconcile_detail, conversation.reconcile_failures) == new:
        return
    conversation.reconcile_code, conversation.reconcile_detail, conversation.reconcile_failures = new
    conversation.save(update_fields=["reconcile_code", "reconcile_detail", "reconcile_failures"])


def _postpone_workspace(conversation: Conversation, error: ComparisonError) -> None:
    """Postpone this comparison, and all others of the workspace that are due sooner: they would fail, too.

    If the workspace has no access token, leave the others as they are, and schedule this conversation as usual.
    """
    failures = conversation.reconcile_failures + 1
    _save_outcome(conversation, code=error.code, detail=error.detail, failures=failures)
    if error.code == ReasonCode.NO_ACCESS_TOKEN:
        # A retry would not help. The next message or link schedules a comparison.
        _schedule_next(conversation, _in_an_hour_if_active(conversation))
        return
    now = timezone.now()
    seconds = max(backoff_seconds(failures), error.until - now.timestamp())
    retry_at = now + dt.timedelta(seconds=seconds)
    _schedule_next(conversation, retry_at)
    Conversation.objects.filter(workspace=conversation.workspace, reconcile_at__lt=retry_at).update(
        reconcile_at=retry_at,
        reconcile_code=conversation.reconcile_code,
        reconcile_detail=conversation.reconcile_detail,
        reconcile_failures=conversation.reconcile_failures,
    )
    log.warning("reconcile.postponed", seconds=round(seconds), code=error.code, **conversation.log_fields)
