"""The dashboard: which numbers, for whom, and that it holds numbers only."""

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
from django.utils import translation

from intercom_bridge import reasons
from intercom_bridge.admin import activity, chart
from intercom_bridge.admin.activity import Scope
from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    Notification,
    Posting,
    Ticket,
    TicketProfile,
    WorkerPulse,
    Workspace,
)
from intercom_bridge.sync import tasks

pytestmark = pytest.mark.django_db

PAGE = "/admin/intercom_bridge/dashboard/"
NOW = dt.datetime(2026, 3, 10, 12, 0, tzinfo=dt.UTC)
CANARY = "canary-that-nobody-may-see"


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
    """A message that Intercom told of so many days ago; it stood in the log `seconds` after it was sent."""
    at = NOW - dt.timedelta(days=days)
    seconds, is_told = more.pop("seconds", 2), more.pop("is_told", True)
    number = Delivery.objects.count() + 1
    conversation = Conversation.objects.known(workspace, "215472621202693")
    ticket, _ = Ticket.objects.get_or_create(
        itop=workspace.itop, ticket_class="UserRequest", object_id=1, defaults={"ref": "R-000001"}
    )
    notification = Notification.objects.create(
        workspace=workspace,
        notification_id=f"n{number}",
        topic="conversation.user.replied",
        body=CANARY.encode(),
        verdict="handled",
    )
    values = {"waiting_since": at, "reason": "", "author": CANARY, "item": {"message": CANARY}} | more
    if state in ("written", "restored"):
        values |= {"written_at": at + dt.timedelta(seconds=seconds)}
    row = Delivery.objects.create(
        ticket=ticket,
        conversation=conversation,
        notification=notification if is_told else None,
        kind="part",
        part_id=str(number),
        part_created_at=int(at.timestamp()),
        state=state,
        **values,
    )
    Delivery.objects.filter(pk=row.pk).update(created_at=at)
    return row


def words(client: Client, address: str = PAGE) -> str:
    page = client.get(address).content.decode()
    page = page[page.index('id="content-main"') :]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# Which numbers


def test_days_that_are_done_with_are_counted_at_night(
    workspace: Workspace, admin_client: Client, time_machine: Any
) -> None:
    other = make_workspace("Other", "other123")
    for days in (0, 2, 3, 29, 30):
        deliver(workspace, days=days)
    deliver(other, "failed", days=3)
    live = activity.days(Scope())
    tasks.clean_up_every_day.call_local()
    assert [day.counts for day in activity.days(Scope())] == [day.counts for day in live]
    for scope in (Scope(workspace=other.pk), Scope(itop=other.itop_id)):
        assert [day.counts for day in activity.days(scope) if day.counts] == [{"failed": 1}]
    page = admin_client.get(PAGE).content.decode()
    assert "those before as they stood on 2026-03-10 12:00" in page

    # The newest days are as they are now; the others as they were, until a night is missed.
    for days in (2, 3):
        deliver(workspace, days=days)
    totals = [day.total for day in activity.days(Scope())]
    assert totals[-3] == 2 and totals[-4] == 2
    time_machine.move_to(NOW + dt.timedelta(hours=37), tick=False)
    assert [day.total for day in activity.days(Scope())][-6] == 3
    assert "as they stood on" not in admin_client.get(PAGE).content.decode()


def test_messages_are_counted_by_day_and_by_what_became_of_them(workspace: Workspace) -> None:
    for state, days in (
        ("written", 0),
        ("written", 0),
        ("failed", 0),
        ("skipped", 1),
        ("written", 29),
        ("written", 31),
    ):
        deliver(workspace, state, days=days)
    found = activity.days(Scope())
    assert len(found) == 30
    assert found[-1].date == NOW.date()
    assert found[-1].counts == {"written": 2, "failed": 1}
    assert found[-2].counts == {"skipped": 1}
    assert found[0].counts == {"written": 1}
    assert sum(day.total for day in found) == 5


def test_a_day_begins_and_ends_at_midnight_in_utc(workspace: Workspace) -> None:
    deliver(workspace, days=0.5)
    deliver(workspace, days=0.5 + 1 / 86_400)
    assert [day.total for day in activity.days(Scope())[-2:]] == [1, 1]


def test_how_long_messages_took(workspace: Workspace) -> None:
    for seconds in range(1, 101):
        deliver(workspace, seconds=seconds)
    today = activity.days(Scope())[-1]
    assert today.p50 == pytest.approx(50.5)
    assert today.p95 == pytest.approx(95.05)


