"""The measurements. Each value has a reference value from the same run."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests

from itop_client import Client, append, idempotency_key, quote
from sandbox.intercom import SECRET, WORKSPACE_ID
from settings.env import BASE_DIR
from tests.system.chaos.children import Child, Children, SystemTestError, free_port, wait_until
from tests.system.chaos.environment import SQLITE, Database, Environment, Waits
from tests.system.chaos.result import token_in
from tests.system.notification import ALICE, PATH, PERSON, conversation, reply, signed_headers

from .load import Connection, Result, load, raw_request

Say = Callable[[str], None]
TOKEN = "bench-itop-token"
SESSION = "benchbenchbenchbenchbenchbench00"
MESSENGER_KEY = "0123456789abcdef0123456789abcdef"
CLIENTS = 4
TICKETS = 20
PEOPLE = 10_000
ENTRIES = 60
# PHP's limits, as an admin sets them for files.
ITOP_MAX_BYTES = 64 * 1024 * 1024
# The duration of a write to a real iTop (two cores, PHP 8.2).
WRITE_SECONDS = 0.095
FILLING_SECONDS = 900.0
CONVERSATION = "215472621202693"
# Required to start the worker with DEBUG off.
KEYS = {
    "DEBUG": "0",
    "SECRET_KEY": "bench-" + "0123456789abcdef" * 4,
    "FIELD_ENCRYPTION_KEYS": "YmVuY2gtb25seS1ub3QtYS1zZWNyZXQta2V5LTAwMDE=",
    "PUBLIC_URL": "https://bench.example",
    "ALLOWED_HOSTS": "bench.example,127.0.0.1",
    # No server: none of the measurements needs Intercom.
    "INTERCOM_API_URL": "http://127.0.0.1:9",
    # The maximum rate is measured, without the rate limit of a workspace.
    "CANVAS_REQUESTS_PER_SECOND": "99999",
    "NOTIFICATIONS_PER_SECOND": "99999",
    "MESSENGER_REQUESTS_PER_SECOND": "99999",
    "ACCESS_LOG": "/dev/null",
    "LOG_LEVEL": "WARNING",
}


class Bench:
    """A context manager with an iTop, which ends all processes on exit."""

    def __init__(self, directory: Path, say: Say) -> None:
        self.directory = directory
        self.say = say
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Bench:
        # The default timeouts of the service.
        self.environment = self._stack.enter_context(Environment(SQLITE, self.directory, Waits(8, 10, 180)))
        self.children = self._stack.enter_context(Children(self.directory))
        self.itop_database = self.directory / "itop.sqlite3"
        port = free_port()
        self.itop_url = f"http://127.0.0.1:{port}"
        self.itop_process = itop = self.children.start(
            "itop",
            *("-m", "sandbox.itop", "--port", str(port), "--token", TOKEN),
            *("--database", str(self.itop_database)),
            *("--post-max-size", str(ITOP_MAX_BYTES), "--upload-max-filesize", str(ITOP_MAX_BYTES)),
            environment=self._environment(Database("sqlite://"), self.directory),
            directory=BASE_DIR,
        )
        self.children.wait_for_address(itop, f"{self.itop_url}/")
        self.itop = Client(self.itop_url, token=TOKEN, deadline=30.0)
        self.person = self.itop.get(
            "Person", f"SELECT Person WHERE email = {quote(PERSON)}", fields=("org_id",)
        ).objects[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _environment(self, database: Database, directory: Path) -> dict[str, str]:
        return self.environment.variables(database, directory) | KEYS

    # --- Setup ---

    def service(
        self, name: str, *, rows: int = 0, talks: list[Any] | None = None, itop_url: str = ""
    ) -> Service:
        """Create a database with `rows` notifications and deliveries, without running processes."""
        directory = self.directory / name
        directory.mkdir()
        database = self._stack.enter_context(self.environment.database(directory))
        environment = self._environment(database, directory)
        if talks is None:
            talks = [[CONVERSATION, self.register(1), []]]
        wanted = {
            "itop_url": itop_url or self.itop_url,
            "itop_token": TOKEN,
            "session": SESSION,
            "messenger_key": MESSENGER_KEY,
            "rows": rows,
            "talks": talks,
        }
        file = directory / "rows.json"
        file.write_text(json.dumps(wanted), encoding="utf-8")
        self.children.run(
            f"rows of {name}",
            *("-m", "tests.system.bench.rows", str(file)),
            environment=environment,
            directory=BASE_DIR,
            seconds=FILLING_SECONDS,
        )
        return Service(self, name, database, environment)

    def register(self, count: int) -> list[tuple[int, str]]:
        """Create new tickets in iTop."""
        fields = {
            "org_id": self.person.integer("org_id"),
            "caller_id": self.person.id,
            "title": "Bench",
            "description": "<p>Bench</p>",
        }
        made = [
            self.itop.create("UserRequest", fields, comment="Bench", output_fields=("ref",))
            for _ in range(count)
        ]
        return [(ticket.id, ticket.text("ref")) for ticket in made]

    def calls(self) -> int:
        """Return the number of calls that iTop has answered."""
        answer = requests.get(f"{self.itop_url}/sandbox/state", timeout=10)
        return int(answer.json()["calls"])

    def set_latency(self, seconds: float) -> None:
        answer = requests.post(f"{self.itop_url}/sandbox/faults", json={"latency": seconds}, timeout=10)
        answer.raise_for_status()

    def notification(self, conversation_id: str = CONVERSATION) -> bytes:
        """Return the notification of a new message."""
        number = next(self._numbers)
        text = f"Message chaos-bench-{conversation_id[-4:]}-{number}: it still does not work."
        return reply(conversation_id, number, text)


class Service:
    """A web server and a worker that share a database. Each is started separately."""

    def __init__(self, bench: Bench, name: str, database: Database, environment: dict[str, str]) -> None:
        self.bench = bench
        self.name = name
        self.database = database
        self.environment = environment
        self.url = ""

    def start_web(self, port: int = 0) -> Child:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        web = self.bench.children.start(
            f"web of {self.name}",
            *("-m", "gunicorn", "settings.wsgi"),
            environment=self.environment | {"BIND": f"127.0.0.1:{port}"},
            directory=BASE_DIR,
        )
        self.bench.children.wait_for_address(web, f"{self.url}/healthz")
        return web

    def start_worker(self) -> Child:
        return self.bench.children.start(
            f"worker of {self.name}", "manage.py", "worker", environment=self.environment, directory=BASE_DIR
        )

    def ask(self, query: str) -> tuple[Any, ...]:
        """Return one row of a query on the database."""
        path = self.database.url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return tuple(connection.execute(query).fetchone())

    # --- Requests ---

    def health(self, _client: int) -> Iterator[bytes]:
        raw = raw_request("GET", self.url, "/healthz")
        while True:
            yield raw

    def dashboard(self, _client: int) -> Iterator[bytes]:
        """Yield requests of the dashboard of one workspace, its most expensive page."""
        cookie = {"Cookie": f"sessionid={SESSION}"}
        raw = raw_request("GET", self.url, "/admin/intercom_bridge/dashboard/?workspace=1", headers=cookie)
        while True:
            yield raw

    def webhook(self, _client: int) -> Iterator[bytes]:
        while True:
            body = self.bench.notification()
            yield raw_request("POST", self.url, PATH, body, signed_headers(body))

    def identity(self, people: Iterable[int]) -> Iterator[bytes]:
        """Yield iTop's questions which Messenger to show to each of the people."""
        for person in people:
            question = {
                "time": int(time.time()),
                "nonce": secrets.token_hex(16),
                "page": "itop-portal",
                "person": {"class": "Person", "id": person},
                "profiles": ["Portal user"],
                "language": "EN US",
            }
            body = json.dumps(question).encode()
            signature = hmac.new(MESSENGER_KEY.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-Bridge-Key": MESSENGER_KEY, "X-Bridge-Signature": signature}
            yield raw_request("POST", self.url, "/messenger/identity", body, headers)

    def home(self, _client: int) -> Iterator[bytes]:
        payload = {
            "workspace_id": WORKSPACE_ID,
            "workspace_region": "US",
            "admin": {"type": "admin", "id": "9608799", "name": "Ada Reyes", "email": "ada@acme.example"},
            "contact": ALICE
            | {"type": "contact", "role": "user", "external_id": "user-40", "custom_attributes": {}},
            "conversation": conversation(CONVERSATION),
        }
        body = json.dumps(payload).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Body-Signature": signature}
        raw = raw_request("POST", self.url, "/canvas-kit/initialize", body, headers)
        while True:
            yield raw


# --- Acknowledgements


def acknowledgements(bench: Bench, seconds: float) -> Child:
    """Measure webhooks beside an empty endpoint of the same server. Return the web process."""
    service = bench.service("acknowledgements")
    web = service.start_web()
    empty, taken = Result([], 0.0), Result([], 0.0)
    load(service.url, CLIENTS, service.health, 1)
    load(service.url, CLIENTS, service.webhook, 1)
    for _ in range(3):
        empty += load(service.url, CLIENTS, service.health, seconds / 3)
        taken += load(service.url, CLIENTS, service.webhook, seconds / 3)
    (rows,) = service.ask("SELECT count(*) FROM intercom_bridge_webhookevent")
    if rows < len(taken.times):
        raise SystemTestError(f"{len(taken.times)} were acknowledged, and {rows} are in the database.")
    bench.say(f"Webhooks, {CLIENTS} clients, SQLite (WAL, synchronous=FULL), no worker beside it")
    bench.say(f"  {'acknowledged, committed':<44}{_rate(taken)}")
    bench.say(f"  {'the same server, /healthz':<44}{_rate(empty)}")
    bench.say(f"  {'ratio of the rates':<44}{taken.rate / empty.rate:8.2f}")
    return web


# --- The Messenger in iTop's pages


def identities(bench: Bench, seconds: float) -> None:
    """Measure who sees the Messenger, for people who are asked about for the first time and again."""
    service = bench.service("identities")
    web = service.start_web()
    fields = {"org_id": bench.person.integer("org_id"), "first_name": "Bench"}
    with ThreadPoolExecutor(CLIENTS) as pool:
        people = list(
            pool.map(
                lambda number: (
                    bench.itop.create("Person", {**fields, "name": f"Person {number}"}, comment="Bench").id
                ),
                range(PEOPLE),
            )
        )

    def share(client: int) -> Iterator[bytes]:
        return service.identity(people[client::CLIENTS])

    load(service.url, CLIENTS, service.health, 1)
    calls = bench.calls()
    cold = load(service.url, CLIENTS, share, FILLING_SECONDS)
    cold_calls, calls = bench.calls() - calls, bench.calls()
    warm = load(service.url, CLIENTS, share, FILLING_SECONDS)
    warm_calls = bench.calls() - calls
    empty = load(service.url, CLIENTS, service.health, seconds)
    web.kill()
    bench.say(f"Messenger, {CLIENTS} clients, {PEOPLE} people, SQLite")
    bench.say(f"  {'asked about for the first time':<44}{_rate(cold)}")
    bench.say(f"  {'asked about again':<44}{_rate(warm)}")
    bench.say(f"  {'calls to iTop per person':<44}{cold_calls / PEOPLE:8.2f}{warm_calls / PEOPLE:8.2f}")
    bench.say(f"  {'the same server, /healthz':<44}{_rate(empty)}")
    bench.say(f"  {'ratios of the rates':<44}{cold.rate / empty.rate:8.2f}{warm.rate / empty.rate:8.2f}")


def _rate(result: Result) -> str:
    return f"{result.rate:8.0f} per second   p50 {result.percentile(50):6.1f} ms   p99 {result.percentile(99):6.1f} ms"


# --- Log entries


def entries(bench: Bench) -> Child:
    """Measure writes to 20 tickets, beside plain HTTP clients with as many connections. Return the worker."""
    from django.conf import settings

    connections = settings.WORKER_THREADS
    bench.set_latency(0.0)
    alone = _bare(bench, bench.register(1), 1, 10)
    single = 1 / alone
    bench.set_latency(max(0.0, WRITE_SECONDS - single))
    before = _bare(bench, bench.register(TICKETS), connections, ENTRIES)
    tickets = bench.register(TICKETS)
    talks = [
        [
            str(215_000 + number),
            [ticket],
            [bench.notification(str(215_000 + number)).decode() for _ in range(ENTRIES)],
        ]
        for number, ticket in enumerate(tickets)
    ]
    service = bench.service("entries", talks=talks)
    worker = service.start_worker()
    wanted = TICKETS * ENTRIES

    def written() -> bool:
        bench.children.check(worker)
        query = "SELECT count(*) FROM intercom_bridge_delivery WHERE state = 'written'"
        return bool(service.ask(query)[0] >= wanted)

    wait_until(written, "the entries to be written", 180, 0.25)
    (seconds,) = service.ask(
        "SELECT (julianday(max(written_at)) - julianday(min(written_at))) * 86400 FROM intercom_bridge_delivery"
    )
    ours = (wanted - 1) / seconds
    _require_all_there(bench, tickets)
    after = _bare(bench, bench.register(TICKETS), connections, ENTRIES)
    bare = (before + after) / 2
    bench.say(
        f"Log entries over {TICKETS} tickets, {connections} connections; iTop slowed to "
        f"{1000 * max(WRITE_SECONDS, single):.0f} ms a write; the messages were received before"
    )
    bench.say(f"  {'the worker, one process':<44}{ours:8.1f} per second")
    bench.say(
        f"  {'bare HTTP clients, the same requests':<44}{bare:8.1f} per second   ({before:.1f}, {after:.1f})"
    )
    bench.say(f"  {'ratio (0.90 wanted)':<44}{ours / bare:8.2f}")
    bench.set_latency(0.0)
    return worker


def _require_all_there(bench: Bench, tickets: list[tuple[int, str]]) -> None:
    state: Any = requests.get(f"{bench.itop_url}/sandbox/state", timeout=60).json()
    ids = {ticket for ticket, _ in tickets}
    found = [
        token_in(entry["message"])
        for row in state["tickets"]
        if row["id"] in ids
        for entry in row["public_log"]
    ]
    if len(found) != TICKETS * ENTRIES or len(set(found)) != len(found):
        raise SystemTestError(
            f"The logs hold {len(found)} entries, {len(set(found))} different ones; {TICKETS * ENTRIES} wanted."
        )


class _Captured:
    """A substitute for a client that records the write request."""

    deadline = 1.0

    def update(
        self,
        _class: str,
        key: str,
        fields: Any,
        *,
        comment: str,
        output_fields: tuple[str, ...],
        deadline: float,
    ) -> None:
        self.request = {
            "operation": "core/update",
            "class": "UserRequest",
            "key": key,
            "fields": fields,
            "comment": comment,
            "output_fields": ",".join(output_fields),
        }


def _bare(bench: Bench, tickets: list[tuple[int, str]], connections: int, count: int) -> float:
    """Return entries per second. Each connection takes a ticket, writes its entries in order, then takes the next."""
    todo: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    for ticket, _ref in tickets:
        todo.put([_guarded(bench, ticket, number) for number in range(count)])
    ends: list[float] = []
    lock = threading.Lock()

    def run(_number: int) -> None:
        connection = Connection(bench.itop_url)
        with contextlib.suppress(queue.Empty):
            while True:
                for raw in todo.get_nowait():
                    status, body = connection.request(raw)
                    if status != 200 or json.loads(body)["code"] != 0:
                        raise SystemTestError(f"iTop refused a bare write: {body[:300]!r}")
                    with lock:
                        ends.append(time.monotonic())
        connection.close()

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(run, range(connections)))
    # From the first to the last write, as for the worker.
    return (len(ends) - 1) / (max(ends) - min(ends))


