"""Turn webhook events into deliveries: decide which message goes to which tickets, and why others are skipped."""

import datetime as dt
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, ProgrammingError, transaction
from django.db.models import Count, Min, Q
from django.utils import timezone, translation
from structlog.contextvars import bound_contextvars

from intercom_bridge.files.parts import add_rows
from intercom_bridge.intercom.html import comparable
from intercom_bridge.intercom.payloads import Conversation as PayloadConversation
from intercom_bridge.intercom.payloads import (
    Event,
    Part,
    PayloadError,
    conversation_ids_of_ticket,
    merged_contact_ids,
)
from intercom_bridge.models import (
    Conversation,
    Delivery,
    FileToItop,
    OutgoingMessage,
    Participant,
    PersonMatch,
    TicketCreation,
    TicketLink,
    WebhookEvent,
)
from intercom_bridge.models.conversation import COMPARED_EVERY_SECONDS
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.models.webhook_event import WebhookEventQuerySet

from .message import Destination, destination, order_of, part_to_json, redaction_of

log = structlog.get_logger(__name__)

# Teammates also write while they close, open, assign or snooze a conversation.
FOLLOWED_TOPICS = (
    "conversation.user.replied",
    "conversation.admin.replied",
    "conversation.admin.noted",
    "conversation.admin.closed",
    "conversation.admin.opened",
    "conversation.admin.assigned",
    "conversation.admin.open.assigned",
    "conversation.admin.snoozed",
    "conversation.admin.unsnoozed",
    "conversation_part.redacted",
    "contact.merged",
)
# In a conversation that is also a ticket of Intercom's, messages come with these. Their items contain no conversation:
# it is compared with Intercom.
TICKET_TOPICS = ("ticket.admin.replied", "ticket.contact.replied", "ticket.note.created")
State = WebhookEvent.State

# After this time, another worker may process an event that this one has claimed.
CLAIMED_SECONDS = 60.0
# How long a message waits for Intercom's response to a post of the bridge that it may be.
ECHO_SECONDS = 5.0
LONGEST_WAIT_FOR_ECHO = dt.timedelta(minutes=1)
BATCH = 10


def process_batch() -> int:
    """Process a batch of events that are due, and return how many there were."""
    chosen = _due_in_turn()
    # Claimed together: on SQLite, each statement that writes waits for all other writers.
    until = timezone.now() + dt.timedelta(seconds=random.uniform(CLAIMED_SECONDS, CLAIMED_SECONDS + 1))  # noqa: S311
    if not WebhookEvent.objects.due().filter(pk__in=chosen).update(due_at=until):
        return len(chosen)
    # The time tells this claim from another worker's.
    claimed = WebhookEvent.objects.filter(due_at=until).select_related("workspace").in_bulk(chosen)
    for key in chosen:
        if key in claimed:
            _process_safely(claimed[key])
    return len(chosen)


def _due_in_turn() -> list[int]:
    """Return the keys of a batch of due events: the oldest, then the first of each conversation, then others.

    The workspaces take turns, and in each of them a conversation with fewer events comes first, so that a flood delays
    no other conversation. The oldest event of all comes first, so that every event is processed at some time.
    """
    due = WebhookEvent.objects.due()
    firsts = (
        due.order_by().values("workspace", "conversation_id").annotate(first=Min("pk"), count=Count("pk"))
    )
    by_workspace: dict[Any, list[int]] = {}
    for row in firsts.order_by("count", "first"):
        by_workspace.setdefault(row["workspace"], []).append(row["first"])
    in_turn = [key for keys in zip_longest(*by_workspace.values()) for key in keys if key is not None]
    oldest = list(due.values_list("pk", flat=True)[:BATCH])
    return list(dict.fromkeys([*oldest[:1], *in_turn, *oldest]))[:BATCH]


def process_unprocessed(events: WebhookEventQuerySet, limit: int | None = None) -> bool:
    """Process the events of a ticket before its next message is chosen.

    Return False if some are left: all if there are more than `limit`, or some because the database failed.

    Several workers process events at the same time. Without this, a later message could be written while an earlier
    one, committed before it, is still being processed. Processing an event twice creates nothing twice.
    """
    if limit is not None:
        events = events[: limit + 1]
        if len(events) > limit:
            return False
    processed = [_process_safely(event) for event in events]
    return all(processed)


