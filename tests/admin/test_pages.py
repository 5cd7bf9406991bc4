from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from intercom_bridge.admin.readonly import pretty
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    Notification,
    PersonMatch,
    Posting,
    Submission,
    Ticket,
    TicketLink,
    TicketProfile,
    Workspace,
)

pytestmark = pytest.mark.django_db

SECRET = "zyxwvuts-987654-321654-abcde-fghi"
TOKEN = "dG9rOjEyMzQ1Njc4OTA="
READ_ONLY = ["ticketlink", "notification", "delivery", "submission", "posting", "personmatch"]


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(
        workspace_id="abcd1234",
        name="Support",
        client_secret=SECRET,
        access_token=TOKEN,
        itop=ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token=TOKEN),
        profile=TicketProfile.objects.create(name="Requests"),
    )


def history(workspace: Workspace, count: int, start: int = 0) -> None:
    """`count` of everything that happens, each row on others of its own."""
    for number in range(start, start + count):
        conversation = Conversation.objects.create(workspace=workspace, conversation_id=f"21547{number}")
        ticket = Ticket.objects.create(
            itop=workspace.itop, ticket_class="UserRequest", object_id=number, ref=f"R-{number:06}"
        )
        TicketLink.objects.create(conversation=conversation, ticket=ticket, linked_by="Ada Reyes")
        notification = Notification.objects.create(
            workspace=workspace,
            notification_id=f"notif_{number}",
            topic="conversation.user.replied",
            conversation_id=conversation.conversation_id,
            body=b'{"topic": "conversation.user.replied"}',
            verdict="handled",
        )
        Delivery.objects.create(
            ticket=ticket,
            conversation=conversation,
            notification=notification,
            kind="part",
            part_id=str(number),
            part_created_at=1_768_031_789,
            author="Alice Martin",
            state="failed",
            reason="iTop said no",
            log="public_log",
            item={"message": "<p>Hello</p>"},
        )
        Submission.objects.create(
            conversation=conversation,
            form_key="k",
            ticket_class="UserRequest",
            caller_id=1,
            marker="m",
            ticket=ticket,
        )
        Posting.objects.create(conversation=conversation, admin_id="1", body="<p>Hello</p>")
        PersonMatch.objects.create(
            workspace=workspace,
            itop=workspace.itop,
            contact_id=str(number),
            evidence="e",
            how="email",
            person_id=1,
            name="Alice",
            org_id=1,
        )


def url(model: str, page: str, *args: Any) -> str:
    return reverse(f"admin:intercom_bridge_{model}_{page}", args=args)


def page(client: Client, *where: Any) -> str:
    response = client.get(url(*where))
    assert response.status_code == 200
    return response.content.decode()


def form_of(client: Client, *where: Any) -> dict[str, str]:
    """What a browser would send back if nothing were typed."""
    form = client.get(url(*where)).context["adminform"].form
    sent: dict[str, str] = {}
    for field in form:
        value = field.value()
        if type(field.field).__name__ == "SecretFormField" or value in (None, False, ""):
            continue
        if type(field.field.widget).__name__ == "AdminSplitDateTime":
            continue
        shown = "on" if value is True else field.field.widget.format_value(value)
        sent[field.html_name] = shown[0] if isinstance(shown, list | tuple) else str(shown)
    return sent


def save(client: Client, model: str, row: Any, **typed: str) -> Any:
    response = client.post(url(model, "change", row.pk), form_of(client, model, "change", row.pk) | typed)
    row.refresh_from_db()
    return response


# Secrets


def test_no_page_shows_a_secret(admin_client: Client, workspace: Workspace) -> None:
    for html in (
        page(admin_client, "workspace", "change", workspace.pk),
        page(admin_client, "workspace", "changelist"),
        page(admin_client, "workspace", "history", workspace.pk),
        page(admin_client, "itopinstance", "change", workspace.itop.pk),
        page(admin_client, "itopinstance", "changelist"),
    ):
        assert SECRET not in html
        assert TOKEN not in html
        assert workspace.client_secret.ciphertext not in html