def _guarded(bench: Bench, ticket: int, number: int) -> bytes:
    captured: Any = _Captured()
    item = {
        "message": f"<p>Message {number}: it still does not work.</p>",
        "format": "html",
        "date": "@1768031789",
        "user_id": 0,
        "user_login": "Alice Martin (Intercom)",
    }
    mark = idempotency_key(f"Intercom message {39_000_000_000 + number} ({WORKSPACE_ID})", "Alice Martin")
    append(
        captured, "UserRequest", ticket, "public_log", item, idempotency_key=mark, output_fields=("status",)
    )
    body = urlencode({"version": "1.3", "json_data": json.dumps(captured.request)}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Auth-Token": TOKEN}
    return raw_request("POST", bench.itop_url, "/webservices/rest.php", body, headers)


# --- A large database


def sizes(bench: Bench, few: int, many: int, seconds: float) -> None:
    """Measure acknowledgement and home screen with a small and a large database, alternately."""
    services = {}
    for rows in (few, many):
        began = time.monotonic()
        services[rows] = bench.service(f"rows-{rows}", rows=rows)
        if rows == many:
            bench.say(
                f"({many:,} notifications and deliveries were made in {time.monotonic() - began:.0f} seconds)"
            )
        services[rows].start_web()
    bench.say("With many notifications and deliveries in the database, one client, median")
    for label, name in (("acknowledgement", "webhook"), ("home screen*", "home")):
        results = {rows: Result([], 0.0) for rows in services}
        for service in services.values():
            load(service.url, 1, getattr(service, name), 1)
        for _ in range(4):
            for rows, service in services.items():
                results[rows] += load(service.url, 1, getattr(service, name), seconds / 4)
        medians = {rows: result.percentile(50) for rows, result in results.items()}
        bench.say(
            f"  {label:<20}{few:>9,} rows {medians[few]:7.2f} ms   {many:>9,} rows {medians[many]:7.2f} ms   "
            f"ratio {medians[many] / medians[few]:.2f} (1.20 at most wanted)"
        )
    for rows, service in services.items():
        seen = load(service.url, 1, service.dashboard, seconds / 4)
        bench.say(
            f"  the admin's dashboard of {rows:>9,} rows {seen.percentile(50):7.0f} ms   (1,000 at most wanted)"
        )
    bench.say("  * with a call to iTop every twenty seconds, as for a conversation that is opened repeatedly")


# --- Memory


def memory(child: Child) -> str:
    """Return the resident memory of a process and its children, in MB."""
    pids = [child.pid, *started_by(child.pid)]
    sizes = [_resident(pid) for pid in pids]
    if len(sizes) == 1:
        return f"{sizes[0]:.0f} MB"
    each = ", ".join(f"{size:.0f}" for size in sizes)
    return f"{sum(sizes):.0f} MB in {len(sizes)} processes ({each}); shared memory is counted in each"


def started_by(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0
