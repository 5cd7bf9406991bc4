"""Post the same message in all conversations of a ticket: one message each, and no customer gets it twice."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from intercom_bridge.models import (
    Broadcast,
    Conversation,
    Delivery,
    OutgoingMessage,
    Participant,
    PersonMatch,
    Ticket,
    TicketLink,
)
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.tickets.context import PanelContext

log = structlog.get_logger(__name__)

# Less than a third of the calls that Intercom allows an app in ten seconds: the rest of the bridge goes on.
MESSAGES_PER_WINDOW: Final = 500
WINDOW: Final = dt.timedelta(seconds=10)
# A retry cannot succeed.
FINAL_REASONS: Final = (ReasonCode.CONVERSATION_DELETED, ReasonCode.CONVERSATION_MERGED, ReasonCode.ERASED)


@dataclass(frozen=True)
class Recipient:
    """A conversation that gets the message. `name` is its customer's, "" if it is not known."""

    conversation: Conversation
    name: str


@dataclass(frozen=True)
class Audience:
    """The conversations of a ticket in one workspace, those with the newest messages first.

    `left_out` are those that do not get it, as `Broadcast.left_out` stores them: {"conversation", "reason"}, and
    "instead", the conversation in which the customer gets it. `elsewhere` is the number of conversations in other
    workspaces, where the teammate may not be one.
    """

    recipients: tuple[Recipient, ...]
    left_out: tuple[dict[str, Any], ...]
    elsewhere: int


def count_conversations(context: PanelContext, ticket: Ticket) -> int:
    """Return how many conversations of this workspace the ticket has."""
    return TicketLink.objects.filter(ticket=ticket, conversation__workspace=context.workspace).count()


def find_audience(context: PanelContext, ticket: Ticket, *, is_note: bool) -> Audience:
    """Return who gets a message. A customer gets a reply once, in the latest conversation; a note is in all of them."""
    linked = TicketLink.objects.filter(ticket=ticket)
    links = linked.filter(conversation__workspace=context.workspace).select_related("conversation__workspace")
    newest = dict(
        Delivery.objects.filter(ticket=ticket)
        .order_by()
        .values_list("conversation")
        .annotate(Max("part_created_at"))
    )

    def newest_message(link: TicketLink) -> tuple[float, int]:
        return newest.get(link.conversation_id) or link.created_at.timestamp(), link.conversation_id

    people = _People(context, ticket)
    recipients: list[Recipient] = []
    left_out: list[dict[str, Any]] = []
    for link in sorted(links, key=newest_message, reverse=True):
        conversation = link.conversation
        if reason := _why_not(conversation):
            left_out.append({"conversation": conversation.pk, "reason": reason})
        elif not is_note and (instead := people.reached_in(conversation)):
            left_out.append(
                {"conversation": conversation.pk, "reason": ReasonCode.SAME_CUSTOMER, "instead": instead}
            )
        else:
            people.reach(conversation)
            recipients.append(Recipient(conversation, people.name_in(conversation)))
    return Audience(tuple(recipients), tuple(left_out), linked.count() - len(links))


def start(
    context: PanelContext, ticket: Ticket, form_key: str, body: str, *, is_note: bool
) -> Broadcast | None:
    """Queue the message for the audience, and return the broadcast; None if nobody would get it.

    `body` is HTML. With a key that was used before, return that broadcast unchanged: a click that comes twice, or is
    sent again, tells nobody twice.
    """
    audience = find_audience(context, ticket, is_note=is_note)
    if not audience.recipients:
        return find_started(ticket, form_key)
    admin, now = context.request.admin, timezone.now()
    with transaction.atomic():
        broadcast, is_new = Broadcast.objects.get_or_create(
            form_key=_key(ticket, form_key),
            defaults={
                "ticket": ticket,
                "admin_id": admin.id[:64],
                "admin_name": admin.name[:200],
                "is_note": is_note,
                "left_out": list(audience.left_out),
            },
        )
        if is_new:
            OutgoingMessage.objects.bulk_create(
                _message(
                    broadcast, recipient.conversation, body, now + number // MESSAGES_PER_WINDOW * WINDOW
                )
                for number, recipient in enumerate(audience.recipients)
            )
    if is_new:
        log.info("broadcast.started", ticket=ticket.ref, messages=len(audience.recipients), note=is_note)
    return broadcast


def find_started(ticket: Ticket, form_key: str) -> Broadcast | None:
    """Return the broadcast that this form has started, or None."""
    return Broadcast.objects.filter(form_key=_key(ticket, form_key)).first()


def newest_broadcast(context: PanelContext, ticket: Ticket) -> Broadcast | None:
    """Return the last broadcast about the ticket in this workspace."""
    in_workspace = Broadcast.objects.filter(
        ticket=ticket, messages__conversation__workspace=context.workspace
    )
    return in_workspace.order_by("-pk").first()


def progress(broadcast: Broadcast) -> Counter[str]:
    """Return the number of messages in each state."""
    return Counter(broadcast.messages.order_by().values_list("state", flat=True))


