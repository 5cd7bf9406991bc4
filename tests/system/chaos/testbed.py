"""The test bed of one scenario: the service, its workers, an iTop and an Intercom, with a proxy before each."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import requests

from itop_client import Client, ItopError, LogFullError, quote, read_log
from sandbox.demo_inbox import Inbox
from settings.env import BASE_DIR
from tests.system.notification import ALICE, BRUNO

from .children import Child, Children, SystemTestError, free_port, wait_until
from .environment import Database, Environment
from .proxy import Proxy
from .result import LOGS, SentMessage, Ticket, TicketLogs, token_in

SANDBOX_TOKEN = "chaos-itop-token"
SANDBOX_PERSON = "alice.martin@acme.example"
TICKET_CLASS = "UserRequest"
# Of the workspace that the stand-in for Intercom does not know, with a conversation of its own.
SECOND_WORKSPACE_ID = "second01"
SECOND_CONVERSATION_ID = "900000000000001"
# The delay of Intercom's single retry; in production it is one minute.
REPEAT_SECONDS = 3.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class RealItop:
    """An existing iTop. `person` is an e-mail address in it; "" chooses any person."""

    url: str
    token: str
    person: str = ""
    time_zone: str = ""


@dataclass(frozen=True)
class Customer:
    id: int
    org_id: int
    name: str
    email: str


class Testbed:
    """A context manager that ends all its processes.

    `linked` is the number of tickets that are linked to the conversation, `others` that of further conversations with
    a ticket each. `second` adds a conversation with a ticket in a second workspace. With `talks`, so many conversations
    are linked to one or two of the tickets each, and none to all of them.
    """

    def __init__(
        self,
        environment: Environment,
        name: str,
        *,
        real: RealItop | None = None,
        linked: int = 2,
        others: int = 0,
        second: bool = False,
        talks: int = 0,
        window: float = 0.02,
        latency: float = 0.0,
    ) -> None:
        self.environment = environment
        self.directory = environment.directory / name
        self.name = name
        self._real = real
        self._linked = linked
        self._others = others
        self._has_second = second
        self._talks = talks
        self._faults = {"window": window, "latency": latency}
        self._stack = ExitStack()
        self.webs: list[Child] = []
        self.workers: list[Child] = []
        self.tickets: list[Ticket] = []
        self.conversation_id = ""
        # Further conversations, each with a ticket of its own.
        self.others: dict[str, Ticket] = {}
        # Conversations that share the tickets.
        self.talks: dict[str, list[Ticket]] = {}
        # The conversation of the second workspace and its ticket.
        self.second = (SECOND_CONVERSATION_ID, Ticket(0, ""))

    def __enter__(self) -> Testbed:
        self.directory.mkdir(parents=True)
        try:
            self._set_up()
        except BaseException as error:
            excerpts = self.children.log_excerpts() if hasattr(self, "children") else ""
            self._stack.close()
            if isinstance(error, SystemTestError | ItopError | requests.RequestException):
                raise SystemTestError(
                    f"The test bed of {self.name} could not be set up. {error}\n{excerpts}"
                ) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- Setting up ---

    def _set_up(self) -> None:
        self.database: Database = self._stack.enter_context(self.environment.database(self.directory))
        self.children: Children = self._stack.enter_context(Children(self.directory))
        self._environment = self.environment.variables(self.database, self.directory)
        itop_port, intercom_port = free_port(), free_port()
        self._start_itop(f"http://127.0.0.1:{itop_port}/")
        web_ports = [free_port() for _ in range(self.environment.groups)]
        self.to_web: Proxy = self._stack.enter_context(
            Proxy([f"http://127.0.0.1:{port}" for port in web_ports], free_port())
        )
        self.to_itop: Proxy = self._stack.enter_context(Proxy([self.itop_url], itop_port))
        self._start_intercom(f"http://127.0.0.1:{intercom_port}")
        self.to_intercom: Proxy = self._stack.enter_context(Proxy([self._intercom_url], intercom_port))
        self.customer = self._find_customer()
        self.tickets = [self._register(f"Chaos: {self.name}, {number + 1}") for number in range(self._linked)]
        for number in range(self._others):
            self.begin_conversation()
            self.others[self.conversation_id] = self._register(f"Chaos: {self.name}, other {number + 1}")
        if self._has_second:
            self.second = (SECOND_CONVERSATION_ID, self._register(f"Chaos: {self.name}, second workspace"))
        for number in range(self._talks):
            self.begin_conversation()
            places = {number % self._linked, *([number * 7 % self._linked] if number % 5 == 0 else [])}
            self.talks[self.conversation_id] = [self.tickets[place] for place in sorted(places)]
        self.begin_conversation()
        self._make_rows()
        self._start_service(web_ports)

    def _start_itop(self, root_address: str) -> None:
        """Start an iTop that knows itself by an address, which is that of the proxy."""
        if self._real is not None:
            self.itop_url, self._token = self._real.url.rstrip("/"), self._real.token
            self._client = Client(self.itop_url, token=self._token, deadline=20.0)
            return
        port = free_port()
        self.itop_url, self._token = f"http://127.0.0.1:{port}", SANDBOX_TOKEN
        self._client = Client(self.itop_url, token=self._token, deadline=20.0)
        database = str(self.directory / "itop.sqlite3")
        itop = self.children.start(
            "itop",
            *("-m", "sandbox.itop", "--port", str(port), "--database", database, "--token", SANDBOX_TOKEN),
            *("--root-address", root_address),
            environment=self._environment,
            directory=BASE_DIR,
        )
        self.children.wait_for_address(itop, f"{self.itop_url}/")
        requests.post(f"{self.itop_url}/sandbox/faults", json=self._faults, timeout=10).raise_for_status()

    def _start_intercom(self, files_url: str) -> None:
        """Start an Intercom whose files are downloaded from an address, which is that of the proxy."""
        port = free_port()
        self._intercom_url = f"http://127.0.0.1:{port}"
        intercom = self.children.start(
            "intercom",
            *("-m", "sandbox.intercom", "--port", str(port), "--bridge", self.to_web.url),
            *("--database", str(self.directory / "intercom.sqlite3"), "--retry-seconds", str(REPEAT_SECONDS)),
            *("--files-url", files_url),
            environment=self._environment,
            directory=BASE_DIR,
        )
        self.children.wait_for_address(intercom, f"{self._intercom_url}/sandbox/state")
        # Deliver each notification twice.
        self.inbox().webhooks(copies=2)

    def _find_customer(self) -> Customer:
        email = self._real.person if self._real else SANDBOX_PERSON
        query = (
            f"SELECT Person WHERE email = {quote(email)}"
            if email
            else ("SELECT Person WHERE email LIKE '%@%' AND status = 'active'")
        )
        found = self._client.get("Person", query, fields=("friendlyname", "org_id", "email"), limit=1)
        if not found.objects:
            raise SystemTestError(f"This iTop has no person {email or 'with an e-mail address'}.")
        person = found.objects[0]
        return Customer(
            person.id, person.integer("org_id"), person.text("friendlyname"), person.text("email")
        )

    def _register(self, title: str) -> Ticket:
        fields = {"org_id": self.customer.org_id, "caller_id": self.customer.id, "title": title}
        made = self._client.create(
            TICKET_CLASS,
            fields | {"description": "<p>Made by chaos.</p>", "request_type": "incident"},
            comment="Chaos",
            output_fields=("ref",),
        )
        return Ticket(made.id, made.text("ref"))

    def _make_rows(self) -> None:
        wanted = {
            "itop_url": self.to_itop.url,
            "itop_token": self._token,
            "is_sandbox": self._real is None,
            "time_zone": self._real.time_zone if self._real else "",
            "links": {
                conversation: [[ticket.id, ticket.ref] for ticket in tickets]
                for conversation, tickets in (self.talks or {self.conversation_id: self.tickets}).items()
            }
            | {conversation: [[ticket.id, ticket.ref]] for conversation, ticket in self.others.items()},
            # The others are those of one customer.
            "contacts": dict.fromkeys(self.others, ALICE["id"])
            | dict.fromkeys((self.conversation_id, self.second[0]), BRUNO["id"]),
            "second_workspace": SECOND_WORKSPACE_ID if self._has_second else "",
            "second_links": {
                conversation: [[ticket.id, ticket.ref]] for conversation, ticket in [self.second]
            },
        }
        self.children.run(
            "rows",
            *("-m", "tests.system.chaos.rows", "set-up", json.dumps(wanted)),
            environment=self._environment,
            directory=BASE_DIR,
        )

    def _start_service(self, ports: list[int]) -> None:
        """Start the processes. Each group has its own working directory and, without Redis, its own queue."""
        for number, port in enumerate(ports, 1):
            directory = self.directory / f"group-{number}"
            directory.mkdir()
            environment = self._environment | {
                "INTERCOM_API_URL": self.to_intercom.url,
                "PUBLIC_URL": self.to_web.url,
                "CHAOS_QUEUE": str(directory / "queue.sqlite3"),
            }
            suffix = f" {number}" if len(ports) > 1 else ""
            configuration = str(BASE_DIR / "gunicorn.conf.py")
            self.webs.append(
                self.children.start(
                    f"web{suffix}",
                    *("-m", "gunicorn", "--config", configuration, "settings.wsgi"),
                    environment=environment | {"BIND": f"127.0.0.1:{port}"},
                    directory=directory,
                )
            )
            for worker in range(2 // len(ports)):
                name = f"worker {number if len(ports) > 1 else worker + 1}"
                self.workers.append(
                    self.children.start(
                        name,
                        str(BASE_DIR / "manage.py"),
                        "worker",
                        environment=environment,
                        directory=directory,
                    )
                )
        for web, port in zip(self.webs, ports, strict=True):
            self.children.wait_for_address(web, f"http://127.0.0.1:{port}/healthz")
        for started_worker in self.workers:
            self._wait_for_worker(started_worker)

    def _wait_for_worker(self, worker: Child) -> None:
        def started() -> bool:
            self.children.check(worker)
            return "Worker started" in worker.output()

        wait_until(started, f"{worker.name} does not start", 60)

    # --- During a scenario ---

    def begin_conversation(self) -> None:
        """Start a conversation as the customer; messages follow."""
        self.conversation_id = self.inbox().begin(
            name=self.customer.name, email=self.customer.email, body="Hello, nothing works any more."
        )

    def wait_for_web(self, web: Child) -> None:
        address = web.environment["BIND"]
        self.children.wait_for_address(web, f"http://{address}/healthz")

    def inbox(self) -> Inbox:
        """Return a client of Intercom for one thread."""
        return Inbox(self._intercom_url)

    def itop_client(self) -> Client:
        """Return a client of iTop that bypasses the proxy."""
        return Client(self.itop_url, token=self._token, deadline=20.0)

    def fill_log(self, ticket: Ticket) -> None:
        """Fill the ticket's public log until iTop accepts no further entry."""
        entry = {"message": "<p>x</p>", "user_id": 0, "user_login": "x"}
        full = [entry] * 300
        while True:
            try:
                self._client.update(
                    TICKET_CLASS, ticket.id, {"public_log": {"items": full}}, comment="Chaos", deadline=60.0
                )
            except LogFullError:
                return
            full = [*full, *[entry] * (20 if len(full) < 380 else 1)]

    def set_faults(self, faults: list[dict[str, Any]]) -> None:
        """Replace the faults of the stand-in for iTop."""
        requests.post(
            f"{self.itop_url}/sandbox/faults", json={"faults": faults}, timeout=10
        ).raise_for_status()

    def send_away(self, seconds: float) -> threading.Timer:
        """Refuse connections to iTop for some time, in the proxy, so that this works for a real iTop too."""
        self.to_itop.go_away()
        timer = threading.Timer(seconds, self.to_itop.come_back)
        timer.daemon = True
        timer.start()
        return timer

    def wait_until_delivered(self, seconds: float = 90.0) -> None:
        """Wait until Intercom has sent all notifications."""
        inbox = self.inbox()

        def all_sent() -> bool:
            self.children.check()
            return not any(
                notification["state"] in ("waiting", "held") for notification in inbox.notifications()
            )

        wait_until(all_sent, "Intercom still has notifications to send", seconds, LOOK_SECONDS)

    def logs(self) -> list[TicketLogs]:
        """Return the tickets' logs, read over REST. Raise ItopError."""
        ids = ", ".join(str(ticket.id) for ticket in self.tickets)
        found = self._client.get(TICKET_CLASS, f"SELECT {TICKET_CLASS} WHERE id IN ({ids})", fields=LOGS)
        by_id = {ticket.id: ticket for ticket in found}
        return [
            TicketLogs(
                ticket,
                {
                    code: [entry.message_html for entry in read_log(by_id[ticket.id].fields.get(code))]
                    for code in LOGS
                },
            )
            for ticket in self.tickets
        ]

    def final_logs(self) -> list[TicketLogs]:
        """Return the logs at the end: of the stand-in, its stored rows instead of its REST responses."""
        if self._real is not None:
            return self.logs()
        state: Any = requests.get(f"{self.itop_url}/sandbox/state", timeout=60).json()
        rows = {row["id"]: row for row in state["tickets"]}
        return [
            TicketLogs(ticket, {code: [entry["message"] for entry in rows[ticket.id][code]] for code in LOGS})
            for ticket in self.tickets
        ]

    def tickets_titled(self, title: str) -> list[Ticket]:
        query = f"SELECT {TICKET_CLASS} WHERE title LIKE {quote(f'%{title}%')}"
        return [
            Ticket(ticket.id, ticket.text("ref"))
            for ticket in self._client.get(TICKET_CLASS, query, fields=("ref",))
        ]

    def missing(self, sent: list[SentMessage]) -> set[tuple[int, str]]:
        """Return (ticket id, token) of each message that is not in the log. Raise ItopError."""
        absent = set()
        for log in self.logs():
            found = {token_in(body) for bodies in log.entries.values() for body in bodies}
            absent |= {(log.ticket.id, message.token) for message in sent if message.token not in found}
        return absent

    def wait_until_written(
        self, sent: list[SentMessage], *, patience: float, limit: float, quiet: float
    ) -> str:
        """Wait until every log contains all messages, and still does `quiet` seconds later.

        Return "", or a sentence about the missing messages after `patience` seconds without progress or `limit`
        seconds in total.
        """
        began = progressed = time.monotonic()
        fewest = len(sent) * len(self.tickets) + 1
        complete_since = 0.0
        while True:
            self.children.check()
            try:
                missing = self.missing(sent)
            except ItopError:
                missing = None
            now = time.monotonic()
            if missing is not None and not missing:
                complete_since = complete_since or now
                if now - complete_since >= quiet:
                    return ""
            elif missing is not None:
                complete_since = 0.0
                if len(missing) < fewest:
                    fewest, progressed = len(missing), now
                if now - progressed > patience or now - began > limit:
                    names = ", ".join(f"{token} in {ticket}" for ticket, token in sorted(missing)[:6])
                    return (
                        f"After {now - began:.0f} seconds {len(missing)} entries are missing "
                        f"(no other came for {now - progressed:.0f} seconds): {names}"
                    )
            elif now - began > limit:
                return f"iTop could not be asked for {now - began:.0f} seconds."
            time.sleep(LOOK_SECONDS)
