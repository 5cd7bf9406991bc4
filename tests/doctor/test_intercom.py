"""The doctor's checks of a workspace and of the service itself."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from intercom_bridge import doctor, queue
from intercom_bridge.doctor import Finding, ping, service
from intercom_bridge.doctor import intercom as checks
from intercom_bridge.intercom.signature import webhook_signature
from intercom_bridge.models import Conversation, EventRules, WebhookEvent, WorkerHeartbeat, Workspace
from intercom_bridge.sync.intake import FOLLOWED_TOPICS
from itop_client import Deadline
from itop_client.http import Response
from sandbox.intercom import Intercom, running_intercom
from tests.sandbox.bridge import Bridge, running_bridge
from tests.teammate import SECRET, Teammate, notify, part

from .findings import about, levels

WEBHOOK = "/webhooks/intercom"


@pytest.fixture
def address(settings: Any) -> Iterator[Bridge]:
    """Run a server at PUBLIC_URL."""
    with running_bridge() as bridge:
        settings.PUBLIC_URL = bridge.url
        yield bridge


@pytest.fixture
def good(talking: Teammate, workspace: Workspace, address: Bridge) -> Workspace:
    """Return a workspace with valid secrets."""
    return workspace


def examine(workspace: Workspace) -> list[Finding]:
    return list(checks.examine(workspace, Deadline(inf)))


def test_a_valid_workspace_only_lacks_a_call(good: Workspace) -> None:
    findings = examine(good)
    assert {check for check, level in levels(findings).items() if level != "ok"} == {"workspace.webhook"}
    assert WEBHOOK in about(findings, "workspace.webhook").to_do


def test_the_ping_is_signed_as_intercom_signs_it(good: Workspace, address: Bridge) -> None:
    examine(good)
    (sent,) = address.of(WEBHOOK)
    assert sent.headers["X-Hub-Signature"] == webhook_signature(sent.body, SECRET)
    assert (sent.data["topic"], sent.data["app_id"]) == ("ping", good.workspace_id)


def test_the_doctors_own_ping_does_not_count_as_a_call_from_intercom(
    good: Workspace, client: Client, address: Bridge
) -> None:
    examine(good)
    (sent,) = address.of(WEBHOOK)
    signature = {"X-Hub-Signature": sent.headers["X-Hub-Signature"]}
    answer = client.post(WEBHOOK, sent.body, content_type="application/json", headers=signature)
    assert answer.status_code == 200
    assert WebhookEvent.objects.get().topic == "ping"
    assert Workspace.objects.get().client_secret_used_at is None
    assert levels(examine(good))["workspace.webhook"] == "warning"
    notify(client, part(37358198350, "<p>Any news?</p>"))
    assert about(examine(good), "workspace.webhook").found.endswith("last less than a minute ago")


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        ({"client_secret": ""}, "workspace.client_secret", "has no client secret"),
        ({"access_token": ""}, "workspace.access_token", "has no access token"),
        ({"client_secret": "PUT_YOUR_SECRET_HERE"}, "workspace.client_secret", "placeholder"),
        ({"access_token": "wrong"}, "workspace.access_token", "refuses its access token"),
    ],
)
def test_a_missing_or_invalid_secret_is_a_failure(
    change: dict[str, str], check: str, text: str, good: Workspace
) -> None:
    for name, value in change.items():
        setattr(good, name, value)
    good.save()
    good.refresh_from_db()
    finding = about(examine(good), check)
    assert finding.level.value == "failure"
    assert text in finding.found


def test_unreadable_secrets_do_not_stop_other_checks(good: Workspace, settings: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = ["YW5vdGhlci1rZXktZm9yLXRoZS10ZXN0cy0zMmJ5dGU="]
    found = levels(examine(good))
    assert (found["workspace.client_secret"], found["workspace.access_token"]) == ("failure", "failure")
    assert "workspace.webhook" in found


def test_a_disabled_workspace_is_a_warning(good: Workspace) -> None:
    good.enabled = False
    assert levels(examine(good))["workspace.enabled"] == "warning"


def test_a_token_of_another_workspace_and_a_wrong_region_are_reported(good: Workspace, settings: Any) -> None:
    with running_intercom(workspace_id="zzzz9999", region="EU", token="t") as other:
        settings.INTERCOM_API_URL = other.url
        good.access_token = "t"
        good.save()
        good.refresh_from_db()
        findings = examine(good)
    assert "zzzz9999" in about(findings, "workspace.id").found
    assert about(findings, "workspace.region").to_do == "Set the region to EU in the admin."


def test_an_unverified_external_id_is_a_failure(good: Workspace, intercom: Intercom) -> None:
    good.external_id_attribute = "employee_number"
    assert levels(examine(good))["workspace.identity"] == "failure"
    intercom.verifies_identities = True
    assert levels(examine(good))["workspace.identity"] == "ok"
    good.external_id_attribute = ""
    assert "workspace.identity" not in levels(examine(good))


@pytest.mark.parametrize(
    ("conversation_id", "status", "level"),
    [
        ("theirs", 0, "ok"),
        ("215472600000000", 0, "ok"),
        ("theirs", 403, "failure"),
        ("theirs", 500, "warning"),
    ],
)
def test_permission_to_read_is_tested_with_the_newest_conversation(
    conversation_id: str, status: int, level: str, good: Workspace, intercom: Intercom
) -> None:
    theirs = intercom.conversation_of("Alice Martin").id if conversation_id == "theirs" else conversation_id
    Conversation.objects.find_or_create(good, theirs)
    if status:
        intercom.faults.add("error", path=f"/conversations/{theirs}", status=status)
    assert levels(examine(good))["workspace.permissions"] == level


@pytest.mark.parametrize(("kind", "level"), [("error", "failure"), ("rate_limited", "warning")])
def test_an_intercom_failure_does_not_stop_other_checks(
    kind: str, level: str, good: Workspace, intercom: Intercom
) -> None:
    intercom.faults.add(kind, path="/me", **({"status": 502} if kind == "error" else {"seconds": 5}))
    found = levels(examine(good))
    assert found["workspace.access_token"] == level
    assert found["workspace.ping"] == "ok"


def test_with_little_time_left_nothing_is_reported_as_unreachable(
    good: Workspace, intercom: Intercom
) -> None:
    found = levels(list(checks.examine(good, Deadline(1))))
    assert found["workspace.time"] == "warning"
    assert not {"workspace.access_token", "workspace.ping"} & set(found)
    assert intercom.calls == []


def test_the_end_of_the_time_limit_is_reported_once(good: Workspace) -> None:
    ends = [finding.about for finding in doctor.examine(good, 1.0) if finding.about.endswith(".time")]
    assert ends == ["workspace.time"]


# PUBLIC_URL


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "proxy_set_header Host"),
        (401, "X-Hub-Signature"),
        (404, "PUBLIC_URL"),
        (413, "client_max_body_size"),
        (502, "gunicorn"),
        (418, "logs"),
    ],
)
def test_each_status_explains_what_to_change_in_the_proxy(
    status: int, text: str, good: Workspace, address: Bridge
) -> None:
    address.answer = lambda request: (status, {})
    finding = about(examine(good), "workspace.ping")
    assert finding.level.value == "failure"
    assert str(status) in finding.found
    assert text in finding.to_do


def test_an_unreachable_address_is_a_failure(good: Workspace, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    assert levels(examine(good))["service.address"] == "failure"


def examine_service() -> list[Finding]:
    return list(service.examine())


def test_the_address_is_called_with_head_and_with_ten_megabytes(db: None, address: Bridge) -> None:
    address.answer = lambda request: (200 if request.method == "HEAD" else 401, {})
    found = levels(examine_service())
    assert (found["service.address"], found["service.size"]) == ("ok", "ok")
    assert [(request.method, request.path) for request in address.received] == [
        ("HEAD", WEBHOOK),
        ("POST", WEBHOOK),
    ]
    assert 10_000_000 < len(address.received[1].body) <= 10 * 1024 * 1024
    json.loads(address.received[1].body)


@pytest.mark.parametrize(("status", "level"), [(413, "failure"), (200, "warning")])
def test_a_proxy_that_rejects_large_bodies_is_reported(
    status: int, level: str, db: None, address: Bridge
) -> None:
    address.answer = lambda request: (200 if request.method == "HEAD" else status, {})
    assert levels(examine_service())["service.size"] == level


def test_the_service_accepts_ten_megabytes_and_stores_nothing(
    live_server: Any, settings: Any, transactional_db: None
) -> None:
    settings.PUBLIC_URL = live_server.url
    found = levels(examine_service())
    assert (found["service.address"], found["service.size"]) == ("ok", "ok")
    assert not WebhookEvent.objects.exists()


def redirecting(to: str) -> Any:
    return lambda *_: Response(301, {"Location": to}, b"")


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("https://bridge.example.com/webhooks/intercom", "X-Forwarded-Proto"),
        ("/webhooks/intercom?token=s3cr3t", "X-Forwarded-Proto"),
        ("https://www.bridge.example.com/webhooks/intercom?token=s3cr3t", "Set PUBLIC_URL"),
    ],
)
def test_a_redirect_is_reported_with_what_to_change(
    to: str, text: str, db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PUBLIC_URL = "https://bridge.example.com"
    monkeypatch.setattr(ping, "_call", redirecting(to))
    finding = about(examine_service(), "service.address")
    assert "does not follow" in finding.found
    assert text in finding.to_do
    assert "s3cr3t" not in finding.found + finding.to_do


# The service


def test_a_missing_worker_is_a_failure(db: None, address: Bridge) -> None:
    assert levels(examine_service())["service.worker"] == "failure"
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    assert about(examine_service(), "service.worker").found == "1 worker is alive"


def test_overdue_work_is_a_warning(workspace: Workspace, address: Bridge) -> None:
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    row = WebhookEvent.objects.record(workspace, "n1", "ping", "", b"{}")
    assert levels(examine_service())["service.work"] == "ok"
    WebhookEvent.objects.filter(pk=row.pk).update(due_at=timezone.now() - dt.timedelta(minutes=6))
    assert "6 minutes" in about(examine_service(), "service.work").found


def test_secrets_that_cannot_be_decrypted_are_counted(
    workspace: Workspace, address: Bridge, settings: Any
) -> None:
    assert about(examine_service(), "service.keys").found == "all 3 stored secrets can be decrypted"
    settings.FIELD_ENCRYPTION_KEYS = ["YW5vdGhlci1rZXktZm9yLXRoZS10ZXN0cy0zMmJ5dGU="]
    assert about(examine_service(), "service.keys").found.startswith(
        "3 of 3 stored secrets cannot be decrypted"
    )
    settings.FIELD_ENCRYPTION_KEYS = []
    assert "not set" in about(examine_service(), "service.keys").found


def test_a_nearly_full_disk_is_a_warning(
    db: None, address: Bridge, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HUEY_FILE = tmp_path / "queue.sqlite3"
    for free, level in ((999_000_000, "warning"), (1_500_000_000, "ok")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert levels(examine_service())["service.disk"] == level


def test_an_unreachable_queue_is_a_failure(
    db: None, address: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> int:
        raise ConnectionError("no")

    monkeypatch.setattr(queue.huey, "pending_count", away)
    finding = about(examine_service(), "service.queue")
    assert finding.level.value == "failure"
    assert "Nothing is lost" in finding.to_do


def test_an_invalid_redis_url_is_a_failure(
    db: None, address: Bridge, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis.example.com:6379"
    monkeypatch.setattr(queue, "huey", queue.build_queue())
    finding = about(examine_service(), "service.queue")
    assert finding.level.value == "failure"
    assert "REDIS_URL is not the address of a Redis" in finding.found


def test_an_unmigrated_database_is_reported(
    db: None, address: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "migrations_missing", lambda: True)
    assert "migrate" in about(examine_service(), "service.database").to_do


# Topics


def receive(client: Client, topic: str, number: int) -> None:
    assert notify(client, part(37358198350 + number, "<p>x</p>"), topic=topic).status_code == 200


def test_topics_that_were_never_received_are_named_after_a_week(
    good: Workspace, client: Client, time_machine: Any
) -> None:
    start = dt.datetime(2026, 11, 2, 9, 0, tzinfo=dt.UTC)
    time_machine.move_to(start, tick=False)
    for number, topic in enumerate(FOLLOWED_TOPICS):
        if topic != "conversation.admin.snoozed":
            receive(client, topic, number)
    for days in (0, 6.9):
        time_machine.move_to(start + dt.timedelta(days=days), tick=False)
        receive(client, "conversation.user.replied", 20 + int(days))
        good.refresh_from_db()
        assert "workspace.topics" not in levels(examine(good))
    time_machine.move_to(start + dt.timedelta(days=7), tick=False)
    receive(client, "conversation.user.replied", 30)
    good.refresh_from_db()
    finding = about(examine(good), "workspace.topics")
    assert finding.level.value == "ok"
    assert finding.found == (
        "never received: conversation.admin.snoozed; is the topic selected in the Developer Hub?"
    )
    receive(client, "conversation.admin.snoozed", 31)
    good.refresh_from_db()
    assert "workspace.topics" not in levels(examine(good))


def test_the_workspaces_page_names_them_too(workspace: Workspace, admin_client: Client) -> None:
    url = f"/admin/intercom_bridge/workspace/{workspace.pk}/change/"
    assert b"Never received" not in admin_client.get(url).content
    week = {topic: [0, 8 * 86_400] for topic in FOLLOWED_TOPICS if "snoozed" not in topic}
    Workspace.objects.update(topics_received=week)
    text = admin_client.get(url).content.decode()
    assert "Never received: conversation.admin.snoozed, conversation.admin.unsnoozed." in text


def test_receiving_a_topic_is_stored_once_per_hour(
    workspace: Workspace, client: Client, time_machine: Any
) -> None:
    start = dt.datetime(2026, 11, 2, 9, 0, tzinfo=dt.UTC)

    def writes(minutes: int) -> int:
        time_machine.move_to(start + dt.timedelta(minutes=minutes), tick=False)
        with CaptureQueriesContext(connection) as queries:
            receive(client, "conversation.user.replied", minutes)
            receive(client, "another.topic", 1000 + minutes)
        return sum('SET "topics_received"' in query["sql"] for query in queries.captured_queries)

    assert [writes(minutes) for minutes in (0, 1, 59, 60, 61)] == [1, 0, 0, 1, 0]
    first = int(start.timestamp())
    assert Workspace.objects.get().topics_received == {"conversation.user.replied": [first, first + 3600]}


# Changes in iTop


def test_changes_are_posted_as_the_tokens_owner_by_default(good: Workspace) -> None:
    finding = about(examine(good), "workspace.post_as")
    assert (finding.level.value, "owner of the access token" in finding.found) == ("ok", True)


def test_a_teammate_who_left_is_reported(good: Workspace, intercom: Intercom) -> None:
    ada = intercom.store.admins()[0]
    rules = EventRules.objects.create(workspace=good, post_as_admin_id=ada.id)
    assert about(examine(good), "workspace.post_as").found.endswith(f"are posted as {ada.name}")
    rules.post_as_admin_id, rules.post_as_name = "404", "Grace"
    rules.save()
    finding = about(examine(good), "workspace.post_as")
    assert finding.level.value == "warning"
    assert "Grace, who was selected to post them, is no longer a teammate" in finding.found


def test_a_team_that_no_longer_exists_is_reported(good: Workspace, intercom: Intercom) -> None:
    team = intercom.store.teams()[0]
    rules = EventRules.objects.create(workspace=good, assign_to="team", assign_to_team_id=team.id)
    assert levels(examine(good))["workspace.post_as"] == "ok"
    rules.assign_to_team_id = "404"
    rules.save()
    findings = [each.found for each in examine(good) if each.about == "workspace.post_as" and each.to_do]
    assert len(findings) == 1 and "the team" in findings[0]


def test_teammates_are_not_asked_for_with_a_token_that_is_refused(
    good: Workspace, intercom: Intercom
) -> None:
    good.access_token = "another-token"
    good.save()
    assert "workspace.post_as" not in levels(examine(good))


def test_conversations_in_which_posting_is_stopped_are_named(good: Workspace) -> None:
    assert "workspace.posting" not in levels(examine(good))
    Conversation.objects.create(workspace=good, conversation_id="2154", posting_stopped_at=timezone.now())
    finding = about(examine(good), "workspace.posting")
    assert (finding.level.value, "in 1 of its conversations" in finding.found) == ("warning", True)
    assert finding.found.endswith(": 2154")
