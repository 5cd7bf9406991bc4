"""The panel as a teammate sees it: whose it is, the main job, the languages, the first screen, the ways back."""

from __future__ import annotations

import re
from typing import Any

from intercom_bridge.models import PersonMatch, Workspace
from intercom_bridge.panel.components import MAX_FIRST_SCREEN_HEIGHT
from sandbox.itop import Itop
from tests.browser import browser_test
from tests.teammate import half_a_minute_passes

from . import inbox as words
from .inbox import Inbox
from .logs import fill_up, messages

pytestmark = browser_test

CUSTOMERS = ("Alice Martin", "Bob Durand", "Chloé D'Arcy", "Dana O'Neil", "Layla", "Jo Park", "Reception")


# Who is this?


def test_one_of_two_persons_with_the_same_address_is_chosen_and_unchosen(inbox: Inbox) -> None:
    inbox.open("Reception")
    assert not inbox.is_home and inbox.offers("Annie") and inbox.offers("Ben Twin")
    inbox.click("Ben Twin").sees("chosen by Ada Reyes")
    inbox.open("Alice Martin").sees("matched by e-mail")
    inbox.open("Reception").sees("chosen by Ada Reyes")
    assert "Ben Twin" in inbox.text
    inbox.click(words.NOT_THIS_PERSON).click("Annie").sees("chosen by Ada Reyes")
    assert "Annie" in inbox.text and "Ben Twin" not in inbox.text


def test_a_chosen_person_is_remembered_with_the_teammate_who_chose(
    inbox: Inbox, colleagues_inbox: Inbox
) -> None:
    inbox.open("Jo Park").press_enter_in(words.WHO_TO_FIND, "rocket").click("Rocket")
    inbox.sees("chosen by Ada Reyes")
    colleagues_inbox.open("Jo Park").sees("chosen by Ada Reyes")
    assert PersonMatch.objects.filter(how="chosen").get().picked_by == "Ada Reyes"


def test_a_lead_without_an_address_can_be_searched_for(inbox: Inbox) -> None:
    inbox.load()
    inbox.page.locator("#conversations").get_by_text("do you sell to schools?").click()
    inbox.field(words.WHO_TO_FIND).wait_for()
    inbox.press_enter_in(words.WHO_TO_FIND, "alice").click("Alice Martin")
    inbox.sees("Acme Corp")


def test_a_search_for_a_person_without_a_result_can_be_repeated(inbox: Inbox) -> None:
    inbox.open("Jo Park").press_enter_in(words.WHO_TO_FIND, "nobody of this name")
    assert inbox.value(words.WHO_TO_FIND) == "nobody of this name"
    inbox.press_enter_in(words.WHO_TO_FIND, "bob").click("Bob Durand").sees("Acme Corp")


def test_markdown_in_a_name_or_a_title_is_shown_as_text(inbox: Inbox, itop: Itop) -> None:
    name, title = "**Max** [Mark](https://evil.example)", "**VPN** [down](https://evil.example) <b>again</b>"
    itop.store.update("Person", 53, first_name="**Max**", name="[Mark](https://evil.example)")
    ticket = next(one["id"] for one in itop.store.all("UserRequest") if one["caller_id"] == 53)
    itop.store.update("UserRequest", ticket, title=title)
    inbox.open("Jo Park").press_enter_in(words.WHO_TO_FIND, "mark").click("Mark")
    assert name in inbox.text
    for clicked, said in ((words.ONGOING, name), ("VPN", title)):
        inbox.click(clicked)
        assert said in inbox.text
        assert not inbox.panel.locator("a[href*=evil], strong:text-is('Max'), strong:text-is('VPN')").count()
    inbox.go_home()
    inbox.click(words.CREATE_A_TICKET)
    assert name in inbox.text and not inbox.panel.locator("a[href*=evil]").count()


# The main job


def test_a_ticket_is_created_and_the_next_message_is_in_its_log(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").create("The export is dead").sees("created")
    created = max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])
    assert created["title"] == "The export is dead" and created["ref"] in inbox.text
    inbox.say("It began this morning")
    assert "It began this morning" in messages(itop, created["id"])[-1]
    inbox.reload().sees(words.LINKED)


