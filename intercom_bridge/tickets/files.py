"""The files of a ticket that the bridge knows."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.models import FileToIntercom, FileToItop, ItopInstance

MAX_FILES = 10


@dataclass(frozen=True, kw_only=True)
class TicketFile:
    """A file of a ticket. `size` is in bytes, 0 if unknown; `url` is its address in iTop."""

    name: str
    size: int
    url: str


@dataclass(frozen=True, kw_only=True)
class TicketFiles:
    """The newest files of a ticket, newest first, and how many more the bridge knows."""

    newest: tuple[TicketFile, ...]
    more: int


def files_of_ticket(itop: ItopInstance, ticket_class: str, ticket_id: int) -> TicketFiles:
    """Return the files of a ticket whose names are known here, without asking iTop.

    iTop tells the name and size of a file only together with its content, so those that the bridge has not seen are
    missing: the ticket in iTop has them.
    """
    ticket = {"itop": itop, "ticket_class": ticket_class, "object_id": ticket_id}
    # One file of the ticket has a row for each conversation and message that it was posted in.
    added = (
        FileToIntercom.objects.filter(
            source=FileToIntercom.Source.ATTACHMENT,
            cleaned_at=None,
            **{f"event__ticket__{name}": value for name, value in ticket.items()},
        )
        .exclude(name="")
        .order_by("pk")
    )
    copied = FileToItop.objects.filter(
        state=FileToItop.State.COPIED,
        attachment_id__isnull=False,
        cleaned_at=None,
        **{f"ticket__{name}": value for name, value in ticket.items()},
    )
    by_id = {number: (name, size) for number, name, size in added.values_list("object_id", "name", "size")}
    by_id |= {
        number: (name, size)
        for number, name, size in copied.values_list("attachment_id", "name", "size")
        if number is not None
    }
    newest = sorted(by_id, reverse=True)[:MAX_FILES]
    files = (
        TicketFile(name=by_id[number][0], size=by_id[number][1], url=itop.attachment_url(number))
        for number in newest
    )
    return TicketFiles(newest=tuple(files), more=len(by_id) - len(newest))