def _process_safely(event: WebhookEvent) -> bool:
    """Fail an event that raises an unexpected error; return False if the event still has to be processed."""
    workspace = event.workspace.workspace_id
    try:
        with bound_contextvars(workspace=workspace, conversation=event.conversation_id):
            process_event(event)
    except (InterfaceError, OperationalError, ProgrammingError) as error:
        # The database failed, so the event is unchanged and due again when its claim expires.
        log.warning(
            "intake.postponed", workspace=workspace, notification=event.pk, error=type(error).__name__
        )
        return False
    except Exception as error:
        log.exception("intake.failed", workspace=workspace, notification=event.pk, topic=event.topic)
        event.settle(State.FAILED, ReasonCode.INTERNAL_ERROR, type(error).__name__)
    return True


@dataclass(frozen=True)
class Skip:
    """Why an event has no message for any ticket."""

    code: str
    detail: str = ""


def classify(event: WebhookEvent) -> PayloadConversation | Skip:
    """Return the conversation that the event reports, or why it is skipped. Read only the event itself."""
    if event.topic == "ping":
        return Skip(ReasonCode.PING)
    if not event.workspace.enabled:
        return Skip(ReasonCode.WORKSPACE_DISABLED)
    if event.topic not in FOLLOWED_TOPICS:
        return Skip(ReasonCode.TOPIC_IGNORED, event.topic)
    try:
        payload = Event.parse(json.loads(bytes(event.body)))
    except (PayloadError, ValueError, RecursionError) as error:
        return Skip(ReasonCode.UNREADABLE, str(error))
    return payload.conversation or Skip(ReasonCode.NO_CONVERSATION)


def process_event(event: WebhookEvent) -> None:
    """Create the deliveries of an event and finish it, or postpone it."""
    if event.topic in TICKET_TOPICS and event.workspace.enabled:
        _compare_soon(event)
        return
    if event.topic == "contact.merged" and event.workspace.enabled:
        _follow_contact_merge(event)
        return
    reported = classify(event)
    if isinstance(reported, Skip):
        _skip(event, reported)
        return
    linked = Conversation.objects.filter(workspace=event.workspace, conversation_id=reported.id)
    conversation = linked.filter(links__isnull=False).first()
    if conversation is None:
        _skip(event, Skip(ReasonCode.NOT_LINKED))
        if linked.filter(links__isnull=False).exists():
            # The ticket was linked after the query above, and before this event was skipped.
            WebhookEvent.objects.requeue_unlinked(event.workspace, reported.id, event.received_at)
        return
    if not reported.parts:
        _skip(event, Skip(ReasonCode.NO_MESSAGE))
        return
    conversation.workspace = event.workspace
    is_fresh = event.received_at > timezone.now() - LONGEST_WAIT_FOR_ECHO
    if is_fresh and any(may_be_our_echo(conversation, part) for part in reported.parts):
        event.postpone(ECHO_SECONDS, ReasonCode.OWN_POST_PENDING)
        return
    # Converted before the transaction begins: on SQLite, it excludes all other writers.
    _deliver_to_links(event, conversation, [(part, destination(part)) for part in reported.parts])


def _compare_soon(event: WebhookEvent) -> None:
    """Compare the linked conversations of one of Intercom's own tickets, whose notification has another shape."""
    try:
        ids = conversation_ids_of_ticket(json.loads(bytes(event.body)))
    except (ValueError, RecursionError) as error:
        _skip(event, Skip(ReasonCode.UNREADABLE, str(error)))
        return
    linked = Conversation.objects.filter(workspace=event.workspace, conversation_id__in=ids)
    keys = list(linked.filter(links__isnull=False).values_list("pk", flat=True))
    if not keys:
        _skip(event, Skip(ReasonCode.NOT_LINKED))
        return
    Conversation.objects.filter(pk__in=keys).compare_within(0)
    event.settle(State.HANDLED)


@transaction.atomic
def _follow_contact_merge(event: WebhookEvent) -> None:
    """Move the stored data of a merged contact to the contact that Intercom keeps."""
    try:
        merged_id, contact_id = merged_contact_ids(json.loads(bytes(event.body)))
    except (ValueError, RecursionError) as error:
        _skip(event, Skip(ReasonCode.UNREADABLE, str(error)))
        return
    if not merged_id or not contact_id or merged_id == contact_id:
        _skip(event, Skip(ReasonCode.NO_MERGED_CONTACT))
        return
    PersonMatch.objects.follow_merge(event.workspace, merged_id, contact_id)
    Participant.objects.follow_merge(event.workspace, merged_id, contact_id)
    if not event.settle(State.HANDLED) and event.is_cleaned():
        # A contact was erased meanwhile.
        transaction.set_rollback(True)


