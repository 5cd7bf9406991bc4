"""What a teammate would see of a person, for an admin who tries a profile: nothing is kept, and nothing written."""

from __future__ import annotations

import copy

from intercom_bridge.deadline import Deadline
from intercom_bridge.intercom.payloads import Admin, CanvasRequest, Contact, Conversation, Part
from intercom_bridge.models import TicketProfile, Workspace
from itop_client import quote

from .desk import MOST_TICKETS, Desk, TicketRow
from .errors import NobodyFound, Why
from .evidence import positive, without_tag
from .person import Person

SAID = "<p>The export button does nothing.</p><p>I have tried it in two browsers since this morning.</p>"
# Where a scope depends on the person, each is asked about: of so many one is likely served.
MOST_LOOKED_AT = 10


class RehearsalDesk(Desk):
    """A desk for a person whom no conversation has brought; its profile may never have been saved."""

    def __init__(self, workspace: Workspace, profile: TicketProfile, who: str, deadline: Deadline) -> None:
        # The scope reads the profile of its workspace.
        workspace = copy.copy(workspace)
        workspace.profile = profile
        first = Part(kind="source", id="rehearsal", part_type="source", body=SAID)
        super().__init__(
            workspace,
            CanvasRequest(
                workspace_id=workspace.workspace_id,
                region=workspace.region,
                admin=Admin(),
                contact=Contact(),
                conversation=Conversation(id="rehearsal", source=first),
            ),
            deadline,
        )
        self._who = who.strip()

    def person(self) -> Person:
        """The person that is asked for, or the first one served. Raises NobodyFound, OutOfScope, ItopError."""
        if self._person is None:
            people, _more = self.scope.people(self._meant, MOST_LOOKED_AT)
            if not people:
                raise NobodyFound(Why.UNKNOWN)
            self._person = people[0]
        return self._person

    def _meant(self, alias: str) -> str:
        if number := positive(self._who):
            return f"{alias}.id = {number}"
        if self._who:
            return " OR ".join(
                f"{alias}.email = {quote(one)}" for one in (self._who, without_tag(self._who)) if one
            )
        return f"{alias}.id > 0"

    def tickets(self) -> tuple[list[TicketRow], bool]:
        person = self.person()
        found = self._search(person, {})
        rows = [self.row(one, person, {}) for one in found if self.scope.has_ticket(one, person)]
        return rows, found.total > MOST_TICKETS
