"""A customer whom iTop does not know: iTop's form for a new person, and a ticket with a default caller."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from intercom_bridge.models import ItopInstance, PersonMatch, TicketLink, Workspace
from sandbox.itop import Itop
from tests.teammate import ALICE, Teammate, author_of, conversation, notify, part

ZED = ALICE | {"id": "zed", "role": "lead", "name": "Zed van Zebra", "email": "zed@newcustomer.example"}
BOB = 41


@pytest.fixture
def unknown(teammate: Teammate) -> Teammate:
    """Return a teammate in the conversation of a customer whom iTop does not know."""
    teammate.contact = ZED
    listed = {"type": "contact.list", "contacts": [{"type": "contact", "id": ZED["id"]}]}
    teammate.conversation = conversation(
        part(37358198341, "<p>Our whole office is offline</p>", author_of(ZED, "lead")), contacts=listed
    )
    return teammate


@pytest.fixture
def served(unknown: Teammate, workspace: Workspace) -> Teammate:
    """Let the workspace create tickets for unknown customers, with Bob as their caller."""
    workspace.default_caller_id = BOB
    workspace.save()
    return unknown


def created(teammate: Teammate) -> Teammate:
    teammate.open().click("Create a ticket").click(
        "Create ticket", Title="Offline", Description="No <network>"
    )
    assert "created" in teammate.text
    return teammate


def ticket_in(itop: Itop) -> dict[str, Any]:
    ticket = itop.store.load("UserRequest", TicketLink.objects.get().ticket.object_id)
    assert ticket is not None
    return dict(ticket)


# A new person


def test_itops_form_for_a_new_person_is_filled_in(unknown: Teammate, itop: Itop) -> None:
    url = urlsplit(unknown.open().find("Create the person in iTop")["action"]["url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{itop.url}/pages/UI.php"
    assert dict(parse_qsl(url.query)) == {
        "operation": "new",
        "class": "Person",
        "default[first_name]": "Zed van",
        "default[name]": "Zebra",
        "default[email]": "zed@newcustomer.example",
    }
    itop.store.insert("Person", first_name="Zed van", name="Zebra", org_id=4, email=ZED["email"])
    assert "Zed van Zebra" in unknown.click("Check again").text and unknown.offers("Create a ticket")


@pytest.mark.parametrize(
    ("name", "email", "filled"),
    [
        ("", "", {}),
        ("Zed", "", {"default[name]": "Zed"}),
        (" ", "a+b@c.example", {"default[email]": "a+b@c.example"}),
    ],
)
def test_only_what_is_known_is_filled_in(name: str, email: str, filled: dict[str, str]) -> None:
    url = ItopInstance(url="https://itop.example").new_person_url(name, email)
    assert dict(parse_qsl(urlsplit(url).query)) == {"operation": "new", "class": "Person"} | filled


def test_without_itop_accounts_the_form_is_not_offered(unknown: Teammate, workspace: Workspace) -> None:
    workspace.profile.show_open_in_backoffice_button = False
    workspace.profile.save()
    assert not unknown.open().offers("Create the person in iTop")


def test_a_customer_who_may_be_several_people_is_not_a_new_person(served: Teammate) -> None:
    served.contact = ZED | {"email": "reception@globex.example"}
    assert "Several people match" in served.open().text
    assert not served.offers("Create the person in iTop") and not served.offers("Create a ticket")
    assert "Several people match" in served.send_click("create").text


# A ticket with the default caller


def test_without_a_default_caller_no_ticket_can_be_created(unknown: Teammate) -> None:
    assert not unknown.open().offers("Create a ticket")
    assert "Not found in iTop" in unknown.send_click("create").text


def test_the_form_says_who_will_be_the_caller(served: Teammate) -> None:
    served.open().click("Create a ticket")
    assert "iTop does not know this customer" in served.text
    assert "will be Bob Durand, Acme Corp" in served.text


def test_the_ticket_has_the_default_caller_and_says_who_wrote(served: Teammate, itop: Itop) -> None:
    created(served)
    ticket = ticket_in(itop)
    assert (ticket["caller_id"], ticket["org_id"]) == (BOB, 4)
    assert ticket["description"] == (
        "<p>Written by Zed van Zebra (zed@newcustomer.example). Not verified: iTop does not know this customer.</p>"
        "<p>No &lt;network&gt;</p>"
    )
    entry = itop.store.log(ticket["id"])[-1]
    assert (entry["user_login"], entry["user_id"]) == ("Zed van Zebra (Intercom)", 0)
    assert not PersonMatch.objects.exists()


@pytest.mark.parametrize(
    ("name", "email", "who"),
    [("<b>Z</b>", "", "&lt;b&gt;Z&lt;/b&gt;"), ("", "z@x.example", "z@x.example"), ("", "", "somebody")],
)
def test_a_customer_is_named_by_what_is_known(
    served: Teammate, itop: Itop, name: str, email: str, who: str
) -> None:
    served.contact = ZED | {"name": name, "email": email}
    created(served)
    assert ticket_in(itop)["description"].startswith(f"<p>Written by {who}. Not verified")


def test_later_messages_are_written_to_the_ticket(
    served: Teammate, itop: Itop, client: Client, work: Any
) -> None:
    created(served)
    listed = served.conversation["contacts"]
    notify(client, part(37358198399, "<p>Hello?</p>", author_of(ZED, "lead")), contacts=listed)
    work()
    assert "Hello?" in str(itop.store.log(ticket_in(itop)["id"]))


def test_the_linked_ticket_can_be_opened_and_no_other_of_the_default_caller_is_listed(
    served: Teammate,
) -> None:
    ref = created(served).click("View ticket").components[0]["text"]
    served.open()
    assert "Not found in iTop" in served.text and served.offers("1 linked ticket")
    served.click("1 linked ticket")
    refs = [item["title"] for part in served.components for item in part.get("items", [])]
    assert len(refs) == 1 and ref in refs[0]
    assert "Offline" in served.click(ref).text
    assert served.open().click("Sync status").offers("Pause")
    assert "Not found in iTop" in served.send_click("ongoing:1").text


def test_the_default_callers_tickets_are_no_duplicates(served: Teammate, itop: Itop) -> None:
    title = next(row["title"] for row in itop.store.all("UserRequest") if row["caller_id"] == BOB)
    served.open().click("Create a ticket").click("Create ticket", Title=title, Description="x")
    assert "created" in served.text


def test_another_organizations_ticket_is_not_linked_for_an_unknown_customer(served: Teammate) -> None:
    assert "Not found in iTop" in served.open().send_click("find").text
    assert "Not found in iTop" in served.send_click("link:UserRequest:1").text


@pytest.mark.parametrize("person_id", [99999, 50])
def test_a_default_caller_who_is_not_in_scope_is_reported(
    served: Teammate, workspace: Workspace, person_id: int
) -> None:
    workspace.default_caller_id = person_id
    workspace.scope = "SELECT Organization WHERE name LIKE 'Acme%'"
    workspace.save()
    served.open().click("Create a ticket")
    assert "No caller for unknown customers" in served.text
    assert not TicketLink.objects.exists()


def test_a_customer_who_is_not_served_gets_no_ticket(served: Teammate, workspace: Workspace) -> None:
    workspace.scope = "SELECT Organization WHERE name LIKE 'Acme%'"
    workspace.save()
    served.contact = ZED | {"email": "dana.oneil@globex.example"}
    assert "outside the scope" in served.open().text.casefold()
    assert not served.offers("Create a ticket")
    assert "outside the scope" in served.send_click("create").text.casefold()


def test_a_known_customer_is_the_caller(served: Teammate, itop: Itop) -> None:
    served.contact = ALICE
    created(served)
    assert ticket_in(itop)["caller_id"] == 40
    assert "Written by" not in ticket_in(itop)["description"]


@pytest.mark.parametrize("value", [0, -1])
def test_the_default_caller_is_the_id_of_an_object(workspace: Workspace, value: int) -> None:
    workspace.default_caller_id = value
    with pytest.raises(ValidationError):
        workspace.full_clean()


@pytest.mark.parametrize("language", ["en", "fr", "de", "es"])
def test_the_first_screen_has_room_for_all_of_this(
    served: Teammate, workspace: Workspace, language: str
) -> None:
    created(served)
    Workspace.objects.update(language=language)
    # Each response to Initialize is checked for its height.
    served.contact = ZED | {"name": "Martin", "email": f"{'x' * 200}@{'y' * 60}.example"}
    served.open()
    assert "linked:1" in {entry["id"] for entry in served.clickable()}
