"""Writes that happen once, however often they are attempted.

A request whose response never came may still be executed, so checking before the next attempt is not enough. Each
write carries an idempotency key in `comment`, which iTop stores as `userinfo` of the change. The write's `key` (or the
ticket's caller) is a query that iTop evaluates when it executes the request, and that matches nothing once a change
with this idempotency key exists. iTop's history shows the key to people as the author of the change, so it should be
readable.

Class names must be those of the objects themselves: iTop stores changes by class, so a parent class ("Ticket") would
find no idempotency key. iTop compares keys as its database does, ignoring case and accents.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from .client import Client, retry_read
from .errors import (
    InvalidValueError,
    ItopNoResponseError,
    NoMatchError,
    ObjectNotFoundError,
    ProblemKind,
    UnknownAttributeError,
    ValueProblem,
)
from .http import Deadline
from .oql import quote
from .response import ItopObject

MAX_KEY_LENGTH: Final = 255
CALLER_CLASS: Final = "Person"


def idempotency_key(text: str, author: str = "") -> str:
    """Return a key such as "Intercom message 37358198341, Alice Martin": one line, at most 255 characters.

    `text` identifies the write and is kept complete; the author is cut. If `text` alone is too long, a digest of all
    of it replaces its end, so that two different keys never become equal.
    """
    text, author = _one_line(text), _one_line(author)
    if len(text) > MAX_KEY_LENGTH:
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return f"{text[: MAX_KEY_LENGTH - 33].rstrip()} {digest}"
    if not author:
        return text
    key = f"{text}, {author}"
    if len(key) <= MAX_KEY_LENGTH:
        return key
    space = MAX_KEY_LENGTH - len(text) - len(", …")
    return f"{text}, {author[:space].rstrip()}…" if space > 0 else text


_normalize = idempotency_key


def append(  # noqa: PLR0913 - what, where and how
    client: Client,
    ticket_class: str,
    ticket_id: int,
    log: str,
    item: Mapping[str, Any],
    *,
    idempotency_key: str,
    output_fields: Iterable[str] = (),
    deadline: float | None = None,
) -> ItopObject | None:
    """Append `item` (LogItem.to_json) to a log. Return the ticket, or None if an earlier attempt had written it.

    `output_fields` are the attributes to return, as far as the ticket's data model has them. `deadline` covers
    everything, including the reads after a rejection. Only one writer per ticket may call this at a time: iTop loses
    entries of concurrent writers.

    Raise ObjectNotFoundError if there is no such ticket, and ItopNoResponseError if iTop rejected the write although
    the ticket exists and the key does not: try again later.
    """
    budget = budget_of(client, deadline)
    idempotency_key = _normalize(idempotency_key)
    query = (
        f"SELECT {ticket_class} AS t WHERE t.id = {quote(ticket_id)} AND t.id NOT IN"
        f" (SELECT {ticket_class} AS u JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = u.id"
        f" WHERE u.id = {quote(ticket_id)} AND o.objclass = {quote(ticket_class)}"
        f" AND o.userinfo = {quote(idempotency_key)})"
    )

    def write(output_fields: Iterable[str]) -> ItopObject:
        return client.update(
            ticket_class,
            query,
            {log: {"add_item": dict(item)}},
            comment=idempotency_key,
            output_fields=("friendlyname", *output_fields),
            deadline=budget.remaining(),
        )

    def is_written() -> bool:
        return bool(
            written_keys(client, ticket_class, ticket_id, [idempotency_key], deadline=budget.remaining())
        )

    output_fields = tuple(output_fields)
    try:
        try:
            return write(output_fields)
        except UnknownAttributeError as rejection:
            if not output_fields or rejection.attribute == log:
                raise
            # Nothing was written. An attribute that cannot be returned must not prevent the write.
            return write(())
    except NoMatchError as rejection:
        if retry_read(is_written):
            return None
        if not retry_read(lambda: client.get(ticket_class, ticket_id, deadline=budget.remaining())):
            raise ObjectNotFoundError(f"Invalid object {ticket_class}::{ticket_id}") from rejection
        raise ItopNoResponseError("the write was rejected without a valid reason") from rejection


def written_keys(
    client: Client,
    ticket_class: str,
    ticket_id: int,
    idempotency_keys: Iterable[str],
    *,
    deadline: float | None = None,
) -> frozenset[str]:
    """Return those keys that were written to a log of the ticket. One call if none was, or for a single key.

    The query goes through the ticket's class, so that it works for accounts that are not Administrator. Its result
    only says whether one of the keys exists, so a set that contains some is halved until each key is known.
    """
    budget = budget_of(client, deadline)
    written: set[str] = set()
    todo = [sorted(set(idempotency_keys))]
    while todo:
        keys = todo.pop()
        if not keys:
            continue
        query = (
            f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
            f" WHERE t.id = {quote(ticket_id)} AND o.objclass = {quote(ticket_class)}"
            f" AND o.userinfo IN ({', '.join(quote(_normalize(key)) for key in keys)})"
        )
        if not client.get(ticket_class, query, limit=1, deadline=budget.remaining()).total:
            continue
        if len(keys) == 1:
            written.update(keys)
        else:
            middle = len(keys) // 2
            todo += [keys[:middle], keys[middle:]]
    return frozenset(written)


def apply_once(  # noqa: PLR0913 - what, where and how
    client: Client,
    ticket_class: str,
    ticket_id: int,
    stimulus: str,
    *,
    status: str,
    states: Iterable[str],
    idempotency_key: str,
    deadline: float | None = None,
) -> ItopObject | None:
    """Apply a stimulus to a ticket that is in one of these states. Return the ticket, or None if nothing was changed.

    `status` is the code of the attribute with the state; it is returned, too. Nothing is changed if the ticket is gone
    or in another state, or if an earlier attempt with this key has changed it. That is so even if it is back in one of
    the states since: a request that is executed late undoes nobody's work.

    Raise InvalidStimulusError if the ticket's life cycle does not allow it.
    """
    idempotency_key = _normalize(idempotency_key)
    query = (
        f"SELECT {ticket_class} AS t WHERE t.id = {quote(ticket_id)}"
        f" AND t.{status} IN ({', '.join(quote(state) for state in states)}) AND t.id NOT IN"
        f" (SELECT {ticket_class} AS u JOIN CMDBChangeOpSetAttributeScalar AS o ON o.objkey = u.id"
        f" WHERE u.id = {quote(ticket_id)} AND o.objclass = {quote(ticket_class)}"
        f" AND o.userinfo = {quote(idempotency_key)})"
    )
    try:
        return client.apply_stimulus(
            ticket_class,
            query,
            stimulus,
            {},
            comment=idempotency_key,
            output_fields=("friendlyname", status),
            deadline=deadline,
        )
    except NoMatchError:
        return None


class CreateResult(NamedTuple):
    """A ticket, and whether an earlier attempt had created it."""

    ticket: ItopObject
    existed: bool


def create(  # noqa: PLR0913 - what, where and how
    client: Client,
    ticket_class: str,
    fields: Mapping[str, Any],
    *,
    idempotency_key: str,
    caller_id: int,
    caller_attribute: str = "caller_id",
    output_fields: Iterable[str] = ("friendlyname",),
    deadline: float | None = None,
) -> CreateResult:
    """Create a ticket, or return the one that an earlier attempt created.

    The caller is sent as a query that matches nothing once this caller has a ticket with this key. Two creations at
    exactly the same time still both succeed, and without a caller (0) there is only a check beforehand, so the caller
    must serialize the submissions of one form. `deadline` covers everything.

    Raise InvalidValueError if the caller does not exist, and ItopNoResponseError if iTop rejected the creation without
    a valid reason: try again later.
    """
    budget = budget_of(client, deadline)
    idempotency_key = _normalize(idempotency_key)
    output_fields = tuple(output_fields)

    def find_earlier() -> ItopObject | None:
        return find_created(
            client, ticket_class, idempotency_key, fields=output_fields, deadline=budget.remaining()
        )

    values = dict(fields)
    if caller_id > 0:
        values[caller_attribute] = (
            f"SELECT {CALLER_CLASS} AS p WHERE p.id = {quote(caller_id)} AND p.id NOT IN"
            f" (SELECT {CALLER_CLASS} AS q JOIN {ticket_class} AS t ON t.{caller_attribute} = q.id"
            f" JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
            f" WHERE q.id = {quote(caller_id)} AND o.objclass = {quote(ticket_class)}"
            f" AND o.userinfo = {quote(idempotency_key)})"
        )
    elif earlier := find_earlier():
        return CreateResult(earlier, existed=True)
    try:
        created = client.create(
            ticket_class,
            values,
            comment=idempotency_key,
            output_fields=output_fields,
            deadline=budget.remaining(),
        )
    except NoMatchError as rejection:
        if caller_id <= 0 or rejection.attribute not in ("", caller_attribute):
            raise
        if earlier := find_earlier():
            return CreateResult(earlier, existed=True)
        if not client.get(CALLER_CLASS, caller_id, deadline=budget.remaining()):
            raise unknown_caller_error(caller_attribute, caller_id) from rejection
        raise ItopNoResponseError("the creation was rejected without a valid reason") from rejection
    return CreateResult(created, existed=False)


def find_created(
    client: Client,
    ticket_class: str,
    idempotency_key: str,
    *,
    fields: Iterable[str],
    deadline: float | None = None,
) -> ItopObject | None:
    """Return the ticket that was created with this key (the first, if there are several), or None."""
    query = (
        f"SELECT {ticket_class} AS t JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE o.objclass = {quote(ticket_class)} AND o.userinfo = {quote(_normalize(idempotency_key))}"
    )
    tickets = client.get(ticket_class, query, fields=fields, deadline=deadline)
    return min(tickets, key=lambda ticket: ticket.id, default=None)


def _one_line(text: str) -> str:
    characters = (
        " " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character
        for character in text
        if unicodedata.category(character) != "Cs"
    )
    return re.sub(r"\s+", " ", "".join(characters)).strip()


def budget_of(client: Client, deadline: float | None) -> Deadline:
    return Deadline(client.deadline if deadline is None else deadline)


def unknown_caller_error(attribute: str, caller_id: int) -> InvalidValueError:
    # iTop's own text for an id that does not exist (recording 068).
    text = f"Invalid object {CALLER_CLASS}::{caller_id}"
    problem = ValueProblem(attribute, "", text, ProblemKind.NO_SUCH_OBJECT)
    return InvalidValueError(f"{attribute}: {text}", problems=(problem,))
