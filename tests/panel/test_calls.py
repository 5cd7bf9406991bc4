"""The calls to iTop of each screen. A call takes at least 67 ms, so an additional one must be deliberate."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from intercom_bridge.models import Conversation, Workspace
from intercom_bridge.tickets.conversation import find_conversation, get_or_create_conversation
from intercom_bridge.tickets.preview import sample_context
from itop_client import Deadline
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate

PERSON, TICKETS = ("core/get", "Person"), ("core/get", "UserRequest")
SERVICES, SUBCATEGORIES = ("core/get", "Service"), ("core/get", "ServiceSubcategory")
ACCOUNTS, CREATE = ("core/get", "User"), ("core/create", "UserRequest")
# Whether the message to the customer contains a link.
PORTAL = ("core/get", "User")

TO_TICKET = ("open", "open tickets", "R-000008")
TO_LINK = (*TO_TICKET, "Link to this conversation", "Link without earlier messages")
TO_FORM = ("open", "Create a ticket")
CHOOSE_A_SERVICE = "(choose a service)"
LATER = "half a minute passes"
MUCH_LATER = "six minutes pass"

FLICKERS = {"Reference": "flickers"}
FIND_PAGE = {
    "content": {"components": [{"type": "input", "id": "find", "label": "Reference"}]},
    "stored_data": {},
}

# The screen, the steps to it, and the calls to iTop of the last step. A step is a click on this label.
SCREENS: tuple[tuple[Any, ...], ...] = (
    ("home, new person", ("open",), [PERSON, TICKETS]),
    ("home, again", ("open", "open"), []),
    ("home, later", ("open", LATER, "open"), [TICKETS]),
    ("open tickets", ("open", "open tickets"), []),
    ("open tickets, later", ("open", LATER, "open tickets"), [TICKETS]),
    ("a ticket", TO_TICKET, [TICKETS]),
    ("back to the list", (*TO_TICKET, "Back"), []),
    ("the question whether to copy", TO_LINK[:-1], [TICKETS]),
    ("a link", TO_LINK, [TICKETS]),
    ("home after a link", (*TO_LINK, "Done"), [TICKETS]),
    ("a linked ticket", (*TO_LINK, "Done", "R-000008"), [TICKETS]),
    ("sync status", (*TO_LINK, "Done", "Sync on"), []),
    ("a pause", (*TO_LINK, "Done", "Pause sync"), []),
    ("a resume", (*TO_LINK, "Done", "Pause sync", LATER, "Resume sync"), [TICKETS]),
    ("the form", TO_FORM, [SERVICES]),
    ("the form, again", (*TO_FORM, "Back", "Create a ticket"), []),
    ("the form, later", (*TO_FORM, "Back", MUCH_LATER, "Create a ticket"), [SERVICES]),
    ("a service's subcategories", (*TO_FORM, CHOOSE_A_SERVICE), [SUBCATEGORIES]),
    (
        "a service's subcategories, again",
        (*TO_FORM, CHOOSE_A_SERVICE, "Create ticket"),
        [PORTAL, ACCOUNTS, CREATE],
    ),
    ("a creation", (*TO_FORM, "Create ticket"), [PORTAL, ACCOUNTS, CREATE]),
    ("a creation, from an old form", (*TO_FORM, LATER, "Create ticket"), [TICKETS, PORTAL, ACCOUNTS, CREATE]),
    ("a possible duplicate", (*TO_FORM, "Create ticket", *TO_FORM, "Create ticket"), [TICKETS]),
    ("the choice of another person", ("open", "Not this person?"), [PERSON]),
    ("the search page", ("open", "Find a ticket"), []),
    ("unlink, question", (*TO_LINK, "Done", "R-000008", "Unlink"), []),
    ("unlinked", (*TO_LINK, "Done", "R-000008", "Unlink", "Unlink"), []),
    ("home after a creation", (*TO_FORM, "Create ticket", "Done"), [TICKETS]),
    (
        "a creation with known authors",
        (*TO_FORM, "Create ticket", *TO_FORM, "Create ticket", "Create anyway"),
        [CREATE],
    ),
)


def test_an_unknown_lead_costs_no_more_calls_than_a_customer(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.contact = ALICE | {"id": "a-lead", "email": "nobody@acme.example", "name": "Alice"}
    now = dt.datetime.now(dt.UTC)
    time_machine.move_to(now, tick=False)
    calls = []
    for seconds in (0, 10, 19, 21):
        time_machine.move_to(now + dt.timedelta(seconds=seconds), tick=False)
        itop.calls.clear()
        teammate.open()
        assert "Alice Martin" in teammate.text
        calls.append(list(itop.calls))
    assert calls == [[PERSON, PERSON], [], [], [PERSON, PERSON]]


@pytest.mark.parametrize("code", ["no_such_thing", "no_such_thing_id"])
def test_an_unknown_subtitle_attribute_costs_one_extra_call_for_all_screens(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any, code: str
) -> None:
    workspace.profile.subtitle_attribute = code
    workspace.profile.save()
    now = dt.datetime.now(dt.UTC)
    calls = []
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
            assert "4 open tickets, 1 resolved" in teammate.open().text
        else:
            teammate.canvas = FIND_PAGE
            assert "R-000008" in teammate.send_click("find", FLICKERS).text
        calls.append(itop.calls.count(TICKETS))
    assert calls == [2, 1, 1, 1, 1, 2]


def test_a_person_picked_by_a_colleague_is_recognized_immediately(teammate: Teammate, itop: Itop) -> None:
    teammate.contact = ALICE | {"id": "a-lead", "email": "nobody@acme.example", "name": "Alice"}
    teammate.open().open().click("Alice Martin").open()
    assert "chosen by Ada Reyes" in teammate.text


def test_a_changed_address_is_looked_up_immediately(teammate: Teammate) -> None:
    teammate.contact = ALICE | {"email": "nobody@acme.example"}
    teammate.open()
    teammate.contact = ALICE
    assert "matched by e-mail" in teammate.open().text


@pytest.mark.parametrize(
    ("steps", "calls"), [pytest.param(steps, calls, id=name) for name, steps, calls in SCREENS]
)
def test_each_screen_makes_only_the_expected_itop_calls(
    teammate: Teammate, itop: Itop, time_machine: Any, steps: tuple[str, ...], calls: list[tuple[str, str]]
) -> None:
    now = dt.datetime.now(dt.UTC)
    for step in steps:
        itop.calls.clear()
        if step == "open":
            teammate.open()
        elif step in (LATER, MUCH_LATER):
            now += dt.timedelta(seconds=30 if step == LATER else 360)
            time_machine.move_to(now)
        elif step == CHOOSE_A_SERVICE:
            teammate.choose("Service", "Workplace")
        else:
            teammate.click(step)
    assert itop.calls == calls


def test_a_click_queries_its_conversation_once(teammate: Teammate) -> None:
    teammate.link("R-000008").open()
    for label in ("R-000008", "Unlink"):
        with CaptureQueriesContext(connection) as queries:
            teammate.click(label)
        found = [query["sql"] for query in queries if 'FROM "intercom_bridge_conversation"' in query["sql"]]
        assert len(found) == 1, label


def test_an_unknown_conversation_is_queried_once(teammate: Teammate) -> None:
    with CaptureQueriesContext(connection) as queries:
        teammate.open()
    found = [query["sql"] for query in queries if 'FROM "intercom_bridge_conversation"' in query["sql"]]
    assert len(found) == 1
    assert not Conversation.objects.exists()


def test_a_conversation_that_a_click_creates_is_found_by_the_same_click(workspace: Workspace) -> None:
    context = sample_context(workspace, Deadline(4), workspace.profile)
    assert find_conversation(context) is None
    created = get_or_create_conversation(context)
    assert find_conversation(context) == created
