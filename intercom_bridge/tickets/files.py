"""The files of a ticket that the bridge knows."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.files import from_itop, to_itop
from intercom_bridge.models import FileToIntercom, FileToItop, ItopInstance

MAX_FILES = 10


@dataclass(frozen=True, kw_only=True)
class TicketFile:
    """A file of a ticket. `size` is in bytes, 0 if unknown; `url` is its address in iTop."""

    name: str
    size: int
    url: str


def files_of_ticket(itop: ItopInstance, ticket_class: str, ticket_id: int) -> tuple[TicketFile, ...]:
    """Return the files of a ticket whose names are known here, newest first, without asking iTop.

    iTop tells the name and size of a file only together with its content, so those that the bridge has not seen are
    missing: the ticket in iTop has them.
    """
    ticket = {"itop": itop, "ticket_class": ticket_class, "object_id": ticket_id}
    copied = FileToItop.objects.filter(
        state=FileToItop.State.COPIED,
        attachment_id__isnull=False,
        cleaned_at=None,
        **{f"ticket__{name}": value for name, value in ticket.items()},
    )
    found = {
        row.attachment_id: TicketFile(name=row.name, size=row.size, url=to_itop.file_url(row))
        for row in copied.select_related("ticket__itop").order_by("-pk")[:MAX_FILES]
    }
    added = FileToIntercom.objects.filter(
        source=FileToIntercom.Source.ATTACHMENT,
        cleaned_at=None,
        **{f"event__ticket__{name}": value for name, value in ticket.items()},
    ).exclude(name="")
    for row in added.select_related("event__ticket__itop").order_by("-pk")[:MAX_FILES]:
        file = TicketFile(name=row.name, size=row.size, url=from_itop.file_url(row))
        found.setdefault(row.object_id, file)
    newest = sorted(found.items(), key=lambda item: -(item[0] or 0))
    return tuple(file for _number, file in newest[:MAX_FILES])
