"""The page that connects a workspace saves everything or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace

pytestmark = pytest.mark.django_db

PAGE = "/admin/intercom_bridge/workspace/connect/"
TYPED = {
    "workspace_id": "abcd1234",
    "name": "Acme",
    "region": "EU",
    "client_secret": "the-client-secret",
    "access_token": "the-access-token",
    "scope": "SELECT Organization WHERE name = 'Acme'",
    "language": "fr",
    "time_zone": "Europe/Paris",
    "of-itop": "new",
    "of-profile": "new",
    "itop-name": "Service desk",
    "itop-url": "https://itop.example.com/itop/pages/UI.php",
    "itop-token": "the-account-token",
    "itop-time_zone": "Europe/Paris",
}


def post(client: Client, **changed: str) -> Any:
    return client.post(PAGE, TYPED | changed)


def text(response: Any) -> str:
    return str(response.content.decode())


def test_the_page_contains_the_steps_in_order(admin_client: Client) -> None:
    page = text(admin_client.get(PAGE))
    order = [
        "Developer Hub",
        "/canvas-kit/initialize",
        "/canvas-kit/submit",
        "/webhooks/intercom",
        "conversation.user.replied",
        "conversation.admin.replied",
        "conversation.admin.noted",
        'name="workspace_id"',
        'name="client_secret"',
        'name="access_token"',
        "REST Services User",
        'name="itop-url"',
        'name="scope"',
    ]
    places = [page.index(item) for item in order]
    assert places == sorted(places)


def test_workspace_itop_and_profile_are_created_together(admin_client: Client) -> None:
    answer = post(admin_client)
    workspace = Workspace.objects.select_related("itop", "profile").get()
    assert answer.url == f"/admin/intercom_bridge/workspace/{workspace.pk}/test/"
    assert (workspace.workspace_id, workspace.region, workspace.language) == ("abcd1234", "EU", "fr")
    assert workspace.client_secret.reveal() == "the-client-secret"
    assert workspace.access_token.reveal() == "the-access-token"
    assert (workspace.itop.url, workspace.itop.time_zone) == ("https://itop.example.com/itop", "Europe/Paris")
    assert workspace.itop.token.reveal() == "the-account-token"
    assert workspace.profile.ticket_class == "UserRequest"
    made = {str(entry) for entry in LogEntry.objects.values_list("object_repr", flat=True)}
    assert made == {"Acme (abcd1234)", "Service desk", "Requests"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"workspace_id": "with a space"}, "Letters, digits, - and _ only"),
        ({"client_secret": ""}, "This field is required."),
        ({"access_token": "  "}, "This field is required."),
        ({"access_token": "two words"}, "contains spaces"),
        ({"client_secret": "PUT_YOUR_APP_CLIENT_SECRET_HERE"}, "placeholder of the documentation"),
        ({"scope": "DROP"}, "This is not an OQL query"),
        ({"time_zone": "Mars"}, "is not a time zone"),
        ({"itop-token": ""}, "This field is required."),
        ({"itop-url": "no address"}, "Enter a valid URL."),
        ({"of-itop": "999"}, "is not one of the available choices"),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_saved(
    admin_client: Client, changed: dict[str, str], message: str
) -> None:
    page = text(post(admin_client, **changed))
    assert message in page
    assert "Nothing was saved" in page
    assert not Workspace.objects.exists()
    assert not ItopInstance.objects.exists()
    assert not TicketProfile.objects.exists()


def test_typed_secrets_are_not_sent_back_after_an_error(admin_client: Client) -> None:
    page = text(post(admin_client, scope="DROP"))
    assert "the-client-secret" not in page
    assert "the-access-token" not in page
    assert "the-account-token" not in page
    assert "Service desk" in page


def test_existing_itops_and_profiles_are_offered_first(admin_client: Client) -> None:
    itop = ItopInstance.objects.create(name="Ours", url="https://ours.example.com", token="t")
    profile = TicketProfile.objects.create(name="Incidents", ticket_class="Incident")
    page = text(admin_client.get(PAGE))
    assert page.index("Ours (https://ours.example.com)") < page.index("Add a new iTop")
    assert "Add a new profile" not in page
    post(
        admin_client,
        **{"of-itop": str(itop.pk), "of-profile": str(profile.pk), "itop-name": "", "itop-url": ""},
    )
    workspace = Workspace.objects.get()
    assert (workspace.itop, workspace.profile) == (itop, profile)
    assert ItopInstance.objects.count() == 1


def test_a_user_who_may_not_add_an_itop_selects_an_existing_one(client: Client) -> None:
    user = User.objects.create_user("lead", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_workspace"))
    client.force_login(user)
    itop = ItopInstance.objects.create(name="Ours", url="https://ours.example.com", token="t")
    profile = TicketProfile.objects.create(name="Incidents")
    page = text(client.get(PAGE))
    assert "Add a new" not in page
    assert 'name="itop-url"' not in page
    assert "is not one of the available choices" in text(post(client))
    chosen = {"of-itop": str(itop.pk), "of-profile": str(profile.pk)}
    answer = client.post(PAGE, TYPED | chosen, follow=True)
    assert Workspace.objects.get().itop == itop
    # The connection test requires the permission to change the workspace, and the list the permission to view it.
    assert answer.redirect_chain == [("/admin/", 302)]
    assert "Acme (abcd1234) was saved." in text(answer) and "Test now" not in text(answer)
    user.user_permissions.add(Permission.objects.get(codename="view_workspace"))
    answer = client.post(PAGE, TYPED | chosen | {"workspace_id": "efgh5678"}, follow=True)
    assert answer.redirect_chain == [("/admin/intercom_bridge/workspace/", 302)]
    assert answer.status_code == 200


def test_the_page_requires_the_permission_to_add_workspaces(client: Client) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_workspace"))
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    assert "Connect a workspace" not in text(client.get("/admin/intercom_bridge/workspace/"))


def test_the_list_of_workspaces_links_to_the_page(admin_client: Client) -> None:
    assert PAGE in text(admin_client.get("/admin/intercom_bridge/workspace/"))
