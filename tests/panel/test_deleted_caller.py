"""A person who is deleted in iTop while a ticket is being created for them."""

from __future__ import annotations

import pytest

from intercom_bridge.models import TicketCreation, TicketLink, Workspace
from sandbox.itop import Itop
from tests.teammate import Teammate

TYPED = {"Title": "Offline", "Description": "No network"}


@pytest.fixture
def filled(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate at the form for Alice, whom iTop no longer has."""
    teammate.open().click("Create a ticket")
    itop.store.remove("Person", 40)
    return teammate


def submit(teammate: Teammate) -> Teammate:
    return teammate.click("Create ticket", **TYPED)


def test_the_teammate_is_led_to_the_search_for_the_person(filled: Teammate, itop: Itop) -> None:
    submit(filled)
    assert "Alice Martin no longer exists in iTop. No ticket was created." in filled.text
    assert not TicketLink.objects.exists()
    # The form is kept.
    filled.click("Search", Search="durand").click("Bob Durand")
    assert filled.field("Title")["value"] == "Offline"
    filled.click("Create ticket")
    created = itop.store.load("UserRequest", TicketLink.objects.get().ticket.object_id)
    assert created is not None and created["caller_id"] == 41


def test_the_first_screen_knows_it_at_once(filled: Teammate) -> None:
    submit(filled)
    assert "Not found in iTop" in filled.open().text


def test_a_person_who_has_the_address_now_becomes_the_caller(filled: Teammate, itop: Itop) -> None:
    itop.store.insert("Person", first_name="Alicia", name="New", org_id=4, email="alice.martin@acme.example")
    submit(filled)
    assert "The caller no longer exists in iTop. No ticket was created." in filled.text
    assert "Caller: Alicia New, Acme Corp" in filled.text
    assert "choose again" not in filled.text
    filled.click("Not this person?", **TYPED).click("Search", Search="durand").click("Bob Durand")
    assert filled.field("Title")["value"] == "Offline"
    assert "Caller: Bob Durand" in filled.text


def test_a_chosen_person_who_is_gone_is_named_with_who_chose(teammate: Teammate, itop: Itop) -> None:
    teammate.open().send_click("who:pick:41").click("Create a ticket")
    itop.store.remove("Person", 41)
    submit(teammate)
    assert "Ada Reyes chose Bob Durand on" in teammate.text
    assert "no longer exists" in teammate.text


def test_a_rejection_in_the_background_leads_there_too(filled: Teammate) -> None:
    submit(filled)
    TicketCreation.objects.update(rejection_seen=False)
    key = TicketCreation.objects.get().form_key
    filled.send_click(f"creation:{key}")
    assert "Not found in iTop" in filled.text
    filled.click("Search", Search="durand").click("Bob Durand")
    assert filled.field("Title")["value"] == "Offline"
    assert "The caller is now Bob Durand" in filled.text
    assert "choose again" not in filled.text


def test_an_unknown_customers_ticket_can_be_created_from_the_same_form(
    filled: Teammate, workspace: Workspace
) -> None:
    workspace.default_caller_id = 41
    workspace.save()
    submit(filled)
    assert "The caller no longer exists in iTop" in filled.text
    assert "will be Bob Durand" in filled.text
    assert filled.field("Title")["value"] == "Offline"
