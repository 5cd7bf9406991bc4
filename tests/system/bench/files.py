"""Files in both directions: peaks of memory, and the throughput beside that of a plain client with the same files.

The whole measurement takes half an hour and 15 GB of disk space: `make bench ARGS="--only-files --files 500"`.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from itop_client import Client
from sandbox import intercom
from sandbox.demo_inbox import Inbox
from settings.env import BASE_DIR
from tests.system.chaos.children import Child, SystemTestError, free_port, wait_until
from tests.system.notification import PERSON

from .measures import FILLING_SECONDS, TOKEN, Bench, Service, started_by

# Conversations with a ticket each: as many as a ticket's limit for all files (Workspace.max_ticket_files_mb) requires.
MIN_TALKS = 4
TICKET_BYTES = 50_000_000
# Transfers at the same time, as in a worker (worker/queues.py).
CONNECTIONS = 2
# So many files are transferred by the plain client, before and after.
MAX_BARE = 20
MEGABYTE = 1_000_000
NAME = "bench {}.pdf"
SECONDS = 120.0
# Without any progress.
PATIENCE = 180.0
PARTS = ("beginning", "middle", "end")


@dataclass(frozen=True)
class Ends:
    """The two stand-ins, and what is open between them: conversations and tickets in the same order."""

    bench: Bench
    inbox: Inbox
    intercom_url: str
    intercom_database: Path
    talks: list[str]
    tickets: list[tuple[int, str]]


class Peaks:
    """The peaks of a process's resident memory, including its children's, in the thirds of a measurement.

    The kernel keeps the peak of each process, and forgets it on request (only on Linux).
    """

    def __init__(self, child: Child, total: int) -> None:
        self._child = child
        self._total = total
        self._next = 1
        self.megabytes: list[float] = []
        self._forget()

    def reach(self, done: int) -> None:
        """Note the peak if a further third is done."""
        while self._next <= len(PARTS) and done * len(PARTS) >= self._next * self._total:
            self.megabytes.append(sum(map(_peak, self._pids())))
            self._next += 1
            self._forget()

    def check(self) -> None:
        """Raise SystemTestError if the process has ended."""
        if not self._child.is_running:
            raise SystemTestError(f"The process “{self._child.name}” ended unexpectedly.")

    def _forget(self) -> None:
        for pid in self._pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        return [self._child.pid, *started_by(self._child.pid)]

    def __str__(self) -> str:
        each = "   ".join(f"{part} {peak:6.1f} MB" for part, peak in zip(PARTS, self.megabytes, strict=False))
        return f"{each}   end / beginning {self.megabytes[-1] / self.megabytes[0]:.2f}"


def _peak(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def files_both_ways(bench: Bench, count: int, size: int) -> None:
    """Measure `count` files of `size` bytes in each direction."""
    web_port, intercom_port = free_port(), free_port()
    url = f"http://127.0.0.1:{intercom_port}"
    database = bench.directory / "intercom-of-files.sqlite3"
    standin = bench.children.start(
        "intercom of files",
        *("-m", "sandbox.intercom", "--port", str(intercom_port), "--database", str(database)),
        *("--bridge", f"http://127.0.0.1:{web_port}"),
        environment=os.environ,
        directory=BASE_DIR,
    )
    bench.children.wait_for_address(standin, f"{url}/sandbox/state")
    inbox = Inbox(url)
    talks = [
        inbox.begin(name="Alice Martin", email=PERSON, body="Hello")
        for _ in range(max(MIN_TALKS, math.ceil(count * size / TICKET_BYTES)))
    ]
    ends = Ends(bench, inbox, url, database, talks, bench.register(len(talks)))
    service = bench.service(
        "files", talks=[[talk, [ticket], []] for talk, ticket in zip(talks, ends.tickets, strict=True)]
    )
    service.environment["INTERCOM_API_URL"] = url
    web = service.start_web(web_port)
    bench.say(
        f"Files, {count} of {size / MEGABYTE:.1f} MB in each direction, {len(talks)} conversations, SQLite"
    )
    sent = _write_messages(ends, web, count, size)
    _to_itop(ends, service, sent, size)
    _to_intercom(ends, service, count, size)
    web.kill()
    standin.kill()


# --- From Intercom to iTop


def _write_messages(ends: Ends, web: Child, count: int, size: int) -> Peaks:
    """Let customers write all messages, while no worker runs. Return the peaks of the web server."""
    peaks = Peaks(web, count)
    for number in range(count):
        file = {"name": NAME.format(number), "content_type": "application/pdf", "data": _data(size)}
        ends.inbox.write(
            ends.talks[number % len(ends.talks)],
            author="contact",
            body=f"See file {number}.",
            attachments=[file],
        )
        _wait_for_notifications(ends)
        peaks.reach(number + 1)
    return peaks


def _data(size: int) -> str:
    start = b"%PDF-1.7\n"
    return base64.b64encode(start + os.urandom(size - len(start))).decode()


def _wait_for_notifications(ends: Ends) -> None:
    wait_until(
        lambda: ends.inbox.notifications()[-1]["state"] == "delivered",
        "a notification is acknowledged",
        SECONDS,
    )


def _to_itop(ends: Ends, service: Service, web: Peaks, size: int) -> None:
    urls = _urls(ends)
    count = len(urls)
    before = _bare_to_itop(ends, urls[:MAX_BARE])
    worker = service.start_worker()
    peaks = Peaks(worker, count)
    ours = _rate(lambda: _copied(service), count, peaks)
    _stop(worker)
    _require_all_there(ends, count)
    # The addresses may have expired meanwhile.
    after = _bare_to_itop(ends, _urls(ends)[:MAX_BARE])
    _report(ends.bench, "From Intercom to iTop", ours, (before, after), size)
    ends.bench.say(f"  {'peak memory of web':<28}{web}")
    ends.bench.say(f"  {'peak memory of the worker':<28}{peaks}")


def _urls(ends: Ends) -> list[str]:
    """Return fresh addresses of the messages' files, in turn one of each conversation."""
    parts = [ends.inbox.parts(talk) for talk in ends.talks]
    return [
        part["attachments"][0]["url"]
        for turn in itertools.zip_longest(*parts)
        for part in turn
        if part and part["attachments"]
    ]


