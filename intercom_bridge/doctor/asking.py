"""The questions to one iTop: each has a deadline, and so have all of them together where somebody waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from itop_client import Client, Found, ItopNotAllowed

from .finding import Subject

QUESTION_SECONDS = 5.0
# What all that a page of the admin asks may take: nginx waits 30 seconds (proxy_read_timeout). Before iTop's turn
# Intercom and our own address take 21 at most.
PAGE_SECONDS = 27.0


class OutOfTime(Exception):
    """There is no time left for another question: nobody's fault."""


class Asking:
    """What all questions to an iTop share. `workspaces` are those whose profiles and scopes are looked at."""

    def __init__(
        self,
        itop: ItopInstance,
        workspaces: Sequence[Workspace],
        client: Client,
        deadline: Deadline | None = None,
    ) -> None:
        self.itop = itop
        self.workspaces = workspaces
        self.client = client
        self.subject = subject_of(itop)
        self._deadline = deadline

    @property
    def seconds(self) -> float:
        """The deadline of the next question. Raises OutOfTime where it could not have all of it: what iTop does not
        answer is to be iTop's doing, not ours."""
        if self._deadline is not None and self._deadline.remaining() < QUESTION_SECONDS:
            raise OutOfTime
        return QUESTION_SECONDS

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
