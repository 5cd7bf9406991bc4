"""Clients that send prepared requests over open connections, as fast as possible."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.system.chaos.children import SystemTestError

SECONDS = 30.0


@dataclass(frozen=True)
class Result:
    """`times` is the duration of each request, `seconds` the total duration."""

    times: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def percentile(self, percent: int) -> float:
        """Return a percentile in milliseconds."""
        return 1000 * statistics.quantiles(self.times, n=100, method="inclusive")[percent - 1]

    def __add__(self, other: Result) -> Result:
        return Result(self.times + other.times, self.seconds + other.seconds)


class Connection:
    """A persistent connection without an HTTP library, whose time would be measured too."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = f"{parts.hostname}:{parts.port}"
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def request(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body. Raise SystemTestError if the connection ends."""
        self._socket.sendall(raw)
        status_line = self._file.readline()
        if not status_line:
            raise SystemTestError("The server closed a connection that the bench had open.")
        length = 0
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return int(status_line.split()[1]), self._file.read(length)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def raw_request(
    method: str, url: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    parts = urlsplit(url)
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {parts.hostname}:{parts.port}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(url: str, clients: int, make: Callable[[int], Iterator[bytes]], seconds: float) -> Result:
    """Send the requests of `make(client)` for each client. Raise SystemTestError for a status other than 200."""

    def run(client: int) -> list[float]:
        connection = Connection(url)
        times = []
        for raw in make(client):
            if time.monotonic() > ends:
                break
            began = time.perf_counter()
            status, body = connection.request(raw)
            times.append(time.perf_counter() - began)
            if status != 200:
                raise SystemTestError(f"Answered {status}: {body[:300]!r}")
        connection.close()
        return times

    began = time.monotonic()
    ends = began + seconds
    with ThreadPoolExecutor(clients) as pool:
        times = [duration for durations in pool.map(run, range(clients)) for duration in durations]
    return Result(times, time.monotonic() - began)
