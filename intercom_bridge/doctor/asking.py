"""The questions to one iTop: each has a deadline, and so have all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from itop_client import Client, Found, ItopNotAllowed

from .finding import Subject

QUESTION_SECONDS = 5.0
# A slow iTop is not waited for longer than somebody waits for a page of the admin.
ALL_SECONDS = 25.0


class Asking:
    """What all questions to an iTop share. `workspaces` are those whose profiles and scopes are looked at."""

    def __init__(self, itop: ItopInstance, workspaces: Sequence[Workspace], client: Client) -> None:
        self.itop = itop
        self.workspaces = workspaces
        self.client = client
        self.subject = subject_of(itop)
        self._deadline = Deadline(ALL_SECONDS)

    @property
    def seconds(self) -> float:
        """The deadline of the next question."""
        return min(QUESTION_SECONDS, self._deadline.remaining())

    @property
    def profiles(self) -> list[TicketProfile]:
        return list({workspace.profile_id: workspace.profile for workspace in self.workspaces}.values())

    def get(
        self, class_name: str, query: str, fields: Iterable[str] = ("id",), *, limit: int | None = 1
    ) -> Found:
        """Raises ItopError. Only the number of the found is needed, mostly: one object comes with it."""
        return self.client.get(class_name, query, fields=fields, limit=limit, deadline=self.seconds)

    def may_read(self, class_name: str) -> bool:
        """Whether the account may read this class. Raises ItopError, UnknownClass too, when that is not the answer."""
        try:
            self.get(class_name, f"SELECT {class_name} AS o WHERE o.id = 0")
        except ItopNotAllowed:
            return False
        return True


def subject_of(itop: ItopInstance) -> Subject:
    return Subject(f"iTop “{itop.name}”")
