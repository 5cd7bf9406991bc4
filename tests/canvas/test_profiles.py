"""What a profile, a workspace and an iTop's account say has its effect, from the panel to the sandbox's iTop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Delivery, Submission, TicketLink, Workspace
from intercom_bridge.sync.transcript import MOST_ENTRIES
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
    """Creates a ticket from the conversation; answers its id in iTop."""
    teammate.open().click("Create a ticket").click("Create the ticket", Title="Export is broken")
    assert "is created" in teammate.text
    return TicketLink.objects.latest("pk").ticket.object_id


def said(itop: Itop, ticket: int, code: str) -> list[str]:
    return [entry["message"] for entry in itop.store.log(ticket, code)]


# Profile


@pytest.mark.parametrize("shown", [True, False])
def test_show_open_in_backoffice_button(
    teammate: Teammate, workspace: Workspace, itop: Itop, shown: bool
) -> None:
    set_profile(workspace, show_open_in_backoffice_button=shown)
    teammate.open().click("ongoing tickets").click("R-000008")
    addresses = [one["action"]["url"] for one in teammate.clickable() if one["action"]["type"] == "url"]
    backoffice = f"{itop.url}/pages/UI.php?operation=details&class=UserRequest&id=8"
    assert (backoffice in addresses) is shown
    assert ("Open in iTop" in teammate.text) is shown


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("title", "Screen flickers"),
        ("ref", "R-000008"),
        ("request_type", "incident"),
        ("nonsense_of_mine", ""),
    ],
)
def test_subtitle_attribute(teammate: Teammate, workspace: Workspace, code: str, words: str) -> None:
    set_profile(workspace, subtitle_attribute=code)
    teammate.open().click("ongoing tickets")
    assert teammate.find("R-000008").get("subtitle", "").casefold() == words.casefold()


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
def test_excluded_states(
    teammate: Teammate, workspace: Workspace, states: list[str], ongoing: set[int]
) -> None:
    set_profile(workspace, excluded_states=states)
    teammate.open()
    assert f"{len(ongoing)} ongoing tickets" in teammate.text
    teammate.click("ongoing tickets")
    shown = {
        int(one["id"].rsplit(":", 1)[1]) for one in teammate.clickable() if one["id"].startswith("ticket:")
    }
    assert shown == ongoing


def test_a_mapping_to_other_logs_holds_for_a_creation_and_for_what_comes_later(
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
    assert said(itop, ticket, "private_log") == [
        "<p>The export button does nothing</p>",
        "<p>It is urgent</p>",
        "<p>Any news?</p>",
    ]
    assert said(itop, ticket, "public_log") == ["<p>looks like the cable</p>", "<p>not yet</p>"]
    assert set(Delivery.objects.values_list("state", flat=True)) == {"written"}


# Account


def test_an_account_with_a_password_does_all_that_a_token_does(
    teammate: Teammate, workspace: Workspace, itop: Itop, client: Client, work: Work
) -> None:
    workspace.itop.token, workspace.itop.user, workspace.itop.password = "", "admin", "admin"
    workspace.itop.full_clean()
    workspace.itop.save()
    assert "5 ongoing tickets" in teammate.open().text
    ticket = create(teammate)
    notify(client, part(37358198350, "<p>Any news?</p>"))
    work()
    assert said(itop, ticket, "public_log")[-1] == "<p>Any news?</p>"
    # An administrator's account: the author's own name stands over the entry.
    assert itop.store.log(ticket)[-1]["user_login"] == "Alice Martin"


def test_a_wrong_password_is_said_and_not_shown(teammate: Teammate, workspace: Workspace, itop: Itop) -> None:
    workspace.itop.token, workspace.itop.user, workspace.itop.password = "", "admin", "swordfish"
    workspace.itop.save()
    teammate.open()
    assert "iTop refuses our account" in teammate.text
    assert "swordfish" not in teammate.text
    assert itop.calls == []


# Scope


@pytest.mark.parametrize(
    ("organization", "served"), [("Acme Corp", True), ("Demo", False), ("Acme Corp' OR 1 = 1 -- ", False)]
)
def test_a_scope_that_selects_people_through_their_organization(
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
        assert "5 ongoing tickets" in teammate.text
        teammate.click("ongoing tickets").click("R-000008")
        assert "Jules Verne" in teammate.text


# A long conversation


def test_three_hundred_messages_are_folded_into_the_new_ticket_none_lost_and_in_order(
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
    assert len(entries) <= MOST_ENTRIES
    text = "".join(entry["message"] for entry in entries)
    words = ["The export button does nothing", *(f"message no. {number}." for number in range(1, 301))]
    assert [text.count(one) for one in words] == [1] * 301
    places = [text.index(one) for one in words]
    assert places == sorted(places)
    # The newest stand alone, under their authors; the oldest share entries that name theirs.
    assert entries[-1]["message"] == "<p>message no. 300.</p>"
    assert (entries[-2]["user_login"], entries[-1]["user_login"]) == ("Alice Martin", "Ada Reyes (Intercom)")
    assert entries[0]["user_login"] == "Earlier messages (Intercom)"
    assert "Alice Martin (Intercom)" in entries[0]["message"]
    # Each is known as written, so that its webhook writes nothing again.
    assert len(Submission.objects.get().parts) == 301
    assert Delivery.objects.filter(state="written").count() == 301
