"""What an admin of the bridge sees: three pages to edit, and the tables of what happened to read."""

from __future__ import annotations

from .conversations import ConversationAdmin
from .deliveries import DeliveryAdmin
from .itops import ItopInstanceAdmin
from .known_tickets import KnownTicketsAdmin
from .notifications import NotificationAdmin
from .person_matches import PersonMatchAdmin
from .postings import PostingAdmin
from .profiles import TicketProfileAdmin
from .submissions import SubmissionAdmin
from .ticket_links import TicketLinkAdmin
from .tickets import TicketAdmin
from .unlinkings import UnlinkingAdmin
from .workspaces import WorkspaceAdmin

__all__ = [
    "ConversationAdmin",
    "DeliveryAdmin",
    "ItopInstanceAdmin",
    "KnownTicketsAdmin",
    "NotificationAdmin",
    "PersonMatchAdmin",
    "PostingAdmin",
    "SubmissionAdmin",
    "TicketAdmin",
    "TicketLinkAdmin",
    "TicketProfileAdmin",
    "UnlinkingAdmin",
    "WorkspaceAdmin",
]
