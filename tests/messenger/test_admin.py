from __future__ import annotations

import datetime as dt
import io
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intercom_bridge import doctor
from intercom_bridge.models import CachedAnswer, Messenger, MessengerKey, PersonMatch, Workspace
from intercom_bridge.privacy.contact import Contact
from sandbox.itop import Itop
from tests.doctor.findings import levels
from tests.staff import viewer
from tests.teammate import ALICE, Teammate

from .questions import SECRET, ask, question, settings_of


@pytest.fixture
def admin(admin_user: User) -> Client:
    browser = Client()
    browser.force_login(admin_user)
    return browser


def page(name: str, messenger: Messenger) -> str:
    return reverse(f"admin:intercom_bridge_messenger_{name}", args=[messenger.pk])


def test_the_page_shows_the_addresses_and_no_secret(
    messenger: Messenger, key: MessengerKey, admin: Client
) -> None:
    shown = admin.get(page("change", messenger)).content.decode()
    assert key.key_id[:8] in shown and "https://widget.intercom.io" in shown
    for secret in (SECRET, key.secret.reveal(), key.key_id):
        assert secret not in shown


def test_names_are_entered_one_per_line(workspace: Workspace, admin: Client) -> None:
    values = {
        "workspace": workspace.pk,
        "enabled": "on",
        "position": "0",
        "api_secret": SECRET,
        "next_api_secret": "",
        "pages": "itop-portal\r\nbackoffice\r\n",
        "allowed_profiles": "Portal user\r\nSupport, level 2",
        "person_attributes": '{"Number": "employee_number"}',
    }
    response = admin.post(reverse("admin:intercom_bridge_messenger_add"), values)
    assert response.status_code == 302, response.content.decode()
    messenger = Messenger.objects.get()
    assert messenger.pages == ["itop-portal", "backoffice"]
    assert messenger.allowed_profiles == ["Portal user", "Support, level 2"]
    assert messenger.api_secret.reveal() == SECRET


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"api_secret": ""}, "Enter the Messenger API secret, or disable the Messenger."),
        ({"next_api_secret": "another"}, "Enter the date from which the next Messenger API secret is used."),
        ({"person_attributes": '{"user_id": "name"}'}, "“user_id” cannot be the name of a custom attribute"),
        ({"person_attributes": '{"Number": "a b"}'}, "“a b” is not the code of an attribute"),
        ({"person_attributes": '["name"]'}, "This must be an object"),
    ],
)
def test_what_cannot_work_is_refused(
    workspace: Workspace, admin: Client, changes: dict[str, str], complaint: str
) -> None:
    values = {
        "workspace": workspace.pk,
        "enabled": "on",
        "position": "0",
        "api_secret": SECRET,
        "pages": "itop-portal",
        "person_attributes": "{}",
    }
    response = admin.post(reverse("admin:intercom_bridge_messenger_add"), values | changes)
    assert complaint in response.content.decode()
    assert not Messenger.objects.exists()


def test_the_extension_is_downloaded_with_a_key(messenger: Messenger, admin: Client, itop: Itop) -> None:
    response = admin.post(page("extension", messenger))
    assert response["Content-Type"] == "application/zip" and "no-store" in response["Cache-Control"]
    key = MessengerKey.objects.get()
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert key.secret.reveal() in archive.read(archive.namelist()[2]).decode()
    # The same key again, until a new one is asked for.
    admin.post(page("extension", messenger))
    assert MessengerKey.objects.get() == key
    admin.post(page("new_key", messenger))
    assert MessengerKey.objects.count() == 2
    assert settings_of(ask(key, question(40)))


@pytest.mark.parametrize("name", ["extension", "new_key"])
def test_who_may_only_look_gets_no_key(messenger: Messenger, name: str) -> None:
    browser = viewer("view_messenger", "view_itopinstance")
    assert browser.get(page("change", messenger)).status_code == 200
    assert browser.post(page(name, messenger)).status_code == 403
    assert not MessengerKey.objects.exists()


@pytest.mark.parametrize("name", ["extension", "new_key"])
def test_a_key_is_never_sent_for_a_link(messenger: Messenger, admin: Client, name: str) -> None:
    assert admin.get(page(name, messenger)).status_code == 405


def test_the_doctor_says_what_is_missing(
    messenger: Messenger, key: MessengerKey, workspace: Workspace
) -> None:
    Messenger.objects.update(person_attributes={"x": "no_such_attribute"})
    messenger.refresh_from_db()
    messenger.api_secret = "short"
    messenger.save()
    found = levels(list(doctor.examine_itop(workspace.itop)))
    assert found["messenger.secret"] == found["messenger.extension"] == "warning"
    assert found["messenger.attributes"] == "failure"
    MessengerKey.objects.update(last_used_at=timezone.now() - dt.timedelta(days=6))
    Messenger.objects.update(person_attributes={"x": "function"})
    messenger.refresh_from_db()
    messenger.api_secret = SECRET
    messenger.save()
    found = levels(list(doctor.examine_itop(workspace.itop)))
    assert found["messenger.secret"] == found["messenger.extension"] == found["messenger.attributes"] == "ok"


def test_what_was_cached_about_a_person_is_erased(
    messenger: Messenger, key: MessengerKey, teammate: Teammate, itop: Itop
) -> None:
    for person in (40, 4, 41):
        ask(key, question(person))
    teammate.open()
    contact = Contact(messenger.workspace, ALICE["id"])
    assert PersonMatch.objects.get().person_id == 40
    contact.erase()
    left: Any = CachedAnswer.objects.filter(question__startswith="messenger").values_list(
        "question", flat=True
    )
    assert sorted(text.split(": ")[1].split(",")[0] for text in left) == ["4", "41"]
