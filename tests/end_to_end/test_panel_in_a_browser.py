"""The panel as a teammate sees it: a real browser, the inbox page, real HTTP to both stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from sandbox.intercom import SECRET, WORKSPACE_ID, Intercom, running_intercom
from sandbox.itop import Itop
from sandbox.itop.seed import TOKEN
from tests.browser import browser_test, new_page, running_chromium
from tests.canvas.rules import ask_for, learn, let_itop
from tests.teammate import half_a_minute_passes

from .inbox import Inbox

pytestmark = browser_test

FIND = "Reference, or words of the title"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_chromium() as running:
        yield running


@pytest.fixture
def intercom(live_server: Any, settings: Any) -> Iterator[Intercom]:
    with running_intercom(bridge_url=live_server.url) as running:
        settings.INTERCOM_API_URL = settings.SANDBOX_INTERCOM_URL = running.url
        yield running


@pytest.fixture
def workspace(transactional_db: None, itop: Itop, intercom: Intercom) -> Workspace:
    return Workspace.objects.create(
        workspace_id=WORKSPACE_ID,
        name="Sandbox",
        client_secret=SECRET,
        access_token=intercom.token,
        scope="SELECT Organization WHERE name LIKE 'Acme%' OR name LIKE 'Globex%'",
        itop=ItopInstance.objects.create(name="Sandbox", url=itop.url, token=TOKEN, time_zone="Europe/Paris"),
        profile=TicketProfile.objects.create(name="Requests"),
    )


@pytest.fixture
def inbox(
    browser: Any, workspace: Workspace, intercom: Intercom, live_server: Any, work: Callable[[], None]
) -> Iterator[Inbox]:
    with new_page(browser, f"{live_server.url}/sandbox/") as page:
        inbox = Inbox(page, intercom, work)
        yield inbox
        # The page judges each canvas as Intercom's own would be drawn.
        assert inbox.problems == ""


def entries(itop: Itop, ticket_id: int) -> list[str]:
    return [one["message"] for one in itop.store.log(ticket_id)]


# Who is it?


def test_of_two_persons_with_one_address_one_is_picked_and_the_pick_can_be_undone(inbox: Inbox) -> None:
    inbox.open("Reception").sees("More than one person fits")
    inbox.click("Ben Twin").sees("picked by Ada Reyes")
    inbox.open("Alice Martin").sees("found by e-mail")
    inbox.open("Reception").sees("picked by Ada Reyes")
    inbox.click("Not this person?").sees("The choice is undone")
    inbox.click("Annie").sees("picked by Ada Reyes")


def test_a_lead_without_an_address_is_no_dead_end(inbox: Inbox) -> None:
    inbox.load()
    inbox.page.locator("#conversations").get_by_text("do you sell to schools?").click()
    inbox.field("Search by name or e-mail").wait_for()
    inbox.press_enter_in("Search by name or e-mail", "alice").click("Alice Martin")
    inbox.sees("Acme Corp")


# Find, link, unlink


def test_any_ticket_is_found_by_its_reference_or_by_words(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click("Find a ticket")
    inbox.press_enter_in(FIND, "8").sees("R-000008")
    inbox.press_enter_in(FIND, "vpn down").sees("VPN [down](again)")
    inbox.click("VPN").sees("Not linked to any conversation")
    inbox.click("Back").sees("VPN [down](again)")


def test_a_ticket_is_linked_unlinked_and_linked_again(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").click("ongoing tickets").click("R-000008")
    inbox.click("Link to this conversation").click("Link from now on").sees("R-000008 is linked")
    inbox.work()
    inbox.page.locator("#thread").get_by_text("linked ticket R-000008 to this conversation").wait_for()
    inbox.click("Done").click("1 linked ticket").click("R-000008").click("Unlink").click("Unlink")
    inbox.sees("R-000008 is unlinked")
    inbox.say("While nobody listens")
    inbox.click("Undo").sees("R-000008 is linked again")
    inbox.work()
    assert "While nobody listens" in entries(itop, 8)[-1]


def test_linking_a_ticket_of_another_conversation_says_so_before_it_happens(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click("ongoing tickets").click("R-000008")
    inbox.click("Link to this conversation").click("Link from now on")
    inbox.open("Bob Durand").click("Find a ticket").press_enter_in(FIND, "R-000008")
    inbox.click("R-000008").sees("Linked to 1 other conversation")
    inbox.click("Link to this conversation").sees("other conversation")
    inbox.click("Link from now on").sees("R-000008 is linked")


# Forms


def test_a_service_leads_to_its_subcategories_and_what_was_typed_survives(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click("Create a ticket").fill("Title", "Typed by Ada")
    inbox.choose("Service", "Workplace").click("Show the choices of Service subcategory")
    inbox.field("Service subcategory").wait_for()
    assert inbox.value("Title") == "Typed by Ada"
    inbox.choose("Service", "Business applications <ERP>").click("Show the choices of Service subcategory")
    assert inbox.value("Title") == "Typed by Ada"


def test_more_than_ten_choices_are_picked_on_a_page_with_a_search(inbox: Inbox) -> None:
    inbox.open("Dana O'Neil").click("Create a ticket").fill("Title", "Typed by Ada")
    inbox.click("Service").sees("Page 1 of 2")
    inbox.press_enter_in("Search", "priority").click("Helpdesk *priority*")
    inbox.field("Title").wait_for()
    assert inbox.value("Title") == "Typed by Ada"
    inbox.sees("Helpdesk *priority*")


def test_fields_are_called_as_the_itops_data_model_calls_them(inbox: Inbox, workspace: Workspace) -> None:
    learn(workspace, urgency={"labels": {"en": "How soon?", "de": "Wie bald?"}})
    ask_for(workspace, "urgency")
    inbox.open("Alice Martin").click("Create a ticket").choose("How soon?", "High")
    workspace.language = "de"
    workspace.save()
    inbox.reload().click("Ticket erstellen")
    inbox.field("Wie bald?").wait_for()


def test_what_itop_refuses_stands_at_its_field(inbox: Inbox, itop: Itop) -> None:
    let_itop(itop, "request_type", mandatory=True)
    inbox.open("Alice Martin").click("Create a ticket").fill("Title", "Kept as it was")
    inbox.click("Create the ticket").sees("iTop needs this")
    assert inbox.value("Title") == "Kept as it was"
    inbox.choose("Request type", "Incident").click("Create the ticket").sees("is created")


def test_an_open_ticket_that_may_be_the_same_is_shown_before_a_second_one(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click("Create a ticket").fill("Title", "Screen flickers")
    inbox.click("Create the ticket").sees("Link R-000008")
    inbox.click("Create anyway").sees("is created")


# Tickets and the sync


def test_a_ticket_shows_its_attributes_its_last_words_and_the_ways_to_itop(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click("ongoing tickets").click("R-000008")
    inbox.sees("Public log")
    for words in ("Status", "Agent", "Private log"):
        assert words in inbox.text
    links = inbox.panel.get_by_role("link")
    assert [one for one in links.all_inner_texts() if "iTop" in one]


def test_how_the_sync_stands_is_said_in_numbers_and_pausing_offers_what_it_left_out(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click("ongoing tickets").click("R-000008")
    inbox.click("Link to this conversation").click("Link from now on")
    inbox.say("The first of these").reload()
    inbox.sees("in R-000008")
    inbox.click("Pause the sync").sees("Resume the sync")
    inbox.say("The second of these").reload().click("Resume the sync")
    inbox.sees("1 message was left out")
    inbox.click("Write them now")
    inbox.work()
    inbox.reload().sees("2 of 2 messages in R-000008")


def test_while_itop_is_away_the_panel_says_what_it_knew_and_when(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").sees("ongoing ticket")
    half_a_minute_passes(time_machine)
    itop.faults.add("error500")
    inbox.reload().sees("iTop does not answer. This is what it said on")
    assert "ongoing ticket" in inbox.text
    itop.faults.clear()
    inbox.click("Retry").sees("Create a ticket")


@pytest.mark.parametrize(
    ("language", "words"),
    [("fr", "Créer un ticket"), ("de", "Ticket erstellen"), ("es", "Crear un ticket")],
)
def test_the_panel_speaks_the_workspaces_language(
    inbox: Inbox, workspace: Workspace, language: str, words: str
) -> None:
    workspace.language = language
    workspace.save()
    inbox.open("Alice Martin").sees(words)


# The main job


def test_a_ticket_is_created_and_what_is_said_next_stands_in_it(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").click("Create a ticket")
    inbox.fill("Title", "The export is dead").click("Create the ticket")
    inbox.sees("R-0000")
    created = max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])
    assert created["title"] == "The export is dead"
    inbox.say("It began this morning")
    assert "It began this morning" in entries(itop, created["id"])[-1]
    inbox.reload().sees("1 linked ticket")