@pytest.mark.parametrize(
    "more",
    [
        {"is_told": False},
        {"waiting_since": NOW + dt.timedelta(hours=2)},
        {"state": "restored"},
    ],
    ids=["older than its link", "put back by hand", "written again"],
)
def test_what_is_no_measure_of_how_long_a_message_takes_is_left_out(
    workspace: Workspace, more: dict[str, Any]
) -> None:
    deliver(workspace, seconds=3)
    deliver(workspace, **({"seconds": 500_000} | more))
    assert activity.days(Scope())[-1].p95 == 3


def test_a_clock_behind_intercom_s_makes_no_time_below_nothing(workspace: Workspace) -> None:
    deliver(workspace, seconds=-1)
    assert activity.days(Scope())[-1].p50 == 0


def test_of_a_long_day_the_newest_say_how_long_it_took(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "SAMPLE", 2)
    for days, seconds in ((0.3, 900), (0.2, 4), (0.1, 4)):
        deliver(workspace, days=days, seconds=seconds)
    assert activity.days(Scope())[-1].p95 == 4


def test_what_waits_says_since_when(workspace: Workspace) -> None:
    deliver(workspace, "waiting", waiting_since=NOW - dt.timedelta(hours=3))
    deliver(workspace, "waiting")
    messages = activity.waits(Scope())[0]
    assert (messages.count, messages.since) == (2, NOW - dt.timedelta(hours=3))


def test_failures_by_reason_count_each_once(workspace: Workspace) -> None:
    for reason in (
        reasons.TICKET_GONE,
        reasons.TICKET_GONE,
        reasons.REFUSED % {"reason": CANARY},
        CANARY,
    ):
        deliver(workspace, "failed", reason=reason)
    found = {one.label: one.count for one in activity.failures(Scope())}
    assert found == {"the ticket is gone": 2, "iTop refused it": 1, "another reason": 1}


def test_a_workspace_s_and_an_itop_s_numbers_are_its_own(workspace: Workspace, admin_client: Client) -> None:
    other = make_workspace("Sales", "efgh5678")
    deliver(workspace, "failed", reason=reasons.LOG_FULL)
    deliver(other, "waiting")
    for scope in (Scope(workspace=workspace.pk), Scope(itop=workspace.itop.pk)):
        assert activity.days(scope)[-1].counts == {"failed": 1}
        assert activity.waits(scope)[0].count == 0
        # The notifications of both are handled: only the failed message is left.
        assert [one.count for one in activity.failures(scope)] == [1]
    assert [(one.row.name, one.waiting, one.failed) for one in activity.workspaces()] == [
        ("Sales", 1, 0),
        ("Support", 0, 1),
    ]
    assert [(one.row.name, one.waiting, one.failed) for one in activity.itops()] == [
        ("iTop of Sales", 1, 0),
        ("iTop of Support", 0, 1),
    ]
    assert f"Only {other}" in words(admin_client, f"{PAGE}?workspace={other.pk}")


@pytest.mark.parametrize("given", ["x", "-1", "999999", "9" * 30, "²"])
def test_an_address_that_names_nothing_shows_everything(
    workspace: Workspace, admin_client: Client, given: str
) -> None:
    assert "All workspaces and iTops" in words(admin_client, f"{PAGE}?workspace={given}")


def test_numbers_lead_to_the_list_of_just_these_rows(workspace: Workspace, admin_client: Client) -> None:
    other = make_workspace("Sales", "efgh5678")
    for one in (workspace, other):
        deliver(one, "failed", reason=reasons.LOG_FULL)
        deliver(one, "waiting")
    for address, rows in ((PAGE, 2), (f"{PAGE}?workspace={workspace.pk}", 1)):
        page = admin_client.get(address)
        links = [url for _, url in (*page.context["waits"], *page.context["failures"]) if url]
        assert len(links) == 2
        for link in links:
            assert admin_client.get(link).context["cl"].result_count == rows


def test_what_can_neither_be_tried_again_nor_skipped_is_no_failure_any_more(
    workspace: Workspace, admin_client: Client
) -> None:
    conversation = deliver(workspace).conversation
    for number, cleaned_at in enumerate((None, NOW, NOW)):
        Posting.objects.create(
            conversation=conversation, admin_id="1", body="x", state="failed", cleaned_at=cleaned_at
        )
        Notification.objects.create(
            workspace=workspace,
            notification_id=f"broke{number}",
            topic="t",
            body=b"",
            verdict="failed",
            cleaned_at=cleaned_at,
        )
    for address in (PAGE, f"{PAGE}?workspace={workspace.pk}"):
        failures = admin_client.get(address).context["failures"]
        assert [failure.count for failure, _ in failures] == [1, 1]
        for _, link in failures:
            assert admin_client.get(link).context["cl"].result_count == 1
    Posting.objects.update(cleaned_at=NOW)
    Notification.objects.update(cleaned_at=NOW)
    assert "There is no failure that somebody has to look at." in words(admin_client)


