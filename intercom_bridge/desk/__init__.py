"""The teammate's side of iTop: who is this person, which tickets are there, what may be chosen, link it."""

from __future__ import annotations

from intercom_bridge.deadline import Deadline

from .candidates import Candidates
from .choices import Choice, Offer
from .desk import Desk, TicketRow
from .errors import DeskError, NobodyFound, OutOfScope, TicketGone, Why
from .evidence import positive
from .last_known import LastKnown, NothingKnown
from .person import Person
from .so_far import Linked, SoFar, whole_conversation
from .sync_status import Failure, SyncDetails, SyncStatus, TicketSync
from .ticket_view import TicketView

__all__ = [
    "Candidates",
    "Choice",
    "Deadline",
    "Desk",
    "DeskError",
    "Failure",
    "LastKnown",
    "Linked",
    "NobodyFound",
    "NothingKnown",
    "Offer",
    "OutOfScope",
    "Person",
    "SoFar",
    "SyncDetails",
    "SyncStatus",
    "TicketGone",
    "TicketRow",
    "TicketSync",
    "TicketView",
    "Why",
    "positive",
    "whole_conversation",
]
