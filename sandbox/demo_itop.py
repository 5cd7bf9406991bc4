"""Use iTop as a service desk agent does: find the customer, read tickets, answer and resolve them."""

from __future__ import annotations

import base64
import datetime as dt
import html
import re
import textwrap
import zoneinfo
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from itop_client import Client, Found, ItopError, ItopNotAdministratorError, LogEntry, quote, read_log

from .demo_processes import DemoError

TICKET_CLASS = "UserRequest"
LOGS = ("public_log", "private_log")
AGENT = "Agatha Christie"
SECONDS = 15.0
# The regions whose time zones are tried, in this order, to find one with a certain offset from UTC.
REGIONS = ("Europe", "America", "Asia", "Africa", "Australia", "Pacific", "Atlantic")
FIELDS = ("ref", "title", "status", "caller_id_friendlyname", "org_id_friendlyname", "origin", *LOGS)


@dataclass(frozen=True)
class Customer:
    """A Person in iTop."""

    id: int
    name: str
    email: str
    org_id: int


@dataclass(frozen=True)
class TicketAsItIs:
    """A ticket as iTop returns it. The entries of each log are in the order in which they were written."""

    ref: str
    title: str
    status: str
    caller: str
    organization: str
    logs: dict[str, tuple[LogEntry, ...]]

    def __str__(self) -> str:
        lines = [f"{self.ref}  {self.title}", f"{self.caller}, {self.organization}; status {self.status}"]
        for code, name in zip(LOGS, ("Public log", "Private log"), strict=True):
            lines.append(f"  {name} ({len(self.logs[code])})")
            for entry in self.logs[code]:
                lines.append(f"    {entry.date}  {entry.user_login}")
                lines += textwrap.wrap(text_of(entry), 92, initial_indent=" " * 8, subsequent_indent=" " * 8)
        return "\n".join(lines)


def text_of(entry: LogEntry) -> str:
    """Return the text of a log entry on one line."""
    text = entry.message or re.sub(r"<[^>]*>", " ", entry.message_html)
    return " ".join(html.unescape(text).split())


@contextmanager
def _expected(what: str) -> Iterator[None]:
    """Convert an ItopError into a DemoError that says what iTop did not do."""
    try:
        yield
    except ItopError as error:
        raise DemoError(f"iTop did not {what}: {error}") from error


def _query(ref: str) -> str:
    return f"SELECT {TICKET_CLASS} WHERE ref = {quote(ref)}"