def _copied(service: Service) -> int:
    (copied,) = service.ask("SELECT count(*) FROM intercom_bridge_filetoitop WHERE state = 'copied'")
    (failed,) = service.ask(
        "SELECT group_concat(reason_code || ' ' || reason_detail) FROM intercom_bridge_filetoitop "
        "WHERE state NOT IN ('copied', 'waiting')"
    )
    if failed:
        raise SystemTestError(f"Files were not copied: {failed}")
    return int(copied)


def _bare_to_itop(ends: Ends, urls: Sequence[str]) -> float:
    """Download the files and create attachments from them, as plainly as possible. Return files per second."""
    ticket = ends.bench.register(1)[0][0]

    def transfer(url: str) -> None:
        with requests.Session() as session:
            session.trust_env = False
            content = session.get(url, timeout=SECONDS).content
            contents = {
                "data": base64.b64encode(content).decode(),
                "mimetype": "application/pdf",
                "filename": "bare.pdf",
                "downloads_count": 0,
            }
            fields = {
                "item_class": "UserRequest",
                "item_id": ticket,
                "item_org_id": ends.bench.person.integer("org_id"),
                "contents": contents,
            }
            request = {
                "operation": "core/create",
                "class": "Attachment",
                "comment": "Bench",
                "fields": fields,
            }
            answer = session.post(
                f"{ends.bench.itop_url}/webservices/rest.php",
                files={"version": (None, "1.3"), "json_data": (None, json.dumps(request))},
                headers={"Auth-Token": TOKEN},
                timeout=SECONDS,
            )
            if answer.json()["code"] != 0:
                raise SystemTestError(f"iTop refused a bare upload: {answer.text[:300]}")

    return _all_at_once(transfer, urls)


def _require_all_there(ends: Ends, count: int) -> None:
    """Raise SystemTestError unless each file of a message is exactly one Attachment."""
    with contextlib.closing(sqlite3.connect(f"file:{ends.bench.itop_database}?mode=ro", uri=True)) as itop:
        ids = ", ".join(str(ticket) for ticket, _ in ends.tickets)
        found = [row[0] for row in itop.execute(f'SELECT temp_id FROM "Attachment" WHERE item_id IN ({ids})')]
    if len(found) != count or len(set(found)) != count:
        raise SystemTestError(
            f"iTop has {len(found)} files, {len(set(found))} different ones; {count} wanted."
        )


# --- From iTop to Intercom


def _to_intercom(ends: Ends, service: Service, count: int, size: int) -> None:
    worker = service.start_worker()
    wait_until(
        lambda: (
            service.ask(
                "SELECT count(*) FROM intercom_bridge_ticketsnapshot WHERE files_read_at IS NOT NULL"
            )[0]
            == len(ends.talks)
        ),
        "the files of all tickets are known",
        FILLING_SECONDS,
        0.5,
    )
    _stop(worker)
    for number in range(count):
        _add_file(ends, ends.tickets[number % len(ends.tickets)][0], number, size)
    before = _bare_to_intercom(ends, min(count, MAX_BARE))
    worker = service.start_worker()
    peaks = Peaks(worker, count)
    ours = _rate(lambda: _posted(service), count, peaks)
    names = [
        file["name"]
        for talk in ends.talks
        for part in ends.inbox.parts(talk)
        if part["app_package_code"]
        for file in part["attachments"]
    ]
    _stop(worker)
    if len(names) != count or len(set(names)) != count:
        raise SystemTestError(
            f"Intercom has {len(names)} files, {len(set(names))} different ones; {count} wanted."
        )
    after = _bare_to_intercom(ends, min(count, MAX_BARE))
    _report(ends.bench, "From iTop to Intercom", ours, (before, after), size)
    ends.bench.say(f"  {'peak memory of the worker':<28}{peaks}")


