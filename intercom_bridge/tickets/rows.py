"""A ticket as the panel's lists and screens show it."""

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
    """A ticket in a list. Texts are "" if they are unknown.

    id: the ticket's id in iTop.
    status: the code of the status, or "" if iTop no longer has the ticket.
    assignee: the name of the agent or, if there is none, of the team.
    is_of_other_person: the contact is not the ticket's caller.
    is_of_other_organization: the contact does not belong to the ticket's organization.
    is_ongoing: the contact is the caller, and the status is not one that the profile excludes.
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
        """Whether the agents' work is done. The caller may still reopen the ticket."""
        return self.status in RESOLVED_STATES


@dataclass(frozen=True, kw_only=True)
class TicketList:
    """Tickets of a person, as iTop returned them at `fetched_at`. `has_more`: iTop has more of them."""

    rows: tuple[TicketRow, ...]
    has_more: bool
    fetched_at: dt.datetime


def subtitle_codes(context: PanelContext) -> tuple[str, ...]:
    """Return the attributes that may contain the subtitle. The first one that has a value is shown.

    For an external key, the first is the object's name.
    """
    code = context.profile.subtitle_attribute
    if code.endswith("_id"):
        return (f"{code}_friendlyname", code)
    return (code,) if code else ()


def row_codes(context: PanelContext) -> set[str]:
    """Return the attributes that every row needs: reference, status, and those that decide on the scope."""
    code = context.profile.code
    return {"id", "friendlyname", code("status"), code("org_id"), code("caller_id")}


def owner_codes(context: PanelContext) -> tuple[str, str]:
    """Return the attributes with the names of a ticket's caller and organization."""
    code = context.profile.code
    return f"{code('caller_id')}_friendlyname", f"{code('org_id')}_friendlyname"


def make_row(
    context: PanelContext, ticket: ItopObject, person: Person, linked_ids: Iterable[int]
) -> TicketRow:
    """Build the row of a ticket. `person` is the contact's Person; `linked_ids` are ids in iTop."""
    code = context.profile.code
    status = ticket.text(code("status"))
    is_caller = ticket.integer(code("caller_id")) == person.id
    caller_code, organization_code = owner_codes(context)
    return TicketRow(
        ticket_class=ticket.class_name,
        id=ticket.id,
        ref=ticket.text("friendlyname") or f"{ticket.class_name} {ticket.id}",
        title=ticket.text(code("title")),
        status=status,
        subtitle=_first_text(ticket, subtitle_codes(context)),
        caller=_text(ticket, caller_code),
        organization=_text(ticket, organization_code),
        assignee=_first_text(ticket, ASSIGNEE_NAMES),
        is_of_other_person=not is_caller,
        is_of_other_organization=ticket.integer(code("org_id")) != person.org_id,
        is_linked=ticket.id in linked_ids,
        is_ongoing=is_caller and status not in context.profile.excluded_states,
    )


def _first_text(ticket: ItopObject, codes: Iterable[str]) -> str:
    """Return the first of these attributes that is not empty, or ""."""
    texts = (_text(ticket, code) for code in codes)
    return next(filter(None, texts), "")


def _text(ticket: ItopObject, code: str) -> str:
    """Return an attribute as text. iTop returns a space as the name of a Person if there is none."""
    return ticket.text(code).strip()
