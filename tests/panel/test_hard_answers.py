"""The panel handles oversized and invalid input, and errors in the background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.models import TicketCreation, Workspace
from intercom_bridge.panel import router
from intercom_bridge.wake import EVERYTHING
from sandbox.itop import Itop
from tests.teammate import Teammate, conversation, part

from .rules import let_itop

Work = Callable[[], None]


@pytest.mark.parametrize(
    "typed",
    ["x" * 40_000, "щ" * 20_000, "😀" * 20_000, '"\\' * 20_000],
    ids=["letters", "two bytes each", "four bytes each", "escaped"],
)
def test_oversized_input_is_truncated_and_reported(teammate: Teammate, typed: str) -> None:
    teammate.open().click("Create a ticket")
    teammate.click("Create ticket", Title=typed, Description=typed)
    assert "Too long" in teammate.text
    teammate.click("Create ticket", Title="Short", Description=typed)
    if len(typed.encode()) > 65_535:
        # iTop's database counts bytes. What the form kept of the text fits.
        assert "Too long: the text takes 80007 bytes" in teammate.text
        teammate.click("Create ticket")
    assert "created" in teammate.text


@pytest.mark.parametrize("strange", ["\ud800", "\x00", "a\ud800b\x07c"])
def test_invalid_characters_in_stored_data_cause_no_error(teammate: Teammate, strange: str) -> None:
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


def test_a_rejection_in_the_background_restores_the_form(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.click("Create ticket", Title="Mine")
    assert "being created" in teammate.text
    TicketCreation.objects.update(due_at=timezone.now())
    work()
    teammate.click("Check again")
    assert "iTop requires this field." in teammate.text
    assert teammate.field("Title")["value"] == "Mine"
    assert teammate.field("Escalation reason")["save_state"] == "failed"


def test_an_incomplete_transcript_is_reported(teammate: Teammate) -> None:
    teammate.conversation = conversation(part(1, "<p>x</p>")) | {
        "conversation_parts": {"conversation_parts": [part(1, "<p>x</p>")], "total_count": 40}
    }
    teammate.open().click("Create a ticket").click("Create ticket")
    assert "Only the newest 1 " in teammate.text


def test_the_teammate_learns_that_the_customer_was_notified(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")
    assert "The customer has been sent a link" in teammate.text


def test_a_token_rejected_by_intercom_is_reported_with_what_to_do(
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
        teammate.open().click("Create a ticket").click("Create ticket")
    assert "Intercom refuses the access token" in teammate.text
    assert "admin must renew" in teammate.text


def test_linked_tickets_are_counted_beside_hundreds_of_others(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("open tickets").click("R-000008").click("Link")
    if "linked" not in teammate.text:
        teammate.click("without earlier")
    from intercom_bridge.connections import itop_client
    from intercom_bridge.models import ItopInstance

    row = itop.store.load("UserRequest", 8)
    assert row is not None
    for number in range(205):
        itop.store.insert_row({**row, "id": 5000 + number, "ref": f"R-9{number:05}", "title": f"T{number}"})
    assert itop_client(ItopInstance.objects.get())
    teammate.open()
    assert "Sync on" in teammate.text
    assert "At least 201 open tickets" in teammate.text


def test_a_ticket_that_left_the_scope_is_not_listed(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    itop.store.update("UserRequest", 8, org_id=3)
    teammate.open().click("open tickets")
    assert "R-000008" not in teammate.text
    assert "R-000006" in teammate.text


def test_home_reports_a_pending_creation_and_leads_to_its_result(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create ticket")
    teammate.click("Home")
    teammate.click("A ticket is being created")
    assert "however often you click" in teammate.text
    TicketCreation.objects.update(due_at=timezone.now())
    work()
    teammate.click("Check again")
    assert "created" in teammate.text
    assert "being created" not in teammate.open().text


def test_a_choice_of_the_person_that_leads_to_a_pending_creation_wakes_a_worker(
    teammate: Teammate, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create ticket")
    creation = TicketCreation.objects.get()
    teammate.open()
    teammate.canvas["stored_data"]["who"] = {"then": f"creation:{creation.form_key}"}
    topics: list[str] = []
    monkeypatch.setattr(router, "wake", topics.append)
    teammate.send_click("who:pick:41")
    assert "however often you click" in teammate.text
    assert topics == [EVERYTHING]


def test_home_reports_a_creation_that_was_rejected_in_the_background(
    teammate: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    let_itop(itop, "escalation_reason", mandatory=True)
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.click("Create ticket")
    TicketCreation.objects.update(due_at=timezone.now())
    work()
    teammate.open().click("A ticket could not be created")
    assert "iTop requires this field." in teammate.text
    teammate.click("Create ticket", **{"Escalation reason": "The board asked"})
    assert "created" in teammate.text
    assert "could not be created" not in teammate.open().text
