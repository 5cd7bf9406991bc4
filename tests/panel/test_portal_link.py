"""The message about a new ticket links to the portal only where the customer can open the link."""

from __future__ import annotations

from typing import Any

import pytest

from intercom_bridge.models import CachedAnswer, OutgoingMessage, Workspace
from intercom_bridge.privacy.contact import Contact
from sandbox.itop import Itop
from sandbox.itop.seed import TOKENS
from tests.teammate import ALICE, Teammate

ACCOUNTS = ("core/get", "User")
# Has no account in iTop.
CHLOE = ALICE | {"id": "chloe", "name": "Ben Twin", "email": "", "custom_attributes": {"itop_contact_id": 55}}
# A support agent, whose account opens the console.
JULES = ALICE | {
    "id": "jules",
    "name": "Jules Verne",
    "email": "",
    "custom_attributes": {"itop_contact_id": 9},
}


def announced(teammate: Teammate) -> str:
    """Create a ticket, and return the message to the customer."""
    teammate.open().click("Create a ticket").click("Create ticket", Title="Offline", Description="x")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")
    assert "created" in teammate.text
    has_link = "has been sent a link" in teammate.text
    body: str = OutgoingMessage.objects.latest("pk").body
    assert ("<a " in body) is ("follow its progress" in body) is has_link
    assert ("ticket's number" in teammate.text) is not has_link
    return body


def test_a_customer_with_a_portal_account_gets_the_link(teammate: Teammate) -> None:
    assert "exec.php/object/edit/UserRequest/" in announced(teammate)


@pytest.mark.parametrize("contact", [CHLOE, JULES], ids=["without an account", "with another profile"])
def test_a_customer_without_a_portal_account_gets_the_reference_only(
    teammate: Teammate, contact: dict[str, Any]
) -> None:
    teammate.contact = contact
    assert announced(teammate) == "<p>We have opened ticket R-000041 for you.</p>"


def test_a_disabled_account_does_not_count(teammate: Teammate, itop: Itop) -> None:
    itop.store.update("UserLocal", 8, status="disabled")
    assert "<a " not in announced(teammate)


def test_a_class_that_the_portal_does_not_show_has_no_link(
    teammate: Teammate, workspace: Workspace, itop: Itop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intercom_bridge.tickets.creation.submit.PORTAL_CLASS", "Another")
    assert "<a " not in announced(teammate)
    assert itop.calls.count(ACCOUNTS) == 1  # that of the authors


def test_an_account_that_may_not_read_accounts_sends_no_link(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.itop.token = TOKENS["agent_app"]
    workspace.itop.save()
    assert "<a " not in announced(teammate)


def test_an_unknown_customer_gets_no_link_to_the_default_callers_ticket(
    teammate: Teammate, workspace: Workspace
) -> None:
    workspace.default_caller_id = 40
    workspace.save()
    teammate.contact = ALICE | {"id": "zed", "email": "zed@nowhere.example", "name": "Zed"}
    assert "<a " not in announced(teammate)


def test_the_answer_is_kept_and_erased_with_the_contact(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    announced(teammate)
    itop.calls.clear()
    announced(teammate)
    assert ACCOUNTS not in itop.calls
    Contact(workspace, ALICE["id"]).erase()
    assert not CachedAnswer.objects.filter(question__contains="portal").exists()


def test_without_a_message_nothing_is_asked(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    workspace.announce_tickets = False
    workspace.save()
    teammate.open().click("Create a ticket").click("Create ticket", Title="Offline", Description="x")
    assert itop.calls.count(ACCOUNTS) == 1  # that of the authors
