"""The panel reports files that are not in iTop and offers to copy them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from intercom_bridge.models import Conversation, FileToItop, TicketLink, Workspace
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    store_link(teammate, itop, "R-000008")
    return teammate


def add_file(position: int, **values: Any) -> FileToItop:
    link = TicketLink.objects.get(ticket__ref="R-000008")
    return FileToItop.objects.create(
        **{
            "ticket": link.ticket,
            "conversation": link.conversation,
            "part_kind": "part",
            "part_id": "37358198390",
            "position": position,
            "part_created_at": 1_768_999_000,
            "name": f"file {position}.txt",
            "state": "copied",
            **values,
        }
    )


def add_one_too_large() -> FileToItop:
    add_file(0)
    add_file(1)
    return add_file(2, name="screen.mov", state="failed", reason_code="file_too_large", attempts=3)


@pytest.mark.parametrize("is_sync_page", [False, True])
def test_a_failed_file_is_displayed_with_its_reason_and_a_retry(linked: Teammate, is_sync_page: bool) -> None:
    add_one_too_large()
    linked.open()
    if is_sync_page:
        linked.send_click("sync")
    assert "2 of 3 files copied; screen.mov exceeds the 20 MB limit" in linked.text.replace("\\", "")
    assert "Try again" in linked.text


def test_the_file_that_failed_last_is_named(linked: Teammate) -> None:
    for number, name in enumerate(("first.mov", "last.mov")):
        add_file(number, name=name, state="failed", reason_code="file_too_large", attempts=3)
    assert "last.mov exceeds the 20 MB limit" in linked.open().text.replace("\\", "")


def test_a_failed_file_is_copied_again(linked: Teammate) -> None:
    row = add_one_too_large()
    linked.open().send_click("try-again")
    row.refresh_from_db()
    assert (row.state, row.reason_code, row.attempts) == ("waiting", "", 1)
    assert "exceeds" not in linked.text


def test_a_file_that_is_gone_offers_no_retry(linked: Teammate) -> None:
    add_file(0, state="failed", reason_code="file_gone")
    assert "no longer in the conversation" in linked.open().text
    assert "Try again" not in linked.text


def test_skipped_files_and_unread_mentions_are_not_counted(linked: Teammate) -> None:
    add_one_too_large()
    add_file(3, state="skipped", reason_code="files_off")
    add_file(FileToItop.LOOKUP, state="waiting", name="")
    assert "2 of 3 files copied" in linked.open().text


def outcomes_in_two_tickets(teammate: Teammate, work: Callable[[], None]) -> tuple[TicketLink, TicketLink]:
    """Link R-000006, too: it lacks one of two files that R-000008 has. Return both links."""
    teammate.link("R-000006")
    work()
    first = TicketLink.objects.get(ticket__ref="R-000008")
    second = TicketLink.objects.get(ticket__ref="R-000006")
    for link in (first, second):
        for position in (0, 1):
            add_file(position, ticket=link.ticket, conversation=link.conversation)
    lacking = FileToItop.objects.filter(ticket=second.ticket, position=1)
    lacking.update(state="failed", reason_code="file_ticket_full", reason_detail="60 MB")
    return first, second


def test_each_ticket_has_its_own_counts_and_a_file_is_copied_once_all_have_it(
    linked: Teammate, work: Callable[[], None]
) -> None:
    outcomes_in_two_tickets(linked, work)
    assert "1 of 2 files copied; file 1.txt: The ticket's files have reached" in linked.open().text
    lines = linked.send_click("sync").text.splitlines()
    (whole,) = [line for line in lines if "R-000008" in line and "files copied" in line]
    assert whole.endswith("2 of 2 files copied")
    (lacking,) = [line for line in lines if "R-000006" in line and "files copied" in line]
    assert lacking.startswith(
        "**R-000006**: 1 of 2 files copied; file 1.txt: The ticket's files have reached"
    )
    assert lacking.endswith("(60 MB)")


def test_a_retry_concerns_the_failed_files_of_this_conversation_only(
    linked: Teammate, work: Callable[[], None], workspace: Workspace
) -> None:
    first, second = outcomes_in_two_tickets(linked, work)
    other = Conversation.objects.create(workspace=workspace, conversation_id="9")
    TicketLink.objects.create(ticket=second.ticket, conversation=other)
    add_file(0, ticket=second.ticket, conversation=other, state="failed", reason_code="file_too_large")
    add_file(2, ticket=first.ticket, conversation=first.conversation, state="failed", reason_code="file_gone")
    linked.open().send_click("sync").click("Try again")
    here = FileToItop.objects.filter(conversation=first.conversation)
    assert set(here.filter(state="waiting").values_list("ticket__ref", "position")) == {("R-000006", 1)}
    assert set(here.filter(state="failed").values_list("position", "reason_code")) == {(2, "file_gone")}
    assert FileToItop.objects.get(conversation=other).state == "failed"
    assert not linked.send_click("sync").offers("Try again")


def test_files_of_an_unlinked_ticket_are_not_counted(linked: Teammate, work: Callable[[], None]) -> None:
    outcomes_in_two_tickets(linked, work)
    linked.send_click("unlink:UserRequest:6:yes")
    work()
    assert "2 of 2 files copied" in linked.open().send_click("sync").text
    assert "file 1.txt" not in linked.text and not linked.offers("Try again")
