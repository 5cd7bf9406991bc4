"""Make up a panel request, with which an admin tests a scope or a ticket profile."""

import copy

from intercom_bridge.intercom.payloads import Admin, CanvasRequest, Contact, Conversation, Part
from intercom_bridge.models import TicketProfile, Workspace
from itop_client import Deadline, quote

from .context import PanelContext
from .errors import MatchFailure, PersonNotResolvedError
from .people.evidence import parse_id, without_tag
from .people.person import Person
from .scope import find_people

SAMPLE_MESSAGE = (
    "<p>The export button does nothing.</p><p>I have tried it in two browsers since this morning.</p>"
)
# How many persons are checked if the scope depends on the person. One of so many is probably in scope.
MAX_CHECKED = 10


def sample_context(
    workspace: Workspace, deadline: Deadline, profile: TicketProfile | None = None
) -> PanelContext:
    """Return a context with a sample conversation, for code that needs a context outside the panel.

    `profile` replaces the workspace's profile, and may be unsaved.
    """
    workspace = copy.copy(workspace)
    if profile is not None:
        workspace.profile = profile
    source = Part(kind="source", id="preview", part_type="source", body=SAMPLE_MESSAGE)
    request = CanvasRequest(
        workspace_id=workspace.workspace_id,
        admin=Admin(),
        contact=Contact(),
        conversation=Conversation(id="preview", source=source),
    )
    return PanelContext(workspace=workspace, request=request, deadline=deadline)


def find_sample_person(context: PanelContext, who: str) -> Person:
    """Return the person in scope with this e-mail address or id, or any person in scope if `who` is "".

    Raise PersonNotResolvedError or ItopError.
    """
    people, _has_more = find_people(context, lambda alias: person_condition(who, alias), MAX_CHECKED)
    if not people:
        raise PersonNotResolvedError(MatchFailure.UNKNOWN)
    return people[0]


def person_condition(who: str, alias: str) -> str:
    """Return OQL for the persons with this id or e-mail address, or for all persons if `who` is ""."""
    who = who.strip()
    if number := parse_id(who):
        return f"{alias}.id = {number}"
    addresses = [address for address in (who, without_tag(who)) if address]
    return " OR ".join(f"{alias}.email = {quote(address)}" for address in addresses) or f"{alias}.id > 0"
