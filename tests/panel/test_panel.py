"""The panel as a teammate uses it, against the sandbox's iTop."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from intercom_bridge.models import (
    CachedAnswer,
    CachedTickets,
    Delivery,
    OutgoingMessage,
    PersonMatch,
    Secret,
    Ticket,
    TicketCreation,
    TicketLink,
    Workspace,
)
from sandbox.itop import Itop
from tests.teammate import ADA, ALICE, Teammate, author_of, conversation, part

Work = Callable[[], None]


def create(teammate: Teammate, **typed: str) -> Teammate:
    teammate.open().click("Create a ticket")
    return teammate.click("Create ticket", **({"Title": "Export is broken"} | typed))


def newest_ticket(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"]))


# Home


def test_home_displays_the_person_and_the_match_method(teammate: Teammate) -> None:
    teammate.open()
    assert "Alice Martin" in teammate.text
    assert "Acme Corp · matched by e-mail" in teammate.text
    assert "Create a ticket" in teammate.text
    assert "No linked tickets" in teammate.text


def test_home_counts_ongoing_tickets_without_excluded_states(teammate: Teammate) -> None:
    teammate.open()
    # Recording 033: five of Alice's tickets are neither closed nor rejected.
    assert "4 open tickets, 1 resolved" in teammate.text


def test_home_costs_one_call_for_a_known_person_and_three_for_a_new_one(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any
) -> None:
    workspace.scope = "SELECT Organization WHERE name LIKE 'Acme%'"
    workspace.save()
    teammate.open()
    assert itop.calls == [("core/get", "Person"), ("core/get", "Organization"), ("core/get", "UserRequest")]
    itop.calls.clear()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=21))
    teammate.open()
    assert itop.calls == [("core/get", "UserRequest")]


def test_the_person_and_the_scope_are_checked_again_after_ten_minutes(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any
) -> None:
    workspace.scope = "SELECT Organization WHERE name LIKE 'Acme%'"
    workspace.save()
    teammate.open()
    itop.calls.clear()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=601))
    teammate.open()
    assert len(itop.calls) == 3


def test_home_respects_the_height_limit_and_has_no_primary_button(teammate: Teammate) -> None:
    from intercom_bridge.panel.components import MAX_FIRST_SCREEN_HEIGHT, estimated_height
    from intercom_bridge.panel.screens import home as screen

    heights = []
    original = screen.Canvas

    def measured(**parts: Any) -> Any:
        canvas = original(**parts)
        heights.append(estimated_height(canvas.components))
        return canvas

    screen.Canvas = measured  # type: ignore[misc,assignment]
    try:
        create(teammate).click("Done")
    finally:
        screen.Canvas = original  # type: ignore[misc]
    assert max(heights) <= MAX_FIRST_SCREEN_HEIGHT
    assert not [component for component in teammate.components if component.get("style") == "primary"]


def test_the_itop_id_of_a_contact_takes_precedence_over_the_e_mail_address(teammate: Teammate) -> None:
    teammate.contact = ALICE | {
        "email": "somebody.else@acme.example",
        "custom_attributes": {"itop_contact_class": "Person", "itop_contact_id": "40"},
    }
    teammate.open()
    assert "Alice Martin" in teammate.text
    assert "matched by iTop ID" in teammate.text


def test_a_contact_with_a_changed_e_mail_address_is_matched_again(teammate: Teammate) -> None:
    teammate.open()
    teammate.contact = ALICE | {"email": "nobody@nowhere.example"}
    teammate.open()
    assert "Not found in iTop" in teammate.text
    assert "nobody@nowhere.example" in teammate.text


def test_an_unknown_e_mail_address_is_reported_with_what_to_do(teammate: Teammate) -> None:
    teammate.contact = ALICE | {"email": "nobody@nowhere.example"}
    teammate.open()
    assert "iTop has no person with the e-mail address nobody@nowhere.example" in teammate.text
    assert PersonMatch.objects.count() == 0


def test_a_lead_without_an_address_is_reported(teammate: Teammate) -> None:
    teammate.contact = ALICE | {"email": None, "role": "lead"}
    assert "no e-mail address" in teammate.open().text


# The scope


@pytest.mark.parametrize(
    ("scope", "served"),
    [
        ("SELECT Organization", True),
        ("SELECT Organization AS o WHERE o.name = 'Acme Corp' OR o.name = 'Nobody'", True),
        ("SELECT Organization WHERE name = 'Elsewhere'", False),
        (
            "SELECT Organization AS o JOIN Person AS p ON p.org_id = o.id WHERE p.id = :current_contact_id",
            True,
        ),
        ("SELECT Organization WHERE id = :current_contact->org_id", True),
        ("SELECT Organization WHERE name = 'x' UNION SELECT Organization WHERE name = 'Acme Corp'", True),
        ("SELECT Person WHERE email LIKE '%@acme.example'", True),
        ("SELECT Person WHERE name = ':current_contact_id'", False),
        ("SELECT Contact WHERE name = 'Martin'", True),
        ("SELECT User WHERE login = 'alice.martin'", True),
        ("SELECT User WHERE login = 'jules.verne'", False),
        ("SELECT CustomerContract WHERE org_id = :current_contact->org_id", True),
        ("SELECT CustomerContract WHERE org_id = 1 AND org_id = :current_contact->org_id", False),
    ],
)
def test_the_scope_decides_who_is_served(
    teammate: Teammate, workspace: Workspace, scope: str, served: bool
) -> None:
    workspace.scope = scope
    workspace.full_clean()
    workspace.save()
    teammate.open()
    assert ("Create a ticket" in teammate.text) is served
    if not served:
        assert "outside the part of iTop that this workspace serves" in teammate.text
        assert "Alice" not in teammate.text


def test_a_ticket_outside_the_scope_is_neither_displayed_nor_linked(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    foreign = next(ticket for ticket in itop.store.all("UserRequest") if int(ticket["org_id"]) != 4)
    teammate.open()
    for click in ("ticket", "link"):
        teammate.send_click(f"{click}:UserRequest:{foreign['id']}")
        assert "outside the part of iTop" in teammate.text
        assert str(foreign["title"]) not in teammate.text
    assert TicketLink.objects.count() == 0


# Lists and tickets


def test_the_ongoing_tickets_are_listed_with_state_and_title(teammate: Teammate) -> None:
    teammate.open().click("open tickets")
    assert "R-000008 · Assigned" in teammate.text
    assert "Screen flickers" in teammate.text
    teammate.click("R-000008")
    assert "Jules Verne" in teammate.text
    assert "Not linked to any conversation" in teammate.text
    # Recording 028: 12:55:38 in Paris is 11:55 in the workspace's UTC.
    assert "22 Nov 2026 11:55" in teammate.text
    teammate.click("Back")
    assert "Open and resolved tickets of Alice Martin" in teammate.text


def test_linking_a_ticket_displays_the_link_and_leaves_a_note(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.link("R-000008")
    assert "R-000008 linked" in teammate.text
    teammate.click("Done")
    assert "R-000008 · Screen flickers" in teammate.text
    posting = OutgoingMessage.objects.get()
    assert posting.is_note
    assert "Ada Reyes linked ticket" in posting.body
    work()
    row = itop.store.load("UserRequest", 8)
    assert row is not None
    assert row["intercom_ref"] == "215472621202693"
    assert row["intercom_sync_activated"] == "yes"


def test_linking_twice_creates_one_link_and_one_note(teammate: Teammate) -> None:
    teammate.link("R-000008").again()
    assert "was already linked" in teammate.text
    assert TicketLink.objects.count() == OutgoingMessage.objects.count() == 1


def test_a_link_written_by_the_php_extension_is_adopted(teammate: Teammate, itop: Itop, work: Work) -> None:
    work()  # The worker detects the extension.
    itop.store.update("UserRequest", 8, intercom_ref="215472621202693", intercom_sync_activated="yes")
    teammate.open()
    assert "R-000008 · Screen flickers" in teammate.text and not TicketLink.objects.exists()
    work()
    assert TicketLink.objects.get().sync_on
    assert "R-000008 · Screen flickers" in teammate.open().text and "Sync on" in teammate.text


def test_a_click_on_a_link_not_yet_adopted_by_the_worker_adopts_it(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    work()  # The worker detects the extension.
    itop.store.update("UserRequest", 8, intercom_ref="215472621202693", intercom_sync_activated="yes")
    teammate.open().click("R-000008").click("Unlink").click("Unlink")
    assert "R-000008 unlinked" in teammate.text
    assert not TicketLink.objects.exists()


def test_opening_the_panel_writes_nothing_but_caches(teammate: Teammate, itop: Itop, work: Work) -> None:
    work()  # The worker detects the extension.
    teammate.link("R-000006")
    itop.store.update("UserRequest", 8, intercom_ref="215472621202693", intercom_sync_activated="yes")
    itop.store.remove("UserRequest", 6)
    PersonMatch.objects.all().delete()
    CachedTickets.objects.all().delete()
    CachedAnswer.objects.all().delete()
    with CaptureQueriesContext(connection) as captured:
        teammate.open()
    assert "R-000006\nNo longer in iTop" in teammate.text and "R-000008 · " in teammate.text
    statements = (query["sql"] for query in captured)
    writes = (
        re.match(r'(?:INSERT \D*INTO|UPDATE|DELETE FROM|REPLACE INTO) "(\w+)"', sql) for sql in statements
    )
    tables = {write[1] for write in writes if write}
    assert CachedTickets._meta.db_table in tables
    assert tables <= {model._meta.db_table for model in (CachedAnswer, CachedTickets, PersonMatch)}
    work()
    assert TicketLink.objects.filter(ticket__ref="R-000008").exists()
    assert Ticket.objects.get(ref="R-000006").gone_at is not None


def test_pausing_and_resuming_is_displayed_and_stored(teammate: Teammate) -> None:
    teammate.link("R-000008").click("Done")
    teammate.click("Pause sync")
    assert "Sync paused" in teammate.text
    assert not TicketLink.objects.get().sync_on
    teammate.click("Resume sync")
    assert "Sync on" in teammate.text
    assert TicketLink.objects.get().sync_on


def test_an_unknown_attribute_does_not_hide_the_others(teammate: Teammate, workspace: Workspace) -> None:
    workspace.profile.details_attributes = ["status", "no_such_thing", "start_date"]
    workspace.profile.save()
    teammate.open().click("open tickets").click("R-000008")
    assert "Assigned" in teammate.text
    assert "no attribute no_such_thing" in teammate.text


# Creating


def test_the_form_is_filled_from_the_first_message(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket")
    assert teammate.field("Title *")["value"] == "The export button does nothing"
    assert teammate.field("Description *")["value"] == "The export button does nothing"


def test_a_created_ticket_contains_the_conversation_with_its_authors(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    jules = {"type": "admin", "id": "77", "name": "Jules V.", "email": "jules.verne@itop.example"}
    agent = next(person for person in itop.store.all("Person") if person["id"] == 9)
    jules["email"] = str(agent["email"])
    lead = {"type": "lead", "id": "5", "name": "Zoe", "email": ALICE["email"]}
    teammate.conversation = conversation(
        part(101, '<p class="no-margin">Which <b>browser</b>?</p>', jules),
        part(102, "Firefox <140>\n\nand 2 < 3", author_of(ALICE)),
        part(103, "<p>see the cable</p>", jules, part_type="note"),
        part(104, "<p>me too</p>", lead),
        part(105, "<p>I am a bot</p>", {"type": "bot", "id": "1", "name": "Fin", "email": "fin@intercom.io"}),
        part(106, None, jules, part_type="assignment"),
        part(107, None, attachments=[{"type": "upload", "name": "log.txt", "url": "https://x.example/1"}]),
    )
    create(teammate)
    ticket = newest_ticket(itop)
    assert f"{ticket['ref']} created" in teammate.text
    assert "5 messages were copied to the ticket's public log." in teammate.text
    assert "1 note was copied to the ticket's private log." in teammate.text
    assert (ticket["title"], ticket["origin"], int(ticket["caller_id"])) == ("Export is broken", "chat", 40)
    public = itop.store.log(ticket["id"])
    assert [(entry["user_login"], int(entry["user_id"])) for entry in public] == [
        ("Alice Martin", 8),
        ("Jules Verne", 11),
        ("Alice Martin", 8),
        ("Zoe (Intercom)", 0),
        ("Alice Martin", 8),
    ]
    html = [entry["message"] for entry in public]
    assert html[1] == "<p>Which <b>browser</b>?</p>"
    assert "Firefox &lt;140&gt;" in html[2] and "2 &lt; 3" in html[2]
    assert "log.txt" in html[4]
    assert [entry["message"] for entry in itop.store.log(ticket["id"], "private_log")] == [
        "<p>see the cable</p>"
    ]
    assert Delivery.objects.filter(state="written").count() == 6


def test_creating_costs_one_call_for_known_people_and_three_for_new_ones(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.open().click("Create a ticket")
    itop.calls.clear()
    teammate.click("Create ticket")
    search, creation = ("core/get", "UserRequest"), ("core/create", "UserRequest")
    # The customer's portal account, and the authors' accounts.
    assert itop.calls == [("core/get", "User"), ("core/get", "User"), creation]
    teammate.conversation = conversation(id="another")
    teammate.open().click("Create a ticket")
    itop.calls.clear()
    teammate.click("Create ticket", Title="Quite another matter", Description="Something else")
    # The first creation has invalidated the cached tickets of the person.
    assert itop.calls == [search, creation]


def test_opening_the_form_costs_one_call_and_none_within_five_minutes(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    itop.calls.clear()
    teammate.click("Create a ticket")
    assert itop.calls == [("core/get", "Service")]
    itop.calls.clear()
    teammate.open().click("Create a ticket")
    assert itop.calls == []


def test_a_second_click_on_create_creates_no_second_ticket(teammate: Teammate, itop: Itop) -> None:
    before = len(itop.store.all("UserRequest"))
    create(teammate)
    first = teammate.text
    teammate.again()
    assert teammate.text == first
    assert len(itop.store.all("UserRequest")) == before + 1
    assert TicketCreation.objects.count() == OutgoingMessage.objects.count() == 1


def test_the_customer_is_notified_once_in_the_name_of_the_teammate(
    teammate: Teammate, workspace: Workspace
) -> None:
    create(teammate)
    posting = OutgoingMessage.objects.get()
    assert (posting.is_note, posting.admin_id) == (False, ADA["id"])
    ref = TicketLink.objects.get().ticket.ref
    assert ref in posting.body and posting.body.startswith("<p>")


def test_the_input_survives_a_validation_error(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket")
    teammate.click("Create ticket", Title="  ", Description="Long story", Urgency="2")
    assert "Required." in teammate.text
    assert teammate.field("Title")["save_state"] == "failed"
    assert teammate.field("Description")["value"] == "Long story"
    assert teammate.field("Urgency")["value"] == "2"
    teammate.click("Create ticket", Title="Now with a title")
    assert "created" in teammate.text


def test_a_title_that_is_too_long_is_reported_without_a_call(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    itop.calls.clear()
    teammate.click("Create ticket", Title="x" * 256)
    assert "Too long: 256 characters, at most 255 are allowed." in teammate.text
    assert ("core/create", "UserRequest") not in itop.calls


def test_a_service_and_its_subcategory_are_selected_and_sent(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    teammate.choose("Service", "Workplace", Title="With a service")
    assert teammate.field("Title")["value"] == "With a service"
    teammate.click(
        "Create ticket", **{"Service subcategory": teammate.option("Service subcategory", "Laptop broken")}
    )
    ticket = newest_ticket(itop)
    assert (str(ticket["service_id"]), str(ticket["servicesubcategory_id"])) == ("4", "19")


def test_another_service_clears_the_subcategory(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    teammate.choose("Service", "Workplace")
    chosen = teammate.option("Service subcategory", "Laptop broken")
    other = teammate.option("Service", "E-mail")
    teammate.click("Create ticket", Service=other, **{"Service subcategory": chosen})
    assert "No longer one of the options" in teammate.text
    assert int(newest_ticket(itop)["id"]) < 100


def test_values_of_fields_outside_the_form_are_not_sent(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    body = teammate.last_request | {
        "component_id": "form:submit",
        "current_canvas": teammate.canvas,
        "input_values": {
            "field:title": "Mine",
            "field:description": "x",
            "field:status": "closed",
            "field:ref": "R-HACK",
            "field:caller_id": "1",
            "status": "closed",
        },
    }
    teammate.send("/canvas-kit/submit", body)
    ticket = newest_ticket(itop)
    assert (ticket["title"], ticket["status"], int(ticket["caller_id"])) == ("Mine", "new", 40)
    assert ticket["ref"] != "R-HACK"


def test_an_itop_without_the_extensions_attributes_is_supported(
    workspace: Workspace, client: Any, work: Work
) -> None:
    from sandbox.itop import running_itop

    with running_itop(extension=False) as plain:
        workspace.itop.url = plain.url
        workspace.itop.save()
        teammate = create(Teammate(client))
        assert "created" in teammate.text
        work()
        workspace.refresh_from_db()
        assert workspace.has_extension_attributes is False


def test_without_the_administrator_profile_the_texts_contain_the_authors(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.itop.token = "token-of-agent-app"
    workspace.itop.save()
    create(teammate)
    assert "created" in teammate.text
    entry = itop.store.log(newest_ticket(itop)["id"])[0]
    assert "Alice Martin (Intercom)" in entry["message"]
    assert "The export button does nothing" in entry["message"]
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is False


# Creation and errors of iTop


def test_a_creation_with_a_lost_response_is_finished_once_by_the_worker(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    before = len(itop.store.all("UserRequest"))
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create ticket")
    assert "The ticket is being created" in teammate.text
    TicketCreation.objects.update(due_at=timezone.now())
    work()
    teammate.click("Check again")
    assert "created" in teammate.text
    assert len(itop.store.all("UserRequest")) == before + 1
    assert TicketLink.objects.count() == 1


def test_a_creation_that_did_not_run_is_reported_and_can_be_retried(
    teammate: Teammate, itop: Itop, workspace: Workspace
) -> None:
    teammate.open().click("Create a ticket")
    workspace.itop.token = "wrong"
    workspace.itop.save()
    teammate.click("Create ticket", Title="Kept")
    assert "iTop refuses the bridge's account" in teammate.text
    assert TicketCreation.objects.count() == 0
    workspace.itop.token = itop.token
    workspace.itop.save()
    teammate.click("Retry")
    assert "created" in teammate.text
    assert newest_ticket(itop)["title"] == "Kept"


@pytest.mark.parametrize("kind", ["error500", "html", "maintenance", "drop_before", "reset"])
def test_an_error_of_itop_is_displayed_with_a_retry(teammate: Teammate, itop: Itop, kind: str) -> None:
    itop.faults.add(kind, count=1)
    teammate.open()
    assert "iTop" in teammate.text and "kept and copied later" in teammate.text
    teammate.click("Retry")
    assert "Alice Martin" in teammate.text


@pytest.mark.parametrize("kind", ["away", "error500", "html", "maintenance", "drop_before", "reset"])
def test_the_form_keeps_its_input_when_itop_fails(
    teammate: Teammate, itop: Itop, work: Work, kind: str
) -> None:
    before = len(itop.store.all("UserRequest"))
    teammate.open().click("Create a ticket")
    if kind == "away":
        itop.faults.away = True
    else:
        itop.faults.add(kind)
    teammate.click("Create ticket", Title="Typed before it fell ill")
    itop.faults.clear()
    assert len(itop.store.all("UserRequest")) == before
    teammate.click("Retry" if teammate.offers("Retry") else "Check again")
    TicketCreation.objects.update(due_at=timezone.now())
    work()
    if teammate.offers("Check again"):
        teammate.click("Check again")
    assert "created" in teammate.text
    assert len(itop.store.all("UserRequest")) == before + 1
    assert newest_ticket(itop)["title"] == "Typed before it fell ill"


def test_an_unreachable_itop_is_reported(teammate: Teammate, itop: Itop) -> None:
    itop.faults.away = True
    assert "iTop cannot be reached" in teammate.open().text


@pytest.mark.parametrize("kind", ["slow", "drip"])
def test_a_slow_itop_does_not_delay_the_panel(
    teammate: Teammate, itop: Itop, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr("intercom_bridge.panel.router.RESPONSE_SECONDS", 0.4)
    itop.faults.add(kind, seconds=3.0)
    began = time.monotonic()
    teammate.open()
    assert "iTop did not respond in time" in teammate.text
    assert time.monotonic() - began < 2
    itop.faults.clear()


# Invalid requests


@pytest.mark.parametrize(
    "component_id",
    [
        "nonsense",
        "ticket:UserRequest:999999",
        "ticket:User:1",
        "ticket:UserRequest:-1",
        "ticket:UserRequest:1 OR 1=1",
        "link:Person:40",
        "link:UserRequest:999999",
        "ticket",
        "form:pick:caller_id:1",
        "form:choose:org_id:1",
        "form",
        "linked:99999999999999999999999",
        "ongoing:0",
        ":" * 500,
        "\x00\ud800",
    ],
)
def test_an_invalid_click_changes_nothing_and_offers_a_way_back(
    teammate: Teammate, component_id: str
) -> None:
    teammate.open()
    teammate.send_click(component_id)
    assert list(teammate.clickable())
    assert TicketLink.objects.count() == TicketCreation.objects.count() == 0


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        "x",
        {"form": []},
        {"form": {"key": 5, "values": [1]}},
        {"back": {"a": 1}},
        {"form": {"values": {"title": 3}}},
    ],
)
def test_invalid_stored_data_causes_no_error(teammate: Teammate, stored: Any) -> None:
    teammate.open()
    teammate.canvas = {"content": {"components": []}, "stored_data": stored}
    for component_id in ("form:show", "form:submit", "form:status", "ticket:UserRequest:8"):
        teammate.send_click(component_id)
        assert "our mistake" not in teammate.text


def test_a_disabled_workspace_is_reported(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    workspace.enabled = False
    workspace.save()
    assert "turned off" in teammate.open().text
    assert "copied when it is turned on again" in teammate.text
    assert not teammate.offers("Retry")
    assert itop.calls == []
    workspace.enabled = True
    workspace.save()
    assert "Alice Martin" in teammate.click("Check again").text


@pytest.mark.parametrize(
    "clicked", ["ticket:UserRequest:9999", "ticket:Incident:1", "nonsense", "form:nonsense"]
)
def test_a_permanent_error_offers_no_retry(teammate: Teammate, clicked: str) -> None:
    teammate.open().send_click(clicked)
    assert "Nothing was changed" in teammate.text
    assert not teammate.offers("Retry")
    assert "Alice Martin" in teammate.click("Home").text


def test_an_error_screen_leads_back_to_the_form(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").send_click("ticket:UserRequest:9999", {"Title": "What I typed"})
    assert teammate.offers("Discard the form")
    teammate.click("Back to the form")
    assert teammate.field("Title")["value"] == "What I typed"


def test_the_input_is_kept_while_the_workspace_is_disabled(teammate: Teammate, workspace: Workspace) -> None:
    teammate.open().click("Create a ticket")
    workspace.enabled = False
    workspace.save()
    teammate.click("Create ticket", Title="What I typed")
    assert "turned off" in teammate.text and "Ask an admin" in teammate.text
    assert teammate.offers("Discard the form")
    workspace.enabled = True
    workspace.save()
    teammate.click("Back to the form")
    assert teammate.field("Title")["value"] == "What I typed"


def test_an_internal_error_is_reported_and_restores_the_form(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    teammate.open().click("Create a ticket")
    with monkeypatch.context() as patched:
        patched.setattr("intercom_bridge.panel.actions.submit_creation", broken)
        teammate.click("Create ticket", Title="What I typed")
    assert "Internal error" in teammate.text and "give an admin the reference" in teammate.text
    assert not teammate.offers("Retry")
    teammate.click("Back to the form")
    assert teammate.field("Title")["value"] == "What I typed"


def test_a_lost_form_is_reported(teammate: Teammate, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    teammate.open().click("Create a ticket")
    monkeypatch.setattr("intercom_bridge.panel.actions.submit_creation", broken)
    monkeypatch.setattr("intercom_bridge.panel.router._state_for_retry", lambda *_: {"form": "x" * 100_000})
    teammate.click("Create ticket")
    assert "Internal error" in teammate.text and "form is lost" in teammate.text
    assert not teammate.offers("Back to the form") and teammate.offers("Home")


def test_a_request_without_a_conversation_is_reported(teammate: Teammate) -> None:
    teammate.conversation = {}
    assert "No conversation" in teammate.open().text


def test_markdown_in_names_and_titles_is_escaped(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, title="**bold** [click](https://evil.example)")
    teammate.open().click("open tickets").click("R-000008")
    texts = [component["text"] for component in teammate.components if component["type"] == "text"]
    assert not any("](https://evil" in text or "**bold**" in text for text in texts)


def test_a_secret_that_cannot_be_decrypted_is_reported(teammate: Teammate, workspace: Workspace) -> None:
    workspace.itop.token = Secret("encrypted under a key that is gone")
    workspace.itop.save()
    teammate.open()
    assert "cannot be decrypted" not in teammate.text
    assert "an admin has entered the token again" in teammate.text
    assert list(teammate.clickable())


def test_repeated_queries_are_cached_by_their_text(teammate: Teammate) -> None:
    create(teammate)
    assert CachedAnswer.objects.filter(question__startswith="account of").count() == 1
