"""What an admin does about what stands still, and who may."""

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
    Conversation,
    Delivery,
    ItopAnswer,
    ItopInstance,
    Notification,
    Posting,
    Submission,
    Ticket,
    TicketProfile,
    Workspace,
)

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 1, 10, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(row_actions, "wake_for_everything", lambda: calls.append("woken"))
    return calls


@pytest.fixture
def itop() -> ItopInstance:  # type: ignore[override]
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
            "reason": "iTop said no",
            "attempts": 5,
            "strikes": 5,
            "part": {"body": "Hello"},
            "item": {"message": "<p>Hello</p>"},
            "marker": "a marker",
            **more,
        },
    )


def stuck(conversation: Conversation, model: str) -> Any:
    """A failed row of this model."""
    if model == "delivery":
        return delivery(conversation)
    if model == "posting":
        return Posting.objects.create(
            conversation=conversation, admin_id="1", body="<p>x</p>", state="failed", attempts=20
        )
    return Notification.objects.create(
        workspace=conversation.workspace, notification_id="n", topic="x", body=b"{}", verdict="failed"
    )


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:intercom_bridge_{model}_{page}", args=args)


def act(client: Client, model: str, action: str, *keys: int, **more: str) -> Any:
    sent: dict[str, Any] = {"action": action, "_selected_action": list(keys), "index": "0", **more}
    return client.post(url(model), sent, follow=True)


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def state_of(row: Any) -> str:
    row.refresh_from_db()
    return str(getattr(row, "state", "") or row.verdict)


# Try again


@pytest.mark.parametrize("model", ["delivery", "posting", "notification"])
def test_what_failed_is_put_back_and_recorded_and_a_worker_is_woken(
    admin_client: Client,
    admin_user: User,
    conversation: Conversation,
    woken: list[str],
    model: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    row = stuck(conversation, model)
    type(row).objects.update(due_at=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        response = act(admin_client, model, "try_again", row.pk)
    assert state_of(row) in ("waiting", "received")
    assert row.reason == ""
    assert row.due_at > NOW
    assert [message.startswith(f"1 {row._meta.verbose_name} will be") for message in said(response)] == [True]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (admin_user, str(row.pk))
    assert "Put back" in entry.get_change_message()
    assert "Put back" in admin_client.get(url(model, "history", row.pk)).content.decode()
    assert woken == ["woken"]


def test_a_delivery_that_is_put_back_is_the_same_request_and_is_known_as_a_repeat(
    admin_client: Client, conversation: Conversation
) -> None:
    row = delivery(conversation)
    act(admin_client, "delivery", "try_again", row.pk)
    row.refresh_from_db()
    assert (row.item, row.marker) == ({"message": "<p>Hello</p>"}, "a marker")
    assert (row.attempts, row.strikes) == (1, 0)


def test_a_post_that_is_put_back_is_looked_for_before_it_is_made(
    admin_client: Client, conversation: Conversation
) -> None:
    row = stuck(conversation, "posting")
    act(admin_client, "posting", "try_again", row.pk)
    row.refresh_from_db()
    assert row.attempts == 1, "the next try is not the first: poster.py looks for an earlier one's part"


def test_some_are_put_back_and_the_others_stay_as_they_are(
    admin_client: Client, conversation: Conversation
) -> None:
    first, second, written = (
        delivery(conversation, "failed", 1),
        delivery(conversation, "failed", 2),
        delivery(conversation, "written", 3),
    )
    response = act(admin_client, "delivery", "try_again", first.pk, written.pk)
    assert [state_of(one) for one in (first, second, written)] == ["waiting", "failed", "written"]
    assert said(response) == [
        "1 delivery will be tried again.",
        "1 delivery left as before: only what failed, and is still kept, can be tried again.",
    ]
    assert LogEntry.objects.count() == 1


def test_all_that_failed_are_put_back_over_all_pages(
    admin_client: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_actions, "STEP", 25)
    rows = [delivery(conversation, "failed", number) for number in range(60)]
    other = delivery(conversation, "written", 99)
    listed = admin_client.get(url("delivery"), {"state__exact": "failed"})
    assert "Select all 60 deliveries" in listed.content.decode()
    response = admin_client.post(
        f"{url('delivery')}?state__exact=failed",
        {"action": "try_again", "_selected_action": [rows[0].pk], "index": "0", "select_across": "1"},
        follow=True,
    )
    assert said(response) == ["60 deliveries will be tried again."]
    assert set(Delivery.objects.exclude(pk=other.pk).values_list("state", flat=True)) == {"waiting"}
    assert LogEntry.objects.count() == 60


def test_one_whose_payload_is_no_longer_kept_cannot_be_tried_again(
    admin_client: Client, conversation: Conversation
) -> None:
    row = delivery(conversation, cleaned_at=timezone.now())
    act(admin_client, "delivery", "try_again", row.pk)
    assert state_of(row) == "failed"
    assert "Try again</button>" not in admin_client.get(url("delivery", "change", row.pk)).content.decode()


# Skip


@pytest.mark.parametrize("state", ["waiting", "failed"])
def test_what_is_not_written_yet_can_be_skipped_with_the_name_of_who_did(
    admin_client: Client, conversation: Conversation, state: str
) -> None:
    row = delivery(conversation, state)
    act(admin_client, "delivery", "skip", row.pk)
    assert (state_of(row), row.reason) == ("skipped", "skipped by admin")
    assert "Skipped" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("state", ["written", "restored", "skipped"])
def test_what_is_done_cannot_be_skipped(
    admin_client: Client, conversation: Conversation, state: str, woken: list[str]
) -> None:
    row = delivery(conversation, state)
    act(admin_client, "delivery", "skip", row.pk)
    assert (state_of(row), row.reason) == (state, "iTop said no")
    assert not LogEntry.objects.exists()
    assert woken == []


# On the row's own page


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("failed", ["Try again", "Skip"]),
        ("waiting", ["Skip"]),
        ("written", []),
        ("restored", []),
        ("skipped", []),
    ],
)
def test_a_delivery_s_page_offers_what_helps(
    admin_client: Client, conversation: Conversation, state: str, buttons: list[str]
) -> None:
    html = admin_client.get(url("delivery", "change", delivery(conversation, state).pk)).content.decode()
    offered = [label for label in ("Try again", "Skip") if f'<button type="submit">{label}</button>' in html]
    assert offered == buttons


