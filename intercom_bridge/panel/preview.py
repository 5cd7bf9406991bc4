"""A preview for admins: the panel's screens for a sample person, with a ticket profile that may not be saved yet."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.utils import translation

from intercom_bridge.datamodel import Kind, TicketClass
from intercom_bridge.models import TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.errors import (
    OutOfScopeError,
    PersonNotResolvedError,
    TicketNotFoundError,
    TicketsError,
)
from intercom_bridge.tickets.listing import find_ongoing
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.preview import find_sample_person, sample_context
from itop_client import Deadline, ItopError, OqlError

from .click import Click
from .components import Canvas, LimitError
from .form.field import NOT_EDITABLE
from .form.form import Form
from .screens.create import create_form
from .screens.home import HomeScreen
from .screens.ticket import ticket_screen
from .screens.ticket_list import status_label

# Time for all queries to iTop. Admins can wait longer than Intercom does.
MAX_SECONDS = 15.0


@dataclass(frozen=True)
class ScreenPreview:
    """A screen. `response` is its canvas as Intercom would receive it, or None: then `problem` says why."""

    title: str
    response: dict[str, Any] | None = None
    problem: str = ""

    @property
    def kilobytes(self) -> str:
        """The size of the canvas's content, which Intercom limits to 64 KB."""
        content = (self.response or {}).get("canvas", {}).get("content")
        return f"{len(json.dumps(content)) / 1024:.1f}"


def preview_panel(
    workspace: Workspace, profile: TicketProfile, who: str
) -> tuple[list[ScreenPreview], list[str]]:
    """Return previews of the first screen, the create form and a ticket, and a sentence for each attribute left out.

    `who` is an e-mail address or the id of a Person, or "" for anyone in the workspace's scope.
    """
    context = sample_context(workspace, Deadline(MAX_SECONDS), profile)
    with translation.override(workspace.language):
        try:
            person = find_sample_person(context, who)
            # The screens call `find_person`, which returns the person in the memo.
            context.memo["find_person"] = person
            screens = [
                _preview("The first screen", lambda: _first_screen(context, person)),
                _preview("The create form", lambda: create_form(context, Form.new(context))),
                _preview("A ticket", lambda: _first_ticket(context, person)),
            ]
        except (OqlError, SecretDecryptionError, TicketsError, ItopError) as error:
            return [ScreenPreview("The panel", problem=_problem(error))], []
        return screens, list(_hidden_attributes(profile, context.ticket_class))


class _NoTicketError(TicketsError):
    """The sample person has no ongoing ticket."""


def _first_screen(context: PanelContext, person: Person) -> Canvas:
    tickets = find_ongoing(context, person)
    return HomeScreen(
        person=person,
        rows=tickets.rows,
        has_more=tickets.has_more,
        status_label=partial(status_label, context),
    ).to_canvas()


def _first_ticket(context: PanelContext, person: Person) -> Canvas:
    rows = find_ongoing(context, person).rows
    if not rows:
        raise _NoTicketError
    return ticket_screen(context, Click("ticket", (rows[0].ticket_class, str(rows[0].id))))


def _preview(title: str, build: Callable[[], Canvas]) -> ScreenPreview:
    try:
        return ScreenPreview(title, response=build().to_json())
    except (LimitError, TicketsError, ItopError) as error:
        return ScreenPreview(title, problem=_problem(error))


def _problem(error: Exception) -> str:
    """Return why a screen cannot be displayed, for an admin."""
    match error:
        case _NoTicketError():
            return "This person has no ongoing ticket."
        case PersonNotResolvedError():
            return "No matching person is in the scope of this workspace."
        case TicketNotFoundError() | OutOfScopeError():
            return "iTop did not return a ticket of this person."
        case LimitError():
            return f"Canvas Kit cannot display this: {error}"
        case ItopError():
            return f"iTop could not answer: {error}"
        case _:
            return str(error) or type(error).__name__


def _hidden_attributes(profile: TicketProfile, ticket_class: TicketClass) -> Iterator[str]:
    """Yield a sentence for each attribute of the profile that the panel does not display, with the reason."""
    if not ticket_class.attributes:
        yield f"The class {profile.ticket_class} is not known. Import iTop's data model to check the attributes."
        return
    for code in profile.form_attributes:
        if reason := _why_not_in_form(code, ticket_class):
            yield f"{code}, in the form: {reason}"
    for code in profile.details_attributes:
        attribute = ticket_class.attributes.get(code)
        # An attribute may exist although the data model does not name it: iTop adds some to each class, such as
        # friendlyname.
        if attribute is not None and attribute.kind in (Kind.LOG, Kind.OTHER):
            yield f"{code}, in the details: this type cannot be displayed in a table."


def _why_not_in_form(code: str, ticket_class: TicketClass) -> str:
    """Return why an attribute cannot be in the create form; "" if it can."""
    attribute = ticket_class.attributes.get(code)
    if attribute is None:
        return f"the class {ticket_class.name} does not have this attribute."
    if attribute.kind in NOT_EDITABLE:
        return "this type cannot be entered in a form."
    return "iTop fills it in for a new ticket, so it is left out." if attribute.is_read_only else ""
