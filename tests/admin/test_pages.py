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
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from intercom_bridge.admin.display import json_block, pretty
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    OutgoingMessage,
    PersonMatch,
    Ticket,
    TicketCreation,
    TicketLink,
    TicketProfile,
    WebhookEvent,
    Workspace,
)
from tests.cases.admin_form import form_values

pytestmark = pytest.mark.django_db

SECRET = "zyxwvuts-987654-321654-abcde-fghi"
TOKEN = "dG9rOjEyMzQ1Njc4OTA="
READ_ONLY = ["ticketlink", "webhookevent", "delivery", "ticketcreation", "outgoingmessage", "personmatch"]


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
    """Create `count` records of each kind, none of which share their related rows."""
    for number in range(start, start + count):
        conversation = Conversation.objects.create(workspace=workspace, conversation_id=f"21547{number}")
        ticket = Ticket.objects.create(
            itop=workspace.itop, ticket_class="UserRequest", object_id=number, ref=f"R-{number:06}"
        )
        TicketLink.objects.create(conversation=conversation, ticket=ticket, linked_by="Ada Reyes")
        notification = WebhookEvent.objects.create(
            workspace=workspace,
            notification_id=f"notif_{number}",
            topic="conversation.user.replied",
            conversation_id=conversation.conversation_id,
            body=b'{"topic": "conversation.user.replied"}',
            state="handled",
        )
        Delivery.objects.create(
            ticket=ticket,
            conversation=conversation,
            webhook_event=notification,
            kind="part",
            part_id=str(number),
            part_created_at=1_768_031_789,
            author="Alice Martin",
            state="failed",
            reason_code="rejected",
            reason_detail="iTop said no",
            log="public_log",
            item={"message": "<p>Hello</p>"},
        )
        TicketCreation.objects.create(
            conversation=conversation,
            form_key="k",
            ticket_class="UserRequest",
            caller_id=1,
            idempotency_key="m",
            ticket=ticket,
        )
        OutgoingMessage.objects.create(conversation=conversation, admin_id="1", body="<p>Hello</p>")
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


def page(client: Client, *address: Any) -> str:
    response = client.get(url(*address))
    assert response.status_code == 200
    return response.content.decode()


def save(client: Client, model: str, row: Any, **typed: str) -> Any:
    response = client.post(url(model, "change", row.pk), form_values(client, model, "change", row.pk) | typed)
    row.refresh_from_db()
    return response


# Secrets


def test_no_page_contains_a_secret(admin_client: Client, workspace: Workspace) -> None:
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


def test_a_stored_secret_is_represented_by_its_last_four_characters(
    admin_client: Client, workspace: Workspace
) -> None:
    html = page(admin_client, "workspace", "change", workspace.pk)
    assert "Stored: •••• fghi" in html
    assert '<input type="password" name="client_secret"' in html
    assert 'value="' not in html.split('name="client_secret"')[1].split(">")[0]


def test_an_empty_input_keeps_the_secret(admin_client: Client, workspace: Workspace) -> None:
    assert save(admin_client, "workspace", workspace, name="Renamed").status_code == 302
    assert workspace.name == "Renamed"
    assert workspace.client_secret.reveal() == SECRET
    assert workspace.access_token.reveal() == TOKEN


def test_entering_a_new_secret_resets_its_last_use(admin_client: Client, workspace: Workspace) -> None:
    """During a rotation, the previous secret is removed once the new one has been used."""
    workspace.note_use("client_secret")
    workspace.note_use("previous_client_secret")
    save(admin_client, "workspace", workspace, name="Renamed")
    assert workspace.client_secret_used_at and workspace.previous_client_secret_used_at
    before = Workspace.objects.get()
    before.client_secret_used_at = None
    save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234")
    assert workspace.client_secret_used_at is None
    assert workspace.previous_client_secret_used_at
    # A request that was signed with the old secret, and read the row before the change.
    before.note_use("client_secret")
    workspace.refresh_from_db()
    assert workspace.client_secret_used_at is None


def test_a_new_secret_replaces_the_stored_one(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, client_secret="  a-new-secret-1234\n")
    assert workspace.client_secret.reveal() == "a-new-secret-1234"
    assert workspace.access_token.reveal() == TOKEN


