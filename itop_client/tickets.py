"""Writes that happen once, however often they are tried.

A request that we gave up on may still run, so looking before writing again is not enough. Each write carries
a marker in `comment`, which iTop keeps as `userinfo` of the change, and a query that iTop evaluates when it
executes the write and that finds nothing once a change with this marker exists. iTop's history shows the
marker to people as who made the change, so it should read well.

Classes are objects' own: given a parent ("Ticket"), no marker would be found, since changes are kept by
class. iTop compares markers as its database does, without regard to case and accents.
"""

from __future__ import annotations

import hashlib
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .client import Client, ItopObject
from .errors import InvalidValue, ItopError, ItopNoAnswer, NoMatch, ObjectGone, UnknownAttribute
from .oql import quote

MARKER_LIMIT = 255
CALLER_CLASS = "Person"
QUESTIONS_REPEATED = 2

T = TypeVar("T")


def marker(text: str, author: str = "") -> str:
    """A marker such as "Intercom message 37358198341, Alice Martin", at most 255 characters, on one line.

    `text` identifies the write and is kept whole; the author is cut. Where `text` alone is too long, its end
    is replaced by a digest of all of it, so that two markers never become one.
    """
    text, author = _one_line(text), _one_line(author)
    if len(text) > MARKER_LIMIT:
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return f"{text[: MARKER_LIMIT - 33].rstrip()} {digest}"
    if not author:
        return text
    whole = f"{text}, {author}"
    if len(whole) <= MARKER_LIMIT:
        return whole
    room = MARKER_LIMIT - len(text) - len(", …")
    return f"{text}, {author[:room].rstrip()}…" if room > 0 else text


_as_marker = marker


def append(
    client: Client,
    ticket_class: str,
    ticket_id: int,
    log: str,
    item: Mapping[str, Any],
    *,
    marker: str,
    read: Iterable[str] = (),
    deadline: float | None = None,
) -> ItopObject | None:
    """Appends `item` (LogItem.to_json) to a log. The ticket as written; None when an earlier try had written it.

    `read`: what to know of the ticket, as far as its data model has it. `deadline` covers all of it, the questions
    after a refusal included. Raises ObjectGone when there is no such ticket, and ItopNoAnswer when iTop refused
    though the ticket is there and the marker is not: try again. One writer per ticket at a time, please: iTop
    loses entries where two meet.
    """
    clock = _Clock(client, deadline)
    marker = _as_marker(marker)
    key = (
        f"SELECT {ticket_class} AS t WHERE t.id = {quote(ticket_id)} AND t.id NOT IN"
        f" (SELECT {ticket_class} AS u JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = u.id"
        f" WHERE u.id = {quote(ticket_id)} AND o.objclass = {quote(ticket_class)}"
        f" AND o.userinfo = {quote(marker)})"
    )
    read = tuple(read)
    try:
        return client.update(
            ticket_class,
            key,
            {log: {"add_item": dict(item)}},
            comment=marker,
            output_fields=("friendlyname", *read),
            deadline=clock.remaining(),
        )
    except UnknownAttribute as refusal:
        if not read or refusal.attribute == log:
            raise
        # Refused before anything was written: for what is read, nothing is to stay unwritten.
        return append(client, ticket_class, ticket_id, log, item, marker=marker, deadline=clock.remaining())
    except NoMatch as refusal:
        if _insist(
            lambda: written_markers(client, ticket_class, ticket_id, [marker], deadline=clock.remaining())
        ):
            return None
        if not _insist(lambda: client.get(ticket_class, ticket_id, deadline=clock.remaining())):
            raise ObjectGone(f"Invalid object {ticket_class}::{ticket_id}") from refusal
        raise ItopNoAnswer("iTop refused the write, yet neither reason for it holds") from refusal


