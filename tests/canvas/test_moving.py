"""A conversation that was merged into another one is said to be, and its links are moved with one click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    Posting,
    TicketLink,
    Unlinking,
    Workspace,
)
from sandbox.itop import Itop
from tests.teammate import Teammate, conversation, notify, part

Work = Callable[[], None]

MERGED_AT = 1_770_000_000
AWAY = part(37358199001, "", part_type="merged_secondary_conversation", created_at=MERGED_AT)
IN = part(37358199002, "", part_type="merged_primary_conversation", created_at=MERGED_AT + 1)


@pytest.fixture
def ended(teammate: Teammate, work: Work) -> Teammate:
    """In a conversation with R-000008 linked, which was merged into conversation 222 afterwards."""
    teammate.link("R-000008")
    work()
    teammate.conversation = conversation(AWAY)
    return teammate


@pytest.fixture
def going_on(client: Client) -> Teammate:
    """In conversation 222, which goes on."""
    other = Teammate(client)
    other.conversation = conversation(IN, id="222")
    return other


def linked_to() -> list[str]:
    return list(TicketLink.objects.values_list("conversation__conversation_id", flat=True))


def new_entries(itop: Itop) -> list[str]:
    return [one["message"] for one in itop.store.log(8)][3:]


def test_the_conversation_that_goes_on_offers_to_move_the_link_with_one_click(
    ended: Teammate, going_on: Teammate
) -> None:
    ended.open()
    going_on.open().click("Another conversation was merged into this one")
    assert "Conversation 215472621202693 was merged into this one. Linked to it: R-000008." in going_on.text
    assert "Moved: R-000008" in going_on.click("Move the link").text
    assert linked_to() == ["222"]
    assert "1 linked ticket" in going_on.click("Done").text
    assert "merged" not in going_on.text and "merged" not in ended.open().text


def test_the_conversation_that_ended_says_so_on_home_and_at_the_sync(ended: Teammate) -> None:
    assert "Merged into another conversation" in ended.open().text
    assert not ended.offers("Pause the sync") and "The sync is on" not in ended.text
    ended.click("How the sync stands")
    assert "merged into another one: new messages come in there" in ended.text
    assert not ended.offers("Pause the sync") and "The sync is on" not in ended.text
    assert "Intercom does not say into which" in ended.click("Merged into another").text
    assert "Create a ticket" in ended.click("Back").text


@pytest.mark.parametrize(
    "named", ["222", " https://app.intercom.com/a/inbox/x/inbox/shared/all/conversation/222 "]
)
def test_it_can_be_moved_by_naming_the_other_one(ended: Teammate, named: str) -> None:
    ended.open().click("Merged into another")
    ended.send_click("move-away", {"Id or address": named})
    assert "Moved: R-000008" in ended.text
    assert linked_to() == ["222"]


@pytest.mark.parametrize("named", ["no id", "215472621202693"])
def test_what_names_no_other_conversation_moves_nothing_and_stays_to_be_corrected(
    ended: Teammate, named: str
) -> None:
    ended.open().click("Merged into another")
    ended.send_click("move-away", {"Id or address": named})
    assert "Nothing was changed" in ended.text and ended.offers("Back")
    assert ended.field("Id or address")["value"] == named
    assert linked_to() == ["215472621202693"]


@pytest.mark.parametrize("named", ["", "   "])
def test_a_field_left_empty_says_what_to_type(ended: Teammate, named: str) -> None:
    ended.open().click("Merged into another")
    ended.send_click("move-away", {"Id or address": named})
    assert "Type the id of the other conversation" in ended.text
    assert linked_to() == ["215472621202693"]


def test_what_moves_to_a_conversation_whose_sync_is_paused_joins_the_pause(
    ended: Teammate, going_on: Teammate
) -> None:
    ended.open()
    going_on.link("R-000006").open().click("Pause the sync")
    going_on.click("merged into this one").click("Move the link")
    links = TicketLink.objects.filter(conversation__conversation_id="222")
    assert sorted(links.values_list("ticket__ref", "sync_on")) == [("R-000006", False), ("R-000008", False)]


def test_two_links_are_moved_as_links(ended: Teammate, going_on: Teammate) -> None:
    ended.link("R-000006").open()
    going_on.open().click("merged into this one")
    assert going_on.offers("Move the links")


def test_both_conversations_get_a_note_that_says_who_did_it(ended: Teammate, going_on: Teammate) -> None:
    ended.open()
    going_on.open().click("merged into this one").click("Move the link")
    notes = dict(Posting.objects.order_by("pk").values_list("conversation__conversation_id", "body"))
    assert (
        "Ada Reyes moved ticket" in notes["222"] and "here from conversation 215472621202693" in notes["222"]
    )
    assert "to conversation 222" in notes["215472621202693"]
    assert Unlinking.objects.get().unlinked_by == "Ada Reyes"


def test_what_waits_is_still_written_and_new_messages_follow_from_the_merge_on(
    client: Client, ended: Teammate, going_on: Teammate, itop: Itop, work: Work
) -> None:
    notify(client, part(37358198350, "<p>before</p>"))
    itop.faults.away = True
    work()
    itop.faults.away = False
    ended.open()
    going_on.open().click("merged into this one").click("Move the link")
    notify(client, part(37358199100, "<p>older</p>", created_at=MERGED_AT - 5), id="222")
    notify(client, part(37358199101, "<p>after</p>", created_at=MERGED_AT + 5), id="222")
    notify(client, part(37358199102, "<p>elsewhere</p>", created_at=MERGED_AT + 6))
    Delivery.objects.waiting().update(due_at="2020-01-01T00:00:00Z")
    ItopInstance.objects.update(paused_until=None)
    work()
    assert new_entries(itop) == ["<p>before</p>", "<p>after</p>"]
    row = itop.store.load("UserRequest", 8) or {}
    assert row["intercom_ref"] == "222"


def test_a_merge_of_another_moment_is_another(client: Client, ended: Teammate, going_on: Teammate) -> None:
    ended.open()
    going_on.conversation = conversation(IN | {"created_at": MERGED_AT + 60}, id="222")
    assert "merged" not in going_on.open().text
    going_on.send_click(f"move-here:{Conversation.objects.get().pk}")
    assert "nothing to be moved" in going_on.text
    assert linked_to() == ["215472621202693"]


def test_intercom_is_asked_whether_it_was_the_one_that_is_named(
    ended: Teammate, workspace: Workspace, intercom: Any
) -> None:
    workspace.access_token = intercom.token
    workspace.save()
    other = intercom.conversation_of("Alice Martin")
    ended.open().click("Merged into another")
    for named in (other, "404404404"):
        ended.send_click("move-away", {"Id or address": str(named)})
        assert "not the conversation that this one was merged into" in ended.text
    assert linked_to() == ["215472621202693"]


def test_an_intercom_that_cannot_be_asked_moves_nothing(
    ended: Teammate, workspace: Workspace, intercom: Any
) -> None:
    workspace.access_token = "another"
    workspace.save()
    ended.open().click("Merged into another")
    ended.send_click("move-away", {"Id or address": "222"})
    assert "Intercom could not be asked just now" in ended.text and "Nothing was changed" in ended.text
    assert linked_to() == ["215472621202693"]


def test_a_move_takes_along_what_came_between_the_merge_and_it(
    client: Client, ended: Teammate, going_on: Teammate, itop: Itop, work: Work
) -> None:
    ended.open()
    notify(client, part(37358199101, "<p>after the merge</p>", created_at=MERGED_AT + 5), id="222")
    work()
    going_on.open().click("merged into this one").click("Move the link")
    work()
    assert [one["message"] for one in itop.store.log(8)][3:] == ["<p>after the merge</p>"]


def test_a_move_writes_what_had_come_for_the_link_that_there_was(
    client: Client, ended: Teammate, going_on: Teammate, itop: Itop, work: Work
) -> None:
    ended.open()
    notify(client, part(37358198350, "<p>before the merge</p>"))
    going_on.open().click("merged into this one").click("Move the link")
    work()
    assert [one["message"] for one in itop.store.log(8)][3:] == ["<p>before the merge</p>"]
