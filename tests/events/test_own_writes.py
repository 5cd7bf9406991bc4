"""What a bridge wrote to iTop is no news, and everything else is, whoever's account wrote it."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest

from intercom_bridge.events.own_writes import KEY_PATTERNS
from intercom_bridge.intercom.payloads import Author, Part
from intercom_bridge.models import Delivery, ItopInstance, ItopPoll, Ticket, TicketEvent, TicketSnapshot
from intercom_bridge.sync.message import idempotency_key_of, rewrite_key
from sandbox.itop import Itop

from .conftest import Agent, make_due

Poll = Callable[[], None]
Writes = Callable[[str], Delivery]
OF_ANOTHER_BRIDGE = "Intercom message 99 (other), Ada Reyes"


def contents() -> list[str]:
    return list(TicketEvent.objects.order_by("pk").values_list("content", flat=True))


@pytest.mark.parametrize("kind", ["source", "part", "redaction"])
def test_the_patterns_match_the_idempotency_keys(kind: Any) -> None:
    key = idempotency_key_of("abcd1234", Part(kind=kind, id="7", author=Author(name="Ada"), created_at=1))
    for written in (key, rewrite_key(key, 2)):
        assert any(fnmatch(written, pattern.replace("%", "*")) for pattern in KEY_PATTERNS)


def test_our_messages_are_no_news_and_the_agents_between_them_are(
    customer_writes: Writes, ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    for text in ("one", "two", "three"):
        customer_writes(f"{text} from Intercom")
        agent.write(ticket, f"{text} in iTop")
    poll()
    assert contents() == [f"<p>{text} in iTop</p>" for text in ("one", "two", "three")]


def test_our_messages_cost_no_call_of_their_own(
    customer_writes: Writes, ticket: Ticket, itop: Itop, poll: Poll
) -> None:
    customer_writes("hello")
    itop.calls.clear()
    poll()
    assert itop.calls == [("core/get", "UserRequest")]
    assert contents() == []


def test_a_message_whose_outcome_is_unknown_yet_is_ours(
    customer_writes: Writes, ticket: Ticket, itop: Itop, poll: Poll
) -> None:
    itop.faults.add("drop_after", operation="core/update", count=1)
    customer_writes("hello")
    assert Delivery.objects.get().state == "waiting"
    poll()
    assert contents() == [] and len(TicketSnapshot.objects.get().entries["public_log"]) == 1


@pytest.mark.parametrize("is_administrator", [True, False])
def test_our_messages_are_recognised_after_their_content_was_deleted(
    customer_writes: Writes, ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, is_administrator: bool
) -> None:
    """By the idempotency key in iTop's history, which an account without Administrator may ask about, too."""
    if not is_administrator:
        ItopInstance.objects.update(token="token-of-agent-app")
    TicketSnapshot.objects.update(poll_at=None)
    for number in range(2):
        agent.write(ticket, f"by an agent {number}")
        customer_writes(f"ours {number}")
    Delivery.objects.all().erase_content()
    TicketSnapshot.objects.update(poll_at=ItopPoll.objects.get().due_at)
    poll()
    assert contents() == ["<p>by an agent 0</p>", "<p>by an agent 1</p>"]


def test_another_bridge_on_the_same_itop_is_recognised(ticket: Ticket, agent: Agent, poll: Poll) -> None:
    agent.write(ticket, "of the other bridge", comment=OF_ANOTHER_BRIDGE)
    agent.write(ticket, "of an agent")
    agent.write(ticket, "of the other bridge again", comment=OF_ANOTHER_BRIDGE)
    poll()
    assert contents() == ["<p>of an agent</p>"]


def test_another_rest_client_with_our_account_is_news(ticket: Ticket, agent: Agent, poll: Poll) -> None:
    agent.change(
        ticket, "Monitoring", public_log={"add_item": {"message": "<p>Disk full</p>", "format": "html"}}
    )
    poll()
    assert contents() == ["<p>Disk full</p>"]


def test_an_agent_who_repeats_our_text_is_news(
    customer_writes: Writes, ticket: Ticket, agent: Agent, poll: Poll
) -> None:
    customer_writes("Please restart it")
    agent.write(ticket, "Please restart it")
    poll()
    assert contents() == ["<p>Please restart it</p>"]


