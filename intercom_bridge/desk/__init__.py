"""The teammate's side of iTop: who is this person, which tickets are there, what may be chosen, link it."""

from __future__ import annotations

from intercom_bridge.deadline import Deadline

from .choices import Choice, Offer
from .desk import Desk, TicketRow, TicketView
from .errors import DeskError, NobodyFound, OutOfScope, TicketGone
from .person import Person
from .so_far import Linked, SoFar, whole_conversation
from .sync_status import Failure, SyncDetails, SyncStatus

__all__ = [
    "Choice",
    "Deadline",
    "Desk",
    "DeskError",
    "Failure",
    "Linked",
    "NobodyFound",
    "Offer",
    "OutOfScope",
    "Person",
    "SoFar",
    "SyncDetails",
    "SyncStatus",
    "TicketGone",
    "TicketRow",
    "TicketView",
    "whole_conversation",
]
