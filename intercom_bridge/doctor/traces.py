"""What our own messages have left in an iTop: whether they are found again, in which time, and whether alone."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from django.db.models import QuerySet

from intercom_bridge.models import Delivery, Ticket
from intercom_bridge.sync.readback import log_attribute, read_logs, shown
from itop_client import ItopNotAllowed, ItopRefused, LogEntry, quote, written_markers

from .asking import Asking
from .finding import Finding

# How far a message's time in iTop's history may be from ours before a time zone is the reason.
ZONE_SECONDS = 600.0
# Two entries of the same words this near to each other are one message, written twice.
TWICE_SECONDS = 120.0
TICKETS_READ = 3
DELIVERIES_LOOKED_AT = 30
# A log holds no more.
ENTRIES_COMPARED = 300


def examine_traces(asking: Asking) -> Iterator[Finding]:
    """Raises ItopError when iTop stops answering."""
    for about, examine in (
        ("itop.changes", _examine_markers),
        ("itop.time_zone", _examine_time_zone),
        ("itop.doubles", _examine_doubles),
    ):
        try:
            yield from examine(asking)
        except (ItopNotAllowed, ItopRefused) as refusal:
            yield asking.subject.warning(
                about,
                f"what our messages have left there could not be looked at: {refusal}",
                "See what is said of its account and of the ticket profile.",
            )


def _written(asking: Asking) -> QuerySet[Delivery]:
    """What was written message by message, newest first, as long as its contents are kept."""
    return (
        Delivery.objects.in_itop()
        .filter(ticket__itop=asking.itop, ticket__gone_at=None, item__isnull=False)
        .select_related("ticket__itop", "conversation__workspace__profile")
        .order_by("-pk")
    )


# Whether a write is found by its marker


def _examine_markers(asking: Asking) -> Iterator[Finding]:
    for log in ("public_log", "private_log"):
        delivery = _written(asking).filter(log=log).first()
        for key in {f"{one.ticket_class}.{one.code(log)}" for one in asking.profiles}:
            if delivery is None or f"{delivery.ticket.ticket_class}.{log_attribute(delivery)}" != key:
                yield _judge_what_is_known(asking, key)
            else:
                yield _look_for(asking, delivery, key)


def _judge_what_is_known(asking: Asking, key: str) -> Finding:
    kept = asking.itop.tracked_logs.get(key)
    if kept is None:
        return asking.subject.ok(
            "itop.changes", f"whether it keeps changes of {key} is not known before the first message"
        )
    return _keeps(asking, key) if kept else _keeps_none(asking, key)


def _look_for(asking: Asking, delivery: Delivery, key: str) -> Finding:
    ticket = delivery.ticket
    found = written_markers(
        asking.client, ticket.ticket_class, ticket.object_id, [delivery.marker], deadline=asking.seconds
    )
    if found:
        if asking.itop.tracked_logs.get(key) is None:
            asking.itop.learn_tracking(key, kept=True)
        return _keeps(asking, key)
    if asking.itop.tracked_logs.get(key) is not True:
        return _keeps_none(asking, key)
    return asking.subject.warning(
        "itop.changes",
        f"its history no longer holds the newest message written to {key} of {ticket.ref}",
        "Somebody has deleted that ticket or cleaned iTop's history, or its data model keeps no changes of that log "
        "any more. If that, set its tracking level back to “all”: it is how a repeated write is known as one.",
    )


def _keeps(asking: Asking, key: str) -> Finding:
    return asking.subject.ok("itop.changes", f"keeps changes of {key}: each message is found by its marker")


def _keeps_none(asking: Asking, key: str) -> Finding:
    return asking.subject.warning(
        "itop.changes",
        f"keeps no changes of {key}: a repeated write is known only by reading the log",
        "Set the log's tracking level to “all” in iTop's data model. Without, a message may stand twice where a write "
        "was given up on and ran all the same.",
    )


# The time zone


def _examine_time_zone(asking: Asking) -> Iterator[Finding]:
    # One that was tried several times may have been written at any of them.
    delivery = _written(asking).filter(attempts=1, written_at__isnull=False).first()
    noted = _noted_at(asking, delivery) if delivery else None
    if delivery is None or delivery.written_at is None or noted is None:
        yield asking.subject.ok(
            "itop.time_zone",
            f"is taken to be in {asking.itop.time_zone}; a message that is found in its history would prove it",
        )
        return
    ours = delivery.written_at.astimezone(asking.itop.zone).replace(tzinfo=None)
    ahead = (noted - ours).total_seconds()
    if abs(ahead) <= ZONE_SECONDS:
        yield asking.subject.ok("itop.time_zone", f"writes its dates in {asking.itop.time_zone}, as set here")
        return
    hours = f"{abs(round(ahead / 900) / 4):g} hours"
    yield asking.subject.warning(
        "itop.time_zone",
        f"writes its dates {hours} {'ahead of' if ahead > 0 else 'behind'} {asking.itop.time_zone}, which is set here",
        "Set the iTop's time zone in the admin to the one in iTop's configuration (`timezone`). Until then dates on "
        "the panel are wrong by as much.",
    )


def _noted_at(asking: Asking, delivery: Delivery) -> dt.datetime | None:
    """When iTop says that it was written, in its own local time; None where it does not say."""
    ticket = delivery.ticket
    try:
        found = asking.get(
            "CMDBChangeOpSetAttributeCaseLog",
            "SELECT CMDBChangeOpSetAttributeCaseLog AS o "
            f"WHERE o.objclass = {quote(ticket.ticket_class)} AND o.objkey = {quote(ticket.object_id)} "
            f"AND o.userinfo = {quote(delivery.marker)}",
            ("date",),
        )
    except (ItopNotAllowed, ItopRefused):
        return None
    return next((when for one in found if (when := _date(one.text("date")))), None)


def _date(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - iTop's dates carry none
    except ValueError:
        return None


# Whether somebody else writes the same messages


def _examine_doubles(asking: Asking) -> Iterator[Finding]:
    tickets = {one.ticket_id: one.ticket for one in _written(asking)[:DELIVERIES_LOOKED_AT]}
    looked_at = list(tickets.values())[:TICKETS_READ]
    doubled = [ticket.ref for ticket in looked_at if _stands_twice(asking, ticket)]
    if doubled:
        yield asking.subject.failure(
            "itop.doubles",
            f"messages stand twice in the log of {', '.join(doubled)}: somebody else writes them there, too",
            "Have one writer: take the PHP extension's webhook out of Intercom's Developer Hub (or the extension out "
            "of iTop), and look whether a second installation of this service serves the same workspace.",
        )
    elif looked_at:
        names = ", ".join(ticket.ref for ticket in looked_at)
        yield asking.subject.ok("itop.doubles", f"no message stands twice (looked at {names})")


def _stands_twice(asking: Asking, ticket: Ticket) -> bool:
    """Whether its logs hold a message of ours more often than we have written it, at about the same time."""
    ours = list(_written(asking).filter(ticket=ticket)[:ENTRIES_COMPARED])
    logs = read_logs(asking.client, ticket, {log_attribute(one) for one in ours}, deadline=asking.seconds)
    entries = [
        (shown(one.message_html), when) for log in logs.values() for one in log if (when := _at(asking, one))
    ]
    sent = Counter(shown(str((one.item or {}).get("message", ""))) for one in ours)
    # They stand in the log as well, and nobody knows any more which words: what came with the ticket, or was cleaned.
    unknown = list(
        Delivery.objects.in_itop()
        .filter(ticket=ticket, item__isnull=True)
        .values_list("part_created_at", flat=True)
    )
    for delivery in ours:
        item = delivery.item or {}
        body = shown(str(item.get("message", "")))
        written = float(str(item.get("date", "@0")).removeprefix("@"))
        near = sum(1 for other, at in entries if other == body and abs(at - written) <= TWICE_SECONDS)
        if near > sent[body] + sum(1 for at in unknown if abs(at - written) <= TWICE_SECONDS):
            return True
    return False


def _at(asking: Asking, entry: LogEntry) -> float | None:
    when = _date(entry.date)
    return when.replace(tzinfo=asking.itop.zone).timestamp() if when else None