def test_where_an_itop_is_paused_and_no_worker_lives_it_is_said(
    workspace: Workspace, admin_client: Client
) -> None:
    ItopInstance.objects.update(paused_since=NOW - dt.timedelta(hours=2), paused_until=NOW)
    said = words(admin_client)
    assert "paused for 2 hours" in said.replace("\xa0", " ")
    assert "No worker is alive" in said
    WorkerPulse.objects.beat("here:1", anew=True)
    assert "No worker is alive" not in words(admin_client)


# For whom, and what not


def test_only_who_may_see_deliveries_sees_it(workspace: Workspace, client: Client) -> None:
    assert client.get(PAGE).status_code == 302
    user = User.objects.create_user("lead", is_staff=True)
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    assert "Dashboard" not in client.get("/admin/").content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    assert client.get(PAGE).status_code == 200
    assert "/admin/intercom_bridge/dashboard/" in client.get("/admin/").content.decode()


def test_who_may_see_no_postings_gets_no_link_to_them(workspace: Workspace, client: Client) -> None:
    Posting.objects.create(conversation=deliver(workspace).conversation, admin_id="1", body="x")
    user = User.objects.create_user("lead", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(user)
    page = client.get(PAGE)
    assert [wait.count for wait, _ in page.context["waits"]][3] == 1
    assert "/posting/" not in page.content.decode()


def test_no_text_is_on_it_and_neither_style_nor_script_of_its_own(
    workspace: Workspace, admin_client: Client
) -> None:
    for state in ("written", "waiting", "failed", "skipped", "restored"):
        deliver(workspace, state, reason=CANARY)
    page = admin_client.get(PAGE).content.decode()
    assert CANARY not in page
    content = page[page.index('id="content-main"') : page.index('id="footer"')]
    assert content.count("<rect") > 5
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", content)


def test_before_the_first_message_it_says_when_it_begins(admin_client: Client) -> None:
    said = words(admin_client)
    assert "No message yet" in said
    assert "There is no failure" in said
    assert "Messages a day" not in said


def test_more_rows_ask_no_more_questions(workspace: Workspace, admin_client: Client) -> None:
    deliver(workspace)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            admin_client.get(PAGE)
        counts.append(len(asked))
        for _ in range(5):
            deliver(workspace)
    assert counts[0] == counts[1]


# The pictures


def test_bars_stand_on_each_other_and_stay_in_the_picture() -> None:
    drawn = chart.stacked([("a", [("written", 90), ("failed", 10)]), ("b", [("written", 0), ("failed", 0)])])
    (_, (written, failed)), (_, none) = drawn.columns
    assert none == ()
    assert written.y + written.height == chart.HEIGHT
    assert failed.y + failed.height == written.y
    assert failed.y == 0


@pytest.mark.parametrize(
    ("count", "top"), [(0, 2), (1, 2), (3, 4), (18, 18), (19, 20), (118, 120), (181, 200), (12_345, 14_000)]
)
def test_the_scale_ends_at_a_round_number_that_has_a_half(count: int, top: int) -> None:
    drawn = chart.stacked([("a", [("written", count)])])
    assert [line.label for line in drawn.lines] == [f"{top:,}", f"{top // 2:,}"]


def test_one_among_thousands_can_be_seen() -> None:
    drawn = chart.stacked([("a", [("written", 9_999), ("failed", 1)])])
    assert drawn.columns[0][1][1].height >= 1


def test_a_second_and_a_night_are_both_seen() -> None:
    drawn = chart.ranges([("a", 1.0, 2.0), ("b", 30.0, 30_000.0), ("c", None, None)])
    quick, slow, none = (bars for _, bars in drawn.columns)
    assert none == ()
    assert quick[0].height > chart.MARK
    assert slow[0].y < quick[0].y
    assert slow[0].y >= 0
    assert slow[1].y < quick[1].y
    assert [line.label for line in drawn.lines] == ["1 s", "10 s", "1 min", "10 min", "1 h", "1 day"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (1.24, "1.2 s"), (75, "75 s"), (600, "10 min"), (9000, "2 h"), (300_000, "3 days")],
)
def test_times_in_words(seconds: float | None, said: str) -> None:
    assert chart.in_words(seconds) == said


def test_numbers_in_a_picture_are_written_with_a_point(workspace: Workspace, admin_client: Client) -> None:
    for _ in range(3):
        deliver(workspace)
    with translation.override("de"):
        page = admin_client.get(PAGE, headers={"Accept-Language": "de"}).content.decode()
    numbers = re.findall(r'<rect [^>]*\sy="([^"]*)"', page)
    assert any("." in number for number in numbers)
    assert [number for number in numbers if not re.fullmatch(r"\d+(\.\d+)?", number)] == []
