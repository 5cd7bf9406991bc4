"""Verify that written entries are still in a ticket's log, and rewrite those that another save removed.

To add an entry, iTop reads the log and writes all of it back, without a lock. So of two concurrent saves, the later one
removes the entry of the other. The bridge has one writer per ticket, but an agent can save the ticket in iTop at the
same time: either entry may be lost.

iTop records each new entry as a change operation. `lastentry` is the entry's position in the log. Two operations with
the same position prove that two saves were concurrent.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import structlog
from django.conf import settings
from django.utils import timezone

from intercom_bridge.connections import itop_client
from intercom_bridge.intercom.html import url_in_itop
from intercom_bridge.intercom.text import normalize
from intercom_bridge.intercom.tokens import StartTag, TextToken, Tokenizer
from intercom_bridge.models import Delivery, Ticket
from intercom_bridge.models.reason import ReasonCode
from itop_client import Client, ItopPermissionError, ItopRejectedError, LogEntry, quote, read_log

from .message import rewrite_key

log = structlog.get_logger(__name__)

# The fields that a verification can change.
VERIFICATION_FIELDS = (
    "checked_at",
    "erased_times",
    "state",
    "idempotency_key",
    "reason_code",
    "reason_detail",
    "due_at",
    "queued_at",
)

_INVISIBLE = re.compile("[\\s\u200b-\u200f\u2060\ufeff]+")


@dataclass(frozen=True)
class Operation:
    """A change operation: iTop's record of an entry that was added to a log.

    `userinfo` is who made the change; for the bridge's entries, it is the idempotency key.
    """

    log: str
    position: int
    userinfo: str
    date: str

    def __str__(self) -> str:
        return f"{self.userinfo}, {self.date}"


def check_log(ticket: Ticket) -> None:
    """Read the ticket's logs once and verify all entries that have not been verified yet.

    An entry that a concurrent save removed is queued again under a new idempotency key. If an entry is missing and no
    save was concurrent, someone may have removed it on purpose, so this is only reported. Raise ItopError.
    """
    deliveries = list(
        Delivery.objects.in_itop()
        .filter(ticket=ticket, checked_at=None, item__isnull=False)
        .select_related("conversation__workspace__profile")
        .in_order()
    )
    if not deliveries:
        return
    client = itop_client(ticket.itop)
    by_log: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_log[log_attribute(delivery)].append(delivery)
    entries = read_logs(client, ticket, by_log)
    operations = _operations(client, ticket)
    for code, written in by_log.items():
        concurrent_by_key = _concurrent_operations(operations or [], code)
        missing = missing_from(entries[code], written, ticket.itop.zone)
        for delivery in written:
            concurrent = concurrent_by_key.get(delivery.idempotency_key, [])
            is_missing = delivery in missing
            if is_missing and operations is None:
                # The bridge's account may not read operations. Search for the ticket by a condition on its operations.
                is_overwritten = _is_overwritten(client, delivery, code)
            else:
                is_overwritten = is_missing and bool(concurrent)
            _save_result(
                delivery, is_missing=is_missing, is_overwritten=is_overwritten, concurrent=concurrent
            )


def _save_result(
    delivery: Delivery, *, is_missing: bool, is_overwritten: bool, concurrent: list[Operation]
) -> None:
    """Save what the verification found. `concurrent` are the changes of others at the entry's position."""
    delivery.checked_at = timezone.now()
    log_event = ""
    if is_overwritten:
        log_event = "delivery.erased"
        delivery.erased_times += 1
        delivery.state, delivery.checked_at = Delivery.State.WAITING, None
        delivery.idempotency_key = rewrite_key(delivery.idempotency_key, delivery.erased_times)
        delivery.set_reason(ReasonCode.OVERWRITTEN, concurrent[0] if concurrent else "")
        delivery.due_at = delivery.queued_at = timezone.now()
    elif is_missing:
        log_event = "delivery.missing"
        delivery.set_reason(ReasonCode.ENTRY_MISSING)
    elif concurrent:
        # Our entry is there, so the write has removed the entries of the concurrent saves.
        log_event = "delivery.erased_another"
        delivery.set_reason(ReasonCode.CONCURRENT_SAVE, "; ".join(map(str, concurrent)))
    if log_event:
        log_fields = delivery.conversation.log_fields
        log.warning(log_event, delivery=delivery.pk, ticket=delivery.ticket.ref, **log_fields)
    # If the content was deleted in the meantime, there is nothing left to write again.
    Delivery.objects.filter(pk=delivery.pk, cleaned_at=None).update(
        **{name: getattr(delivery, name) for name in VERIFICATION_FIELDS}
    )


