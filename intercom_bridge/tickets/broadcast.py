"""Broadcasts: a teammate posts the same message in all conversations of a ticket. No customer gets a reply twice."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection
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

# Less than a third of the calls that Intercom allows an app in ten seconds. The bridge needs the others meanwhile.
MESSAGES_PER_WINDOW: Final = 500
WINDOW: Final = dt.timedelta(seconds=10)
# After a failure for one of these reasons, a retry in the same conversation cannot succeed.
FINAL_REASONS: Final = (ReasonCode.CONVERSATION_DELETED, ReasonCode.CONVERSATION_MERGED, ReasonCode.ERASED)


@dataclass(frozen=True)
class Recipient:
    """A conversation that gets the message. `name` names its customers, or is "" if the names are unknown."""

    conversation: Conversation
    name: str


@dataclass(frozen=True)
class Audience:
    """The conversations of a ticket in one workspace, those with the newest messages first.

    recipients: the conversations that get the message.
    left_out: the conversations that do not get it, as `Broadcast.left_out` stores them. Each has its id as
        "conversation" and a "reason". If its customer gets the message in another one, "instead" is that one's id.
    elsewhere: the number of the ticket's conversations in other workspaces. They do not get the message either,
        because the teammate may have no access to those workspaces.
    """

    recipients: tuple[Recipient, ...]
    left_out: tuple[dict[str, Any], ...]
    elsewhere: int


def count_conversations(context: PanelContext, ticket: Ticket) -> int:
    return TicketLink.objects.filter(ticket=ticket, conversation__workspace=context.workspace).count()


def find_audience(context: PanelContext, ticket: Ticket, *, is_note: bool) -> Audience:
    """Return which conversations get the message.

    A customer with several conversations gets a reply in the latest one only. A note is posted in all of them.
    """
    all_links = TicketLink.objects.filter(ticket=ticket)
    links = all_links.filter(conversation__workspace=context.workspace).select_related(
        "conversation__workspace"
    )
    customers = _Customers(context, ticket)
    recipients: list[Recipient] = []
    left_out: list[dict[str, Any]] = []
    for conversation in _newest_first(ticket, links):
        if reason := _obstacle(conversation):
            left_out.append({"conversation": conversation.pk, "reason": reason})
            continue
        other_pk = None if is_note else customers.find_other_conversation(conversation)
        if other_pk is not None:
            left_out.append(
                {"conversation": conversation.pk, "reason": ReasonCode.SAME_CUSTOMER, "instead": other_pk}
            )
            continue
        customers.mark_reached(conversation)
        recipients.append(Recipient(conversation, customers.names_in(conversation)))
    return Audience(tuple(recipients), tuple(left_out), elsewhere=all_links.count() - len(links))


def _newest_first(ticket: Ticket, links: Collection[TicketLink]) -> list[Conversation]:
    """Return the linked conversations, those with the newest message or, if they have none, the newest link first."""
    newest_at = dict(
        Delivery.objects.filter(ticket=ticket)
        .order_by()
        .values_list("conversation")
        .annotate(Max("part_created_at"))
    )

    def sort_key(link: TicketLink) -> tuple[float, int]:
        active_at = newest_at.get(link.conversation_id) or link.created_at.timestamp()
        return active_at, link.conversation_id

    return [link.conversation for link in sorted(links, key=sort_key, reverse=True)]


def start_broadcast(
    context: PanelContext, ticket: Ticket, form_key: str, body: str, *, is_note: bool
) -> Broadcast | None:
    """Queue the message for each recipient, and return the broadcast.

    `body` is HTML. `form_key` is an idempotency key: if it was used before, return the earlier broadcast unchanged.
    Return None if there is no recipient now and no earlier broadcast.
    """
    audience = find_audience(context, ticket, is_note=is_note)
    if not audience.recipients:
        return find_started(ticket, form_key)
    admin, now = context.request.admin, timezone.now()
    with transaction.atomic():
        broadcast, is_new = Broadcast.objects.get_or_create(
            form_key=_stored_form_key(ticket, form_key),
            defaults={
                "ticket": ticket,
                "admin_id": admin.id[:64],
                "admin_name": admin.name[:200],
                "is_note": is_note,
                "left_out": list(audience.left_out),
            },
        )
        if is_new:
            messages = []
            for number, recipient in enumerate(audience.recipients):
                window = number // MESSAGES_PER_WINDOW
                messages.append(_message(broadcast, recipient.conversation, body, now + window * WINDOW))
            OutgoingMessage.objects.bulk_create(messages)
    if is_new:
        log.info("broadcast.started", ticket=ticket.ref, messages=len(audience.recipients), note=is_note)
    return broadcast


def find_started(ticket: Ticket, form_key: str) -> Broadcast | None:
    """Return the broadcast that an earlier submission of this form started, or None."""
    return Broadcast.objects.filter(form_key=_stored_form_key(ticket, form_key)).first()


def newest_broadcast(context: PanelContext, ticket: Ticket) -> Broadcast | None:
    in_workspace = Broadcast.objects.filter(
        ticket=ticket, messages__conversation__workspace=context.workspace
    )
    return in_workspace.order_by("-pk").first()


def count_by_state(broadcast: Broadcast) -> Counter[str]:
    return Counter(broadcast.messages.order_by().values_list("state", flat=True))


def failed_messages(broadcast: Broadcast) -> list[OutgoingMessage]:
    """Return the failed messages, except those that were replaced by a message in another conversation."""
    failed = broadcast.messages.filter(state=OutgoingMessage.State.FAILED)
    replaced_ids = {entry.get("replaces") for entry in broadcast.left_out}
    ordered = failed.select_related("conversation").order_by("pk")
    return [message for message in ordered if message.pk not in replaced_ids]


def can_retry(broadcast: Broadcast, message: OutgoingMessage) -> bool:
    """Return whether a retry of a failed message may succeed, in its own conversation or in another one."""
    if message.cleaned_at:
        # Its text was erased.
        return False
    has_final_reason = message.reason_code in FINAL_REASONS
    return not has_final_reason or bool(_alternatives(broadcast, message.conversation_id))


def retry_failed(broadcast: Broadcast) -> int:
    """Queue the failed messages again, and return how many.

    The poster first checks whether an earlier attempt has posted a message. If a message can never be posted in its
    conversation, its customer gets it in another one.
    """
    with transaction.atomic():
        broadcast = Broadcast.objects.select_for_update().get(pk=broadcast.pk)
        count = broadcast.messages.exclude(reason_code__in=FINAL_REASONS).retry_now()
        for message in failed_messages(broadcast):
            if message.reason_code in FINAL_REASONS and not message.cleaned_at:
                count += _replace_message(broadcast, message)
        # `_replace_message` has changed `left_out`.
        broadcast.save(update_fields=["left_out"])
    return count


def _replace_message(broadcast: Broadcast, message: OutgoingMessage) -> bool:
    """Queue the message in the customer's next conversation. Return False if there is none.

    Change `broadcast.left_out` accordingly, without saving it.
    """
    alternatives = _alternatives(broadcast, message.conversation_id)
    if not alternatives:
        return False
    chosen, *others = alternatives
    conversation = Conversation.objects.get(pk=chosen["conversation"])
    _message(broadcast, conversation, message.body, timezone.now()).save()
    chosen["replaces"] = message.pk
    for entry in others:
        entry["instead"] = conversation.pk
    return True


class _Customers:
    """The customers in the conversations of a ticket, and who of them gets the message in which conversation.

    A customer's key identifies their Person in iTop or, if that is unknown, their Intercom contact.
    """

    def __init__(self, context: PanelContext, ticket: Ticket) -> None:
        """Read the participants of the ticket's conversations in this workspace."""
        participants = Participant.objects.filter(
            conversation__workspace=context.workspace, conversation__links__ticket=ticket
        )
        matches = PersonMatch.objects.filter(
            workspace=context.workspace, contact_id__in=participants.values("contact_id")
        )
        # By conversation: whether each customer was in it together with others.
        self._in_group: dict[int, dict[str, bool]] = {}
        self._names: dict[str, str] = {}
        # The conversation in which each customer gets the message.
        self._reached: dict[str, int] = {}
        contact_names: dict[str, str] = {}
        person_keys: dict[str, str] = {}
        for match in matches:
            contact_names[match.contact_id] = match.name
            # An address does not prove who a contact is: anybody can give somebody else's address. A contact matched by
            # address alone stays a customer of their own, so that nobody misses the message because of them.
            if match.how != PersonMatch.How.EMAIL:
                person_keys[match.contact_id] = f"person {match.person_id}"
        columns = participants.values_list("conversation_id", "contact_id", "in_group")
        for conversation_id, contact_id, in_group in columns:
            customer = person_keys.get(contact_id, contact_id)
            self._in_group.setdefault(conversation_id, {})[customer] = in_group
            self._names.setdefault(customer, contact_names.get(contact_id, ""))

    def mark_reached(self, conversation: Conversation) -> None:
        for customer in self._in_group.get(conversation.pk, ()):
            self._reached.setdefault(customer, conversation.pk)

    def find_other_conversation(self, conversation: Conversation) -> int | None:
        """Return the pk of another conversation in which the customers of this one get the message, or None.

        If customers took part at the same time, all of them have to get it elsewhere. Contacts that took part one after
        the other are one customer, because Intercom has merged one into the other. Then one of them is enough.
        """
        in_group = self._in_group.get(conversation.pk, {})
        other_pks = [self._reached[customer] for customer in in_group if customer in self._reached]
        took_part_together = any(in_group.values())
        needed_count = len(in_group) if took_part_together else 1
        return other_pks[0] if other_pks and len(other_pks) >= needed_count else None

    def names_in(self, conversation: Conversation) -> str:
        names = {self._names.get(customer, "") for customer in self._in_group.get(conversation.pk, ())}
        return ", ".join(sorted(names - {""}))


def _obstacle(conversation: Conversation) -> str:
    """Return the code of the reason why nothing can be posted in the conversation, or ""."""
    if conversation.merged_away_at:
        return ReasonCode.CONVERSATION_MERGED
    if conversation.reconcile_code == ReasonCode.CONVERSATION_DELETED:
        return ReasonCode.CONVERSATION_DELETED
    return ""


def _stored_form_key(ticket: Ticket, form_key: str) -> str:
    return f"{ticket.pk}:{form_key}"[:64]


def _alternatives(broadcast: Broadcast, conversation_pk: int) -> list[dict[str, Any]]:
    """Return the `left_out` entries of the customer's other conversations that were left out in favor of this one.

    An entry with "replaces" is omitted, because the message is already queued in its conversation.
    """
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
