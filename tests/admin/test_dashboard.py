"""The dashboard: its numbers, who may see them, and that it contains no texts."""

from __future__ import annotations

import datetime as dt
import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from intercom_bridge.admin import activity
from intercom_bridge.admin.activity import Selection
from intercom_bridge.admin.dashboard import format_duration
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketProfile,
    WebhookEvent,
    WorkerHeartbeat,
    Workspace,
)
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.worker.queues import clean_up

pytestmark = pytest.mark.django_db

PAGE = "/admin/intercom_bridge/dashboard/"
NOW = dt.datetime(2026, 3, 10, 12, 0, tzinfo=dt.UTC)
CANARY = "text-that-must-not-be-displayed"


@pytest.fixture(autouse=True)
def clock(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace("Support", "abcd1234")


def make_workspace(name: str, workspace_id: str) -> Workspace:
    return Workspace.objects.create(
        workspace_id=workspace_id,
        name=name,
        itop=ItopInstance.objects.create(name=f"iTop of {name}", url="https://itop.example.com", token="t"),
        profile=TicketProfile.objects.create(name=f"Profile of {name}"),
    )


def deliver(workspace: Workspace, state: str = "written", *, days: float = 0, **more: Any) -> Delivery:
    """Create a message that arrived `days` ago and was in the log `seconds` after it was sent."""
    at = NOW - dt.timedelta(days=days)
    seconds, has_event = more.pop("seconds", 2), more.pop("has_event", True)
    number = Delivery.objects.count() + 1
    conversation = Conversation.objects.find_or_create(workspace, "215472621202693")
    ticket, _ = Ticket.objects.get_or_create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=1, defaults={"ref": "R-000001"}
    )
    notification = WebhookEvent.objects.create(
        workspace=workspace,
        notification_id=f"n{number}",
        topic="conversation.user.replied",
        body=CANARY.encode(),
        state="handled",
    )
    values = {"queued_at": at, "reason_code": "", "author": CANARY, "item": {"message": CANARY}} | more
    if state in ("written", "restored"):
        values |= {"written_at": at + dt.timedelta(seconds=seconds)}
    row = Delivery.objects.create(
        ticket=ticket,
        conversation=conversation,
        webhook_event=notification if has_event else None,
        kind="part",
        part_id=str(number),
        part_created_at=int(at.timestamp()),
        state=state,
        **values,
    )
    Delivery.objects.filter(pk=row.pk).update(created_at=at)
    return row


def text_of(client: Client, address: str = PAGE) -> str:
    page = client.get(address).content.decode()
    page = page[page.index('id="content-main"') :]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# Numbers


def test_older_days_are_counted_every_night(
    workspace: Workspace, admin_client: Client, time_machine: Any
) -> None:
    other = make_workspace("Other", "other123")
    for days in (0, 2, 3, 29, 30):
        deliver(workspace, days=days)
    deliver(other, "failed", days=3)
    live = activity.count_days(Selection())
    clean_up()
    assert [day.counts for day in activity.count_days(Selection())] == [day.counts for day in live]
    for selection in (Selection(workspace=other.pk), Selection(itop=other.itop_id)):
        assert [day.counts for day in activity.count_days(selection) if day.counts] == [{"failed": 1}]
    page = admin_client.get(PAGE).content.decode()
    assert "Older days were counted on 2026-03-10 12:00" in page

    # The newest days are current, older ones as of the last count, unless the count is outdated.
    for days in (2, 3):
        deliver(workspace, days=days)
    totals = [day.total for day in activity.count_days(Selection())]
    assert totals[-3] == 2 and totals[-4] == 2
    time_machine.move_to(NOW + dt.timedelta(hours=37), tick=False)
    assert [day.total for day in activity.count_days(Selection())][-6] == 3
    assert "were counted on" not in admin_client.get(PAGE).content.decode()


def test_messages_are_counted_by_day_and_state(workspace: Workspace) -> None:
    for state, days in (
        ("written", 0),
        ("written", 0),
        ("failed", 0),
        ("skipped", 1),
        ("written", 29),
        ("written", 31),
    ):
        deliver(workspace, state, days=days)
    found = activity.count_days(Selection())
    assert len(found) == 30
    assert found[-1].date == NOW.date()
    assert found[-1].counts == {"written": 2, "failed": 1}
    assert found[-2].counts == {"skipped": 1}
    assert found[0].counts == {"written": 1}
    assert sum(day.total for day in found) == 5


