"""The time limits of the checks, and the client that the checks of one iTop share."""

from collections.abc import Iterable, Sequence

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from itop_client import Client, Deadline, Found

from .finding import Finding, Subject

REQUEST_SECONDS = 5.0
UPLOAD_SECONDS = 60.0
MIN_UPLOAD_SECONDS = 8.0
# The time limit of the checks on a page of the admin: nginx waits 30 seconds for a response (proxy_read_timeout).
PAGE_SECONDS = 27.0
# The checks that report that a time limit was reached.
OUT_OF_TIME_CHECKS = ("workspace.time", "itop.time")


class OutOfTimeError(Exception):
    """Not enough time is left for another request."""


def request_seconds(deadline: Deadline, seconds: float) -> float:
    """Return `seconds`, the time limit of the next request.

    Raise OutOfTimeError if less time is left until the deadline. A request with a shorter limit could fail, and it
    would look as if the other system did not respond.
    """
    if deadline.remaining() < seconds:
        raise OutOfTimeError
    return seconds


def out_of_time(subject: Subject, check: str) -> Finding:
    return subject.check(check).warning(
        "was not checked completely: the time limit of this page was reached",
        "Run the command python manage.py doctor, which has no time limit, to find the slow request.",
    )


class Probe:
    """What all checks of one iTop share. The profiles and scopes of `workspaces` are checked, too."""

    def __init__(
        self, itop: ItopInstance, workspaces: Sequence[Workspace], client: Client, deadline: Deadline
    ) -> None:
        self.itop = itop
        self.workspaces = workspaces
        self.client = client
        self.subject = subject_of(itop)
        self._deadline = deadline

    @property
    def request_seconds(self) -> float:
        """Return the time limit of the next request. Raise OutOfTimeError if less time is left."""
        return request_seconds(self._deadline, REQUEST_SECONDS)

    @property
    def upload_seconds(self) -> float:
        """Return the time limit of an upload. Raise OutOfTimeError if too little time is left for a large file."""
        remaining = self._deadline.remaining() - REQUEST_SECONDS  # the file is deleted afterwards
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
        """Run a query and return at most `limit` objects, or all if `limit` is None. Raise ItopError.

        One object is enough for most checks: they only need to know whether iTop accepts the query, or Found.total.
        """
        return self.client.get(class_name, query, fields=fields, limit=limit, deadline=self.request_seconds)

    def try_reading(self, class_name: str, fields: Iterable[str] = ("id",)) -> None:
        """Query an object that does not exist, only to see whether iTop accepts the query. Raise ItopError if not."""
        self.get(class_name, f"SELECT {class_name} AS o WHERE o.id = 0", fields)


def subject_of(itop: ItopInstance) -> Subject:
    return Subject(f"iTop “{itop.name}”")
