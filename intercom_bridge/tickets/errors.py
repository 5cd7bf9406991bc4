"""The errors of `tickets`: why a teammate's request cannot be fulfilled. The panel has a screen for each."""

import datetime as dt
import enum
from collections.abc import Iterable


class TicketsError(Exception):
    """Base class of the errors of `tickets`."""


class MatchFailure(enum.Enum):
    """Why the bridge does not know which Person in iTop a contact is.

    The bridge stores the members' names in its cache, so they must not change. The values are for logs.
    """

    NOTHING_TO_GO_BY = "the contact has neither an e-mail address nor an ID"
    UNKNOWN = "no Person matches the contact"
    SEVERAL = "several persons match"
    CONTRADICTION = "the contact's IDs and e-mail address belong to different persons"
    GONE = "the chosen Person no longer exists in iTop"
    OUTSIDE = "the chosen Person is outside the scope of the workspace"


class PersonNotResolvedError(TicketsError):
    """The bridge does not know which Person the contact is, so a teammate has to choose.

    email: the contact's e-mail address. If iTop no longer has the chosen Person (GONE), it is that person's address.
    candidates: the ids of the persons to whom some of the contact's data point.
    name, picked_by, picked_at: the person whom a teammate chose before, if that choice is no longer valid.
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
    """The workspace's caller for unknown customers is not in iTop, or not in the workspace's scope."""


class OtherOrganizationError(TicketsError):
    """The ticket belongs to another organization than the contact, and the teammate has not confirmed the link."""


class TicketNotFoundError(TicketsError):
    """iTop does not have this ticket, or the ticket is not of the profile's class."""


class OutdatedScreenError(TicketsError):
    """The teammate clicked on an old screen: the conversation has changed since it was displayed."""


class CacheMissError(TicketsError):
    """The cache lacks what is needed: who the contact is, whether they are in scope, or which tickets they have."""
