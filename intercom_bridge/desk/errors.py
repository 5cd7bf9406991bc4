"""What a teammate has to be told; the panel has a screen for each."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable


class DeskError(Exception):
    """The base of the three."""


class Why(enum.Enum):
    """Why it is not known which Person of iTop a contact is."""

    NOTHING_TO_GO_BY = "the contact has neither an address nor an id"
    UNKNOWN = "no Person has what the contact has"
    SEVERAL = "several persons fit"
    CONTRADICTION = "the contact's ids and address are those of different persons"
    GONE = "the picked Person is not in iTop"
    OUTSIDE = "the picked Person is not served by the workspace"


class NobodyFound(DeskError):
    """It is not known who the contact is: a teammate has to say so.

    `email` is the contact's, `candidates` are the ids of the persons who fit in part; `name`, `picked_by` and
    `picked_at` tell of the pick that no longer holds.
    """

    def __init__(
        self,
        why: Why,
        *,
        email: str = "",
        candidates: Iterable[int] = (),
        name: str = "",
        picked_by: str = "",
        picked_at: dt.datetime | None = None,
    ) -> None:
        super().__init__(why.value)
        self.why = why
        self.email = email
        self.candidates = tuple(sorted(candidates))
        self.name = name
        self.picked_by = picked_by
        self.picked_at = picked_at


class OutOfScope(DeskError):
    """The person, or the ticket, is not among those whom this workspace serves."""


class TicketGone(DeskError):
    """iTop has no such ticket (any more), or it is not of the profile's class."""
