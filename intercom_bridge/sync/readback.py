"""What stands in a ticket's logs: whether what was written is still there, and who erased what.

iTop reads a log, adds to it and writes it back without a lock. We are one writer a ticket, but an agent's save in
iTop's own pages can still erase an entry of ours, or ours one of theirs. Two change operations with the same
`lastentry` on one log prove that two writers met (facts, "Two writers that met").
"""

from __future__ import annotations

import datetime as dt
import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import nh3
import structlog
from django.conf import settings
from django.utils import timezone

from intercom_bridge import reasons
from intercom_bridge.connections import itop_client
from intercom_bridge.models import Delivery, Ticket
from intercom_bridge.models.delivery import MISSING
from itop_client import Client, ItopNotAllowed, ItopRefused, LogEntry, quote, read_log

from .message import again

log = structlog.get_logger(__name__)

# What a look at the log may change of a delivery.
JUDGED = ("checked_at", "erased_times", "state", "marker", "reason", "due_at", "waiting_since")

_TAG = re.compile(r"<[^>]*>")
_ADDRESS = re.compile(r'(?:href|src)="([^"]*)"', re.IGNORECASE)
_NOT_SHOWN = re.compile("[\\s\u200b-\u200f\u2060\ufeff]+")


@dataclass(frozen=True)
class Operation:
    """A change that iTop kept of a write to a log."""

    log: str
    position: int
    userinfo: str
    date: str


def check_log(ticket: Ticket) -> int:
    """Reads the ticket's logs back once for all that was written and not checked yet.

    An entry that is missing while two writers met is put back to be written once more, under a new marker; one
    that is missing without that is only reported: somebody may have removed it. Answers how many are written
    again. Raises ItopError.
    """
    deliveries = list(
        Delivery.objects.in_itop()
        .filter(ticket=ticket, checked_at=None, item__isnull=False)
        .select_related("conversation__workspace__profile")
        .in_order()
    )
    if not deliveries:
        return 0
    client = itop_client(ticket.itop)
    by_log: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_log[log_attribute(delivery)].append(delivery)
    entries = read_logs(client, ticket, by_log)
    operations = _operations(client, ticket)
    erased = 0
    for code, written in by_log.items():
        met = _met(operations, code)
        missing = missing_from(entries[code], written, ticket.itop.zone)
        for delivery in written:
            others = [one for one in met.get(delivery.marker, []) if one.userinfo != delivery.marker]
            erased += _judge(delivery, is_missing=delivery in missing, others=others)
    return erased


def _judge(delivery: Delivery, *, is_missing: bool, others: list[Operation]) -> bool:
    delivery.checked_at = timezone.now()
    if is_missing and others:
        delivery.erased_times += 1
        delivery.state, delivery.checked_at = Delivery.State.WAITING, None
        delivery.marker = again(delivery.marker, delivery.erased_times)
        erased = reasons.ERASED % {"person": others[0].userinfo, "date": others[0].date}
        delivery.reason = erased[:500]
        delivery.due_at = delivery.waiting_since = timezone.now()
        log.warning(
            "delivery.erased", delivery=delivery.pk, ticket=delivery.ticket.ref, **delivery.conversation.names
        )
    elif is_missing:
        delivery.reason = MISSING
        log.warning(
            "delivery.missing",
            delivery=delivery.pk,
            ticket=delivery.ticket.ref,
            **delivery.conversation.names,
        )
    elif others:
        names = ", ".join(f"{one.userinfo} ({one.date})" for one in others)
        delivery.reason = f"written while somebody saved the ticket: iTop lost an entry of {names}"[:500]
        log.warning(
            "delivery.erased_another",
            delivery=delivery.pk,
            ticket=delivery.ticket.ref,
            **delivery.conversation.names,
        )
    # Nobody knows any more what to write again when it was erased here meanwhile.
    Delivery.objects.filter(pk=delivery.pk, cleaned_at=None).update(
        **{name: getattr(delivery, name) for name in JUDGED}
    )
    return delivery.state == Delivery.State.WAITING


def log_attribute(delivery: Delivery) -> str:
    """The data model's code of the log that this delivery goes to."""
    return delivery.conversation.workspace.profile.code(delivery.log)


