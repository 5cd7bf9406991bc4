"""A short `make chaos`, as CI runs it: real processes, real HTTP, injected faults, and nothing lost."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from settings.env import BASE_DIR
from tests.system.chaos.children import Children
from tests.system.chaos.proxy import Call
from tests.system.chaos.result import Result, SentMessage, Ticket, TicketLogs, tally
from tests.system.chaos.two_way import Story

SECONDS = 240


def chaos(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.system.chaos",
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
@pytest.mark.parametrize("scenario", ["1"])  # `make chaos` runs the others
def test_nothing_is_lost_doubled_or_out_of_order(tmp_path: Path, scenario: str) -> None:
    ended = chaos(tmp_path / "chaos", "--scenarios", scenario)
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    found = re.search(r"sent +(\d+)  written +(\d+)  duplicated (\d+)  out of order (\d+)", output)
    assert found is not None, output
    sent, written_count, duplicated, out_of_order = map(int, found.groups())
    assert sent == written_count > 0
    assert duplicated == out_of_order == 0


def test_processes_are_ended_after_an_exception(tmp_path: Path) -> None:
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


# The counting must recognize each kind of error.

TICKET = Ticket(7, "R-000007")
FIRST, SECOND = SentMessage("chaos-a-0-1", 11, 100), SentMessage("chaos-a-0-2", 12, 100)


def acknowledged(message: SentMessage, at: float) -> Call:
    return Call(at - 0.1, "/webhooks/intercom", f'{{"id": "n", "body": "{message.token}"}}'.encode(), at, 200)


def written(message: SentMessage, at: float, idempotency_key: str = "M") -> Call:
    request = (
        '{"operation": "core/update", "key": "SELECT UserRequest AS t WHERE t.id = 7", '
        f'"comment": "{idempotency_key} {message.token}", "fields": {{"public_log": "{message.token}"}}}}'
    )
    return Call(at, "/webservices/rest.php", f"json_data={request}".encode(), at + 0.05, 200)


def log_of(*messages: SentMessage) -> list[TicketLogs]:
    return [
        TicketLogs(
            TICKET, {"public_log": [f"<p>{message.token}</p>" for message in messages], "private_log": []}
        )
    ]


def test_a_correct_log_is_good() -> None:
    result = tally(
        [FIRST, SECOND],
        log_of(FIRST, SECOND),
        [acknowledged(FIRST, 1.0), acknowledged(SECOND, 1.1)],
        [written(FIRST, 2.0), written(SECOND, 3.0)],
    )
    assert result.is_good
    assert (result.sent, result.written) == (2, 2)


def test_a_lost_and_a_doubled_entry_are_counted() -> None:
    result = tally([FIRST, SECOND], log_of(FIRST, FIRST), [], [])
    assert (result.sent, result.written, result.duplicated) == (2, 1, 1)
    assert not result.is_good


def test_an_earlier_message_that_was_committed_and_overtaken_is_out_of_order() -> None:
    calls = [written(SECOND, 3.0), written(FIRST, 4.0)]
    overtaken = tally(
        [FIRST, SECOND], log_of(SECOND, FIRST), [acknowledged(FIRST, 1.0), acknowledged(SECOND, 2.0)], calls
    )
    assert overtaken.out_of_order == 1
    acknowledged_later = tally(
        [FIRST, SECOND], log_of(SECOND, FIRST), [acknowledged(FIRST, 3.5), acknowledged(SECOND, 2.0)], calls
    )
    assert acknowledged_later.out_of_order == 0


def test_an_entry_with_another_key_is_restored_and_not_out_of_order() -> None:
    began = time.monotonic()
    result = tally(
        [FIRST, SECOND],
        log_of(SECOND, FIRST),
        [acknowledged(FIRST, began), acknowledged(SECOND, began)],
        [written(FIRST, began + 1), written(SECOND, began + 2), written(FIRST, began + 9, "M again")],
    )
    assert (result.written, result.restored, result.out_of_order) == (2, 1, 0)


# Both ways


@dataclass
class FakeTestbed:
    """The logs of the ticket and the notes in the conversation, at the end of a scenario."""

    log: list[str]
    notes: list[str]
    talks: dict[str, list[Ticket]] = field(default_factory=lambda: {"c": [TICKET]})

    def final_logs(self) -> list[TicketLogs]:
        return [TicketLogs(TICKET, {"public_log": self.log, "private_log": []})]

    def inbox(self) -> FakeTestbed:
        return self

    def parts(self, _conversation_id: str) -> list[dict[str, str]]:
        return [{"part_type": "note", "body": body} for body in self.notes]


def counted(*, log: list[str], notes: list[str]) -> Result:
    """Count after an agent wrote chaos-a-0-1 and -2 and changed the status twice, and a customer chaos-a-c-1."""
    story = Story(FakeTestbed(log, notes), entries=1, seconds=0)  # type: ignore[arg-type]
    story.entries[TICKET.id] = ["chaos-a-0-1", "chaos-a-0-2"]
    story.changes[TICKET.id] = ["chaos-a-s0-1", "chaos-a-s0-2"]
    story.messages["c"] = ["chaos-a-c-1"]
    return story.count()


LOG = ["chaos-a-0-1", "chaos-a-c-1", "chaos-a-0-2"]
NOTES = ["chaos-a-0-1", "chaos-a-0-2, chaos-a-s0-2"]


def test_what_was_reported_once_and_in_order_is_good() -> None:
    assert counted(log=LOG, notes=NOTES).is_good
    # Of several changes of status the last one is enough, and of lost entries none is needed.
    assert counted(log=LOG[1:], notes=["chaos-a-0-2", "chaos-a-s0-1", "chaos-a-s0-2"]).is_good


@pytest.mark.parametrize(
    ("log", "notes"),
    [
        (LOG, NOTES[:1]),
        (LOG, ["chaos-a-0-1", "chaos-a-0-2"]),
        (LOG, [*NOTES, "chaos-a-0-2"]),
        (LOG, [NOTES[1], NOTES[0]]),
        (LOG, [*NOTES, "chaos-a-c-1"]),
        (LOG, [*NOTES, "chaos-another-0-1"]),
        (["chaos-a-0-1", "chaos-a-0-2"], NOTES),
        ([*LOG, "chaos-a-c-1"], NOTES),
    ],
    ids=["missing", "state", "twice", "order", "own", "elsewhere", "unwritten", "written twice"],
)
def test_each_error_of_reporting_is_recognised(log: list[str], notes: list[str]) -> None:
    assert not counted(log=log, notes=notes).is_good
