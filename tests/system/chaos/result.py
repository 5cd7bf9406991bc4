"""Count the entries in the logs of iTop, compared with the messages sent in Intercom.

*Written*: the text is in the log at least once. *Duplicated*: the number of superfluous copies. *Restored*: entries
that were written again with another idempotency key, because a concurrent save in iTop had erased them.

*Out of order*: an entry A after an entry B although A is the earlier message (by created_at, then part id) and A's
notification was acknowledged before B was claimed. The time of the claim is not visible from outside, but bounded: a
ticket has one writer, so B was claimed after the response to the preceding write to the ticket and before B's first
write. B's own notification was committed too, unless reconciliation found B. A counts if it was acknowledged before
the later of those two times. So every counted entry is an error; the uncertainty is the few milliseconds in which the
writer selects. Restored entries are excluded, because they follow the entries written in between.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from .proxy import Call

LOGS = ("public_log", "private_log")
_TOKEN = re.compile(r"chaos-[a-z0-9]+-[a-z0-9]+-\d+")
_TICKET_IN_QUERY = re.compile(r"\.id\s*=\s*'?(\d+)")


def token_in(text: str) -> str:
    """Return the unique token of a message, or "" without one."""
    return next(iter(tokens_in(text)), "")


def tokens_in(text: str) -> list[str]:
    """Return all tokens in a text."""
    return _TOKEN.findall(text)


@dataclass(frozen=True)
class Ticket:
    id: int
    ref: str


@dataclass(frozen=True)
class TicketLogs:
    """The entries of a ticket by log, in the order in which they were written."""

    ticket: Ticket
    entries: dict[str, list[str]]


@dataclass(frozen=True)
class SentMessage:
    """A message that was sent in the conversation."""

    token: str
    part_id: int
    created_at: int

    @property
    def key(self) -> tuple[int, int]:
        return self.created_at, self.part_id


@dataclass
class Result:
    """The result of one scenario."""

    sent: int = 0
    written: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    restored: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    # Sentences about other problems.
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.written == self.sent > 0 and not (self.duplicated or self.out_of_order or self.problems)

    def line(self) -> str:
        numbers = (
            f"sent {self.sent:>4}  written {self.written:>4}  duplicated {self.duplicated}  "
            f"out of order {self.out_of_order}  restored {self.restored:>2}  {self.seconds:>4.0f} s"
        )
        return "  ".join([numbers, *self.notes])


def acknowledgement_times(calls: Iterable[Call]) -> dict[str, float]:
    """Return the time at which each message was first acknowledged, by its token."""
    found: dict[str, float] = {}
    for call in list(calls):
        if call.status == 200 and (token := token_in(call.body.decode("utf-8", "replace"))):
            found[token] = min(call.ended, found.get(token, call.ended))
    return found


def acknowledged_ids(calls: Iterable[Call]) -> set[str]:
    """Return the ids of the acknowledged notifications."""
    ids = {
        json.loads(call.body).get("id")
        for call in list(calls)
        if call.status == 200 and call.path.startswith("/web")
    }
    return {notification_id for notification_id in ids if notification_id}


@dataclass(frozen=True)
class Write:
    """A request to append an entry, as it passed."""

    ticket_id: int
    token: str
    idempotency_key: str
    call: Call


def writes(calls: Iterable[Call]) -> list[Write]:
    """Return all requests to append an entry, in order of arrival, including retries."""
    found = []
    for call in list(calls):
        form = parse_qs(call.body.decode("utf-8", "replace"))
        try:
            request = json.loads(form["json_data"][0])
        except (KeyError, ValueError):
            continue
        if request.get("operation") != "core/update":
            continue
        token = token_in(json.dumps(request.get("fields", {})))
        key = str(request.get("key", ""))
        ticket = (
            int(key) if key.isdigit() else int(named[1]) if (named := _TICKET_IN_QUERY.search(key)) else 0
        )
        if token:
            found.append(Write(ticket, token, str(request.get("comment", "")), call))
    return found


def tally(
    sent: list[SentMessage], logs: list[TicketLogs], to_web: Iterable[Call], to_itop: Iterable[Call]
) -> Result:
    """Return the outcome of the messages that were sent."""
    result = Result(sent=len(sent) * len(logs))
    answers, requested = acknowledgement_times(to_web), writes(to_itop)
    by_token = {message.token: message for message in sent}
    for log in logs:
        own = [write for write in requested if write.ticket_id == log.ticket.id]
        idempotency_keys: dict[str, set[str]] = defaultdict(set)
        for write in own:
            idempotency_keys[write.token].add(write.idempotency_key)
        restored = {token for token, known in idempotency_keys.items() if len(known) > 1}
        result.restored += sum(len(idempotency_keys[token]) - 1 for token in restored)
        claims = _earliest_claims(own, answers)
        times: Counter[str] = Counter()
        for bodies in log.entries.values():
            tokens = [token for token in map(token_in, bodies) if token in by_token]
            times.update(tokens)
            in_order = [by_token[token] for token in dict.fromkeys(tokens) if token not in restored]
            result.out_of_order += _out_of_order(in_order, answers, claims)
        result.written += sum(1 for token in by_token if times[token])
        result.duplicated += sum(count - 1 for count in times.values() if count > 1)
    return result


def _earliest_claims(asked: list[Write], answers: dict[str, float]) -> dict[str, float]:
    """Return, for each message, a time at which it was certainly not yet claimed (see above)."""
    found: dict[str, float] = {}
    before = 0.0
    for write in asked:
        if write.token not in found:
            found[write.token] = min(write.call.begun, max(before, answers.get(write.token, 0.0)))
        before = max(before, write.call.ended or write.call.begun)
    return found


def _out_of_order(entries: list[SentMessage], answers: dict[str, float], claims: dict[str, float]) -> int:
    never = float("inf")
    return sum(
        any(
            later.key > entry.key and answers.get(entry.token, never) < claims.get(later.token, 0.0)
            for later in entries[:position]
        )
        for position, entry in enumerate(entries)
    )


def entry_tokens(log: TicketLogs) -> list[str]:
    """Return the token of each entry of a ticket that has one, in order."""
    return [token for bodies in log.entries.values() for token in map(token_in, bodies) if token]


def inversions(reported: Iterable[str], wanted: Sequence[str]) -> int:
    """Return how many tokens were reported after one that comes later in `wanted`."""
    position = {token: number for number, token in enumerate(wanted)}
    found, highest = 0, -1
    for token in dict.fromkeys(reported):
        if token in position:
            found += position[token] < highest
            highest = max(highest, position[token])
    return found
