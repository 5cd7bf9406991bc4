"""The HTTP server of the stand-in: Intercom's REST API for one workspace, and the controls under /sandbox/."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from . import rest, seed
from .controls import find_control
from .faults import Fault, Faults
from .files import PREFIX, StoredFile
from .rest import VERSIONS, Call, RequestRefusedError
from .shapes import Json
from .store import FIRST_CONVERSATION_ID, Contact, Conversation, NotFoundError, Store
from .workspace import InvalidActionError, Workspace

log = logging.getLogger(__name__)

WORKSPACE_ID = "abcd1234"
SECRET = "sandbox-client-secret"  # noqa: S105
TOKEN = "sandbox-access-token"  # noqa: S105

# 10 000 calls a minute, spread over windows of ten seconds.
CALLS_A_WINDOW = 1666
WINDOW_SECONDS = 10
MAX_BODY = 20_000_000
# The size of a reply with files. Intercom does not document its limit.
MAX_REPLY = 64_000_000


class Intercom:
    """A stand-in for Intercom with one workspace. `url` is its address.

    `calls` lists the method and the path of each REST call. `downloads` lists the path of each requested file.
    """

    def __init__(
        self,
        database: str = ":memory:",
        *,
        bridge_url: str = "",
        port: int = 0,
        workspace_id: str = WORKSPACE_ID,
        secret: str = SECRET,
        token: str = TOKEN,
        region: str = "US",
        api_version: str = "2.14",
        retry_seconds: float = 60.0,
        long_conversation: bool = False,
        first_conversation_id: int = FIRST_CONVERSATION_ID,
        attributes: Iterable[str] = (),
    ) -> None:
        self.store = Store(database, first_conversation_id=first_conversation_id)
        if self.store.is_empty:
            seed.fill(self.store, long_conversation=long_conversation)
            for name in attributes:
                self.store.add_attribute(name)
        self.token = token
        self.verifies_identities = False
        self.faults = Faults()
        self.calls: list[tuple[str, str]] = []
        self.calls_a_window = CALLS_A_WINDOW
        self.downloads: list[str] = []
        self._server = _Server(("127.0.0.1", port), self)
        # The workspace starts threads, so it is created after the port was bound, which may fail.
        self.workspace = Workspace(
            self.store,
            bridge_url=bridge_url,
            workspace_id=workspace_id,
            secret=secret,
            origin=self.url,
            region=region,
            api_version=api_version,
            retry_seconds=retry_seconds,
        )
        self.webhooks = self.workspace.webhooks
        # Shortcuts for tests: the actions of people.
        self.write = self.workspace.write
        self.merge = self.workspace.merge
        self.change_state = self.workspace.change_state
        self.redact = self.workspace.redact
        self.delete = self.workspace.delete
        self.canvas = self.workspace.canvas
        self._thread: threading.Thread | None = None
        self._window = 0
        self._calls_in_window = 0
        self._limited_until = 0.0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self.webhooks.stop()
        self.store.close()

    # --- For tests and the demo ---

    def contact(self, name_or_email: str) -> Contact:
        """Return the contact with this name or e-mail address. Raise LookupError."""
        for contact in self.store.contacts():
            if name_or_email in (contact.name, contact.email):
                return contact
        raise LookupError(f"There is no contact {name_or_email}")

    def conversation_of(self, name_or_email: str) -> Conversation:
        """Return the newest conversation of this contact. Raise LookupError."""
        contact = self.contact(name_or_email)
        for conversation in self.store.conversations():
            if contact.id in conversation.contact_ids:
                return conversation
        raise LookupError(f"{name_or_email} has no conversation")

    def expire_addresses(self, seconds: float) -> None:
        """Move the clock for the addresses of files forward by so many seconds."""
        self.workspace.addresses.clock_offset += seconds

    # --- Rate limit ---

    def limit_rate(self, seconds: float) -> None:
        with self._lock:
            self._limited_until = time.time() + seconds

    def count_call(self) -> tuple[int, int, bool]:
        """Count a call. Return the calls left in this window, its end (Unix seconds), and whether to refuse it."""
        with self._lock:
            now = time.time()
            window = int(now // WINDOW_SECONDS)
            if window != self._window:
                self._window, self._calls_in_window = window, 0
            self._calls_in_window += 1
            left = self.calls_a_window - self._calls_in_window
            reset = (window + 1) * WINDOW_SECONDS
            if now < self._limited_until:
                return 0, int(self._limited_until) + 1, True
            return max(0, left), reset, left < 0


@contextmanager
def running_intercom(**options: Any) -> Iterator[Intercom]:
    """Run a stand-in on a free port, with its data in memory. The options are those of `Intercom`."""
    intercom = Intercom(**options)
    intercom.start()
    try:
        yield intercom
    finally:
        intercom.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], intercom: Intercom) -> None:
        self.intercom = intercom
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection ended early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # The seconds after which an idle connection is closed.
    timeout = 75
    # With Nagle's algorithm, a small response would wait until the client has acknowledged the previous one.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self._body()
        if body is None:
            self._answer(413, {"error": "too large"})
        elif parts.path.startswith("/sandbox/"):
            self._sandbox(parts.path.removeprefix("/sandbox/"), body)
        elif parts.path.startswith(PREFIX):
            self._download(parts.path, parts.query)
        else:
            self._rest(parts.path, parse_qs(parts.query), body)

    def _body(self) -> bytes | None:
        length = int(self.headers.get("Content-Length") or 0)
        has_files = self.path.endswith(("/reply", "/messages", "/sandbox/conversations"))
        if length > (MAX_REPLY if has_files else MAX_BODY):
            self.close_connection = True
            return None
        return self.rfile.read(length)

    # --- Intercom's own addresses ---

    def _rest(self, path: str, query: Mapping[str, list[str]], body: bytes) -> None:
        intercom = self.server.intercom
        intercom.calls.append((self.command, path))
        fault = intercom.faults.meet(path)
        if fault is not None and self._meet(fault):
            return
        left, reset, too_many = intercom.count_call()
        headers = {
            "X-RateLimit-Limit": str(intercom.calls_a_window),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(reset),
            "Intercom-Version": self._version,
        }
        try:
            if too_many:
                raise RequestRefusedError(429, "rate_limit_exceeded", "Exceeded rate limit")
            self._check_headers(intercom.token)
            call = Call(intercom, self.command, path, query, body, self._version)
            status, answer = 200, rest.answer(call)
        except RequestRefusedError as refused:
            status, answer = refused.status, _errors(refused.code, str(refused))
        except NotFoundError:
            status, answer = 404, _errors("not_found", "Resource Not Found")
        if fault is not None and fault.kind == "drop_after":
            self._hang_up()
            return
        if fault is not None and fault.kind == "notify_first":
            intercom.webhooks.wait_until_sent(fault.seconds)
        elif fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        self._answer(status, answer, headers, drip=fault.seconds if fault and fault.kind == "drip" else 0)

    def _meet(self, fault: Fault) -> bool:
        """Apply the fault. Return True if this was the whole response."""
        if fault.kind == "rate_limited":
            self.server.intercom.limit_rate(fault.seconds)
        elif fault.kind == "error":
            self._answer(fault.status, _errors("server_error", "Something went wrong"))
        elif fault.kind == "html":
            self._send(fault.status, b"<html><body><h1>Bad gateway</h1></body></html>", "text/html")
        elif fault.kind == "drop_before":
            self._hang_up()
        return fault.kind in ("error", "html", "drop_before")

    @property
    def _version(self) -> str:
        """The API version that the call requests. Without the header, it is the version of the app."""
        return self.headers.get("Intercom-Version", self.server.intercom.workspace.api_version)

    def _check_headers(self, token: str) -> None:
        if self.headers.get("Authorization") != f"Bearer {token}":
            raise RequestRefusedError(401, "unauthorized", "Access Token Invalid")
        if self._version not in VERSIONS:
            raise RequestRefusedError(
                400, "intercom_version_invalid", "The requested version could not be found"
            )
        accept = self.headers.get("Accept", "*/*")
        if "json" not in accept and "*/*" not in accept:
            raise RequestRefusedError(
                406, "media_type_not_acceptable", "The Accept header should send a media type of JSON"
            )

    # --- Files ---

    def _download(self, path: str, query: str) -> None:
        """Send the file at a valid address. Refuse a request with a token: files must be downloaded without one."""
        intercom = self.server.intercom
        intercom.downloads.append(path)
        fault = intercom.faults.meet(path)
        if fault is not None and self._meet_download(fault):
            return
        if "Authorization" in self.headers:
            self._send(400, b"<Error><Code>InvalidArgument</Code></Error>", "application/xml")
            return
        file_id = intercom.workspace.addresses.file_id(path, query)
        if not file_id or self.command not in ("GET", "HEAD"):
            self._send(403, b"Forbidden", "text/plain")
            return
        try:
            file, content = intercom.store.file(file_id), intercom.store.content(file_id)
        except NotFoundError:
            self._send(404, b"Not found", "text/plain")
            return
        self._send_file(file, content, fault)

    def _meet_download(self, fault: Fault) -> bool:
        if fault.kind == "redirect":
            self._send(302, b"", "text/html", {"Location": fault.location})
        elif fault.kind == "quarantined":
            self._send(fault.status, b"", "text/plain")
        elif fault.kind == "rate_limited":
            self._send(429, b"", "text/plain")
        elif fault.kind == "slow":
            time.sleep(fault.seconds)
            return False
        else:
            return self._meet(fault)
        return True

    def _send_file(self, file: StoredFile, content: bytes, fault: Fault | None) -> None:
        """Send a file. A fault may slow the response down, cut it off, or send a wrong Content-Length or none."""
        kind = fault.kind if fault else ""
        headers = {"Cache-Control": "private, max-age=1800", "X-Content-Type-Options": "nosniff"}
        if fault is None or kind in ("slow", "drip"):
            self._send(
                200,
                content,
                file.content_type,
                headers,
                drip=fault.seconds if fault and kind == "drip" else 0,
            )
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", file.content_type)
        if kind != "no_length":
            more = fault.bytes if kind == "wrong_length" else 0
            self.send_header("Content-Length", str(max(0, len(content) + more)))
        self.send_header("Connection", "close")
        self.end_headers()
        is_cut_off = kind in ("cut_off", "drop_after")
        self.wfile.write(content[: len(content) // 2] if is_cut_off else content)

    # --- The sandbox's own ---

    def _sandbox(self, path: str, body: bytes) -> None:
        handler, arguments = find_control(self.command, path)
        if handler is None:
            self._answer(404, {"error": "Unknown address."})
            return
        try:
            data = rest.parsed(body) if self.command == "POST" else {}
            self._answer(200, handler(self.server.intercom, data, *arguments))
        except (RequestRefusedError, InvalidActionError, ValueError, TypeError) as error:
            self._answer(400, {"error": str(error)})
        except LookupError as error:
            self._answer(404, {"error": str(error)})

    # --- Bytes ---

    def _answer(
        self, status: int, data: Any, headers: Mapping[str, str] | None = None, drip: float = 0
    ) -> None:
        body = json.dumps(data, ensure_ascii=True).encode()
        self._send(status, body, "application/json; charset=utf-8", headers, drip)

    def _send(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] | None = None,
        drip: float = 0,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if not drip:
            self.wfile.write(body)
            return
        for number in range(len(body)):
            self.wfile.write(body[number : number + 1])
            time.sleep(drip)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _errors(code: str, message: str) -> Json:
    return {
        "type": "error.list",
        "request_id": str(uuid.uuid4()),
        "errors": [{"code": code, "message": message}],
    }
