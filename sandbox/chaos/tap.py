"""A tap on a line: hands HTTP on, notes when what passed, and does harm on demand.

On the line from Intercom to the service it tells when which notification was answered 200. On the line from the
service to iTop it tells when which write was first tried, and does what networks and busy servers do; the same way
to the stand-in as to a real iTop.
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
# The line itself gives up long after everybody else has.
UPSTREAM_SECONDS = 30.0
_NOT_HANDED_ON = frozenset(
    {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}
)


@dataclass(frozen=True)
class Harm:
    """What befalls a call, with this probability.

    drop_after   the call is executed, then the connection is dropped
    late         the call is executed `seconds` later, whether or not anybody still waits for it
    slow         the call is executed at once and answered `seconds` later
    error500     it is not executed; a page of PHP's with HTTP 500
    html         it is not executed; a page with HTTP 200
    """

    kind: str
    probability: float
    seconds: float = 0.0


@dataclass
class Call:
    """What passed: `begun` and `ended` by the monotonic clock; `status` 0 without an answer, `ended` 0.0 when
    nobody may have waited for it."""

    begun: float
    path: str
    body: bytes
    ended: float = 0.0
    status: int = 0


class Tap:
    """A line to one of `upstreams` (base addresses, in turn). `calls` is what passed, in order of arrival."""

    def __init__(self, upstreams: Sequence[str], port: int) -> None:
        self._turns = itertools.cycle([one.rstrip("/") for one in upstreams])
        self._port = port
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=64, retries=False)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._placeholder: socket.socket | None = None
        self.calls: list[Call] = []
        self.harms: tuple[Harm, ...] = ()
        # These befall the next creations, whatever the dice say.
        self.harms_of_creations: list[Harm] = []
        self.harmed: Counter[str] = Counter()
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Tap:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._stop_listening()
        if self._placeholder is not None:
            self._placeholder.close()

    def go_away(self) -> None:
        """From now on connections are refused, and those that are open are cut."""
        self._stop_listening()
        # Bound and not listening: the port stays ours, and who connects is refused.
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

    # --- What a handler asks ---

    def note(self, path: str, body: bytes) -> Call:
        call = Call(time.monotonic(), path, body)
        with self._lock:
            self.calls.append(call)
        return call

    def harm(self, body: bytes) -> Harm | None:
        with self._lock:
            if self.harms_of_creations and b"core%2Fcreate" in body:
                harm = self.harms_of_creations.pop(0)
                self.harmed[harm.kind] += 1
                return harm
            drawn = random.random()
            for harm in self.harms:
                drawn -= harm.probability
                if drawn < 0:
                    self.harmed[harm.kind] += 1
                    return harm
        return None

    def hand_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        """The answer of the next upstream. Raises urllib3's HTTPError."""
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

    def __init__(self, port: int, tap: Tap) -> None:
        self.tap = tap
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for one in list(self.connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up; that is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        tap = self.server.tap
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = tap.note(self.path, body)
        harm = tap.harm(body)
        kind = harm.kind if harm else ""
        if kind == "error500":
            self._answer(500, {"Content-Type": "text/html"}, CRASH)
            return
        if kind == "html":
            self._answer(200, {"Content-Type": "text/html; charset=UTF-8"}, LOGIN_PAGE)
            return
        if harm and kind == "late" and tap.stopping.wait(harm.seconds):
            self._hang_up()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_HANDED_ON}
        try:
            answer = tap.hand_on(self.command, self.path, headers, body)
        except urllib3.exceptions.HTTPError:
            self._hang_up()
            return
        if kind == "drop_after":
            self._hang_up()
            return
        if harm and kind == "slow" and tap.stopping.wait(harm.seconds):
            self._hang_up()
            return
        call.status = answer.status
        if kind not in ("late", "slow"):
            call.ended = time.monotonic()
        self._answer(answer.status, dict(answer.headers), answer.data)

    do_GET = do_HEAD = do_POST

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        try:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in _NOT_HANDED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # nobody waits any more; what was asked for is done all the same

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """What passed is in `calls`."""
