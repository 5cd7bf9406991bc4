"""Agents who work in iTop while customers write in Intercom, and what the conversations hear of it.

*Reported*: the text of an agent's entry is in an internal note of each conversation that is linked to its ticket.
Entries that iTop itself lost to a concurrent save need not be reported. Of a ticket's changes of status, only the last
one must be: two changes between two polls are one. Nothing may be reported twice, in another order than in iTop, in
another conversation, or if a customer wrote it.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import requests

from itop_client import Client, ItopError
from sandbox.demo_processes import DemoError

from .children import SystemTestError
from .result import Result, Ticket, TicketLogs, entry_tokens, inversions, tokens_in
from .testbed import LOOK_SECONDS, TICKET_CLASS, Testbed

AGENTS = 4
# Of how many entries of an agent each is followed by a change of the status of one of his tickets.
CHANGE_EVERY = 4
ASSIGNED = {"team_id": 37, "agent_id": 9}


class Countable(Protocol):
    """What happened, and what became of it so far."""

    def count(self) -> Result: ...


class Story:
    """Agents write `entries` entries each, over about `seconds`; customers write as many messages as one agent."""

    def __init__(self, testbed: Testbed, *, entries: int, seconds: float) -> None:
        self._testbed = testbed
        self._entries = entries
        self._pause = seconds / entries
        self._name = f"{random.randrange(36**4):x}"
        # Tokens in the order in which they were written: of entries and of changes of status by ticket, and of
        # customers' messages by conversation.
        self.entries: dict[int, list[str]] = defaultdict(list)
        self.changes: dict[int, list[str]] = defaultdict(list)
        self.messages: dict[str, list[str]] = defaultdict(list)
        self._pool = ThreadPoolExecutor(AGENTS + 1)
        self._futures: list[Future[None]] = []

    def start(self) -> Story:
        self._futures = [self._pool.submit(self._work, number) for number in range(AGENTS)]
        self._futures.append(self._pool.submit(self._write))
        self._pool.shutdown(wait=False)
        return self

    @property
    def is_running(self) -> bool:
        return not all(future.done() for future in self._futures)

    def wait(self) -> None:
        """Wait for the end. Raise SystemTestError if somebody could not write."""
        for future in self._futures:
            try:
                future.result(300)
            except (ItopError, DemoError, requests.RequestException) as error:
                raise SystemTestError(f"An agent or a customer could not write: {error}") from error

    # --- Agents ---

    def _work(self, number: int) -> None:
        client = self._testbed.itop_client()
        service = client.get("Service", "SELECT Service", limit=1).objects[0]
        # Only its own agent changes the status of a ticket.
        tickets = self._testbed.tickets[number::AGENTS]
        for ticket in tickets:
            _stimulate(client, ticket, "ev_assign", ASSIGNED)
        pending: set[int] = set()
        for count in range(self._entries):
            ticket = random.choice(self._testbed.tickets)
            token = f"chaos-{self._name}-{number}-{count}"
            item = {"message": f"<p>Agent {number} wrote {token}.</p>", "format": "html"}
            client.update(TICKET_CLASS, ticket.id, {"public_log": {"add_item": item}}, comment="An agent")
            self.entries[ticket.id].append(token)
            if count % CHANGE_EVERY == 0:
                self._change(client, random.choice(tickets), pending, f"chaos-{self._name}-s{number}-{count}")
            time.sleep(self._pause * random.uniform(0.2, 1.8))
        for position, ticket in enumerate(tickets):
            if ticket.id in pending:
                _stimulate(client, ticket, "ev_assign", ASSIGNED)
            token = f"chaos-{self._name}-r{number}-{position}"
            solution = {"solution": f"<p>{token}</p>", "resolution_code": "other", "service_id": service.id}
            _stimulate(client, ticket, "ev_resolve", solution)
            self.changes[ticket.id].append(token)

    def _change(self, client: Client, ticket: Ticket, pending: set[int], token: str) -> None:
        if ticket.id in pending:
            pending.remove(ticket.id)
            _stimulate(client, ticket, "ev_assign", ASSIGNED)
        else:
            pending.add(ticket.id)
            _stimulate(client, ticket, "ev_pending", {"pending_reason": f"Waiting for {token}"})
            self.changes[ticket.id].append(token)

    # --- Customers ---

    def _write(self) -> None:
        inbox = self._testbed.inbox()
        for count in range(self._entries):
            conversation_id = random.choice(list(self._testbed.talks))
            token = f"chaos-{self._name}-c-{count}"
            inbox.write(conversation_id, author="contact", body=f"The customer wrote {token}.")
            self.messages[conversation_id].append(token)
            time.sleep(self._pause * random.uniform(0.2, 1.8))

    # --- Counting ---

    def count(self) -> Result:
        """Compare notes and logs, as they are now."""
        result = Result()
        logs = {log.ticket.id: log for log in self._testbed.final_logs()}
        agents = {token for tokens in (*self.entries.values(), *self.changes.values()) for token in tokens}
        kept = {token for log in logs.values() for token in entry_tokens(log)}
        result.notes.append(
            f"iTop lost {len({*_all(self.entries)} - kept)} of {len(_all(self.entries))} entries"
        )
        inbox = self._testbed.inbox()
        for conversation_id, tickets in self._testbed.talks.items():
            notes = [part["body"] for part in inbox.parts(conversation_id) if part["part_type"] == "note"]
            reported = [token for body in notes for token in tokens_in(body)]
            wanted = [self._wanted(logs[ticket.id], agents) for ticket in tickets]
            self._count_reported(result, reported, wanted)
            if strange := set(reported) - {token for ticket in tickets for token in self._of(ticket)}:
                result.problems.append(f"In {conversation_id} was reported: {', '.join(sorted(strange))}")
            for ticket in tickets:
                times = Counter(entry_tokens(logs[ticket.id]))
                own = self.messages.get(conversation_id, [])
                result.sent += len(own)
                result.written += sum(1 for token in own if times[token])
                result.duplicated += sum(times[token] - 1 for token in own if times[token] > 1)
        return result

    def _of(self, ticket: Ticket) -> Iterable[str]:
        return [*self.entries.get(ticket.id, []), *self.changes.get(ticket.id, [])]

    def _wanted(self, log: TicketLogs, agents: set[str]) -> tuple[list[str], list[str]]:
        """Return what must be reported of a ticket, and its changes of status, each in order."""
        entries = [token for token in entry_tokens(log) if token in agents]
        return entries, self.changes.get(log.ticket.id, [])

    def _count_reported(
        self, result: Result, reported: list[str], wanted: Sequence[tuple[list[str], list[str]]]
    ) -> None:
        times = Counter(reported)
        result.duplicated += sum(count - 1 for count in times.values() if count > 1)
        for entries, changes in wanted:
            required = [*entries, *changes[-1:]]
            result.sent += len(required)
            result.written += sum(1 for token in required if times[token])
            result.out_of_order += inversions(reported, entries) + inversions(reported, changes)


def _stimulate(client: Client, ticket: Ticket, stimulus: str, fields: Mapping[str, Any]) -> None:
    client.apply_stimulus(TICKET_CLASS, ticket.id, stimulus, fields, comment="An agent")


def _all(by_key: dict[int, list[str]]) -> list[str]:
    return [token for tokens in list(by_key.values()) for token in tokens]


def wait_until_reported(
    story: Countable, *, patience: float, quiet: float, check: Callable[[], None]
) -> Result:
    """Wait until all is reported and written, and still is `quiet` seconds later. Return the last count."""
    most, progressed, complete_since = -1, time.monotonic(), 0.0
    while True:
        check()
        result = story.count()
        now = time.monotonic()
        if result.written > most:
            most, progressed = result.written, now
        complete_since = (complete_since or now) if result.written == result.sent else 0.0
        if complete_since and now - complete_since >= quiet:
            return result
        if not complete_since and now - progressed > patience:
            result.problems.append(f"Nothing more was reported or written for {patience:.0f} seconds.")
            return result
        time.sleep(LOOK_SECONDS)