def read_logs(
    client: Client, ticket: Ticket, codes: Iterable[str], *, deadline: float | None = None
) -> dict[str, tuple[LogEntry, ...]]:
    """The entries of these logs. A ticket that is gone has none. Raises ItopError."""
    codes = list(codes)
    found = client.get(
        ticket.ticket_class, ticket.object_id, fields=codes, deadline=deadline or settings.WRITE_SECONDS
    )
    fields: Mapping[str, Any] = found.objects[0].fields if found.objects else {}
    return {code: read_log(fields.get(code)) for code in codes}


def stands_in(client: Client, ticket: Ticket, delivery: Delivery, *, deadline: float) -> bool:
    """Whether the entry of this delivery is in the log: for data models that keep no changes of a log."""
    code = log_attribute(delivery)
    entries = read_logs(client, ticket, [code], deadline=deadline)[code]
    alike = Delivery.objects.in_itop().filter(ticket=ticket, log=delivery.log, item=delivery.item)
    return delivery not in missing_from(entries, [*alike, delivery], ticket.itop.zone)


def missing_from(entries: Iterable[LogEntry], written: list[Delivery], zone: dt.tzinfo) -> set[Delivery]:
    """Which of these deliveries the log does not hold, counted: of two alike, one that stands is one missing.

    Where not a single date fits, the instance's time zone is set wrong, and dates are left out of it.
    """
    entries = list(entries)
    missing = _missing(entries, written, zone)
    if len(missing) == len(written):
        return _missing(entries, written, None)
    return missing


def _missing(entries: list[LogEntry], written: list[Delivery], zone: dt.tzinfo | None) -> set[Delivery]:
    with_author = [delivery for delivery in written if "user_id" in (delivery.item or {})]
    there = Counter(_as_read(entry, zone, with_author=True) for entry in entries)
    there_unsigned = Counter(_as_read(entry, zone, with_author=False) for entry in entries)
    missing = set()
    for delivery in written:
        stock = there if delivery in with_author else there_unsigned
        key = _as_sent(delivery.item or {}, zone)
        if stock[key] > 0:
            stock[key] -= 1
        else:
            missing.add(delivery)
    return missing


Key = tuple[str, str, str, tuple[str, ...]]


def _as_read(entry: LogEntry, zone: dt.tzinfo | None, *, with_author: bool) -> Key:
    author = (str(entry.user_id) if entry.user_id else entry.user_login) if with_author else ""
    return (author, entry.date if zone else "", *shown(entry.message_html))


def _as_sent(item: Mapping[str, Any], zone: dt.tzinfo | None) -> Key:
    """Our epoch is written in iTop's zone and compared as text: two epochs share 02:30 when summer time ends."""
    author = str(item["user_id"] or item.get("user_login") or "") if "user_id" in item else ""
    date = ""
    if zone:
        when = dt.datetime.fromtimestamp(int(str(item["date"]).removeprefix("@")), zone)
        date = f"{when:%Y-%m-%d %H:%M:%S}"
    return (author, date, *shown(str(item["message"])))


def shown(body: str) -> tuple[str, tuple[str, ...]]:
    """What people see of it: both sides cleaned by one sanitiser, without tags and white space, and the addresses."""
    clean = nh3.clean(body)
    text = unicodedata.normalize("NFC", html.unescape(_TAG.sub("", clean)))
    return _NOT_SHOWN.sub("", text), tuple(html.unescape(url) for url in _ADDRESS.findall(clean))


def _operations(client: Client, ticket: Ticket) -> list[Operation]:
    """What iTop kept of writes to the ticket's logs; none where our account may not read that."""
    try:
        found = client.get(
            "CMDBChangeOpSetAttributeCaseLog",
            "SELECT CMDBChangeOpSetAttributeCaseLog AS o "
            f"WHERE o.objclass = {quote(ticket.ticket_class)} AND o.objkey = {ticket.object_id}",
            fields=("attcode", "lastentry", "userinfo", "date"),
            deadline=settings.WRITE_SECONDS,
        )
    except (ItopNotAllowed, ItopRefused) as refusal:
        log.warning("readback.no_changes", ticket=ticket.ref, error=type(refusal).__name__)
        return []
    return [
        Operation(one.text("attcode"), one.integer("lastentry"), one.text("userinfo"), one.text("date"))
        for one in found
    ]


def _met(operations: list[Operation], code: str) -> dict[str, list[Operation]]:
    """The operations that met, by the userinfo of each one of them."""
    by_position: dict[int, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.log == code:
            by_position[operation.position].append(operation)
    met: dict[str, list[Operation]] = defaultdict(list)
    for group in by_position.values():
        if len(group) > 1:
            for operation in group:
                met[operation.userinfo] += group
    return met
