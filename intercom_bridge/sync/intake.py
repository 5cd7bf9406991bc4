"""Turn webhook events into deliveries: decide which message is copied to which tickets, and why others are skipped."""

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

from intercom_bridge.files.parts import add_files
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

# A notification with one of these topics always contains a message.
MESSAGE_TOPICS = ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted")
# Teammates can also write a message while they close, open, assign or snooze a conversation.
FOLLOWED_TOPICS = (
    *MESSAGE_TOPICS,
    "conversation.admin.closed",
    "conversation.admin.opened",
    "conversation.admin.assigned",
    "conversation.admin.open.assigned",
    "conversation.admin.snoozed",
    "conversation.admin.unsnoozed",
    "conversation_part.redacted",
    "contact.merged",
)
# Intercom reports a message with these topics if the conversation is also one of Intercom's own tickets. Such a
# notification does not contain the conversation, so the bridge fetches and compares the conversation.
TICKET_TOPICS = ("ticket.admin.replied", "ticket.contact.replied", "ticket.note.created")
State = WebhookEvent.State

# After this time, another worker may process an event that this one has claimed.
CLAIMED_SECONDS = 60.0
# An echo is a notification about a message that the bridge itself has posted. While Intercom has not responded to such
# a post, an event that may be its echo is postponed, again and again up to the longest wait.
ECHO_SECONDS = 5.0
LONGEST_WAIT_FOR_ECHO = dt.timedelta(minutes=1)
BATCH = 10


def process_batch() -> int:
    """Claim and process a batch of due events. Return how many were due, including those that other workers claimed."""
    event_ids = _due_in_turn()
    # Random, so that the time identifies the events that this worker has claimed.
    until = timezone.now() + dt.timedelta(seconds=random.uniform(CLAIMED_SECONDS, CLAIMED_SECONDS + 1))  # noqa: S311
    # Claimed in one statement: on SQLite, each statement that writes waits for all other writers.
    if not WebhookEvent.objects.due().filter(pk__in=event_ids).update(due_at=until):
        return len(event_ids)
    claimed = WebhookEvent.objects.filter(due_at=until).select_related("workspace").in_bulk(event_ids)
    for event_id in event_ids:
        if event_id in claimed:
            _process_safely(claimed[event_id])
    return len(event_ids)


def _due_in_turn() -> list[int]:
    """Return the ids of the next events to process, at most BATCH.

    1. The oldest event, so that no event waits forever.
    2. The first event of each conversation. The workspaces take turns, and conversations with fewer events come first,
       so that a flood in one conversation does not delay the others.
    3. Further events, oldest first.
    """
    due = WebhookEvent.objects.due()
    conversations = (
        due.order_by()
        .values("workspace", "conversation_id")
        .annotate(first_event=Min("pk"), event_count=Count("pk"))
    )
    by_workspace: dict[Any, list[int]] = {}
    for conversation in conversations.order_by("event_count", "first_event"):
        by_workspace.setdefault(conversation["workspace"], []).append(conversation["first_event"])
    rounds = zip_longest(*by_workspace.values())
    in_turn = [event_id for one_round in rounds for event_id in one_round if event_id is not None]
    oldest = list(due.values_list("pk", flat=True)[:BATCH])
    without_duplicates = list(dict.fromkeys([*oldest[:1], *in_turn, *oldest]))
    return without_duplicates[:BATCH]


def process_unprocessed(events: WebhookEventQuerySet, limit: int | None = None) -> bool:
    """Process the unprocessed events of a ticket. Return False if some are left, because the database failed.

    If there are more than `limit`, process none and return False.

    The ticket's writer calls this before it chooses the next message. Otherwise it might write a later message while
    another worker still processes the event of an earlier one. If both process the same event, its deliveries are
    created only once.
    """
    if limit is not None:
        events = events[: limit + 1]
        if len(events) > limit:
            return False
    processed = [_process_safely(event) for event in events]
    return all(processed)


def _process_safely(event: WebhookEvent) -> bool:
    """Process an event. An unexpected error sets it to failed. Return False if the database failed."""
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
    """The reason why an event has no message for any ticket, as reason code and detail."""

    code: str
    detail: str = ""


def classify(event: WebhookEvent) -> PayloadConversation | Skip:
    """Return the conversation that the event reports, or why the event is skipped. Do not query the database."""
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
    """Create the deliveries of an event and finish it. Postpone an event that may be an echo of our own post."""
    if event.topic in TICKET_TOPICS and event.workspace.enabled:
        _compare_conversations_of_ticket(event)
        return
    if event.topic == "contact.merged" and event.workspace.enabled:
        _follow_contact_merge(event)
        return
    reported = classify(event)
    if isinstance(reported, Skip):
        _skip(event, reported)
        return
    linked = Conversation.objects.filter(
        workspace=event.workspace, conversation_id=reported.id, links__isnull=False
    )
    conversation = linked.first()
    if conversation is None:
        _skip(event, Skip(ReasonCode.NOT_LINKED))
        if linked.exists():
            # A ticket was linked between the query above and the skip.
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
    # Determined before the transaction begins: on SQLite, a transaction excludes all other writers.
    parts = [(part, destination(part)) for part in reported.parts]
    _deliver_to_links(event, conversation, parts)


