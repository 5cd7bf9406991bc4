"""The settings of profiles, workspaces and iTop accounts take effect in the panel and in iTop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Delivery, TicketCreation, TicketLink, Workspace
from intercom_bridge.tickets.creation.transcript import MAX_ENTRIES
from sandbox.itop import Itop
from tests.teammate import ADA, ALICE, Teammate, author_of, conversation, notify, part

Work = Callable[[], None]
NOTE = part(37358198342, "<p>looks like the cable</p>", author_of(ADA), part_type="note")


def set_profile(workspace: Workspace, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(workspace.profile, name, value)
    workspace.profile.full_clean()
    workspace.profile.save()


def create(teammate: Teammate) -> int:
    """Create a ticket from the conversation and return its id in iTop."""
    teammate.open().click("Create a ticket").click("Create ticket", Title="Export is broken")
    assert "created" in teammate.text
    return TicketLink.objects.latest("pk").ticket.object_id


def log_of(itop: Itop, ticket: int, code: str) -> list[str]:
    return [entry["message"] for entry in itop.store.log(ticket, code)]


# Profile


@pytest.mark.parametrize("is_displayed", [True, False])
def test_the_backoffice_link_can_be_hidden(
    teammate: Teammate, workspace: Workspace, itop: Itop, is_displayed: bool
) -> None:
    set_profile(workspace, show_open_in_backoffice_button=is_displayed)
    teammate.open().click("open tickets").click("R-000008")
    addresses = [
        component["action"]["url"]
        for component in teammate.clickable()
        if component["action"]["type"] == "url"
    ]
    backoffice = f"{itop.url}/pages/UI.php?operation=details&class=UserRequest&id=8"
    assert (backoffice in addresses) is is_displayed
    assert ("Open in iTop" in teammate.text) is is_displayed


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("title", "Screen flickers"),
        ("ref", "R-000008"),
        ("request_type", "incident"),
        ("nonsense_of_mine", ""),
    ],
)
def test_the_subtitle_is_the_configured_attribute(
    teammate: Teammate, workspace: Workspace, code: str, text: str
) -> None:
    set_profile(workspace, subtitle_attribute=code)
    teammate.open().click("open tickets")
    assert teammate.find("R-000008").get("subtitle", "").casefold() == text.casefold()


@pytest.mark.parametrize(
    ("states", "ongoing"),
    # Recording 033: of Alice's tickets one is new, two are assigned, one pending, resolved, closed, rejected each.
    [
        ([], {1, 2, 3, 4, 5, 6, 8}),
        (["rejected", "closed"], {1, 2, 3, 6, 8}),
        (["rejected", "closed", "resolved", "pending"], {1, 2, 8}),
        (["assigned"], {1, 3, 4, 5, 6}),
    ],
)
def test_excluded_states_are_not_ongoing(
    teammate: Teammate, workspace: Workspace, states: list[str], ongoing: set[int]
) -> None:
    set_profile(workspace, excluded_states=states)
    teammate.open()
    # Number 3 is the resolved one.
    assert f"{len(ongoing - {3})} open tickets" in teammate.text
    teammate.click("open tickets")
    listed = {
        int(component["id"].rsplit(":", 1)[1])
        for component in teammate.clickable()
        if component["id"].startswith("ticket:")
    }
    assert listed == ongoing


def test_a_log_mapping_applies_to_creations_and_later_messages(
    teammate: Teammate, workspace: Workspace, itop: Itop, client: Client, work: Work
) -> None:
    set_profile(workspace, attributes_mapping={"public_log": "private_log", "private_log": "public_log"})
    teammate.conversation = conversation(part(37358198341, "<p>It is urgent</p>"), NOTE)
    ticket = create(teammate)
    work()
    notify(client, part(37358198350, "<p>Any news?</p>"))
    notify(
        client,
        part(37358198351, "<p>not yet</p>", author_of(ADA), part_type="note"),
        topic="conversation.admin.noted",
    )
    work()
    assert log_of(itop, ticket, "private_log") == [
        "<p>The export button does nothing</p>",
        "<p>It is urgent</p>",
        "<p>Any news?</p>",
    ]
    assert log_of(itop, ticket, "public_log") == ["<p>looks like the cable</p>", "<p>not yet</p>"]
    assert set(Delivery.objects.values_list("state", flat=True)) == {"written"}


# Account


def test_a_password_account_supports_everything_that_a_token_does(
    teammate: Teammate, workspace: Workspace, itop: Itop, client: Client, work: Work
) -> None:
    workspace.itop.token, workspace.itop.user, workspace.itop.password = "", "admin", "admin"
    workspace.itop.full_clean()
    workspace.itop.save()
    assert "4 open tickets, 1 resolved" in teammate.open().text
    ticket = create(teammate)
    notify(client, part(37358198350, "<p>Any news?</p>"))
    work()
    assert log_of(itop, ticket, "public_log")[-1] == "<p>Any news?</p>"
    # An administrator account can write entries in the name of the author.
    assert itop.store.log(ticket)[-1]["user_login"] == "Alice Martin"


def test_a_wrong_password_is_reported_and_not_displayed(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.itop.token, workspace.itop.user, workspace.itop.password = "", "admin", "swordfish"
    workspace.itop.save()
    teammate.open()
    assert "iTop refuses the bridge's account" in teammate.text
    assert "swordfish" not in teammate.text
    assert itop.calls == []


# Scope


@pytest.mark.parametrize(
    ("organization", "served"), [("Acme Corp", True), ("Demo", False), ("Acme Corp' OR 1 = 1 -- ", False)]
)
def test_a_scope_can_select_people_through_their_organization(
    teammate: Teammate, workspace: Workspace, organization: str, served: bool
) -> None:
    name = organization.replace("'", "\\'")
    workspace.scope = (
        f"SELECT p FROM Person AS p JOIN Organization AS o ON p.org_id = o.id WHERE o.name = '{name}'"
    )
    workspace.full_clean()
    workspace.save()
    teammate.open()
    assert ("Create a ticket" in teammate.text) is served
    if served:
        assert "4 open tickets, 1 resolved" in teammate.text
        teammate.click("open tickets").click("R-000008")
        assert "Jules Verne" in teammate.text


# A long conversation


def test_three_hundred_messages_are_copied_into_the_new_ticket_in_order(
    teammate: Teammate, itop: Itop
) -> None:
    messages = []
    for number in range(1, 301):
        of_alice = number % 2
        messages.append(
            part(
                37358198341 + number,
                f"<p>message no. {number}.</p>",
                author_of(ALICE if of_alice else ADA),
                created_at=1_768_031_789 + 10 * number,
            )
        )
    teammate.conversation = conversation(*messages)
    itop.calls.clear()
    ticket = create(teammate)
    assert itop.calls.count(("core/create", "UserRequest")) == 1
    entries = itop.store.log(ticket)
    assert len(entries) <= MAX_ENTRIES
    text = "".join(entry["message"] for entry in entries)
    expected = ["The export button does nothing", *(f"message no. {number}." for number in range(1, 301))]
    assert [text.count(message) for message in expected] == [1] * 301
    positions = [text.index(message) for message in expected]
    assert positions == sorted(positions)
    # The newest messages have an entry each; the oldest share entries that name their authors.
    assert entries[-1]["message"] == "<p>message no. 300.</p>"
    assert (entries[-2]["user_login"], entries[-1]["user_login"]) == ("Alice Martin", "Ada Reyes (Intercom)")
    assert entries[0]["user_login"] == "Earlier messages (Intercom)"
    assert "Alice Martin (Intercom)" in entries[0]["message"]
    # Each message is recorded as written, so its notification writes nothing again.
    assert len(TicketCreation.objects.get().parts) == 301
    assert Delivery.objects.filter(state="written").count() == 301
