"""The HTTP server of the stand-in: iTop's REST address, its pages for people, and the controls of the sandbox."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import accounts, database, files, pages, seed, wording
from .datamodel import VERSIONS, data_model
from .faults import Fault, Faults
from .files import Download, File
from .operations import INTERACTIVE, MEGABYTE, WRITES, Call, CrashError, Entry, Operations, RefusalError
from .store import Row

log = logging.getLogger(__name__)
REST = "/webservices/rest.php"
CRASH = "<p>iTop: An error occurred, check server error log for more information.</p>\n"
OUT_OF_MEMORY = "<p>iTop: {}, contact your administrator to increase 'memory_limit' in php.ini</p>\n"
LOGIN_PAGE = (
    "<!DOCTYPE html><html><head><title>iTop login</title></head><body><h1>Welcome to iTop</h1>"
    '<p><a href="/">Enter as Jules Verne, an agent</a></p></body></html>'
)
LOGIN_COOKIE = "itop-sandbox-login"
TOO_BIG = File("", b"")  # what PHP passes on instead of a file that exceeds upload_max_filesize
MAINTENANCE = {
    "data": [{"code": 100, "message": "This application is currently under maintenance."}],
    "scripts": [],
}
FORBIDDEN = "<html><head><title>403 Forbidden</title></head><body><center><h1>403 Forbidden</h1></center></body></html>"
TOO_LARGE = FORBIDDEN.replace("403 Forbidden", "413 Request Entity Too Large")
HTML = "text/html; charset=UTF-8"


class Itop:
    """A stand-in for iTop: an HTTP server with a database. ``url`` is its base address.

    ``calls`` lists the operation and the class of each authenticated call. ``version`` is one of datamodel.VERSIONS.
    ``language`` is the language of all accounts, one of wording.LANGUAGES. ``character_set`` is that of the database.
    The server's clock is ``clock_offset`` seconds ahead, which can be changed while it runs.

    All limits are in bytes, and their defaults are those of the real programs:

    - ``max_body``: a larger body is refused with 413, as by a web server in front of iTop. None: no limit.
    - ``post_max_size``: PHP drops all fields of a larger body.
    - ``upload_max_filesize``: PHP drops a larger file, but keeps the other fields.
    - ``memory_limit`` (PHP) and ``max_allowed_packet`` (the database): the creation of a larger file fails.
    """

    def __init__(
        self,
        path: str | Path = ":memory:",
        *,
        port: int = 0,
        token: str = seed.TOKEN,
        version: str = VERSIONS[-1],
        language: str = wording.ENGLISH,
        character_set: str = database.CHARACTER_SETS[0],
        max_body: int | None = None,
        post_max_size: int = 8 * MEGABYTE,
        upload_max_filesize: int = 2 * MEGABYTE,
        memory_limit: int = 128 * MEGABYTE,
        max_allowed_packet: int = 16 * MEGABYTE,
        extension: bool = True,
        lost_updates: bool = True,
        window: float = 0.02,
        timezone: str = "Europe/Paris",
        demo: bool = True,
        clock: Callable[[], float] = time.time,
        clock_offset: float = 0.0,
    ) -> None:
        if language not in wording.LANGUAGES:
            raise ValueError(f"unknown language {language!r}; there are {', '.join(wording.LANGUAGES)}")
        self.clock_offset = clock_offset
        self.store = seed.open_store(
            path,
            model=data_model(extension=extension, version=version),
            timezone=timezone,
            clock=lambda: clock() + self.clock_offset,
            token=token,
            language=language,
            demo=demo,
        )
        self.token = token
        self.max_body = max_body
        self.post_max_size = post_max_size
        self.upload_max_filesize = upload_max_filesize
        self.operations = Operations(
            self.store,
            lost_updates=lost_updates,
            window=window,
            character_set=character_set,
            memory_limit=memory_limit,
            max_allowed_packet=max_allowed_packet,
        )
        self.faults = Faults()
        self.faults.on_away = self._go
        self.calls: list[tuple[str, str]] = []
        self.stopping = threading.Event()
        self.working = threading.Condition()
        self.busy = 0
        self._server = Server(("127.0.0.1", port), self)
        self._server.server_activate()
        self._address = ("127.0.0.1", int(self._server.server_address[1]))
        self.store.root_address = f"{self.url}/"
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self._address[0]}:{self._address[1]}"

    @property
    def rest_url(self) -> str:
        return self.url + REST

    @property
    def pause(self) -> Callable[[], None]:
        """The function that is called between reading and writing a log. Set it to make two writers collide."""
        return self.operations.pause

    @pause.setter
    def pause(self, pause: Callable[[], None]) -> None:
        self.operations.pause = pause

    def start(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server. Calls that are still waiting are not executed."""
        self.stopping.set()
        self.faults.on_away = lambda away: None
        self._stop_listening()
        self.wait_idle(5)
        self.store.close()

    def wait_idle(self, seconds: float = 5.0) -> bool:
        """Wait until no call is being executed, also if its client has disconnected. Return False after a timeout."""
        with self.working:
            return self.working.wait_for(lambda: self.busy == 0, seconds)

    def _stop_listening(self) -> None:
        if self._thread is not None:  # shutdown() would block forever if the server did not run
            self._server.shutdown()
            self._thread = None
        self._server.cut()
        self._server.server_close()

    def _go(self, away: bool) -> None:
        """Stop listening (``away``), or start again.

        While away, the socket is bound but does not listen. So the port stays reserved, and connections are refused.
        """
        if away:
            self._stop_listening()
            self._server = Server(self._address, self)
        else:
            self._server.server_activate()
            self.start()

    def execute(
        self, headers: Mapping[str, str], form: Mapping[str, str], *, commit_after: float = 0.0
    ) -> tuple[int, str, str]:
        """Return status, content type and body of the response to a REST request."""
        try:
            user = accounts.authenticate(self.store, headers, form)
        except accounts.BadUserError:
            return 200, HTML, "Bad user"
        except accounts.LoginRefusedError as refused:
            return _json({"code": 1, "message": str(refused)}, form)
        if "version" not in form:
            return _json({"code": 2, "message": "Error: Missing parameter 'version' (e.g. '1.0')"}, form)
        if "json_data" not in form:
            return _json({"code": 3, "message": "Error: Missing parameter 'json_data'"}, form)
        request = _request(form)
        if request is None:
            return _json(
                {"code": 4, "message": "Error: Parameter json_data is not a valid JSON structure"}, form
            )
        self.calls.append(_names(request))
        try:
            answer = self.operations.answer(user, form["version"], request, commit_after=commit_after)
            return _json(answer, form)
        except CrashError as crash:
            return 500, HTML, OUT_OF_MEMORY.format(crash) if str(crash) else CRASH

    def act(
        self,
        ticket_id: int,
        *,
        account: str,
        entry: str = "",
        log: str = "public_log",
        stimulus: str = "",
        values: Mapping[str, Any] | None = None,
        files: Sequence[File] = (),
        pictures: Sequence[File] = (),
    ) -> Row:
        """Save a ticket once, as a person does in the console or, with a portal account, in the portal.

        ``account`` is a login, such as "jverne" (an agent) or "alice.martin" (a customer). ``entry`` is the HTML of an
        entry for ``log``, and ``pictures`` are pasted at its end. ``values`` are attributes, with ids for external
        keys. ``files`` are attached, with or without an entry. Return the ticket. Raise RefusalError.
        """
        user = next(each for each in self.store.all("User") if each["login"] == account)
        with self.operations.writing():
            ticket = self.store.load("UserRequest", ticket_id)
            if ticket is None:
                raise RefusalError("The ticket does not exist")
            written = Entry(entry, log, files, pictures)
            Call(self.operations, user, INTERACTIVE).act(ticket, written, stimulus, values or {})
        return ticket

    def revoke(self, account: str, profile: str) -> None:
        """Take a profile, such as "Support Agent", from an account."""
        for link in self.store.all("URP_UserProfile"):
            if (self.store.value(link, "userlogin"), self.store.value(link, "profile")) == (account, profile):
                self.store.remove("URP_UserProfile", link["id"])

    def state(self) -> dict[str, Any]:
        """Return all tickets with their logs and history."""
        found = []
        for row in self.store.all("UserRequest"):
            logs = {code: self.store.log(row["id"], code) for code in ("public_log", "private_log")}
            found.append(
                {
                    code: row[code]
                    for code in ("id", "ref", "title", "status", "org_id", "caller_id", "service_id")
                }
                | {code: row[code] for code in ("intercom_ref", "intercom_sync_activated") if code in row}
                | logs
                | {"changes": self.store.changes(row["id"])}
            )
        return {"now": self.store.now(), "calls": len(self.calls), "tickets": found}


