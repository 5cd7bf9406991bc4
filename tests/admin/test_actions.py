"""Actions on records and iTops, and who may run them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from intercom_bridge.admin import row_actions
from intercom_bridge.models import (
    CachedAnswer,
    Conversation,
    Delivery,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    TicketProfile,
    WebhookEvent,
    Workspace,
)

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 1, 10, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(row_actions, "wake", lambda topic: calls.append("woken"))
    return calls


@pytest.fixture
def itop() -> ItopInstance:
    return ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="a-token-1234")


@pytest.fixture
def conversation(itop: ItopInstance) -> Conversation:
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        itop=itop,
        profile=TicketProfile.objects.create(name="Requests"),
        client_secret="s",
    )
    return Conversation.objects.create(workspace=workspace, conversation_id="215472621202693")


def delivery(conversation: Conversation, state: str = "failed", part_id: int = 1, **more: Any) -> Delivery:
    ticket, _ = Ticket.objects.get_or_create(
        itop=conversation.workspace.itop, ticket_class="UserRequest", object_id=1, ref="R-000001"
    )
    return Delivery.objects.create(
        ticket=ticket,
        conversation=conversation,
        kind="part",
        part_id=str(part_id),
        part_created_at=part_id,
        state=state,
        **{
            "reason_code": "rejected",
            "attempts": 5,
            "solo_failures": 5,
            "part": {"body": "Hello"},
            "item": {"message": "<p>Hello</p>"},
            "idempotency_key": "a marker",
            **more,
        },
    )


def failed_row(conversation: Conversation, model: str) -> Any:
    """Create a failed row of this model."""
    if model == "delivery":
        return delivery(conversation)
    if model == "outgoingmessage":
        return OutgoingMessage.objects.create(
            conversation=conversation, admin_id="1", body="<p>x</p>", state="failed", attempts=20
        )
    return WebhookEvent.objects.create(
        workspace=conversation.workspace, notification_id="n", topic="x", body=b"{}", state="failed"
    )


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:intercom_bridge_{model}_{page}", args=args)


def act(client: Client, model: str, action: str, *keys: int, **more: str) -> Any:
    sent: dict[str, Any] = {"action": action, "_selected_action": list(keys), "index": "0", **more}
    return client.post(url(model), sent, follow=True)


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def state_of(row: Any) -> str:
    row.refresh_from_db()
    return str(getattr(row, "state", "") or row.state)


# Retry


@pytest.mark.parametrize("model", ["delivery", "outgoingmessage", "webhookevent"])
def test_a_retry_is_recorded_and_wakes_a_worker(
    admin_client: Client,
    admin_user: User,
    conversation: Conversation,
    woken: list[str],
    model: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    row = failed_row(conversation, model)
    type(row).objects.update(due_at=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        response = act(admin_client, model, "retry", row.pk)
    assert state_of(row) in ("waiting", "received")
    assert row.reason_code == ""
    assert row.due_at > NOW
    assert [
        message.startswith(f"1 {row._meta.verbose_name} will be") for message in messages_of(response)
    ] == [True]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (admin_user, str(row.pk))
    assert "Retried" in entry.get_change_message()
    assert "Retried" in admin_client.get(url(model, "history", row.pk)).content.decode()
    assert woken == ["woken"]


def test_a_retried_delivery_sends_the_same_request_as_a_repeat(
    admin_client: Client, conversation: Conversation
) -> None:
    row = delivery(conversation)
    act(admin_client, "delivery", "retry", row.pk)
    row.refresh_from_db()
    assert (row.item, row.idempotency_key) == ({"message": "<p>Hello</p>"}, "a marker")
    assert (row.attempts, row.solo_failures) == (1, 0)


def test_a_retried_outgoing_message_is_looked_for_before_it_is_posted(
    admin_client: Client, conversation: Conversation
) -> None:
    row = failed_row(conversation, "outgoingmessage")
    act(admin_client, "outgoingmessage", "retry", row.pk)
    row.refresh_from_db()
    assert row.attempts == 1, "only a repeat looks for the part of an earlier attempt"


def test_only_eligible_rows_among_the_selected_are_retried(
    admin_client: Client, conversation: Conversation
) -> None:
    first, second, written = (
        delivery(conversation, "failed", 1),
        delivery(conversation, "failed", 2),
        delivery(conversation, "written", 3),
    )
    response = act(admin_client, "delivery", "retry", first.pk, written.pk)
    assert [state_of(one) for one in (first, second, written)] == ["waiting", "failed", "written"]
    assert messages_of(response) == [
        "1 delivery will be retried.",
        "1 delivery unchanged: only failed rows whose contents are still stored can be retried.",
    ]
    assert LogEntry.objects.count() == 1


def test_a_retry_covers_all_pages_of_a_list(
    admin_client: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_actions, "BATCH_SIZE", 25)
    rows = [delivery(conversation, "failed", number) for number in range(60)]
    other = delivery(conversation, "written", 99)
    listed = admin_client.get(url("delivery"), {"state__exact": "failed"})
    assert "Select all 60 deliveries" in listed.content.decode()
    response = admin_client.post(
        f"{url('delivery')}?state__exact=failed",
        {"action": "retry", "_selected_action": [rows[0].pk], "index": "0", "select_across": "1"},
        follow=True,
    )
    assert messages_of(response) == ["60 deliveries will be retried."]
    assert set(Delivery.objects.exclude(pk=other.pk).values_list("state", flat=True)) == {"waiting"}
    assert LogEntry.objects.count() == 60


def test_a_delivery_without_contents_cannot_be_retried(
    admin_client: Client, conversation: Conversation
) -> None:
    row = delivery(conversation, cleaned_at=timezone.now())
    act(admin_client, "delivery", "retry", row.pk)
    assert state_of(row) == "failed"
    assert "Retry</button>" not in admin_client.get(url("delivery", "change", row.pk)).content.decode()


# Skip


@pytest.mark.parametrize("state", ["waiting", "failed"])
def test_a_delivery_is_skipped_with_the_admin_s_name(
    admin_client: Client, conversation: Conversation, state: str
) -> None:
    row = delivery(conversation, state)
    act(admin_client, "delivery", "skip", row.pk)
    assert (state_of(row), row.reason_code, row.reason_detail) == ("skipped", "skipped_by_admin", "admin")
    assert "Skipped" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("state", ["written", "restored", "skipped"])
def test_finished_deliveries_cannot_be_skipped(
    admin_client: Client, conversation: Conversation, state: str, woken: list[str]
) -> None:
    row = delivery(conversation, state)
    act(admin_client, "delivery", "skip", row.pk)
    assert (state_of(row), row.reason_code) == (state, "rejected")
    assert not LogEntry.objects.exists()
    assert woken == []


# On a row's own page


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("failed", ["Retry", "Skip"]),
        ("waiting", ["Skip"]),
        ("written", []),
        ("restored", []),
        ("skipped", []),
    ],
)
def test_a_delivery_s_page_offers_the_applicable_actions(
    admin_client: Client, conversation: Conversation, state: str, buttons: list[str]
) -> None:
    html = admin_client.get(url("delivery", "change", delivery(conversation, state).pk)).content.decode()
    offered = [label for label in ("Retry", "Skip") if f'<button type="submit">{label}</button>' in html]
    assert offered == buttons


@pytest.mark.parametrize("model", ["delivery", "outgoingmessage", "webhookevent"])
def test_an_action_on_a_row_s_page_returns_to_it(
    admin_client: Client, conversation: Conversation, model: str
) -> None:
    row = failed_row(conversation, model)
    html = admin_client.get(url(model, "change", row.pk)).content.decode()
    form = html.split('<ul class="object-tools">')[1].split("</form>")[0]
    assert f'action="{url(model)}"' in form
    names = ("_selected_action", "action", "index", "_row")
    sent = {name: form.split(f'name="{name}" value="')[1].split('"')[0] for name in names}
    response = admin_client.post(url(model), sent, follow=True)
    assert response.redirect_chain == [(url(model, "change", row.pk), 302)]
    assert state_of(row) in ("waiting", "received")


def test_actions_are_protected_against_cross_site_requests(
    conversation: Conversation, admin_user: User
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    row = delivery(conversation)
    sent = {"action": "retry", "_selected_action": row.pk, "index": "0"}
    assert client.post(url("delivery"), sent).status_code == 403
    assert state_of(row) == "failed"


# Permissions


@pytest.fixture
def viewer(client: Client) -> Client:
    """Log in a user who may view everything and change nothing."""
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("model", ["delivery", "outgoingmessage", "webhookevent"])
def test_viewers_cannot_retry(viewer: Client, conversation: Conversation, model: str) -> None:
    row = failed_row(conversation, model)
    act(viewer, model, "retry", row.pk)
    assert state_of(row) == "failed"
    html = viewer.get(url(model, "change", row.pk)).content.decode()
    assert "Retry</button>" not in html
    assert 'value="retry"' not in viewer.get(url(model)).content.decode()


def test_the_permission_to_change_allows_a_retry_but_no_editing(
    viewer: Client, conversation: Conversation
) -> None:
    user = User.objects.get(username="viewer")
    user.user_permissions.add(Permission.objects.get(codename="change_delivery"))
    row = delivery(conversation)
    assert viewer.post(url("delivery", "change", row.pk), {"state": "written"}).status_code == 403
    act(viewer, "delivery", "retry", row.pk)
    assert state_of(row) == "waiting"
    other = failed_row(conversation, "outgoingmessage")
    act(viewer, "outgoingmessage", "retry", other.pk)
    assert state_of(other) == "failed"


# Deleted contents


def test_the_page_of_a_record_without_contents_says_so(
    admin_client: Client, conversation: Conversation
) -> None:
    cleaned: dict[str, Any] = {"cleaned_at": NOW}
    rows: list[Any] = [
        delivery(conversation, "written", item=None, part={}, **cleaned),
        OutgoingMessage.objects.create(
            conversation=conversation, admin_id="1", body="", state="posted", **cleaned
        ),
        WebhookEvent.objects.create(
            workspace=conversation.workspace,
            notification_id="n",
            topic="x",
            body=b"",
            state="handled",
            **cleaned,
        ),
        TicketCreation.objects.create(
            conversation=conversation,
            form_key="k",
            state="created",
            ticket_class="UserRequest",
            caller_id=1,
            idempotency_key="m",
            **cleaned,
        ),
    ]
    for row in rows:
        html = admin_client.get(url(row._meta.model_name, "change", row.pk)).content.decode()
        assert "Deleted on 2026-01-10" in html
        type(row).objects.update(cleaned_at=None)
        html = admin_client.get(url(row._meta.model_name, "change", row.pk)).content.decode()
        assert "Deleted on" not in html


def test_a_restored_delivery_displays_its_reason(admin_client: Client, conversation: Conversation) -> None:
    row = delivery(conversation, "restored", reason_code="overwritten", reason_detail="Boss", erased_times=1)
    for html in (
        admin_client.get(url("delivery")).content.decode(),
        admin_client.get(url("delivery", "change", row.pk)).content.decode(),
    ):
        assert "written again" in html
        assert "(Boss)" in html


# The status of an iTop


def paused(itop: ItopInstance, **more: Any) -> ItopInstance:
    facts = {
        "paused_since": NOW,
        "paused_until": NOW + dt.timedelta(minutes=10),
        "pause_code": "itop_unavailable",
        "pause_detail": "HTTP 503 from iTop",
        "failures_in_a_row": 7,
    }
    ItopInstance.objects.filter(pk=itop.pk).update(**(facts | more))
    itop.refresh_from_db()
    return itop


def status_of(client: Client, itop: ItopInstance) -> str:
    listed = client.get(url("itopinstance")).content.decode()
    shown = listed.split('class="field-status">')[1].split("</td>")[0]
    assert shown in client.get(url("itopinstance", "change", itop.pk)).content.decode()
    return shown


def test_an_itop_s_status_is_in_the_list_and_on_its_page(admin_client: Client, itop: ItopInstance) -> None:
    assert status_of(admin_client, itop) == "Nothing written yet"
    ItopInstance.objects.update(last_success_at=NOW)
    assert status_of(admin_client, itop) == "OK"
    paused(itop)
    with time_machine.travel(NOW + dt.timedelta(minutes=1), tick=False):
        admin_client.force_login(User.objects.get())
        assert status_of(admin_client, itop) == (
            "Paused since 2026-01-10 12:00:00 UTC, until 2026-01-10 12:10:00 UTC, after 7 failures: "
            "iTop is not working correctly. (HTTP 503 from iTop)"
        )
    paused(itop, failures_in_a_row=1)
    with time_machine.travel(NOW + dt.timedelta(minutes=11), tick=False):
        admin_client.force_login(User.objects.get())
        assert status_of(admin_client, itop) == (
            "Paused since 2026-01-10 12:00:00 UTC, after 1 failure: iTop is not working correctly. (HTTP 503 from iTop)"
        )


def test_retry_now_allows_one_write(
    admin_client: Client,
    itop: ItopInstance,
    woken: list[str],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    paused(itop, paused_until=timezone.now() + dt.timedelta(minutes=10))
    assert "Retry now</button>" in admin_client.get(url("itopinstance", "change", itop.pk)).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        act(admin_client, "itopinstance", "retry_now", itop.pk)
    itop.refresh_from_db()
    assert itop.paused_until is not None
    assert itop.paused_until <= timezone.now()
    assert itop.failures_in_a_row == 7
    assert woken == ["woken"]
    assert "Pause ended" in LogEntry.objects.get().get_change_message()


def test_retry_now_makes_postponed_messages_due(admin_client: Client, conversation: Conversation) -> None:
    now = timezone.now()
    later = now + dt.timedelta(minutes=9)
    itop = paused(conversation.workspace.itop, paused_until=later)
    put_off = delivery(
        conversation, "waiting", 1, due_at=later, last_failed_at=now - dt.timedelta(seconds=60)
    )
    may_be_running = delivery(conversation, "waiting", 2, due_at=later, last_failed_at=now)
    act(admin_client, "itopinstance", "retry_now", itop.pk)
    assert Delivery.objects.due().get() == put_off
    may_be_running.refresh_from_db()
    assert may_be_running.due_at == later


def test_only_a_paused_itop_can_be_retried(admin_client: Client, itop: ItopInstance) -> None:
    assert (
        "Retry now</button>" not in admin_client.get(url("itopinstance", "change", itop.pk)).content.decode()
    )
    act(admin_client, "itopinstance", "retry_now", itop.pk)
    assert not LogEntry.objects.exists()


def test_viewers_cannot_end_a_pause(viewer: Client, itop: ItopInstance) -> None:
    paused(itop)
    act(viewer, "itopinstance", "retry_now", itop.pk)
    itop.refresh_from_db()
    assert itop.paused_until == NOW + dt.timedelta(minutes=10)


def test_detected_capabilities_are_displayed(admin_client: Client, itop: ItopInstance) -> None:
    def html_of_page() -> str:
        return admin_client.get(url("itopinstance", "change", itop.pk)).content.decode()

    assert html_of_page().count("unknown") == 3
    ItopInstance.objects.update(
        is_administrator=True, tracked_logs={"UserRequest.public_log": True, "UserRequest.private_log": False}
    )
    html = html_of_page()
    assert "UserRequest.public_log: on" in html
    assert "UserRequest.private_log: off" in html
    assert html.count("unknown") == 1  # no workspace uses this iTop yet


# Another address or account


@pytest.fixture
def known(itop: ItopInstance) -> ItopInstance:
    paused(itop, is_administrator=False, tracked_logs={"UserRequest.public_log": True}, last_success_at=NOW)
    CachedAnswer.objects.store(itop, "account of alice@acme.example", 7)
    return itop


def save(client: Client, itop: ItopInstance, **typed: str) -> None:
    as_it_is = {"name": itop.name, "url": itop.url, "time_zone": itop.time_zone, "user": itop.user}
    response = client.post(url("itopinstance", "change", itop.pk), as_it_is | {"portal_url": ""} | typed)
    assert response.status_code == 302, response.content.decode()
    itop.refresh_from_db()


@pytest.mark.parametrize(
    "typed",
    [{"url": "https://other.example.com/itop"}, {"token": "another-token-5678"}, {"user": "somebody"}],
)
def test_another_address_or_account_resets_what_was_detected(
    admin_client: Client, known: ItopInstance, typed: dict[str, str]
) -> None:
    profile = TicketProfile.objects.create(name="Requests")
    Workspace.objects.create(
        itop=known, profile=profile, workspace_id="abcd1234", has_extension_attributes=True
    )
    save(admin_client, known, **typed)
    assert (known.is_administrator, known.tracked_logs) == (None, {})
    assert Workspace.objects.get().has_extension_attributes is None
    assert (known.paused_until, known.paused_since, known.pause_code) == (None, None, "")
    assert known.failures_in_a_row == 0
    assert not CachedAnswer.objects.exists()
    for name, value in typed.items():
        stored = getattr(known, name)
        assert (stored.reveal() if name == "token" else stored) == value


@pytest.mark.parametrize(
    "typed",
    [
        {"name": "Renamed"},
        {"time_zone": "Europe/Paris"},
        {"url": "https://itop.example.com/itop/pages/UI.php"},
        {},
    ],
)
def test_the_same_address_and_account_reset_nothing(
    admin_client: Client, known: ItopInstance, typed: dict[str, str]
) -> None:
    save(admin_client, known, **typed)
    assert known.is_administrator is False
    assert known.failures_in_a_row == 7
    assert known.paused_until
    assert CachedAnswer.objects.exists()
    assert known.name == typed.get("name", "Ours")


def test_saving_an_itop_keeps_what_a_worker_noted(
    admin_client: Client, itop: ItopInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = ItopInstance.clean

    def clean_and_pause(row: ItopInstance) -> None:
        clean(row)
        paused(ItopInstance.objects.get(pk=row.pk))

    monkeypatch.setattr(ItopInstance, "clean", clean_and_pause)
    save(admin_client, itop, name="Renamed")
    assert (itop.name, itop.failures_in_a_row) == ("Renamed", 7)


def test_records_cannot_be_deleted_from_their_lists() -> None:
    from django.contrib import admin

    for model in ("delivery", "outgoingmessage", "webhookevent"):
        site_admin = admin.site._registry[apps.get_model("intercom_bridge", model)]
        assert "delete_selected" not in (site_admin.actions or ())


def test_an_unfinished_ticket_creation_is_retried_immediately(
    admin_client: Client, conversation: Conversation
) -> None:
    later = timezone.now() + dt.timedelta(minutes=9)
    creation = TicketCreation.objects.create(
        conversation=conversation,
        form_key="k",
        ticket_class="UserRequest",
        caller_id=1,
        idempotency_key="m",
        due_at=later,
    )
    response = act(admin_client, "ticketcreation", "retry", creation.pk)
    assert [message.startswith("1 ticket creation will be") for message in messages_of(response)] == [True]
    assert LogEntry.objects.count() == 1
    creation.refresh_from_db()
    assert creation.due_at <= later
