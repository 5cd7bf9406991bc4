"""Prometheus metrics: counters and histograms that each process counts, and gauges that are read from the database.

If METRICS_TOKEN is set, prometheus_client runs in its multiprocess mode (settings/base.py sets
PROMETHEUS_MULTIPROC_DIR): web processes and workers write their counts to files in METRICS_DIR, and the web process
that gets Prometheus' request adds them up (https://prometheus.github.io/client_python/multiprocess/). The files of
ended processes are kept: if a sum became smaller, Prometheus would take this for a restart from zero, and count the
rest of the sum as new events.

The values of labels are codes and configured names. No label contains text from iTop or Intercom, or names a person or
a ticket.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
from django.conf import settings
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from intercom_bridge.models import (
    Delivery,
    FileToIntercom,
    FileToItop,
    ItopInstance,
    ItopPoll,
    OutgoingMessage,
    TicketCreation,
    WebhookEvent,
    WorkerHeartbeat,
)

log = structlog.get_logger(__name__)

registry = CollectorRegistry()
_counter, _histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
_CALL_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)

itop_seconds = _histogram(
    "bridge_itop_call_seconds",
    "Duration of calls to iTop, by operation. outcome: ok, or the class of the error.",
    ["itop", "operation", "outcome"],
    buckets=_CALL_BUCKETS,
)
intercom_seconds = _histogram(
    "bridge_intercom_call_seconds",
    "Duration of calls to Intercom's API. outcome: ok, or the class of the error.",
    ["workspace", "method", "outcome"],
    buckets=_CALL_BUCKETS,
)
panel_seconds = _histogram(
    "bridge_panel_answer_seconds",
    "Duration of panel responses, by action.",
    ["screen"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 5.0),
)
webhook_seconds = _histogram(
    "bridge_webhook_seconds",
    "Time from the receipt of a webhook notification until it was stored.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
messenger_seconds = _histogram(
    "bridge_messenger_identity_seconds",
    "Duration of responses to an iTop that asks which Messenger to show. outcome: shown or none.",
    ["itop", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 1.0, 5.0),
)
event_seconds = _histogram(
    "bridge_event_seconds",
    "Time from a save in iTop, by iTop's clock, until it was posted in a conversation.",
    ["workspace"],
    buckets=(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
deliveries = _counter(
    "bridge_deliveries",
    "Deliveries that reached a final state. reason: code of the failure.",
    ["itop", "state", "reason"],
)
files = _counter(
    "bridge_files",
    "Files for iTop that reached a final state. reason: code of the failure, or why the file was skipped.",
    ["itop", "state", "reason"],
)
file_bytes = _counter("bridge_file_bytes", "Bytes of the files that were copied to iTop.", ["itop"])
file_seconds = _histogram(
    "bridge_file_seconds",
    "Time from the receipt of a file's message until the file was in iTop.",
    ["itop"],
    buckets=(1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
files_to_intercom = _counter(
    "bridge_files_to_intercom",
    "Files from iTop whose message reached a final state. state: posted, linked or failed; reason: code.",
    ["workspace", "state", "reason"],
)
file_to_intercom_bytes = _counter(
    "bridge_file_to_intercom_bytes", "Bytes of the files that were posted to Intercom.", ["workspace"]
)
itop_polls = _counter(
    "bridge_itop_polls",
    "Polls of an iTop for changes of linked tickets. reason: code of the problem, if there was one.",
    ["itop", "reason"],
)
ticket_events = _counter(
    "bridge_ticket_events",
    "Changes of linked tickets that were recorded, once per conversation.",
    ["itop", "kind"],
)


def increment(counter: Counter, *labels: str, amount: int = 1) -> None:
    """Increase a counter with these label values by `amount`."""
    with _log_lost_counts():
        counter.labels(*labels).inc(amount)


def count_delivery(delivery: Delivery) -> None:
    """Count a delivery that reached a final state."""
    code = delivery.reason_code if delivery.state == Delivery.State.FAILED else ""
    increment(deliveries, delivery.ticket.itop.name, delivery.state, code)


def count_file(row: FileToItop) -> None:
    """Count a file for iTop if it has reached a final state. If it was copied, also count its bytes and its time."""
    if row.state == FileToItop.State.WAITING:
        return
    itop = row.ticket.itop.name
    increment(files, itop, row.state, row.reason_code)
    if row.state == FileToItop.State.COPIED:
        increment(file_bytes, itop, amount=row.size)
        if row.copied_at is not None:
            observe(file_seconds, max(0.0, (row.copied_at - row.created_at).total_seconds()), itop)


def count_files_of_message(message: OutgoingMessage) -> None:
    """Count the files of a message that has reached a final state, and the bytes of the posted files.

    If the message failed, its files are counted as failed for the same reason.
    """
    workspace = message.conversation.workspace.workspace_id
    has_failed = message.state == OutgoingMessage.State.FAILED
    for row in message.files.all():
        state, code = (message.state, message.reason_code) if has_failed else (row.state, row.reason_code)
        increment(files_to_intercom, workspace, state, code)
        if state == FileToIntercom.State.POSTED:
            increment(file_to_intercom_bytes, workspace, amount=row.size)


def observe(histogram: Histogram, seconds: float, *labels: str) -> None:
    """Record a duration with these label values."""
    with _log_lost_counts():
        child = histogram.labels(*labels) if labels else histogram
        child.observe(seconds)


@contextmanager
def _log_lost_counts() -> Iterator[None]:
    """Log errors of METRICS_DIR instead of raising them, because the caller would repeat a write that has succeeded."""
    try:
        yield
    except OSError as error:
        log.warning("metrics.count_lost", error=type(error).__name__)


class _DatabaseCollector(Collector):
    """Reads the gauges from the database: backlog, failures and workers. The queries use indexes on unfinished rows."""

    def collect(self) -> Iterator[Metric]:
        yield from _backlog()
        yield from _by_itop()
        alive = GaugeMetricFamily("bridge_workers_alive", "Workers with a recent heartbeat.")
        alive.add_metric([], WorkerHeartbeat.objects.alive().count())
        yield alive


def _backlog() -> Iterator[Metric]:
    waiting = GaugeMetricFamily("bridge_waiting", "Unfinished work.", labels=["kind"])
    oldest = GaugeMetricFamily(
        "bridge_oldest_waiting_seconds", "Age of the oldest unfinished work.", labels=["kind"]
    )
    now = timezone.now()
    for kind, rows, since in (
        ("notifications", WebhookEvent.objects.waiting(), "received_at"),
        ("deliveries", Delivery.objects.waiting(), "queued_at"),
        ("creations", TicketCreation.objects.waiting(), "created_at"),
        ("outgoing_messages", OutgoingMessage.objects.waiting(), "created_at"),
        # Without the files of messages that were skipped because of a pause: a teammate decides about them.
        ("files", FileToItop.objects.waiting().with_message().with_content(), "created_at"),
    ):
        totals = rows.order_by().aggregate(count=Count("pk"), oldest=Min(since))
        age = (now - totals["oldest"]).total_seconds() if totals["oldest"] else 0.0
        waiting.add_metric([kind], totals["count"])
        oldest.add_metric([kind], age)
    yield waiting
    yield oldest


def _by_itop() -> Iterator[Metric]:
    paused = GaugeMetricFamily(
        "bridge_itop_paused", "1 while the circuit breaker stops writes.", labels=["itop"]
    )
    waiting = GaugeMetricFamily("bridge_itop_waiting", "Waiting deliveries.", labels=["itop"])
    failed = GaugeMetricFamily("bridge_itop_failed", "Failed deliveries.", labels=["itop", "reason"])
    now = timezone.now()
    waiting_counts = dict(
        Delivery.objects.waiting().order_by().values_list("ticket__itop_id").annotate(n=Count("pk"))
    )
    for pk, name, until in ItopInstance.objects.values_list("pk", "name", "paused_until"):
        paused.add_metric([name], int(until is not None and until > now))
        waiting.add_metric([name], waiting_counts.get(pk, 0))
    polled = GaugeMetricFamily(
        "bridge_itop_poll_age_seconds", "Seconds since the last successful poll for changes.", labels=["itop"]
    )
    for name, at in ItopPoll.objects.values_list("itop__name", "succeeded_at"):
        if at is not None:
            polled.add_metric([name], (now - at).total_seconds())
    failures = Delivery.objects.filter(state=Delivery.State.FAILED).order_by()
    by_code = failures.values_list("ticket__itop__name", "reason_code").annotate(n=Count("pk"))
    for name, code, count in by_code:
        failed.add_metric([name, code], count)
    yield from (paused, waiting, failed, polled)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    gauges = CollectorRegistry()
    gauges.register(_DatabaseCollector())
    return generate_latest(gauges) + (_counts(settings.METRICS_DIR) if settings.METRICS_DIR else b"")


def _counts(directory: Path) -> bytes:
    """Return the counters and histograms of all processes; b"" if their files cannot be read."""
    counts = CollectorRegistry()
    try:
        counts.register(_FileCollector(directory))
        return generate_latest(counts)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        log.warning("metrics.unreadable", directory=str(directory), error=type(error).__name__)
        return b""


class _FileCollector(Collector):
    """Adds up the counts of all processes.

    The name of a file contains the process id. The processes of different containers can have the same id, so each
    container writes to its own subdirectory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in self._directory.glob("*/*.db")]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return metrics