def _add_file(ends: Ends, ticket: int, number: int, size: int) -> None:
    """Add a file on the ticket's page, as an agent does."""
    with requests.Session() as session:
        session.trust_env = False
        content = base64.b64decode(_data(size))
        answer = session.post(
            f"{ends.bench.itop_url}/pages/UI.php?class=UserRequest&id={ticket}",
            data={"text": "", "action": "attach"},
            files={"files": (f"from itop {number}.pdf", content, "application/pdf")},
            timeout=SECONDS,
        )
    if 'class="done"' not in answer.text:
        raise SystemTestError(f"iTop refused a file on its page: {answer.text[:600]}")


def _posted(service: Service) -> int:
    (posted,) = service.ask("SELECT count(*) FROM intercom_bridge_filetointercom WHERE state = 'posted'")
    (failed,) = service.ask(
        "SELECT group_concat(reason_code || ' ' || reason_detail) FROM intercom_bridge_filetointercom "
        "WHERE state NOT IN ('posted', 'waiting', 'named')"
    )
    if failed:
        raise SystemTestError(f"Files were not posted: {failed}")
    return int(posted)


def _bare_to_intercom(ends: Ends, count: int) -> float:
    """Read files from iTop and post them in a conversation of nobody. Return files per second."""
    client = Client(ends.bench.itop_url, token=TOKEN, deadline=SECONDS)
    added = client.get(
        "Attachment",
        f"SELECT Attachment WHERE item_id = {ends.tickets[0][0]} AND user_id != 0",
        fields=("id",),
    )
    numbers = itertools.islice(itertools.cycle([item.id for item in added]), count)
    talk = ends.inbox.begin(name="Bench", email="bench@example.com", body="Hello")

    def transfer(number: int) -> None:
        found = client.get("Attachment", number, fields=("contents",)).objects[0]
        contents: Any = found.fields["contents"]
        file = {name: contents[of] for name, of in (("data", "data"), ("name", "filename"))}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"{ends.intercom_url}/conversations/{talk}/reply",
                json={
                    "message_type": "note",
                    "type": "admin",
                    "admin_id": ends.inbox.ask("state")["admins"][0]["id"],
                    "body": "<p>Bench</p>",
                    "attachment_files": [file | {"content_type": contents["mimetype"]}],
                },
                headers={"Authorization": f"Bearer {intercom.TOKEN}", "Accept": "application/json"},
                timeout=SECONDS,
            )
            if answer.status_code != 200:
                raise SystemTestError(f"Intercom refused a bare post: {answer.text[:300]}")

    return _all_at_once(transfer, list(numbers))


# --- Both


def _all_at_once(transfer: Callable[[Any], None], each: Sequence[object]) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(transfer, each))
    return len(each) / (time.monotonic() - began)


def _rate(done: Callable[[], int], count: int, peaks: Peaks) -> float:
    """Wait until all are done. Return files per second from the first to the last."""
    first_at = progressed = time.monotonic()
    first = most = 0
    while most < count:
        peaks.check()
        number, now = done(), time.monotonic()
        if number > most:
            if not first:
                first, first_at = number, now
            most, progressed = number, now
            peaks.reach(number)
        if now - progressed > PATIENCE:
            raise SystemTestError(
                f"{most} of {count} files were transferred, and no other in {PATIENCE:.0f} s."
            )
        time.sleep(0.05)
    return (count - first) / max(0.001, progressed - first_at)


def _stop(worker: Child) -> None:
    """Let a worker end what it does, and give back what it has taken."""
    if worker.process is not None:
        worker.process.terminate()
        worker.process.wait(SECONDS)
    # Nothing that ends is checked any more.
    worker.kill()


def _report(bench: Bench, title: str, ours: float, bare: tuple[float, float], size: int) -> None:
    plain = sum(bare) / len(bare)
    bench.say(f"  {title}")
    for label, rate in (("the worker, one process", ours), ("a plain client", plain)):
        bench.say(f"  {label:<28}{rate:6.2f} files per second {rate * size / MEGABYTE:7.1f} MB/s")
    bench.say(f"  {'ratio':<28}{ours / plain:6.2f}   (plain before and after: {bare[0]:.2f}, {bare[1]:.2f})")
