"""What each screen asks of iTop: a call is 67 ms at least, so that each one more has to be wanted."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from intercom_bridge.models import Workspace
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate

PERSON, TICKETS = ("core/get", "Person"), ("core/get", "UserRequest")
SERVICES, SUBCATEGORIES = ("core/get", "Service"), ("core/get", "ServiceSubcategory")
ACCOUNTS, CREATE = ("core/get", "User"), ("core/create", "UserRequest")

TO_TICKET = ("open", "ongoing tickets", "R-000008")
TO_LINK = (*TO_TICKET, "Link to this conversation", "Link from now on")
TO_FORM = ("open", "Create a ticket")
LATER = "half a minute passes"
MUCH_LATER = "six minutes pass"

FLICKERS = {"Reference": "flickers"}
FIND_PAGE = {
    "content": {"components": [{"type": "input", "id": "find", "label": "Reference"}]},
    "stored_data": {},
}

# The screen, the way to it, and what the last step of that asks of iTop. A step is a click on these words.
SCREENS = (
    ("home, of a person seen first", ("open",), [PERSON, TICKETS]),
    ("home, again", ("open", "open"), []),
    ("home, later", ("open", LATER, "open"), [TICKETS]),
    ("ongoing tickets", ("open", "ongoing tickets"), []),
    ("ongoing tickets, later", ("open", LATER, "ongoing tickets"), [TICKETS]),
    ("a ticket", TO_TICKET, [TICKETS]),
    ("back to the list", (*TO_TICKET, "Back"), []),
    ("whether to copy", TO_LINK[:-1], [TICKETS]),
    ("a link", TO_LINK, [TICKETS]),
    ("home after a link", (*TO_LINK, "Done"), [TICKETS]),
    ("linked tickets", (*TO_LINK, "Done", "1 linked ticket"), []),
    ("how the sync stands", (*TO_LINK, "Done", "The sync is on"), []),
    ("a pause", (*TO_LINK, "Done", "Pause the sync"), []),
    ("an end of the pause", (*TO_LINK, "Done", "Pause the sync", LATER, "Resume the sync"), [TICKETS]),
    ("the form", TO_FORM, [SERVICES]),
    ("the form, again", (*TO_FORM, "Cancel", "Create a ticket"), []),
    ("the form, later", (*TO_FORM, "Cancel", MUCH_LATER, "Create a ticket"), [SERVICES]),
    ("a service's subcategories", (*TO_FORM, "Show the choices of Service subcategory"), [SUBCATEGORIES]),
    (
        "a service's subcategories, again",
        (*TO_FORM, "Show the choices of Service subcategory", "Create the ticket"),
        [ACCOUNTS, CREATE],
    ),
    ("a creation", (*TO_FORM, "Create the ticket"), [ACCOUNTS, CREATE]),
    (
        "a creation, of a form that was long open",
        (*TO_FORM, LATER, "Create the ticket"),
        [TICKETS, ACCOUNTS, CREATE],
    ),
    (
        "a ticket that may be the same",
        (*TO_FORM, "Create the ticket", *TO_FORM, "Create the ticket"),
        [TICKETS],
    ),
    ("who it may be otherwise", ("open", "Not this person?"), [PERSON]),
    ("the page to search on", ("open", "Find a ticket"), []),
    ("unlink, asked", (*TO_LINK, "Done", "1 linked ticket", "R-000008", "Unlink"), []),
    ("unlinked", (*TO_LINK, "Done", "1 linked ticket", "R-000008", "Unlink", "Unlink"), []),
    ("home after a creation", (*TO_FORM, "Create the ticket", "Done"), [TICKETS]),
    (
        "a creation with known authors",
        (*TO_FORM, "Create the ticket", *TO_FORM, "Create the ticket", "Create anyway"),
        [CREATE],
    ),
)


def test_a_lead_whom_itop_does_not_know_asks_no_more_than_a_customer(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.contact = ALICE | {"id": "a-lead", "email": "nobody@acme.example", "name": "Alice"}
    now = dt.datetime.now(dt.UTC)
    time_machine.move_to(now, tick=False)
    asked = []
    for seconds in (0, 10, 19, 21):
        time_machine.move_to(now + dt.timedelta(seconds=seconds), tick=False)
        itop.calls.clear()
        teammate.open()
        assert "Alice Martin" in teammate.text
        asked.append(list(itop.calls))
    assert asked == [[PERSON, PERSON], [], [], [PERSON, PERSON]]


@pytest.mark.parametrize("code", ["no_such_thing", "no_such_thing_id"])
def test_a_subtitle_that_itop_does_not_have_costs_one_call_once_for_all_screens(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any, code: str
) -> None:
    workspace.profile.subtitle_attribute = code
    workspace.profile.save()
    now = dt.datetime.now(dt.UTC)
    asked = []
    for seconds, screen in (
        (0, "home"),
        (30, "home"),
        (60, "find"),
        (90, "find"),
        (120, "home"),
        (800, "find"),
    ):
        time_machine.move_to(now + dt.timedelta(seconds=seconds))
        itop.calls.clear()
        if screen == "home":
            assert "5 ongoing tickets" in teammate.open().text
        else:
            teammate.canvas = FIND_PAGE
            assert "R-000008" in teammate.send_click("find", FLICKERS).text
        asked.append(itop.calls.count(TICKETS))
    assert asked == [2, 1, 1, 1, 1, 2]


def test_whom_a_colleague_has_picked_is_known_at_once(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ALICE | {"id": "a-lead", "email": "nobody@acme.example", "name": "Alice"}
    teammate.open().open().click("Alice Martin").open()
    assert "picked by Ada Reyes" in teammate.text


def test_another_address_of_the_contact_is_asked_about_at_once(teammate: Teammate) -> None:
    teammate.contact = ALICE | {"email": "nobody@acme.example"}
    teammate.open()
    teammate.contact = ALICE
    assert "found by e-mail" in teammate.open().text


@pytest.mark.parametrize(
    ("way", "calls"), [pytest.param(way, calls, id=name) for name, way, calls in SCREENS]
)
def test_a_screen_asks_of_itop(
    teammate: Teammate, itop: Itop, time_machine: Any, way: tuple[str, ...], calls: list[tuple[str, str]]
) -> None:
    now = dt.datetime.now(dt.UTC)
    for step in way:
        itop.calls.clear()
        if step == "open":
            teammate.open()
        elif step in (LATER, MUCH_LATER):
            now += dt.timedelta(seconds=30 if step == LATER else 360)
            time_machine.move_to(now)
        elif step == "Show the choices of Service subcategory":
            teammate.click(step, Service=teammate.option("Service", "Workplace"))
        else:
            teammate.click(step)
    assert itop.calls == calls