def test_a_secret_can_be_removed(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, **{"client_secret-remove": "on"})
    assert not workspace.client_secret
    assert workspace.access_token.reveal() == TOKEN


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"client_secret": "x", "client_secret-remove": "on"}, "Either enter a new secret or select"),
        ({"client_secret": "two words"}, "contains spaces"),
        (
            {"client_secret": "PUT_YOUR_APP_CLIENT_SECRET_HERE"},
            "this is a placeholder from the documentation",
        ),
        ({"scope": "DELETE Organization"}, "This is not an OQL query"),
        ({"time_zone": "Europe/Atlantis"}, "is not a time zone"),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_saved(
    admin_client: Client, workspace: Workspace, typed: dict[str, str], message: str
) -> None:
    response = save(admin_client, "workspace", workspace, **typed)
    assert message in response.content.decode()
    assert workspace.client_secret.reveal() == SECRET


def test_a_typed_secret_is_not_sent_back_after_a_mistake_elsewhere(
    admin_client: Client, workspace: Workspace
) -> None:
    response = save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234", scope="nonsense")
    assert "a-new-secret-1234" not in response.content.decode()


def test_django_s_log_of_changes_contains_no_secret(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234", name="Renamed")
    save(admin_client, "itopinstance", workspace.itop, token="a-new-token-5678")
    logged = " ".join(f"{entry.change_message} {entry.object_repr}" for entry in LogEntry.objects.all())
    assert "Client secret" in logged
    assert "a-new" not in logged
    assert "5678" not in logged


def test_keeping_a_secret_is_not_logged_as_a_change(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, name="Renamed")
    assert json.loads(LogEntry.objects.get().change_message) == [{"changed": {"fields": ["Name"]}}]


def test_viewers_see_no_secret_either(client: Client, workspace: Workspace) -> None:
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
    assert "unreadable: encrypted with another key" in page(admin_client, "workspace", "change", workspace.pk)
    save(admin_client, "workspace", workspace, client_secret="a-new-secret-1234")
    assert workspace.client_secret.reveal() == "a-new-secret-1234"
    assert not workspace.access_token.is_readable


# Editing


def test_the_list_of_deliveries_displays_the_first_words(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    Delivery.objects.update(part={"body": "<p>The <b>toner</b> is empty &amp; so is</p><p>the paper</p>"})
    html = page(admin_client, "delivery", "changelist")
    assert "The toner is empty &amp; so is" in html
    assert "Alice Martin" in html and ">public<" in html


def test_lists_and_pages_name_the_time_zone(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    delivery = Delivery.objects.get()
    created = f"{delivery.created_at:%Y-%m-%d %H:%M:%S}"
    assert created in page(admin_client, "delivery", "changelist")
    assert "Created (UTC)" in page(admin_client, "delivery", "changelist")
    assert f"{created} UTC" in page(admin_client, "delivery", "change", delivery.pk)


def test_a_delivery_is_described_in_words(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    Delivery.objects.update(item={"message": "Hello", "user_id": 8})
    html = page(admin_client, "delivery", "change", Delivery.objects.get().pk)
    assert "public (public_log)" in html
    assert "own account in iTop (user ID 8)" in html
    assert "Erased times" not in html


@pytest.mark.parametrize(
    ("evidence", "texts"),
    [
        ("|||bob@acme.example", ["e-mail address bob@acme.example"]),
        (
            "Person|12|employee_number=A=7|bob@acme.example",
            [
                "Person 12 in iTop (itop_contact_id)",
                "external ID A=7 (iTop attribute employee_number)",
                "e-mail address bob@acme.example",
            ],
        ),
        ("|12||", ["Person 12 in iTop (itop_contact_id)"]),
        ("|||", ["None."]),
    ],
)
def test_the_evidence_of_a_match_is_described_in_words(
    admin_client: Client, workspace: Workspace, evidence: str, texts: list[str]
) -> None:
    history(workspace, 1)
    PersonMatch.objects.update(evidence=evidence, org_id=4, org_name="Acme Corp")
    html = page(admin_client, "personmatch", "change", PersonMatch.objects.get().pk)
    for text in texts:
        assert text in html
    assert "Acme Corp (ID 4)" in html
    assert "|" not in html.partition("What the contact says")[2].partition("Conversations")[0]


def test_the_list_of_workspaces_displays_the_state_of_the_connection(
    admin_client: Client, workspace: Workspace
) -> None:
    def state() -> str:
        return page(admin_client, "workspace", "changelist")

    assert "Intercom: no request received yet" in state() and "iTop: nothing written yet" in state()
    now = timezone.now()
    Workspace.objects.update(client_secret_used_at=now)
    ItopInstance.objects.update(last_success_at=now)
    assert f"Intercom: last request received {now:%Y-%m-%d %H:%M:%S} UTC" in state()
    assert f"iTop: last written {now:%Y-%m-%d %H:%M:%S} UTC" in state()
    history(workspace, 1)
    OutgoingMessage.objects.update(reason_code="intercom_token_refused")
    assert "Intercom: refuses the access token" in state()
    OutgoingMessage.objects.update(state="posted")
    assert "refuses the access token" not in state()
    Conversation.objects.update(reconcile_code="intercom_token_refused", reconcile_at=now)
    assert "Intercom: refuses the access token" in state()
    ItopInstance.objects.update(paused_until=now, paused_since=now, pause_code="itop_login_refused")
    assert "iTop: iTop refused the bridge&#x27;s account. Since" in state()
    Workspace.objects.update(access_token="")
    assert "Intercom: no access token" in state()


def test_the_button_that_erases_is_a_dangerous_one(admin_client: Client, workspace: Workspace) -> None:
    history(workspace, 1)
    html = page(admin_client, "personmatch", "change", PersonMatch.objects.get().pk)
    assert '<button type="submit" class="bridge-danger">Erase stored data</button>' in html
    assert html.count("bridge-danger") == 1


def test_the_first_page_begins_with_the_bridge(admin_client: Client) -> None:
    html = admin_client.get("/admin/").content.decode()
    headings = ["Intercom and iTop", "Users and permissions", "Failed log-ins"]
    places = [html.index(f">{heading}</a>", html.index("content-main")) for heading in headings]
    assert places == sorted(places)
    assert "Axes" not in html


def test_an_address_without_a_page_is_answered_with_the_product_s_page(client: Client) -> None:
    answer = client.get("/nothing-here/")
    assert answer.status_code == 404
    html = answer.content.decode()
    assert "Page not found | Intercom and iTop" in html
    assert '<a href="/admin/">Intercom and iTop</a>' in html


def test_there_is_one_form_for_a_new_workspace(admin_client: Client, workspace: Workspace) -> None:
    connect = "/admin/intercom_bridge/workspace/connect/"
    assert admin_client.get(url("workspace", "add"))["Location"] == connect
    assert admin_client.post(url("workspace", "add"), {"workspace_id": "x"})["Location"] == connect
    html = page(admin_client, "workspace", "changelist")
    assert connect in html
    assert "addlink" not in html.partition('id="content-main"')[2]


def change_before_saving(monkeypatch: pytest.MonkeyPatch, model: Any, **values: Any) -> None:
    """Have another process save these values after the form was validated and before it is saved."""
    clean = model.clean

    def clean_and_change(row: Any) -> None:
        clean(row)
        model.objects.filter(pk=row.pk).update(**values)

    monkeypatch.setattr(model, "clean", clean_and_change)


def test_saving_a_workspace_keeps_concurrent_changes(
    admin_client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = workspace.access_token.renewed()
    used_at = dt.datetime(2026, 11, 24, 9, 30, tzinfo=dt.UTC)
    change_before_saving(
        monkeypatch, Workspace, access_token=renewed, client_secret_used_at=used_at, app_package_code="x"
    )
    save(admin_client, "workspace", workspace, name="Renamed")
    assert (workspace.name, workspace.access_token) == ("Renamed", renewed)
    assert (workspace.client_secret_used_at, workspace.app_package_code) == (used_at, "x")


def test_saving_an_itop_keeps_concurrent_changes(
    admin_client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    itop = workspace.itop
    renewed = itop.token.renewed()
    change_before_saving(
        monkeypatch, ItopInstance, token=renewed, is_administrator=True, tracked_logs={"x": True}
    )
    save(admin_client, "itopinstance", itop, name="Renamed")
    assert (itop.name, itop.token) == ("Renamed", renewed)
    assert (itop.is_administrator, itop.tracked_logs) == (True, {"x": True})


def test_an_itop_requires_an_account(admin_client: Client) -> None:
    typed = form_values(admin_client, "itopinstance", "add") | {
        "name": "New",
        "url": "https://new.example.com",
    }
    assert "Enter the account" in admin_client.post(url("itopinstance", "add"), typed).content.decode()
    assert admin_client.post(url("itopinstance", "add"), typed | {"token": TOKEN}).status_code == 302
    assert ItopInstance.objects.get().token.reveal() == TOKEN


def test_a_workspace_s_id_cannot_be_changed(admin_client: Client, workspace: Workspace) -> None:
    save(admin_client, "workspace", workspace, workspace_id="other123")
    assert workspace.workspace_id == "abcd1234"


def test_a_workspace_s_page_displays_the_addresses_for_intercom(
    admin_client: Client, workspace: Workspace, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://bridge.example.com"
    for html in (
        page(admin_client, "workspace", "change", workspace.pk),
        page(admin_client, "workspace", "connect"),
    ):
        for path in ("canvas-kit/initialize", "canvas-kit/submit", "webhooks/intercom"):
            assert f">https://bridge.example.com/{path}</code>" in html
        for topic in ("conversation.user.replied", "conversation.admin.replied", "conversation.admin.noted"):
            assert f"<code>{topic}</code>" in html
        assert "Intercom accepts only https addresses" not in html


def test_an_address_without_https_is_reported(
    admin_client: Client, workspace: Workspace, settings: Settings
) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    assert "Intercom accepts only https addresses" in page(admin_client, "workspace", "change", workspace.pk)


def test_a_profile_s_codes_are_entered_one_per_line(admin_client: Client, workspace: Workspace) -> None:
    profile = workspace.profile
    assert "title\ndescription\nservice_id" in page(admin_client, "ticketprofile", "change", profile.pk)
    save(admin_client, "ticketprofile", profile, form_attributes="title\r\n\r\n description, impact\r\n")
    assert profile.form_attributes == ["title", "description", "impact"]
    assert "form attributes" in LogEntry.objects.get().change_message.lower()


def test_a_profile_s_defaults_are_checked(admin_client: Client, workspace: Workspace) -> None:
    profile = workspace.profile
    save(admin_client, "ticketprofile", profile, defaults='{"urgency": "3"}')
    assert profile.defaults == {"urgency": "3"}
    refused = save(admin_client, "ticketprofile", profile, defaults='{"caller_id": "40"}')
    assert "Filled in automatically, so without a default value: caller_id." in refused.content.decode()
    assert profile.defaults == {"urgency": "3"}


def test_saving_an_unchanged_profile_changes_nothing(admin_client: Client, workspace: Workspace) -> None:
    before = TicketProfile.objects.values().get()
    assert save(admin_client, "ticketprofile", workspace.profile).status_code == 302
    assert TicketProfile.objects.values().get() == before
    assert LogEntry.objects.get().change_message == "[]"


def test_a_saved_profile_makes_a_worker_look_for_the_extension_s_attributes_again(
    admin_client: Client, workspace: Workspace
) -> None:
    workspace.learn_attributes(exist=True)
    save(admin_client, "ticketprofile", workspace.profile)
    workspace.refresh_from_db()
    assert workspace.has_extension_attributes is None


@pytest.mark.parametrize(
    ("codes", "message"), [("", "This field is required"), ("a b", "Write a list of codes")]
)
def test_invalid_lists_of_codes_are_rejected(
    admin_client: Client, workspace: Workspace, codes: str, message: str
) -> None:
    response = save(admin_client, "ticketprofile", workspace.profile, form_attributes=codes)
    assert message in response.content.decode()


# Records


@pytest.mark.parametrize("model", [*READ_ONLY, "workspace", "itopinstance", "ticketprofile"])
def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(
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
def test_records_are_read_only(admin_client: Client, workspace: Workspace, model: str) -> None:
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
    ("model", "text"),
    [
        ("ticketlink", "R-000000"),
        ("ticketlink", "215470"),
        ("webhookevent", "215470"),
        ("webhookevent", "notif_0"),
        ("delivery", "r-000000"),
        ("delivery", "215470"),
        ("delivery", "alice"),
        ("ticketcreation", "R-000000"),
        ("outgoingmessage", "215470"),
        ("personmatch", "Alice"),
        ("personmatch", "alic"),
        ("delivery", "r-0"),
        ("ticketlink", "R000"),
    ],
)
def test_records_are_found_by_reference_id_and_name(
    admin_client: Client, workspace: Workspace, model: str, text: str
) -> None:
    history(workspace, 2)
    response = admin_client.get(url(model, "changelist"), {"q": text})
    assert response.status_code == 200
    assert response.context["cl"].result_count == (2 if text.lower().startswith("alic") else 1)


@pytest.mark.parametrize(
    ("model", "filters"),
    [
        ("webhookevent", {"state__exact": "handled", "topic": "conversation.user.replied"}),
        ("delivery", {"state__exact": "failed", "log": "public_log"}),
        ("ticketlink", {"sync_on__exact": "1"}),
        ("ticketcreation", {"state__exact": "creating"}),
        ("outgoingmessage", {"state__exact": "waiting", "is_note__exact": "0"}),
        ("personmatch", {"how__exact": "email"}),
    ],
)
def test_records_are_filtered(
    admin_client: Client, workspace: Workspace, model: str, filters: dict[str, str]
) -> None:
    history(workspace, 2)
    response = admin_client.get(url(model, "changelist"), filters)
    assert response.context["cl"].result_count == 2


def test_the_list_of_webhook_events_does_not_load_their_payloads(
    admin_client: Client, workspace: Workspace
) -> None:
    history(workspace, 1)
    with CaptureQueriesContext(connection) as queries:
        page(admin_client, "webhookevent", "changelist")
    assert not any('"body"' in query["sql"] for query in queries)


def test_a_delivery_s_page_displays_its_failure_and_its_request(
    admin_client: Client, workspace: Workspace
) -> None:
    history(workspace, 1)
    html = page(admin_client, "delivery", "change", Delivery.objects.get().pk)
    assert "iTop said no" in html
    assert "&lt;p&gt;Hello&lt;/p&gt;" in html
    assert "2026-01-10" in html and " UTC" in html


def test_a_part_with_an_impossible_time_can_be_displayed(admin_client: Client, workspace: Workspace) -> None:
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
def test_any_payload_can_be_displayed(body: bytes) -> None:
    for with_texts in (True, False):
        html = json_block(body, with_texts=with_texts)
        assert "<script>alert" not in html
        assert "\x00" not in html
        html.encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": "dG9rOjEyMw"',
        b"access_token=dG9rOjEyMw&id=1",
        b'{"a": ' * 3000 + b'{"client_secret": "dG9rOjEyMw"}' + b"}" * 3000,
    ],
    ids=["cut off", "not JSON", "nested too deeply"],
)
def test_a_body_that_is_not_json_is_displayed_without_secrets(body: bytes) -> None:
    assert "dG9rOjEyMw" not in pretty(body, with_texts=True)
    without_secret = body.replace(b"access_token", b"subject").replace(b"client_secret", b"subject")
    assert "dG9rOjEyMw" in pretty(without_secret, with_texts=True)


def test_a_payload_is_displayed_with_its_structure() -> None:
    assert (
        pretty(BODIES[0], with_texts=True)
        == '{\n  "topic": "x",\n  "data": {\n    "b": [\n      1,\n      2\n    ]\n  }\n}'
    )
    assert pretty(BODIES[1], with_texts=True) == '{\n  "text": "\\u0000 \\ud800 <script>alert(1)</script>"\n}'
    assert pretty(memoryview(BODIES[8]), with_texts=True) == '{\n  "é": "😀"\n}'
    assert pretty(BODIES[9], with_texts=True).endswith("more characters)")
