"""/metrics: who may read it, and what it reports."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from intercom_bridge.connections import itop_client
from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, WorkerHeartbeat, Workspace
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops import metrics
from intercom_bridge.panel import router
from sandbox.itop import Itop
from settings.env import BASE_DIR
from tests.config.started import value_of
from tests.teammate import Teammate, notify, part

from .processes import DATABASE

pytestmark = pytest.mark.django_db
TOKEN = "token-for-prometheus"


@pytest.fixture(autouse=True)
def token(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


def scrape(client: Client) -> dict[tuple[str, ...], float]:
    """Read /metrics: (name, label values in the order of the labels' names ...) -> value."""
    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")
    return samples(response.content.decode())


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(name: str, *labels: str) -> float:
    """Return the count of this process."""
    return samples(generate_latest(metrics.registry).decode()).get((name, *labels), 0.0)


# Access


@pytest.mark.parametrize("given", ["", "Bearer wrong", TOKEN, f"Bearer {TOKEN} ", "Bearer é"])
def test_a_request_without_the_token_gets_401(client: Client, given: str) -> None:
    response = client.get("/metrics", headers={"Authorization": given} if given else {})
    assert response.status_code == 401
    assert b"bridge_" not in response.content


@pytest.mark.parametrize("given", ["", "Bearer ", f"Bearer {TOKEN}"], ids=["none", "empty", "right"])
def test_without_a_configured_token_there_are_no_metrics(
    client: Client, settings: Settings, given: str
) -> None:
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": given}).status_code == 404


def test_metrics_are_served_under_any_host(client: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["bridge.example.com"]
    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Host": "10.0.0.7:8000"})
    assert response.status_code == 200


# Gauges


def test_the_backlog_and_its_age_are_reported(
    client: Client, teammate: Teammate, workspace: Workspace, work: Any, itop: Itop
) -> None:
    teammate.link("R-000006")
    work()
    itop.faults.away = True
    notify(client, part(37358198350, "<p>one</p>"))
    assert scrape(client)[("bridge_waiting", "notifications")] == 1
    work()
    found = scrape(client)
    assert found[("bridge_waiting", "notifications")] == 0
    assert found[("bridge_waiting", "deliveries")] == 1
    assert found[("bridge_itop_waiting", "Sandbox")] == 1
    assert found[("bridge_itop_paused", "Sandbox")] == 1
    Delivery.objects.waiting().update(queued_at=timezone.now() - dt.timedelta(seconds=90))
    assert 89 < scrape(client)[("bridge_oldest_waiting_seconds", "deliveries")] < 120


def test_failures_are_counted_by_code_and_never_by_text(
    client: Client, teammate: Teammate, work: Any
) -> None:
    teammate.link("R-000006")
    work()
    codes = [ReasonCode.TICKET_NOT_FOUND, ReasonCode.LOG_FULL, ReasonCode.REJECTED]
    for number, code in enumerate(codes):
        Delivery.objects.create(
            ticket=Ticket.objects.get(),
            conversation=Conversation.objects.get(),
            kind="part",
            part_id=f"f{number}",
            part_created_at=1,
            state="failed",
            reason_code=code,
            reason_detail="Value not allowed [what Alice wrote]",
        )
    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    found = samples(response)
    for code in codes:
        assert found[("bridge_itop_failed", "Sandbox", code)] == 1
    assert "Alice" not in response


def test_live_workers_are_counted(client: Client) -> None:
    assert scrape(client)[("bridge_workers_alive",)] == 0
    WorkerHeartbeat.objects.beat("here:1", is_first=True)
    assert scrape(client)[("bridge_workers_alive",)] == 1


# Counters and histograms


def test_calls_clicks_and_messages_are_counted(
    client: Client, teammate: Teammate, work: Any, workspace: Workspace
) -> None:
    names: list[tuple[str, ...]] = [
        ("bridge_itop_call_seconds_count", "Sandbox", "core/get", "ok"),
        ("bridge_itop_call_seconds_count", "Sandbox", "core/update", "ok"),
        ("bridge_panel_answer_seconds_count", "home"),
        ("bridge_panel_answer_seconds_count", "link"),
        ("bridge_panel_answer_seconds_count", "other"),
        ("bridge_webhook_seconds_count",),
        ("bridge_deliveries_total", "Sandbox", "", "written"),
    ]
    before = [counted(*name) for name in names]
    teammate.link("R-000006")
    teammate.open().send_click("unknown-action:1")
    notify(client, part(37358198350, "<p>one</p>"))
    work()
    unchanged = [name for name, count in zip(names, before, strict=True) if counted(*name) == count]
    assert unchanged == []


def test_a_slow_panel_response_is_recorded_with_its_duration(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(router, "observe", lambda _histogram, seconds, _screen: seen.append(seconds))
    monkeypatch.setattr(router, "time", SimpleNamespace(monotonic=iter((100.0, 104.7)).__next__))
    teammate.open()
    assert seen == [pytest.approx(4.7)]


def test_a_failed_call_is_counted_by_its_error(teammate: Teammate, workspace: Workspace) -> None:
    name = ("bridge_itop_call_seconds_count", "Sandbox", "core/get", "ItopLoginError")
    before = counted(*name)
    ItopInstance.objects.update(token="wrong-token")
    teammate.open()
    assert counted(*name) == before + 1


def test_a_renamed_itop_is_counted_under_its_new_name(teammate: Teammate, workspace: Workspace) -> None:
    teammate.open()
    name = ("bridge_itop_call_seconds_count", "Renamed", "core/get", "ok")
    assert counted(*name) == 0
    ItopInstance.objects.update(name="Renamed")
    itop_client(ItopInstance.objects.get()).get("Person", "SELECT Person WHERE id = 0")
    assert counted(*name) == 1


def test_work_that_cannot_be_counted_is_done_once(
    client: Client, teammate: Teammate, itop: Itop, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teammate.link("R-000006")
    work()
    ticket = Ticket.objects.get()
    before = len(itop.store.log(ticket.object_id))

    def fail(*_labels: str) -> None:
        raise FileNotFoundError("METRICS_DIR")

    for metric in (metrics.deliveries, metrics.itop_seconds, metrics.panel_seconds, metrics.webhook_seconds):
        monkeypatch.setattr(metric, "labels", fail)
    monkeypatch.setattr(metrics.webhook_seconds, "observe", fail)
    assert notify(client, part(37358198350, "<p>once</p>")).status_code == 200
    teammate.open()
    work()
    assert Delivery.objects.get(part_id="37358198350").state == "written"
    assert len(itop.store.log(ticket.object_id)) == before + 1


# Several processes

COUNT = """
import django; django.setup()
from intercom_bridge.models.reason import ReasonCode
from intercom_bridge.ops import metrics
metrics.webhook_seconds.observe(0.01)
"""


def run_process(*arguments: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        cwd=BASE_DIR,
        env=os.environ
        | {"DJANGO_SETTINGS_MODULE": "settings.development", "METRICS_TOKEN": TOKEN}
        | environment,
        capture_output=True,
        check=True,
    )


def test_counts_of_all_processes_and_containers_are_added_up(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    run_process("-c", COUNT, VAR_DIR=str(tmp_path))
    settings.METRICS_DIR = tmp_path / "metrics"
    (host,) = settings.METRICS_DIR.iterdir()
    container = settings.METRICS_DIR / "another-container"
    container.mkdir()
    for file in list(host.iterdir()):
        (host / re.sub(r"\d+", "1", file.name)).write_bytes(file.read_bytes())
        (container / file.name).write_bytes(file.read_bytes())
    found = scrape(client)
    assert found[("bridge_webhook_seconds_count",)] == 3
    assert found[("bridge_webhook_seconds_bucket", "0.01")] == 3


@pytest.mark.parametrize(
    ("command", "is_counted"), [(["worker"], True), (["worker", "--check"], False), (["check"], False)]
)
def test_only_services_have_a_directory_for_their_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], is_counted: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", *command])
    assert value_of("METRICS_DIR", METRICS_TOKEN=TOKEN, VAR_DIR=str(tmp_path)) == tmp_path / "metrics"
    assert bool(list((tmp_path / "metrics").iterdir())) is is_counted


def test_the_health_check_of_a_worker_leaves_no_files(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / DATABASE)
    with pytest.raises(subprocess.CalledProcessError) as error:
        run_process("manage.py", "worker", "--check", VAR_DIR=str(tmp_path))
    assert error.value.stderr == b"CommandError: No worker on this host is alive.\n"
    assert list((tmp_path / "metrics").glob("**/*.db")) == []


def test_a_metrics_directory_that_cannot_be_created_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    made = value_of("METRICS_DIR", METRICS_TOKEN=TOKEN, METRICS_DIR=str(blocked / "metrics"))
    assert made is None  # as in all tests, which count nevertheless


@pytest.mark.parametrize("trouble", ["missing", "corrupt"])
def test_gauges_are_reported_when_the_counts_cannot_be_read(
    client: Client, settings: Settings, tmp_path: Path, trouble: str
) -> None:
    settings.METRICS_DIR = tmp_path / "metrics"
    if trouble == "corrupt":
        (settings.METRICS_DIR / "host").mkdir(parents=True)
        (settings.METRICS_DIR / "host" / "counter_1.db").write_bytes(b"\xff\xff\xff\x7f")
    assert scrape(client)[("bridge_workers_alive",)] == 0