def _compare_conversations_of_ticket(event: WebhookEvent) -> None:
    """Schedule a comparison, due now, of the linked conversations of one of Intercom's own tickets."""
    try:
        ids = conversation_ids_of_ticket(json.loads(bytes(event.body)))
    except (ValueError, RecursionError) as error:
        _skip(event, Skip(ReasonCode.UNREADABLE, str(error)))
        return
    conversations = Conversation.objects.filter(workspace=event.workspace, conversation_id__in=ids)
    linked_pks = list(conversations.filter(links__isnull=False).values_list("pk", flat=True))
    if not linked_pks:
        _skip(event, Skip(ReasonCode.NOT_LINKED))
        return
    Conversation.objects.filter(pk__in=linked_pks).compare_within(0)
    event.settle(State.HANDLED)


@transaction.atomic
def _follow_contact_merge(event: WebhookEvent) -> None:
    """Move the stored data of a contact that was merged into another one to the contact that Intercom keeps."""
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
        # A contact was erased at the same time, and the event with it: store nothing about the contact again.
        transaction.set_rollback(True)


@transaction.atomic
def _deliver_to_links(
    event: WebhookEvent, conversation: Conversation, parts: Iterable[tuple[Part, Destination]]
) -> None:
    """Create the deliveries of an event and finish it, in one transaction."""
    # Locked, so that nobody unlinks a ticket or pauses its sync before the deliveries are created.
    links = list(TicketLink.objects.of_conversation(conversation).select_for_update(of=("self",)))
    if not links:
        _skip(event, Skip(ReasonCode.NOT_LINKED))
        return
    for link in links:
        link.conversation = conversation
    deliveries = []
    for part, target in parts:
        for link in links:
            delivery = redact(link, part, event) or deliver(link, part, target, event)
            if delivery is not None:
                deliveries.append(delivery)
    # Intercom may fail to notify us of the next message, so look for it after a while.
    Conversation.objects.filter(pk=conversation.pk).compare_within(COMPARED_EVERY_SECONDS)
    if not event.settle(*_outcome(deliveries)) and event.is_cleaned():
        # The event's content was erased after we had read it, so its deliveries may not be stored.
        transaction.set_rollback(True)


def deliver_since(link: TicketLink, since: dt.datetime) -> None:
    """Deliver the messages of the conversation that arrived at or after `since` to the ticket of a new link.

    Events that were skipped because no ticket was linked are processed again. Messages that the conversation's other
    tickets received are delivered to this one, too. A comparison finds the messages whose notifications were lost.
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
    link: TicketLink, part: Part, target: Destination, event: WebhookEvent | None = None
) -> Delivery | None:
    """Create the delivery of this part to this link's ticket. Return None if it exists already.

    `target` is the result of `destination(part)`, which takes time: call it before a transaction begins. `event` is the
    event that reported the part, None if a comparison found it.
    """
    delivery, is_new = Delivery.objects.get_or_create(
        ticket=link.ticket,
        conversation=link.conversation,
        kind=part.kind,
        part_id=part.id,
        defaults={
            "webhook_event": event,
            **_new_values(link, part, target, found_by_comparison=event is None),
        },
    )
    if is_new and delivery.log and part.kind != "redaction":
        add_files(link, part, delivery.log)
    return delivery if is_new else None


def redact(link: TicketLink, part: Part, event: WebhookEvent) -> Delivery | None:
    """Erase our copies of a part that was redacted in Intercom. Its files in iTop are deleted or kept, as configured.

    Return the delivery of a notice to the private log. Return None if the part is not redacted, if it had not been
    written to iTop, or if the sync is paused.
    """
    if not part.redacted:
        return None
    now = timezone.now()
    copies = Delivery.objects.filter(
        ticket=link.ticket, conversation=link.conversation, kind=part.kind, part_id=part.id
    )
    was_written = copies.in_itop().exists()
    events = WebhookEvent.objects.filter(pk__in=copies.values("webhook_event")).exclude(pk=event.pk)
    # An event that is still to be processed keeps its content.
    events.exclude(state=State.RECEIVED).erase_content()
    for creation in TicketCreation.objects.filter(ticket=link.ticket, conversation=link.conversation):
        if any(copied["id"] == part.id and copied["kind"] == part.kind for copied in creation.parts):
            TicketCreation.objects.filter(pk=creation.pk).erase_content()
    copies.skip(ReasonCode.REDACTED)
    copies.erase_content()
    files = FileToItop.objects.filter(
        ticket=link.ticket, conversation=link.conversation, part_kind=part.kind, part_id=part.id
    )
    redacted_files = files.redact(deletes=link.conversation.workspace.deletes_redacted_files)
    if not was_written or not link.sync_on:
        return None
    with translation.override(link.conversation.workspace.language):
        notice = redaction_of(
            part, int(now.timestamp()), deleted_files=redacted_files.to_delete, kept_files=redacted_files.kept
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
                **_new_values(link, part, destination(part)),
            )
            for part in parts
        ],
        ignore_conflicts=True,
    )
    for part in parts:
        if log_name := destination(part).log:
            add_files(link, part, log_name)


def reason_to_skip(link: TicketLink, part: Part, target: Destination) -> str:
    """Return the reason code for skipping a part that a comparison found, "" if it is copied to the link's ticket."""
    return _destination_in(link, part, target, found_by_comparison=True).code