def written_markers(
    client: Client,
    ticket_class: str,
    ticket_id: int,
    markers: Iterable[str],
    *,
    deadline: float | None = None,
) -> frozenset[str]:
    """Which of these were written to a log of the ticket; one call when none was, or for one marker.

    Asked through the ticket's own class, as accounts that are not Administrator may. That tells "one of
    these" and no more, so a set that holds some is halved until each is known.
    """
    clock = _Clock(client, deadline)
    written: set[str] = set()
    todo = [sorted(set(markers))]
    while todo:
        some = todo.pop()
        if not some:
            continue
        query = (
            f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
            f" WHERE t.id = {quote(ticket_id)} AND o.objclass = {quote(ticket_class)}"
            f" AND o.userinfo IN ({', '.join(quote(_as_marker(one)) for one in some)})"
        )
        if not client.get(ticket_class, query, limit=1, deadline=clock.remaining()).total:
            continue
        if len(some) == 1:
            written.update(some)
        else:
            middle = len(some) // 2
            todo += [some[:middle], some[middle:]]
    return frozenset(written)


def create(
    client: Client,
    ticket_class: str,
    fields: Mapping[str, Any],
    *,
    marker: str,
    caller_id: int,
    caller_attribute: str = "caller_id",
    output_fields: Iterable[str] = ("friendlyname",),
    deadline: float | None = None,
) -> tuple[ItopObject, bool]:
    """Creates a ticket. The ticket, and True if an earlier try had created it.

    The caller is sent as a query that finds nobody once this caller has a ticket of this marker. Creations
    that are truly simultaneous still pass, and without a caller (0) there is only a look beforehand: presses
    of one form must be serialised. `deadline` covers all of it. Raises InvalidValue for a caller that does
    not exist, and ItopNoAnswer when iTop refused for no reason that holds: try again.
    """
    clock = _Clock(client, deadline)
    marker = _as_marker(marker)
    output_fields = tuple(output_fields)
    values = dict(fields)
    if caller_id > 0:
        values[caller_attribute] = (
            f"SELECT {CALLER_CLASS} AS p WHERE p.id = {quote(caller_id)} AND p.id NOT IN"
            f" (SELECT {CALLER_CLASS} AS q JOIN {ticket_class} AS t ON t.{caller_attribute} = q.id"
            f" JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
            f" WHERE q.id = {quote(caller_id)} AND o.objclass = {quote(ticket_class)}"
            f" AND o.userinfo = {quote(marker)})"
        )
    elif earlier := find_created(
        client, ticket_class, marker, fields=output_fields, deadline=clock.remaining()
    ):
        return earlier, True
    try:
        made = client.create(
            ticket_class, values, comment=marker, output_fields=output_fields, deadline=clock.remaining()
        )
    except NoMatch as refusal:
        if caller_id <= 0 or refusal.attribute not in ("", caller_attribute):
            raise
        earlier = find_created(client, ticket_class, marker, fields=output_fields, deadline=clock.remaining())
        if earlier is not None:
            return earlier, True
        if not client.get(CALLER_CLASS, caller_id, deadline=clock.remaining()):
            # In the words that iTop has for a plain id (recording 068).
            gone = f"Invalid object {CALLER_CLASS}::{caller_id}"
            raise InvalidValue(
                f"{caller_attribute}: {gone}", problems=((caller_attribute, "", gone),)
            ) from refusal
        raise ItopNoAnswer("iTop refused to create, yet neither reason for it holds") from refusal
    return made, False


def find_created(
    client: Client, ticket_class: str, marker: str, *, fields: Iterable[str], deadline: float | None = None
) -> ItopObject | None:
    """The ticket that was created under this marker.

    The first of them, should there be several; else None.
    """
    query = (
        f"SELECT {ticket_class} AS t JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE o.objclass = {quote(ticket_class)} AND o.userinfo = {quote(_as_marker(marker))}"
    )
    found = client.get(ticket_class, query, fields=fields, deadline=deadline)
    return min(found, key=lambda one: one.id, default=None)


def _one_line(text: str) -> str:
    kept = "".join(
        " " if unicodedata.category(one) in ("Cc", "Zl", "Zp") else one
        for one in text
        if unicodedata.category(one) != "Cs"
    )
    return re.sub(r"\s+", " ", kept).strip()


def _insist(question: Callable[[], T]) -> T:
    """Questions change nothing: one that met trouble is put again at once, as long as there is time."""
    for _ in range(QUESTIONS_REPEATED):
        try:
            return question()
        except ItopError as error:
            if not error.retry:
                raise
    return question()


class _Clock:
    """One deadline for several calls."""

    def __init__(self, client: Client, deadline: float | None) -> None:
        self._end = time.monotonic() + (client.deadline if deadline is None else deadline)

    def remaining(self) -> float:
        return self._end - time.monotonic()