def test_a_stored_secret_is_known_by_its_last_four_characters(
    admin_client: Client, workspace: Workspace
) -> None:
    html = page(admin_client, "workspace", "change", workspace.pk)
    assert "stored: •••• fghi" in html
    assert '<input type="password" name="client_secret"' in html
    assert 'value="' not in html.split('name="client_secret"')[1].split(">")[0]


def test_an_empty_input_keeps_the_secret(admin_client: Client, workspace: Workspace) -> None:
    assert save(admin_client, "workspace", workspace, name="Renamed").status_code == 302
    assert workspace.name == "Renamed"
    assert workspace.client_secret.reveal() == SECRET
    assert workspace.access_token.reveal() == TOKEN


def test_a_new_secret_has_not_been_used_yet(admin_client: Client, workspace: Workspace) -> None:
    """Whoever rotates waits for it to be used before the previous one is removed."""
    workspace.note_use("client_secret")
    workspace.note_use("previous_client_secret")
    save(admin_client, "workspace", workspace, name="Renamed")
    assert workspace.client_secret_used_at and workspace.previous_client_secret_used_at
    before = Workspace.objects.get()
    before.client_secret_used_at = None
    save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234")
    assert workspace.client_secret_used_at is None
    assert workspace.previous_client_secret_used_at
    # A request that was signed with the old one, and whose row was read before.
    before.note_use("client_secret")
    workspace.refresh_from_db()
    assert workspace.client_secret_used_at is None


def test_a_typed_secret_replaces_the_stored_one(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, client_secret="  a-new-secret-1234\n")
    assert workspace.client_secret.reveal() == "a-new-secret-1234"
    assert workspace.access_token.reveal() == TOKEN


def test_a_tick_removes_the_secret(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, **{"client_secret-remove": "on"})
    assert not workspace.client_secret
    assert workspace.access_token.reveal() == TOKEN


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"client_secret": "x", "client_secret-remove": "on"}, "Either type a new one, or tick remove."),
        ({"client_secret": "two words"}, "There is white space in it"),
        (
            {"client_secret": "PUT_YOUR_APP_CLIENT_SECRET_HERE"},
            "this is the placeholder of the documentation",
        ),
        ({"scope": "DELETE Organization"}, "This is not an OQL query"),
        ({"time_zone": "Europe/Atlantis"}, "is not a time zone"),
    ],
)
def test_a_mistake_is_said_on_the_page_and_nothing_is_stored(
    admin_client: Client, workspace: Workspace, typed: dict[str, str], words: str
) -> None:
    response = save(admin_client, "workspace", workspace, **typed)
    assert words in response.content.decode()
    assert workspace.client_secret.reveal() == SECRET


def test_a_typed_secret_does_not_come_back_in_the_page_after_a_mistake_elsewhere(
    admin_client: Client, workspace: Workspace
) -> None:
    response = save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234", scope="nonsense")
    assert "a-new-secret-1234" not in response.content.decode()