def log_attribute(delivery: Delivery) -> str:
    """Return the attribute code of the log that this delivery is written to, such as "public_log"."""
    return delivery.conversation.workspace.profile.code(delivery.log)


def read_logs(
    client: Client, ticket: Ticket, codes: Iterable[str], *, deadline: float | None = None
) -> dict[str, tuple[LogEntry, ...]]:
    """Return the entries of these logs by attribute code; no entries if the ticket is gone. Raise ItopError."""
    codes = list(codes)
    response = client.get(
        ticket.ticket_class, ticket.object_id, fields=codes, deadline=deadline or settings.WRITE_SECONDS
    )
    fields: Mapping[str, Any] = response.objects[0].fields if response.objects else {}
    return {code: read_log(fields.get(code)) for code in codes}


def is_in_log(client: Client, ticket: Ticket, delivery: Delivery, *, deadline: float) -> bool:
    """Return whether the log contains the delivery's entry, for data models that do not track changes of a log."""
    code = log_attribute(delivery)
    entries = read_logs(client, ticket, [code], deadline=deadline)[code]
    # Each equal delivery that is already written accounts for one of the equal entries.
    equal = Delivery.objects.in_itop().filter(ticket=ticket, log=delivery.log, item=delivery.item)
    return delivery not in missing_from(entries, [*equal, delivery], ticket.itop.zone)


def is_shown_in_log(client: Client, ticket: Ticket, delivery: Delivery, *, deadline: float) -> bool:
    """Return whether an entry shows the delivery's content, by any author and date, such as the PHP extension's."""
    code = log_attribute(delivery)
    wanted = VisibleContent.of(str((delivery.item or {}).get("message", "")))
    entries = read_logs(client, ticket, [code], deadline=deadline)[code]
    return any(VisibleContent.of(entry.message_html) == wanted for entry in entries)


def missing_from(entries: Iterable[LogEntry], written: list[Delivery], zone: dt.tzinfo) -> set[Delivery]:
    """Return the deliveries without an entry in the log. Two equal deliveries need two entries.

    If no delivery has an entry with its date, the instance's time zone is probably configured wrong: then ignore dates.
    """
    entries = list(entries)
    missing: set[Delivery] = set()
    for zone_of_dates in (zone, None):  # None: ignore dates
        matcher = LogMatcher(entries, zone_of_dates)
        missing = {delivery for delivery in written if not matcher.take(delivery.item or {})}
        if len(missing) < len(written):
            break
    return missing


@dataclass(frozen=True)
class VisibleContent:
    """The visible text of an entry, without white space, and the URLs of its links and images."""

    text: str
    urls: tuple[str, ...]

    @classmethod
    def of(cls, body: str) -> VisibleContent:
        """Return the visible content of HTML. It is the same for what was sent to iTop and what iTop returns.

        Leave out the URLs that iTop removes. Decode the others, because iTop percent-encodes them.
        """
        texts: list[str] = []
        urls: list[str] = []
        for token in Tokenizer(body):
            if isinstance(token, TextToken):
                texts.append(token.text)
            elif isinstance(token, StartTag):
                urls += (token.attributes[name] for name in ("href", "src") if name in token.attributes)
        text = normalize("NFC", "".join(texts))
        return cls(
            text=_INVISIBLE.sub("", text),
            urls=tuple(unquote(url.strip()) for url in urls if url_in_itop(url)),
        )