def test_an_agents_entry_that_our_write_replaced_with_ours_is_ours(
    customer_writes: Writes, ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    """iTop loses one of two concurrent entries: both left an operation for the same position."""
    agent.write(ticket, "lost", comment="An agent")
    log = itop.store.log(ticket.object_id)
    itop.store.update("UserRequest", ticket.object_id, public_log=log[:-1])
    customer_writes("ours")
    poll()
    assert contents() == []


def test_our_entry_that_an_agents_save_replaced_makes_room_for_theirs(
    customer_writes: Writes, ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    customer_writes("ours")
    poll()
    log = itop.store.log(ticket.object_id)
    itop.store.update("UserRequest", ticket.object_id, public_log=log[:-1])
    agent.write(ticket, "theirs")
    poll()
    assert contents() == ["<p>theirs</p>"]


def test_a_log_that_was_replaced_reports_what_nobody_knew(
    customer_writes: Writes, ticket: Ticket, agent: Agent, poll: Poll
) -> None:
    customer_writes("ours")
    poll()
    agent.replace_log(ticket, "rewritten", "and more")
    poll()
    assert contents() == ["<p>rewritten</p>", "<p>and more</p>"]


def test_without_the_history_only_our_own_texts_are_recognised(
    customer_writes: Writes,
    ticket: Ticket,
    itop: Itop,
    agent: Agent,
    poll: Poll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some versions of iTop may refuse the joined query."""
    customer_writes("ours")
    agent.write(ticket, "theirs")
    answer = type(itop.operations).answer

    def refusing(self: Any, user: Any, version: str, request: Any, **more: Any) -> Any:
        if "JOIN CMDBChangeOpSetAttributeCaseLog" in str(request.get("key")):
            text = "The current user does not have enough permissions for reading data of class CMDBChangeOp"
            return {"code": 1, "message": text}
        return answer(self, user, version, request, **more)

    monkeypatch.setattr(type(itop.operations), "answer", refusing)
    poll()
    assert contents() == ["<p>theirs</p>"]
    assert ItopPoll.objects.get().reason_code == ""


def test_where_itop_tracks_no_changes_it_is_not_asked(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    ticket.itop.learn_tracking("UserRequest.public_log", is_tracked=False)
    agent.write(ticket, "theirs")
    make_due()
    itop.calls.clear()
    poll()
    # Files may have been saved with the entry.
    calls = [call for call in itop.calls if call != ("core/get", "Attachment")]
    assert calls[:2] == [("core/get", "UserRequest"), ("core/get", "Person")]
    assert contents() == ["<p>theirs</p>"]


def test_an_entry_of_an_earlier_message_that_is_restored_is_ours(
    customer_writes: Writes, ticket: Ticket, itop: Itop, agent: Agent, poll: Poll
) -> None:
    """Verification writes a lost message again."""
    customer_writes("ours")
    poll()
    entry = itop.store.log(ticket.object_id)[-1]
    agent.write(ticket, "theirs")
    log = itop.store.log(ticket.object_id)
    itop.store.update("UserRequest", ticket.object_id, public_log=[*log[:-2], log[-1], entry])
    poll()
    assert contents() == ["<p>theirs</p>"]


@pytest.mark.parametrize("hours", [2, 48])
@pytest.mark.parametrize("earlier", [OF_ANOTHER_BRIDGE, "An agent"])
def test_another_bridge_is_recognised_after_the_log_was_replaced(
    ticket: Ticket, itop: Itop, agent: Agent, poll: Poll, earlier: str, hours: int
) -> None:
    """Its entries have positions in the log that replaced entries had."""
    log = itop.store.log(ticket.object_id)
    for number in range(3):
        agent.write(ticket, f"first {number}", comment=earlier)
    poll()
    itop.clock_offset += hours * 3600
    agent.replace_log(ticket, *(entry["message"] for entry in log), "rewritten")
    poll()
    before = contents()
    itop.clock_offset += 60
    agent.write(ticket, "of the other bridge", comment=OF_ANOTHER_BRIDGE)
    agent.write(ticket, "of an agent")
    poll()
    assert contents() == [*before, "<p>of an agent</p>"]