@transaction.atomic
def _deliver_to_links(
    event: WebhookEvent, conversation: Conversation, parts: Iterable[tuple[Part, Destination]]
) -> None:
    """Create the deliveries of an event and finish it, in one transaction."""
    # Locked: a ticket that is unlinked or paused at the same time gets nothing more.
    links = list(TicketLink.objects.of_conversation(conversation).select_for_update(of=("self",)))
    if not links:
        _skip(event, Skip(ReasonCode.NOT_LINKED))
        return
    for link in links:
        link.conversation = conversation
    deliveries = [
        delivery
        for part, to in parts
        for link in links
        if (delivery := redact(link, part, event) or deliver(link, part, to, event)) is not None
    ]
    # The next notification may get lost.
    Conversation.objects.filter(pk=conversation.pk).compare_within(COMPARED_EVERY_SECONDS)
    if not event.settle(*_outcome(deliveries)) and event.is_cleaned():
        # The event's content was erased after it was read, so nothing of it may be stored.
        transaction.set_rollback(True)


def deliver_since(link: TicketLink, since: dt.datetime) -> None:
    """Have the messages of the conversation that arrived since then delivered to a new link.

    Its other tickets may have received them, they may have found no link, or their notifications were lost.
    """
    conversation = link.conversation
    WebhookEvent.objects.requeue_unlinked(conversation.workspace, conversation.conversation_id, since)
    handled = WebhookEvent.objects.filter(
        workspace=conversation.workspace,
        conversation_id=conversation.conversation_id,
        state=State.HANDLED,
        received_at__gte=since,
        cleaned_at=None,
    )
    for event in handled.order_by("pk"):
        reported = Event.parse(json.loads(bytes(event.body))).conversation
        for part in reported.parts if reported else ():
            deliver(link, part, destination(part), event)
    Conversation.objects.filter(pk=conversation.pk).compare_within(0)


def deliver(
    link: TicketLink, part: Part, to: Destination, event: WebhookEvent | None = None
) -> Delivery | None:
    """Create the delivery of this part to this ticket; return None if it exists already.

    `to` is the part's destination. Determine it before a transaction begins, because that takes time.
    """
    delivery, is_new = Delivery.objects.get_or_create(
        ticket=link.ticket,
        conversation=link.conversation,
        kind=part.kind,
        part_id=part.id,
        defaults={"webhook_event": event, **_draft(link, part, to, is_late=event is None)},
    )
    if is_new and delivery.log and part.kind != "redaction":
        add_rows(link, part, delivery.log)
    return delivery if is_new else None


def redact(link: TicketLink, part: Part, event: WebhookEvent) -> Delivery | None:
    """Erase our copy of a part that was redacted in Intercom, and return the notice for the private log.

    Return None if the part is not redacted, or if nothing of it was written.
    """
    if not part.redacted:
        return None
    now = timezone.now()
    copies = Delivery.objects.filter(
        ticket=link.ticket, conversation=link.conversation, kind=part.kind, part_id=part.id
    )
    was_written = copies.in_itop().exists()
    events = WebhookEvent.objects.filter(pk__in=copies.values("webhook_event")).exclude(pk=event.pk)
    events.exclude(state=State.RECEIVED).erase_content()
    for creation in TicketCreation.objects.filter(ticket=link.ticket, conversation=link.conversation):
        if any(copied["id"] == part.id and copied["kind"] == part.kind for copied in creation.parts):
            TicketCreation.objects.filter(pk=creation.pk).erase_content()
    copies.skip(ReasonCode.REDACTED)
    copies.erase_content()
    files = FileToItop.objects.filter(
        ticket=link.ticket, conversation=link.conversation, part_kind=part.kind, part_id=part.id
    )
    redacted = files.redact(deletes=link.conversation.workspace.deletes_redacted_files)
    if not was_written or not link.sync_on:
        return None
    with translation.override(link.conversation.workspace.language):
        notice = redaction_of(
            part, int(now.timestamp()), deleted_files=redacted.to_delete, kept_files=redacted.kept
        )
    return deliver(link, notice, destination(notice), event)


