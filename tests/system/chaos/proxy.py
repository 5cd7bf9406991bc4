"""An HTTP proxy that records when each request passed and injects faults.

Between Intercom and the service it records when each notification was acknowledged. Between the service and iTop it
records when each write was first attempted, and fails like networks and busy servers do. It works in the same way for
the sandbox and for a real iTop.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

CRASH = b"<p>iTop: An error occurred, check server error log for more information.</p>\n"
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>iTop login</title></head><body>Welcome to iTop</body></html>"
# Longer than the timeout of every client.
UPSTREAM_SECONDS = 30.0
_HOP_HEADERS = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}
)


@dataclass(frozen=True)
class Fault:
    """A fault that a request suffers with this probability.

    drop_after   the call is executed, then the connection is dropped
    cut_off      the call is executed, then half of the response is sent and the connection is dropped
    abandoned    the connection is dropped, and the call is executed `seconds` later
    late         the call is executed `seconds` later, even if the client no longer waits
    slow         the call is executed at once and answered `seconds` later
    error500     it is not executed; an error page of PHP with HTTP 500
    html         it is not executed; a page with HTTP 200
    """

    kind: str
    probability: float
    seconds: float = 0.0


@dataclass
class Call:
    """A request that passed. `begun` and `ended` are by the monotonic clock.

    `status` is 0 without a response; `ended` is 0.0 if the caller may not have waited for it.
    """

    begun: float
    path: str
    body: bytes
    ended: float = 0.0
    status: int = 0


class Proxy:
    """A proxy to `upstreams` (base addresses, used in turn). `calls` has the requests in order of arrival."""

    def __init__(self, upstreams: Sequence[str], port: int) -> None:
        self._turns = itertools.cycle([upstream.rstrip("/") for upstream in upstreams])
        self._port = port
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=64, retries=False)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._placeholder: socket.socket | None = None
        self.calls: list[Call] = []
        self.faults: tuple[Fault, ...] = ()
        # Faults of the next creations, regardless of probability.
        self.creation_faults: list[Fault] = []
        self.faults_done: Counter[str] = Counter()
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Proxy:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._stop_listening()
        if self._placeholder is not None:
            self._placeholder.close()

    def go_away(self) -> None:
        """Refuse new connections and cut the open ones."""
        self._stop_listening()
        # Bound but not listening: the port stays reserved and connections are refused.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", self._port))

    def come_back(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        self._listen()

    def _listen(self) -> None:
        self._server = _Server(self._port, self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()

    # --- Used by the handler ---

    def record(self, path: str, body: bytes) -> Call:
        call = Call(time.monotonic(), path, body)
        with self._lock:
            self.calls.append(call)
        return call

    def choose_fault(self, body: bytes) -> Fault | None:
        with self._lock:
            if self.creation_faults and b"core%2Fcreate" in body:
                fault = self.creation_faults.pop(0)
                self.faults_done[fault.kind] += 1
                return fault
            drawn = random.random()
            for fault in self.faults:
                drawn -= fault.probability
                if drawn < 0:
                    self.faults_done[fault.kind] += 1
                    return fault
        return None

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        """Return the response of the next upstream. Raise urllib3's HTTPError."""
        with self._lock:
            upstream = next(self._turns)
        return self._pool.request(
            method,
            upstream + path,
            body=body or None,
            headers=headers,
            redirect=False,
            timeout=urllib3.Timeout(connect=5.0, read=UPSTREAM_SECONDS),
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port: int, proxy: Proxy) -> None:
        self.proxy = proxy
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = proxy.record(self.path, body)
        fault = proxy.choose_fault(body)
        kind = fault.kind if fault else ""
        if kind == "error500":
            self._answer(500, {"Content-Type": "text/html"}, CRASH)
            return
        if kind == "html":
            self._answer(200, {"Content-Type": "text/html; charset=UTF-8"}, LOGIN_PAGE)
            return
        if kind == "abandoned":
            self._hang_up()
        if fault and kind in ("late", "abandoned") and proxy.stopping.wait(fault.seconds):
            self._hang_up()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
        try:
            answer = proxy.forward(self.command, self.path, headers, body)
        except urllib3.exceptions.HTTPError:
            self._hang_up()
            return
        self._pass_on(call, answer, fault)

    def _pass_on(self, call: Call, answer: Any, fault: Fault | None) -> None:
        """Answer as the upstream did, unless the fault prevents it."""
        kind = fault.kind if fault else ""
        is_cut = kind == "cut_off"
        if kind in ("drop_after", "abandoned") or (
            fault and kind == "slow" and self.server.proxy.stopping.wait(fault.seconds)
        ):
            self._hang_up()
            return
        if not is_cut:
            call.status = answer.status
        if kind not in ("late", "slow", "cut_off"):
            call.ended = time.monotonic()
        self._answer(answer.status, dict(answer.headers), answer.data, cut=is_cut)
        if is_cut:
            self._hang_up()

    do_GET = do_HEAD = do_POST

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        try:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # The client has gone; the request was executed.

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing; the requests are in `calls`."""
