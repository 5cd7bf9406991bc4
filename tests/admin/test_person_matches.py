"""Person matches in the admin, and their removal."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from intercom_bridge.models import ItopInstance, PersonMatch, TicketProfile, Workspace

pytestmark = pytest.mark.django_db

LIST = reverse("admin:intercom_bridge_personmatch_changelist")


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(
        workspace_id="abcd1234",
        itop=ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="t"),
        profile=TicketProfile.objects.create(name="Requests"),
    )


@pytest.fixture
def picked(workspace: Workspace) -> PersonMatch:
    return PersonMatch.objects.create(
        workspace=workspace,
        itop=workspace.itop,
        contact_id="696205460674dbb9050aa7fd",
        evidence="||reception@globex.example",
        how="chosen",
        picked_by="Ada Reyes",
        picked_at=dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC),
        person_id=55,
        name="Ben Twin",
        org_id=5,
    )


def forget(client: Client, match: PersonMatch, **more: str) -> list[str]:
    sent = {"action": "forget", "_selected_action": str(match.pk), "index": "0"} | more
    response = client.post(LIST, sent, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    return [str(message) for message in response.context["messages"]]


def test_the_list_displays_who_picked_the_person_and_when(admin_client: Client, picked: PersonMatch) -> None:
    html = admin_client.get(LIST).content.decode()
    assert "picked by a teammate" in html and "Ada Reyes" in html and "2026-11-24 09:30:00" in html
    assert admin_client.get(LIST, {"q": "reyes"}).context["cl"].result_count == 1


def test_a_match_is_removed_and_the_removal_recorded(admin_client: Client, picked: PersonMatch) -> None:
    assert forget(admin_client, picked) == ["1 person match removed. The panel will match the contact again."]
    assert not PersonMatch.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (str(picked.pk), "removed")


def test_the_name_is_removed_from_django_s_log_as_well(
    admin_client: Client, admin_user: User, picked: PersonMatch
) -> None:
    other = PersonMatch.objects.get(pk=picked.pk)
    other.pk, other.contact_id, other.name = None, "another", "Jo Park"
    other.save()
    LogEntry.objects.log_actions(admin_user.pk, [picked, other], CHANGE, "Exported.")
    forget(admin_client, picked)
    names = LogEntry.objects.order_by("pk").values_list("object_repr", flat=True)
    assert list(names) == ["removed", "Jo Park", "removed"]


def test_removing_a_match_on_its_page_returns_to_the_list(admin_client: Client, picked: PersonMatch) -> None:
    page = admin_client.get(reverse("admin:intercom_bridge_personmatch_change", args=[picked.pk]))
    assert '<button type="submit">Remove the match</button>' in page.content.decode()
    forget(admin_client, picked, _row="1")
    assert not PersonMatch.objects.exists()


def test_viewers_cannot_remove_a_match(client: Client, picked: PersonMatch) -> None:
    user = User.objects.create_user("clerk", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    client.post(LIST, {"action": "forget", "_selected_action": str(picked.pk), "index": "0"})
    assert PersonMatch.objects.exists()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"url": "https://other.example.com/itop"}, False),
        ({"url": "https://other.example.com/itop", "token": "another"}, False),
        ({"token": "another"}, True),
        ({"name": "x"}, True),
    ],
)
def test_another_address_of_the_itop_removes_its_matches(
    admin_client: Client, picked: PersonMatch, changes: dict[str, str], kept: bool
) -> None:
    itop = picked.itop
    form = {"name": itop.name, "url": itop.url, "time_zone": itop.time_zone} | changes
    admin_client.post(reverse("admin:intercom_bridge_itopinstance_change", args=[itop.pk]), form)
    itop.refresh_from_db()
    assert all(getattr(itop, name) == value for name, value in changes.items() if name != "token")
    assert PersonMatch.objects.exists() is kept


def test_another_page_of_the_same_itop_is_the_same_address(admin_client: Client, picked: PersonMatch) -> None:
    itop = picked.itop
    itop.learn(is_administrator=True)
    form = {"name": itop.name, "url": f"{itop.url}/pages/UI.php", "time_zone": itop.time_zone}
    page = reverse("admin:intercom_bridge_itopinstance_change", args=[itop.pk])
    admin_client.post(page, form)
    itop.refresh_from_db()
    assert itop.is_administrator is True
    admin_client.post(page, form | {"token": "another"})
    itop.refresh_from_db()
    assert itop.token.reveal() == "another"
    assert not ItopInstance.objects.filter(is_administrator__isnull=False).exists()
    assert PersonMatch.objects.exists()


@pytest.mark.parametrize("code", ["employee_number", "id", "_x1", ""])
def test_the_external_id_may_be_any_attribute_code(workspace: Workspace, code: str) -> None:
    workspace.external_id_attribute = code
    workspace.full_clean()


@pytest.mark.parametrize(
    "code", ["employee number", "p.id", "id = 1 OR 1", "1st", "é", "id\n", "org_id->name"]
)
def test_invalid_attribute_codes_are_rejected(workspace: Workspace, code: str) -> None:
    workspace.external_id_attribute = code
    with pytest.raises(ValidationError) as refusal:
        workspace.full_clean()
    assert list(refusal.value.message_dict) == ["external_id_attribute"]
