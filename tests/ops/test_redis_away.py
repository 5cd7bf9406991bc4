"""Redis goes away and comes back: webhooks are answered meanwhile, and nothing has to be started again."""

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

from .stage import TICKET, Stage, free_port, wait_until

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
        wait_until(self._answers, "Redis to answer", 10)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    def freeze(self) -> None:
        """It takes connections and answers nothing."""
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
def stage(tmp_path: Path, migrated: Path, itop: Itop, redis: RedisServer) -> Iterator[Stage]:
    stage = Stage(tmp_path, migrated, itop.url, REDIS_URL=redis.url)
    yield stage
    stage.end()


def seconds_of_processor(pid: int) -> float:
    """What the process has used so far; 0.0 where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def written(stage: Stage) -> list[str]:
    return [state for state in stage.states() if state == "written"]


@pytest.mark.parametrize("trouble", ["stop", "freeze"])
def test_messages_that_come_while_redis_is_away_are_written_once_it_is_back(
    stage: Stage, redis: RedisServer, itop: Itop, trouble: str
) -> None:
    redis.start()
    stage.start_web()
    worker = stage.start_worker()
    assert stage.post_message(0)[0] == 200
    wait_until(lambda: len(written(stage)) == 1, "the first message to be written", 20)

    getattr(redis, trouble)()
    for number in range(1, 6):
        status, seconds = stage.post_message(number)
        assert status == 200
        assert seconds < 1
    wait_until(lambda: "queue.away" in stage.log("worker"), "the worker to notice", 20)
    # It does not spend the time on asking as fast as it can.
    spent = seconds_of_processor(worker.pid)
    time.sleep(3)
    assert seconds_of_processor(worker.pid) - spent < 1
    assert stage.log("worker").count("queue.away") == 1
    assert "Traceback" not in stage.log("worker")

    redis.start()
    took = wait_until(lambda: len(written(stage)) == 6, "the rest to be written", 90)
    assert took < 20
    assert worker.poll() is None
    entries = [one["message"] for one in itop.store.log(TICKET)]
    assert entries[-6:] == [f"<p>{number}</p>" for number in range(6)]


def test_a_worker_that_is_started_while_redis_is_away_waits_for_it(
    stage: Stage, redis: RedisServer, itop: Itop
) -> None:
    stage.record_messages(2)
    worker = stage.start_worker()
    wait_until(lambda: "queue.away" in stage.log("worker"), "the worker to notice", 20)
    redis.start()
    wait_until(lambda: len(written(stage)) == 2, "what waited to be written", 90)
    assert worker.poll() is None


def test_sigterm_ends_a_worker_in_time_while_redis_is_away(stage: Stage) -> None:
    worker = stage.start_worker()
    worker.terminate()
    assert worker.wait(10) == 0
