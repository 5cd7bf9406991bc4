"""The rows. Each module is one noun; the QuerySets are the vocabulary of the rest of the house."""

from __future__ import annotations

from .conversation import Conversation
from .day_count import DayCount
from .delivery import Delivery
from .encryption import Secret
from .itop_answer import ItopAnswer
from .itop_instance import ItopInstance
from .known_tickets import KnownTickets
from .learned_class import LearnedClass
from .mention import Mention
from .notification import Notification
from .participant import Participant
from .person_match import PersonMatch
from .posting import Posting
from .submission import Submission
from .ticket import Ticket
from .ticket_link import TicketLink
from .ticket_profile import TicketProfile
from .unlinking import Unlinking
from .worker_pulse import WorkerPulse
from .workspace import Workspace

__all__ = [
    "Conversation",
    "DayCount",
    "Delivery",
    "ItopAnswer",
    "ItopInstance",
    "KnownTickets",
    "LearnedClass",
    "Mention",
    "Notification",
    "Participant",
    "PersonMatch",
    "Posting",
    "Secret",
    "Submission",
    "Ticket",
    "TicketLink",
    "TicketProfile",
    "Unlinking",
    "WorkerPulse",
    "Workspace",
]
