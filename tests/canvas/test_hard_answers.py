"""Answers that are hard to give: the panel gives them all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.models import Submission, Workspace
from sandbox.itop import Itop
from tests.canvas.rules import let_itop
from tests.teammate import Teammate, conversation, part

Work = Callable[[], None]


@pytest.mark.parametrize("typed", ["x" * 40_000, "щ" * 20_000, "😀" * 20_000, '"\\' * 20_000])
def test_what_does_not_fit_is_cut_and_said_so(teammate: Teammate, typed: str) -> None:
    teammate.open().click("Create a ticket")
    teammate.click("Create the ticket", Title=typed, Description=typed)
    assert "Too long" in teammate.text
    teammate.click("Create the ticket", Title="Short", Description=typed)
    assert "is created" in teammate.text


@pytest.mark.parametrize("strange", ["\ud800", "\x00", "a\ud800b\x07c"])
def test_lone_surrogates_in_stored_data_break_no_answer(teammate: Teammate, strange: str) -> None:
    teammate.open()
    teammate.canvas = {
        "content": {"components": []},
        "stored_data": {
            "form": {"key": strange, "values": {"title": strange}},
            "search": strange,
            "back": strange,
        },
    }
    for component_id in (
        "form:show",
        "form:pick:service_id:1",
        "form:submit",
        "ticket:UserRequest:8",
        "home",
    ):
        teammate.send_click(component_id)


def test_a_refusal_that_came_in_the_background_comes_back_with_the_form(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.click("Create the ticket", Title="Mine")
    assert "on its way" in teammate.text
    Submission.objects.update(due_at=timezone.now())
    work()
    teammate.click("Look again")
    assert "iTop needs this." in teammate.text
    assert teammate.field("Title")["value"] == "Mine"
    assert teammate.field("Escalation reason")["save_state"] == "failed"


def test_a_transcript_that_is_not_whole_says_so(teammate: Teammate) -> None:
    teammate.conversation = conversation(part(1, "<p>x</p>")) | {
        "conversation_parts": {"conversation_parts": [part(1, "<p>x</p>")], "total_count": 40}
    }
    teammate.open().click("Create a ticket").click("Create the ticket")
    assert "only the newest 1 could be copied" in teammate.text


def test_the_teammate_is_told_that_the_customer_is_told(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create the ticket")
    assert "The customer gets a message" in teammate.text


def test_an_intercom_that_refuses_our_token_is_said_with_who_can_mend_it(
    teammate: Teammate, workspace: Workspace, settings: Any
) -> None:
    from sandbox.intercom import running_intercom

    with running_intercom() as intercom:
        settings.INTERCOM_API_URL = intercom.url
        workspace.access_token = "an old one"
        workspace.save()
        teammate.conversation = conversation() | {
            "conversation_parts": {"conversation_parts": [], "total_count": 4}
        }
        teammate.open().click("Create a ticket").click("Create the ticket")
    assert "Intercom refuses our access token" in teammate.text
    assert "admin has to renew" in teammate.text


def test_a_person_with_hundreds_of_tickets_still_sees_the_linked_ones(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("ongoing tickets").click("R-000008").click("Link")
    if "is linked" not in teammate.text:
        teammate.click("from now on")
    from intercom_bridge.connections import itop_client
    from intercom_bridge.models import ItopInstance

    row = itop.store.load("UserRequest", 8)
    assert row is not None
    for number in range(205):
        itop.store.insert_row({**row, "id": 5000 + number, "ref": f"R-9{number:05}", "title": f"T{number}"})
    assert itop_client(ItopInstance.objects.get())
    teammate.open()
    assert "1 linked ticket" in teammate.text
    assert "More than 200 ongoing" in teammate.text


def test_a_ticket_that_left_the_scope_is_not_listed(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    itop.store.update("UserRequest", 8, org_id=3)
    teammate.open().click("ongoing tickets")
    assert "R-000008" not in teammate.text
    assert "R-000006" in teammate.text


def test_home_tells_of_a_creation_that_is_under_way_and_leads_to_its_end(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create the ticket")
    teammate.click("Home")
    teammate.click("A ticket is on its way")
    assert "made once, however often you press" in teammate.text
    Submission.objects.update(due_at=timezone.now())
    work()
    teammate.click("Look again")
    assert "is created" in teammate.text
    assert "on its way" not in teammate.open().text


def test_home_tells_of_a_creation_that_was_refused_when_nobody_was_looking(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.click("Create the ticket")
    Submission.objects.update(due_at=timezone.now())
    work()
    teammate.open().click("A ticket could not be created")
    assert "iTop needs this." in teammate.text
    teammate.click("Create the ticket", **{"Escalation reason": "The board asked"})
    assert "is created" in teammate.text
    assert "could not be created" not in teammate.open().text
