"""Files in both directions are counted once, when their outcome is certain, and their names are not logged."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from prometheus_client import generate_latest

from intercom_bridge.models import (
    EventRules,
    FileToIntercom,
    FileToItop,
    ItopPoll,
    OutgoingMessage,
    TicketLink,
    TicketSnapshot,
    Workspace,
)
from intercom_bridge.ops import metrics
from intercom_bridge.sync import files
from sandbox.intercom import Intercom
from sandbox.intercom.files import File
from sandbox.itop import Itop
from sandbox.itop.files import File as ItopFile
from tests.teammate import WORKSPACE, Teammate, notify

from .test_metrics import samples

Work = Callable[[], None]
Send = Callable[..., None]

LOG = File("gateway.log", b"line 1\nline 2\n")
REPORT = ItopFile("report.txt", b"all of it", "text/plain")
TO_ITOP = ("bridge_files_total", "bridge_file_bytes_total", "bridge_file_seconds_count")
TO_INTERCOM = ("bridge_files_to_intercom_total", "bridge_file_to_intercom_bytes_total")


@pytest.fixture
def send(linked: TicketLink, intercom: Intercom, client: Client) -> Send:
    """Return a function with which somebody sends files in the linked conversation."""
    conversation = intercom.conversation_of("Alice Martin")
    numbers = count(1)

    def send(*attachments: File, **more: Any) -> None:
        written = intercom.write(
            conversation.id,
            attachments=attachments,
            body="Please look",
            created_at=int(time.time()) + 60 + next(numbers),
            **more,
        )
        found = intercom.workspace.conversation_json(intercom.store.conversation(conversation.id))
        parts = found["conversation_parts"]["conversation_parts"]
        part = next(part for part in parts if part["id"] == written.id)
        topic = "conversation.admin.noted" if more.get("note") else "conversation.user.replied"
        assert notify(client, part, topic=topic, id=conversation.id).status_code == 200

    return send


@pytest.fixture
def look(linked: TicketLink, work: Work) -> Work:
    """Return a function that asks iTop for changes and files, and does what follows."""

    def look() -> None:
        TicketSnapshot.objects.update(
            poll_at=Now(), files_read_at=F("files_read_at") - dt.timedelta(minutes=2)
        )
        ItopPoll.objects.update(due_at=Now())
        work()

    look()
    return look


def counts(names: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    found = samples(generate_latest(metrics.registry).decode())
    return {key: value for key, value in found.items() if key[0] in names}


class Increase:
    """What was counted since it was created: name and labels -> increase."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._before = counts(names)

    def get(self) -> dict[tuple[str, ...], float]:
        differences = {key: value - self._before.get(key, 0) for key, value in counts(self._names).items()}
        return {key: difference for key, difference in differences.items() if difference}


def retry(work: Work) -> None:
    FileToItop.objects.waiting().update(due_at=timezone.now() - dt.timedelta(seconds=1))
    work()


def test_a_copied_file_is_counted_with_its_bytes_and_time(send: Send, work: Work) -> None:
    increase = Increase(TO_ITOP)
    send(LOG)
    work()
    retry(work)
    assert increase.get() == {
        ("bridge_files_total", "Sandbox", "", "copied"): 1,
        ("bridge_file_bytes_total", "Sandbox"): len(LOG.content),
        ("bridge_file_seconds_count", "Sandbox"): 1,
    }


def test_failed_and_skipped_files_are_counted_by_their_reason(send: Send, work: Work) -> None:
    Workspace.objects.update(max_file_mb=1)
    increase = Increase(TO_ITOP)
    send(File("screen.mov", b"x" * 1_000_001))
    send(LOG, author="admin", note=True)
    work()
    retry(work)
    assert increase.get() == {
        ("bridge_files_total", "Sandbox", "file_too_large", "failed"): 1,
        ("bridge_files_total", "Sandbox", "file_of_note", "skipped"): 1,
    }


def test_a_file_that_stays_waiting_is_not_counted_until_it_is_copied(
    send: Send, work: Work, intercom: Intercom
) -> None:
    increase = Increase(TO_ITOP)
    intercom.faults.add("error", path="/i/o/", status=503)
    send(LOG)
    work()
    for _ in range(2):
        retry(work)
    assert FileToItop.objects.get().attempts == 3
    assert increase.get() == {}
    intercom.faults.clear()
    retry(work)
    retry(work)
    assert increase.get()["bridge_files_total", "Sandbox", "", "copied"] == 1


def test_a_file_that_was_erased_meanwhile_is_not_counted(send: Send, work: Work) -> None:
    increase = Increase(TO_ITOP)
    send(LOG)
    work()
    row = FileToItop.objects.select_related("ticket__itop", "conversation__workspace__profile").get()
    assert increase.get()
    again = Increase(TO_ITOP)
    FileToItop.objects.erase_content()
    files._save(row)
    assert again.get() == {}


