"""During an outage of Redis webhooks are acknowledged; afterwards everything continues without a restart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from sandbox.itop import Itop

from .processes import TICKET, Instance, free_port, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed"),
]


class RedisServer:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            return
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._responds, "Redis to respond", 10)

    def _responds(self) -> bool:
        try:
            with Redis.from_url(self.url) as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    def freeze(self) -> None:
        """Accept connections without responding."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path)
    yield redis
    redis.stop()


@pytest.fixture
def instance(tmp_path: Path, migrated: Path, itop: Itop, redis: RedisServer) -> Iterator[Instance]:
    instance = Instance(tmp_path, migrated, itop.url, REDIS_URL=redis.url)
    yield instance
    instance.end()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that the process has used; 0.0 without /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def written(instance: Instance) -> list[str]:
    return [state for state in instance.states() if state == "written"]


def test_messages_received_during_outages_of_redis_are_written_afterwards(
    instance: Instance, redis: RedisServer, itop: Itop
) -> None:
    redis.start()
    instance.start_web()
    worker = instance.start_worker()
    assert instance.post_message(0)[0] == 200
    wait_until(lambda: len(written(instance)) == 1, "the first message to be written", 20)
    redis.stop()
    messages_are_acknowledged_and_written_afterwards(instance, redis, worker, outage=1)
    redis.freeze()
    messages_are_acknowledged_and_written_afterwards(instance, redis, worker, outage=2)
    entries = [entry["message"] for entry in itop.store.log(TICKET)]
    assert entries[-11:] == [f"<p>{number}</p>" for number in range(11)]


def messages_are_acknowledged_and_written_afterwards(
    instance: Instance, redis: RedisServer, worker: subprocess.Popen[bytes], outage: int
) -> None:
    """Send five messages during the worker's first, second, … outage of Redis, which began just now, and end it."""
    for number in range(5 * outage - 4, 5 * outage + 1):
        status, seconds = instance.post_message(number)
        assert status == 200
        assert seconds < 1

    def count(event: str) -> int:
        return instance.log("worker").count(event)

    wait_until(lambda: count("queue.unavailable") == outage, "the worker to notice", 20)
    # The worker does not poll without a pause.
    used = cpu_seconds(worker.pid)
    time.sleep(3)
    assert cpu_seconds(worker.pid) - used < 1
    assert count("queue.unavailable") == outage
    assert count("Traceback") == 0
    redis.start()
    took = wait_until(lambda: len(written(instance)) == 5 * outage + 1, "the rest to be written", 90)
    assert took < 20
    assert worker.poll() is None
    wait_until(lambda: count("queue.available") == outage, "the worker to listen again", 20)


def test_a_worker_started_during_an_outage_of_redis_waits_and_ends_in_time_during_the_next_one(
    instance: Instance, redis: RedisServer, itop: Itop
) -> None:
    instance.record_messages(2)
    worker = instance.start_worker()
    wait_until(lambda: "queue.unavailable" in instance.log("worker"), "the worker to notice", 20)
    redis.start()
    wait_until(lambda: len(written(instance)) == 2, "the waiting messages to be written", 90)
    assert worker.poll() is None
    redis.stop()
    worker.terminate()
    assert worker.wait(10) == 0
