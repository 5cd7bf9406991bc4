"""The panel reports files that are not in iTop and offers to copy them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from intercom_bridge.models import FileToItop, TicketLink
from tests.teammate import Teammate


@pytest.fixture
def linked(teammate: Teammate, work: Callable[[], None]) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    teammate.link("R-000008")
    work()
    return teammate


def add_file(position: int, **values: Any) -> FileToItop:
    link = TicketLink.objects.get()
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
