"""A short `manage.py chaos`, as CI runs it: real processes, real HTTP, trouble, and nothing lost."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.chaos.children import Children
from sandbox.chaos.tally import Said, Ticket, TicketLogs, tally
from sandbox.chaos.tap import Call
from settings.environment import BASE_DIR

SECONDS = 240


def chaos(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [
            sys.executable,
            "manage.py",
            "chaos",
            "--on",
            "sqlite",
            "--short",
            "--directory",
            str(directory),
            *options,
        ],
        cwd=BASE_DIR,
        env=known,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.processes
@pytest.mark.parametrize("scenario", ["1", "3", "6"])
def test_nothing_is_lost_doubled_or_out_of_order(tmp_path: Path, scenario: str) -> None:
    ended = chaos(tmp_path / "chaos", "--scenarios", scenario)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    found = re.search(r"sent +(\d+)  kept +(\d+)  doubled (\d+)  out of order (\d+)", said)
    assert found is not None, said
    sent, kept, doubled, out_of_order = map(int, found.groups())
    assert sent == kept > 0
    assert doubled == out_of_order == 0


def test_what_was_started_is_ended_whatever_happens(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        f"import socket, time; s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(); time.sleep(60)"
    )
    with pytest.raises(RuntimeError), Children(tmp_path) as children:
        child = children.start("stubborn", "-c", code, environment=dict(os.environ), directory=tmp_path)
        raise RuntimeError
    assert not child.is_running


# The counting has to notice what it is there to notice.

TICKET = Ticket(7, "R-000007")
FIRST, SECOND = Said("chaos-a-0-1", 11, 100), Said("chaos-a-0-2", 12, 100)


def answered(message: Said, at: float) -> Call:
    return Call(at - 0.1, "/webhooks/intercom", f'{{"id": "n", "body": "{message.token}"}}'.encode(), at, 200)


def written(message: Said, at: float, marker: str = "M") -> Call:
    request = (
        '{"operation": "core/update", "key": "SELECT UserRequest AS t WHERE t.id = 7", '
        f'"comment": "{marker} {message.token}", "fields": {{"public_log": "{message.token}"}}}}'
    )
    return Call(at, "/webservices/rest.php", f"json_data={request}".encode(), at + 0.05, 200)


def log_of(*messages: Said) -> list[TicketLogs]:
    return [
        TicketLogs(TICKET, {"public_log": [f"<p>{one.token}</p>" for one in messages], "private_log": []})
    ]


def test_what_is_as_it_should_be_is_good() -> None:
    score = tally(
        [FIRST, SECOND],
        log_of(FIRST, SECOND),
        [answered(FIRST, 1.0), answered(SECOND, 1.1)],
        [written(FIRST, 2.0), written(SECOND, 3.0)],
    )
    assert score.is_good
    assert (score.sent, score.kept) == (2, 2)


def test_a_lost_and_a_doubled_entry_are_counted() -> None:
    score = tally([FIRST, SECOND], log_of(FIRST, FIRST), [], [])
    assert (score.sent, score.kept, score.doubled) == (2, 1, 1)
    assert not score.is_good


def test_an_earlier_message_that_was_committed_and_overtaken_is_out_of_order() -> None:
    calls = [written(SECOND, 3.0), written(FIRST, 4.0)]
    overtaken = tally(
        [FIRST, SECOND], log_of(SECOND, FIRST), [answered(FIRST, 1.0), answered(SECOND, 2.0)], calls
    )
    assert overtaken.out_of_order == 1
    came_later = tally(
        [FIRST, SECOND], log_of(SECOND, FIRST), [answered(FIRST, 3.5), answered(SECOND, 2.0)], calls
    )
    assert came_later.out_of_order == 0


def test_what_was_written_again_under_another_marker_is_restored_and_not_out_of_order() -> None:
    began = time.monotonic()
    score = tally(
        [FIRST, SECOND],
        log_of(SECOND, FIRST),
        [answered(FIRST, began), answered(SECOND, began)],
        [written(FIRST, began + 1), written(SECOND, began + 2), written(FIRST, began + 9, "M again")],
    )
    assert (score.kept, score.restored, score.out_of_order) == (2, 1, 0)
