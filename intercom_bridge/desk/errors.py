"""What a teammate has to be told; the panel has a screen for each."""

from __future__ import annotations


class DeskError(Exception):
    """The base of the three."""


class NobodyFound(DeskError):
    """No Person of iTop, or several, fit the contact. `candidates` says how many."""

    def __init__(self, candidates: int, email: str) -> None:
        super().__init__(f"{candidates} persons fit")
        self.candidates = candidates
        self.email = email


class OutOfScope(DeskError):
    """The person, or the ticket, is not among those whom this workspace serves."""


class TicketGone(DeskError):
    """iTop has no such ticket (any more), or it is not of the profile's class."""
