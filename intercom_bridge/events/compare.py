"""Find out what changed in a ticket since its snapshot was stored. This module makes no requests and stores nothing."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intercom_bridge.models import EventKind, Log, TicketProfile, TicketSnapshot
from itop_client import ItopObject, LogEntry, read_log

LAST_UPDATE = "last_update"
# Fields of the snapshot, with the attribute of iTop from which each is read. These attributes have the same code in
# every data model; some ticket classes lack some of them.
STOCK_FIELDS = {
    LAST_UPDATE: LAST_UPDATE,
    "agent_id": "agent_id",
    "agent_name": "agent_id_friendlyname",
    "team_id": "team_id",
    "team_name": "team_id_friendlyname",
    "solution": "solution",
    "pending_reason": "pending_reason",
}
SNAPSHOT_FIELDS = frozenset({*STOCK_FIELDS, "status", "caller_id"})
# States of iTop's standard life cycles, which all its ticket classes share.
PENDING, RESOLVED, CLOSED = "pending", "resolved", "closed"
# The key of a new file's change: this prefix, and the Attachment's id in iTop.
FILE_KEY_PREFIX = "file:"
DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
# The most digests that are stored for a log. iTop keeps about 300 entries. The rest is for entries that were replaced.
MAX_DIGESTS = 600
# Stands between the digests of a log's entries and those of entries that were replaced. No digest is empty.
END_OF_LOG = ""


def attribute_codes(profile: TicketProfile, *, private: bool) -> dict[str, str]:
    """Return the codes of the attributes to read from iTop. The private log is read only if `private`.

    The keys are the names of the snapshot's fields, of the logs, and `caller_name`.
    """
    logs = [Log.PUBLIC, Log.PRIVATE] if private else [Log.PUBLIC]
    caller = profile.code("caller_id")
    return (
        STOCK_FIELDS
        | {"status": profile.code("status"), "caller_id": caller, "caller_name": f"{caller}_friendlyname"}
        | {log.value: profile.code(log.value) for log in logs}
    )


@dataclass(frozen=True)
class EventAuthor:
    """The person who made a change in iTop. What is unknown is 0 or "".

    is_customer: this person is the ticket's caller.
    is_agent: this person is a member of a team in iTop. A colleague of the caller is neither.
    """

    name: str = ""
    email: str = ""
    person_id: int = 0
    is_customer: bool = False
    is_agent: bool = False


@dataclass(frozen=True)
class Change:
    """One change of a ticket.

    kind: an EventKind.
    key: identifies the change within the ticket. It stays the same when the change is read again.
    happened_at: by iTop's clock; None if iTop does not state it.
    before, after: codes of states, or names of assignees; "" for entries and files.
    content: the entry, the solution or the pending reason, as HTML from iTop.
    entry_key: for a file, the key of the public entry that was saved together with it; otherwise "".
    """

    kind: str
    key: str
    happened_at: dt.datetime | None = None
    author: EventAuthor = EventAuthor()
    before: str = ""
    after: str = ""
    content: str = ""
    entry_key: str = ""


@dataclass(frozen=True)
class NewEntry:
    """A log entry whose digest the snapshot does not contain.

    log: "public_log" or "private_log".
    code: the log's attribute in iTop's data model.
    index: the entry's position in the log.
    replaces: whether the log had another entry at this position when the snapshot was stored.
    """

    log: str
    code: str
    index: int
    digest: str
    entry: LogEntry
    replaces: bool

    @property
    def key(self) -> str:
        return f"{self.log}:{self.index}:{self.digest}"


@dataclass
class Difference:
    """How a ticket differs from its snapshot.

    new_values: the snapshot's fields that differ, with their new values.
    changes: changes of assignment and status, in the order in which they are reported.
    entries: new log entries, whoever wrote them, including the bridge.
    """

    new_values: dict[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    entries: list[NewEntry] = field(default_factory=list)


def compare(
    snapshot: TicketSnapshot, ticket: ItopObject, profile: TicketProfile, codes: Mapping[str, str]
) -> Difference:
    """Return how the ticket, as iTop returned it, differs from its snapshot.

    A value or log that is read for the first time only goes into `new_values`: it is not reported as a change.
    `codes` are the attributes that were read: `attribute_codes` without those that the ticket's class lacks.
    """
    difference = Difference()
    for name in SNAPSHOT_FIELDS & codes.keys():
        limit = TicketSnapshot._meta.get_field(name).max_length  # type: ignore[union-attr]  # they are columns
        value = ticket.text(codes[name]).strip()[:limit]
        if getattr(snapshot, name) != value:
            difference.new_values[name] = value
    # Forget a log that is not read. Otherwise, all its entries since then would be reported when it is read again.
    digests = {log: stored for log, stored in snapshot.entries.items() if log in codes}
    for log in Log:
        entries = ticket.fields.get(codes.get(log.value, ""))
        if not isinstance(entries, Mapping):
            continue
        stored = snapshot.entries.get(log.value)
        new_entries, digests[log.value] = _new_entries(
            log.value, codes[log.value], read_log(entries), stored or []
        )
        if stored is not None:
            difference.entries += new_entries
    if digests != snapshot.entries:
        difference.new_values["entries"] = digests
    difference.changes = list(_changes(snapshot, difference.new_values, profile))
    return difference


def digest(entry: LogEntry) -> str:
    """Return what identifies an entry: a hash of its time and author, "-", and a hash of its text without spaces."""
    time_and_author = f"{entry.date}|{entry.user_id}|{entry.user_login}"
    return f"{_short_hash(time_and_author)}-{_short_hash(''.join(entry.message.split()))}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _new_entries(
    log: str, code: str, entries: Sequence[LogEntry], stored: Sequence[str]
) -> tuple[list[NewEntry], list[str]]:
    """Return the entries that are new, and the digests to store. `stored` are the digests of the last comparison.

    They are the digests of the log's entries by index and, after END_OF_LOG, those of entries that were replaced.

    An entry is not new if its position, time and author are unchanged, because iTop may render its text differently
    later. Nor is it new if its digest is stored for another position, because somebody may have replaced the log.
    """
    digests = [digest(entry) for entry in entries]
    end = stored.index(END_OF_LOG) if END_OF_LOG in stored else len(stored)
    of_log, of_replaced = stored[:end], stored[end + 1 :]
    unmatched = Counter([*of_log, *of_replaced])
    candidates: list[NewEntry] = []
    for index, (entry, entry_digest) in enumerate(zip(entries, digests, strict=True)):
        old_digest = of_log[index] if index < len(of_log) else ""
        if _hash_of_time_and_author(old_digest) == _hash_of_time_and_author(entry_digest):
            unmatched[old_digest] -= 1
        else:
            candidates.append(NewEntry(log, code, index, entry_digest, entry, replaces=bool(old_digest)))
    new = []
    for candidate in candidates:
        if unmatched[candidate.digest] > 0:
            unmatched[candidate.digest] -= 1
        else:
            new.append(candidate)
    # The digests of replaced entries are stored, too, because these entries may come back.
    replaced = list(unmatched.elements())
    return new, [*digests, *([END_OF_LOG, *replaced] if replaced else [])][:MAX_DIGESTS]


def _hash_of_time_and_author(entry_digest: str) -> str:
    return entry_digest.partition("-")[0]


def entry_change(new: NewEntry, author: EventAuthor, zone: dt.tzinfo) -> Change:
    """Return the change to report for a new entry. `zone` is iTop's time zone."""
    if new.log == Log.PRIVATE:
        kind = EventKind.PRIVATE_ENTRY
    else:
        kind = EventKind.CUSTOMER_ENTRY if author.is_customer else EventKind.PUBLIC_ENTRY
    return Change(
        kind=kind,
        key=new.key,
        happened_at=local_time(new.entry.date, zone),
        author=author,
        content=new.entry.message_html,
    )


