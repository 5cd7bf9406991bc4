"""Outgoing messages are posted once and in order, whatever fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.intercom.client import IntercomClient
from intercom_bridge.models import Delivery, OutgoingMessage, TicketLink, Workspace
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, author_of, notify, part

Work = Callable[[], None]


def create(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create ticket")
    if teammate.offers("Create anyway"):  # The conversation already has a ticket.
        teammate.click("Create anyway")


def said(intercom: Intercom) -> list[Any]:
    parts = intercom.store.parts(intercom.conversation_of("Alice Martin").id)
    return [part for part in parts if part.part_type in ("comment", "note")]


def now_due() -> None:
    OutgoingMessage.objects.update(due_at=timezone.now())


def test_the_announcement_of_a_ticket_is_posted_in_the_teammates_name(
    talking: Teammate, intercom: Intercom, workspace: Workspace, work: Work
) -> None:
    create(talking)
    work()
    posting = OutgoingMessage.objects.get()
    last = said(intercom)[-1]
    assert (posting.state, posting.part_id) == ("posted", last.id)
    assert (last.part_type, last.author_id) == ("comment", talking.admin["id"])
    assert TicketLink.objects.get().ticket.ref in last.body
    workspace.refresh_from_db()
    assert workspace.app_package_code == last.app_package_code != ""


def test_linking_leaves_a_note_with_the_teammates_name(
    talking: Teammate, intercom: Intercom, work: Work
) -> None:
    talking.link("R-000008")
    work()
    last = said(intercom)[-1]
    assert last.part_type == "note"
    assert "Ada Reyes linked ticket" in last.body and "R-000008" in last.body


@pytest.mark.parametrize(
    "fault", [{"kind": "drop_after"}, {"kind": "drop_before"}, {"kind": "error", "status": 503}]
)
def test_a_post_of_unknown_outcome_is_searched_before_it_is_repeated(
    talking: Teammate, intercom: Intercom, work: Work, fault: dict[str, Any]
) -> None:
    create(talking)
    before = len(said(intercom))
    kind = fault.pop("kind")
    intercom.faults.add(kind, path="reply", count=1, **fault)
    work()
    assert OutgoingMessage.objects.get().state == "waiting"
    now_due()
    work()
    posting = OutgoingMessage.objects.get()
    assert posting.state == "posted"
    assert len(said(intercom)) == before + 1
    assert posting.part_id == said(intercom)[-1].id


def test_a_slow_or_broken_intercom_neither_delays_nor_doubles_a_creation(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    before = len(itop.store.all("UserRequest"))
    intercom.faults.add("error", status=500)
    create(talking)
    assert "created" in talking.text
    for _ in range(3):
        now_due()
        work()
    assert len(itop.store.all("UserRequest")) == before + 1
    assert OutgoingMessage.objects.get().state == "waiting"


def test_a_rate_limit_delays_the_next_attempt(talking: Teammate, intercom: Intercom, work: Work) -> None:
    create(talking)
    intercom.limit_rate(30)
    work()
    posting = OutgoingMessage.objects.get()
    assert posting.state == "waiting"
    assert (posting.due_at - timezone.now()).total_seconds() > 25


def test_a_post_that_intercom_rejects_fails_with_its_reason(
    talking: Teammate, intercom: Intercom, work: Work
) -> None:
    talking.admin = talking.admin | {"id": "1"}
    create(talking)
    work()
    posting = OutgoingMessage.objects.get()
    assert posting.state == "failed"
    assert posting.reason_code == "intercom_rejected"


def test_a_conversation_that_the_payload_truncates_is_fetched_completely(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    whole = talking.conversation
    parts = whole["conversation_parts"]
    assert len(parts["conversation_parts"]) == 2
    talking.conversation = whole | {
        "conversation_parts": parts | {"conversation_parts": [], "total_count": 2}
    }
    create(talking)
    assert "3 messages were copied" in talking.text
    assert Delivery.objects.filter(state="written").count() == 3
    assert ("GET", f"/conversations/{whole['id']}") in intercom.calls


def test_a_conversation_that_cannot_be_fetched_creates_no_ticket(
    talking: Teammate, intercom: Intercom, itop: Itop
) -> None:
    before = len(itop.store.all("UserRequest"))
    whole = talking.conversation
    talking.conversation = whole | {"conversation_parts": {"conversation_parts": [], "total_count": 2}}
    intercom.faults.add("error", path="/conversations/", count=1)
    talking.open().click("Create a ticket")
    talking.click("Create ticket", Title="Kept")
    assert "Intercom did not return the conversation" in talking.text
    assert len(itop.store.all("UserRequest")) == before
    talking.click("Retry")
    assert "3 messages were copied" in talking.text
    assert max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])["title"] == "Kept"


def test_own_posts_are_not_copied_to_the_next_ticket(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    create(talking)
    work()
    talking.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    create(talking)
    first, second = sorted(link.ticket.object_id for link in TicketLink.objects.all())
    assert len(itop.store.log(first)) == len(itop.store.log(second)) == 3


@pytest.mark.parametrize("announced", ["teammate", "bot"])
def test_a_post_whose_part_intercom_did_not_show_is_neither_repeated_nor_copied(
    client: Client,
    talking: Teammate,
    intercom: Intercom,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    announced: str,
) -> None:
    original = IntercomClient.reply

    def hidden(self: IntercomClient, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)

    monkeypatch.setattr(IntercomClient, "reply", hidden)
    create(talking)
    count = len(said(intercom))
    work()
    now_due()
    work()
    posted = said(intercom)[-1]
    assert len(said(intercom)) == count + 1
    assert OutgoingMessage.objects.get().state == "posted"
    author = author_of(ADA) if announced == "teammate" else {"type": "bot", "id": "1", "name": "Operator"}
    notify(client, part(int(posted.id), posted.body, author))
    work()
    assert OutgoingMessage.objects.get().part_id == posted.id
    assert not Delivery.objects.filter(part_id=posted.id, state="written").exists()
