"""The scope test: which workspace serves a person and why, and how many people are in each scope."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from intercom_bridge.models import ItopInstance, Workspace
from intercom_bridge.tickets.scope_report import DEPENDS_ON_PERSON
from sandbox.itop import Itop
from tests.cases.admin_form import form_values

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


def text_of(response: Any, *, whole: bool = False) -> str:
    """Return the text of the page (`whole`: with the messages), with the alternative texts of its images."""
    page = response.content.decode()
    page = re.sub(
        r'<img [^>]*alt="(\w+)"[^>]*>', r" [\1] ", page if whole else page[page.index("content-main") :]
    )
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def look_up(client: Client, who: str) -> str:
    return text_of(client.get(PAGE, {"who": who}))


def count(client: Client) -> str:
    return text_of(client.get(PAGE, {"count": "1"}))


@pytest.mark.parametrize(
    "who", ["alice.martin@acme.example", "Alice.Martin+shop@acme.example", "40", "alice mart"]
)
def test_a_person_is_found_by_address_id_and_name(admin_client: Client, acme: Workspace, who: str) -> None:
    page = look_up(admin_client, who)
    assert "Alice Martin alice.martin@acme.example Person 40" in page
    assert "Acme (acme) [yes]" in page


@pytest.mark.parametrize(
    ("scope", "who", "verdict"),
    [
        (ACME, "50", "[no]"),
        ("SELECT Person WHERE org_id = 5", "50", "[yes]"),
        ("SELECT Person WHERE org_id = 5", "40", "[no]"),
        ("SELECT User", "1", "[yes]"),
        ("SELECT User", "53", "[no]"),
        ("SELECT Team WHERE org_id = :current_contact->org_id", "9", "[yes]"),
        ("SELECT Team WHERE org_id = :current_contact->org_id", "40", "[no]"),
        ("SELECT Nothing", "40", "unknown"),
        ("SELECT", "40", "unknown"),
    ],
)
def test_the_verdict_follows_the_scope(
    admin_client: Client, acme: Workspace, scope: str, who: str, verdict: str
) -> None:
    Workspace.objects.update(scope=scope)
    assert f"Acme (acme) {verdict} " in look_up(admin_client, who)


def test_each_workspace_of_the_itop_is_listed(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Everybody", "SELECT Organization")
    another(acme, "Closed", "SELECT Organization", enabled=False)
    page = look_up(admin_client, "40")
    assert (
        page.index("Acme (acme) [yes]")
        < page.index("Closed (closed) [no]")
        < page.index("Everybody (everybody) [yes]")
    )
    assert "but the workspace is disabled" in page


def test_a_mistake_in_one_scope_does_not_affect_the_others(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Wrong", "SELECT Organization WHERE id = :current_contact->bogus")
    another(acme, "Sites", "SELECT Team WHERE org_id = :current_contact->org_id")
    page = look_up(admin_client, "40")
    assert "Acme (acme) [yes]" in page and "Sites (sites) [no]" in page
    assert "Wrong (wrong) unknown" in page and "bogus" in page


def test_an_unknown_person_is_reported(admin_client: Client, acme: Workspace) -> None:
    assert "No matching person in this iTop." in look_up(admin_client, "nobody@acme.example")


def test_the_people_of_each_scope_are_counted(admin_client: Client, acme: Workspace) -> None:
    another(acme, "Globex", "SELECT Organization WHERE name LIKE 'Globex%'")
    page = count(admin_client)
    assert f"Acme (acme) {ACME} {PEOPLE_OF_ACME}" in page
    assert f"Globex (globex) SELECT Organization WHERE name LIKE 'Globex%' {PEOPLE_OF_GLOBEX + 1}" in page


def test_a_scope_that_depends_on_the_customer_cannot_be_counted(
    admin_client: Client, acme: Workspace
) -> None:
    another(acme, "Own", "SELECT Organization WHERE id = :current_contact->org_id")
    page = count(admin_client)
    assert DEPENDS_ON_PERSON in page
    assert f"{ACME} {PEOPLE_OF_ACME}" in page


MISSPELT = "SELECT Organisation WHERE id = :current_contact->org_id"
SUGGESTION = "iTop knows no class Organisation. Did you mean Organization?"


@pytest.mark.parametrize("scope", [MISSPELT, "SELECT Organisation", "SELECT Organisation WHERE id = 1"])
def test_an_unknown_class_is_named_with_a_suggestion(
    admin_client: Client, acme: Workspace, scope: str
) -> None:
    Workspace.objects.update(scope=scope)
    assert f"Acme (acme) unknown {SUGGESTION}" in look_up(admin_client, "40")
    page = count(admin_client)
    assert SUGGESTION in page
    assert DEPENDS_ON_PERSON not in page


def test_an_unknown_class_in_a_join_is_named_with_itops_own_names(
    admin_client: Client, acme: Workspace
) -> None:
    Workspace.objects.update(scope="SELECT Person AS p JOIN Teem AS t ON p.org_id = t.id")
    assert "iTop knows no class Teem. Did you mean Team" in count(admin_client)


def save_scope(client: Client, workspace: Workspace, scope: str) -> str:
    form = form_values(client, "workspace", "change", workspace.pk) | {"scope": scope}
    return text_of(
        client.post(f"/admin/intercom_bridge/workspace/{workspace.pk}/change/", form, follow=True), whole=True
    )


def test_saving_a_workspace_warns_of_a_scope_that_itop_rejects(
    admin_client: Client, acme: Workspace, itop: Itop
) -> None:
    assert SUGGESTION in save_scope(admin_client, acme, MISSPELT)
    acme.refresh_from_db()
    assert acme.scope == MISSPELT
    page = save_scope(admin_client, acme, "SELECT Organization WHERE nam = 'x'")
    assert "iTop rejects the scope" in page and "until the scope is corrected" in page
    itop.calls.clear()
    page = save_scope(admin_client, acme, ACME)
    assert itop.calls and "until the scope is corrected" not in page


def test_while_itop_does_not_respond_the_data_model_is_asked(admin_client: Client, acme: Workspace) -> None:
    ItopInstance.objects.update(url="http://127.0.0.1:9")
    assert "until the scope is corrected" not in save_scope(admin_client, acme, MISSPELT)
    ItopInstance.objects.update(class_names=["Boat"])
    assert SUGGESTION in save_scope(admin_client, acme, f"{MISSPELT} AND 1")
    assert "until the scope is corrected" not in save_scope(admin_client, acme, "SELECT Boat")


def test_saving_something_else_sends_no_request(admin_client: Client, acme: Workspace, itop: Itop) -> None:
    itop.calls.clear()
    form = form_values(admin_client, "workspace", "change", acme.pk) | {"name": "Another"}
    admin_client.post(f"/admin/intercom_bridge/workspace/{acme.pk}/change/", form)
    assert Workspace.objects.get().name == "Another"
    assert itop.calls == []


def test_an_itop_error_is_reported(admin_client: Client, acme: Workspace, itop: Itop) -> None:
    ItopInstance.objects.update(token="wrong-token")
    assert "Invalid login" in look_up(admin_client, "40")
    assert "Invalid login" in count(admin_client)


def test_opening_the_page_sends_no_request(admin_client: Client, acme: Workspace, itop: Itop) -> None:
    itop.calls.clear()
    admin_client.get(PAGE)
    assert itop.calls == []


def test_the_page_requires_the_permission_to_view_workspaces(client: Client, acme: Workspace) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_workspace"))
    assert client.get(PAGE).status_code == 200
