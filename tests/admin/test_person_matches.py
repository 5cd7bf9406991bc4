"""Who a contact is taken for, as an admin sees it, and how it is forgotten."""

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


def test_the_list_says_how_we_know_and_who_picked_when(admin_client: Client, picked: PersonMatch) -> None:
    html = admin_client.get(LIST).content.decode()
    assert "picked by a teammate" in html and "Ada Reyes" in html and "2026-11-24 09:30:00" in html
    assert admin_client.get(LIST, {"q": "reyes"}).context["cl"].result_count == 1


def test_a_match_is_forgotten_and_it_is_recorded_who_did(admin_client: Client, picked: PersonMatch) -> None:
    assert forget(admin_client, picked) == [
        "1 person match forgotten: the panel asks anew who the contact is."
    ]
    assert not PersonMatch.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (str(picked.pk), "forgotten")


def test_django_s_own_log_forgets_the_name_with_the_match(
    admin_client: Client, admin_user: User, picked: PersonMatch
) -> None:
    other = PersonMatch.objects.get(pk=picked.pk)
    other.pk, other.contact_id, other.name = None, "another", "Jo Park"
    other.save()
    LogEntry.objects.log_actions(admin_user.pk, [picked, other], CHANGE, "Exported.")  # type: ignore[arg-type]
    forget(admin_client, picked)
    names = LogEntry.objects.order_by("pk").values_list("object_repr", flat=True)
    assert list(names) == ["forgotten", "Jo Park", "forgotten"]


def test_forgetting_from_its_own_page_leads_to_the_list(admin_client: Client, picked: PersonMatch) -> None:
    page = admin_client.get(reverse("admin:intercom_bridge_personmatch_change", args=[picked.pk]))
    assert '<button type="submit">Forget</button>' in page.content.decode()
    forget(admin_client, picked, _row="1")
    assert not PersonMatch.objects.exists()


def test_who_may_only_look_can_forget_nobody(client: Client, picked: PersonMatch) -> None:
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
def test_the_people_of_another_itop_are_others(
    admin_client: Client, picked: PersonMatch, changes: dict[str, str], kept: bool
) -> None:
    itop = picked.itop
    form = {"name": itop.name, "url": itop.url, "time_zone": itop.time_zone} | changes
    admin_client.post(reverse("admin:intercom_bridge_itopinstance_change", args=[itop.pk]), form)
    itop.refresh_from_db()
    assert all(getattr(itop, name) == value for name, value in changes.items() if name != "token")
    assert PersonMatch.objects.exists() is kept


def test_the_same_address_spelt_otherwise_is_the_same_itop_with_a_new_token_too(
    admin_client: Client, picked: PersonMatch
) -> None:
    itop = picked.itop
    itop.learn(is_administrator=True)
    form = {"name": itop.name, "url": f"{itop.url}/pages/UI.php", "time_zone": itop.time_zone}
    page = reverse("admin:intercom_bridge_itopinstance_change", args=[itop.pk])
    admin_client.post(page, form)
    itop.refresh_from_db()
    assert itop.is_administrator
    admin_client.post(page, form | {"token": "another"})
    itop.refresh_from_db()
    assert (itop.token.reveal(), itop.is_administrator) == ("another", None)
    assert PersonMatch.objects.exists()


@pytest.mark.parametrize("code", ["employee_number", "id", "_x1", ""])
def test_the_external_id_may_be_any_attribute_of_a_person(workspace: Workspace, code: str) -> None:
    workspace.external_id_attribute = code
    workspace.full_clean()


@pytest.mark.parametrize(
    "code", ["employee number", "p.id", "id = 1 OR 1", "1st", "é", "id\n", "org_id->name"]
)
def test_what_is_no_attribute_code_is_refused(workspace: Workspace, code: str) -> None:
    workspace.external_id_attribute = code
    with pytest.raises(ValidationError) as refusal:
        workspace.full_clean()
    assert list(refusal.value.message_dict) == ["external_id_attribute"]
