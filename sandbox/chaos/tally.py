"""Counting, from the outside: the logs as iTop holds them, against what was said in Intercom.

*Kept*: the text stands in the log at least once. *Doubled*: how often it stands there once too often. *Restored*:
entries that were written a second time under another marker, since somebody else's save had erased them.

*Out of order*: an entry A that stands after an entry B though A is the earlier message (by created_at, then part
id), and A's notification was answered 200 before B was claimed. The moment of the claim cannot be seen from outside,
but it is enclosed: a ticket has one writer, so B was claimed after the answer to the ticket's write before B's first
one had passed, and before B's first write passed. B's own notification had to be committed, too; unless B was found
by reconciliation, that is after B was answered 200. So A counts when it was answered 200 before the later of those
two moments: each one counted is a mistake for certain, and what is left between the two moments is the few
milliseconds in which the writer chooses. Restored entries are left out: they come after what was written meanwhile.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from .tap import Call

LOGS = ("public_log", "private_log")
_TOKEN = re.compile(r"chaos-[a-z0-9]+-[a-z0-9]+-\d+")
_TICKET_IN_QUERY = re.compile(r"\.id\s*=\s*'?(\d+)")


def token_in(text: str) -> str:
    """The unique word of a message; "" when it is none of ours."""
    found = _TOKEN.search(text)
    return found.group() if found else ""


@dataclass(frozen=True)
class Ticket:
    id: int
    ref: str


@dataclass(frozen=True)
class TicketLogs:
    """A ticket's entries by log, in the order of their writing."""

    ticket: Ticket
    entries: dict[str, list[str]]


@dataclass(frozen=True)
class Said:
    """A message in the conversation."""

    token: str
    part_id: int
    created_at: int

    @property
    def key(self) -> tuple[int, int]:
        return self.created_at, self.part_id


@dataclass
class Score:
    """One line of the result."""

    sent: int = 0
    kept: int = 0
    doubled: int = 0
    out_of_order: int = 0
    restored: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    # Sentences about what is wrong beyond the numbers.
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.kept == self.sent > 0 and not (self.doubled or self.out_of_order or self.complaints)

    def line(self) -> str:
        numbers = (
            f"sent {self.sent:>4}  kept {self.kept:>4}  doubled {self.doubled}  out of order {self.out_of_order}  "
            f"restored {self.restored:>2}  {self.seconds:>4.0f} s"
        )
        return "  ".join([numbers, *self.notes])


def answered(calls: Iterable[Call]) -> dict[str, float]:
    """When a notification that bears this message was first answered 200, by the message's word."""
    found: dict[str, float] = {}
    for call in list(calls):
        if call.status == 200 and (token := token_in(call.body.decode("utf-8", "replace"))):
            found[token] = min(call.ended, found.get(token, call.ended))
    return found


def answered_ids(calls: Iterable[Call]) -> set[str]:
    """The ids of the notifications that were answered 200."""
    ids = {
        json.loads(call.body).get("id")
        for call in list(calls)
        if call.status == 200 and call.path.startswith("/web")
    }
    return {one for one in ids if one}


@dataclass(frozen=True)
class Write:
    """A request to append an entry, as it passed."""

    ticket_id: int
    token: str
    marker: str
    call: Call


def writes(calls: Iterable[Call]) -> list[Write]:
    """All appends that were asked for, in order of arrival; repeats included."""
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


def tally(said: list[Said], logs: list[TicketLogs], to_web: Iterable[Call], to_itop: Iterable[Call]) -> Score:
    """What became of the messages that were said."""
    score = Score(sent=len(said) * len(logs))
    answers, asked = answered(to_web), writes(to_itop)
    by_token = {message.token: message for message in said}
    for one in logs:
        own = [write for write in asked if write.ticket_id == one.ticket.id]
        markers: dict[str, set[str]] = defaultdict(set)
        for write in own:
            markers[write.token].add(write.marker)
        restored = {token for token, known in markers.items() if len(known) > 1}
        score.restored += sum(len(markers[token]) - 1 for token in restored)
        claims = _earliest_claims(own, answers)
        times: Counter[str] = Counter()
        for bodies in one.entries.values():
            tokens = [token for token in map(token_in, bodies) if token in by_token]
            times.update(tokens)
            in_order = [by_token[token] for token in dict.fromkeys(tokens) if token not in restored]
            score.out_of_order += _out_of_order(in_order, answers, claims)
        score.kept += sum(1 for token in by_token if times[token])
        score.doubled += sum(count - 1 for count in times.values() if count > 1)
    return score


def _earliest_claims(asked: list[Write], answers: dict[str, float]) -> dict[str, float]:
    """For each message a moment at which it was certainly not yet claimed (see above)."""
    found: dict[str, float] = {}
    before = 0.0
    for write in asked:
        if write.token not in found:
            found[write.token] = min(write.call.begun, max(before, answers.get(write.token, 0.0)))
        before = max(before, write.call.ended or write.call.begun)
    return found


def _out_of_order(entries: list[Said], answers: dict[str, float], claims: dict[str, float]) -> int:
    never = float("inf")
    return sum(
        any(
            later.key > entry.key and answers.get(entry.token, never) < claims.get(later.token, 0.0)
            for later in entries[:position]
        )
        for position, entry in enumerate(entries)
    )
