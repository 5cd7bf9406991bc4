"""The bridge's messages in an iTop: whether writes can be verified, the time zone, and duplicates."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from django.db.models import QuerySet

from intercom_bridge.models import Delivery, Log, Ticket
from intercom_bridge.sync.verify import VisibleContent, log_attribute, read_logs
from itop_client import ItopPermissionError, ItopRejectedError, LogEntry, quote, written_keys

from .finding import Finding
from .probe import Probe

# A larger difference between iTop's and the bridge's time of a write means a wrong time zone.
MAX_TIME_DIFFERENCE = 600.0
# Equal entries within this time are one message, written twice.
DUPLICATE_SECONDS = 120.0
MAX_TICKETS = 3
MAX_DELIVERIES = 30
# The capacity of a log.
MAX_ENTRIES = 300


def examine_traces(probe: Probe) -> Iterator[Finding]:
    """Check written messages. Raise ItopError when iTop stops responding."""
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


def _written(probe: Probe) -> QuerySet[Delivery]:
    """Return the written deliveries whose contents are still stored, newest first."""
    return (
        Delivery.objects.in_itop()
        .filter(ticket__itop=probe.itop, ticket__gone_at=None, item__isnull=False)
        .select_related("ticket__itop", "conversation__workspace__profile")
        .order_by("-pk")
    )


# Whether iTop tracks changes of the logs, so that a write can be found by its idempotency key


def _examine_tracking(probe: Probe) -> Iterator[Finding]:
    for log in Log:
        delivery = _written(probe).filter(log=log).first()
        for key in {f"{profile.ticket_class}.{profile.code(log)}" for profile in probe.profiles}:
            is_newest = delivery and f"{delivery.ticket.ticket_class}.{log_attribute(delivery)}" == key
            yield _tracking_finding(probe, key, delivery if is_newest else None)


def _tracking_finding(probe: Probe, key: str, delivery: Delivery | None) -> Finding:
    """Return whether iTop tracks changes of the log `key`: if its history contains the delivery, it does.

    Without a delivery, return what earlier writes have shown.
    """
    check = probe.subject.check("itop.changes")
    is_tracked = probe.itop.tracked_logs.get(key)
    if delivery is not None:
        was_tracked, is_tracked = is_tracked, _is_in_history(probe, delivery)
        if was_tracked and not is_tracked:
            return check.warning(
                f"its history does not contain the newest message written to {key} of {delivery.ticket.ref}",
                "The ticket was deleted, iTop's history was purged, or its data model no longer tracks changes of that "
                "log. In the last case, set its tracking level back to “all”, so that repeated writes are detected.",
            )
        if is_tracked and was_tracked is None:
            probe.itop.learn_tracking(key, is_tracked=True)
    if is_tracked is None:
        return check.ok(f"change tracking of {key} can be checked after the first message")
    if is_tracked:
        return check.ok(f"tracks changes of {key}: each write can be verified")
    return check.warning(
        f"does not track changes of {key}: a repeated write is detected only by reading the log",
        "Set the log's tracking level to “all” in iTop's data model. Otherwise a message may be written twice if iTop "
        "executes a request after the bridge gave up on it.",
    )


def _is_in_history(probe: Probe, delivery: Delivery) -> bool:
    ticket, keys = delivery.ticket, [delivery.idempotency_key]
    return bool(
        written_keys(probe.client, ticket.ticket_class, ticket.object_id, keys, deadline=probe.seconds)
    )


# The time zone


def _examine_time_zone(probe: Probe) -> Iterator[Finding]:
    # After several attempts it is unknown which one wrote the message.
    check = probe.subject.check("itop.time_zone")
    delivery = _written(probe).filter(attempts=1, written_at__isnull=False).first()
    recorded_at = _recorded_at(probe, delivery) if delivery else None
    if delivery is None or delivery.written_at is None or recorded_at is None:
        yield check.ok(
            f"is assumed to be in {probe.itop.time_zone}; this can be checked after the first message"
        )
        return
    written_at = delivery.written_at.astimezone(probe.itop.zone).replace(tzinfo=None)
    ahead = (recorded_at - written_at).total_seconds()
    if abs(ahead) <= MAX_TIME_DIFFERENCE:
        yield check.ok(f"writes its dates in {probe.itop.time_zone}, as set here")
        return
    hours = f"{abs(round(ahead / 900) / 4):g} hours"
    yield check.warning(
        f"writes its dates {hours} {'ahead of' if ahead > 0 else 'behind'} {probe.itop.time_zone}, which is set here",
        "In the admin, set the time zone to the one in iTop's configuration (`timezone`). Until then, dates in the "
        "panel, and those of files that are copied to iTop, are wrong by this difference.",
    )


def _recorded_at(probe: Probe, delivery: Delivery) -> dt.datetime | None:
    """Return the time of the write in iTop's history, in iTop's local time; None if it is not found."""
    ticket = delivery.ticket
    try:
        found = probe.get(
            "CMDBChangeOpSetAttributeCaseLog",
            "SELECT CMDBChangeOpSetAttributeCaseLog AS o "
            f"WHERE o.objclass = {quote(ticket.ticket_class)} AND o.objkey = {quote(ticket.object_id)} "
            f"AND o.userinfo = {quote(delivery.idempotency_key)}",
            ("date",),
        )
    except (ItopPermissionError, ItopRejectedError):
        return None
    return next((date for operation in found if (date := _parse_date(operation.text("date")))), None)


def _parse_date(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - iTop's dates have no time zone
    except ValueError:
        return None


# Whether another program writes the same messages


def _examine_duplicates(probe: Probe) -> Iterator[Finding]:
    check = probe.subject.check("itop.doubles")
    by_id = {delivery.ticket_id: delivery.ticket for delivery in _written(probe)[:MAX_DELIVERIES]}
    tickets = list(by_id.values())[:MAX_TICKETS]
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
    """Return whether the logs contain a message more often than it was written, at about the same time."""
    deliveries = list(_written(probe).filter(ticket=ticket)[:MAX_ENTRIES])
    codes = {log_attribute(delivery) for delivery in deliveries}
    logs = read_logs(probe.client, ticket, codes, deadline=probe.seconds)
    entries = [
        (VisibleContent.of(entry.message_html), time)
        for log in logs.values()
        for entry in log
        if (time := _entry_time(probe, entry))
    ]
    items = [delivery.item or {} for delivery in deliveries]
    sent = Counter(VisibleContent.of(str(item.get("message", ""))) for item in items)
    # Copied when the ticket was created, or deleted by retention: their texts are unknown, so any entry at their time
    # may be one of them.
    times_of_unknown = list(
        Delivery.objects.in_itop()
        .filter(ticket=ticket, item__isnull=True)
        .values_list("part_created_at", flat=True)
    )
    for item in items:
        content = VisibleContent.of(str(item.get("message", "")))
        written = float(str(item.get("date", "@0")).removeprefix("@"))
        equal = sum(other == content and abs(time - written) <= DUPLICATE_SECONDS for other, time in entries)
        unknown = sum(abs(time - written) <= DUPLICATE_SECONDS for time in times_of_unknown)
        if equal > sent[content] + unknown:
            return True
    return False


def _entry_time(probe: Probe, entry: LogEntry) -> float | None:
    date = _parse_date(entry.date)
    return date.replace(tzinfo=probe.itop.zone).timestamp() if date else None
