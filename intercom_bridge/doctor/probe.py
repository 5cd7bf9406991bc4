"""Requests to one iTop, each with a deadline, and one deadline for all."""

from collections.abc import Iterable, Sequence

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from itop_client import Client, Deadline, Found

from .finding import Subject

REQUEST_SECONDS = 5.0
UPLOAD_SECONDS = 60.0
MIN_UPLOAD_SECONDS = 8.0
# The limit for a page of the admin: nginx waits 30 seconds (proxy_read_timeout). Intercom and PUBLIC_URL, which are
# checked before iTop, take at most 29 of them.
PAGE_SECONDS = 27.0


class OutOfTimeError(Exception):
    """Not enough time is left for another request."""


class Probe:
    """The data that all checks of one iTop share. `workspaces` are those whose profiles and scopes are checked."""

    def __init__(
        self, itop: ItopInstance, workspaces: Sequence[Workspace], client: Client, deadline: Deadline
    ) -> None:
        self.itop = itop
        self.workspaces = workspaces
        self.client = client
        self.subject = subject_of(itop)
        self._deadline = deadline

    @property
    def seconds(self) -> float:
        """Return the time limit of the next request.

        Raise OutOfTimeError if less is left: a request cut short would look like an iTop that does not respond.
        """
        if self._deadline.remaining() < REQUEST_SECONDS:
            raise OutOfTimeError
        return REQUEST_SECONDS

    @property
    def upload_seconds(self) -> float:
        """Return the time limit of an upload. Raise OutOfTimeError if too little is left for a large file."""
        remaining = self._deadline.remaining() - REQUEST_SECONDS  # for the deletion
        if remaining < MIN_UPLOAD_SECONDS:
            raise OutOfTimeError
        return min(remaining, UPLOAD_SECONDS)

    @property
    def profiles(self) -> list[TicketProfile]:
        return list({workspace.profile_id: workspace.profile for workspace in self.workspaces}.values())

    @property
    def ticket_classes(self) -> list[str]:
        return sorted({profile.ticket_class for profile in self.profiles})

    def get(
        self, class_name: str, query: str, fields: Iterable[str] = ("id",), *, limit: int | None = 1
    ) -> Found:
        """Run a query and return at most `limit` objects. Raise ItopError.

        Most checks only use the total, for which one object is enough.
        """
        return self.client.get(class_name, query, fields=fields, limit=limit, deadline=self.seconds)

    def test(self, class_name: str, fields: Iterable[str] = ("id",)) -> None:
        """Query an object that does not exist, to see whether iTop refuses the query. Raise ItopError if it does."""
        self.get(class_name, f"SELECT {class_name} AS o WHERE o.id = 0", fields)


def subject_of(itop: ItopInstance) -> Subject:
    return Subject(f"iTop “{itop.name}”")