@pytest.mark.parametrize("model", ["delivery", "posting", "notification"])
def test_its_button_leads_back_to_its_page(
    admin_client: Client, conversation: Conversation, model: str
) -> None:
    row = stuck(conversation, model)
    html = admin_client.get(url(model, "change", row.pk)).content.decode()
    form = html.split('<ul class="object-tools">')[1].split("</form>")[0]
    assert f'action="{url(model)}"' in form
    names = ("_selected_action", "action", "index", "_row")
    sent = {name: form.split(f'name="{name}" value="')[1].split('"')[0] for name in names}
    response = admin_client.post(url(model), sent, follow=True)
    assert response.redirect_chain == [(url(model, "change", row.pk), 302)]
    assert state_of(row) in ("waiting", "received")


def test_a_click_from_another_site_does_nothing(conversation: Conversation, admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    row = delivery(conversation)
    sent = {"action": "try_again", "_selected_action": row.pk, "index": "0"}
    assert client.post(url("delivery"), sent).status_code == 403
    assert state_of(row) == "failed"


# Who may


@pytest.fixture
def clerk(client: Client) -> Client:
    """May look at everything, and change nothing."""
    user = User.objects.create_user("clerk", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("model", ["delivery", "posting", "notification"])
def test_who_may_only_look_can_try_nothing_again(
    clerk: Client, conversation: Conversation, model: str
) -> None:
    row = stuck(conversation, model)
    act(clerk, model, "try_again", row.pk)
    assert state_of(row) == "failed"
    html = clerk.get(url(model, "change", row.pk)).content.decode()
    assert "Try again</button>" not in html
    assert "try_again" not in clerk.get(url(model)).content.decode()


def test_who_may_change_deliveries_can_try_them_again_and_still_not_edit_them(
    clerk: Client, conversation: Conversation
) -> None:
    user = User.objects.get(username="clerk")
    user.user_permissions.add(Permission.objects.get(codename="change_delivery"))
    row = delivery(conversation)
    assert clerk.post(url("delivery", "change", row.pk), {"state": "written"}).status_code == 403
    act(clerk, "delivery", "try_again", row.pk)
    assert state_of(row) == "waiting"
    other = stuck(conversation, "posting")
    act(clerk, "posting", "try_again", other.pk)
    assert state_of(other) == "failed"


# No longer kept


def test_where_a_payload_was_cleaned_the_page_says_so(
    admin_client: Client, conversation: Conversation
) -> None:
    cleaned = {"cleaned_at": NOW}
    rows: list[Any] = [
        delivery(conversation, "written", item=None, part={}, **cleaned),
        Posting.objects.create(conversation=conversation, admin_id="1", body="", state="posted", **cleaned),
        Notification.objects.create(
            workspace=conversation.workspace,
            notification_id="n",
            topic="x",
            body=b"",
            verdict="handled",
            **cleaned,
        ),
        Submission.objects.create(
            conversation=conversation,
            form_key="k",
            state="created",
            ticket_class="UserRequest",
            caller_id=1,
            marker="m",
            **cleaned,
        ),
    ]
    for row in rows:
        html = admin_client.get(url(row._meta.model_name, "change", row.pk)).content.decode()
        assert "No longer kept: it was removed on 2026-01-10" in html
        type(row).objects.update(cleaned_at=None)
        html = admin_client.get(url(row._meta.model_name, "change", row.pk)).content.decode()
        assert "No longer kept" not in html


def test_one_that_was_written_again_says_so_and_why(admin_client: Client, conversation: Conversation) -> None:
    row = delivery(conversation, "restored", reason="erased from the log by a save of Boss", erased_times=1)
    for html in (
        admin_client.get(url("delivery")).content.decode(),
        admin_client.get(url("delivery", "change", row.pk)).content.decode(),
    ):
        assert "written again" in html
        assert "erased from the log by a save of Boss" in html


# How an iTop stands


def paused(itop: ItopInstance, **more: Any) -> ItopInstance:
    facts = {
        "paused_since": NOW,
        "paused_until": NOW + dt.timedelta(minutes=10),
        "pause_reason": "HTTP 503 from iTop",
        "failures_in_a_row": 7,
    }
    ItopInstance.objects.filter(pk=itop.pk).update(**(facts | more))
    itop.refresh_from_db()
    return itop


def standing(client: Client, itop: ItopInstance) -> str:
    listed = client.get(url("itopinstance")).content.decode()
    shown = listed.split('class="field-standing">')[1].split("</td>")[0]
    assert shown in client.get(url("itopinstance", "change", itop.pk)).content.decode()
    return shown


def test_an_itop_says_how_it_stands_in_the_list_and_on_its_page(
    admin_client: Client, itop: ItopInstance
) -> None:
    assert standing(admin_client, itop) == "nothing written yet"
    ItopInstance.objects.update(last_success_at=NOW)
    assert standing(admin_client, itop) == "working"
    paused(itop)
    with time_machine.travel(NOW + dt.timedelta(minutes=1), tick=False):
        admin_client.force_login(User.objects.get())
        assert standing(admin_client, itop) == (
            "paused since 2026-01-10 12:00:00, until 2026-01-10 12:10:00, after 7 failures in a row: "
            "HTTP 503 from iTop"
        )
    paused(itop, failures_in_a_row=1)
    with time_machine.travel(NOW + dt.timedelta(minutes=11), tick=False):
        admin_client.force_login(User.objects.get())
        assert standing(admin_client, itop) == (
            "paused since 2026-01-10 12:00:00, after 1 failure in a row: HTTP 503 from iTop"
        )


def test_try_now_lets_one_write_out_as_a_probe(
    admin_client: Client,
    itop: ItopInstance,
    woken: list[str],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    paused(itop, paused_until=timezone.now() + dt.timedelta(minutes=10))
    assert "Try now</button>" in admin_client.get(url("itopinstance", "change", itop.pk)).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        act(admin_client, "itopinstance", "try_now", itop.pk)
    itop.refresh_from_db()
    assert itop.paused_until is not None
    assert itop.paused_until <= timezone.now()
    assert itop.failures_in_a_row == 7
    assert woken == ["woken"]
    assert "Ended its pause" in LogEntry.objects.get().get_change_message()


def test_try_now_does_not_wait_for_the_next_try_of_a_message(
    admin_client: Client, conversation: Conversation
) -> None:
    now = timezone.now()
    later = now + dt.timedelta(minutes=9)
    itop = paused(conversation.workspace.itop, paused_until=later)
    put_off = delivery(
        conversation, "waiting", 1, due_at=later, last_failed_at=now - dt.timedelta(seconds=60)
    )
    may_be_running = delivery(conversation, "waiting", 2, due_at=later, last_failed_at=now)
    act(admin_client, "itopinstance", "try_now", itop.pk)
    assert Delivery.objects.due().get() == put_off
    may_be_running.refresh_from_db()
    assert may_be_running.due_at == later


def test_an_itop_that_is_not_paused_has_nothing_to_be_tried(admin_client: Client, itop: ItopInstance) -> None:
    assert "Try now</button>" not in admin_client.get(url("itopinstance", "change", itop.pk)).content.decode()
    act(admin_client, "itopinstance", "try_now", itop.pk)
    assert not LogEntry.objects.exists()


def test_who_may_only_look_ends_no_pause(clerk: Client, itop: ItopInstance) -> None:
    paused(itop)
    act(clerk, "itopinstance", "try_now", itop.pk)
    itop.refresh_from_db()
    assert itop.paused_until == NOW + dt.timedelta(minutes=10)


def test_what_was_learned_of_an_itop_is_shown(admin_client: Client, itop: ItopInstance) -> None:
    def shown() -> str:
        return admin_client.get(url("itopinstance", "change", itop.pk)).content.decode()

    assert shown().count("not known yet") == 3
    ItopInstance.objects.update(
        is_administrator=True,
        has_intercom_attributes=False,
        tracked_logs={"UserRequest.public_log": True, "UserRequest.private_log": False},
    )
    html = shown()
    assert "UserRequest.public_log: yes" in html
    assert "UserRequest.private_log: no: before a repeat the log itself is read" in html
    assert "not known yet" not in html


# Another address or account is another iTop


@pytest.fixture
def known(itop: ItopInstance) -> ItopInstance:
    paused(
        itop,
        is_administrator=False,
        has_intercom_attributes=True,
        tracked_logs={"UserRequest.public_log": True},
        last_success_at=NOW,
    )
    ItopAnswer.objects.keep(itop, "account of alice@acme.example", 7)
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
def test_with_another_address_or_account_what_was_learned_is_forgotten_and_the_pause_ends(
    admin_client: Client, known: ItopInstance, typed: dict[str, str]
) -> None:
    save(admin_client, known, **typed)
    assert (known.is_administrator, known.has_intercom_attributes, known.tracked_logs) == (None, None, {})
    assert (known.paused_until, known.paused_since, known.pause_reason) == (None, None, "")
    assert known.failures_in_a_row == 0
    assert not ItopAnswer.objects.exists()
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
def test_with_the_same_address_and_account_nothing_is_forgotten(
    admin_client: Client, known: ItopInstance, typed: dict[str, str]
) -> None:
    save(admin_client, known, **typed)
    assert (known.is_administrator, known.has_intercom_attributes) == (False, True)
    assert known.failures_in_a_row == 7
    assert known.paused_until
    assert ItopAnswer.objects.exists()
    assert known.name == typed.get("name", "Ours")


def test_saving_does_not_undo_what_a_worker_noted_meanwhile(
    admin_client: Client, itop: ItopInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = ItopInstance.clean

    def meanwhile(row: ItopInstance) -> None:
        clean(row)
        paused(ItopInstance.objects.get(pk=row.pk))

    monkeypatch.setattr(ItopInstance, "clean", meanwhile)
    save(admin_client, itop, name="Renamed")
    assert (itop.name, itop.failures_in_a_row) == ("Renamed", 7)


# Names


def test_itop_is_written_as_itop_is(admin_client: Client, conversation: Conversation) -> None:
    row = conversation.workspace
    pages = [
        reverse("admin:index"),
        url("itopinstance"),
        url("itopinstance", "change", row.itop.pk),
        url("workspace"),
        url("workspace", "change", row.pk),
    ]
    for page in pages:
        html = admin_client.get(page).content.decode()
        assert "ITop" not in html, page
        assert "iTop" in html


def test_every_table_of_what_happened_is_for_reading_only() -> None:
    from django.contrib import admin

    for model in ("delivery", "posting", "notification"):
        site_admin = admin.site._registry[apps.get_model("intercom_bridge", model)]
        assert "delete_selected" not in (site_admin.actions or ())
