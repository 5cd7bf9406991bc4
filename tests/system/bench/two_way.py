"""The way back: from a save in iTop to the post in Intercom, and what the polling costs with many linked tickets."""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.demo_inbox import Inbox
from settings.env import BASE_DIR
from tests.system.chaos.children import Child, free_port, wait_until
from tests.system.chaos.proxy import Proxy
from tests.system.chaos.result import token_in
from tests.system.notification import PERSON

from .measures import CLIENTS, FILLING_SECONDS, Bench, Service

FEW, USUAL, MANY = 100, 1_000, 10_000
# Entries of agents, each in another ticket and conversation, at random moments.
SAVES = 40
SAVES_SECONDS = 45.0
POLL_SECONDS = 15.0
# A poll looks so far behind the newest change (events/reading.py).
OVERLAP_SECONDS = 120.0
# Without a call to Intercom for this long, the worker has finished what follows from new links.
QUIET_SECONDS = 10.0
HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """What polling takes in an hour in which nothing changes: calls to iTop, and CPU seconds of iTop and worker."""

    calls: float
    itop: float
    worker: float


def way_back(bench: Bench, seconds: float) -> None:
    """Measure the polling of few, many and very many linked tickets, and the time from a save to its post."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        tickets = [made for some in pool.map(bench.register, [1] * MANY) for made in some]
    # Otherwise each poll would read all of them again, because they changed shortly before the newest change.
    time.sleep(OVERLAP_SECONDS + 1)
    bench.itop.update("UserRequest", tickets[0][0], {"title": "The newest change"}, comment="Bench")
    port = free_port()
    intercom = bench.children.start(
        "intercom",
        *("-m", "sandbox.intercom", "--port", str(port), "--bridge", "http://127.0.0.1:9"),
        *("--database", str(bench.directory / "intercom.sqlite3")),
        environment=os.environ,
        directory=BASE_DIR,
    )
    url = f"http://127.0.0.1:{port}"
    bench.children.wait_for_address(intercom, f"{url}/sandbox/state")
    inbox = Inbox(url)
    talks = [inbox.begin(name="Alice Martin", email=PERSON, body="Hello") for _ in range(SAVES)]
    costs: dict[int, Cost] = {}
    latencies: list[float] = []
    with Proxy([url], free_port()) as to_intercom, Proxy([bench.itop_url], free_port()) as to_itop:
        for linked in (FEW, USUAL, MANY):
            links = _links(talks, tickets[:linked])
            service = bench.service(f"linked-{linked}", talks=links, itop_url=to_itop.url)
            service.environment["INTERCOM_API_URL"] = to_intercom.url
            worker = service.start_worker()
            _wait_until_read(service, linked)
            _wait_until_quiet(to_intercom)
            costs[linked] = _cost(bench, to_itop, worker, max(seconds, 4 * POLL_SECONDS))
            if linked == USUAL:
                latencies = _latencies(bench, to_intercom, tickets)
            worker.kill()
    _report(bench, costs, latencies)


def _links(talks: list[str], tickets: list[tuple[int, str]]) -> list[object]:
    """Return one ticket for each conversation that Intercom knows, and the rest for another one."""
    rest = ["bench-rest", tickets[len(talks) :], []]
    return [*([talk, [ticket], []] for talk, ticket in zip(talks, tickets, strict=False)), rest]


def _wait_until_read(service: Service, linked: int) -> None:
    """Wait until the state of so many tickets is known."""
    query = "SELECT count(*) FROM intercom_bridge_ticketsnapshot WHERE first_read_at IS NOT NULL"
    wait_until(lambda: service.ask(query)[0] == linked, "all tickets are read", FILLING_SECONDS, 0.5)


def _wait_until_quiet(to_intercom: Proxy) -> None:
    began = time.monotonic()

    def is_quiet() -> bool:
        last = max([began, *(call.begun for call in list(to_intercom.calls))])
        return time.monotonic() - last > QUIET_SECONDS

    wait_until(is_quiet, "the worker does no more than polling", FILLING_SECONDS, 0.5)


def _cost(bench: Bench, to_itop: Proxy, worker: Child, seconds: float) -> Cost:
    before, began = (len(to_itop.calls), _cpu(bench.itop_process), _cpu(worker)), time.monotonic()
    time.sleep(seconds)
    factor = HOUR / (time.monotonic() - began)
    after = (len(to_itop.calls), _cpu(bench.itop_process), _cpu(worker))
    calls, itop, cpu = (factor * (later - earlier) for earlier, later in zip(before, after, strict=True))
    return Cost(calls, itop, cpu)


def _cpu(child: Child) -> float:
    """Return the CPU seconds that a process has used (only on Linux)."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _latencies(bench: Bench, proxy: Proxy, tickets: list[tuple[int, str]]) -> list[float]:
    """Return the seconds from each save in iTop to the answer to its post."""
    saved: dict[str, float] = {}
    lock = threading.Lock()

    def save(number: int) -> None:
        time.sleep(random.uniform(0, SAVES_SECONDS))
        token = f"chaos-bench-save-{number}"
        item = {"message": f"<p>An agent wrote {token}.</p>", "format": "html"}
        bench.itop.update(
            "UserRequest", tickets[number][0], {"public_log": {"add_item": item}}, comment="An agent"
        )
        with lock:
            saved[token] = time.monotonic()

    def posted() -> dict[str, float]:
        calls = [call for call in list(proxy.calls) if call.path.endswith("/reply") and call.status == 200]
        return {token_in(call.body.decode("utf-8", "replace")): call.ended for call in calls}

    with ThreadPoolExecutor(SAVES) as pool:
        list(pool.map(save, range(SAVES)))
    wait_until(lambda: len(posted()) >= SAVES, "all saves are posted", 10 * POLL_SECONDS)
    at = posted()
    return [at[token] - moment for token, moment in saved.items()]


def _report(bench: Bench, costs: dict[int, Cost], latencies: list[float]) -> None:
    middle, high = (statistics.quantiles(latencies, n=20, method="inclusive")[place] for place in (9, 18))
    bench.say(
        f"From iTop to Intercom, {USUAL:,} linked tickets that are all active, a poll every {POLL_SECONDS:.0f} s"
    )
    bench.say(
        f"  {'from a save to its post':<28}p50 {middle:5.1f} s   p95 {high:5.1f} s   "
        f"(the wait for the poll alone: {0.5 * POLL_SECONDS:.1f} and {0.95 * POLL_SECONDS:.1f} s)"
    )
    bench.say("  Polling while nothing changes, per hour")
    for linked, cost in costs.items():
        bench.say(
            f"  {linked:>9,} tickets   {cost.calls:7.0f} calls to iTop   {cost.itop:7.1f} s CPU of the sandbox iTop   "
            f"{cost.worker:7.1f} s of the worker"
        )
    few, many = costs[FEW], costs[MANY]
    bench.say(
        f"  {'ratio, tickets ' + str(MANY // FEW):<28}calls {many.calls / few.calls:5.1f}   "
        f"CPU of iTop {many.itop / few.itop:5.1f}   of the worker {many.worker / few.worker:5.1f}"
    )
