"""Check the messages that the bridge has written to an iTop.

Can each write be verified? Does iTop write its dates in the time zone that is set here? Is any message in a log twice?
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db.models import QuerySet

from intercom_bridge.models import Delivery, Log, Ticket, TicketProfile
from intercom_bridge.sync.verify import VisibleContent, log_attribute, read_logs
from itop_client import ItopPermissionError, ItopRejectedError, LogEntry, quote, written_keys

from .finding import Finding
from .probe import Probe

# If iTop's time of a write differs by more seconds from the bridge's time, the time zone is wrong.
MAX_TIME_DIFFERENCE = 600.0
# Two equal entries whose times differ by fewer seconds are one message that was written twice.
DUPLICATE_SECONDS = 120.0
# Duplicates are searched in the tickets of the newest MAX_DELIVERIES messages, in at most MAX_TICKETS of them.
MAX_DELIVERIES = 30
MAX_TICKETS = 3
# The largest number of messages that are compared with the logs of a ticket.
MAX_COMPARED = 300


def examine_traces(probe: Probe) -> Iterator[Finding]:
    """Run the three checks of written messages. Raise ItopError when iTop stops responding."""
    for about, examine in (
        ("itop.changes", _examine_tracking),
        ("itop.time_zone", _examine_time_zone),
        ("itop.doubles", _examine_duplicates),
    ):
        try:
            yield from examine(probe)
        except (ItopPermissionError, ItopRejectedError) as error:
            yield probe.subject.check(about).warning(
                f"the written messages could not be checked: {error.detail}",
                "See the findings about its account and the ticket profile.",
            )


def _written_deliveries(probe: Probe) -> QuerySet[Delivery]:
    """Return the written deliveries whose contents are still stored, newest first."""
    return (
        Delivery.objects.in_itop()
        .filter(ticket__itop=probe.itop, ticket__gone_at=None, item__isnull=False)
        .select_related("ticket__itop", "conversation__workspace__profile")
        .order_by("-pk")
    )


# Change tracking: only if iTop's history records changes of a log can a write be found by its idempotency key.


def _examine_tracking(probe: Probe) -> Iterator[Finding]:
    for log in Log:
        profiles_by_log: dict[tuple[str, str], list[TicketProfile]] = {}
        for profile in probe.profiles:
            profiles_by_log.setdefault((profile.ticket_class, profile.code(log)), []).append(profile)
        for (ticket_class, code), profiles in profiles_by_log.items():
            in_this_log = _written_deliveries(probe).filter(
                log=log, ticket__ticket_class=ticket_class, conversation__workspace__profile__in=profiles
            )
            yield _tracking_finding(probe, f"{ticket_class}.{code}", in_this_log.first())


def _tracking_finding(probe: Probe, log_name: str, delivery: Delivery | None) -> Finding:
    """Report whether iTop tracks changes of a log. `log_name` is like "UserRequest.public_log".

    If iTop's history contains `delivery`, the newest message in this log, iTop tracks them. If `delivery` is
    None, report what earlier writes have shown.
    """
    check = probe.subject.check("itop.changes")
    was_tracked = probe.itop.tracked_logs.get(log_name)  # None: no write has shown it yet
    is_tracked = was_tracked
    if delivery is not None:
        is_tracked = _is_in_history(probe, delivery)
        if was_tracked and not is_tracked:
            return check.warning(
                f"its history does not contain the newest message written to {log_name} of {delivery.ticket.ref}",
                "The ticket was deleted, iTop's history was purged, or its data model no longer tracks changes of that "
                "log. In the last case, set the log's tracking level back to “all”, so that repeated writes are "
                "detected.",
            )
        if is_tracked and not was_tracked:
            probe.itop.learn_tracking(log_name, is_tracked=True)
    if is_tracked is None:
        return check.ok(f"change tracking of {log_name} can be checked after the first message")
    if is_tracked:
        return check.ok(f"tracks changes of {log_name}: each write can be verified")
    return check.warning(
        f"does not track changes of {log_name}: a repeated write is detected only by reading the log",
        "Set the log's tracking level to “all” in iTop's data model. Otherwise a message may be written twice if iTop "
        "executes a request after the bridge stopped waiting for the response.",
    )


def _is_in_history(probe: Probe, delivery: Delivery) -> bool:
    ticket, keys = delivery.ticket, [delivery.idempotency_key]
    keys_in_history = written_keys(
        probe.client, ticket.ticket_class, ticket.object_id, keys, deadline=probe.request_seconds
    )
    return bool(keys_in_history)


# The time zone


def _examine_time_zone(probe: Probe) -> Iterator[Finding]:
    """Compare the bridge's time of a write with iTop's."""
    check = probe.subject.check("itop.time_zone")
    # With several attempts it would be unknown which of them wrote the message, and when.
    delivery = _written_deliveries(probe).filter(attempts=1, written_at__isnull=False).first()
    recorded_at = _recorded_at(probe, delivery) if delivery else None
    if delivery is None or delivery.written_at is None or recorded_at is None:
        yield check.ok(
            f"is assumed to be in {probe.itop.time_zone}; this can be checked when iTop's history, if the account may "
            "read it, contains a message"
        )
        return
    written_at = delivery.written_at.astimezone(probe.itop.zone).replace(tzinfo=None)
    seconds_ahead = (recorded_at - written_at).total_seconds()
    if abs(seconds_ahead) <= MAX_TIME_DIFFERENCE:
        yield check.ok(f"writes its dates in {probe.itop.time_zone}, as set here")
        return
    # Rounded to a quarter of an hour: time zones differ by multiples of it.
    hours = abs(round(seconds_ahead / 900) / 4)
    direction = "ahead of" if seconds_ahead > 0 else "behind"
    yield check.warning(
        f"writes its dates {hours:g} hours {direction} {probe.itop.time_zone}, which is set here",
        "In the admin, set the time zone to the one in iTop's configuration (`timezone`). Until then, the dates in the "
        "panel and the dates of files that are copied to iTop are wrong by this difference.",
    )


def _recorded_at(probe: Probe, delivery: Delivery) -> dt.datetime | None:
    """Return when iTop's history recorded the write, in iTop's local time; None if the history does not show it."""
    ticket = delivery.ticket
    try:
        operations = probe.get(
            "CMDBChangeOpSetAttributeCaseLog",
            "SELECT CMDBChangeOpSetAttributeCaseLog AS o "
            f"WHERE o.objclass = {quote(ticket.ticket_class)} AND o.objkey = {quote(ticket.object_id)} "
            f"AND o.userinfo = {quote(delivery.idempotency_key)}",
            ("date",),
        )
    except (ItopPermissionError, ItopRejectedError):
        return None
    dates = (_parse_date(operation.text("date")) for operation in operations)
    return next((date for date in dates if date is not None), None)


def _parse_date(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - iTop's dates have no time zone
    except ValueError:
        return None


# Duplicates: does another program write the same messages?


class _TimedContent(NamedTuple):
    """The content of a message, and its time in seconds since 1970."""

    content: VisibleContent
    time: float


def _examine_duplicates(probe: Probe) -> Iterator[Finding]:
    check = probe.subject.check("itop.doubles")
    tickets_by_id = {
        delivery.ticket_id: delivery.ticket for delivery in _written_deliveries(probe)[:MAX_DELIVERIES]
    }
    tickets = list(tickets_by_id.values())[:MAX_TICKETS]
    affected = [ticket.ref for ticket in tickets if _has_duplicates(probe, ticket)]
    if affected:
        yield check.failure(
            f"messages appear twice in the log of {', '.join(affected)}: another program also writes them",
            "Remove the PHP extension's webhook from Intercom's Developer Hub (or the extension from iTop), and check "
            "whether a second installation of this service uses the same workspace.",
        )
    elif tickets:
        names = ", ".join(ticket.ref for ticket in tickets)
        yield check.ok(f"no message appears twice (checked: {names})")


def _has_duplicates(probe: Probe, ticket: Ticket) -> bool:
    """Return whether a log contains a message more often than the bridge wrote it, at about the same time."""
    deliveries = list(_written_deliveries(probe).filter(ticket=ticket)[:MAX_COMPARED])
    entries = _log_entries(probe, ticket, deliveries)
    messages = [_message_of(delivery) for delivery in deliveries]
    copies_written = Counter(message.content for message in messages)
    # The bridge also wrote messages whose texts are not stored: those that it copied when it created the ticket, and
    # those that retention deleted. Any entry at their time may be one of them.
    times_without_text = list(
        Delivery.objects.in_itop()
        .filter(ticket=ticket, item__isnull=True)
        .values_list("part_created_at", flat=True)
    )
    for message in messages:
        equal_entries = sum(
            entry.content == message.content and _is_near(entry.time, message.time) for entry in entries
        )
        writes_without_text = sum(_is_near(time, message.time) for time in times_without_text)
        if equal_entries > copies_written[message.content] + writes_without_text:
            return True
    return False


def _log_entries(probe: Probe, ticket: Ticket, deliveries: Sequence[Delivery]) -> list[_TimedContent]:
    """Return the entries of the logs to which these deliveries were written, except those without a valid date."""
    codes = {log_attribute(delivery) for delivery in deliveries}
    logs = read_logs(probe.client, ticket, codes, deadline=probe.request_seconds)
    entries = [entry for log in logs.values() for entry in log]
    return [
        _TimedContent(VisibleContent.of(entry.message_html), time)
        for entry in entries
        if (time := _entry_time(probe, entry)) is not None
    ]


def _message_of(delivery: Delivery) -> _TimedContent:
    """Return the message as the bridge sent it to iTop: `item` has a text, and a date like "@1767225600"."""
    item = delivery.item or {}
    time = float(str(item.get("date", "@0")).removeprefix("@"))
    return _TimedContent(VisibleContent.of(str(item.get("message", ""))), time)


def _is_near(time: float, other: float) -> bool:
    return abs(time - other) <= DUPLICATE_SECONDS


def _entry_time(probe: Probe, entry: LogEntry) -> float | None:
    date = _parse_date(entry.date)
    return date.replace(tzinfo=probe.itop.zone).timestamp() if date else None