def local_time(text: str, zone: dt.tzinfo) -> dt.datetime | None:
    """Parse a local time of iTop, which is in the time zone `zone`. Return None if the text is not a time."""
    try:
        return dt.datetime.strptime(text, DATE_FORMAT).replace(tzinfo=zone)
    except ValueError:
        return None


def _changes(
    snapshot: TicketSnapshot, new_values: Mapping[str, Any], profile: TicketProfile
) -> Iterator[Change]:
    """Yield the changes of assignment and status. `new_values` are the snapshot's fields that differ now."""
    last_update = new_values.get(LAST_UPDATE, snapshot.last_update)
    happened_at = local_time(last_update, snapshot.ticket.itop.zone)

    def current(name: str) -> str:
        return str(new_values.get(name, getattr(snapshot, name)))

    # A field that is still "" in the snapshot was never read. iTop's value for nobody is "0".
    is_reassigned = any(name in new_values and getattr(snapshot, name) for name in ("agent_id", "team_id"))
    if is_reassigned:
        yield Change(
            kind=EventKind.ASSIGNMENT,
            key=f"assignment:{last_update}:{current('agent_id')}:{current('team_id')}",
            happened_at=happened_at,
            before=_assignee(snapshot.agent_name, snapshot.team_name),
            after=_assignee(current("agent_name"), current("team_name")),
        )
    before, after = snapshot.status, current("status")
    if not before or before == after:
        return
    if is_reassigned and (before, after) == ("new", "assigned"):
        # iTop changes the status because of the assignment, which is reported already.
        return
    contents = {RESOLVED: current("solution"), PENDING: current("pending_reason")}
    for old_state, new_state in _steps(before, after, has_new_solution=bool(new_values.get("solution"))):
        yield Change(
            kind=_kind_of_status_change(old_state, new_state, {RESOLVED, CLOSED, *profile.excluded_states}),
            key=f"status:{last_update}:{new_state}",
            happened_at=happened_at,
            before=old_state,
            after=new_state,
            content=contents.get(new_state, ""),
        )


def _steps(before: str, after: str, *, has_new_solution: bool) -> list[tuple[str, str]]:
    """Return the changes of status from `before` to `after`, as pairs of states.

    A ticket that was closed with a new solution was resolved in between. The resolution is a step of its own, because
    only the event of a resolution contains the solution, and by default a closing is not reported at all.
    """
    if after == CLOSED and before != RESOLVED and has_new_solution:
        return [(before, RESOLVED), (RESOLVED, CLOSED)]
    return [(before, after)]


def _assignee(agent: str, team: str) -> str:
    if agent and team:
        return f"{agent} ({team})"
    return agent or team


def _kind_of_status_change(before: str, after: str, finished_states: set[str]) -> EventKind:
    kinds = {PENDING: EventKind.PENDING, RESOLVED: EventKind.RESOLVED, CLOSED: EventKind.CLOSED}
    if after in kinds:
        return kinds[after]
    is_reopened = before in finished_states and after not in finished_states
    return EventKind.REOPENED if is_reopened else EventKind.STATUS
