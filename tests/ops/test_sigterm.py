"""A worker that receives SIGTERM, as from systemd or Docker, during a write."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.itop import Itop

from .processes import TICKET, Instance, wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def instance(tmp_path: Path, migrated: Path, itop: Itop) -> Iterator[Instance]:
    instance = Instance(tmp_path, migrated, itop.url)
    yield instance
    instance.end()


def messages(itop: Itop) -> list[str]:
    return [entry["message"] for entry in itop.store.log(TICKET)]


def test_the_current_write_is_finished_and_the_next_worker_continues(instance: Instance, itop: Itop) -> None:
    before = messages(itop)
    slow = itop.faults.add("late", operation="core/update", seconds=3, count=100)
    instance.record_messages(5)
    worker = instance.start_worker()
    wait_until(lambda: slow.count == 99, "the first write to begin", 20)
    assert messages(itop) == before
    worker.terminate()
    assert worker.wait(20) == 0, instance.log("worker")
    assert messages(itop) == [*before, "<p>0</p>"]
    assert slow.count == 99
    assert instance.states() == ["written", "waiting", "waiting", "waiting", "waiting"]
    assert instance.ask("SELECT lease_token, lease_until FROM intercom_bridge_ticket") == [("", None)]
    assert instance.ask("SELECT name FROM intercom_bridge_workerheartbeat") == []
    itop.faults.clear()
    instance.start_worker()
    wait_until(lambda: instance.states() == ["written"] * 5, "the rest to be written", 20)
    assert messages(itop) == [*before, *(f"<p>{number}</p>" for number in range(5))]


def test_an_unresponsive_itop_does_not_delay_the_end(instance: Instance, itop: Itop) -> None:
    before = messages(itop)
    silent = itop.faults.add("late", operation="core/update", seconds=60, count=100)
    instance.record_messages(2)
    worker = instance.start_worker()
    wait_until(lambda: silent.count == 99, "the first write to begin", 20)
    worker.terminate()
    # As long as systemd waits; iTop would take a minute.
    assert worker.wait(20) == 0, instance.log("worker")
    assert messages(itop) == before
    assert instance.states() == ["waiting", "waiting"]
    assert instance.ask("SELECT lease_token, lease_until FROM intercom_bridge_ticket") == [("", None)]


def test_an_idle_worker_ends_immediately_also_with_ctrl_c(instance: Instance) -> None:
    worker = instance.start_worker()
    wait_until(lambda: instance.ask("SELECT name FROM intercom_bridge_workerheartbeat"), "the first beat", 10)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(6) == 0
    assert instance.ask("SELECT name FROM intercom_bridge_workerheartbeat") == []
