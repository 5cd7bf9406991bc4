"""The page with the rules of a workspace."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intercom_bridge.admin import event_rules
from intercom_bridge.events import teammates
from intercom_bridge.intercom.client import IntercomUnreachableError
from intercom_bridge.models import EventKind, EventRules, ItopInstance, TicketProfile, Workspace
from intercom_bridge.models.event_rules import rules_of
from tests.staff import viewer

pytestmark = pytest.mark.django_db


class Listed(NamedTuple):
    id: str
    name: str
    email: str = ""


TEAMMATES = [Listed("11", "Ada Reyes", "ada@acme.example"), Listed("12", "Support", "support@acme.example")]


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(
        workspace_id="abcd1234",
        name="Support",
        client_secret="zyxwvuts-987654",
        itop=ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="t"),
        profile=TicketProfile.objects.create(name="Requests"),
    )


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teammates, "teammates", lambda _: TEAMMATES)
    monkeypatch.setattr(teammates, "teams", lambda _: [Listed("21", "Second line")])


def address(workspace: Workspace) -> str:
    return reverse("admin:intercom_bridge_workspace_rules", args=[workspace.pk])


def values(client: Client, workspace: Workspace, **changes: Any) -> dict[str, Any]:
    """Return what a browser sends if only these fields are changed."""
    form = client.get(address(workspace)).context["form"]
    sent = {field.html_name: field.value() for field in form}
    return {name: value for name, value in (sent | changes).items() if value not in (None, False)}


def save(client: Client, workspace: Workspace, **changes: Any) -> Any:
    return client.post(address(workspace), values(client, workspace, **changes))


def test_the_table_shows_the_defaults_and_stores_nothing_by_itself(
    admin_client: Client, workspace: Workspace
) -> None:
    response = admin_client.get(address(workspace))
    form = response.context["form"]
    chosen = {kind: form[kind].value() for kind, _, _ in event_rules.EVENTS}
    assert {kind for kind, action in chosen.items() if action == "note"} == {
        "public_entry",
        "customer_entry",
        "pending",
        "resolved",
        "status",
    }
    assert "reply" not in chosen.values()
    assert response.content.decode().count('type="radio"') == 9 * 3 - 2
    assert not EventRules.objects.exists()


def test_every_event_is_in_the_table() -> None:
    assert set(event_rules.TITLES) == set(EventKind) - {EventKind.GONE, EventKind.FILE}


def test_rules_are_saved(admin_client: Client, workspace: Workspace) -> None:
    response = save(
        admin_client,
        workspace,
        resolved="reply",
        status="nothing",
        reopens_on=["resolved", "public_entry"],
        post_as_admin_id="12",
        assign_to="team",
        assign_to_team_id="21",
        reopens_tickets="on",
        updates_attributes=False,
    )
    assert response.status_code == 302, response.content.decode()
    rules = rules_of(workspace)
    assert (rules.resolved, rules.status, rules.public_entry) == ("reply", "nothing", "note")
    assert sorted(rules.reopens_on) == ["public_entry", "resolved"]
    assert (rules.post_as_admin_id, rules.post_as_name) == ("12", "Support")
    assert (rules.assign_to, rules.assign_to_team_id) == ("team", "21")
    assert (rules.reopens_tickets, rules.updates_attributes, rules.shows_agent_names) == (True, False, True)
    assert "resolved" in LogEntry.objects.get().change_message
    # What was saved is what the page then shows.
    assert save(admin_client, workspace).status_code == 302
    assert rules_of(workspace).resolved == "reply"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"assign_to": "team"}, "Choose the team"),
        ({"private_entry": "reply"}, "Nothing was saved"),
        ({"customer_entry": "reply"}, "Nothing was saved"),
        ({"post_as_admin_id": "99"}, "Nothing was saved"),
        ({"reopens_on": ["gone"]}, "Nothing was saved"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_saved(
    admin_client: Client, workspace: Workspace, changes: dict[str, Any], text: str
) -> None:
    response = save(admin_client, workspace, **changes)
    assert response.status_code == 200
    assert text in response.content.decode()
    assert not EventRules.objects.exists()


def test_a_teammate_who_left_remains_selected_until_another_one_is(
    admin_client: Client, workspace: Workspace
) -> None:
    EventRules.objects.create(
        workspace=workspace, post_as_admin_id="98", post_as_name="Grace", post_as_missing_since=timezone.now()
    )
    assert "Grace (no longer in Intercom)" in admin_client.get(address(workspace)).content.decode()
    save(admin_client, workspace, resolved="nothing")
    rules = rules_of(workspace)
    assert (rules.post_as_admin_id, rules.post_as_name) == ("98", "Grace")
    assert rules.post_as_missing_since
    save(admin_client, workspace, post_as_admin_id="11")
    rules = rules_of(workspace)
    assert (rules.post_as_name, rules.post_as_missing_since) == ("Ada Reyes", None)


def test_rules_can_be_changed_while_intercom_is_away(
    admin_client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventRules.objects.create(workspace=workspace, post_as_admin_id="12", post_as_name="Support")

    def refuse(_: Workspace) -> Any:
        raise IntercomUnreachableError("connection refused")

    monkeypatch.setattr(teammates, "teammates", refuse)
    page = admin_client.get(address(workspace)).content.decode()
    assert "could not be loaded from Intercom" in page and "connection refused" in page
    assert save(admin_client, workspace, closed="note").status_code == 302
    rules = rules_of(workspace)
    assert (rules.closed, rules.post_as_admin_id, rules.post_as_name) == ("note", "12", "Support")


def test_what_a_worker_stored_meanwhile_is_kept(admin_client: Client, workspace: Workspace) -> None:
    EventRules.objects.create(workspace=workspace, post_as_admin_id="12", post_as_name="Support")
    sent = values(admin_client, workspace, closed="note")
    EventRules.objects.update(post_as_missing_since=timezone.now())
    admin_client.post(address(workspace), sent)
    assert rules_of(workspace).post_as_missing_since


def test_rules_need_the_permissions_of_the_workspace(workspace: Workspace, admin_client: Client) -> None:
    sent = values(admin_client, workspace, resolved="reply")
    stranger = viewer("view_ticketprofile")
    assert stranger.get(address(workspace)).status_code == 403
    assert stranger.post(address(workspace), sent).status_code == 403
    User.objects.all().delete()
    reader = viewer("view_workspace")
    page = reader.get(address(workspace))
    assert (page.status_code, b'value="Save"' in page.content) == (200, False)
    assert reader.post(address(workspace), sent).status_code == 403
    assert not EventRules.objects.exists()


def test_the_workspaces_page_leads_to_its_rules(admin_client: Client, workspace: Workspace) -> None:
    page = admin_client.get(reverse("admin:intercom_bridge_workspace_change", args=[workspace.pk]))
    assert address(workspace) in page.content.decode()