def failed(broadcast: Broadcast) -> list[OutgoingMessage]:
    """Return the messages that failed, without those whose customers get the message in another conversation."""
    rows = broadcast.messages.filter(state=OutgoingMessage.State.FAILED)
    replaced = {entry.get("replaces") for entry in broadcast.left_out}
    return [row for row in rows.select_related("conversation").order_by("pk") if row.pk not in replaced]


def can_retry(broadcast: Broadcast, message: OutgoingMessage) -> bool:
    """Return whether a retry of a failed message may succeed, in its own conversation or in another one."""
    if message.cleaned_at:
        return False
    return message.reason_code not in FINAL_REASONS or bool(_others_of(broadcast, message.conversation_id))


def retry_failed(broadcast: Broadcast) -> int:
    """Queue the failed messages again, and return how many.

    The poster first looks whether an earlier attempt has posted one. If a conversation does not exist any more, its
    customer gets the message in the next one.
    """
    with transaction.atomic():
        broadcast = Broadcast.objects.select_for_update().get(pk=broadcast.pk)
        again = broadcast.messages.exclude(reason_code__in=FINAL_REASONS)
        count = again.retry_now()
        for message in failed(broadcast):
            others = _others_of(broadcast, message.conversation_id)
            if message.reason_code not in FINAL_REASONS or message.cleaned_at or not others:
                continue
            following, *rest = others
            conversation = Conversation.objects.get(pk=following["conversation"])
            _message(broadcast, conversation, message.body, timezone.now()).save()
            following["replaces"] = message.pk
            for entry in rest:
                entry["instead"] = conversation.pk
            count += 1
        broadcast.save(update_fields=["left_out"])
    return count


# --- Parts ----------------------------------------------------------------------------------------


class _People:
    """Who takes part in which conversation, whether with others at the same time, and who is reached already."""

    def __init__(self, context: PanelContext, ticket: Ticket) -> None:
        """Read the participants of the ticket's conversations in this workspace."""
        rows = Participant.objects.filter(
            conversation__workspace=context.workspace, conversation__links__ticket=ticket
        )
        matches = PersonMatch.objects.filter(
            workspace=context.workspace, contact_id__in=rows.values("contact_id")
        )
        self._people: dict[int, dict[str, bool]] = {}
        self._names: dict[str, str] = {}
        # Where each person gets the message.
        self._reached: dict[str, int] = {}
        persons: dict[str, str] = {}
        for match in matches:
            self._names[match.contact_id] = match.name
            # Anybody can give somebody else's address, and would get the message in that person's place.
            if match.how != PersonMatch.How.EMAIL:
                persons[match.contact_id] = f"person {match.person_id}"
        for conversation, contact, in_group in rows.values_list("conversation_id", "contact_id", "in_group"):
            person = persons.get(contact, contact)
            self._people.setdefault(conversation, {})[person] = in_group
            self._names.setdefault(person, self._names.get(contact, ""))

    def reach(self, conversation: Conversation) -> None:
        for person in self._people.get(conversation.pk, ()):
            self._reached.setdefault(person, conversation.pk)

    def reached_in(self, conversation: Conversation) -> int | None:
        """Return the key of the conversation in which this one's customers get the message, None if one does not yet.

        Contacts that never were in it at the same time are one customer: one was merged into the other.
        """
        people = self._people.get(conversation.pk, {})
        reached = [self._reached[person] for person in people if person in self._reached]
        are_enough = len(reached) == len(people) if any(people.values()) else bool(reached)
        return reached[0] if reached and are_enough else None

    def name_in(self, conversation: Conversation) -> str:
        names = {self._names.get(person, "") for person in self._people.get(conversation.pk, ())}
        return ", ".join(sorted(names - {""}))


def _why_not(conversation: Conversation) -> str:
    if conversation.merged_away_at:
        return ReasonCode.CONVERSATION_MERGED
    if conversation.reconcile_code == ReasonCode.CONVERSATION_DELETED:
        return ReasonCode.CONVERSATION_DELETED
    return ""


def _key(ticket: Ticket, form_key: str) -> str:
    return f"{ticket.pk}:{form_key}"[:64]


def _others_of(broadcast: Broadcast, conversation_pk: int) -> list[dict[str, Any]]:
    """Return the entries of the conversations whose customer gets the message in this one."""
    return [
        entry
        for entry in broadcast.left_out
        if entry.get("instead") == conversation_pk and "replaces" not in entry
    ]


def _message(
    broadcast: Broadcast, conversation: Conversation, body: str, due_at: dt.datetime
) -> OutgoingMessage:
    return OutgoingMessage(
        broadcast=broadcast,
        conversation=conversation,
        once_key=f"broadcast:{broadcast.pk}",
        admin_id=broadcast.admin_id,
        admin_name=broadcast.admin_name,
        is_note=broadcast.is_note,
        body=body,
        due_at=due_at,
    )
