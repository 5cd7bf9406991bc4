from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import PersonMatch, Ticket, Workspace
from sandbox.itop import Itop
from tests.teammate import ADA, ALICE, Teammate, author_of, conversation, notify, part


def contact(workspace: Workspace, *, user_id: str = "", **changes: Any) -> dict[str, Any]:
    return {**ALICE, "external_id": user_id or workspace.itop.user_id_of(40), **changes}


def test_a_person_who_signed_in_to_itop_is_verified(workspace: Workspace, teammate: Teammate) -> None:
    teammate.contact = contact(workspace, name="Somebody Else", email="somebody.else@acme.example")
    teammate.open()
    assert "Alice Martin" in teammate.text and "verified by iTop" in teammate.text
    assert "Not verified" not in teammate.text
    assert PersonMatch.objects.get().how == PersonMatch.How.ITOP


def test_what_itop_signed_outweighs_the_attributes_of_the_contact(
    workspace: Workspace, teammate: Teammate
) -> None:
    teammate.contact = contact(workspace, custom_attributes={"itop_contact_id": "41"})
    teammate.open()
    assert "Alice Martin" in teammate.text and "verified by iTop" in teammate.text


@pytest.mark.parametrize("forged", ["itop-00000000-40-000000000000000000000000", "mac", "lead"])
def test_a_forged_user_id_verifies_nobody(workspace: Workspace, teammate: Teammate, forged: str) -> None:
    true_id = workspace.itop.user_id_of(40)
    user_id = {"mac": f"{true_id[:-1]}{'0' if true_id[-1] != '0' else '1'}", "lead": ""}.get(forged, forged)
    teammate.contact = contact(workspace, user_id=user_id or "another", name="A. Visitor", role="lead")
    teammate.open()
    assert "verified by iTop" not in teammate.text
    assert "Not verified: A. Visitor" in teammate.text


def test_a_workspace_may_believe_itop_only(workspace: Workspace, teammate: Teammate) -> None:
    teammate.open()
    assert "Not verified" not in teammate.text
    Workspace.objects.update(verification=Workspace.Verification.ITOP)
    teammate.open()
    assert "Not verified: Alice Martin has not signed in to iTop." in teammate.text


def test_messages_of_who_signed_in_are_written_under_their_account(
    workspace: Workspace, teammate: Teammate, client: Client, itop: Itop, work: Callable[[], None]
) -> None:
    """The contact's address in Intercom is another one than in iTop."""
    visitor = contact(workspace, email="private@home.example", name="Al")
    teammate.contact = visitor
    teammate.conversation["source"]["author"] = author_of(visitor)
    teammate.open().click("Create a ticket").click("Create ticket", Title="Something new")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")
    notify(client, part(37358198999, "<p>And one more thing</p>", author_of(visitor)))
    work()
    ticket = Ticket.objects.get()
    entries = itop.store.log(ticket.object_id)
    alice = next(str(row["id"]) for row in itop.store.all("User") if row["contactid"] == 40)
    assert [entry["user_id"] for entry in entries if "more thing" in entry["message"]] == [alice]
    assert {entry["user_id"] for entry in entries} == {alice}


def test_the_spelling_of_an_address_in_itop_does_not_matter(
    workspace: Workspace, teammate: Teammate, client: Client, itop: Itop, work: Callable[[], None]
) -> None:
    teammate.contact = contact(workspace, email="private@home.example")
    teammate.link("R-000006")
    PersonMatch.objects.update(email="Alice.MARTIN@acme.example ")
    notify(client, part(37358198999, "<p>And one more thing</p>", author_of(teammate.contact)))
    work()
    alice = next(str(row["id"]) for row in itop.store.all("User") if row["contactid"] == 40)
    entries = itop.store.log(Ticket.objects.get().object_id)
    assert [entry["user_id"] for entry in entries if "more thing" in entry["message"]] == [alice]


def test_who_signed_in_with_a_teammates_address_does_not_become_the_author_of_the_teammates_notes(
    workspace: Workspace, teammate: Teammate, itop: Itop
) -> None:
    visitor = contact(workspace, email=ADA["email"], name="Al")
    teammate.contact = visitor
    teammate.conversation = conversation(part(2, "<p>a note</p>", author_of(ADA), part_type="note"))
    teammate.conversation["source"]["author"] = author_of(visitor)
    teammate.open().click("Create a ticket").click("Create ticket", Title="Something new")
    if teammate.offers("Create anyway"):
        teammate.click("Create anyway")
    ticket_id = Ticket.objects.get().object_id
    alice = next(str(row["id"]) for row in itop.store.all("User") if row["contactid"] == 40)
    assert [entry["user_id"] for entry in itop.store.log(ticket_id)] == [alice]
    assert [int(entry["user_id"]) for entry in itop.store.log(ticket_id, "private_log")] == [0]