def test_replies_are_public_and_notes_are_private(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008")
    inbox.say("Please try the other cable", "Reply").say("She has had three this year", "Note")
    assert "the other cable" in messages(itop, 8)[-1]
    assert "three this year" in messages(itop, 8, "private_log")[-1]
    inbox.reload().click("R-000008").sees("Please try the other cable")


# The languages


def test_the_panel_speaks_the_workspaces_language(inbox: Inbox, workspace: Workspace) -> None:
    inbox.open("Alice Martin")
    for language, create in (
        ("fr", "Créer un ticket"),
        ("de", "Ticket erstellen"),
        ("es", "Crear un ticket"),
    ):
        workspace.language = language
        workspace.save()
        inbox.reload().sees(create)
        for english in (words.CREATE_A_TICKET, words.FIND, words.NOT_THIS_PERSON, "open ticket"):
            assert english not in inbox.text
        inbox.click(create)
        for english in (words.CREATE, "New ticket", "Back\n"):
            assert english not in f"{inbox.text}\n"


def test_a_french_workspace_shows_labels_and_dates_in_french(
    inbox: Inbox, workspace: Workspace, itop: Itop
) -> None:
    workspace.language = "fr"
    workspace.time_zone = "Europe/Paris"
    workspace.save()
    itop.store.update("UserRequest", 8, start_date="2026-02-03 09:05:00")
    inbox.open("Alice Martin").panel.locator("button").filter(has_text="ouvert").first.click()
    inbox.click("R-000008").sees(re.compile("3 fév[a-z.]* 2026 à 09:05"))
    for french, english in (("État", "Status"), ("Assigné", "Assigned"), ("Retour", "Back")):
        assert french in inbox.text and f"{english}\n" not in f"{inbox.text}\n"


# The first screen, and the ways back


def test_the_first_screen_is_at_most_400_pixels_high(inbox: Inbox) -> None:
    for customer in CUSTOMERS:
        inbox.open(customer)
        assert 0 < inbox.height <= MAX_FIRST_SCREEN_HEIGHT == 400, customer


def test_a_first_screen_with_every_notice_is_at_most_400_pixels_high(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").link("R-000008").go_home()
    inbox.click(words.PAUSE).say("Left out, the first").say("Left out, the second")
    inbox.reload().click(words.RESUME)
    fill_up(itop, 8)
    inbox.say("No room for this one")
    inbox.merge("Bob Durand", into="Alice Martin")
    inbox.reload().sees("could not be copied")
    assert inbox.is_home and inbox.height <= MAX_FIRST_SCREEN_HEIGHT
    half_a_minute_passes(time_machine)
    itop.faults.away = True
    inbox.reload().sees("iTop is not responding")
    assert inbox.height <= MAX_FIRST_SCREEN_HEIGHT


WAYS: dict[str, tuple[words.Words, ...]] = {
    "an open ticket": (words.ONGOING, "R-000008"),
    "the question before linking": (words.ONGOING, "R-000008", words.LINK),
    "a search": (words.FIND,),
    "who it is": (words.NOT_THIS_PERSON,),
    "the question before unlinking": ("R-000006", words.UNLINK),
    "an unlinking that is undone": ("R-000006", words.UNLINK, words.UNLINK, words.UNDO),
    "the state of the sync": (words.SYNC,),
    "possible duplicates": (words.CREATE_A_TICKET, words.CREATE),
    # The form remembers that the duplicates were shown.
    "a ticket that was created": (words.CREATE_A_TICKET, words.CREATE),
}


def test_every_screen_has_a_way_back(inbox: Inbox, itop: Itop) -> None:
    """Screens within these paths are covered too; tests/panel/test_walk.py visits every screen there is."""
    inbox.open("Alice Martin").link("R-000006").go_home()
    for screen, way in WAYS.items():
        for label in way:
            inbox.click(label)
        assert not inbox.is_home, screen
        inbox.go_home()
        inbox.sees("Alice Martin")
