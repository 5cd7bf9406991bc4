"""A ticket in a list."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from intercom_bridge.models.ticket_profile import RESOLVED_STATES
from itop_client import ItopObject

from .context import PanelContext
from .people.person import Person

# The attributes with the names of a ticket's agent and team.
ASSIGNEE_NAMES = ("agent_id_friendlyname", "team_id_friendlyname")


@dataclass(frozen=True, kw_only=True)
class TicketRow:
    """A ticket in a list. An empty `status` means that iTop no longer has the ticket.

    `assignee` is the agent, or else the team. `is_of_other_person`, `is_of_other_organization`: neither the contact nor
    the contact's organization is who the ticket belongs to.
    """

    ticket_class: str
    id: int
    ref: str
    title: str = ""
    status: str = ""
    subtitle: str = ""
    caller: str = ""
    organization: str = ""
    assignee: str = ""
    is_of_other_person: bool = False
    is_of_other_organization: bool = False
    is_linked: bool = False
    is_ongoing: bool = False

    @property
    def is_resolved(self) -> bool:
        """Whether the work is done, and only the caller's confirmation is missing."""
        return self.status in RESOLVED_STATES


@dataclass(frozen=True, kw_only=True)
class TicketList:
    """Tickets of a person as iTop had them at `fetched_at`. `has_more`: iTop has more than it returned."""

    rows: tuple[TicketRow, ...]
    has_more: bool
    fetched_at: dt.datetime


def subtitle_codes(context: PanelContext) -> tuple[str, ...]:
    """Return the attributes that the subtitle is read from; for an external key its name comes first."""
    code = context.profile.subtitle_attribute
    if code.endswith("_id"):
        return (f"{code}_friendlyname", code)
    return (code,) if code else ()


def row_codes(context: PanelContext) -> set[str]:
    """Return the attributes that every row needs: name, status, and those that decide on the scope."""
    code = context.profile.code
    return {"id", "friendlyname", code("status"), code("org_id"), code("caller_id")}


def owner_codes(context: PanelContext) -> tuple[str, str]:
    """Return the attributes with the names of a ticket's caller and organization."""
    code = context.profile.code
    return f"{code('caller_id')}_friendlyname", f"{code('org_id')}_friendlyname"


def make_row(
    context: PanelContext, ticket: ItopObject, person: Person, linked_ids: Iterable[int]
) -> TicketRow:
    code = context.profile.code
    status = ticket.text(code("status"))
    is_mine = ticket.integer(code("caller_id")) == person.id
    caller, organization = (_name(ticket, name) for name in owner_codes(context))
    return TicketRow(
        ticket_class=ticket.class_name,
        id=ticket.id,
        ref=ticket.text("friendlyname") or f"{ticket.class_name} {ticket.id}",
        title=ticket.text(code("title")),
        status=status,
        subtitle=next((text for code in subtitle_codes(context) if (text := _name(ticket, code))), ""),
        caller=caller,
        organization=organization,
        assignee=next((text for name in ASSIGNEE_NAMES if (text := _name(ticket, name))), ""),
        is_of_other_person=not is_mine,
        is_of_other_organization=ticket.integer(code("org_id")) != person.org_id,
        is_linked=ticket.id in linked_ids,
        is_ongoing=is_mine and status not in context.profile.excluded_states,
    )


def _name(ticket: ItopObject, code: str) -> str:
    """Return a name, "" if there is none: iTop returns a space as the name of no Person."""
    return ticket.text(code).strip()
