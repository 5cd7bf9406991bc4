"""What Prometheus is told: counted by each process, read from the database when it asks.

Every process of a machine writes what it counts into METRICS_DIR, and whichever web process is asked adds it up
(https://prometheus.github.io/client_python/multiprocess/). Labels are names of ours and members of closed sets: never
what iTop says, never a person, a conversation or a ticket.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from django.conf import settings
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from intercom_bridge import reasons
from intercom_bridge.models import Delivery, ItopInstance, Notification, Posting, Submission, WorkerPulse
from intercom_bridge.models.delivery import reckoned

log = structlog.get_logger(__name__)

HERE = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:80]
# In the place of a process id: what all that are no more have counted.
_ENDED = "ended"
_ROOM = 1 << 16


@contextmanager
def _nobody_adds_up(directory: Path, how: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Who reads meanwhile would count a process twice, or not at all. The one that adds up says LOCK_EX."""
    # Only to read: another account may have made it.
    lock = os.open(directory / "lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


class _Counts(MmapedDict):
    """What is counted, in a mapped file that has its room on the disk beforehand: to write to a page of such a file for
    which there is none ends the process (SIGBUS). Raises OSError instead."""

    def __init__(self, filename: str) -> None:
        with open(filename, "ab") as file:
            _make_room(file.fileno(), _ROOM)
        super().__init__(filename)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + 40 > self._capacity:
            _make_room(self._f.fileno(), 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


class _CountsOfOne(_Counts):
    """Those of this process. A lock on the file tells the others, in whatever container, that it lives."""

    def __init__(self, filename: str) -> None:
        with _nobody_adds_up(Path(filename).parent):
            super().__init__(filename)
            fcntl.flock(self._f, fcntl.LOCK_SH)


def _make_room(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


def _can_be_counted_in(directory: Path) -> bool:
    """Whether a process can have its files there. If not, it counts for itself, and nobody hears of it."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            _make_room(file.fileno(), 4 * _ROOM)
    except OSError as error:
        log.warning("metrics.not_counted", error=type(error).__name__)
        return False
    return True


if settings.METRICS_DIR and _can_be_counted_in(settings.METRICS_DIR):
    values.MmapedDict = _CountsOfOne  # type: ignore[attr-defined, assignment]
    # Process ids are the same in each container that shares a directory.
    values.ValueClass = values.MultiProcessValue(lambda: f"{HERE}-{os.getpid()}")  # type: ignore[no-untyped-call]
else:
    values.ValueClass = values.MutexValue

registry = CollectorRegistry()
_CALLS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)

itop_seconds = Histogram(
    "bridge_itop_call_seconds",
    "Calls of iTop, by operation; outcome is ok or the kind of error.",
    ["itop", "operation", "outcome"],
    buckets=_CALLS,
    registry=registry,
)
intercom_seconds = Histogram(
    "bridge_intercom_call_seconds",
    "Calls of Intercom's API; outcome is ok or the kind of error.",
    ["workspace", "method", "outcome"],
    buckets=_CALLS,
    registry=registry,
)
panel_seconds = Histogram(
    "bridge_panel_answer_seconds",
    "Answers of the panel, by what was clicked.",
    ["screen"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 5.0),
    registry=registry,
)
webhook_seconds = Histogram(
    "bridge_webhook_seconds",
    "Acknowledgements of webhooks: until the notification was committed.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
    registry=registry,
)
deliveries = Counter(
    "bridge_deliveries",
    "Messages that a try has settled; why says why one failed.",
    ["itop", "state", "why"],
    registry=registry,
)

# What a failure is called, by how its sentence begins.
_WHYS = (
    (reasons.TICKET_GONE_BEFORE, "ticket_gone"),
    (reasons.LOG_FULL_BEFORE, "log_full"),
    (reasons.REFUSED.partition("%")[0], "refused"),
    (reasons.GIVEN_UP.partition("%")[0], "given_up"),
    (reasons.ONLY_THIS_ONE.partition("%")[0], "only_this_one"),
)


def why(reason: str) -> str:
    """The failure's name, one of a closed set; "" for none."""
    return next((name for words, name in _WHYS if reason.startswith(words)), "other") if reason else ""


def count_delivery(delivery: Delivery) -> None:
    """A try has settled it, or failed it for good."""
    name = why(delivery.reason) if delivery.state == Delivery.State.FAILED else ""
    with _counting():
        deliveries.labels(delivery.ticket.itop.name, delivery.state, name).inc()


def observe(histogram: Histogram, seconds: float, *labels: str) -> None:
    """So long one of these took."""
    with _counting():
        (histogram.labels(*labels) if labels else histogram).observe(seconds)


@contextmanager
def _counting() -> Iterator[None]:
    """What was done is done: a METRICS_DIR that has gone must not have it done again."""
    try:
        yield
    except OSError as error:
        log.warning("metrics.not_counted", error=type(error).__name__)


class _FromTheDatabase(Collector):
    """What waits, what failed, who lives: asked when Prometheus asks, by indexes of what is not done yet."""

    def collect(self) -> Iterator[Metric]:
        yield from _backlog()
        yield from _by_itop()
        alive = GaugeMetricFamily("bridge_workers_alive", "Workers with a pulse.")
        alive.add_metric([], WorkerPulse.objects.alive().count())
        yield alive


def _backlog() -> Iterator[Metric]:
    waiting = GaugeMetricFamily("bridge_waiting", "What is not done yet.", labels=["kind"])
    oldest = GaugeMetricFamily(
        "bridge_oldest_waiting_seconds", "For how long the oldest of it has been waiting.", labels=["kind"]
    )
    now = timezone.now()
    for kind, rows, since in (
        ("notifications", Notification.objects.filter(verdict=Notification.Verdict.RECEIVED), "received_at"),
        ("deliveries", Delivery.objects.waiting(), "waiting_since"),
        ("creations", Submission.objects.unfinished(), "created_at"),
        ("postings", Posting.objects.unfinished(), "created_at"),
    ):
        found = rows.order_by().aggregate(count=Count("pk"), since=Min(since))
        waiting.add_metric([kind], found["count"])
        oldest.add_metric([kind], (now - found["since"]).total_seconds() if found["since"] else 0.0)
    yield waiting
    yield oldest


def _by_itop() -> Iterator[Metric]:
    paused = GaugeMetricFamily("bridge_itop_paused", "1 while nothing is written to it.", labels=["itop"])
    waiting = GaugeMetricFamily("bridge_itop_waiting", "Messages that wait for it.", labels=["itop"])
    failed = GaugeMetricFamily("bridge_itop_failed", "Messages that failed for good.", labels=["itop", "why"])
    names = dict(ItopInstance.objects.values_list("pk", "name"))
    now = timezone.now()
    pauses = dict(ItopInstance.objects.values_list("pk", "paused_until"))
    itop_id = reckoned("ticket__itop_id")
    waits = dict(Delivery.objects.waiting().order_by().values_list(itop_id).annotate(n=Count("pk")))
    fails: dict[tuple[int, str], int] = {}
    rows = Delivery.objects.filter(state=Delivery.State.FAILED).order_by()
    for itop, reason, count in rows.values_list(itop_id, "reason").annotate(n=Count("pk")):
        key = (itop, why(reason) or "other")
        fails[key] = fails.get(key, 0) + count
    for pk, name in names.items():
        until = pauses[pk]
        paused.add_metric([name], int(until is not None and until > now))
        waiting.add_metric([name], waits.get(pk, 0))
        for (itop, reason), count in fails.items():
            if itop == pk:
                failed.add_metric([name, reason], count)
    yield from (paused, waiting, failed)


def exposition() -> bytes:
    """All of it, in Prometheus' text format."""
    asked = CollectorRegistry()
    asked.register(_FromTheDatabase())
    return generate_latest(asked) + (_counted(settings.METRICS_DIR) if settings.METRICS_DIR else b"")


def _counted(directory: Path) -> bytes:
    """What the processes have counted; nothing where that cannot be read: the rest is told all the same."""
    add_up_the_dead(directory)
    asked = CollectorRegistry()
    try:
        MultiProcessCollector(asked, path=str(directory))  # type: ignore[no-untyped-call]
        with _nobody_adds_up(directory):
            return generate_latest(asked)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        log.warning("metrics.unreadable", file=str(directory), error=type(error).__name__)
        return b""


def add_up_the_dead(directory: Path) -> None:
    """What processes have counted that are no more goes into one file: each that ever lived had files of its own.

    It is not forgotten: where a sum gets smaller, Prometheus takes all that is left of it for new.
    """
    try:
        with _nobody_adds_up(directory, fcntl.LOCK_EX):
            for file in directory.glob("*.db"):
                _add_up_if_dead(file)
    except OSError as error:
        log.warning("metrics.not_added_up", file=str(directory), error=type(error).__name__)


def _add_up_if_dead(file: Path) -> None:
    try:
        if _is_of_the_dead(file):
            _add_up(file)
            file.unlink()
    except OSError as error:
        log.warning("metrics.not_added_up", file=file.name, error=type(error).__name__)


def _is_of_the_dead(file: Path) -> bool:
    if file.stem.endswith(f"-{_ENDED}"):
        return False
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _add_up(file: Path) -> None:
    try:
        counted = list(MmapedDict.read_all_values_from_file(str(file)))  # type: ignore[no-untyped-call]
    except (RuntimeError, struct.error):
        # It died as it made the file: whoever reads it would fail.
        log.warning("metrics.unreadable", file=file.name)
        return
    kind = file.stem.partition("_")[0]
    sums = _Counts(str(file.with_name(f"{kind}_{HERE}-{_ENDED}.db")))
    for key, value, _at, _place in counted:
        sums.write_value(key, sums.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    sums.close()  # type: ignore[no-untyped-call]
