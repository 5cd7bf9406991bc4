"""A stand-in for the bridge itself: takes what Intercom's stand-in sends, and answers what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class Bridge:
    """`answer` is called with each request and answers its status and body."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], tuple[int, Any]] = lambda request: (200, {})

    def of(self, path: str) -> list[Received]:
        return [request for request in self.received if request.path == path and request.method == "POST"]


@contextmanager
def running_bridge() -> Iterator[Bridge]:
    bridge = Bridge()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Received(self.command, self.path, dict(self.headers), body)
            bridge.received.append(request)
            status, data = bridge.answer(request)
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    bridge.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield bridge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
