"""The logs of a ticket in the sandbox's iTop."""

from __future__ import annotations

from sandbox.itop import Itop

# iTop keeps about 300 entries in a log; the exact number hangs on the authors' names.
ENTRIES_OF_A_FULL_LOG = 300


def messages(itop: Itop, ticket_id: int, log: str = "public_log") -> list[str]:
    """Return the texts of the entries, oldest first."""
    return [entry["message"] for entry in itop.store.log(ticket_id, log)]


def fill_up(itop: Itop, ticket_id: int) -> None:
    """iTop takes no further entry into the public log of this ticket."""
    entry = {"date": "2026-01-01 00:00:00", "user_login": "x" * 200, "user_id": "0", "format": "html"}
    entries = [entry | {"message": f"<p>{number}</p>"} for number in range(ENTRIES_OF_A_FULL_LOG)]
    itop.store.update("UserRequest", ticket_id, public_log=entries)