def deliver_together(link: TicketLink, parts: Sequence[Part]) -> None:
    """Create the missing deliveries of these parts in one query."""
    Delivery.objects.bulk_create(
        [
            Delivery(
                ticket=link.ticket,
                conversation=link.conversation,
                kind=part.kind,
                part_id=part.id,
                **_draft(link, part, destination(part)),
            )
            for part in parts
        ],
        ignore_conflicts=True,
    )
    for part in parts:
        if log_name := destination(part).log:
            add_rows(link, part, log_name)


def reason_to_skip(link: TicketLink, part: Part, to: Destination) -> str:
    """Return the code of why a part that no event has reported is not written to the link's ticket, "" if it is."""
    return _destination_in(link, part, to, is_late=True).code


def _draft(link: TicketLink, part: Part, to: Destination, *, is_late: bool = False) -> dict[str, Any]:
    """Return the values of a new delivery, without its key."""
    # A part whose date cannot be read was written about now.
    part = part if part.created_at else replace(part, created_at=int(timezone.now().timestamp()))
    to = _destination_in(link, part, to, is_late=is_late)
    return {
        "part_order": order_of(part.id),
        "part_created_at": part.created_at,
        "author": (part.author.name or part.author.email)[:200],
        "log": to.log,
        "part": part_to_json(part) if to.log else {},
        "state": Delivery.State.SKIPPED if to.code else Delivery.State.WAITING,
        "reason_code": to.code,
        "reason_detail": to.detail,
        # A link without a teammate was adopted from the PHP extension.
        "may_be_in_log": not link.linked_by and part.created_at < link.created_at.timestamp(),
    }


def _destination_in(link: TicketLink, part: Part, to: Destination, *, is_late: bool) -> Destination:
    """Return the destination of the part in this link's ticket, with a reason code if it is not copied.

    If the sync is paused, the destination keeps its log, because the part may be copied later. A part that
    reconciliation finds (`is_late`) is skipped also if the sync was paused when the part was written.
    """
    since = (link.since_part_at, link.since_part_order)
    if part.created_at and (part.created_at, order_of(part.id)) <= since:
        return Destination(code=ReasonCode.WRITTEN_BEFORE_LINK)
    if _is_our_echo(link.conversation, part):
        return Destination(code=ReasonCode.OWN_MESSAGE)
    if to.log and (not link.sync_on or (is_late and link.was_paused_at(part.created_at))):
        return Destination(to.log, ReasonCode.SYNC_PAUSED)
    return to


def _is_our_echo(conversation: Conversation, part: Part) -> bool:
    """Return whether the bridge posted the part, by its id or its app's package code. The author proves nothing."""
    code = conversation.workspace.app_package_code
    if code and part.app_package_code == code:
        return True
    # Intercom's response did not always show which part it had made of a message, or has not come yet.
    is_posted = Q(state=OutgoingMessage.State.POSTED)
    if part.app_package_code:
        is_posted |= Q(state=OutgoingMessage.State.WAITING, attempts__gt=0)
    candidates = OutgoingMessage.objects.filter(
        Q(part_id=part.id) | Q(is_posted, part_id="", cleaned_at=None), conversation=conversation
    )
    if any(message.part_id for message in candidates):
        return True
    for message in candidates:
        if comparable(message.body) == comparable(part.body):
            return bool(OutgoingMessage.objects.filter(pk=message.pk, part_id="").update(part_id=part.id))
    return False


def may_be_our_echo(conversation: Conversation, part: Part) -> bool:
    """Return whether an app posted the part while our app's code is unknown and a post of ours is in progress."""
    return (
        bool(part.app_package_code)
        and not conversation.workspace.app_package_code
        and OutgoingMessage.objects.waiting().filter(conversation=conversation).exists()
    )


def _skip(event: WebhookEvent, skip: Skip) -> None:
    state = State.HANDLED if skip.code == ReasonCode.PING else State.SKIPPED
    event.settle(state, skip.code, skip.detail)


def _outcome(deliveries: list[Delivery]) -> tuple[str, str, str]:
    """Return the event's state, reason code and detail: those of its deliveries."""
    if not deliveries:
        return State.SKIPPED, ReasonCode.DUPLICATE, ""
    skipped = [delivery for delivery in deliveries if delivery.state == Delivery.State.SKIPPED]
    state = State.SKIPPED if len(skipped) == len(deliveries) else State.HANDLED
    if not skipped:
        return state, ReasonCode.NONE, ""
    return state, skipped[0].reason_code, skipped[0].reason_detail
