"""A possible duplicate is reported before a second ticket is created."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import TicketCreation, TicketLink, Workspace
from intercom_bridge.tickets.creation.duplicates import _similarity, _words, possible_duplicates
from intercom_bridge.tickets.rows import TicketRow
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, conversation, half_a_minute_passes

from .rules import ask_for

FORM = "Create a ticket"
CREATE = "Create ticket"
DUPLICATE_NOTICE = "There may already be a ticket for this"
BOB = {"type": "admin", "id": "77", "name": "Bob *Roe*", "email": "bob@acme.example"}


def tickets(itop: Itop) -> int:
    return len(itop.store.all("UserRequest"))


# Similarity


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Screen flickers", "screen FLICKERS!"),
        ("Export is broken", "Export broken"),
        ("The export button does nothing", "Export button does not work"),
        ("Chloé ne peut pas se connecter", "chloe ne peut pas se connecter"),
        ("Password reset", "Reset: password"),
        ("Drucker im 2. Stock streikt", "Der Drucker im 2. Stock streikt wieder"),
        ("شاشة سوداء عند التشغيل", "شاشة سوداء عند التشغيل مرة أخرى"),
        ("打印机无法打印", "打印机无法打印了"),
        ("ﬁle is lost", "file is lost"),
        ("My laptop does not start any more since the update", "Laptop does not boot"),
        ("Mon imprimante ne marche plus", "Imprimante en panne"),
        ("Mein Drucker druckt nicht, bitte helfen", "Der Drucker ist defekt"),
        ("La impresora no funciona", "Mi impresora está rota"),
        ("It does not work", "Does not work!"),
    ],
)
def test_similar_titles_are_recognized(first: str, second: str) -> None:
    assert _similarity(_words(first), _words(second)) == _similarity(_words(second), _words(first)) >= 0.6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Screen flickers", "Printer is out of toner"),
        ("Laptop broken", "Printer broken"),
        ("Help", "Help me with the printer on the second floor"),
        ("", ""),
        ("!!!", "!!!"),
        ("打印机无法打印", "电子邮件没有收到"),
        ("New mailbox", ""),
        ("The laptop does not start", "My phone does not start"),
        ("L'imprimante est en panne", "L'écran est en panne"),
        ("Help", "Printer does not work"),
    ],
)
def test_different_titles_are_distinguished(first: str, second: str) -> None:
    assert _similarity(_words(first), _words(second)) < 0.6


def row(number: int, title: str, **more: Any) -> TicketRow:
    known: dict[str, Any] = {"status": "new", "is_linked": False, "is_ongoing": True}
    return TicketRow(
        ticket_class="UserRequest", id=number, ref=f"R-{number}", title=title, subtitle="", **(known | more)
    )


def test_duplicates_are_ordered_by_link_then_similarity_with_at_most_five() -> None:
    rows = [
        row(1, "Screen is black"),
        row(2, "Screen is very black today"),
        row(3, "Quite another matter", is_linked=True),
        row(4, "Screen is black", status="", is_linked=True, is_ongoing=False),
        row(5, "Screen is black", status="closed", is_ongoing=False),
        *(row(number, "Screen is black again") for number in range(10, 20)),
    ]
    found = [row.id for row in possible_duplicates("Screen is black", "", rows, ["closed"])]
    assert found[:2] == [3, 1]
    assert len(found) == 5
    assert not {4, 5} & set(found)


def test_a_ticket_is_found_by_the_words_of_the_description() -> None:
    rows = [row(1, "Screen flickers"), row(2, "Screen"), row(3, "Screen and mouse freeze")]
    text = "Since this morning it flickers. I mean the screen."
    assert [row.id for row in possible_duplicates("Something odd", text, rows, [])] == [1]


@pytest.mark.parametrize("state", ["closed", ""])
def test_a_closed_ticket_is_no_duplicate_although_it_is_linked(state: str) -> None:
    rows = [row(1, "Screen is black", status=state, is_linked=True, is_ongoing=False)]
    assert possible_duplicates("Screen is black", "", rows, ["closed"]) == []


def test_comparing_takes_time_in_proportion_to_the_texts() -> None:
    rows = [row(number, f"word{number} " * 100) for number in range(200)]
    started = time.process_time()
    possible_duplicates("x " * 50_000, "\u0301" * 200_000 + " a b" * 100_000, rows, [])
    assert time.process_time() - started < 1


# On the form


def test_a_similar_ticket_is_displayed_first_and_a_second_click_creates(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    before = tickets(itop)
    teammate.open().click(FORM)
    half_a_minute_passes(time_machine)
    itop.calls.clear()
    teammate.click(CREATE, Title="The screen flickers", Description="Mine")
    assert DUPLICATE_NOTICE in teammate.text
    assert "R-000008 · Assigned" in teammate.text
    assert "Screen flickers" in teammate.text
    assert "R-000001" not in teammate.text
    assert itop.calls == [("core/get", "UserRequest")]
    assert tickets(itop) == before
    assert teammate.click("Back to the form").field("Description")["value"] == "Mine"
    itop.calls.clear()
    teammate.click(CREATE)
    assert "created" in teammate.text
    assert ("core/get", "UserRequest") not in itop.calls
    assert tickets(itop) == before + 1


def test_linking_is_the_primary_button_and_creating_the_secondary(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 6, title="The screen of the trainee flickers")
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers")
    buttons = [part for part in teammate.components if part["type"] == "button"]
    assert [(part["label"], part["style"]) for part in buttons[:3]] == [
        ("Link R-000008", "primary"),
        ("Link R-000006", "secondary"),
        ("Create anyway", "secondary"),
    ]
    assert not [part for part in teammate.components if part.get("style") == "error"]
    teammate.click("Create anyway")
    assert "created" in teammate.text


def test_a_closed_ticket_that_is_linked_is_not_offered(teammate: Teammate, itop: Itop) -> None:
    teammate.link("R-000008")
    itop.store.update("UserRequest", 8, status="closed")
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers")
    assert "created" in teammate.text


def test_a_laptop_that_does_not_start_is_compared_with_one_that_does_not_boot(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE, Title="My laptop does not start")
    assert "R-000001 · New" in teammate.text


def test_a_ticket_that_is_no_longer_ongoing_is_no_duplicate(teammate: Teammate) -> None:
    # R-000004 is closed.
    teammate.open().click(FORM).click(CREATE, Title="ERP slow at month end")
    assert "created" in teammate.text


def test_a_ticket_of_another_person_is_no_duplicate(teammate: Teammate) -> None:
    # R-000007 is Bob's.
    teammate.open().click(FORM).click(CREATE, Title="Printer (2nd floor) is out of toner")
    assert "created" in teammate.text


def test_a_ticket_linked_to_the_conversation_is_a_duplicate_with_any_title(teammate: Teammate) -> None:
    teammate.link("R-000006")
    teammate.open().click(FORM).click(CREATE, Title="Quite another matter")
    assert DUPLICATE_NOTICE in teammate.text
    assert "R-000006 · Pending" in teammate.text
    assert "Linked to this conversation" in teammate.text
    assert not teammate.offers("Link R-000006")


def test_a_duplicate_can_be_linked_from_the_list(teammate: Teammate, itop: Itop) -> None:
    before = tickets(itop)
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers")
    teammate.click("Link R-000008")
    teammate.click("Link without earlier messages")
    assert "R-000008 linked" in teammate.text
    assert TicketLink.objects.get().ticket.object_id == 8
    assert tickets(itop) == before


def test_back_from_a_duplicate_restores_the_form(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers", Description="A long story")
    teammate.click("R-000008")
    assert "Jules Verne" in teammate.text
    teammate.click("Link to this conversation").click("Back").click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers"
    assert teammate.field("Description")["value"] == "A long story"
    # The duplicate was reported once.
    teammate.click(CREATE)
    assert "created" in teammate.text


def test_markdown_in_the_title_of_a_duplicate_is_escaped(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserRequest", 8, title="**Screen** [flickers](https://evil.example)")
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers evil example https")
    assert DUPLICATE_NOTICE in teammate.text
    texts = [component["text"] for component in teammate.components if component["type"] == "text"]
    assert not any("evil" in text for text in texts)


def test_a_second_click_on_create_does_not_list_its_own_ticket(teammate: Teammate, itop: Itop) -> None:
    before = tickets(itop)
    teammate.open().click(FORM).click(CREATE, Title="Quite another matter")
    itop.calls.clear()
    teammate.again()
    assert "created" in teammate.text
    assert tickets(itop) == before + 1
    assert itop.calls == []


def test_a_rejected_duplicate_search_does_not_block_the_creation(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.open().click(FORM)
    ask_for(workspace, attributes_mapping={"status": "no_such_state"})
    teammate.click(CREATE)
    assert "created" in teammate.text


def test_a_failed_duplicate_search_leaves_the_error_to_the_creation(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.open().click(FORM)
    half_a_minute_passes(time_machine)
    itop.faults.add("drop_before", count=1)
    teammate.click(CREATE, Title="Screen flickers")
    assert "created" in teammate.text


# Two teammates


def second(client: Client) -> Teammate:
    bob = Teammate(client)
    bob.admin = BOB
    return bob


def test_the_second_of_two_forms_reports_the_ticket_of_the_first(
    teammate: Teammate, client: Client, itop: Itop, time_machine: Any
) -> None:
    before = tickets(itop)
    teammate.open().click(FORM)
    bob = second(client)
    bob.open().click(FORM)
    time_machine.move_to(dt.datetime(2026, 11, 24, 14, 3, tzinfo=dt.UTC), tick=False)
    bob.click(CREATE, Title="From Bob")
    ref = TicketLink.objects.get().ticket.ref
    itop.calls.clear()
    teammate.click(CREATE, Title="From Ada", Description="A long story")
    assert "There is already a ticket" in teammate.text
    created = f"created {ref} from this conversation on 24 Nov 2026 14:03."
    assert created in teammate.text
    assert "Bob *Roe*" in teammate.text
    assert itop.calls == []
    teammate.click(f"Open {ref}")
    assert "From Bob" in teammate.text
    teammate.click("Back")
    assert teammate.field("Description")["value"] == "A long story"
    assert tickets(itop) == before + 1


def test_the_second_of_two_forms_can_still_create_a_ticket(
    teammate: Teammate, client: Client, itop: Itop
) -> None:
    before = tickets(itop)
    teammate.open().click(FORM)
    bob = second(client)
    bob.open().click(FORM).click(CREATE)
    teammate.click(CREATE, Title="From Ada", Urgency="2")
    teammate.click("Create anyway")
    assert "created" in teammate.text
    assert tickets(itop) == before + 2
    mine = TicketCreation.objects.latest("pk")
    assert (mine.admin_name, mine.values["title"], mine.values["urgency"]) == (ADA["name"], "From Ada", "2")


def test_a_form_opened_after_a_creation_lists_its_ticket_as_a_duplicate(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE)
    teammate.open().click(FORM).click(CREATE, Title="Quite another matter")
    assert "There is already a ticket" not in teammate.text
    assert DUPLICATE_NOTICE in teammate.text


def test_a_creation_in_another_conversation_is_not_reported(teammate: Teammate, client: Client) -> None:
    teammate.open().click(FORM)
    bob = second(client)
    bob.conversation = conversation(id="another")
    bob.open().click(FORM).click(CREATE, Title="Quite another matter")
    teammate.click(CREATE)
    assert "created" in teammate.text


def test_a_form_that_waited_for_another_creation_reports_its_ticket(
    teammate: Teammate, client: Client, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check for duplicates in both forms before either creates a ticket."""
    from intercom_bridge.tickets.creation import submit

    before = tickets(itop)
    teammate.open().click(FORM)
    bob = second(client)
    bob.open().click(FORM)
    wait = submit._wait_for_lease

    def bob_is_faster(*arguments: Any) -> Any:
        monkeypatch.setattr(submit, "_wait_for_lease", wait)
        bob.click(CREATE)
        return wait(*arguments)

    monkeypatch.setattr(submit, "_wait_for_lease", bob_is_faster)
    teammate.click(CREATE)
    assert "created" in bob.text
    assert "There is already a ticket" in teammate.text
    assert tickets(itop) == before + 1


def test_a_retry_after_an_error_keeps_the_path_back_to_the_form(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers")
    itop.faults.add("error500", count=1)
    teammate.click("Link R-000008")
    assert "Screen flickers" not in teammate.text
    teammate.click("Retry").click("Back").click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers"
