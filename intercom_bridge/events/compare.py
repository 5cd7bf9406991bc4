"""Compare a ticket as iTop returned it with its snapshot. Makes no requests and stores nothing."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intercom_bridge.models import EventKind, Log, TicketProfile, TicketSnapshot
from itop_client import ItopObject, LogEntry, read_log

LAST_UPDATE = "last_update"
# Fields of the snapshot that have the same code in every data model. Some classes lack some of them.
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
DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
# iTop keeps about 300 entries. More digests are those of entries that were replaced.
MAX_DIGESTS = 600


def attribute_codes(profile: TicketProfile, *, private: bool) -> dict[str, str]:
    """Return the attributes to read, by the name of the snapshot's field or of the log."""
    logs = [Log.PUBLIC, Log.PRIVATE] if private else [Log.PUBLIC]
    caller = profile.code("caller_id")
    return (
        STOCK_FIELDS
        | {"status": profile.code("status"), "caller_id": caller, "caller_name": f"{caller}_friendlyname"}
        | {log.value: profile.code(log.value) for log in logs}
    )


@dataclass(frozen=True)
class EventAuthor:
    """Who did it, as far as iTop says. `person_id` is 0 and the texts are empty if unknown.

    is_customer: the ticket's caller. is_agent: a member of a team. A colleague of the caller is neither.
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
    key: identifies the change within the ticket; the same change has the same key whenever it is read again.
    happened_at: by iTop's clock; None if iTop does not say.
    before, after: the values as people see them; "" for an entry.
    content: the entry, the solution or the pending reason, as HTML of iTop.
    entry_key: for a file, the key of the public entry that was saved together with it, otherwise "".
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
    """An entry of a log that the snapshot does not know.

    log: "public_log" or "private_log"; `code` is its attribute in the data model.
    index: its position in the log.
    replaces: whether the snapshot knows another entry at this position.
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

    update: the new values of the snapshot's fields; empty if nothing is different.
    changes: of the ticket's state, in the order in which people read them.
    entries: new entries, whoever wrote them.
    """

    update: dict[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    entries: list[NewEntry] = field(default_factory=list)


def compare(
    snapshot: TicketSnapshot, found: ItopObject, profile: TicketProfile, codes: Mapping[str, str]
) -> Difference:
    """Return how the ticket differs from its snapshot. What was never read before is no change.

    `codes` are the attributes that were read: `attribute_codes` without those that the class does not have.
    """
    difference = Difference()
    for name in SNAPSHOT_FIELDS & codes.keys():
        limit = TicketSnapshot._meta.get_field(name).max_length  # type: ignore[union-attr]  # they are columns
        value = found.text(codes[name]).strip()[:limit]
        if getattr(snapshot, name) != value:
            difference.update[name] = value
    # A log that is no longer read is forgotten: otherwise old entries would be news when it is read again.
    remembered = {log: known for log, known in snapshot.entries.items() if log in codes}
    for log in Log:
        if isinstance(entries := found.fields.get(codes.get(log.value, "")), Mapping):
            known = snapshot.entries.get(log.value)
            new, remembered[log.value] = _new_entries(
                log.value, codes[log.value], read_log(entries), known or []
            )
            difference.entries += new if known is not None else []
    if remembered != snapshot.entries:
        difference.update["entries"] = remembered
    difference.changes = list(_changes(snapshot, difference.update, profile))
    return difference


# Entries


def digest(entry: LogEntry) -> str:
    """Return what identifies an entry: a digest of its time and author, and one of its text."""
    head = f"{entry.date}|{entry.user_id}|{entry.user_login}"
    return f"{_short(head)}-{_short(''.join(entry.message.split()))}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _new_entries(
    log: str, code: str, read: Iterable[LogEntry], known: Sequence[str]
) -> tuple[list[NewEntry], list[str]]:
    """Return the entries whose digests are not known, and the digests to remember.

    An entry at its old position with its old time and author is known, even if iTop now renders its text otherwise.
    After somebody has replaced the log, an entry is known if its digest was anywhere in it.
    """
    digests = [digest(entry) for entry in read]
    others = Counter(known)
    unplaced: list[NewEntry] = []
    for index, (entry, value) in enumerate(zip(read, digests, strict=True)):
        old = known[index] if index < len(known) else ""
        if old.partition("-")[0] == value.partition("-")[0]:
            others[old] -= 1
        else:
            unplaced.append(NewEntry(log, code, index, value, entry, replaces=bool(old)))
    new = []
    for candidate in unplaced:
        if others[candidate.digest] > 0:
            others[candidate.digest] -= 1
        else:
            new.append(candidate)
    # Replaced entries are remembered, in case they come back.
    return new, [*digests, *others.elements()][:MAX_DIGESTS]


def entry_change(new: NewEntry, author: EventAuthor, zone: dt.tzinfo) -> Change:
    """Return the change that a new entry is."""
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
    """Return the time that iTop writes as local time, or None if it is none."""
    try:
        return dt.datetime.strptime(text, DATE_FORMAT).replace(tzinfo=zone)
    except ValueError:
        return None


# State


def _changes(snapshot: TicketSnapshot, update: Mapping[str, Any], profile: TicketProfile) -> Iterator[Change]:
    last_update = update.get(LAST_UPDATE, snapshot.last_update)
    happened_at = local_time(last_update, snapshot.ticket.itop.zone)

    def now(name: str) -> str:
        return str(update.get(name, getattr(snapshot, name)))

    is_assigned = any(name in update and getattr(snapshot, name) for name in ("agent_id", "team_id"))
    if is_assigned:
        yield Change(
            kind=EventKind.ASSIGNMENT,
            key=f"assignment:{last_update}:{now('agent_id')}:{now('team_id')}",
            happened_at=happened_at,
            before=_assignee(snapshot.agent_name, snapshot.team_name),
            after=_assignee(now("agent_name"), now("team_name")),
        )
    before, after = snapshot.status, now("status")
    if not before or before == after or (is_assigned and (before, after) == ("new", "assigned")):
        return
    kind = _kind_of_status(before, after, {RESOLVED, CLOSED, *profile.excluded_states})
    content = {EventKind.RESOLVED: now("solution"), EventKind.PENDING: now("pending_reason")}.get(kind, "")
    yield Change(
        kind=kind,
        key=f"status:{last_update}:{after}",
        happened_at=happened_at,
        before=before,
        after=after,
        content=content,
    )


def _assignee(agent: str, team: str) -> str:
    return f"{agent} ({team})" if agent and team else agent or team


def _kind_of_status(before: str, after: str, finished: set[str]) -> EventKind:
    by_state = {PENDING: EventKind.PENDING, RESOLVED: EventKind.RESOLVED, CLOSED: EventKind.CLOSED}
    if after in by_state:
        return by_state[after]
    return EventKind.REOPENED if before in finished and after not in finished else EventKind.STATUS
