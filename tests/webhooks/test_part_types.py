"""The log of each type of conversation part: one case per row of the table in sync/message.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import Delivery, TicketLink
from intercom_bridge.sync.message import LOG_OF_PART_TYPE
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, author_of, conversation, notify, part

Work = Callable[[], None]
FILES = [{"type": "upload", "name": "a.png"}]

# part_type -> the log of a part with a text, and of a part with only a file; "" if it is skipped. All other types are
# events, or Intercom does not document who sees them.
TABLE = {
    "comment": ("public_log", "public_log"),
    "assignment": ("public_log", "public_log"),
    "close": ("public_log", "public_log"),
    "open": ("public_log", "public_log"),
    "note": ("private_log", "private_log"),
    "note_and_reopen": ("private_log", "private_log"),
    **dict.fromkeys(
        ("assign_and_reopen", "quick_reply", "snoozed", "", "something_new"), ("private_log", "private_log")
    ),
}
LOGS = ("public_log", "private_log")


def test_the_table_covers_every_part_type_of_the_code() -> None:
    assert set(LOG_OF_PART_TYPE) - {"source"} <= set(TABLE)


@pytest.mark.parametrize(
    ("part_type", "content", "log"),
    [
        case
        for part_type, (with_text, with_file) in TABLE.items()
        for case in (
            (part_type, {"body": "<p>words</p>"}, with_text),
            (part_type, {"body": None, "attachments": FILES}, with_file),
            (part_type, {"body": None}, ""),
        )
    ],
    ids=lambda one: (
        (", ".join(name for name in one if one[name]) or "empty") if isinstance(one, dict) else None
    ),
)
def test_a_part_goes_to_its_log(
    client: Client, ticket: int, itop: Itop, work: Work, part_type: str, content: dict[str, Any], log: str
) -> None:
    before = {code: len(itop.store.log(ticket, code)) for code in LOGS}
    notify(
        client,
        part(37358198350, "", author_of(ADA), part_type=part_type) | content,
        topic="conversation.admin.replied",
    )
    work()
    grown = [code for code in LOGS if len(itop.store.log(ticket, code)) > before[code]]
    assert grown == ([log] if log else [])
    delivery = Delivery.objects.get()
    assert delivery.state == ("written" if log else "skipped")
    assert bool(delivery.reason_code) is not bool(log)
    if log:
        expected = "<p>words</p>" if content["body"] else "<p>[File: a.png]</p>"
        assert itop.store.log(ticket, log)[-1]["message"] == expected


@pytest.mark.parametrize("part_type", TABLE)
def test_a_creation_copies_parts_to_the_same_logs(teammate: Teammate, itop: Itop, part_type: str) -> None:
    said = part(37358198341, "<p>words</p>", author_of(ADA), part_type=part_type)
    teammate.conversation = conversation(said)
    teammate.open().click("Create a ticket").click("Create ticket")
    ticket = TicketLink.objects.get().ticket.object_id
    copied = {code: [entry["message"] for entry in itop.store.log(ticket, code)] for code in LOGS}
    first = "<p>The export button does nothing</p>"
    log = TABLE[part_type][0]
    assert copied == {
        "public_log": [first, *(["<p>words</p>"] if log == "public_log" else [])],
        "private_log": ["<p>words</p>"] if log == "private_log" else [],
    }
