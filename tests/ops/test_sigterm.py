"""SIGTERM, as systemd and Docker send it, in the middle of a write."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.itop import Itop

from .stage import TICKET, Stage, wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def stage(tmp_path: Path, migrated: Path, itop: Itop) -> Iterator[Stage]:
    stage = Stage(tmp_path, migrated, itop.url)
    yield stage
    stage.end()


def messages(itop: Itop) -> list[str]:
    return [one["message"] for one in itop.store.log(TICKET)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_write_in_hand_is_finished_and_no_other_is_begun(
    stage: Stage, itop: Itop, number: signal.Signals
) -> None:
    before = messages(itop)
    slow = itop.faults.add("late", operation="core/update", seconds=3, count=100)
    stage.record_messages(5)
    worker = stage.start_worker()
    wait_until(lambda: slow.count == 99, "the first write to begin", 20)
    assert messages(itop) == before
    began = time.monotonic()
    worker.send_signal(number)
    assert worker.wait(15) == 0, stage.log("worker")
    assert time.monotonic() - began < 10
    assert messages(itop) == [*before, "<p>0</p>"]
    assert slow.count == 99
    assert stage.states() == ["written", "waiting", "waiting", "waiting", "waiting"]
    assert stage.ask("SELECT lease_token, lease_until FROM intercom_bridge_ticket") == [("", None)]
    assert stage.ask("SELECT name FROM intercom_bridge_workerpulse") == []


def test_the_next_worker_goes_on_where_the_last_one_ended(stage: Stage, itop: Itop) -> None:
    before = messages(itop)
    slow = itop.faults.add("late", operation="core/update", seconds=1, count=100)
    stage.record_messages(5)
    worker = stage.start_worker()
    wait_until(lambda: slow.count == 99, "the first write to begin", 20)
    worker.terminate()
    assert worker.wait(15) == 0
    itop.faults.clear()
    stage.start_worker()
    wait_until(lambda: stage.states() == ["written"] * 5, "the rest to be written", 20)
    assert messages(itop) == [*before, *(f"<p>{number}</p>" for number in range(5))]


def test_an_itop_that_does_not_answer_is_not_waited_for(stage: Stage, itop: Itop) -> None:
    before = messages(itop)
    silent = itop.faults.add("late", operation="core/update", seconds=60, count=100)
    stage.record_messages(2)
    worker = stage.start_worker()
    wait_until(lambda: silent.count == 99, "the first write to begin", 20)
    began = time.monotonic()
    worker.terminate()
    assert worker.wait(15) == 0, stage.log("worker")
    assert time.monotonic() - began < 10
    assert messages(itop) == before
    assert stage.states() == ["waiting", "waiting"]
    assert stage.ask("SELECT lease_token, lease_until FROM intercom_bridge_ticket") == [("", None)]


def test_a_worker_with_nothing_in_hand_ends_at_once(stage: Stage) -> None:
    worker = stage.start_worker()
    wait_until(lambda: stage.ask("SELECT name FROM intercom_bridge_workerpulse"), "the first beat", 10)
    began = time.monotonic()
    worker.terminate()
    assert worker.wait(15) == 0
    assert time.monotonic() - began < 3
    assert stage.ask("SELECT name FROM intercom_bridge_workerpulse") == []
