"""A desk that asks nobody: what iTop said last, for when it does not answer."""

from __future__ import annotations

import datetime as dt
from functools import cached_property

from django.utils.translation import gettext as _

from intercom_bridge.models import ItopAnswer, Workspace
from itop_client import Query, parse

from .desk import Desk, TicketRow
from .known_tickets import Said
from .person import Person, last_known
from .scope import Scope


class NothingKnown(Exception):
    """iTop has never told us who this is, whether they are served, or which tickets they have."""


class LastKnown(Desk):
    """Answers `person` and `tickets` from what was kept, under the same scope; raises NothingKnown."""

    @classmethod
    def of(cls, desk: Desk) -> LastKnown:
        return cls(desk.workspace, desk.request, desk.deadline)

    @cached_property
    def scope(self) -> Scope:
        return _LastVerdicts(self.workspace)

    def person(self) -> Person:
        if self._person is None:
            person = last_known(self.request.contact, self.workspace, self.scope.attributes())
            if person is None or not self.scope.serves(person):
                raise NothingKnown
            self._person = person
        return self._person

    @cached_property
    def _said(self) -> Said[TicketRow]:
        said = self.memory(self.person()).last()
        if said is None:
            raise NothingKnown
        return said

    @property
    def said_at(self) -> dt.datetime:
        """When iTop said it, in the workspace's time zone."""
        return self._said.at.astimezone(self.workspace.zone)

    def tickets(self) -> tuple[list[TicketRow], bool]:
        """As they were; those that were linked since have only their reference."""
        links = self.links()
        known = self.rows_now(self._said.rows, links)
        rows = [row for row in known if row.is_linked or row.is_ongoing]
        missing = links.keys() - {row.id for row in rows}
        rows += [
            _unknown_row(self.profile.ticket_class, links[one].ticket.ref, one)
            for one in links
            if one in missing
        ]
        return rows, self._said.more

    def known_row(self, ticket_class: str, ticket_id: int) -> TicketRow:
        """One of these tickets."""
        if ticket_class == self.profile.ticket_class:
            for row in self.tickets()[0]:
                if row.id == ticket_id:
                    return row
        raise NothingKnown


class _LastVerdicts(Scope):
    """What iTop said last of whom the workspace serves. What it never said counts as no."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._query = parse(workspace.scope)

    def _verdict(self, query: Query) -> bool:
        answer = ItopAnswer.objects.last_said(self._workspace.itop, self._question(query))
        return answer is not None and bool(answer.value)


def _unknown_row(ticket_class: str, ref: str, ticket_id: int) -> TicketRow:
    return TicketRow(
        ticket_class=ticket_class,
        id=ticket_id,
        ref=ref,
        title="",
        status=_("state not known"),
        subtitle="",
        is_linked=True,
        is_ongoing=False,
    )
