"""Idempotent writes: iTop executes each of them once, however often it is attempted.

A check before the next attempt would not be enough: iTop may still execute an earlier request whose response never
came. So iTop itself checks, while it executes the request:

- Each write carries an idempotency key in `comment`. iTop stores it as `userinfo` of the change.
- The object to write is given as a query. It matches nothing once a change with this idempotency key exists. For a
  creation, the caller of the ticket is given as such a query.

iTop's history shows the key as the author of the change, so people should be able to read it.

Class names must be those of the objects themselves. iTop stores changes under the object's own class, so a query for
its parent class ("Ticket") would find no idempotency key. iTop's database ignores case and accents of keys.
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

    `text` identifies the write. `author` is only for people who read the key. If the key is too long, the author is
    cut or left out. If `text` alone is too long, the digest of the complete text replaces its end, so different texts
    still have different keys.
    """
    text, author = _to_one_line(text), _to_one_line(author)
    if len(text) > MAX_KEY_LENGTH:
        ending = " " + hashlib.sha256(text.encode()).hexdigest()[:32]
        return text[: MAX_KEY_LENGTH - len(ending)].rstrip() + ending
    if not author:
        return text
    key = f"{text}, {author}"
    if len(key) <= MAX_KEY_LENGTH:
        return key
    author_length = MAX_KEY_LENGTH - len(text) - len(", …")
    if author_length <= 0:
        return text
    return f"{text}, {author[:author_length].rstrip()}…"


_normalize = idempotency_key  # a second name, because functions below have a parameter `idempotency_key`


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
    """Append `item` (see LogItem.to_json) to the log with the attribute code `log`.

    Return the ticket, or None if an earlier attempt had already written the entry. The ticket has the attributes
    `output_fields`, or only its name if the data model lacks one of these. `deadline` limits all requests together,
    including the reads after a rejection.

    Only one writer per ticket may call this at a time, because iTop loses entries of concurrent writers.

    Raise ObjectNotFoundError if there is no such ticket. Raise ItopNoResponseError if iTop rejected the write although
    the ticket exists and no change has the key: try again later.
    """
    time_limit = start_deadline(client, deadline)
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
            deadline=time_limit.remaining(),
        )

    def is_written() -> bool:
        return bool(
            written_keys(client, ticket_class, ticket_id, [idempotency_key], deadline=time_limit.remaining())
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
        # The query matched nothing: an earlier attempt wrote the entry, or the ticket does not exist.
        if retry_read(is_written):
            return None
        if not retry_read(lambda: client.get(ticket_class, ticket_id, deadline=time_limit.remaining())):
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
    """Return those of the keys with which an entry was written to a log of the ticket.

    The query selects the ticket, not its changes, because only an Administrator may read changes. Its result only says
    whether at least one of the keys was written. So the search halves a list with a written key until a single key is
    left. If no key was written, or if there is only one key, the search takes one request.
    """
    time_limit = start_deadline(client, deadline)
    written: set[str] = set()
    lists_to_check = [sorted(set(idempotency_keys))]
    while lists_to_check:
        keys = lists_to_check.pop()
        if not keys:
            continue
        query = (
            f"SELECT {ticket_class} AS t JOIN CMDBChangeOpSetAttributeCaseLog AS o ON o.objkey = t.id"
            f" WHERE t.id = {quote(ticket_id)} AND o.objclass = {quote(ticket_class)}"
            f" AND o.userinfo IN ({', '.join(quote(_normalize(key)) for key in keys)})"
        )
        if not client.get(ticket_class, query, limit=1, deadline=time_limit.remaining()).total:
            continue
        if len(keys) == 1:
            written.update(keys)
        else:
            middle = len(keys) // 2
            lists_to_check += [keys[:middle], keys[middle:]]
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
    """Apply a stimulus to a ticket if its state is one of `states`. Return the ticket, or None if nothing was changed.

    `status` is the code of the attribute that contains the state. The returned ticket has this attribute.

    Nothing is changed if the ticket does not exist, if it is in another state, or if an earlier attempt with this key
    changed it. The last case also covers a ticket that somebody has put back into one of `states` since then, so a
    request that iTop executes late does not undo this person's change.

    Raise InvalidStimulusError if the ticket's life cycle does not allow the stimulus.
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
    """A ticket. `existed` is whether an earlier attempt had already created the ticket."""

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
    """Create a ticket. If an earlier attempt with this key created it, return that ticket.

    `caller_id` is the person for whom the ticket is created. With a person, iTop itself prevents a duplicate: the
    person is sent as a query that matches nobody once this person has a ticket with this key. Only two creations at
    exactly the same time can both succeed. Without a person (0), this function searches for the ticket before it
    creates one. So the calling code must serialize the submissions of one form. `deadline` limits all requests
    together.

    Raise InvalidValueError if the person does not exist. Raise ItopNoResponseError if iTop rejected the creation
    without a valid reason: try again later.
    """
    time_limit = start_deadline(client, deadline)
    idempotency_key = _normalize(idempotency_key)
    output_fields = tuple(output_fields)

    def find_earlier() -> ItopObject | None:
        return find_created(
            client, ticket_class, idempotency_key, fields=output_fields, deadline=time_limit.remaining()
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
            deadline=time_limit.remaining(),
        )
    except NoMatchError as rejection:
        # The attribute is "" if iTop did not name it.
        if caller_id <= 0 or rejection.attribute not in ("", caller_attribute):
            raise
        # The query matched nobody: an earlier attempt created the ticket, or the person does not exist.
        if earlier := find_earlier():
            return CreateResult(earlier, existed=True)
        if not client.get(CALLER_CLASS, caller_id, deadline=time_limit.remaining()):
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
    """Return the ticket that was created with this key, or None. Of several, return the one with the lowest id."""
    query = (
        f"SELECT {ticket_class} AS t JOIN CMDBChangeOpCreate AS o ON o.objkey = t.id"
        f" WHERE o.objclass = {quote(ticket_class)} AND o.userinfo = {quote(_normalize(idempotency_key))}"
    )
    tickets = client.get(ticket_class, query, fields=fields, deadline=deadline)
    return min(tickets, key=lambda ticket: ticket.id, default=None)


def _to_one_line(text: str) -> str:
    """Drop lone surrogates, replace control characters and line separators with spaces, and collapse all spaces."""
    categories = [(character, unicodedata.category(character)) for character in text]
    spaced = "".join(
        " " if category in ("Cc", "Zl", "Zp") else character
        for character, category in categories
        if category != "Cs"
    )
    return re.sub(r"\s+", " ", spaced).strip()


def start_deadline(client: Client, deadline: float | None) -> Deadline:
    """Start the time limit for several requests: `deadline` seconds, or the client's if `deadline` is None."""
    return Deadline(client.deadline if deadline is None else deadline)


def unknown_caller_error(attribute: str, caller_id: int) -> InvalidValueError:
    # iTop's own text for an id that does not exist (tests/recordings/itop/068-*.json).
    text = f"Invalid object {CALLER_CLASS}::{caller_id}"
    problem = ValueProblem(attribute, "", text, ProblemKind.NO_SUCH_OBJECT)
    return InvalidValueError(f"{attribute}: {text}", problems=(problem,))