def _request(form: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the parsed ``json_data``, or None if PHP could not parse it."""
    try:
        request = json.loads(form.get("json_data", ""))
        form["json_data"].encode()
        json.dumps(request, ensure_ascii=False).encode()  # PHP refuses lone surrogates
    except (ValueError, RecursionError):
        return None
    if isinstance(request, list):
        return {}
    return request if isinstance(request, dict) else None


def _refusal(kind: str, operation: str, class_name: str) -> dict[str, Any] | None:
    """Return the response to a call that a fault of this kind refuses. Return None for other calls and kinds."""
    if operation not in (WRITES if kind in ("read_only", "check") else ("core/get",)):
        return None
    verb = {"core/create": "creating", "core/get": "reading"}.get(operation, "modifying")
    denied = f"The current user does not have enough permissions for {verb} data of class {class_name}"
    check = "Please telephone first"
    number = -1 if operation == "core/create" else 1
    issues = f"Error: {check}: issues = {{0=>{check}}}, class = {class_name}, id = {number}"
    answers = {"read_only": (1, denied), "unreadable": (1, denied), "check": (100, issues)}
    if kind not in answers:
        return None
    code, message = answers[kind]
    return {"code": code, "message": message}


def _names(request: Mapping[str, Any] | None) -> tuple[str, str]:
    return (str(request.get("operation", "")), str(request.get("class", ""))) if request else ("", "")


def _json(answer: Mapping[str, Any], form: Mapping[str, str]) -> tuple[int, str, str]:
    text = json.dumps(answer, separators=(",", ":")).replace("/", "\\/")  # PHP escapes slashes
    if form.get("callback"):
        return 200, "application/javascript", f"{form['callback']}({text});"
    return 200, "application/json", text


@dataclass(frozen=True)
class Visit:
    """A request for the page of an object: the login of the person, and the fields and files of a submitted form."""

    class_name: str
    number: str
    account: str
    form: Mapping[str, str]
    chosen: Sequence[tuple[str, File]]


class Server(ThreadingHTTPServer):
    """A server that binds its port when it is created, and listens only after ``server_activate``."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[Any, ...], itop: Itop) -> None:
        self.itop = itop
        self.connections: set[socket.socket] = set()
        super().__init__((address[0], address[1]), Handler, bind_and_activate=False)
        self.server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Cut all open connections."""
        for each in list(self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.exception("a request of %s failed", client_address, exc_info=error)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Apache"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    @property
    def itop(self) -> Itop:
        return self.server.itop

    def do_GET(self) -> None:
        self.respond({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if urlsplit(self.path).path == "/sandbox/faults":
            self.set_faults(body)
            return
        if self.itop.max_body is not None and len(body) > self.itop.max_body:
            self.send(413, HTML, TOO_LARGE)
            return
        form: dict[str, str] = {}
        chosen: list[tuple[str, File]] = []
        if len(body) > self.itop.post_max_size:
            pass  # PHP executes the request without any form field (recordings 256 and 257)
        elif self.headers.get_content_type() == "application/x-www-form-urlencoded":
            form = dict(
                parse_qsl(
                    body.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape"
                )
            )
        elif self.headers.get_content_type() == "multipart/form-data":
            form, chosen = self.multipart(body)
        self.respond(form, chosen)

    def multipart(self, body: bytes) -> tuple[dict[str, str], list[tuple[str, File]]]:
        """Return the fields and the files of a body. A file over ``upload_max_filesize`` becomes TOO_BIG."""
        form, chosen = files.multipart(body, self.headers.get("Content-Type", ""))
        limit = self.itop.upload_max_filesize
        kept = [(name, file if len(file.content) <= limit else TOO_BIG) for name, file in chosen]
        if urlsplit(self.path).path == REST:
            # iTop also accepts json_data as a file.
            texts = {
                name: file.content.decode("utf-8", "surrogateescape") for name, file in kept if file.name
            }
            form = {name: text for name, text in texts.items() if name == "json_data"} | form
        return form, kept

    def do_DELETE(self) -> None:
        if urlsplit(self.path).path == "/sandbox/faults":
            self.itop.faults.clear()
        self.send(200, "application/json", json.dumps(self.itop.faults.to_json()))

    def respond(self, form: dict[str, str], chosen: Sequence[tuple[str, File]] = ()) -> None:
        address = urlsplit(self.path)
        form = dict(parse_qsl(address.query, keep_blank_values=True)) | form
        if address.path == REST:
            self.rest(form)
        elif address.path == "/sandbox/state":
            self.send(200, "application/json", json.dumps(self.itop.state(), ensure_ascii=False))
        elif address.path == "/sandbox/faults":
            self.send(200, "application/json", json.dumps(self.itop.faults.to_json()))
        elif address.path == pages.SCRIPT_ADDRESS:
            self.send(200, "text/javascript; charset=UTF-8", pages.SCRIPT)
        elif address.path == files.DOWNLOAD:
            self.download(form)
        elif address.path == "/":
            self.send(200, HTML, pages.index(self.itop.store), login=pages.AGENT)
        elif address.path == "/pages/UI.php":
            visit = Visit(form.get("class", ""), form.get("id", ""), pages.AGENT, form, chosen)
            self.page(pages.details, visit)
        elif address.path.startswith(pages.PORTAL):
            class_name, _, number = address.path.removeprefix(pages.PORTAL).partition("/")
            login = pages.caller_login(self.itop.store, number)
            self.page(pages.customer_page, Visit(class_name, number, login, form, chosen))
        else:
            self.send(404, HTML, "<p>Not found.</p>")

    def page(self, draw: Callable[..., str], visit: Visit) -> None:
        """Execute the action that a person clicked, if any, and send the page with the outcome."""
        message = ""
        if self.command == "POST" and visit.number.isdigit():
            message = pages.notice(self.act(visit))
        page = draw(self.itop.store, visit.class_name, visit.number, message)
        text = page or "<p>This object does not exist.</p>"
        self.send(200 if page else 404, HTML, text, login=visit.account)

    def act(self, visit: Visit) -> str:
        """Save what a person entered. Return why iTop refused it, or ""."""
        if int(self.headers.get("Content-Length") or 0) > self.itop.post_max_size:
            return f"The files have more than {self.itop.post_max_size // MEGABYTE} MB together."
        action = pages.ACTIONS.get(visit.form.get("action", ""))
        text = visit.form.get("text", "").strip()
        if any(file is TOO_BIG for _, file in visit.chosen):
            return f"A file has more than {self.itop.upload_max_filesize // MEGABYTE} MB."
        chosen = [(name, file) for name, file in visit.chosen if file.name]
        written = pages.Written(
            text,
            tuple(file for name, file in chosen if name == "files"),
            tuple(file for name, file in chosen if name == "pictures"),
        )
        if action is None or not written.is_enough_for(action):
            needs_file = action is not None and action.label == pages.ATTACH
            return "Choose a file first." if needs_file else "Write a text first."
        if not visit.account:
            return "The customer has no account for the portal."
        try:
            arguments = action.arguments(self.itop.store, int(visit.number), written)
            self.itop.act(int(visit.number), account=visit.account, **arguments)
        except RefusalError as refusal:
            return str(refusal)
        return ""

    def download(self, form: dict[str, str]) -> None:
        """Send an attachment to a person who is logged in, or a picture to anyone who knows its secret.

        A request with only a REST token is not logged in: it gets the login page.
        """
        store, operation, number = self.itop.store, form.get("operation", ""), form.get("id", "")
        fault = self.itop.faults.meet(operation, "InlineImage" if "inline" in operation else "Attachment")
        if fault is not None and self.fail(fault):
            return
        if operation == "download_inlineimage":
            found = files.download_inline_image(store, number, form.get("s", ""))
        elif operation == "download_document":
            user = self.logged_in()
            if user is None:
                self.send(200, HTML, LOGIN_PAGE)
                return
            found = files.download_attachment(store, user, form.get("class", ""), number)
        else:
            found = Download(b"", HTML)
        if fault is not None and fault.kind == "slow" and self.itop.stopping.wait(fault.seconds):
            return
        self.send_bytes(found, cut=fault is not None and fault.kind == "drop_after")

    def logged_in(self) -> Row | None:
        """Return the account in whose name this browser has opened a page, or None."""
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get(LOGIN_COOKIE)
        login = cookie.value if cookie else ""
        return next((user for user in self.itop.store.all("UserLocal") if user["login"] == login), None)

    def fail(self, fault: Fault) -> bool:
        """Respond as the fault demands, if it is of a kind that also affects downloads. Return whether it did."""
        if fault.kind in ("drop_before", "reset"):
            self.hang_up(reset=fault.kind == "reset")
        elif fault.kind == "error500":
            self.send(500, HTML, CRASH)
        elif fault.kind == "html":
            self.send(200, HTML, LOGIN_PAGE)
        elif fault.kind == "forbidden":
            self.send(403, HTML, FORBIDDEN)
        else:
            return False
        return True

    def send_bytes(self, found: Download, *, cut: bool = False) -> None:
        """Send a file; with ``cut``, only its first half."""
        self.send_response(200)
        self.send_header("Content-Type", found.content_type)
        self.send_header("Content-Length", str(len(found.content)))
        for name, value in found.headers:
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(found.content[: len(found.content) // 2] if cut else found.content)
            self.wfile.flush()
        if cut:
            self.hang_up()

    def set_faults(self, body: bytes) -> None:
        try:
            wanted = json.loads(body)
            self.itop.faults.set({name: value for name, value in wanted.items() if name != "away"})
            self.itop.operations.lost_updates = bool(
                wanted.get("lost_updates", self.itop.operations.lost_updates)
            )
            self.itop.clock_offset = float(wanted.get("clock_offset", self.itop.clock_offset))
            self.itop.operations.window = float(wanted.get("window", self.itop.operations.window))
        except (ValueError, TypeError, AttributeError) as error:
            self.send(400, "application/json", json.dumps({"error": str(error)}))
            return
        self.send(200, "application/json", json.dumps(self.itop.faults.to_json()))
        if wanted.get("away"):
            self.wfile.flush()
            self.itop.faults.away_for(float(wanted["away"]))

    def rest(self, form: dict[str, str]) -> None:
        itop = self.itop
        with itop.working:
            itop.busy += 1
        try:
            self.rest_with_faults(itop, form)
        finally:
            with itop.working:
                itop.busy -= 1
                itop.working.notify_all()

    def rest_with_faults(self, itop: Itop, form: dict[str, str]) -> None:
        operation, class_name = _names(_request(form))
        fault = itop.faults.meet(operation, class_name, form.get("json_data", ""))
        kind = fault.kind if fault else ""
        if itop.faults.latency and itop.stopping.wait(itop.faults.latency):
            return
        if fault and self.fail(fault):
            return
        if kind == "maintenance":
            self.send(503, "application/json", json.dumps(MAINTENANCE))
            return
        if refusal := _refusal(kind, operation, class_name):
            self.send(200, "application/json", json.dumps(refusal))
            return
        if kind == "too_large":
            self.send(413, HTML, TOO_LARGE)
            return
        if fault and kind == "late" and itop.stopping.wait(fault.seconds):
            return
        commit_after = fault.seconds if fault and kind == "late_commit" else 0.0
        status, content_type, body = itop.execute(self.headers, form, commit_after=commit_after)  # type: ignore[arg-type]
        if kind == "drop_after":
            self.hang_up()
            return
        if fault and kind == "slow" and itop.stopping.wait(fault.seconds):
            return
        try:
            self.send(status, content_type, body, drip=fault if kind == "drip" else None)
        except OSError:
            self.close_connection = True  # the client has disconnected, but the call was executed

    def hang_up(self, *, reset: bool = False) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            if reset:  # closing then sends RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                self.connection.shutdown(socket.SHUT_RDWR)

    def send(
        self, status: int, content_type: str, body: str, *, drip: Fault | None = None, login: str = ""
    ) -> None:
        raw = body.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Set-Cookie", f"itop-sandbox={secrets.token_hex(8)}; path=/; HttpOnly")
        if login:
            self.send_header("Set-Cookie", f"{LOGIN_COOKIE}={login}; path=/; HttpOnly; SameSite=Lax")
        if content_type != HTML:
            self.send_header("Access-Control-Allow-Origin", "*")
        if drip is None:
            self.end_headers()
            self.wfile.write(raw)
            self.wfile.flush()
            return
        head = b"".join(self._headers_buffer) + b"\r\n"
        self._headers_buffer: list[bytes] = []
        for byte in head + raw:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.itop.stopping.wait(drip.seconds):
                self.close_connection = True
                return

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the value of the Date header, from the store's clock instead of the computer's."""
        return super().date_time_string(int(self.itop.store.clock() if timestamp is None else timestamp))

    def log_message(self, format: str, *arguments: Any) -> None:
        log.info("%s %s", self.address_string(), format % arguments)


@contextmanager
def running_itop(path: str | Path = ":memory:", **options: Any) -> Iterator[Itop]:
    """Run a stand-in on a free port. The options are those of Itop."""
    itop = Itop(path, **options)
    itop.start()
    try:
        yield itop
    finally:
        itop.stop()