def test_waiting_files_are_part_of_the_backlog_but_not_those_of_a_pause(
    send: Send, work: Work, intercom: Intercom, talking: Teammate
) -> None:
    def backlog() -> tuple[float, float]:
        found = samples(metrics.exposition().decode())
        return found["bridge_waiting", "files"], found["bridge_oldest_waiting_seconds", "files"]

    assert backlog() == (0, 0)
    talking.open().send_click("pause")
    send(LOG)
    work()
    assert FileToItop.objects.waiting().count() == 1
    assert backlog() == (0, 0)
    talking.open().send_click("resume")
    intercom.faults.add("error", path="/i/o/", status=503)
    send(LOG)
    work()
    FileToItop.objects.update(created_at=timezone.now() - dt.timedelta(seconds=90))
    waiting, age = backlog()
    assert waiting == 1 and 89 < age < 150


# Files from iTop


def test_a_posted_file_is_counted_once_for_each_message(
    look: Work, itop: Itop, talking: Teammate, work: Work, linked: TicketLink
) -> None:
    EventRules.objects.create(workspace=Workspace.objects.get(), files="with_reply")
    increase = Increase(TO_INTERCOM)
    itop.act(linked.ticket.object_id, account="jverne", entry="<p>Read it</p>", files=[REPORT])
    look()
    once = {
        ("bridge_files_to_intercom_total", "", "posted", WORKSPACE): 1.0,
        ("bridge_file_to_intercom_bytes_total", WORKSPACE): float(len(REPORT.content)),
    }
    assert increase.get() == once
    talking.open().send_click("news").click("Send to the customer").click("Send")
    work()
    look()
    assert increase.get() == {key: 2 * value for key, value in once.items()}


def test_a_file_that_is_only_named_is_counted_by_its_reason(
    look: Work, itop: Itop, linked: TicketLink, settings: Any
) -> None:
    settings.MAX_FILE_TO_INTERCOM_MB = 1
    increase = Increase(TO_INTERCOM)
    itop.act(linked.ticket.object_id, account="jverne", files=[ItopFile("a.bin", b"x" * 1_100_000)])
    look()
    assert increase.get() == {
        ("bridge_files_to_intercom_total", "file_too_large_for_intercom", "linked", WORKSPACE): 1
    }


def test_the_files_of_a_message_are_counted_when_it_fails_and_not_while_it_waits(
    look: Work, itop: Itop, linked: TicketLink, intercom: Intercom, work: Work
) -> None:
    increase = Increase(TO_INTERCOM)
    intercom.faults.add("error", path="/conversations", status=503)
    itop.act(linked.ticket.object_id, account="jverne", files=[REPORT])
    look()
    assert OutgoingMessage.objects.get().state == "waiting"
    assert increase.get() == {}
    intercom.faults.clear()
    intercom.delete(intercom.conversation_of("Alice Martin").id)
    OutgoingMessage.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
    work()
    assert OutgoingMessage.objects.get().state == "failed"
    assert increase.get() == {
        ("bridge_files_to_intercom_total", "conversation_deleted", "failed", WORKSPACE): 1
    }
    assert FileToIntercom.objects.exclude(state="posted").count() == 1


# Logs


def test_no_log_line_contains_the_name_of_a_file(
    send: Send,
    look: Work,
    work: Work,
    itop: Itop,
    linked: TicketLink,
    intercom: Intercom,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A name may say as much as a message: a log line has the number of the row."""
    caplog.set_level("DEBUG")
    settings.MAX_FILE_TO_INTERCOM_MB = 1
    Workspace.objects.update(max_file_mb=1)
    for name, size in (("salaries-copied.txt", 5), ("salaries-large.txt", 1_000_001), ("salaries.exe", 5)):
        send(File(name, b"x" * size))
    work()
    intercom.faults.add("error", path="/i/o/", status=503)
    send(File("salaries-late.txt", b"x"))
    work()
    intercom.faults.clear()
    files_in_itop = [
        ItopFile("salaries-posted.txt", b"x"),
        ItopFile("salaries-linked.txt", b"x" * 1_100_000),
        ItopFile("salaries.bat", b"x"),
    ]
    itop.act(linked.ticket.object_id, account="jverne", files=files_in_itop)
    look()
    states = set(FileToItop.objects.values_list("state", flat=True))
    states |= set(FileToIntercom.objects.values_list("state", flat=True))
    assert states >= {"copied", "failed", "posted", "linked"}
    logged = caplog.text + "".join(capfd.readouterr())
    assert "file.failed" in logged and "file.postponed" in logged and "file.linked" in logged
    assert "salaries" not in logged
