"""`manage.py demo`, as a newcomer runs it: its own processes, its own ports, its own directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from sandbox.demo_processes import Processes
from sandbox.itop import running_itop
from sandbox.itop.seed import TOKEN
from settings.environment import BASE_DIR

pytestmark = pytest.mark.processes
SECONDS = 120


def free_ports() -> list[str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


@contextmanager
def running_demo(directory: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    known = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--directory", str(directory), *options],
        cwd=BASE_DIR,
        env=known | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def everything_of(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=SECONDS)
    return said


def on_ports(ports: list[str]) -> tuple[str, ...]:
    return ("--port", ports[0], "--itop-port", ports[1], "--intercom-port", ports[2])


def is_free(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) != 0


def test_the_story_is_told_and_then_everything_can_be_tried(tmp_path: Path) -> None:
    ports = free_ports()
    with running_demo(tmp_path / "demo", *on_ports(ports)) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if "Ctrl-C ends it all" in line:
                break
        story = "".join(told)
        assert "All is as it should be" in story, story
        base = f"http://127.0.0.1:{ports[0]}"
        assert f"{base}/sandbox/" in story
        assert "Inbox" in requests.get(f"{base}/sandbox/", timeout=5).text
        assert requests.get(f"{base}/static/sandbox/inbox.js", timeout=5).status_code == 200
        assert requests.get(f"{base}/sandbox/api/conversations", timeout=5).json()["conversations"]
        assert "swordfish" not in requests.get(f"http://127.0.0.1:{ports[1]}/", timeout=5).text
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert all(map(is_free, ports))


def test_the_same_story_is_told_of_an_itop_that_is_there_already(tmp_path: Path) -> None:
    ports = free_ports()
    with running_itop() as itop:
        options = ("--itop-url", f"{itop.url}/", "--itop-token-env", "TOKEN_OF_ITOP")
        with running_demo(
            tmp_path / "demo",
            "--once",
            *on_ports(ports),
            *options,
            "--person-email",
            "layla.haddad@globex.example",
            TOKEN_OF_ITOP=TOKEN,
        ) as process:
            said = everything_of(process)
        assert process.returncode == 0, said
        assert "ليلى حداد, Globex & Söhne" in said
        assert itop.calls
    assert all(map(is_free, ports))
    assert TOKEN not in said


def test_a_port_that_is_taken_is_named_at_once(tmp_path: Path) -> None:
    ports = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(ports[2])))
        taken.listen()
        with running_demo(tmp_path / "demo", "--once", *on_ports(ports)) as process:
            said = everything_of(process)
    assert process.returncode == 1
    assert f"Port {ports[2]} is taken" in said and "--intercom-port" in said
    assert "Traceback" not in said


def test_a_second_demo_leaves_the_directory_of_a_running_one_alone(tmp_path: Path) -> None:
    ports = free_ports()
    with running_demo(tmp_path / "demo", *on_ports(ports)) as first:
        assert first.stdout is not None
        assert any("Starting, in" in line for line in first.stdout)
        with running_demo(tmp_path / "demo", "--once", *on_ports(free_ports())) as second:
            said = everything_of(second)
        assert second.returncode == 1
        assert f"Another demo runs in {tmp_path / 'demo'}" in said and "--directory" in said
        assert "Traceback" not in said
        first.send_signal(signal.SIGINT)
        assert "Stopped" in everything_of(first)
    with running_demo(tmp_path / "demo", "--once", *on_ports(ports)) as third:
        said = everything_of(third)
    assert third.returncode == 0, said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--itop-url", "http://127.0.0.1:9"], "give --itop-token-env and --person-email too"),
        (["--person-email", "a@b.example"], "give its --itop-url too"),
        (
            [
                "--itop-url",
                "http://127.0.0.1:9",
                "--itop-token-env",
                "NOT_SET",
                "--person-email",
                "a@b.example",
            ],
            "NOT_SET is not set",
        ),
        (
            ["--itop-url", "http://127.0.0.1:9", "--itop-token-env", "PATH", "--person-email", "a@b.example"],
            "iTop could not be asked for the person",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_sentence(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    with running_demo(tmp_path / "demo", "--once", *on_ports(free_ports()), *options) as process:
        said = everything_of(process)
    assert process.returncode == 1
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "demo").exists()


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "demo" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("ten years of work")
    with running_demo(kept.parent, "--once", *on_ports(free_ports())) as process:
        assert "Choose another --directory" in everything_of(process)
    assert kept.read_text() == "ten years of work"


def test_a_process_that_hangs_on_is_killed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.demo_processes.END_SECONDS", 0.5)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(60)"
    )
    with Processes(tmp_path, os.environ, tmp_path) as processes:
        processes.start("stubborn", "-c", stubborn)
        processes.wait_for_words("stubborn", "up")
        child = processes._children[0].process
    assert child.returncode == -signal.SIGKILL