def test_django_s_own_log_of_changes_holds_no_secret(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234", name="Renamed")
    save(admin_client, "itopinstance", workspace.itop, token="a-new-token-5678")
    logged = " ".join(f"{entry.change_message} {entry.object_repr}" for entry in LogEntry.objects.all())
    assert "Client secret" in logged
    assert "a-new" not in logged
    assert "5678" not in logged


def test_keeping_a_secret_is_not_logged_as_a_change(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, name="Renamed")
    assert json.loads(LogEntry.objects.get().change_message) == [{"changed": {"fields": ["Name"]}}]


def test_who_may_only_look_sees_no_secret_either(client: Client, workspace: Workspace) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    html = page(client, "workspace", "change", workspace.pk)
    assert SECRET not in html
    assert TOKEN not in html
    assert "fghi" not in html


def test_a_workspace_with_an_unreadable_secret_can_be_opened_and_repaired(
    admin_client: Client, workspace: Workspace, settings: Settings
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = ["ZGlmZmVyZW50LWtleS1mb3ItdGhpcy10ZXN0LTAwMDE="]
    assert "unreadable: encrypted under another key" in page(
        admin_client, "workspace", "change", workspace.pk
    )
    save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234")
    assert workspace.client_secret.reveal() == "a-new-secret-1234"
    assert not workspace.access_token.is_readable


# Editing


def test_a_workspace_is_made_by_hand(admin_client: Client, workspace: Workspace) -> None:
    typed = form_of(admin_client, "workspace", "add") | {
        "workspace_id": "efgh5678",
        "client_secret": SECRET,
        "itop": str(workspace.itop.pk),
        "profile": str(workspace.profile.pk),
    }
    assert admin_client.post(url("workspace", "add"), typed).status_code == 302
    made = Workspace.objects.get(workspace_id="efgh5678")
    assert made.client_secret.reveal() == SECRET
    assert made.scope == "SELECT Organization"
    assert not made.access_token


def meanwhile(monkeypatch: pytest.MonkeyPatch, model: Any, **values: Any) -> None:
    """Others write these values between a row's being read and its being saved."""
    clean = model.clean

    def others_write(row: Any) -> None:
        clean(row)
        model.objects.filter(pk=row.pk).update(**values)

    monkeypatch.setattr(model, "clean", others_write)


def test_what_others_write_meanwhile_into_a_workspace_stays(
    admin_client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = workspace.access_token.renewed()
    used_at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    meanwhile(
        monkeypatch, Workspace, access_token=renewed, client_secret_used_at=used_at, app_package_code="x"
    )
    save(admin_client, "workspace", workspace, name="Renamed")
    assert (workspace.name, workspace.access_token) == ("Renamed", renewed)
    assert (workspace.client_secret_used_at, workspace.app_package_code) == (used_at, "x")


def test_what_others_write_meanwhile_into_an_itop_stays(
    admin_client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    itop = workspace.itop
    renewed = itop.token.renewed()
    meanwhile(monkeypatch, ItopInstance, token=renewed, is_administrator=True, tracked_logs={"x": True})
    save(admin_client, "itopinstance", itop, name="Renamed")
    assert (itop.name, itop.token) == ("Renamed", renewed)
    assert (itop.is_administrator, itop.tracked_logs) == (True, {"x": True})


def test_an_itop_without_any_account_is_not_stored(admin_client: Client) -> None:
    typed = form_of(admin_client, "itopinstance", "add") | {"name": "New", "url": "https://new.example.com"}
    assert "Give the account" in admin_client.post(url("itopinstance", "add"), typed).content.decode()
    assert admin_client.post(url("itopinstance", "add"), typed | {"token": TOKEN}).status_code == 302
    assert ItopInstance.objects.get().token.reveal() == TOKEN


def test_a_workspace_keeps_its_id(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, workspace_id="other123")
    assert workspace.workspace_id == "abcd1234"


def test_the_addresses_to_paste_into_intercom_are_on_the_page(
    admin_client: Client, workspace: Workspace, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://bridge.example.com"
    for html in (
        page(admin_client, "workspace", "change", workspace.pk),
        page(admin_client, "workspace", "add"),
    ):
        for path in ("canvas-kit/initialize", "canvas-kit/submit", "webhooks/intercom"):
            assert f">https://bridge.example.com/{path}</code>" in html
        for topic in ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted"):
            assert f"<code>{topic}</code>" in html
        assert "Intercom accepts https addresses only" not in html


def test_an_address_that_intercom_would_refuse_is_pointed_at(
    admin_client: Client, workspace: Workspace, settings: Settings
) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    assert "Intercom accepts https addresses only" in page(admin_client, "workspace", "change", workspace.pk)


def test_a_profile_s_codes_are_written_one_a_line(admin_client: Client, workspace: Workspace) -> None:
    profile = workspace.profile
    assert "title\ndescription\nservice_id" in page(admin_client, "ticketprofile", "change", profile.pk)
    save(admin_client, "ticketprofile", profile, form_attributes="title\r\n\r\n description, impact\r\n")
    assert profile.form_attributes == ["title", "description", "impact"]
    assert "form attributes" in LogEntry.objects.get().change_message.lower()


def test_a_profile_s_defaults_are_written_in_the_admin(admin_client: Client, workspace: Workspace) -> None:
    profile = workspace.profile
    save(admin_client, "ticketprofile", profile, defaults='{"urgency": "3"}')
    assert profile.defaults == {"urgency": "3"}
    refused = save(admin_client, "ticketprofile", profile, defaults='{"caller_id": "40"}')
    assert "Filled in by itself: caller_id." in refused.content.decode()
    assert profile.defaults == {"urgency": "3"}


def test_a_profile_saved_as_it_was_is_as_it_was(admin_client: Client, workspace: Workspace) -> None:
    before = TicketProfile.objects.values().get()
    assert save(admin_client, "ticketprofile", workspace.profile).status_code == 302
    assert TicketProfile.objects.values().get() == before
    assert LogEntry.objects.get().change_message == "[]"


@pytest.mark.parametrize(
    ("codes", "words"), [("", "This field is required"), ("a b", "Write a list of codes")]
)
def test_what_is_no_list_of_codes_is_refused(
    admin_client: Client, workspace: Workspace, codes: str, words: str
) -> None:
    response = save(admin_client, "ticketprofile", workspace.profile, form_attributes=codes)
    assert words in response.content.decode()


# Reading


@pytest.mark.parametrize("model", [*READ_ONLY, "workspace", "itopinstance", "ticketprofile"])
def test_a_list_takes_as_many_queries_for_thirty_rows_as_for_three(
    admin_client: Client, workspace: Workspace, django_assert_num_queries: DjangoAssertNumQueries, model: str
) -> None:
    def grow(count: int, start: int) -> None:
        history(workspace, count, start)
        for number in range(start, start + count):
            profile = TicketProfile.objects.create(name=f"Profile {number}")
            itop = ItopInstance.objects.create(name=f"iTop {number}", url="https://i.example.com", token="t")
            Workspace.objects.create(workspace_id=f"other{number}", itop=itop, profile=profile)

    grow(3, 0)
    page(admin_client, model, "changelist")
    with CaptureQueriesContext(connection) as few:
        page(admin_client, model, "changelist")
    grow(27, 3)
    with django_assert_num_queries(len(few)):
        html = page(admin_client, model, "changelist")
    assert html.count("<tr><") >= 30


@pytest.mark.parametrize("model", READ_ONLY)
def test_what_happened_can_be_read_and_not_touched(
    admin_client: Client, workspace: Workspace, model: str
) -> None:
    history(workspace, 1)
    row = apps.get_model("intercom_bridge", model)
    pk = row.objects.get().pk
    html = page(admin_client, model, "change", pk)
    assert 'name="_save"' not in html
    assert "deletelink" not in html
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "change", pk), {}).status_code == 403
    assert admin_client.post(url(model, "delete", pk), {"post": "yes"}).status_code == 403
    assert row.objects.count() == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("ticketlink", "R-000000"),
        ("ticketlink", "215470"),
        ("notification", "215470"),
        ("notification", "notif_0"),
        ("delivery", "r-000000"),
        ("delivery", "215470"),
        ("delivery", "alice"),
        ("submission", "R-000000"),
        ("posting", "215470"),
        ("personmatch", "Alice"),
    ],
)
def test_rows_are_found_by_what_people_have_at_hand(
    admin_client: Client, workspace: Workspace, model: str, words: str
) -> None:
    history(workspace, 2)
    response = admin_client.get(url(model, "changelist"), {"q": words})
    assert response.status_code == 200
    assert response.context["cl"].result_count == (2 if words.lower() == "alice" else 1)


@pytest.mark.parametrize(
    ("model", "filters"),
    [
        ("notification", {"verdict__exact": "handled", "topic": "conversation.user.replied"}),
        ("delivery", {"state__exact": "failed", "log": "public_log"}),
        ("ticketlink", {"sync_on__exact": "1"}),
        ("submission", {"state__exact": "creating"}),
        ("posting", {"state__exact": "waiting", "is_note__exact": "0"}),
        ("personmatch", {"how__exact": "email"}),
    ],
)
def test_rows_are_filtered(
    admin_client: Client, workspace: Workspace, model: str, filters: dict[str, str]
) -> None:
    history(workspace, 2)
    response = admin_client.get(url(model, "changelist"), filters)
    assert response.context["cl"].result_count == 2


def test_a_list_of_notifications_does_not_read_their_payloads(
    admin_client: Client, workspace: Workspace
) -> None:
    history(workspace, 1)
    with CaptureQueriesContext(connection) as queries:
        page(admin_client, "notification", "changelist")
    assert not any('"body"' in query["sql"] for query in queries)


def test_a_delivery_shows_why_it_failed_and_what_is_sent(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    html = page(admin_client, "delivery", "change", Delivery.objects.get().pk)
    assert "iTop said no" in html
    assert "&lt;p&gt;Hello&lt;/p&gt;" in html
    assert "Jan. 10, 2026" in html


def test_a_part_with_an_impossible_time_can_be_looked_at(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    Delivery.objects.update(part_created_at=10**18)
    assert str(10**18) in page(admin_client, "delivery", "change", Delivery.objects.get().pk)


def test_a_workspace_with_history_cannot_be_deleted(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    assert admin_client.post(url("workspace", "delete", workspace.pk), {"post": "yes"}).status_code == 403
    assert Workspace.objects.exists()


BODIES = [
    b'{"topic": "x", "data": {"b": [1, 2]}}',
    b'{"text": "\\u0000 \\ud800 <script>alert(1)</script>"}',
    b"",
    b"\x00\xff\xfe not JSON \xc3\x28",
    b"[" * 100_000,
    b'{"a": ' * 3000 + b"1" + b"}" * 3000,
    b'{"number": ' + b"9" * 6000 + b"}",
    b'{"a": NaN, "a": 1e999}',
    '{"é": "😀"}'.encode(),
    b'"' + b"x" * 500_000 + b'"',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_payload_is_shown_whatever_its_bytes(
    admin_client: Client, workspace: Workspace, body: bytes
) -> None:
    notification = Notification.objects.create(
        workspace=workspace, notification_id="n", topic="x", body=body, received_at=dt.datetime.now(dt.UTC)
    )
    html = page(admin_client, "notification", "change", notification.pk)
    assert "<script>alert" not in html
    assert "\x00" not in html


def test_a_payload_is_shown_with_its_structure() -> None:
    assert (
        pretty(BODIES[0]) == '{\n  "topic": "x",\n  "data": {\n    "b": [\n      1,\n      2\n    ]\n  }\n}'
    )
    assert pretty(BODIES[1]) == '{\n  "text": "\\u0000 \\ud800 <script>alert(1)</script>"\n}'
    assert pretty(memoryview(BODIES[8])) == '{\n  "é": "😀"\n}'
    assert pretty(BODIES[9]).endswith("more characters)")


def test_the_first_page_lists_what_there_is(admin_client: Client) -> None:
    html = admin_client.get(reverse("admin:index")).content.decode()
    for name in ("Workspaces", "iTops", "Ticket profiles", "Ticket links", "Notifications", "Deliveries"):
        assert name.lower() in html.lower()
