"""The database rows, one model per module."""

from .alert import Alert
from .broadcast import Broadcast
from .cached_answer import CachedAnswer
from .cached_tickets import CachedTickets
from .conversation import Conversation
from .data_model_import import DataModelImport
from .day_count import DayCount
from .delivery import Delivery
from .encryption import Secret
from .event_rules import EventRules
from .file_to_intercom import FileToIntercom
from .file_to_itop import FileToItop
from .form_draft import FormDraft
from .heartbeat import WorkerHeartbeat
from .imported_class import ImportedClass
from .itop_instance import ItopInstance
from .itop_poll import ItopPoll
from .link_removal import LinkRemoval
from .mention import Mention
from .messenger import Messenger
from .messenger_key import MessengerKey, MessengerNonce
from .outgoing_message import OutgoingMessage
from .participant import Participant
from .person_match import PersonMatch
from .ticket import Ticket
from .ticket_creation import TicketCreation
from .ticket_event import EventKind, TicketEvent
from .ticket_link import TicketLink
from .ticket_profile import Log, TicketProfile
from .ticket_snapshot import TicketSnapshot
from .webhook_event import WebhookEvent
from .workspace import Workspace

__all__ = [
    "Alert",
    "Broadcast",
    "EventKind",
    "EventRules",
    "ItopPoll",
    "TicketEvent",
    "TicketSnapshot",
    "Conversation",
    "DataModelImport",
    "DayCount",
    "Delivery",
    "CachedAnswer",
    "FileToIntercom",
    "FileToItop",
    "FormDraft",
    "ItopInstance",
    "CachedTickets",
    "ImportedClass",
    "Log",
    "Mention",
    "Messenger",
    "MessengerKey",
    "MessengerNonce",
    "WebhookEvent",
    "Participant",
    "PersonMatch",
    "OutgoingMessage",
    "Secret",
    "TicketCreation",
    "Ticket",
    "TicketLink",
    "TicketProfile",
    "LinkRemoval",
    "WorkerHeartbeat",
    "Workspace",
]
