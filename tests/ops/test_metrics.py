"""What Prometheus is told: to whom, what, and never whose."""

from __future__ import annotations

import datetime as dt
import os
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

from intercom_bridge import metrics, reasons
from intercom_bridge.canvas import panel
from intercom_bridge.connections import itop_client
from intercom_bridge.models import Conversation, Delivery, ItopInstance, Ticket, WorkerPulse, Workspace
from sandbox.itop import Itop
from settings.environment import BASE_DIR
from tests.teammate import Teammate, notify, part

pytestmark = pytest.mark.django_db
TOKEN = "token-for-prometheus"


@pytest.fixture(autouse=True)
def token(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


def told(client: Client) -> dict[tuple[str, ...], float]:
    """(name, label values ...) -> value, of what the database says."""
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
    """What this process has counted."""
    return samples(generate_latest(metrics.registry).decode()).get((name, *labels), 0.0)


# To whom


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN} ", "Bearer é"]
)
def test_without_the_token_nothing_is_told(client: Client, given: str) -> None:
    response = client.get("/metrics", headers={"Authorization": given} if given else {})
    assert response.status_code == 401
    assert b"bridge_" not in response.content


def test_where_no_token_is_set_there_is_no_such_address(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    for given in ("", "Bearer ", f"Bearer {TOKEN}"):
        assert client.get("/metrics", headers={"Authorization": given}).status_code == 404


def test_it_answers_under_any_host(client: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["bridge.example.com"]
    asked = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Host": "10.0.0.7:8000"})
    assert asked.status_code == 200


# What


def test_what_waits_and_since_when(
    client: Client, teammate: Teammate, workspace: Workspace, work: Any, itop: Itop, time_machine: Any
) -> None:
    teammate.link("R-000006")
    work()
    itop.faults.away = True
    notify(client, part(37358198350, "<p>one</p>"))
    assert told(client)[("bridge_waiting", "notifications")] == 1
    work()
    found = told(client)
    assert found[("bridge_waiting", "notifications")] == 0
    assert found[("bridge_waiting", "deliveries")] == 1
    assert found[("bridge_itop_waiting", "Sandbox")] == 1
    assert found[("bridge_itop_paused", "Sandbox")] == 1
    Delivery.objects.waiting().update(waiting_since=timezone.now() - dt.timedelta(seconds=90))
    assert 89 < told(client)[("bridge_oldest_waiting_seconds", "deliveries")] < 120


def test_failures_by_a_closed_set_of_reasons(client: Client, teammate: Teammate, work: Any) -> None:
    teammate.link("R-000006")
    work()
    for number, reason in enumerate(
        (
            reasons.TICKET_GONE,
            reasons.LOG_FULL,
            reasons.REFUSED % {"reason": "Value not allowed [what Alice wrote]"},
            "something that nobody has seen: what Alice wrote",
        )
    ):
        Delivery.objects.create(
            ticket=Ticket.objects.get(),
            conversation=Conversation.objects.get(),
            kind="part",
            part_id=f"f{number}",
            part_created_at=1,
            state="failed",
            reason=reason,
        )
    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    found = samples(response)
    for name in ("ticket_gone", "log_full", "refused", "other"):
        assert found[("bridge_itop_failed", "Sandbox", name)] == 1
    assert "Alice" not in response


def test_an_answer_that_took_too_long_is_counted_as_long_as_it_took(
    teammate: Teammate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(panel, "observe", lambda _histogram, seconds, _screen: seen.append(seconds))
    monkeypatch.setattr(panel, "time", SimpleNamespace(monotonic=iter((100.0, 104.7)).__next__))
    teammate.open()
    assert seen == [pytest.approx(4.7)]


def test_workers_that_live(client: Client) -> None:
    assert told(client)[("bridge_workers_alive",)] == 0
    WorkerPulse.objects.beat("here:1", anew=True)
    assert told(client)[("bridge_workers_alive",)] == 1


def test_each_process_counts_its_calls_clicks_and_messages(
    client: Client, teammate: Teammate, work: Any, workspace: Workspace
) -> None:
    names: list[tuple[str, ...]] = [
        ("bridge_itop_call_seconds_count", "Sandbox", "core/get", "ok"),
        ("bridge_itop_call_seconds_count", "Sandbox", "core/update", "ok"),
        ("bridge_panel_answer_seconds_count", "home"),
        ("bridge_panel_answer_seconds_count", "link"),
        ("bridge_panel_answer_seconds_count", "other"),
        ("bridge_webhook_seconds_count",),
        ("bridge_deliveries_total", "Sandbox", "written", ""),
    ]
    before = [counted(*name) for name in names]
    teammate.link("R-000006")
    teammate.open().send_click("what-nobody-offered:1")
    notify(client, part(37358198350, "<p>one</p>"))
    work()
    unchanged = [name for name, count in zip(names, before, strict=True) if counted(*name) == count]
    assert unchanged == []


def test_a_call_that_failed_is_counted_by_the_kind_of_error(teammate: Teammate, workspace: Workspace) -> None:
    name = ("bridge_itop_call_seconds_count", "Sandbox", "core/get", "ItopLoginRefused")
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


def test_what_cannot_be_counted_is_done_all_the_same_and_once(
    client: Client, teammate: Teammate, itop: Itop, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teammate.link("R-000006")
    work()
    ticket = Ticket.objects.get()
    before = len(itop.store.log(ticket.object_id))

    def gone(*_labels: str) -> None:
        raise FileNotFoundError("METRICS_DIR")

    for one in (metrics.deliveries, metrics.itop_seconds, metrics.panel_seconds, metrics.webhook_seconds):
        monkeypatch.setattr(one, "labels", gone)
    monkeypatch.setattr(metrics.webhook_seconds, "observe", gone)
    assert notify(client, part(37358198350, "<p>once</p>")).status_code == 200
    teammate.open()
    work()
    assert Delivery.objects.get(part_id="37358198350").state == "written"
    assert len(itop.store.log(ticket.object_id)) == before + 1


# Several processes

COUNT = """
import django; django.setup()
from intercom_bridge import metrics
metrics.webhook_seconds.observe(0.01)
print(metrics.HERE)
"""
TELL = """
import django; django.setup()
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from django.conf import settings
from intercom_bridge import metrics
if "add up" in sys.argv: metrics.add_up_the_dead(settings.METRICS_DIR)
asked = CollectorRegistry(); MultiProcessCollector(asked, path=str(settings.METRICS_DIR))
print(generate_latest(asked).decode())
"""


def process(code: str, directory: Path, *arguments: str, **more: str) -> str:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "settings.development",
        "VAR_DIR": str(directory),
        "METRICS_TOKEN": TOKEN,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=BASE_DIR,
        env=environment | more,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_what_several_processes_counted_is_added_up(tmp_path: Path) -> None:
    for _ in range(3):
        process(COUNT, tmp_path)
    assert samples(process(TELL, tmp_path))[("bridge_webhook_seconds_count",)] == 3


def test_what_the_dead_have_counted_is_kept_in_one_file(tmp_path: Path) -> None:
    """Prometheus takes a sum that gets smaller for a new beginning, and all that is left of it for new."""
    for _ in range(2):
        process(COUNT, tmp_path)
        # The one that adds up has files of its own.
        assert process(TELL, tmp_path, "add up")
    told = samples(process(TELL, tmp_path, "add up"))
    assert told[("bridge_webhook_seconds_count",)] == 2
    assert told[("bridge_webhook_seconds_bucket", "0.01")] == 2
    assert len(list((tmp_path / "metrics").glob("histogram_*.db"))) == 2


def test_the_living_keep_theirs_of_whatever_machine(tmp_path: Path) -> None:
    living = tmp_path / "counter_another-machine-1.db"
    counts = metrics._CountsOfOne(str(living))
    ended = tmp_path / f"counter_{metrics.HERE}-ended.db"
    dead = tmp_path / f"counter_{metrics.HERE}-{os.getpid()}.db"
    silent = tmp_path / "counter_another-machine-2.db"
    for file in (ended, dead, silent):
        file.write_bytes(b"")
    metrics.add_up_the_dead(tmp_path)
    assert sorted(tmp_path.glob("*.db")) == sorted([living, ended])
    counts.close()
    metrics.add_up_the_dead(tmp_path)
    assert list(tmp_path.glob("*.db")) == [ended]


def test_who_asks_adds_up_what_commands_leave_behind(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.METRICS_DIR = tmp_path / "metrics"
    for _ in range(3):
        process(COUNT, tmp_path)
    assert told(client)[("bridge_webhook_seconds_count",)] == 3
    assert [file.stem for file in settings.METRICS_DIR.glob("*.db")] == [f"histogram_{metrics.HERE}-ended"]


@pytest.mark.parametrize("trouble", ["gone", "unreadable"])
def test_what_waits_is_told_whatever_has_become_of_the_counts(
    client: Client, settings: Settings, tmp_path: Path, trouble: str
) -> None:
    settings.METRICS_DIR = tmp_path / "metrics"
    if trouble == "unreadable":
        settings.METRICS_DIR.mkdir()
        metrics._CountsOfOne(str(settings.METRICS_DIR / "counter_a-1.db")).close()
        counts = metrics._CountsOfOne(str(settings.METRICS_DIR / "counter_b-2.db"))
        counts._m[:4] = b"\xff\xff\xff\x7f"
    assert told(client)[("bridge_workers_alive",)] == 0


def test_a_full_disk_ends_no_process(tmp_path: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    assert process(full + COUNT, tmp_path)
    assert not list((tmp_path / "metrics").glob("*.db"))


def test_a_disk_that_fills_up_ends_no_process_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = metrics._CountsOfOne(str(tmp_path / "counter_a-1.db"))
    counts.write_value("a", 1.0, 0.0)

    def full(*_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        for number in range(10_000):
            counts.write_value(f"a label that is not short at all {number}", 1.0, 0.0)
    assert counts.read_value("a")[0] == 1.0


def test_what_cannot_be_added_up_stops_nothing(tmp_path: Path) -> None:
    broken = tmp_path / f"counter_{metrics.HERE}-4194304.db"
    broken.write_bytes(b"xx")
    dead = tmp_path / f"histogram_{metrics.HERE}-4194304.db"
    dead.write_bytes(b"")
    metrics.add_up_the_dead(tmp_path)
    # Nor is it in the way of who reads.
    assert not broken.exists() and not dead.exists()
    metrics.add_up_the_dead(tmp_path / "gone")


def test_a_directory_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert process(COUNT, tmp_path, METRICS_DIR=str(blocked / "metrics"))