def test_a_day_begins_and_ends_at_midnight_in_utc(workspace: Workspace) -> None:
    deliver(workspace, days=0.5)
    deliver(workspace, days=0.5 + 1 / 86_400)
    assert [day.total for day in activity.count_days(Selection())[-2:]] == [1, 1]


def test_median_and_95th_percentile_of_a_day(workspace: Workspace) -> None:
    for seconds in range(1, 21):
        deliver(workspace, seconds=seconds)
    today = activity.count_days(Selection())[-1]
    assert today.median == pytest.approx(10.5)
    assert today.p95 == pytest.approx(19.05)


@pytest.mark.parametrize(
    "more",
    [{"has_event": False}, {"queued_at": NOW + dt.timedelta(hours=2)}, {"state": "restored"}],
    ids=["copied", "retried", "restored"],
)
def test_copied_retried_and_restored_messages_are_not_measured(
    workspace: Workspace, more: dict[str, Any]
) -> None:
    deliver(workspace, seconds=3)
    deliver(workspace, **({"seconds": 500_000} | more))
    assert activity.count_days(Selection())[-1].p95 == 3


def test_a_clock_behind_intercom_s_yields_no_negative_duration(workspace: Workspace) -> None:
    deliver(workspace, seconds=-1)
    assert activity.count_days(Selection())[-1].median == 0


def test_only_the_newest_messages_of_a_day_are_measured(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "SAMPLE_SIZE", 2)
    for days, seconds in ((0.3, 900), (0.2, 4), (0.1, 4)):
        deliver(workspace, days=days, seconds=seconds)
    assert activity.count_days(Selection())[-1].p95 == 4


def test_the_backlog_has_the_oldest_time(workspace: Workspace) -> None:
    deliver(workspace, "waiting", queued_at=NOW - dt.timedelta(hours=3))
    deliver(workspace, "waiting")
    messages = activity.count_backlog(Selection())[0]
    assert (messages.count, messages.since) == (2, NOW - dt.timedelta(hours=3))


def test_failures_are_counted_by_reason(workspace: Workspace) -> None:
    for code in ("ticket_not_found", "ticket_not_found", "rejected", "internal_error"):
        deliver(workspace, "failed", reason_code=code, reason_detail=CANARY)
    found = {one.label: one.count for one in activity.count_failures(Selection())}
    assert found == {
        ReasonCode.TICKET_NOT_FOUND.label: 2,
        ReasonCode.REJECTED.label: 1,
        ReasonCode.INTERNAL_ERROR.label: 1,
    }


def test_numbers_can_be_limited_to_a_workspace_or_an_itop(workspace: Workspace, admin_client: Client) -> None:
    other = make_workspace("Sales", "efgh5678")
    deliver(workspace, "failed", reason_code="log_full")
    deliver(other, "waiting")
    for selection in (Selection(workspace=workspace.pk), Selection(itop=workspace.itop.pk)):
        assert activity.count_days(selection)[-1].counts == {"failed": 1}
        assert activity.count_backlog(selection)[0].count == 0
        assert [one.count for one in activity.count_failures(selection)] == [1]
    assert [(one.row.name, one.waiting, one.failed) for one in activity.workspace_load()] == [
        ("Sales", 1, 0),
        ("Support", 0, 1),
    ]
    assert [(one.row.name, one.waiting, one.failed) for one in activity.itop_load()] == [
        ("iTop of Sales", 1, 0),
        ("iTop of Support", 0, 1),
    ]
    assert f"Only {other}" in text_of(admin_client, f"{PAGE}?workspace={other.pk}")


@pytest.mark.parametrize("given", ["x", "-1", "999999", "9" * 30, "²"])
def test_an_unknown_workspace_selects_everything(
    workspace: Workspace, admin_client: Client, given: str
) -> None:
    assert "All workspaces and iTops" in text_of(admin_client, f"{PAGE}?workspace={given}")


