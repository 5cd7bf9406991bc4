"""The page that connects a workspace tests what was entered, and saves everything or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from sandbox.itop.seed import TOKEN

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
}
SECRETS = ("client_secret", "access_token", "itop-token")


@pytest.fixture
def typed(itop: Itop, intercom: Intercom) -> dict[str, str]:
    """Return input that works with the stand-ins."""
    return TYPED | {
        "access_token": intercom.token,
        "region": "US",
        "scope": "SELECT Organization WHERE name = 'Acme Corp'",
        "itop-url": f"{itop.url}/pages/UI.php",
        "itop-token": TOKEN,
    }


def post(client: Client, **changed: str) -> Any:
    return client.post(PAGE, TYPED | changed)


def post_anyway(client: Client, **changed: str) -> Any:
    return post(client, save_anyway="yes", **changed)


def entered(response: Any) -> dict[str, str]:
    """Return what the page sends back about the secrets: the key of those in the session, and empty inputs."""
    return dict.fromkeys(SECRETS, "") | {"entered": response.context["entered"]}


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


def test_workspace_itop_and_profile_are_created_together(
    admin_client: Client, typed: dict[str, str], itop: Itop
) -> None:
    answer = admin_client.post(PAGE, typed)
    workspace = Workspace.objects.select_related("itop", "profile").get()
    assert answer["Location"] == f"/admin/intercom_bridge/workspace/{workspace.pk}/test/"
    assert (workspace.workspace_id, workspace.region, workspace.language) == ("abcd1234", "US", "fr")
    assert workspace.client_secret.reveal() == "the-client-secret"
    assert workspace.access_token.reveal() == typed["access_token"]
    assert (workspace.itop.url, workspace.itop.time_zone) == (itop.url, "Europe/Paris")
    assert workspace.itop.token.reveal() == TOKEN
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
        ({"client_secret": "PUT_YOUR_APP_CLIENT_SECRET_HERE"}, "placeholder from the documentation"),
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


def test_a_missing_token_of_a_new_itop_is_reported_once(admin_client: Client) -> None:
    page = text(post(admin_client, **{"itop-token": ""}))
    assert page.count("This field is required.") == 1
    assert "Give the account" not in page


def test_entered_secrets_are_kept_after_an_error_and_not_sent_back(
    admin_client: Client, typed: dict[str, str]
) -> None:
    answer = admin_client.post(PAGE, typed | {"scope": "DROP"})
    page = text(answer)
    for name in SECRETS:
        assert typed[name] not in page
    assert page.count("Entered, not saved yet") == len(SECRETS)
    assert "Service desk" in page
    again = typed | entered(answer)
    answer = admin_client.post(PAGE, again | {"language": "xx"})
    admin_client.post(PAGE, typed | entered(answer) | {"client_secret": "another-secret"})
    workspace = Workspace.objects.get()
    assert workspace.client_secret.reveal() == "another-secret"
    assert workspace.access_token.reveal() == typed["access_token"]
    assert workspace.itop.token.reveal() == TOKEN
    assert not any("connect" in key for key in admin_client.session.keys())  # noqa: SIM118 - not a dict


def test_the_session_contains_entered_secrets_encrypted_only(admin_client: Client) -> None:
    post(admin_client, scope="DROP")
    stored = str(dict(admin_client.session.items()))
    assert "connect_secrets" in stored
    for name in SECRETS:
        assert TYPED[name] not in stored


def test_secrets_entered_in_another_tab_are_not_used(admin_client: Client) -> None:
    mine = post(admin_client, scope="DROP")
    other = post(admin_client, scope="DROP", client_secret="of-another-app")
    assert mine.context["entered"] != other.context["entered"]
    page = text(post_anyway(admin_client, **entered(mine)))
    assert page.count("This field is required.") == len(SECRETS)
    assert not Workspace.objects.exists()


def test_a_secret_with_a_mistake_has_to_be_entered_again(admin_client: Client) -> None:
    answer = post(admin_client, access_token="two words")
    page = text(post_anyway(admin_client, **entered(answer)))
    assert page.count("This field is required.") == 1
    assert page.count("Entered, not saved yet") == 2


def test_opening_the_page_forgets_entered_secrets(admin_client: Client) -> None:
    answer = post(admin_client, scope="DROP")
    assert "connect_secrets" in admin_client.session
    admin_client.get(PAGE)
    assert "connect_secrets" not in admin_client.session
    assert "This field is required." in text(post(admin_client, **entered(answer)))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"itop-url": "http://127.0.0.1:9/itop"}, "cannot be reached"),
        ({"itop-token": "made-up"}, "refuses the token"),
        ({"access_token": "made-up"}, "Intercom refuses its access token"),
        ({"scope": "SELECT Organisation WHERE id = 1"}, "Did you mean Organization?"),
        ({"scope": "SELECT Organization WHERE id = 999999"}, "its scope finds nothing"),
        ({"workspace_id": "other123"}, "belongs to another workspace"),
    ],
)
def test_the_connection_is_tested_before_it_is_saved(
    admin_client: Client, typed: dict[str, str], changed: dict[str, str], problem: str
) -> None:
    answer = admin_client.post(PAGE, typed | changed)
    page = text(answer)
    assert problem in page
    assert "Nothing was saved" in page
    assert "Save anyway" in page
    assert not ItopInstance.objects.exists()
    for name in SECRETS:
        assert (typed | changed)[name] not in page
    answer = admin_client.post(PAGE, typed | changed | entered(answer) | {"save_anyway": "yes"})
    workspace = Workspace.objects.get()
    assert answer["Location"] == f"/admin/intercom_bridge/workspace/{workspace.pk}/test/"
    assert workspace.itop.token.reveal() == (typed | changed)["itop-token"]


def test_saving_anyway_still_requires_valid_input(admin_client: Client) -> None:
    assert "This is not an OQL query" in text(post_anyway(admin_client, scope="DROP"))
    assert not Workspace.objects.exists()


def test_time_zones_are_a_list(admin_client: Client) -> None:
    page = text(admin_client.get(PAGE))
    assert page.count("time_zone") and 'name="itop-time_zone"' not in page
    assert '<optgroup label="America">' in page
    assert '<option value="America/Sao_Paulo">America/Sao Paulo</option>' in page
    assert '<option value="UTC" selected>UTC</option>' in page


def test_a_time_zone_that_is_not_in_the_list_can_be_kept(admin_client: Client) -> None:
    itop = ItopInstance.objects.create(
        name="Ours", url="https://ours.example.com", token="t", time_zone="Etc/GMT+5"
    )
    page = text(admin_client.get(f"/admin/intercom_bridge/itopinstance/{itop.pk}/change/"))
    assert '<option value="Etc/GMT+5" selected>Etc/GMT+5</option>' in page


def test_existing_itops_and_profiles_are_offered_first(admin_client: Client) -> None:
    itop = ItopInstance.objects.create(name="Ours", url="https://ours.example.com", token="t")
    profile = TicketProfile.objects.create(name="Incidents", ticket_class="Incident")
    page = text(admin_client.get(PAGE))
    assert page.index("Ours (https://ours.example.com)") < page.index("Add a new iTop")
    assert "Add a new profile" not in page
    post_anyway(
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
    chosen = {"of-itop": str(itop.pk), "of-profile": str(profile.pk), "save_anyway": "yes"}
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
