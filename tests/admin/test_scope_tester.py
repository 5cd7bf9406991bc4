"""Which workspace serves somebody, and why; how many people each scope covers, and where two overlap."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from intercom_bridge.models import ItopInstance, Workspace
from sandbox.itop import Itop

pytestmark = pytest.mark.django_db

PAGE = "/admin/intercom_bridge/workspace/scopes/"
PEOPLE_OF_ACME, PEOPLE_OF_GLOBEX = 3, 7
ACME = "SELECT Organization WHERE name = 'Acme Corp'"


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    Workspace.objects.update(workspace_id="acme", name="Acme", scope=ACME)
    return Workspace.objects.get()


def another(like: Workspace, name: str, scope: str, **more: Any) -> Workspace:
    return Workspace.objects.create(
        workspace_id=name.lower(), name=name, scope=scope, itop=like.itop, profile=like.profile, **more
    )


def words(response: Any) -> str:
    """What stands on the page, without its marks; yes and no by their pictures."""
    page = response.content.decode()
    page = re.sub(r'<img [^>]*alt="(\w+)"[^>]*>', r" [\1] ", page[page.index("content-main") :])
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def look_up(client: Client, who: str) -> str:
    return words(client.get(PAGE, {"who": who}))


def count(client: Client) -> str:
    return words(client.get(PAGE, {"count": "1"}))


@pytest.mark.parametrize(
    "who", ["alice.martin@acme.example", "Alice.Martin+shop@acme.example", "40", "alice mart"]
)
def test_somebody_is_found_by_address_number_and_name(
    admin_client: Client, acme: Workspace, who: str
) -> None:
    page = look_up(admin_client, who)
    assert "Alice Martin alice.martin@acme.example Person 40" in page
    assert "[yes] The person's organization, Acme Corp, is one of those that the scope finds." in page


@pytest.mark.parametrize(
    ("scope", "who", "says"),
    [
        (
            ACME,
            "50",
            "[no] The person's organization, Globex & Söhne, is not one of those that the scope finds.",
        ),
        ("SELECT Person WHERE org_id = 5", "50", "[yes] The person is one of those that the scope finds."),
        ("SELECT Person WHERE org_id = 5", "40", "[no] The person is not one of those that the scope finds."),
        ("SELECT User", "1", "[yes] An account of this person is one of those that the scope finds."),
        ("SELECT User", "53", "[no] No account of this person is one of those that the scope finds."),
        (
            "SELECT Team WHERE org_id = :current_contact->org_id",
            "9",
            "[yes] For this person the scope finds a Team.",
        ),
        (
            "SELECT Team WHERE org_id = :current_contact->org_id",
            "40",
            "[no] For this person the scope finds no Team.",
        ),
        ("SELECT Nothing", "40", "unknown Its iTop could not say:"),
        ("SELECT", "40", "unknown Its scope is no query that can be used."),
    ],
)
def test_it_says_why(admin_client: Client, acme: Workspace, scope: str, who: str, says: str) -> None:
    Workspace.objects.update(scope=scope)
    page = look_up(admin_client, who)
    assert says in page


def test_each_workspace_of_the_itop_has_its_say(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Everybody", "SELECT Organization")
    another(acme, "Closed", "SELECT Organization", enabled=False)
    page = look_up(admin_client, "40")
    assert (
        page.index("Acme (acme) [yes]")
        < page.index("Closed (closed) [no]")
        < page.index("Everybody (everybody) [yes]")
    )
    assert "would serve this person, but the workspace is turned off" in page


def test_what_one_scope_asks_for_wrongly_costs_the_others_nothing(
    admin_client: Client, acme: Workspace
) -> None:
    another(acme, "Wrong", "SELECT Organization WHERE id = :current_contact->bogus")
    another(acme, "Sites", "SELECT Team WHERE org_id = :current_contact->org_id")
    page = look_up(admin_client, "40")
    assert "Acme (acme) [yes]" in page and "Sites (sites) [no]" in page
    assert "Its scope asks for bogus, and a person in this iTop has no such attribute." in page


def test_nobody_is_said(admin_client: Client, acme: Workspace) -> None:
    assert "Nobody in this iTop is meant by that." in look_up(admin_client, "nobody@acme.example")


def test_people_are_counted_and_overlaps_named(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Globex", "SELECT Organization WHERE name LIKE 'Globex%'")
    another(acme, "Bob", "SELECT Person WHERE email = 'bob.durand@acme.example'")
    page = count(admin_client)
    assert f"Acme (acme) {ACME} {PEOPLE_OF_ACME}" in page
    assert f"Globex (globex) SELECT Organization WHERE name LIKE 'Globex%' {PEOPLE_OF_GLOBEX + 1}" in page
    assert "Acme (acme) and Bob (bob) both serve 1 person." in page
    assert "Globex (globex) both" not in page


def test_that_none_overlap_is_said_too(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Globex", "SELECT Organization WHERE name LIKE 'Globex%'")
    assert "No two of them serve the same person." in count(admin_client)


def test_a_scope_that_depends_on_who_writes_cannot_be_counted(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Own", "SELECT Organization WHERE id = :current_contact->org_id")
    page = count(admin_client)
    assert "It depends on who writes." in page
    assert "Whether Acme (acme) and Own (own) serve the same people cannot be counted." in page
    assert f"{PEOPLE_OF_ACME}" in page


def test_an_itop_that_cannot_be_asked_is_said(admin_client: Client, acme: Workspace, itop: Itop) -> None:
    ItopInstance.objects.update(token="wrong-token")
    assert "This iTop could not be asked:" in look_up(admin_client, "40")
    assert "Its iTop could not say:" in count(admin_client)


def test_nothing_is_asked_before_somebody_asks(admin_client: Client, acme: Workspace, itop: Itop) -> None:
    itop.calls.clear()
    admin_client.get(PAGE)
    assert itop.calls == []


def test_it_is_for_those_who_may_see_workspaces(client: Client, acme: Workspace) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_workspace"))
    assert client.get(PAGE).status_code == 200