class LogMatcher:
    """Match log items with the entries of a log, each entry with one item. If `zone` is None, ignore dates."""

    def __init__(self, entries: Iterable[LogEntry], zone: dt.tzinfo | None) -> None:
        self._zone = zone
        # How many entries there are with this author, date and content. Each entry is counted a second time with the
        # author None, for items that have no author.
        self._unused: Counter[tuple[str | None, str, VisibleContent]] = Counter()
        for entry in entries:
            content = VisibleContent.of(entry.message_html)
            date = entry.date if zone else ""
            author = str(entry.user_id) if entry.user_id else entry.user_login
            self._unused.update([(author, date, content), (None, date, content)])

    def take(self, item: Mapping[str, Any]) -> bool:
        """Return whether an unused entry matches the item, and use it."""
        author = None
        if "user_id" in item:  # otherwise, iTop writes the entry under the bridge's own account
            author = str(item["user_id"] or item.get("user_login") or "")
        date = local_date(item, self._zone) if self._zone else ""
        key = (author, date, VisibleContent.of(str(item["message"])))
        if not self._unused[key]:
            return False
        self._unused[key] -= 1
        return True


def local_date(item: Mapping[str, Any], zone: dt.tzinfo) -> str:
    """Return an item's date as the text that iTop shows, in the instance's time zone.

    Texts are compared because the reverse is ambiguous: 02:30 occurs twice when summer time ends.
    """
    seconds = int(str(item["date"]).removeprefix("@"))
    return f"{dt.datetime.fromtimestamp(seconds, zone):%Y-%m-%d %H:%M:%S}"


def _operations(client: Client, ticket: Ticket) -> list[Operation] | None:
    """Return iTop's change operations of the ticket's logs, or None if our account may not read them."""
    try:
        rows = client.get(
            "CMDBChangeOpSetAttributeCaseLog",
            "SELECT CMDBChangeOpSetAttributeCaseLog AS o "
            f"WHERE o.objclass = {quote(ticket.ticket_class)} AND o.objkey = {ticket.object_id}",
            fields=("attcode", "lastentry", "userinfo", "date"),
            deadline=settings.WRITE_SECONDS,
        )
    except (ItopPermissionError, ItopRejectedError) as error:
        log.info("verification.history_unreadable", ticket=ticket.ref, error=type(error).__name__)
        return None
    return [
        Operation(row.text("attcode"), row.integer("lastentry"), row.text("userinfo"), row.text("date"))
        for row in rows
    ]


def _is_overwritten(client: Client, delivery: Delivery, code: str) -> bool:
    """Return whether another save also wrote an entry at the position of the delivery's entry.

    Only an Administrator may read change operations. But every account may search tickets by their change operations
    (recordings 218 and 270), so a binary search finds the position. Raise ItopError.
    """
    ticket, key = delivery.ticket, quote(delivery.idempotency_key)

    def has_operation(condition: str) -> bool:
        """Return whether a change operation `o` of the log fulfils this OQL condition."""
        query = (
            f"SELECT {ticket.ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
            f" WHERE t.id = {ticket.object_id} AND o.objclass = {quote(ticket.ticket_class)}"
            f" AND o.attcode = {quote(code)} AND {condition}"
        )
        return bool(client.get(ticket.ticket_class, query, limit=1, deadline=settings.WRITE_SECONDS).total)

    try:
        # The entry's position is at least `low`. Double `high` until the position is below it, then halve the range.
        low, high = 0, 1
        while has_operation(f"o.userinfo = {key} AND o.lastentry >= {high}"):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if has_operation(f"o.userinfo = {key} AND o.lastentry >= {middle}"):
                low = middle
            else:
                high = middle
        return has_operation(f"o.lastentry = {low} AND o.userinfo != {key}")
    except (ItopPermissionError, ItopRejectedError) as error:
        log.warning("verification.history_not_searchable", ticket=ticket.ref, error=type(error).__name__)
        return False


def _concurrent_operations(operations: list[Operation], code: str) -> dict[str, list[Operation]]:
    """Return for the `userinfo` of each operation on this log the operations of others at the same position."""
    by_position: dict[int, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.log == code:
            by_position[operation.position].append(operation)
    concurrent: dict[str, list[Operation]] = defaultdict(list)
    for same_position in by_position.values():
        for operation in same_position:
            concurrent[operation.userinfo] += [
                other for other in same_position if other.userinfo != operation.userinfo
            ]
    return concurrent
