"""The stored rows of the conversation in a panel request, and of tickets that are linked to it."""

import datetime as dt

from django.db.models import Q
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.payloads import Conversation as ConversationPayload
from intercom_bridge.models import Conversation, ItopInstance, Participant, Ticket, TicketCreation, TicketLink
from intercom_bridge.models.ticket_creation import TicketCreationQuerySet
from intercom_bridge.sync.message import order_of

from .context import PanelContext

# Intercom's share of the five seconds for an answer.
FETCH_SECONDS = 2.0
# Messages that arrived this long before a link was made are checked again once it exists: the conversation in the
# panel's request may be older than they are.
RECENT_EVENTS = dt.timedelta(minutes=10)


def find_conversation(context: PanelContext) -> Conversation | None:
    """Return the row of this conversation, or None: no ticket was linked, no customer chosen."""
    if "find_conversation" not in context.memo:
        found = Conversation.objects.filter(
            workspace=context.workspace, conversation_id=context.request.conversation.id
        ).first()
        if found is not None:
            found.workspace = context.workspace
        context.memo["find_conversation"] = found
    conversation: Conversation | None = context.memo["find_conversation"]
    return conversation


def get_or_create_conversation(context: PanelContext) -> Conversation:
    """Return the row of this conversation, and store its participants."""
    conversation = Conversation.objects.find_or_create(context.workspace, context.request.conversation.id)
    forget_absence(context)
    Participant.objects.note(conversation, context.request.contact_ids)
    return conversation


def known_ticket(itop: ItopInstance, ticket_class: str, object_id: int, ref: str) -> Ticket:
    """Return the row of a ticket, which is created if there is none."""
    return Ticket.objects.get_or_create(
        itop=itop, ticket_class=ticket_class, object_id=object_id, defaults={"ref": ref[:100]}
    )[0]


def forget_absence(context: PanelContext) -> None:
    """Make `find_conversation` ask again if it found no row. Call it after the row may have been created."""
    if context.memo.get("find_conversation") is None:
        context.memo.pop("find_conversation", None)


def find_links(context: PanelContext) -> dict[int, TicketLink]:
    """Return the links of this conversation by the ticket's id in iTop."""
    conversation = find_conversation(context)
    if conversation is None:
        return {}
    links = TicketLink.objects.of_conversation(conversation).filter(
        ticket__itop=context.itop, ticket__ticket_class=context.profile.ticket_class
    )
    found = {}
    for link in links:
        link.conversation = conversation
        found[link.ticket.object_id] = link
    return found


def find_link(context: PanelContext, ticket_class: str, ticket_id: int) -> TicketLink | None:
    """Return the link of this conversation to the ticket, if there is one."""
    return find_links(context).get(ticket_id) if ticket_class == context.profile.ticket_class else None


def creations_in(context: PanelContext) -> TicketCreationQuerySet:
    """Return all ticket creations from this conversation, newest first."""
    creations: TicketCreationQuerySet = TicketCreation.objects.filter(
        conversation__workspace=context.workspace,
        conversation__conversation_id=context.request.conversation.id,
    ).order_by("-pk")
    return creations


def created_in(context: PanelContext) -> TicketCreationQuerySet:
    """Return the creations from this conversation whose ticket exists and is still stored, newest first."""
    created = creations_in(context).filter(state=TicketCreation.State.CREATED, ticket__isnull=False)
    return created.select_related("ticket")


def creation_to_report(context: PanelContext) -> TicketCreation | None:
    """Return the newest creation that is pending, or that iTop refused in the background and was not shown yet."""
    pending = Q(state=TicketCreation.State.CREATING)
    not_shown = Q(state=TicketCreation.State.REFUSED, rejection_seen=False)
    return creations_in(context).filter(pending | not_shown).first()


def fetch_full_conversation(context: PanelContext) -> ConversationPayload:
    """Return the request's conversation, or fetch it from Intercom if the request carries only part of it.

    Raise IntercomError or SecretDecryptionError.
    """
    conversation = context.request.conversation
    if conversation.is_complete or not context.workspace.access_token:
        return conversation
    seconds = min(FETCH_SECONDS, context.deadline.remaining())
    return intercom_client(context.workspace).conversation(conversation.id, deadline=seconds)


def last_position(conversation: ConversationPayload) -> tuple[int, int]:
    """Return a link's `since_part_at` and `since_part_order` after the last part; now, if parts are missing."""
    positions = [(part.created_at, order_of(part.id)) for part in conversation.messages]
    if not conversation.is_complete:
        positions.append((int(timezone.now().timestamp()), 0))
    return max(positions, default=(0, 0))
