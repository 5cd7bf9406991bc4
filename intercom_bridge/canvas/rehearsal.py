"""The panel's screens for a sample person, by a profile as it is being edited; and what of it cannot be shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils import translation

from intercom_bridge.canvas.components import Canvas, LimitError
from intercom_bridge.canvas.field import NOT_ASKED
from intercom_bridge.canvas.form import Form
from intercom_bridge.canvas.screens.create import create_form
from intercom_bridge.canvas.screens.home import home
from intercom_bridge.canvas.screens.ticket import ticket
from intercom_bridge.canvas.trail import Trail
from intercom_bridge.datamodel import Kind, TicketClass
from intercom_bridge.desk import Deadline, NobodyFound, OutOfScope
from intercom_bridge.desk.rehearsal import RehearsalDesk
from intercom_bridge.models import TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretUnreadable
from itop_client import ItopError, OqlError

SECONDS = 15.0


@dataclass(frozen=True)
class Rehearsed:
    """A screen: its canvas as Intercom would get it, or why there is none."""

    title: str
    answer: dict[str, Any] | None = None
    problem: str = ""

    @property
    def kilobytes(self) -> str:
        content = (self.answer or {}).get("canvas", {}).get("content")
        return f"{len(json.dumps(content)) / 1024:.1f}"


def rehearse(workspace: Workspace, profile: TicketProfile, who: str) -> tuple[list[Rehearsed], list[str]]:
    """The first screen, the create form and a ticket; and sentences about attributes that are not shown.

    `who` is an address or a Person's number; "" for anybody who is served.
    """
    with translation.override(workspace.language):
        try:
            desk = RehearsalDesk(workspace, profile, who, Deadline(SECONDS))
            screens = [
                _screen("The first screen", lambda: home(desk)),
                _screen("The create form", lambda: create_form(desk, Form.opened(desk))),
                _ticket(desk),
            ]
            return screens, list(_not_shown(profile, desk.ticket_class))
        except (OqlError, SecretUnreadable) as error:
            return [Rehearsed("The panel", problem=str(error))], []


def _ticket(desk: RehearsalDesk) -> Rehearsed:
    title = "A ticket"
    try:
        rows, _more = desk.tickets()
    except (NobodyFound, OutOfScope, ItopError) as error:
        return Rehearsed(title, problem=_words(error))
    if not rows:
        return Rehearsed(title, problem="This person has no ongoing ticket.")
    return _screen(title, lambda: ticket(desk, rows[0].ticket_class, rows[0].id, Trail()))


def _screen(title: str, make: Callable[[], Canvas]) -> Rehearsed:
    try:
        return Rehearsed(title, answer=make().to_json())
    except LimitError as error:
        return Rehearsed(title, problem=f"Canvas Kit could not show it: {error}")
    except (NobodyFound, OutOfScope, ItopError) as error:
        return Rehearsed(title, problem=_words(error))


def _words(error: Exception) -> str:
    if isinstance(error, NobodyFound | OutOfScope):
        return "The workspace serves nobody whom this leads to."
    return f"iTop could not say: {error}"


def _not_shown(profile: TicketProfile, ticket_class: TicketClass) -> Iterator[str]:
    if not ticket_class.attributes:
        yield f"Nothing is known of {profile.ticket_class}: import the data model of its iTop to have this checked."
        return
    for name, codes in (("form", profile.form_attributes), ("details", profile.details_attributes)):
        for code in codes:
            if reason := _why_not(name, code, ticket_class):
                yield f"{code}, in the {name}: {reason}"


def _why_not(where: str, code: str, ticket_class: TicketClass) -> str:
    one = ticket_class.attributes.get(code)
    if one is None:
        # What iTop adds to each class and to each external key can be shown, though no data model names it.
        return "" if where == "details" else f"{ticket_class.name} has no such attribute."
    if where == "details":
        return "it is of a type that no table can show." if one.kind in (Kind.LOG, Kind.OTHER) else ""
    if one.kind in NOT_ASKED:
        return "it is of a type that no form can ask for."
    return "iTop fills it in itself in a new ticket, so it is left out." if one.is_read_only else ""
