"""The data model in the admin: importing it on an iTop's page, and what a profile's page makes of it."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from intercom_bridge.models import ItopInstance, LearnedClass, TicketProfile, Workspace
from tests.admin.test_pages import form_of

from .design_file import TICKET, design

pytestmark = pytest.mark.django_db


@pytest.fixture
def itop() -> ItopInstance:
    return ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t0ken")


@pytest.fixture
def clerk(client: Client) -> Client:
    """May look at everything, and change nothing."""
    user = User.objects.create_user("clerk", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


def address(itop: ItopInstance) -> str:
    return reverse("admin:intercom_bridge_itopinstance_datamodel", args=[itop.pk])


def upload(client: Client, itop: ItopInstance, data: bytes | None = None, **more: str) -> Any:
    file = SimpleUploadedFile("datamodel-production.xml", design() if data is None else data)
    return client.post(address(itop), {"file": file, **more}, follow=True)


def text_of(response: Any) -> str:
    return html.unescape(response.content.decode())


def change_page(client: Client, row: Any) -> str:
    name = f"admin:intercom_bridge_{row._meta.model_name}_change"
    return text_of(client.get(reverse(name, args=[row.pk])))


def said(response: Any) -> list[str]:
    return [str(one) for one in response.context["messages"]]


def learned() -> list[str]:
    return list(LearnedClass.objects.values_list("name", flat=True))


# Importing


def test_a_data_model_is_imported_on_the_page_of_its_itop_and_recorded(
    admin_client: Client, itop: ItopInstance
) -> None:
    assert "Not imported" in change_page(admin_client, itop)
    assert address(itop) in change_page(admin_client, itop)
    response = upload(admin_client, itop)
    assert learned() == ["LiftRepair", "Repair"]
    assert "Learned from datamodel-production.xml: LiftRepair, Repair." in said(response)
    page = text_of(response)
    assert "Repair (Repair): 25 attributes" in page
    row = LearnedClass.objects.get(name="Repair")
    assert f"From datamodel-production.xml, {row.imported_at:%Y-%m-%d %H:%M:%S}" in page
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message()) == (
        str(itop.pk),
        "Imported its data model from datamodel-production.xml: LiftRepair, Repair.",
    )


def test_further_classes_can_be_named(admin_client: Client, itop: ItopInstance) -> None:
    upload(admin_client, itop, also=" Bench  Ticket ")
    assert learned() == ["Bench", "LiftRepair", "Repair", "Ticket"]


def test_what_does_not_fit_and_what_is_forgotten_is_said(admin_client: Client, itop: ItopInstance) -> None:
    upload(admin_client, itop)
    TicketProfile.objects.create(name="Requests")
    response = upload(
        admin_client, itop, design(TICKET, '<class id="LiftRepair"><parent>Ticket</parent></class>')
    )
    assert "Forgotten, since it has them no more: Repair." in said(response)
    assert "Does not fit: Requests: there is no class UserRequest in this data model." in said(response)


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        (design()[:3000], {}, "Line 54: the file ends here"),
        (b"<html/>", {}, "it begins with <html>"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><itop_design/>', {}, "a DTD or an entity is declared here"),
        (design(), {"also": "Bensh"}, "There is no class Bensh in this file. Did you mean Bench?"),
    ],
    ids=lambda one: one[:30] if isinstance(one, str) else "",
)
def test_what_cannot_be_learned_is_said_at_the_file_and_changes_nothing(
    admin_client: Client, itop: ItopInstance, data: bytes, more: dict[str, str], words: str
) -> None:
    upload(admin_client, itop)
    before = list(LearnedClass.objects.values())
    page = text_of(upload(admin_client, itop, data, **more))
    assert words in page
    assert "Nothing was changed." in page
    assert list(LearnedClass.objects.values()) == before
    assert LogEntry.objects.count() == 1


def test_without_a_file_it_asks_for_one(admin_client: Client, itop: ItopInstance) -> None:
    assert "This field is required" in text_of(admin_client.post(address(itop), {}))
    assert "The submitted file is empty" in text_of(upload(admin_client, itop, b""))
    assert learned() == []


def test_who_may_only_look_imports_nothing(clerk: Client, itop: ItopInstance) -> None:
    assert address(itop) not in change_page(clerk, itop)
    assert clerk.get(address(itop)).status_code == 403
    assert upload(clerk, itop).status_code == 403
    assert learned() == []


def test_a_stranger_is_asked_to_log_in(client: Client, itop: ItopInstance) -> None:
    response = client.post(address(itop), {"file": SimpleUploadedFile("a.xml", design())})
    assert response.status_code == 302
    assert "login" in response.url
    assert learned() == []


def test_a_file_from_another_site_is_refused(admin_user: User, itop: ItopInstance) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert upload(client, itop).status_code == 403
    assert learned() == []


def test_an_itop_that_is_gone_has_no_page(admin_client: Client, itop: ItopInstance) -> None:
    where = address(itop)
    itop.delete()
    assert admin_client.get(where).status_code == 404


def test_an_itop_that_is_being_added_has_no_data_model_yet(admin_client: Client) -> None:
    page = text_of(admin_client.get(reverse("admin:intercom_bridge_itopinstance_add")))
    assert "Not imported" in page
    assert "datamodel/" not in page


# Profiles


def save(client: Client, profile: TicketProfile, **typed: str) -> Any:
    form = form_of(client, "ticketprofile", "change", profile.pk)
    form.pop("fill_in", None)
    name = "admin:intercom_bridge_ticketprofile_change"
    return client.post(reverse(name, args=[profile.pk]), {**form, **typed}, follow=True)


@pytest.fixture
def profile(admin_client: Client, itop: ItopInstance) -> TicketProfile:
    upload(admin_client, itop)
    return TicketProfile.objects.create(
        name="Repairs",
        ticket_class="Repair",
        attributes_mapping={"status": "stage"},
        form_attributes=["title", "description", "wing_id", "bench_id"],
        excluded_states=["closed"],
        details_attributes=["stage", "bench_id"],
    )


def test_a_profile_that_fits_is_saved_without_a_word(admin_client: Client, profile: TicketProfile) -> None:
    response = save(admin_client, profile, details_attributes="stage\nbench_id\nhurry")
    assert len(said(response)) == 1
    profile.refresh_from_db()
    assert profile.details_attributes == ["stage", "bench_id", "hurry"]


def test_an_unknown_code_is_refused_with_those_that_may_be_meant(
    admin_client: Client, profile: TicketProfile
) -> None:
    page = text_of(save(admin_client, profile, details_attributes="stage\nbench"))
    assert "Repair has no attribute bench. Did you mean bench_id?" in page
    profile.refresh_from_db()
    assert profile.details_attributes == ["stage", "bench_id"]


def test_stock_defaults_on_another_class_are_refused_with_what_would_fit(
    admin_client: Client, profile: TicketProfile
) -> None:
    stock = TicketProfile.objects.create(name="New")
    page = text_of(save(admin_client, stock, ticket_class="Repair"))
    assert "Repair has no attribute service_id." in page
    assert "A form that fits: title, description, wing_id, bench_id." in page
    assert "In the order of iTop's own page: stage, wing_id, bench_id." in page
    assert "Repair has no attribute status. Say here which one is its status." in page
    assert "or tick “Fill in what fits”" in page
    stock.refresh_from_db()
    assert stock.ticket_class == "UserRequest"


def test_a_tick_fills_in_what_fits_and_is_recorded(admin_client: Client, profile: TicketProfile) -> None:
    stock = TicketProfile.objects.create(name="New")
    response = save(
        admin_client, stock, ticket_class="Repair", attributes_mapping='{"status": "stage"}', fill_in="on"
    )
    words = "form attributes, details attributes, excluded states"
    assert f"Filled in what fits: {words}." in said(response)
    stock.refresh_from_db()
    assert stock.ticket_class == "Repair"
    assert stock.form_attributes == ["title", "description", "wing_id", "bench_id"]
    assert stock.details_attributes == ["stage", "wing_id", "bench_id"]
    assert stock.excluded_states == ["closed"]
    entry = LogEntry.objects.filter(object_id=str(stock.pk), object_repr="New").latest("pk")
    assert words.replace(", excluded", " and excluded") in entry.get_change_message()


def test_a_profile_is_made_of_a_learned_class_with_a_tick(
    admin_client: Client, profile: TicketProfile
) -> None:
    form = form_of(admin_client, "ticketprofile", "add")
    typed = {
        "name": "Lifts",
        "ticket_class": "LiftRepair",
        "attributes_mapping": '{"status": "stage"}',
        "fill_in": "on",
    }
    admin_client.post(reverse("admin:intercom_bridge_ticketprofile_add"), {**form, **typed})
    lifts = TicketProfile.objects.get(name="Lifts")
    assert lifts.form_attributes == ["title", "description", "wing_id", "bench_id", "note"]


def test_what_a_tick_cannot_fill_in_is_still_refused(admin_client: Client, profile: TicketProfile) -> None:
    page = text_of(save(admin_client, profile, attributes_mapping="{}", fill_in="on"))
    assert "Say here which one is its status." in page
    profile.refresh_from_db()
    assert profile.attributes_mapping == {"status": "stage"}


def test_a_form_that_lacks_what_a_new_ticket_needs_is_saved_with_a_warning(
    admin_client: Client, profile: TicketProfile
) -> None:
    response = save(admin_client, profile, form_attributes="title\ndescription")
    assert "Its form does not ask for wing_id, bench_id, which a new Repair needs." in said(response)
    profile.refresh_from_db()
    assert profile.form_attributes == ["title", "description"]


def test_a_class_that_was_not_learned_is_saved_with_a_warning(
    admin_client: Client, profile: TicketProfile
) -> None:
    response = save(admin_client, profile, ticket_class="Repairs", details_attributes="anything")
    assert any("Did you mean Repair or LiftRepair?" in one for one in said(response))
    profile.refresh_from_db()
    assert (profile.ticket_class, profile.details_attributes) == ("Repairs", ["anything"])


def test_without_an_imported_data_model_any_code_may_be_right(admin_client: Client) -> None:
    stock = TicketProfile.objects.create(name="Requests")
    assert len(said(save(admin_client, stock, details_attributes="anything"))) == 1
    stock.refresh_from_db()
    assert stock.details_attributes == ["anything"]


def test_a_profile_is_held_against_its_own_itop_only(admin_client: Client, profile: TicketProfile) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    Workspace.objects.create(workspace_id="b", name="B", itop=other, profile=profile)
    assert len(said(save(admin_client, profile, details_attributes="anything"))) == 1
    profile.refresh_from_db()
    assert profile.details_attributes == ["anything"]


def test_a_mistake_of_another_kind_is_said_alone(admin_client: Client, profile: TicketProfile) -> None:
    page = text_of(save(admin_client, profile, details_attributes="bench, bench"))
    assert "A code stands in the list twice." in page
    assert "has no attribute" not in page


def test_a_profile_s_page_lists_what_its_class_has(admin_client: Client, profile: TicketProfile) -> None:
    page = change_page(admin_client, profile)
    assert "From the data model of Ours." in page
    assert "<code>hurry</code></td><td>Hurry</td>" in page
    assert "key to Bench" in page
    assert "enum: planned, at work, closed" in page


def test_of_a_stock_class_the_stock_attributes_are_listed(admin_client: Client) -> None:
    page = change_page(admin_client, TicketProfile.objects.create(name="Requests"))
    assert "As in stock iTop" in page
    assert "<code>servicesubcategory_id</code></td><td>Service subcategory</td>" in page


def test_of_a_class_that_nobody_knows_the_page_says_where_to_import_it(admin_client: Client) -> None:
    page = change_page(admin_client, TicketProfile.objects.create(name="Boats", ticket_class="Boat"))
    assert "Nothing is known of Boat" in page


def test_who_may_only_look_sees_the_attributes_too(clerk: Client) -> None:
    boats = TicketProfile.objects.create(name="Boats", ticket_class="Boat")
    assert "Nothing is known of Boat" in change_page(clerk, boats)
