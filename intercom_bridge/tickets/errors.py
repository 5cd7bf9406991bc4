"""Reasons why a request cannot be served. The panel has a screen for each."""

import datetime as dt
import enum
from collections.abc import Iterable


class TicketsError(Exception):
    """Base class of the errors of `tickets`."""


class MatchFailure(enum.Enum):
    """Why it is not known which Person in iTop a contact is. Names are stored; values are for logs."""

    NOTHING_TO_GO_BY = "the contact has neither an e-mail address nor an ID"
    UNKNOWN = "no Person matches the contact"
    SEVERAL = "several persons match"
    CONTRADICTION = "the contact's IDs and e-mail address belong to different persons"
    GONE = "the chosen Person no longer exists in iTop"
    OUTSIDE = "the chosen Person is outside the scope of the workspace"


class PersonNotResolvedError(TicketsError):
    """It is not known which Person the contact is, so a teammate has to choose.

    `email` is the contact's, `candidates` are the ids of the persons who match in part; `name`, `picked_by` and
    `picked_at` describe a choice that is no longer valid.
    """

    def __init__(  # noqa: PLR0913 - facts for the screen
        self,
        failure: MatchFailure,
        *,
        email: str = "",
        candidates: Iterable[int] = (),
        name: str = "",
        picked_by: str = "",
        picked_at: dt.datetime | None = None,
    ) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.email = email
        self.candidates = tuple(sorted(candidates))
        self.name = name
        self.picked_by = picked_by
        self.picked_at = picked_at


class OutOfScopeError(TicketsError):
    """The person or the ticket is outside the scope of this workspace."""


class DefaultCallerError(TicketsError):
    """iTop does not have the workspace's caller for unknown customers, or not in the workspace's scope."""


class OtherOrganizationError(TicketsError):
    """The ticket belongs to another organization than the contact, and the teammate has not confirmed that."""


class TicketNotFoundError(TicketsError):
    """iTop does not have this ticket, or it is not of the profile's class."""


class OutdatedScreenError(TicketsError):
    """The conversation has changed since the screen that was clicked on was displayed."""


class CacheMissError(TicketsError):
    """The cache does not say who the contact is, whether they are in scope, or which tickets they have."""
