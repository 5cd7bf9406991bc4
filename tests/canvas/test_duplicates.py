"""Before a second ticket about the same is created, its teammate hears of the first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.desk import TicketRow
from intercom_bridge.desk.duplicates import possible_duplicates, similarity
from intercom_bridge.models import Submission, TicketLink, Workspace
from sandbox.itop import Itop
from tests.canvas.rules import ask_for
from tests.teammate import ADA, Teammate, conversation, half_a_minute_passes

FORM = "Create a ticket"
CREATE = "Create the ticket"
PERHAPS = "Perhaps there is a ticket for this already"
BOB = {"type": "admin", "id": "77", "name": "Bob *Roe*", "email": "bob@acme.example"}


def tickets(itop: Itop) -> int:
    return len(itop.store.all("UserRequest"))


# What is alike


@pytest.mark.parametrize(
    ("one", "other"),
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
    ],
)
def test_titles_that_are_alike(one: str, other: str) -> None:
    assert similarity(one, other) == similarity(other, one) >= 0.6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Screen flickers", "Printer is out of toner"),
        ("Laptop broken", "Printer broken"),
        ("Help", "Help me with the printer on the second floor"),
        ("", ""),
        ("!!!", "!!!"),
        ("打印机无法打印", "电子邮件没有收到"),
        ("New mailbox", ""),
    ],
)
def test_titles_that_are_not_alike(one: str, other: str) -> None:
    assert similarity(one, other) < 0.6


def row(number: int, title: str, **more: Any) -> TicketRow:
    known: dict[str, Any] = {"status": "new", "is_linked": False, "is_ongoing": True}
    return TicketRow(
        ticket_class="UserRequest", id=number, ref=f"R-{number}", title=title, subtitle="", **(known | more)
    )


def test_the_linked_ones_come_first_then_the_most_alike_and_at_most_five() -> None:
    rows = [
        row(1, "Screen is black"),
        row(2, "Screen is very black today"),
        row(3, "Quite another matter", is_linked=True),
        row(4, "Screen is black", status="", is_linked=True, is_ongoing=False),
        row(5, "Screen is black", status="closed", is_ongoing=False),
        *(row(number, "Screen is black again") for number in range(10, 20)),
    ]
    found = [one.id for one in possible_duplicates("Screen is black", rows)]
    assert found[:2] == [3, 1]
    assert len(found) == 5
    assert not {4, 5} & set(found)


# On the form


def test_a_similar_ticket_is_shown_at_the_first_press_and_the_second_creates(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    before = tickets(itop)
    teammate.open().click(FORM)
    half_a_minute_passes(time_machine)
    itop.calls.clear()
    teammate.click(CREATE, Title="The screen flickers", Description="Mine")
    assert PERHAPS in teammate.text
    assert "R-000008 · Assigned" in teammate.text
    assert "Screen flickers" in teammate.text
    assert "R-000001" not in teammate.text
    assert itop.calls == [("core/get", "UserRequest")]
    assert tickets(itop) == before
    assert teammate.field("Description")["value"] == "Mine"
    itop.calls.clear()
    teammate.click("Create anyway")
    assert "is created" in teammate.text
    assert ("core/get", "UserRequest") not in itop.calls
    assert tickets(itop) == before + 1


def test_a_ticket_that_is_no_longer_ongoing_is_no_duplicate(teammate: Teammate) -> None:
    # R-000004 is closed.
    teammate.open().click(FORM).click(CREATE, Title="ERP slow at month end")
    assert "is created" in teammate.text


def test_a_ticket_of_somebody_else_is_no_duplicate(teammate: Teammate) -> None:
    # R-000007 is Bob's.
    teammate.open().click(FORM).click(CREATE, Title="Printer (2nd floor) is out of toner")
    assert "is created" in teammate.text


def test_a_ticket_linked_to_this_conversation_is_shown_whatever_its_title(teammate: Teammate) -> None:
    teammate.link("R-000006")
    teammate.open().click(FORM).click(CREATE, Title="Quite another matter")
    assert PERHAPS in teammate.text
    assert "R-000006 · Pending" in teammate.text
    assert "Linked to this conversation" in teammate.text
    assert not teammate.offers("Link R-000006")


def test_a_duplicate_is_linked_from_beside_it(teammate: Teammate, itop: Itop) -> None:
    before = tickets(itop)
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers")
    teammate.click("Link R-000008")
    teammate.click("Link from now on")
    assert "R-000008 is linked" in teammate.text
    assert TicketLink.objects.get().ticket.object_id == 8
    assert tickets(itop) == before


def test_looking_at_a_duplicate_leads_back_to_the_form_as_it_was(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers", Description="A long story")
    teammate.click("R-000008")
    assert "Jules Verne" in teammate.text
    teammate.click("Link to this conversation").click("Back").click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers"
    assert teammate.field("Description")["value"] == "A long story"
    # It was told of once.
    teammate.click(CREATE)
    assert "is created" in teammate.text


def test_markdown_and_the_panels_marks_in_a_duplicates_title_stay_what_they_are(
    teammate: Teammate, itop: Itop
) -> None:
    itop.store.update("UserRequest", 8, title="**Screen** [flickers](https://evil.example)")
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers evil example https")
    assert PERHAPS in teammate.text
    texts = [one["text"] for one in teammate.components if one["type"] == "text"]
    assert not any("evil" in text for text in texts)


def test_a_second_click_on_create_is_not_told_of_its_own_ticket(teammate: Teammate, itop: Itop) -> None:
    before = tickets(itop)
    teammate.open().click(FORM).click(CREATE, Title="Quite another matter")
    itop.calls.clear()
    teammate.again()
    assert "is created" in teammate.text
    assert tickets(itop) == before + 1
    assert itop.calls == []


def test_a_search_that_itop_refuses_keeps_no_ticket_from_being_created(
    teammate: Teammate, workspace: Workspace
) -> None:
    teammate.open().click(FORM)
    ask_for(workspace, attributes_mapping={"status": "no_such_state"})
    teammate.click(CREATE)
    assert "is created" in teammate.text


def test_a_search_that_meets_trouble_leaves_the_creation_to_say_so(
    teammate: Teammate, itop: Itop, time_machine: Any
) -> None:
    teammate.open().click(FORM)
    half_a_minute_passes(time_machine)
    itop.faults.add("drop_before", count=1)
    teammate.click(CREATE, Title="Screen flickers")
    assert "is created" in teammate.text


# Two teammates


def second(client: Client) -> Teammate:
    bob = Teammate(client)
    bob.admin = BOB
    return bob


def test_the_second_of_two_forms_is_told_of_the_firsts_ticket(
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
    assert "There is a ticket already" in teammate.text
    created = f"created {ref} from this conversation on 24 Nov 2026 14:03."
    assert created in teammate.text
    assert "Bob *Roe*" in teammate.text
    assert itop.calls == []
    teammate.click(f"Open {ref}")
    assert "From Bob" in teammate.text
    teammate.click("Back")
    assert teammate.field("Description")["value"] == "A long story"
    assert tickets(itop) == before + 1


def test_the_second_of_two_forms_can_create_all_the_same(
    teammate: Teammate, client: Client, itop: Itop
) -> None:
    before = tickets(itop)
    teammate.open().click(FORM)
    bob = second(client)
    bob.open().click(FORM).click(CREATE)
    teammate.click(CREATE, Title="From Ada", Urgency="2")
    teammate.click("Create anyway")
    assert "is created" in teammate.text
    assert tickets(itop) == before + 2
    mine = Submission.objects.latest("pk")
    assert (mine.admin_name, mine.values["title"], mine.values["urgency"]) == (ADA["name"], "From Ada", "2")


def test_a_form_that_was_opened_after_a_creation_shows_its_ticket_as_a_duplicate(teammate: Teammate) -> None:
    teammate.open().click(FORM).click(CREATE)
    teammate.open().click(FORM).click(CREATE, Title="Quite another matter")
    assert "There is a ticket already" not in teammate.text
    assert PERHAPS in teammate.text


def test_a_creation_in_another_conversation_is_nobodys_business(teammate: Teammate, client: Client) -> None:
    teammate.open().click(FORM)
    bob = second(client)
    bob.conversation = conversation(id="another")
    bob.open().click(FORM).click(CREATE, Title="Quite another matter")
    teammate.click(CREATE)
    assert "is created" in teammate.text


def test_the_form_that_waited_for_the_firsts_press_is_told_too(
    teammate: Teammate, client: Client, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked before either has created."""
    from intercom_bridge import press

    before = tickets(itop)
    teammate.open().click(FORM)
    bob = second(client)
    bob.open().click(FORM)
    wait = press._wait_for_lease

    def bob_is_faster(*arguments: Any) -> Any:
        monkeypatch.setattr(press, "_wait_for_lease", wait)
        bob.click(CREATE)
        return wait(*arguments)

    monkeypatch.setattr(press, "_wait_for_lease", bob_is_faster)
    teammate.click(CREATE)
    assert "is created" in bob.text
    assert "There is a ticket already" in teammate.text
    assert tickets(itop) == before + 1


def test_a_retry_after_trouble_keeps_the_way_back_to_the_form(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click(FORM).click(CREATE, Title="Screen flickers")
    itop.faults.add("error500", count=1)
    teammate.click("Link R-000008")
    assert "Screen flickers" not in teammate.text
    teammate.click("Retry").click("Back").click("Back")
    assert teammate.field("Title")["value"] == "Screen flickers"
