"""What happened to a ticket in iTop: the result of comparing it with its snapshot, and the input of the rules."""

import datetime as dt
from dataclasses import dataclass


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