class Itop:
    """An iTop, used over REST. The methods raise DemoError if iTop refuses a request or does not respond."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._client = Client(url, token=token, deadline=15.0)

    def _find(self, ref: str, *fields: str) -> Found:
        return self._client.get(TICKET_CLASS, _query(ref), fields=fields)

    def customer(self, email: str) -> Customer:
        """Return the only person with this e-mail address."""
        fields = ("friendlyname", "email", "org_id")
        with _expected("return the person"):
            found = self._client.get("Person", f"SELECT Person WHERE email = {quote(email)}", fields=fields)
        if len(found) != 1:
            raise DemoError(f"iTop has {len(found)} persons with the e-mail address {email}; one is needed.")
        person = next(iter(found))
        return Customer(person.id, person.text("friendlyname"), email, person.integer("org_id"))

    def register(self, customer: Customer, title: str, description: str) -> str:
        """Create a ticket directly in iTop, as a colleague would, and return its reference."""
        fields = {
            "org_id": customer.org_id,
            "caller_id": customer.id,
            "title": title,
            "description": description,
        }
        with _expected("create the second ticket"):
            created = self._client.create(TICKET_CLASS, fields, comment="Demo", output_fields=("ref",))
        return created.text("ref")

    def time_zone(self, ref: str) -> str:
        """Return the name of a time zone that fits iTop's clock. The ticket must have been created just now.

        iTop does not name its time zone. So this compares the ticket's creation date with UTC, and returns the first
        zone that currently has this offset. Several zones can have the same offset. Return "" if none has it.
        """
        try:
            found = self._find(ref, "start_date")
            now = dt.datetime.now(dt.UTC)
            begun = dt.datetime.fromisoformat(found.objects[0].text("start_date")).replace(tzinfo=dt.UTC)
        except (ItopError, IndexError, ValueError) as error:
            raise DemoError(f"iTop did not say when ticket {ref} was created: {error}") from error
        # All differences from UTC are multiples of 15 minutes.
        offset = dt.timedelta(minutes=15) * round((begun - now) / dt.timedelta(minutes=15))
        names = sorted(zoneinfo.available_timezones())
        zones = ("UTC", *(name for region in REGIONS for name in names if name.startswith(f"{region}/")))
        return next(
            (name for name in zones if now.astimezone(zoneinfo.ZoneInfo(name)).utcoffset() == offset), ""
        )

    def answer(self, ref: str, text: str) -> None:
        """Write a public entry, as an agent would."""
        item: dict[str, object] = {"message": f"<p>{html.escape(text)}</p>", "format": "html"}
        named = item | {"user_id": 0, "user_login": AGENT}
        with _expected(f"take the answer in ticket {ref}"):
            try:
                self._write_entry(ref, named)
            except ItopNotAdministratorError:
                self._write_entry(ref, item)

    def _write_entry(self, ref: str, item: Mapping[str, object]) -> None:
        self._client.update(TICKET_CLASS, _query(ref), {"public_log": {"add_item": item}}, comment="Demo")

    def files(self, ref: str) -> list[bytes]:
        """Return the contents of the ticket's files."""
        query = (
            f"SELECT Attachment AS a JOIN {TICKET_CLASS} AS t ON a.item_id = t.id "
            f"WHERE a.item_class = '{TICKET_CLASS}' AND t.ref = {quote(ref)}"
        )
        with _expected(f"return the files of ticket {ref}"):
            found = self._client.get("Attachment", query, fields=("contents",))
        files = [row.fields["contents"] for row in found]
        return [base64.b64decode(file["data"]) for file in files if isinstance(file, dict)]

    def answer_with_file(self, ref: str, text: str, name: str, content: bytes) -> bool:
        """Answer with a file on the stand-in's page for agents. Return False, and do nothing, for a real iTop.

        This is not possible over REST: iTop records in the history only files that people add on its pages.
        """
        with requests.Session() as session:
            session.trust_env = False
            probe = session.get(f"{self._url}/sandbox/faults", timeout=SECONDS)
            # For an address that does not exist, the web server of a real iTop may return iTop's start page.
            is_sandbox = probe.headers.get("Content-Type", "").startswith("application/json")
            if probe.status_code != 200 or not is_sandbox:
                return False
            ticket = self._find(ref, "id").objects[0]
            answer = session.post(
                f"{self._url}/pages/UI.php?operation=details&class={TICKET_CLASS}&id={ticket.id}",
                data={"action": "answer", "text": text},
                files={"files": (name, content)},
                timeout=SECONDS,
            )
        if "nothing was saved" in answer.text or answer.status_code != 200:
            raise DemoError(f"iTop did not take the file in ticket {ref}.")
        return True

    def resolve(self, ref: str, solution: str) -> None:
        """Assign a new ticket to an agent, and resolve it."""
        closing = {"solution": f"<p>{html.escape(solution)}</p>", "resolution_code": "assistance"}
        with _expected(f"resolve ticket {ref}"):
            ticket = self._find(ref, "request_type").objects[0]
            found = self._client.get(
                "lnkPersonToTeam", "SELECT lnkPersonToTeam", fields=("team_id", "person_id")
            )
            for member in found.objects[:1]:
                agent: dict[str, object] = {
                    "team_id": member.integer("team_id"),
                    "agent_id": member.integer("person_id"),
                    "request_type": ticket.text("request_type") or "incident",
                }
                self._client.apply_stimulus(TICKET_CLASS, _query(ref), "ev_assign", agent, comment="Demo")
            self._client.apply_stimulus(TICKET_CLASS, _query(ref), "ev_resolve", closing, comment="Demo")

    def ticket(self, ref: str) -> TicketAsItIs:
        with _expected(f"return ticket {ref}"):
            found = self._find(ref, *FIELDS)
        if len(found) != 1:
            raise DemoError(f"iTop has {len(found)} tickets {ref}.")
        ticket = next(iter(found))
        return TicketAsItIs(
            ref=ticket.text("ref"),
            title=ticket.text("title"),
            status=ticket.text("status"),
            caller=ticket.text("caller_id_friendlyname"),
            organization=ticket.text("org_id_friendlyname"),
            logs={code: read_log(ticket.fields.get(code)) for code in LOGS},
        )
