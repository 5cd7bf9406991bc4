from __future__ import annotations

import datetime as dt

from intercom_bridge.intercom.payloads import Author, CanvasRequest
from intercom_bridge.models import Log
from intercom_bridge.tickets.creation.transcript import MAX_ENTRIES, Transcript
from tests.teammate import ADA, ALICE, author_of, conversation, part


def transcript(*parts: dict[str, object]) -> Transcript:
    request = CanvasRequest.parse(
        {"conversation": conversation(*parts), "contact": ALICE, "workspace_id": "x"}
    )
    return Transcript.of(request.conversation.messages)


def logs(made: Transcript) -> dict[str, list[dict[str, object]]]:
    return made.logs(
        {Author.parse(author_of(ALICE)): 8}, code=str, may_set_author=True, zone=dt.UTC, conversation_url=""
    )


def test_replies_go_to_the_public_and_notes_to_the_private_log_in_order() -> None:
    made = transcript(
        part(3, "<p>third</p>"),
        part(2, "<p>second</p>"),
        part(4, "<p>a note</p>", author_of(ADA), part_type="note"),
    )
    both = logs(made)
    assert [item["message"] for item in both[Log.PUBLIC]] == [
        "<p>The export button does nothing</p>",
        "<p>second</p>",
        "<p>third</p>",
    ]
    assert [item["message"] for item in both[Log.PRIVATE]] == ["<p>a note</p>"]
    assert both[Log.PUBLIC][0]["user_id"] == 8
    assert both[Log.PUBLIC][0]["date"] == "@1768031789"
    assert (both[Log.PRIVATE][0]["user_id"], both[Log.PRIVATE][0]["user_login"]) == (
        0,
        "Ada Reyes (Intercom)",
    )


def test_a_log_without_messages_is_not_sent() -> None:
    assert set(logs(transcript())) == {Log.PUBLIC}


def test_beyond_250_messages_the_oldest_share_joint_entries() -> None:
    made = transcript(*(part(number, f"<p>message {number}.</p>") for number in range(1, 500)))
    items = logs(made)[Log.PUBLIC]
    assert len(items) <= MAX_ENTRIES
    text = "".join(str(item["message"]) for item in items)
    positions = [text.index(f"message {number}.") for number in range(1, 500)]
    assert positions == sorted(positions)
    assert "Alice Martin (Intercom)" in str(items[0]["message"])
    assert items[-1]["message"] == "<p>message 499.</p>"
    assert len(made.parts_to_json()) == 500


def test_long_names_take_the_log_s_index_so_that_fewer_entries_fit() -> None:
    """Measured on a real iTop: an entry takes about 161 bytes and the author's name in a column of 65,535."""
    name = "Ж" * 65
    made = transcript(
        *(
            part(number, f"<p>message {number}.</p>", author_of(ALICE | {"name": name}))
            for number in range(1, 300)
        )
    )
    items = logs(made)[Log.PUBLIC]
    assert sum(161 + len(str(item["user_login"]).encode()) for item in items) < 60_000
    text = "".join(str(item["message"]) for item in items)
    assert all(f"message {number}." in text for number in range(1, 300))


def test_a_log_that_both_logs_are_mapped_to_gets_all_messages_in_order() -> None:
    made = transcript(part(4, "<p>a note</p>", author_of(ADA), part_type="note"), part(5, "<p>later</p>"))
    both = made.logs(
        {}, code=lambda _log: "private_log", may_set_author=True, zone=dt.UTC, conversation_url=""
    )
    assert [item["message"] for item in both["private_log"]][-2:] == ["<p>a note</p>", "<p>later</p>"]
    assert set(both) == {"private_log"}
