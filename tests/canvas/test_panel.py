"""The panel as a teammate uses it, against the sandbox's iTop."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.models import (
    Delivery,
    ItopAnswer,
    PersonMatch,
    Posting,
    Secret,
    Submission,
    TicketLink,
    Workspace,
)
from sandbox.itop import Itop
from tests.teammate import ADA, ALICE, Teammate, author_of, conversation, part

Work = Callable[[], None]


def create(teammate: Teammate, **typed: str) -> Teammate:
    teammate.open().click("Create a ticket")
    return teammate.click("Create the ticket", **({"Title": "Export is broken"} | typed))


def newest_ticket(itop: Itop) -> dict[str, Any]:
    return dict(max(itop.store.all("UserRequest"), key=lambda one: one["id"]))


# Home


def test_home_says_who_the_person_is_and_why_we_think_so(teammate: Teammate) -> None:
    teammate.open()
    assert "Alice Martin" in teammate.text
    assert "Acme Corp · found by e-mail" in teammate.text
    assert "Create a ticket" in teammate.text
    assert "No ticket is linked yet" in teammate.text


def test_home_counts_the_ongoing_tickets_without_those_in_excluded_states(teammate: Teammate) -> None:
    teammate.open()
    # Recording 033: five of Alice's tickets are neither closed nor rejected.
    assert "5 ongoing tickets" in teammate.text


def test_home_costs_one_call_for_a_known_person_and_three_for_one_seen_first(
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


def test_a_person_and_a_scope_verdict_are_asked_for_again_after_ten_minutes(
    teammate: Teammate, workspace: Workspace, itop: Itop, time_machine: Any
) -> None:
    workspace.scope = "SELECT Organization WHERE name LIKE 'Acme%'"
    workspace.save()
    teammate.open()
    itop.calls.clear()
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=601))
    teammate.open()
    assert len(itop.calls) == 3


def test_home_is_no_higher_than_intercom_allows_and_has_no_primary_button(teammate: Teammate) -> None:
    from intercom_bridge.canvas.components import FIRST_SCREEN_HEIGHT
    from intercom_bridge.canvas.screens import home as screen

    heights = []
    original = screen.Canvas

    def measured(**parts: Any) -> Any:
        canvas = original(**parts)
        heights.append(canvas.height())
        return canvas

    screen.Canvas = measured  # type: ignore[misc,assignment]
    try:
        create(teammate).click("Done")
    finally:
        screen.Canvas = original  # type: ignore[misc]
    assert max(heights) <= FIRST_SCREEN_HEIGHT
    assert not [one for one in teammate.components if one.get("style") == "primary"]


def test_a_person_is_found_by_the_contacts_itop_id_before_the_e_mail(teammate: Teammate) -> None:
    teammate.contact = ALICE | {
        "email": "somebody.else@acme.example",
        "custom_attributes": {"itop_contact_class": "Person", "itop_contact_id": "40"},
    }
    teammate.open()
    assert "Alice Martin" in teammate.text
    assert "known by the contact's iTop id" in teammate.text


def test_a_contact_that_changes_its_e_mail_is_no_longer_the_person_it_was(teammate: Teammate) -> None:
    teammate.open()
    teammate.contact = ALICE | {"email": "nobody@nowhere.example"}
    teammate.open()
    assert "Not known in iTop" in teammate.text
    assert "nobody@nowhere.example" in teammate.text


def test_nobody_with_this_e_mail_is_said_with_what_to_do(teammate: Teammate) -> None:
    teammate.contact = ALICE | {"email": "nobody@nowhere.example"}
    teammate.open()
    assert "iTop has no person with the e-mail address nobody@nowhere.example" in teammate.text
    assert PersonMatch.objects.count() == 0


def test_a_lead_without_an_address_is_said_so(teammate: Teammate) -> None:
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


def test_a_ticket_of_another_organization_is_neither_shown_nor_linked(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.scope = "SELECT Organization WHERE id = 4"
    workspace.save()
    foreign = next(one for one in itop.store.all("UserRequest") if int(one["org_id"]) != 4)
    teammate.open()
    for click in ("ticket", "link"):
        teammate.send_click(f"{click}:UserRequest:{foreign['id']}")
        assert "outside the part of iTop" in teammate.text
        assert str(foreign["title"]) not in teammate.text
    assert TicketLink.objects.count() == 0


# Lists and tickets


def test_the_ongoing_tickets_are_listed_with_state_and_title(teammate: Teammate) -> None:
    teammate.open().click("ongoing tickets")
    assert "R-000008 · Assigned" in teammate.text
    assert "Screen flickers" in teammate.text
    teammate.click("R-000008")
    assert "Jules Verne" in teammate.text
    assert "Not linked to any conversation" in teammate.text
    # Recording 028: 12:55:38 in Paris is 11:55 in the workspace's UTC.
    assert "22 Nov 2026 11:55" in teammate.text
    teammate.click("Back")
    assert "Ongoing tickets of Alice Martin" in teammate.text


def test_linking_a_ticket_shows_it_as_linked_and_leaves_a_note(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.link("R-000008")
    assert "R-000008 is linked" in teammate.text
    teammate.click("Done")
    assert "1 linked ticket" in teammate.text
    posting = Posting.objects.get()
    assert posting.is_note
    assert "Ada Reyes linked ticket" in posting.body
    work()
    row = itop.store.load("UserRequest", 8)
    assert row is not None
    assert row["intercom_ref"] == "215472621202693"
    assert row["intercom_sync_activated"] == "yes"


def test_linking_twice_makes_one_link_and_one_note(teammate: Teammate) -> None:
    teammate.link("R-000008").again()
    assert "was linked already" in teammate.text
    assert TicketLink.objects.count() == Posting.objects.count() == 1


def test_a_link_that_the_php_extension_left_in_itop_is_adopted(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    work()  # The worker gets to know the iTop.
    itop.store.update("UserRequest", 8, intercom_ref="215472621202693", intercom_sync_activated="yes")
    teammate.open()
    assert "1 linked ticket" in teammate.text
    assert TicketLink.objects.get().sync_on


def test_pausing_and_resuming_is_said_and_kept(teammate: Teammate) -> None:
    teammate.link("R-000008").click("Done")
    teammate.click("Pause the sync")
    assert "The sync is paused" in teammate.text
    assert not TicketLink.objects.get().sync_on
    teammate.click("Resume the sync")
    assert "The sync is on" in teammate.text
    assert TicketLink.objects.get().sync_on


def test_an_attribute_that_itop_does_not_have_hides_nothing_else(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.profile.details_attributes = ["status", "no_such_thing", "start_date"]
    workspace.profile.save()
    teammate.open().click("ongoing tickets").click("R-000008")
    assert "Assigned" in teammate.text
    assert "no attribute no_such_thing" in teammate.text


# Creating


def test_the_form_is_filled_with_the_conversations_first_words(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket")
    assert teammate.field("Title *")["value"] == "The export button does nothing"
    assert teammate.field("Description *")["value"] == "The export button does nothing"


def test_a_created_ticket_holds_the_conversation_under_its_authors(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    jules = {"type": "admin", "id": "77", "name": "Jules V.", "email": "jules.verne@itop.example"}
    agent = next(one for one in itop.store.all("Person") if one["id"] == 9)
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
    assert f"{ticket['ref']} is created" in teammate.text
    assert "5 messages were copied into its public log." in teammate.text
    assert "1 note was copied into its private log." in teammate.text
    assert (ticket["title"], ticket["origin"], int(ticket["caller_id"])) == ("Export is broken", "chat", 40)
    public = itop.store.log(ticket["id"])
    assert [(one["user_login"], int(one["user_id"])) for one in public] == [
        ("Alice Martin", 8),
        ("Jules Verne", 11),
        ("Alice Martin", 8),
        ("Zoe (Intercom)", 0),
        ("Alice Martin", 8),
    ]
    html = [one["message"] for one in public]
    assert html[1] == "<p>Which <b>browser</b>?</p>"
    assert "Firefox &lt;140&gt;" in html[2] and "2 &lt; 3" in html[2]
    assert "log.txt" in html[4]
    assert [one["message"] for one in itop.store.log(ticket["id"], "private_log")] == ["<p>see the cable</p>"]
    assert Delivery.objects.filter(state="written").count() == 6


def test_pressing_create_costs_one_call_or_two_when_authors_are_seen_first(
    teammate: Teammate, itop: Itop
) -> None:
    teammate.open().click("Create a ticket")
    itop.calls.clear()
    teammate.click("Create the ticket")
    search, creation = ("core/get", "UserRequest"), ("core/create", "UserRequest")
    assert itop.calls == [("core/get", "User"), creation]
    teammate.conversation = conversation(id="another")
    teammate.open().click("Create a ticket")
    itop.calls.clear()
    teammate.click("Create the ticket", Title="Quite another matter")
    # A moment after the first creation, what iTop said of the person's tickets is not relied on.
    assert itop.calls == [search, creation]


def test_opening_the_form_costs_one_call_and_none_within_five_minutes(teammate: Teammate, itop: Itop) -> None:
    teammate.open()
    itop.calls.clear()
    teammate.click("Create a ticket")
    assert itop.calls == [("core/get", "Service")]
    itop.calls.clear()
    teammate.open().click("Create a ticket")
    assert itop.calls == []


def test_a_second_click_on_create_makes_no_second_ticket(teammate: Teammate, itop: Itop) -> None:
    before = len(itop.store.all("UserRequest"))
    create(teammate)
    first = teammate.text
    teammate.again()
    assert teammate.text == first
    assert len(itop.store.all("UserRequest")) == before + 1
    assert Submission.objects.count() == Posting.objects.count() == 1


def test_the_customer_is_told_once_and_as_the_teammate(teammate: Teammate, workspace: Workspace) -> None:
    create(teammate)
    posting = Posting.objects.get()
    assert (posting.is_note, posting.admin_id) == (False, ADA["id"])
    ref = TicketLink.objects.get().ticket.ref
    assert ref in posting.body and posting.body.startswith("<p>")


def test_what_was_typed_survives_a_mistake(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket")
    teammate.click("Create the ticket", Title="  ", Description="Long story", Urgency="2")
    assert "This is needed." in teammate.text
    assert teammate.field("Title")["save_state"] == "failed"
    assert teammate.field("Description")["value"] == "Long story"
    assert teammate.field("Urgency")["value"] == "2"
    teammate.click("Create the ticket", Title="Now with a title")
    assert "is created" in teammate.text


def test_a_title_that_is_too_long_is_said_before_it_is_sent(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    itop.calls.clear()
    teammate.click("Create the ticket", Title="x" * 256)
    assert "Too long: 256 characters of 255." in teammate.text
    assert ("core/create", "UserRequest") not in itop.calls


def test_service_then_its_subcategories_are_chosen_and_sent(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    service = teammate.option("Service", "Workplace")
    teammate.click("Show the choices of Service subcategory", Service=service, Title="With a service")
    assert teammate.field("Title")["value"] == "With a service"
    teammate.click(
        "Create the ticket",
        **{"Service subcategory": teammate.option("Service subcategory", "Laptop broken")},
    )
    ticket = newest_ticket(itop)
    assert (str(ticket["service_id"]), str(ticket["servicesubcategory_id"])) == ("4", "19")


def test_another_service_clears_the_subcategory(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click("Create a ticket")
    teammate.click("Show the choices of Service subcategory", Service=teammate.option("Service", "Workplace"))
    chosen = teammate.option("Service subcategory", "Laptop broken")
    other = teammate.option("Service", "E-mail")
    teammate.click("Create the ticket", Service=other, **{"Service subcategory": chosen})
    assert "no longer among the choices" in teammate.text
    assert int(newest_ticket(itop)["id"]) < 100


def test_values_for_fields_that_are_not_on_the_form_are_not_sent(teammate: Teammate, itop: Itop) -> None:
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


def test_an_itop_without_the_extensions_attributes_works_all_the_same(
    workspace: Workspace, client: Any, work: Work
) -> None:
    from sandbox.itop import running_itop

    with running_itop(extension=False) as plain:
        workspace.itop.url = plain.url
        workspace.itop.save()
        teammate = create(Teammate(client))
        assert "is created" in teammate.text
        work()
        workspace.itop.refresh_from_db()
        assert workspace.itop.has_intercom_attributes is False


def test_without_the_administrator_profile_the_authors_stand_in_the_texts(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.itop.token = "token-of-agent-app"
    workspace.itop.save()
    create(teammate)
    assert "is created" in teammate.text
    entry = itop.store.log(newest_ticket(itop)["id"])[0]
    assert "Alice Martin (Intercom)" in entry["message"]
    assert "The export button does nothing" in entry["message"]
    workspace.itop.refresh_from_db()
    assert workspace.itop.is_administrator is False


# Creation and an iTop in trouble


def test_a_creation_whose_answer_is_lost_is_finished_by_the_worker_once(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    before = len(itop.store.all("UserRequest"))
    teammate.open().click("Create a ticket")
    itop.faults.add("drop_after", operation="core/create", count=1)
    teammate.click("Create the ticket")
    assert "The ticket is on its way" in teammate.text
    Submission.objects.update(due_at=timezone.now())
    work()
    teammate.click("Look again")
    assert "is created" in teammate.text
    assert len(itop.store.all("UserRequest")) == before + 1
    assert TicketLink.objects.count() == 1


def test_a_creation_that_certainly_did_not_run_says_so_and_can_be_retried(
    teammate: Teammate, itop: Itop, workspace: Workspace
) -> None:
    teammate.open().click("Create a ticket")
    workspace.itop.token = "wrong"
    workspace.itop.save()
    teammate.click("Create the ticket", Title="Kept")
    assert "iTop refuses our account" in teammate.text
    assert Submission.objects.count() == 0
    workspace.itop.token = itop.token
    workspace.itop.save()
    teammate.click("Retry")
    assert "is created" in teammate.text
    assert newest_ticket(itop)["title"] == "Kept"


@pytest.mark.parametrize("kind", ["error500", "html", "maintenance", "drop_before", "reset"])
def test_an_itop_in_trouble_is_a_screen_with_a_retry(teammate: Teammate, itop: Itop, kind: str) -> None:
    itop.faults.add(kind, count=1)
    teammate.open()
    assert "iTop" in teammate.text and "kept and written later" in teammate.text
    teammate.click("Retry")
    assert "Alice Martin" in teammate.text


def test_an_itop_that_is_away_is_said(teammate: Teammate, itop: Itop) -> None:
    itop.faults.away = True
    assert "iTop cannot be reached" in teammate.open().text


@pytest.mark.parametrize("kind", ["slow", "drip"])
def test_an_itop_that_is_slow_or_drips_does_not_hold_the_panel(
    teammate: Teammate, itop: Itop, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr("intercom_bridge.canvas.panel.ANSWER_SECONDS", 0.4)
    itop.faults.add(kind, seconds=3.0)
    began = time.monotonic()
    teammate.open()
    assert "iTop did not answer in time" in teammate.text
    assert time.monotonic() - began < 2
    itop.faults.clear()


# What makes no sense


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
def test_a_click_that_makes_no_sense_changes_nothing_and_has_a_way_back(
    teammate: Teammate, component_id: str
) -> None:
    teammate.open()
    teammate.send_click(component_id)
    assert list(teammate.clickable())
    assert TicketLink.objects.count() == Submission.objects.count() == 0


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
def test_strange_stored_data_is_no_trouble(teammate: Teammate, stored: Any) -> None:
    teammate.open()
    teammate.canvas = {"content": {"components": []}, "stored_data": stored}
    for component_id in ("form:show", "form:submit", "form:status", "ticket:UserRequest:8"):
        teammate.send_click(component_id)
        assert "our mistake" not in teammate.text


def test_a_workspace_that_is_turned_off_says_so(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    workspace.enabled = False
    workspace.save()
    assert "turned off" in teammate.open().text
    assert "once it is on again they are looked for there and written" in teammate.text
    assert not teammate.offers("Retry")
    assert itop.calls == []
    workspace.enabled = True
    workspace.save()
    assert "Alice Martin" in teammate.click("Look again").text


@pytest.mark.parametrize(
    "clicked", ["ticket:UserRequest:9999", "ticket:Incident:1", "nonsense", "form:nonsense"]
)
def test_what_cannot_work_the_next_time_either_offers_no_retry(teammate: Teammate, clicked: str) -> None:
    teammate.open().send_click(clicked)
    assert "Nothing was changed" in teammate.text
    assert not teammate.offers("Retry")
    assert "Alice Martin" in teammate.click("Home").text


def test_a_screen_of_trouble_leads_back_to_the_form(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").send_click("ticket:UserRequest:9999", {"Title": "What I typed"})
    assert teammate.offers("Home, without the form")
    teammate.click("Back to the form")
    assert teammate.field("Title")["value"] == "What I typed"


def test_what_was_typed_is_kept_while_the_bridge_is_turned_off(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.open().click("Create a ticket")
    workspace.enabled = False
    workspace.save()
    teammate.click("Create the ticket", Title="What I typed")
    assert "turned off" in teammate.text and "Ask an admin" in teammate.text
    assert teammate.offers("Home, without the form")
    workspace.enabled = True
    workspace.save()
    teammate.click("Back to the form")
    assert teammate.field("Title")["value"] == "What I typed"


def test_a_screen_that_we_cannot_build_says_so_and_gives_back_the_form(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    teammate.open().click("Create a ticket")
    with monkeypatch.context() as patched:
        patched.setattr("intercom_bridge.canvas.panel._press", broken)
        teammate.click("Create the ticket", Title="What I typed")
    assert "That was our mistake" in teammate.text and "give an admin the reference" in teammate.text
    assert not teammate.offers("Retry")
    teammate.click("Back to the form")
    assert teammate.field("Title")["value"] == "What I typed"


def test_where_not_even_the_form_can_be_kept_that_is_said(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    teammate.open().click("Create a ticket")
    monkeypatch.setattr("intercom_bridge.canvas.panel._press", broken)
    monkeypatch.setattr("intercom_bridge.canvas.panel._kept", lambda *_: {"form": "x" * 100_000})
    teammate.click("Create the ticket")
    assert "That was our mistake" in teammate.text and "form is lost" in teammate.text
    assert not teammate.offers("Back to the form") and teammate.offers("Home")


def test_a_request_without_a_conversation_is_said_so(teammate: Teammate) -> None:
    teammate.conversation = {}
    assert "no conversation here" in teammate.open().text


def test_markdown_in_names_and_titles_is_inert(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, title="**bold** [click](https://evil.example)")
    teammate.open().click("ongoing tickets").click("R-000008")
    texts = [one["text"] for one in teammate.components if one["type"] == "text"]
    assert not any("](https://evil" in text or "**bold**" in text for text in texts)


def test_a_secret_that_cannot_be_decrypted_is_a_screen(teammate: Teammate, workspace: Workspace) -> None:
    workspace.itop.token = Secret("encrypted under a key that is gone")
    workspace.itop.save()
    teammate.open()
    assert "cannot be decrypted" not in teammate.text
    assert "an admin has entered it again" in teammate.text
    assert list(teammate.clickable())


def test_answers_that_are_asked_again_and_again_are_kept_by_question(teammate: Teammate) -> None:
    create(teammate)
    assert ItopAnswer.objects.filter(question__startswith="account of").count() == 1
