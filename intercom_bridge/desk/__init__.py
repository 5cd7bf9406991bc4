"""The teammate's side of iTop: who is this person, which tickets are there, what may be chosen, link it."""

from __future__ import annotations

from intercom_bridge.deadline import Deadline

from .choices import Choice
from .desk import Desk, TicketRow, TicketView
from .errors import DeskError, NobodyFound, OutOfScope, TicketGone
from .last_known import LastKnown, NothingKnown
from .person import Person
from .so_far import Linked, SoFar, whole_conversation
from .sync_status import Failure, SyncDetails, SyncStatus, TicketSync

__all__ = [
    "Choice",
    "Deadline",
    "Desk",
    "DeskError",
    "Failure",
    "LastKnown",
    "Linked",
    "NobodyFound",
    "NothingKnown",
    "OutOfScope",
    "Person",
    "SoFar",
    "SyncDetails",
    "SyncStatus",
    "TicketGone",
    "TicketRow",
    "TicketSync",
    "TicketView",
    "whole_conversation",
]
