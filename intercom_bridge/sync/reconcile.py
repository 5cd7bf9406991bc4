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
ACTIVE = dt.timedelta(days=1)
# If parts may be posts of the bridge whose responses have not arrived yet.
UNSURE_SECONDS = 60.0


class ComparisonError(Exception):
    """The conversation could not be compared. Not before `until` (Unix seconds) is another attempt useful."""

    def __init__(self, code: str, detail: str = "", *, until: float = 0.0) -> None:
        super().__init__(reason_label(code, detail))
        self.code, self.detail = code, detail
        self.until = until


class ConversationDeletedError(Exception):
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
    """Return the messages that are missing in the tickets whose sync is on; `fill` schedules them, in order.

    Intercom returns the 500 newest parts. Raise ComparisonError or ConversationDeletedError.
    """
    links = TicketLink.objects.of_conversation(conversation).syncing()
    if not links.exists():
        return Comparison()
    parts = sorted(_fetch_messages(conversation), key=lambda part: (part.created_at, order_of(part.id)))
    # Found out before the transaction begins: on SQLite, it excludes all other writers.
    messages = [(part, destination(part)) for part in parts]
    with transaction.atomic():
        # Read again: the sync may have been paused during the request to Intercom.
        comparison = _compare(conversation, list(links.all()), messages, fill=fill)
        if fill:
            _save_outcome(conversation)
    for gap in comparison.gaps if fill else ():
        log.warning("reconcile.filled", ticket=gap.ticket.ref, messages=gap.messages, **conversation.names)
    return comparison


def _compare(
    conversation: Conversation,
    links: list[TicketLink],
    messages: list[tuple[Part, Destination]],
    *,
    fill: bool,
) -> Comparison:
    keys = Delivery.objects.filter(conversation=conversation, ticket__in=[link.ticket for link in links])
    known = set(keys.values_list("ticket_id", "kind", "part_id"))
    gaps, unsure = [], False
    for link in links:
        link.conversation = conversation
        count = 0
        for part, to in messages:
            if (link.ticket_id, part.kind, part.id) in known:
                continue
            code = reason_to_skip(link, part, to)
            if not code and _is_fresh(part) and may_be_our_echo(conversation, part):
                unsure = True
            elif not code:
                if not fill or deliver(link, part, to) is not None:
                    count += 1
            elif fill and code == ReasonCode.SYNC_PAUSED:
                # A teammate decides about it, as about the messages that arrived during a pause.
                deliver(link, part, to)
        if count:
            gaps.append(Gap(ticket=link.ticket, messages=count))
    return Comparison(gaps=tuple(gaps), unsure=unsure)


def _is_fresh(part: Part) -> bool:
    return part.created_at > (timezone.now() - LONGEST_WAIT_FOR_ECHO).timestamp()


def _fetch_messages(conversation: Conversation) -> Iterable[Part]:
    workspace = conversation.workspace
    if not workspace.access_token:
        raise ComparisonError(ReasonCode.NO_ACCESS_TOKEN)
    try:
        client = intercom_client(workspace)
        found = client.conversation(conversation.conversation_id, deadline=FETCH_SECONDS)
        conversation.learn_merged_away(found.merged_away_at)
        Participant.objects.note(conversation, found.contact_ids)
        return found.messages
    except (IntercomError, SecretDecryptionError) as error:
        if isinstance(error, IntercomRejectedError) and error.status == 404:
            raise ConversationDeletedError from error
        until = error.until if isinstance(error, IntercomRateLimitedError) else 0.0
        raise ComparisonError(*reason_of(error), until=until) from error


def reconcile(conversation: Conversation) -> None:
    """Schedule the missing messages of a claimed conversation, and store when it is compared next."""
    if not conversation.workspace.enabled:
        _schedule_next(conversation, _in_an_hour_if_active(conversation))
        return
    try:
        comparison = compare(conversation, fill=True)
    except ConversationDeletedError:
        log.info("reconcile.conversation_deleted", **conversation.names)
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
    now = timezone.now()
    recent = Delivery.objects.filter(conversation=conversation, created_at__gte=now - ACTIVE)
    return now + dt.timedelta(seconds=COMPARED_EVERY_SECONDS) if recent.exists() else None


def _schedule_next(conversation: Conversation, when: dt.datetime | None) -> None:
    """Store when the conversation is compared next, unless an earlier comparison was requested since the claim."""
    claimed = Conversation.objects.filter(pk=conversation.pk, reconcile_at=conversation.reconcile_at)
    claimed.update(reconcile_at=when)


def _save_outcome(
    conversation: Conversation, *, code: str = ReasonCode.NONE, detail: str = "", failures: int = 0
) -> None:
    new = (code, detail[:500], failures)
    if (conversation.reconcile_code, conversation.reconcile_detail, conversation.reconcile_failures) == new:
        return
    conversation.reconcile_code, conversation.reconcile_detail, conversation.reconcile_failures = new
    conversation.save(update_fields=["reconcile_code", "reconcile_detail", "reconcile_failures"])


def _postpone_workspace(conversation: Conversation, error: ComparisonError) -> None:
    """Postpone all comparisons of the workspace that are due earlier, because the problem is not this conversation's.

    Without an access token, only this conversation is scheduled again.
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
    log.warning("reconcile.postponed", seconds=round(seconds), code=error.code, **conversation.names)