def test_numbers_link_to_the_lists_of_their_rows(workspace: Workspace, admin_client: Client) -> None:
    other = make_workspace("Sales", "efgh5678")
    for one in (workspace, other):
        deliver(one, "failed", reason_code="log_full")
        deliver(one, "waiting")
    for address, rows in ((PAGE, 2), (f"{PAGE}?workspace={workspace.pk}", 1)):
        page = admin_client.get(address)
        links = [url for _, url in (*page.context["backlog"], *page.context["failures"]) if url]
        assert len(links) == 2
        for link in links:
            assert admin_client.get(link).context["cl"].result_count == rows


def test_failures_without_contents_are_not_counted(workspace: Workspace, admin_client: Client) -> None:
    conversation = deliver(workspace).conversation
    for number, cleaned_at in enumerate((None, NOW, NOW)):
        OutgoingMessage.objects.create(
            conversation=conversation, admin_id="1", body="x", state="failed", cleaned_at=cleaned_at
        )
        WebhookEvent.objects.create(
            workspace=workspace,
            notification_id=f"broke{number}",
            topic="t",
            body=b"",
            state="failed",
            cleaned_at=cleaned_at,
        )
    for address in (PAGE, f"{PAGE}?workspace={workspace.pk}"):
        failures = admin_client.get(address).context["failures"]
        assert [failure.count for failure, _ in failures] == [1, 1]
        for _, link in failures:
            assert admin_client.get(link).context["cl"].result_count == 1
    OutgoingMessage.objects.update(cleaned_at=NOW)
    WebhookEvent.objects.update(cleaned_at=NOW)
    assert "No failures need attention." in text_of(admin_client)


def test_a_paused_itop_and_a_missing_worker_are_reported(workspace: Workspace, admin_client: Client) -> None:
    ItopInstance.objects.update(paused_since=NOW - dt.timedelta(hours=2), paused_until=NOW)
    text = text_of(admin_client)
    assert "writing paused for 2 hours" in text.replace("\xa0", " ")
    assert "No worker is running" in text
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    assert "No worker is running" not in text_of(admin_client)


# Permissions and contents


def test_the_dashboard_requires_the_permission_to_view_deliveries(
    workspace: Workspace, client: Client
) -> None:
    assert client.get(PAGE).status_code == 302
    user = User.objects.create_user("lead", is_staff=True)
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    assert "Dashboard" not in client.get("/admin/").content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    assert client.get(PAGE).status_code == 200
    assert "/admin/intercom_bridge/dashboard/" in client.get("/admin/").content.decode()


def test_links_require_the_permission_to_view_the_rows(workspace: Workspace, client: Client) -> None:
    OutgoingMessage.objects.create(conversation=deliver(workspace).conversation, admin_id="1", body="x")
    user = User.objects.create_user("lead", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(user)
    page = client.get(PAGE)
    assert [entry.count for entry, _ in page.context["backlog"]][3] == 1
    assert "/outgoingmessage/" not in page.content.decode()


def test_the_dashboard_contains_no_texts_and_nothing_inline(
    workspace: Workspace, admin_client: Client
) -> None:
    for state in ("written", "waiting", "failed", "skipped", "restored"):
        deliver(workspace, state, reason_detail=CANARY)
    page = admin_client.get(PAGE).content.decode()
    assert CANARY not in page
    content = page[page.index('id="content-main"') : page.index('id="footer"')]
    assert content.count("<meter") == 1
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", content)


def test_the_dashboard_without_messages(admin_client: Client) -> None:
    text = text_of(admin_client)
    assert "No messages yet" in text
    assert "No failures need attention" in text
    assert "Messages in the last 30 days" not in text


def test_the_number_of_queries_does_not_depend_on_the_rows(
    workspace: Workspace, admin_client: Client
) -> None:
    deliver(workspace)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(PAGE)
        counts.append(len(queries))
        for _ in range(5):
            deliver(workspace)
    assert counts[0] == counts[1]


def test_numbers_in_attributes_are_not_localized(workspace: Workspace, admin_client: Client) -> None:
    Workspace.objects.filter(pk=workspace.pk).update(id=12345)
    deliver(Workspace.objects.get())
    page = admin_client.get(PAGE, headers={"Accept-Language": "de"}).content.decode()
    assert 'href="?workspace=12345"' in page
    assert '<meter min="0" max="1" value="1">' in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (1.24, "1.2 s"), (75, "75 s"), (600, "10 min"), (9000, "2 h"), (300_000, "3 days")],
    ids=lambda value: str(value),
)
def test_durations_are_formatted(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text
