"""No customer's words get into another customer's ticket unnoticed, and nobody is taken for somebody else unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import CachedTickets, Delivery, OutgoingMessage, TicketLink
from intercom_bridge.panel.screens.link import CONFIRMED
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate, conversation, notify, part

Work = Callable[[], None]


@pytest.fixture
def foreign(itop: Itop) -> dict[str, Any]:
    """Return a ticket of another organization."""
    rows = [row for row in itop.store.all("UserRequest") if row["org_id"] == 5]
    return rows[0]


@pytest.fixture
def at_ticket(teammate: Teammate, foreign: dict[str, Any]) -> Teammate:
    teammate.conversation = conversation(part(37358198341, "<p>my password is swordfish</p>"))
    teammate.open().click("Find a ticket")
    teammate.send_click("find", {"Reference or words of the title": foreign["ref"]})
    return teammate.click(foreign["ref"])


def test_lists_results_and_tickets_show_caller_and_organization(
    teammate: Teammate, at_ticket: Teammate, itop: Itop
) -> None:
    assert "Another organization's ticket: " in at_ticket.text
    assert "Globex & Söhne" in at_ticket.text
    assert "Alice Martin · Acme Corp" in teammate.open().click("open tickets").text
    assert "Alice Martin · Acme Corp" in teammate.click("R-000008").text
    teammate.open().click("Find a ticket").send_click(
        "find", {"Reference or words of the title": "out of toner"}
    )
    assert "Acme Corp" in teammate.text


def test_linking_another_organizations_ticket_needs_a_confirmation_that_names_the_readers(
    at_ticket: Teammate, foreign: dict[str, Any], work: Work, itop: Itop
) -> None:
    before = len(itop.store.log(foreign["id"]))
    at_ticket.click("Link to this conversation")
    assert "Ticket of another organization" in at_ticket.text
    assert "This conversation is with Alice Martin, Acme Corp" in at_ticket.text
    assert "People at Globex & Söhne can read the messages in the ticket's public log" in at_ticket.text
    assert not at_ticket.offers("Link and copy")
    at_ticket.click("Link it anyway").click("Link and copy")
    assert "linked" in at_ticket.text
    work()
    assert len(itop.store.log(foreign["id"])) > before


@pytest.mark.parametrize("answer", ["copy", "from-now-on", "ask", ""])
def test_without_the_confirmation_nothing_is_linked(
    at_ticket: Teammate, foreign: dict[str, Any], answer: str
) -> None:
    at_ticket.send_click(f"link:UserRequest:{foreign['id']}:{answer}")
    assert "Ticket of another organization" in at_ticket.text
    assert not TicketLink.objects.exists() and not Delivery.objects.exists()
    at_ticket.send_click(f"link:UserRequest:{foreign['id']}:from-now-on:{CONFIRMED}")
    assert TicketLink.objects.get().ticket.object_id == foreign["id"]


@pytest.mark.parametrize("way", ["default", "button", "setting"])
def test_the_message_to_the_customer_is_announced_and_can_be_left_out(
    teammate: Teammate, workspace: Any, way: str
) -> None:
    if way == "setting":
        workspace.announce_tickets = False
        workspace.save()
    teammate.open().click("Create a ticket")
    announced = "The customer will get a message about the ticket." in teammate.text
    assert announced is (way != "setting")
    assert teammate.offers("Create without a message") is (way != "setting")
    teammate.click("Create without a message" if way == "button" else "Create ticket")
    if teammate.offers("Create anyway"):
        teammate.click("Create without a message" if way == "button" else "Create anyway")
    assert "created" in teammate.text
    assert OutgoingMessage.objects.exists() is (way == "default")
    assert ("has been sent a link" in teammate.text) is (way == "default")


def test_a_closed_ticket_is_named_on_the_first_screen(teammate: Teammate, itop: Itop, work: Work) -> None:
    teammate.link("R-000008")
    work()
    assert "closed" not in teammate.open().text
    itop.store.update("UserRequest", 8, status="closed")
    CachedTickets.objects.all().delete()
    assert "R-000008 is closed: nobody will see new messages there." in teammate.open().text
    assert teammate.offers("Create a ticket")


@pytest.mark.parametrize(("code", "is_offered"), [("log_full", False), ("gave_up", True)])
def test_retry_is_offered_only_where_it_may_help(
    client: Client, teammate: Teammate, work: Work, code: str, is_offered: bool
) -> None:
    teammate.link("R-000008")
    work()
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    Delivery.objects.update(state="failed", reason_code=code)
    assert "1 message could not be copied" in teammate.open().text
    assert teammate.offers("Try again") is is_offered


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, ""),
        ({"name": "Martin, alice"}, ""),
        ({"name": "Dr. Alice Martin"}, ""),
        ({"name": ""}, ""),
        (
            {"role": "lead", "name": "A. Visitor"},
            "Not verified: A. Visitor, a visitor, gave this e-mail address.",
        ),
        ({"role": "lead"}, "Not verified: Alice Martin, a visitor, gave this e-mail address."),
        ({"role": "lead", "name": ""}, "Not verified: somebody, a visitor, gave this e-mail address."),
        ({"name": "Mallory Smith"}, "Not verified: the contact's name is Mallory Smith."),
        ({"name": "Alice Smith"}, "Not verified: the contact's name is Alice Smith."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_unverified_identity_is_marked_on_the_first_screen_and_in_the_form(
    workspace: Any, client: Client, changes: dict[str, str], warning: str
) -> None:
    teammate = Teammate(client, ALICE | {"custom_attributes": {}} | changes)
    for text in (teammate.open().text, teammate.click("Create a ticket").text):
        assert (warning in text) if warning else ("Not verified" not in text)


def test_a_teammates_choice_ends_the_warning(workspace: Any, client: Client) -> None:
    teammate = Teammate(client, ALICE | {"custom_attributes": {}, "name": "Mallory Smith"})
    teammate.open().click("Not this person").send_click("who:search", {"Search": "Alice Martin"})
    teammate.click("Alice Martin")
    assert "Not verified" not in teammate.open().text