def _new_values(
    link: TicketLink, part: Part, target: Destination, *, found_by_comparison: bool = False
) -> dict[str, Any]:
    """Return the field values of a new delivery, without the fields that identify it."""
    if not part.created_at:
        # Intercom's date is missing or unreadable. The part was written about now.
        part = replace(part, created_at=int(timezone.now().timestamp()))
    target = _destination_in(link, part, target, found_by_comparison=found_by_comparison)
    return {
        "part_order": order_of(part.id),
        "part_created_at": part.created_at,
        "author": (part.author.name or part.author.email)[:200],
        "log": target.log,
        "part": part_to_json(part) if target.log else {},
        "state": Delivery.State.SKIPPED if target.code else Delivery.State.WAITING,
        "reason_code": target.code,
        "reason_detail": target.detail,
        # Only a link that was adopted from the PHP extension has no teammate. The extension may have written the
        # messages that are older than the link.
        "may_be_in_log": not link.linked_by and part.created_at < link.created_at.timestamp(),
    }


def _destination_in(
    link: TicketLink, part: Part, target: Destination, *, found_by_comparison: bool
) -> Destination:
    """Return the destination of the part in this link's ticket, with a reason code if it is not copied.

    While the sync is paused, the destination keeps its log, because the part may be copied later. A part that a
    comparison found also counts as paused if the sync was paused when the part was written.
    """
    last_part_before_link = (link.since_part_at, link.since_part_order)
    if part.created_at and (part.created_at, order_of(part.id)) <= last_part_before_link:
        return Destination(code=ReasonCode.WRITTEN_BEFORE_LINK)
    if _recognise_own_post(link.conversation, part):
        return Destination(code=ReasonCode.OWN_MESSAGE)
    is_paused = not link.sync_on or (found_by_comparison and link.was_paused_at(part.created_at))
    if target.log and is_paused:
        return Destination(target.log, ReasonCode.SYNC_PAUSED)
    return target


def _recognise_own_post(conversation: Conversation, part: Part) -> bool:
    """Return whether the bridge posted the part: by its app's package code, its id, or its text.

    After a match by text, store the part's id. The author proves nothing, because the bridge posts as a teammate.
    """
    our_code = conversation.workspace.app_package_code
    if our_code and part.app_package_code == our_code:
        return True
    may_be_posted = Q(state=OutgoingMessage.State.POSTED)
    if part.app_package_code:
        # Intercom may have created the part although the bridge has received no response yet.
        may_be_posted |= Q(state=OutgoingMessage.State.WAITING, attempts__gt=0)
    # Intercom's response to a post does not always show which part was created.
    part_is_unknown = Q(may_be_posted, part_id="", cleaned_at=None)
    posts = OutgoingMessage.objects.filter(Q(part_id=part.id) | part_is_unknown, conversation=conversation)
    if any(post.part_id == part.id for post in posts):
        return True
    for post in posts:
        if comparable(post.body) == comparable(part.body):
            # False if another worker has just stored another part for this post.
            return bool(OutgoingMessage.objects.filter(pk=post.pk, part_id="").update(part_id=part.id))
    return False


def may_be_our_echo(conversation: Conversation, part: Part) -> bool:
    """Return whether the part may be a post of the bridge that is not recognised yet.

    This is so if an app posted it, our own app's package code is unknown, and a post of ours is waiting.
    """
    return (
        bool(part.app_package_code)
        and not conversation.workspace.app_package_code
        and OutgoingMessage.objects.waiting().filter(conversation=conversation).exists()
    )


def _skip(event: WebhookEvent, skip: Skip) -> None:
    state = State.HANDLED if skip.code == ReasonCode.PING else State.SKIPPED
    event.settle(state, skip.code, skip.detail)


def _outcome(deliveries: list[Delivery]) -> tuple[str, str, str]:
    """Return the event's state, reason code and detail, from its new deliveries.

    The event is skipped only if all deliveries are skipped. The reason is that of the first skipped delivery.
    """
    if not deliveries:
        return State.SKIPPED, ReasonCode.DUPLICATE, ""
    skipped = [delivery for delivery in deliveries if delivery.state == Delivery.State.SKIPPED]
    if not skipped:
        return State.HANDLED, ReasonCode.NONE, ""
    state = State.SKIPPED if len(skipped) == len(deliveries) else State.HANDLED
    return state, skipped[0].reason_code, skipped[0].reason_detail
