"""`manage.py demo` with its own processes, ports and directory."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
import requests
from django.core.management import CommandError, call_command

from itop_client import Client
from sandbox.demo_processes import Processes
from sandbox.management.commands.demo import MARK, SANDBOX_TOKEN
from settings.env import BASE_DIR

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
        # A shell that starts pytest in the background makes it, and all that it starts, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def output_of(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=SECONDS)
    return output


def port_options(ports: list[str]) -> tuple[str, ...]:
    return ("--port", ports[0], "--itop-port", ports[1], "--intercom-port", ports[2])


def is_free(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) != 0


def test_the_demo_plays_the_story_and_then_keeps_the_inbox_page_open(tmp_path: Path) -> None:
    ports = free_ports()
    with running_demo(tmp_path / "demo", *port_options(ports)) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Press Ctrl-C to stop" in line:
                break
        story = "".join(lines)
        assert "All is as it should be" in story, story
        base = f"http://127.0.0.1:{ports[0]}"
        assert f"{base}/sandbox/" in story
        assert "Inbox" in requests.get(f"{base}/sandbox/", timeout=5).text
        assert requests.get(f"{base}/static/sandbox/inbox.js", timeout=5).status_code == 200
        assert requests.get(f"{base}/sandbox/api/conversations", timeout=5).json()["conversations"]
        itop_url = f"http://127.0.0.1:{ports[1]}"
        assert "swordfish" not in requests.get(f"{itop_url}/", timeout=5).text
        # A second one would empty the directory of the first.
        with running_demo(tmp_path / "demo", "--once", *port_options(free_ports())) as second:
            output = output_of(second)
        assert second.returncode == 1
        assert f"Another demo is running in {tmp_path / 'demo'}" in output and "--directory" in output
        assert "Traceback" not in output
        play_again(tmp_path / "again", itop_url)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert all(map(is_free, ports))


def dates_of_files(itop_url: str) -> dict[int, str]:
    """Return the dates of all attachments in this iTop, in its own time zone, by ID."""
    found = Client(itop_url, token=SANDBOX_TOKEN).get(
        "Attachment", "SELECT Attachment", fields=["creation_date"], deadline=30
    )
    return {file.id: file.text("creation_date") for file in found}


def play_again(directory: Path, itop_url: str) -> None:
    """Play the story in an iTop that exists, with another person, in the directory of an earlier demo.

    This iTop has the attributes of the PHP extension: its tickets name the first demo's conversation, which must not be
    the second one's. It is in another time zone than the demo assumes at first, and the dates of files are iTop's.
    """
    ports = free_ports()
    directory.mkdir()
    directory.with_name(f".{directory.name}.lock").touch()
    for file in (MARK, "itop.sqlite3", "bridge.sqlite3"):
        (directory / file).write_text("of the earlier one")
    options = ("--itop-token-env", "TOKEN_OF_ITOP", "--person-email", "layla.haddad@globex.example")
    earlier = dates_of_files(itop_url)
    began = dt.datetime.now(ZoneInfo("Europe/Paris")).replace(microsecond=0)
    with running_demo(
        directory,
        "--once",
        *port_options(ports),
        *("--itop-url", f"{itop_url}/"),
        *options,
        TOKEN_OF_ITOP=SANDBOX_TOKEN,
    ) as process:
        output = output_of(process)
    assert process.returncode == 0, output
    assert "ليلى حداد, Globex & Söhne" in output
    assert SANDBOX_TOKEN not in output
    dates = [date for number, date in dates_of_files(itop_url).items() if number not in earlier]
    assert len(dates) >= 4
    assert min(dates) >= f"{began:%Y-%m-%d %H:%M:%S}"
    assert all(map(is_free, ports))


def test_a_port_in_use_is_reported_immediately(tmp_path: Path) -> None:
    ports = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(ports[2])))
        taken.listen()
        with running_demo(tmp_path / "demo", "--once", *port_options(ports)) as process:
            output = output_of(process)
    assert process.returncode == 1
    assert f"Port {ports[2]} is in use" in output and "--intercom-port" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--itop-url", "http://127.0.0.1:9"], "also give --itop-token-env and --person-email"),
        (["--person-email", "a@b.example"], "also give --itop-url"),
        (["--itop-time-zone", "Europe/Paris"], "also give --itop-url"),
        (
            ["--itop-url", "x", "--itop-token-env", "PATH", "--person-email", "a@b.example"]
            + ["--itop-time-zone", "Mars"],
            "Mars is not a time zone",
        ),
        (["--intercom-port", "65536"], "--intercom-port has to be between 1 and 65535, not 65536"),
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
            "iTop did not return the person",
        ),
    ],
    ids=[
        "url-without-token",
        "person-without-url",
        "zone-without-url",
        "no-zone",
        "no-port",
        "token-variable-not-set",
        "unreachable-itop",
    ],
)
def test_invalid_options_are_reported_in_a_sentence(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    assert sentence in refusal(tmp_path / "demo", *options)
    assert not (tmp_path / "demo").exists()


def refusal(directory: Path, *options: str) -> str:
    """Run the command in this process, where it must not get as far as starting others."""
    command = ("demo", "--once", "--directory", str(directory), *port_options(free_ports()), *options)
    with (
        mock.patch("os.execve", side_effect=AssertionError("not refused")),
        pytest.raises(CommandError) as error,
    ):
        call_command(*command)
    return str(error.value)


def test_the_demo_does_not_empty_a_directory_with_other_files(tmp_path: Path) -> None:
    kept = tmp_path / "demo" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("ten years of work")
    assert "Choose another --directory" in refusal(kept.parent)
    assert kept.read_text() == "ten years of work"


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.demo_processes.END_SECONDS", 0.5)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(60)"
    )
    with Processes(tmp_path, os.environ, tmp_path) as processes:
        processes.start("stubborn", "-c", stubborn)
        processes.wait_for_output("stubborn", "up")
        child = processes._children[0].process
    assert child.returncode == -signal.SIGKILL
