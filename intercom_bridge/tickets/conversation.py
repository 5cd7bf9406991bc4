"""Look up what our tables contain about the conversation of a panel request: its row, links and ticket creations."""

import datetime as dt

from django.db.models import Q
from django.utils import timezone

from intercom_bridge.connections import intercom_client
from intercom_bridge.intercom.payloads import Conversation as ConversationPayload
from intercom_bridge.models import Conversation, ItopInstance, Participant, Ticket, TicketCreation, TicketLink
from intercom_bridge.models.ticket_creation import TicketCreationQuerySet
from intercom_bridge.sync.message import order_of

from .context import PanelContext

# The longest wait for Intercom's REST API while the panel, which has five seconds to respond, processes a click.
FETCH_SECONDS = 2.0
# A new link's ticket also gets the messages that arrived up to this long before. The conversation in the panel's
# request may lack these messages, because Intercom's inbox may have loaded it before they arrived.
RECENT_EVENTS = dt.timedelta(minutes=10)


def find_conversation(context: PanelContext) -> Conversation | None:
    """Return the row of this conversation, or None if there is none.

    The row is created when a teammate first does something, for example links a ticket or chooses the person.
    """
    if "find_conversation" not in context.memo:
        found = Conversation.objects.filter(
            workspace=context.workspace, conversation_id=context.request.conversation.id
        ).first()
        if found is not None:
            # The context has loaded the workspace already.
            found.workspace = context.workspace
        context.memo["find_conversation"] = found
    conversation: Conversation | None = context.memo["find_conversation"]
    return conversation


def get_or_create_conversation(context: PanelContext) -> Conversation:
    """Return the row of this conversation, and store the conversation's contacts in Participant."""
    conversation = Conversation.objects.find_or_create(context.workspace, context.request.conversation.id)
    forget_absence(context)
    Participant.objects.record(conversation, context.request.contact_ids)
    return conversation


def get_or_create_ticket(itop: ItopInstance, ticket_class: str, object_id: int, ref: str) -> Ticket:
    """Return the row of a ticket. `ref` is the ticket's reference in iTop."""
    return Ticket.objects.get_or_create(
        itop=itop, ticket_class=ticket_class, object_id=object_id, defaults={"ref": ref[:100]}
    )[0]


def forget_absence(context: PanelContext) -> None:
    """Let `find_conversation` query again if it has found no row. Call this after the row may have been created."""
    if context.memo.get("find_conversation") is None:
        context.memo.pop("find_conversation", None)


def find_links(context: PanelContext) -> dict[int, TicketLink]:
    """Return the links of this conversation to tickets of the profile's class, by the ticket's id in iTop."""
    conversation = find_conversation(context)
    if conversation is None:
        return {}
    links = TicketLink.objects.of_conversation(conversation).filter(
        ticket__itop=context.itop, ticket__ticket_class=context.profile.ticket_class
    )
    links_by_id = {}
    for link in links:
        link.conversation = conversation
        links_by_id[link.ticket.object_id] = link
    return links_by_id


def find_link(context: PanelContext, ticket_class: str, ticket_id: int) -> TicketLink | None:
    """Return the link of this conversation to the ticket, if there is one."""
    return find_links(context).get(ticket_id) if ticket_class == context.profile.ticket_class else None


def creations_in(context: PanelContext) -> TicketCreationQuerySet:
    """Return all ticket creations in this conversation, in whatever state, newest first."""
    creations: TicketCreationQuerySet = TicketCreation.objects.filter(
        conversation__workspace=context.workspace,
        conversation__conversation_id=context.request.conversation.id,
    ).order_by("-pk")
    return creations


def successful_creations_in(context: PanelContext) -> TicketCreationQuerySet:
    """Return the creations in this conversation that have created a ticket, newest first.

    A creation whose ticket's row was deleted since is left out.
    """
    created = creations_in(context).filter(state=TicketCreation.State.CREATED, ticket__isnull=False)
    return created.select_related("ticket")


def creation_to_report(context: PanelContext) -> TicketCreation | None:
    """Return the newest creation that the first screen has to mention, or None.

    That creation is pending, or it was rejected in the background and no teammate has seen the rejection yet.
    """
    is_pending = Q(state=TicketCreation.State.CREATING)
    is_unseen_rejection = Q(state=TicketCreation.State.REFUSED, rejection_seen=False)
    return creations_in(context).filter(is_pending | is_unseen_rejection).first()


def fetch_full_conversation(context: PanelContext) -> ConversationPayload:
    """Return the conversation with all its parts, if possible. Raise IntercomError or SecretDecryptionError.

    The request may contain only some of the parts. Then fetch the others from Intercom. Without an access token,
    return the request's conversation.
    """
    conversation = context.request.conversation
    if conversation.is_complete or not context.workspace.access_token:
        return conversation
    seconds = min(FETCH_SECONDS, context.deadline.remaining())
    return intercom_client(context.workspace).conversation(conversation.id, deadline=seconds)


def last_position(conversation: ConversationPayload) -> tuple[int, int]:
    """Return the position of the last part, as a link's `since_part_at` and `since_part_order`.

    If parts are missing from `conversation`, return the present time, because the last part is unknown. Return (0, 0)
    if there are no parts.
    """
    positions = [(part.created_at, order_of(part.id)) for part in conversation.messages]
    if not conversation.is_complete:
        now = int(timezone.now().timestamp())
        positions.append((now, 0))
    return max(positions, default=(0, 0))
