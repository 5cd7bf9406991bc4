"""What the tests of files look at: the copies in iTop, and the entries of a ticket's logs."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

from django.utils import timezone

from intercom_bridge.models import FileToItop, TicketLink
from sandbox.intercom.files import File, png
from sandbox.itop import Itop

SHOT = File("shot.png", png(40, 20))
TEXT = File("gateway.log", b"line 1\nline 2\n")


def attachments(itop: Itop) -> list[dict[str, Any]]:
    """Return the attachments that the bridge has created, oldest first, with name and content."""
    found = []
    for row in itop.store.find("SELECT Attachment")[1]:
        if str(row["temp_id"]).startswith("Intercom file"):
            file = itop.store.file(row, "contents")
            found.append({**row, "name": file["filename"], "data": base64.b64decode(file["data"])})
    return sorted(found, key=lambda row: int(row["id"]))


def inline_images(itop: Itop) -> list[dict[str, Any]]:
    return list(itop.store.find("SELECT InlineImage WHERE temp_id LIKE 'Intercom file%'")[1])


def entries(itop: Itop, link: TicketLink, log: str = "public_log") -> list[str]:
    return [str(entry["message"]) for entry in itop.store.log(link.ticket.object_id, log)]


def later() -> None:
    """Make all waiting files due."""
    FileToItop.objects.waiting().update(due_at=timezone.now() - dt.timedelta(seconds=1))


def waiting_file() -> FileToItop:
    """Return the file that waits, as a worker gets it."""
    later()
    return FileToItop.objects.to_copy().get()


def kill(*_: Any, **__: Any) -> None:
    """End the worker, in place of what it would do next."""
    raise KeyboardInterrupt
