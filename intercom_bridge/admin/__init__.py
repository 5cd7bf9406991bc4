"""The admin: three kinds of rows to edit, and the records of what happened."""

from .conversations import ConversationAdmin
from .deliveries import DeliveryAdmin
from .itops import ItopInstanceAdmin
from .outgoing_messages import OutgoingMessageAdmin
from .person_matches import PersonMatchAdmin
from .profiles import TicketProfileAdmin
from .ticket_creations import TicketCreationAdmin
from .tickets import CachedTicketsAdmin, LinkRemovalAdmin, TicketAdmin, TicketLinkAdmin
from .webhook_events import WebhookEventAdmin
from .workspaces import WorkspaceAdmin

__all__ = [
    "CachedTicketsAdmin",
    "ConversationAdmin",
    "DeliveryAdmin",
    "ItopInstanceAdmin",
    "LinkRemovalAdmin",
    "OutgoingMessageAdmin",
    "PersonMatchAdmin",
    "TicketAdmin",
    "TicketCreationAdmin",
    "TicketLinkAdmin",
    "TicketProfileAdmin",
    "WebhookEventAdmin",
    "WorkspaceAdmin",
]
