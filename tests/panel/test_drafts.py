"""What was typed into the create form is kept with the conversation and the teammate, for a day."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import FormDraft, TicketCreation, Workspace
from intercom_bridge.sync import retention
from sandbox.itop import Itop
from tests.teammate import ALICE, WORKSPACE, Teammate, conversation

from .rules import ask_for, learn, let_itop

FORM = "Create a ticket"
CREATE = "Create ticket"
TYPED = "What I typed"
RESTORED = "You filled in this form on"


def look_at_another(teammate: Teammate) -> None:
    """Open another conversation, and then this one again."""
    this = teammate.conversation
    teammate.conversation = conversation(id="another")
    teammate.open()
    assert TYPED not in teammate.text
    teammate.conversation = this
    teammate.open()


def title_after_a_look_at_another(teammate: Teammate) -> str:
    look_at_another(teammate)
    return str(teammate.click(FORM).field("Title")["value"])


def test_the_input_is_kept_after_a_failed_creation(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click(FORM)
    itop.faults.away = True
    teammate.click(CREATE, Title=TYPED)
    assert "Your input is kept" in teammate.text
    itop.faults.away = False
    assert title_after_a_look_at_another(teammate) == TYPED
    assert RESTORED in teammate.text
    # One click creates the ticket, and one only.
    teammate.click(CREATE)
    assert "created" in teammate.text
    assert [ticket["title"] for ticket in itop.store.all("UserRequest")].count(TYPED) == 1


@pytest.mark.parametrize("way", ["Back", "Show options for Service subcategory"])
def test_the_input_is_kept_with_every_click_of_the_form(
    teammate: Teammate, workspace: Workspace, way: str
) -> None:
    # The options depend on a text, so that there is a link.
    learn(
        workspace,
        servicesubcategory_id={
            "filter": "SELECT ServiceSubcategory AS s WHERE s.name = :this->pending_reason"
        },
    )
    ask_for(workspace, "pending_reason", "servicesubcategory_id")
    teammate.open().click(FORM).click(way, Title=TYPED)
    assert title_after_a_look_at_another(teammate) == TYPED


def test_a_choice_from_a_page_is_kept(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    ask_for(workspace, "approver_id")
    for number in range(20):
        itop.store.insert("Person", id=1000 + number, first_name="Extra", name=f"No. {number}", org_id=4)
    teammate.open().click(FORM).click("Choose from", Title=TYPED).click("Next").click("Extra No. 19")
    assert title_after_a_look_at_another(teammate) == TYPED
    assert "Approver: Extra No. 19" in teammate.text


def test_the_input_is_kept_after_an_invalid_one(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE, Title="", Description=TYPED)
    look_at_another(teammate)
    assert teammate.click(FORM).field("Description")["value"] == TYPED


def test_what_itop_rejected_in_the_background_is_kept(
    teammate: Teammate, itop: Itop, work: Callable[[], None], time_machine: Any
) -> None:
    teammate.open().click(FORM)
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.click(CREATE, Title=TYPED)
    assert "being created" in teammate.text
    let_itop(itop, "escalation_reason", mandatory=True)
    time_machine.move_to(timezone.now() + dt.timedelta(seconds=60))
    work()
    assert TicketCreation.objects.get().state == "refused"
    FormDraft.objects.all().delete()
    teammate.open().send_click(f"creation:{TicketCreation.objects.get().form_key}")
    assert teammate.field("Title")["value"] == TYPED
    assert title_after_a_look_at_another(teammate) == TYPED
    assert teammate.field("Escalation reason")


def test_opening_the_panel_and_the_form_stores_nothing(teammate: Teammate) -> None:
    teammate.open().click(FORM)
    assert not FormDraft.objects.exists()
    teammate.click("Back", Title=TYPED)
    [draft] = FormDraft.objects.values()
    teammate.open().click(FORM)
    assert FormDraft.objects.values().get() == draft


def test_a_draft_is_its_teammates_and_its_conversations(teammate: Teammate, client: Client) -> None:
    teammate.open().click(FORM).click("Back", Title=TYPED)
    bob = Teammate(client)
    bob.admin = {"type": "admin", "id": "77", "name": "Bob Roe", "email": "bob@acme.example"}
    assert bob.open().click(FORM).field("Title")["value"] != TYPED
    teammate.conversation = conversation(id="another")
    assert teammate.open().click(FORM).field("Title")["value"] != TYPED


def test_without_a_teammate_nothing_is_stored(teammate: Teammate) -> None:
    teammate.admin = {}
    teammate.open().click(FORM).click("Back", Title=TYPED)
    assert not FormDraft.objects.exists()


def test_a_created_ticket_ends_the_draft(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE, Title="", Description=TYPED)
    assert FormDraft.objects.exists()
    teammate.click(CREATE, Title=TYPED)
    assert "created" in teammate.text
    assert not FormDraft.objects.exists()
    # A second click of the same form brings nothing back.
    teammate.again()
    assert "created" in teammate.text
    assert not FormDraft.objects.exists()


def test_a_ticket_created_in_the_background_ends_the_draft(
    teammate: Teammate, itop: Itop, work: Callable[[], None], time_machine: Any
) -> None:
    teammate.open().click(FORM)
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click(CREATE, Title=TYPED)
    assert "being created" in teammate.text and FormDraft.objects.exists()
    time_machine.move_to(timezone.now() + dt.timedelta(seconds=60))
    work()
    assert TicketCreation.objects.get().state == "created"
    teammate.click("Home")
    assert not FormDraft.objects.exists()


def test_a_discarded_form_is_gone(teammate: Teammate) -> None:
    teammate.open().click(FORM).click("Discard the form", Title=TYPED)
    assert "Alice Martin" in teammate.text and "form" not in teammate.canvas["stored_data"]
    assert title_after_a_look_at_another(teammate) != TYPED
    assert RESTORED not in teammate.text


def test_a_discarded_form_is_gone_although_itop_is_away(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.open().click(FORM).click("Back", Title=TYPED).click(FORM)
    time_machine.move_to(timezone.now() + dt.timedelta(days=8))
    itop.faults.add("error500")
    teammate.click("Discard the form")
    assert not FormDraft.objects.exists()
    assert "form" not in teammate.canvas["stored_data"] and "entered is kept" not in teammate.text


def test_a_draft_is_offered_and_kept_for_a_day(teammate: Teammate, time_machine: Any) -> None:
    start = timezone.now()
    teammate.open().click(FORM).click("Back", Title=TYPED)
    time_machine.move_to(start + dt.timedelta(hours=23))
    retention.clean_payloads()
    assert teammate.open().click(FORM).field("Title")["value"] == TYPED
    time_machine.move_to(start + dt.timedelta(hours=25))
    assert teammate.open().click(FORM).field("Title")["value"] != TYPED
    retention.clean_payloads()
    assert not FormDraft.objects.exists()


def test_a_draft_is_exported_and_erased_with_its_contact(
    teammate: Teammate, capsys: pytest.CaptureFixture[str]
) -> None:
    teammate.open().click(FORM).click("Back", Title=TYPED)
    call_command("export_contact", WORKSPACE, ALICE["id"], audience="controller")
    [exported] = json.loads(capsys.readouterr().out)
    [row] = exported["conversations"][0]["form_drafts"]
    assert row["form"]["values"]["title"] == TYPED
    call_command("export_contact", WORKSPACE, ALICE["id"])
    assert TYPED not in capsys.readouterr().out
    call_command("erase_contact", WORKSPACE, ALICE["id"], no_input=True)
    models = apps.get_app_config("intercom_bridge").get_models()
    assert not any(TYPED in str(list(model._default_manager.values())) for model in models)


def test_a_draft_follows_a_changed_form(teammate: Teammate, workspace: Workspace) -> None:
    ask_for(workspace, "pending_reason")
    teammate.open().click(FORM).click("Back", Title=TYPED, **{"Pending reason": "Waiting"})
    ask_for(workspace, "urgency")
    teammate.open().click(FORM)
    assert [field["label"] for field in teammate.fields()][:2] == ["Title *", "Description *"]
    assert teammate.field("Title")["value"] == TYPED
    assert "Waiting" not in json.dumps(teammate.canvas)
