"""The data model in the admin: the import page of an iTop, and the page of a profile."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from intercom_bridge.admin import datamodels
from intercom_bridge.datamodel.importing import run_import
from intercom_bridge.models import (
    DataModelImport,
    ImportedClass,
    ItopInstance,
    TicketProfile,
    WorkerHeartbeat,
    Workspace,
)
from intercom_bridge.queue import QueueSender
from intercom_bridge.wake import EVERYTHING, set_receiver
from tests.cases.admin_form import form_values

from .design_file import TICKET, design

pytestmark = pytest.mark.django_db


@pytest.fixture
def itop() -> ItopInstance:
    return ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t0ken")


@pytest.fixture
def viewer(client: Client) -> Client:
    """Return a user with view permissions only."""
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


def address(itop: ItopInstance) -> str:
    return reverse("admin:intercom_bridge_itopinstance_datamodel", args=[itop.pk])


def send(client: Client, itop: ItopInstance, data: bytes | None = None, **more: str) -> Any:
    """Upload a file, without a worker."""
    file = SimpleUploadedFile("datamodel-production.xml", design() if data is None else data)
    return client.post(address(itop), {"file": file, **more}, follow=True)


def upload(client: Client, itop: ItopInstance, data: bytes | None = None, **more: str) -> Any:
    """Upload a file; return the page after a worker has imported it."""
    response = send(client, itop, data, **more)
    for job in DataModelImport.objects.due():
        run_import(job)
    return client.get(address(itop)) if response.status_code == 200 else response


def text_of(response: Any) -> str:
    return html.unescape(response.content.decode())


def change_page(client: Client, row: Any) -> str:
    name = f"admin:intercom_bridge_{row._meta.model_name}_change"
    return text_of(client.get(reverse(name, args=[row.pk])))


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def imported() -> list[str]:
    return list(ImportedClass.objects.values_list("name", flat=True))


# Importing


def test_a_data_model_is_imported_and_recorded(admin_client: Client, itop: ItopInstance) -> None:
    assert "Not imported" in change_page(admin_client, itop)
    assert address(itop) in change_page(admin_client, itop)
    page = text_of(upload(admin_client, itop))
    assert imported() == ["LiftRepair", "Repair"]
    assert "Imported: LiftRepair, Repair." in page
    assert "datamodel-production.xml, uploaded by admin on " in page
    page = change_page(admin_client, itop)
    assert "Repair (Repair): 25 attributes" in page
    row = ImportedClass.objects.get(name="Repair")
    assert f"From datamodel-production.xml, {row.imported_at:%Y-%m-%d %H:%M:%S}" in page
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message()) == (
        str(itop.pk),
        "Uploaded the data model datamodel-production.xml.",
    )


def test_an_upload_is_imported_by_a_worker(
    admin_client: Client, itop: ItopInstance, work: Callable[[], None]
) -> None:
    page = text_of(send(admin_client, itop))
    assert imported() == []
    assert "The import is waiting for a worker." in page and 'http-equiv="refresh"' in page
    assert "No worker is running." in page
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    assert "No worker is running." not in text_of(admin_client.get(address(itop)))
    work()
    assert imported() == ["LiftRepair", "Repair"]
    page = text_of(admin_client.get(address(itop)))
    assert "Imported: LiftRepair, Repair." in page and 'http-equiv="refresh"' not in page
    # The file is not kept.
    assert bytes(DataModelImport.objects.get().content) == b""


def test_an_upload_wakes_a_worker(
    admin_client: Client, itop: ItopInstance, django_capture_on_commit_callbacks: Any
) -> None:
    topics: list[str] = []
    set_receiver(topics.append)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            send(admin_client, itop)
    finally:
        set_receiver(QueueSender())
    assert topics == [EVERYTHING]


def test_a_newer_upload_replaces_one_that_waits(admin_client: Client, itop: ItopInstance) -> None:
    send(admin_client, itop, b"<html/>")
    upload(admin_client, itop)
    assert DataModelImport.objects.get().state == "imported"


def test_the_outcome_of_a_replaced_upload_is_dropped(admin_client: Client, itop: ItopInstance) -> None:
    send(admin_client, itop, b"<html/>")
    job = DataModelImport.objects.get()
    send(admin_client, itop)
    run_import(job)
    assert DataModelImport.objects.get().state == "waiting"


def test_an_import_that_ends_its_worker_is_given_up(admin_client: Client, itop: ItopInstance) -> None:
    send(admin_client, itop)
    DataModelImport.objects.update(attempts=3)
    run_import(DataModelImport.objects.get())
    assert imported() == []
    page = text_of(admin_client.get(address(itop)))
    assert "Nothing was changed." in page and "gave up after the maximum number of attempts" in page


def test_two_workers_do_not_import_the_same_upload(admin_client: Client, itop: ItopInstance) -> None:
    send(admin_client, itop)
    first, second = DataModelImport.objects.get(), DataModelImport.objects.get()
    run_import(first)
    ImportedClass.objects.all().delete()
    run_import(second)
    assert imported() == []


def test_a_file_that_is_too_large_is_refused_at_once(
    admin_client: Client, itop: ItopInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodels, "MAX_BYTES", 1024)
    assert "The file is larger than" in text_of(send(admin_client, itop))
    assert not DataModelImport.objects.exists()


def test_further_classes_can_be_named(admin_client: Client, itop: ItopInstance) -> None:
    upload(admin_client, itop, also=" Bench  Ticket ")
    assert imported() == ["Bench", "LiftRepair", "Repair", "Ticket"]


def test_removed_classes_and_unfit_profiles_are_reported(admin_client: Client, itop: ItopInstance) -> None:
    upload(admin_client, itop)
    TicketProfile.objects.create(name="Requests")
    response = upload(
        admin_client, itop, design(TICKET, '<class id="LiftRepair"><parent>Ticket</parent></class>')
    )
    assert "removed, because the file does not contain them: Repair." in text_of(response)
    assert "Does not match the data model: Requests: this data model has no class UserRequest." in text_of(
        response
    )


@pytest.mark.parametrize(
    ("data", "more", "text"),
    [
        (design()[:3000], {}, "Line 54: the file ends here"),
        (b"<html/>", {}, "it begins with <html>"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><itop_design/>', {}, "a DTD or an entity is declared here"),
        (design(), {"also": "Bensh"}, "There is no class Bensh in this file. Did you mean Bench?"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_an_invalid_file_is_reported_and_changes_nothing(
    admin_client: Client, itop: ItopInstance, data: bytes, more: dict[str, str], text: str
) -> None:
    upload(admin_client, itop)
    before = list(ImportedClass.objects.values())
    page = text_of(upload(admin_client, itop, data, **more))
    assert text in page
    assert "Nothing was changed." in page
    assert list(ImportedClass.objects.values()) == before


def test_a_file_is_required(admin_client: Client, itop: ItopInstance) -> None:
    assert "This field is required" in text_of(admin_client.post(address(itop), {}))
    assert "The submitted file is empty" in text_of(send(admin_client, itop, b""))
    assert imported() == []


def test_a_viewer_cannot_import(viewer: Client, itop: ItopInstance) -> None:
    assert address(itop) not in change_page(viewer, itop)
    assert viewer.get(address(itop)).status_code == 403
    assert upload(viewer, itop).status_code == 403
    assert imported() == []


def test_an_anonymous_user_must_log_in(client: Client, itop: ItopInstance) -> None:
    response = client.post(address(itop), {"file": SimpleUploadedFile("a.xml", design())})
    assert response.status_code == 302
    assert "login" in response["Location"]
    assert imported() == []


def test_an_upload_without_a_csrf_token_is_rejected(admin_user: User, itop: ItopInstance) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert upload(client, itop).status_code == 403
    assert imported() == []


def test_a_deleted_itop_has_no_import_page(admin_client: Client, itop: ItopInstance) -> None:
    where = address(itop)
    itop.delete()
    assert admin_client.get(where).status_code == 404


def test_an_itop_that_is_being_added_has_no_data_model_yet(admin_client: Client) -> None:
    page = text_of(admin_client.get(reverse("admin:intercom_bridge_itopinstance_add")))
    assert "Not imported" in page
    assert "datamodel/" not in page


# Profiles


def save(client: Client, profile: TicketProfile, **typed: str) -> Any:
    form = form_values(client, "ticketprofile", "change", profile.pk)
    form.pop("fill_in", None)
    form.pop("accept_other", None)
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


def test_a_fitting_profile_is_saved_without_warnings(admin_client: Client, profile: TicketProfile) -> None:
    response = save(admin_client, profile, details_attributes="stage\nbench_id\nhurry")
    assert len(messages(response)) == 1
    profile.refresh_from_db()
    assert profile.details_attributes == ["stage", "bench_id", "hurry"]


def test_an_unknown_code_is_rejected_with_a_suggestion(admin_client: Client, profile: TicketProfile) -> None:
    page = text_of(save(admin_client, profile, details_attributes="stage\nbench"))
    assert "Repair has no attribute bench. Did you mean bench_id?" in page
    profile.refresh_from_db()
    assert profile.details_attributes == ["stage", "bench_id"]


def test_default_codes_on_another_class_are_rejected_with_suggestions(
    admin_client: Client, profile: TicketProfile
) -> None:
    stock = TicketProfile.objects.create(name="New")
    page = text_of(save(admin_client, stock, ticket_class="Repair"))
    assert "Repair has no attribute service_id." in page
    assert "A form that fits: title, description, wing_id, bench_id." in page
    assert "Attributes that fit, in the order of iTop's page: stage, wing_id, bench_id." in page
    assert "Repair has no attribute status. Map status to the attribute" in page
    assert "select “Correct automatically”" in page
    stock.refresh_from_db()
    assert stock.ticket_class == "UserRequest"


def test_automatic_correction_is_applied_and_recorded(admin_client: Client, profile: TicketProfile) -> None:
    stock = TicketProfile.objects.create(name="New")
    response = save(
        admin_client, stock, ticket_class="Repair", attributes_mapping='{"status": "stage"}', fill_in="on"
    )
    names = "form attributes, details attributes, excluded states"
    assert f"Corrected: {names}." in messages(response)
    stock.refresh_from_db()
    assert stock.ticket_class == "Repair"
    assert stock.form_attributes == ["title", "description", "wing_id", "bench_id"]
    assert stock.details_attributes == ["stage", "wing_id", "bench_id"]
    assert stock.excluded_states == ["closed"]
    entry = LogEntry.objects.filter(object_id=str(stock.pk), object_repr="New").latest("pk")
    assert names.replace(", excluded", " and excluded") in entry.get_change_message()


def test_automatic_correction_completes_a_new_profile(admin_client: Client, profile: TicketProfile) -> None:
    form = form_values(admin_client, "ticketprofile", "add")
    typed = {
        "name": "Lifts",
        "ticket_class": "LiftRepair",
        "attributes_mapping": '{"status": "stage"}',
        "fill_in": "on",
    }
    admin_client.post(reverse("admin:intercom_bridge_ticketprofile_add"), {**form, **typed})
    lifts = TicketProfile.objects.get(name="Lifts")
    assert lifts.form_attributes == ["title", "description", "wing_id", "bench_id", "note"]


def test_a_mapping_is_not_corrected_automatically(admin_client: Client, profile: TicketProfile) -> None:
    page = text_of(save(admin_client, profile, attributes_mapping="{}", fill_in="on"))
    assert "Map status to the attribute" in page
    profile.refresh_from_db()
    assert profile.attributes_mapping == {"status": "stage"}


def test_an_incomplete_form_is_saved_with_a_warning(admin_client: Client, profile: TicketProfile) -> None:
    response = save(admin_client, profile, form_attributes="title\ndescription")
    assert "The form does not contain wing_id, bench_id, required in a new Repair." in messages(response)
    profile.refresh_from_db()
    assert profile.form_attributes == ["title", "description"]


def test_an_unknown_class_is_saved_with_a_warning(admin_client: Client, profile: TicketProfile) -> None:
    response = save(admin_client, profile, ticket_class="Repairs", details_attributes="anything")
    assert any("Did you mean Repair or LiftRepair?" in message for message in messages(response))
    profile.refresh_from_db()
    assert (profile.ticket_class, profile.details_attributes) == ("Repairs", ["anything"])


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            {"form_attributes": "title\ndescripton"},
            "UserRequest has no attribute descripton. Did you mean description?",
        ),
        ({"details_attributes": "status\nfoo"}, "UserRequest has no attribute foo."),
        ({"defaults": '{"urgency": "9"}'}, "urgency has no value “9”. Its values: 1 (Critical)"),
        ({"excluded_states": "close"}, "UserRequest has no state close. Did you mean closed?"),
        ({"subtitle_attribute": "titel"}, "UserRequest has no attribute titel. Did you mean title?"),
    ],
)
def test_without_a_data_model_a_profile_is_compared_with_a_standard_itop(
    admin_client: Client, typed: dict[str, str], sentence: str
) -> None:
    stock = TicketProfile.objects.create(name="Requests")
    before = TicketProfile.objects.values().get()
    page = text_of(save(admin_client, stock, **typed))
    assert sentence in page
    assert "select “Accept other codes” and save again" in page
    assert TicketProfile.objects.values().get() == before
    save(admin_client, stock, **typed, accept_other="on")
    assert TicketProfile.objects.values().get() != before


def test_a_stock_profile_is_saved_without_warnings(admin_client: Client) -> None:
    stock = TicketProfile.objects.create(name="Requests")
    assert len(messages(save(admin_client, stock, name="Renamed"))) == 1


def test_other_codes_are_not_accepted_where_the_data_model_is_known(
    admin_client: Client, profile: TicketProfile
) -> None:
    page = text_of(save(admin_client, profile, details_attributes="stage\nbench", accept_other="on"))
    assert "Repair has no attribute bench." in page


def test_codes_of_a_class_that_is_unknown_are_accepted_with_a_warning(admin_client: Client) -> None:
    boats = TicketProfile.objects.create(name="Boats")
    response = save(admin_client, boats, ticket_class="UserRequets", details_attributes="anything")
    assert any("were not checked. Did you mean UserRequest?" in message for message in messages(response))
    boats.refresh_from_db()
    assert boats.details_attributes == ["anything"]


def test_a_profile_is_checked_against_its_own_itop_only(admin_client: Client, profile: TicketProfile) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    Workspace.objects.create(workspace_id="b", name="B", itop=other, profile=profile)
    assert "has no attribute" not in text_of(save(admin_client, profile, details_attributes="anything"))
    profile.refresh_from_db()
    assert profile.details_attributes == ["anything"]


def test_an_invalid_list_is_not_compared_with_the_data_model(
    admin_client: Client, profile: TicketProfile
) -> None:
    page = text_of(save(admin_client, profile, details_attributes="bench, bench"))
    assert "The list contains a code twice." in page
    assert "has no attribute" not in page


def test_a_profile_page_lists_the_attributes_of_its_class(
    admin_client: Client, profile: TicketProfile
) -> None:
    page = change_page(admin_client, profile)
    assert "These attributes come from the data model of Ours." in page
    assert "<code>hurry</code></td><td>Hurry</td>" in page
    assert "key to Bench" in page
    assert "enum: planned, at work, closed" in page


def test_built_in_attributes_are_listed(admin_client: Client) -> None:
    page = change_page(admin_client, TicketProfile.objects.create(name="Requests"))
    assert "the attributes in a standard iTop" in page
    assert "<code>servicesubcategory_id</code></td><td>Service subcategory</td>" in page


def test_a_profile_page_contains_the_choices_for_the_pick_lists(
    admin_client: Client, profile: TicketProfile
) -> None:
    page = change_page(admin_client, profile)
    choices = json.loads(page.partition('id="bridge-choices" type="application/json">')[2].partition("<")[0])
    assert choices["ticket_class"] == "Repair"
    assert ["bench_id", "Bench"] in choices["form_attributes"]
    # Filled in by the bridge, so only displayed.
    assert "stage" not in dict(choices["form_attributes"])
    assert "stage" in dict(choices["details_attributes"])
    assert [code for code, _ in choices["excluded_states"]] == ["planned", "at work", "closed"]
    assert "bridge-choices" not in change_page(
        admin_client, TicketProfile.objects.create(name="Boats", ticket_class="Boat")
    )


def test_an_unknown_class_links_to_the_import(admin_client: Client) -> None:
    page = change_page(admin_client, TicketProfile.objects.create(name="Boats", ticket_class="Boat"))
    assert "The attributes of Boat are unknown" in page


def test_a_viewer_sees_the_attributes(viewer: Client) -> None:
    boats = TicketProfile.objects.create(name="Boats", ticket_class="Boat")
    assert "The attributes of Boat are unknown" in change_page(viewer, boats)
