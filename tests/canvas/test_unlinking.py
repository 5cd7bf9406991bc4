"""Unlinking a ticket asks once, leaves out what waits, can be undone, and writes nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    Posting,
    Ticket,
    TicketLink,
    Unlinking,
    Workspace,
)
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import ADA, Teammate, half_a_minute_passes, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(teammate: Teammate, work: Work) -> Teammate:
    """A teammate whose conversation has R-000008 linked from now on."""
    teammate.link("R-000008")
    work()
    return teammate


def press_unlink(teammate: Teammate, ref: str = "R-000008") -> Teammate:
    return teammate.open().click("linked ticket").click(ref).click("Unlink")


def unlink(teammate: Teammate, ref: str = "R-000008") -> Teammate:
    return press_unlink(teammate, ref).click("Unlink")


def say(client: Client, number: int, words: str = "") -> None:
    notify(client, part(37358198300 + number, f"<p>{words or number}</p>"))


def new_entries(itop: Itop) -> list[str]:
    """What was written to R-000008 since it was recorded."""
    return [one["message"] for one in itop.store.log(8)][3:]


def written(client: Client, itop: Itop, work: Work, numbers: list[int]) -> None:
    for number in numbers:
        say(client, number)
    work()
    assert new_entries(itop)[-len(numbers) :] == [f"<p>{number}</p>" for number in numbers]


def hold_back(itop: Itop, work: Work) -> None:
    """Lets the worker fail at what waits."""
    itop.faults.away = True
    work()
    itop.faults.away = False


def catch_up(work: Work) -> None:
    """What was put off is due now."""
    Delivery.objects.waiting().update(due_at=timezone.now())
    ItopInstance.objects.update(paused_until=None)
    work()


def bodies() -> list[str]:
    return list(Posting.objects.order_by("pk").values_list("body", flat=True))


# The question


def test_pressing_unlink_asks_once_and_changes_nothing(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    press_unlink(linked)
    assert "What is in its logs stays there" in linked.text
    assert "1 message that is not in iTop yet will not be written." in linked.text
    assert TicketLink.objects.count() == Delivery.objects.waiting().count() == 1
    assert "Linked to this conversation" in linked.click("Back").text
    assert "Linked tickets" in linked.click("Back").text


def test_unlinking_and_undoing_ask_itop_nothing(linked: Teammate, itop: Itop) -> None:
    press_unlink(linked)
    itop.calls.clear()
    linked.click("Unlink").click("Undo")
    assert itop.calls == []


def test_after_it_the_ticket_is_not_linked_and_new_messages_stay_out(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    unlink(linked)
    assert "R-000008 is unlinked" in linked.text
    assert "No ticket is linked yet" in linked.click("Done").text
    say(client, 50)
    work()
    assert new_entries(itop) == []


def test_a_second_press_is_the_same_one(linked: Teammate) -> None:
    before = unlink(linked).text
    assert linked.again().text == before
    assert Unlinking.objects.count() == 1 and len(bodies()) == 2


def test_it_leaves_a_note_that_says_who_did_it(linked: Teammate) -> None:
    unlink(linked).click("Undo")
    assert Posting.objects.filter(is_note=True, admin_id=ADA["id"]).count() == 3
    assert "Ada Reyes unlinked ticket" in bodies()[1] and "R-000008" in bodies()[1]
    assert "Ada Reyes linked ticket" in bodies()[2] and "again" in bodies()[2]
    assert Unlinking.objects.get().unlinked_by == "Ada Reyes"


# What waits


def test_what_waits_for_this_ticket_and_conversation_is_left_out_with_a_plain_reason(
    client: Client, linked: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    other = Conversation.objects.known(workspace, "111")
    Delivery.objects.create(
        ticket=Ticket.objects.get(object_id=8),
        conversation=other,
        kind="part",
        part_id="1",
        part_created_at=1,
    )
    say(client, 50)
    hold_back(itop, work)
    assert "1 message that was not in iTop yet is left out." in unlink(linked).text
    states = set(Delivery.objects.values_list("ticket__object_id", "conversation_id", "state"))
    ours = Conversation.objects.exclude(pk=other.pk).get().pk
    assert states == {(8, ours, "skipped"), (6, ours, "waiting"), (8, other.pk, "waiting")}
    assert Delivery.objects.get(state="skipped").reason == "the ticket was unlinked from the conversation"


def test_undo_puts_back_exactly_what_was_left_out_and_as_it_was(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    say(client, 51)
    hold_back(itop, work)
    Delivery.objects.filter(part_id="37358198350").update(state="failed", reason="iTop refused it: x")
    before = list(Delivery.objects.order_by("pk").values("part_id", "state", "reason", "due_at", "attempts"))
    unlink(linked).click("Undo")
    assert "R-000008 is linked again" in linked.text
    assert "2 messages that were left out are written after all." in linked.text
    after = list(Delivery.objects.order_by("pk").values("part_id", "state", "reason", "due_at", "attempts"))
    assert after == before
    catch_up(work)
    assert new_entries(itop) == ["<p>51</p>"]


def test_undo_does_not_put_back_what_an_earlier_unlinking_had_left_out(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    unlink(linked)
    linked.conversation["conversation_parts"]["conversation_parts"].append(part(37358198350, "<p>50</p>"))
    linked.conversation["conversation_parts"]["total_count"] += 1
    linked.link("R-000008")
    catch_up(work)
    unlink(linked).click("Undo")
    catch_up(work)
    assert new_entries(itop) == []


def test_undo_leaves_what_was_decided_about_since(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    unlink(linked)
    Delivery.objects.update(reason="skipped by the admin")
    linked.click("Undo")
    catch_up(work)
    assert new_entries(itop) == []


def test_undo_brings_what_came_meanwhile_in_order(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    unlink(linked)
    say(client, 51)
    catch_up(work)
    linked.click("Undo")
    catch_up(work)
    assert new_entries(itop) == ["<p>50</p>", "<p>51</p>"]


def test_undo_brings_what_came_meanwhile_for_another_ticket_too(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    unlink(linked)
    say(client, 51)
    work()
    linked.click("Undo")
    work()
    assert new_entries(itop) == ["<p>51</p>"]


def test_undo_finds_what_nobody_told_us_of(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Work
) -> None:
    talking.link("R-000008")
    work()
    unlink(talking)
    intercom.write(talking.conversation["id"], body="unheard", created_at=1_900_000_000)
    work()
    talking.click("Undo")
    work()
    assert new_entries(itop) == ["<p>unheard</p>"]


def test_undo_keeps_the_link_as_it_was(linked: Teammate) -> None:
    linked.click("Done").click("Pause the sync")
    before = TicketLink.objects.values("linked_by", "sync_on", "created_at", "since_part_at").get()
    unlink(linked).click("Undo").again()
    after = TicketLink.objects.values("linked_by", "sync_on", "created_at", "since_part_at").get()
    assert after == before and not after["sync_on"]
    assert len(bodies()) == 3


def test_undo_after_somebody_linked_it_again_changes_nothing_of_that(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    unlink(linked)
    stale = linked.canvas
    linked.link("R-000008")
    notes = len(bodies())
    linked.canvas = stale
    assert "is linked again" in linked.click("Undo").text
    assert TicketLink.objects.count() == 1 and len(bodies()) == notes


# Written once


def test_nothing_is_written_twice_after_a_link_was_undone_and_made_again(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    written(client, itop, work, [50, 51])
    parts = [part(37358198300 + number, f"<p>{number}</p>") for number in (50, 51)]
    for again in ("Undo", "link", "copy"):
        unlink(linked)
        if again == "Undo":
            linked.click("Undo")
        else:
            linked.conversation["conversation_parts"] |= {"conversation_parts": parts, "total_count": 2}
            linked.link("R-000008", copy=again == "copy")
        for number in (50, 51):
            notify(client, parts[number - 50], notification_id=f"notif_{again}_{number}")
        work()
        assert [one for one in new_entries(itop) if one in ("<p>50</p>", "<p>51</p>")] == [
            "<p>50</p>",
            "<p>51</p>",
        ]


def test_what_an_unlinking_left_out_is_copied_when_linking_asks_for_it(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    unlink(linked)
    parts = [part(37358198350, "<p>50</p>")]
    linked.conversation["conversation_parts"] |= {"conversation_parts": parts, "total_count": 1}
    linked.link("R-000008", copy=True)
    catch_up(work)
    assert new_entries(itop) == ["<p>The export button does nothing</p>", "<p>50</p>"]


def test_what_failed_is_not_tried_again_for_a_ticket_that_is_no_longer_linked(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    say(client, 50)
    hold_back(itop, work)
    Delivery.objects.update(state="failed", reason="iTop refused it: x")
    unlink(linked).click("Done").click("Try again")
    catch_up(work)
    assert new_entries(itop) == []


# iTop's own attributes


def attributes(itop: Itop, number: int = 8) -> tuple[Any, ...]:
    row = itop.store.load("UserRequest", number) or {}
    return row["intercom_ref"], row["intercom_url"], row["intercom_sync_activated"]


def test_itop_no_longer_names_a_conversation_that_is_unlinked_and_does_again_after_undo(
    linked: Teammate, itop: Itop, work: Work
) -> None:
    before = attributes(itop)
    assert before[0] == linked.conversation["id"] and before[2] == "yes"
    unlink(linked)
    work()
    assert attributes(itop) == ("", "", "no")
    linked.click("Undo")
    work()
    assert attributes(itop) == before


def test_an_undo_before_itop_was_told_leaves_it_as_it_was(linked: Teammate, itop: Itop, work: Work) -> None:
    before = attributes(itop)
    unlink(linked).click("Undo")
    work()
    assert attributes(itop) == before


def test_itop_names_the_conversation_that_was_linked_last_of_those_that_are_left(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    second = Teammate(client)
    second.conversation = linked.conversation | {"id": "222"}
    second.link("R-000008")
    work()
    assert attributes(itop)[0] == "222"
    # A change of the older link is no reason to name it.
    linked.open().click("Pause the sync")
    work()
    assert attributes(itop)[0] == "222" and attributes(itop)[2] == "yes"
    unlink(second)
    work()
    assert attributes(itop)[0] == linked.conversation["id"] and attributes(itop)[2] == "no"


def test_what_somebody_wrote_into_itop_meanwhile_is_left_alone(
    linked: Teammate, itop: Itop, work: Work
) -> None:
    itop.store.update("UserRequest", 8, intercom_ref="another", intercom_sync_activated="yes")
    unlink(linked)
    work()
    assert attributes(itop)[0] == "another" and attributes(itop)[2] == "yes"
    assert not Unlinking.objects.to_be_told().exists()


def test_what_is_unlinked_is_not_adopted_again_from_itops_attributes(
    linked: Teammate, itop: Itop, work: Work
) -> None:
    unlink(linked)
    # The worker has not told iTop yet.
    assert attributes(itop)[0] == linked.conversation["id"]
    assert "No ticket is linked yet" in linked.open().text
    assert "5 ongoing tickets" in linked.text
    itop.faults.away = True
    work()
    itop.faults.away = False
    assert "No ticket is linked yet" in linked.open().text
    linked.link("R-000008")
    assert "1 linked ticket" in linked.open().text


# A ticket that is gone


def test_a_ticket_deleted_in_itop_is_said_in_the_list_and_unlinked_with_one_click(
    linked: Teammate, itop: Itop
) -> None:
    itop.store.remove("UserRequest", 8)
    linked.open().click("1 linked ticket")
    assert "No longer in iTop" in linked.text
    assert "R-000008 is unlinked" in linked.click("R-000008").text
    assert TicketLink.objects.count() == 0
    assert "No ticket is linked yet" in linked.click("Done").text


def test_the_page_of_the_sync_says_so_once_a_message_could_not_be_written(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    itop.store.remove("UserRequest", 8)
    say(client, 50)
    work()
    linked.open().click("The sync is on")
    assert "R-000008 is no longer in iTop, so nothing can be written to it." in linked.text
    assert "R-000008 is unlinked" in linked.click("Unlink R-000008").text


def test_the_page_of_the_sync_knows_it_from_the_list_too_and_no_longer_when_it_is_back(
    linked: Teammate, itop: Itop, time_machine: Any
) -> None:
    row = itop.store.load("UserRequest", 8) or {}
    itop.store.remove("UserRequest", 8)
    assert "no longer in iTop" in linked.open().click("The sync is on").text
    itop.store.insert_row(row)
    half_a_minute_passes(time_machine)
    assert "no longer in iTop" not in linked.open().click("The sync is on").text


def test_a_linked_ticket_that_goes_while_it_is_looked_at_offers_to_unlink_it(
    linked: Teammate, itop: Itop
) -> None:
    linked.open().click("1 linked ticket")
    itop.store.remove("UserRequest", 8)
    linked.click("R-000008")
    assert "R-000008 is no longer in iTop. It is still linked" in linked.text
    assert "R-000008 is unlinked" in linked.click("Unlink it").text


# Input


@pytest.mark.parametrize(
    "way", [("Unlink",), ("Unlink", "Undo"), ("Unlink", "Undo", "See the ticket", "Unlink", "Unlink")]
)
def test_an_unlinking_begun_from_the_form_leads_back_to_it(
    teammate: Teammate, work: Work, way: tuple[str, ...]
) -> None:
    teammate.link("R-000008")
    title = "Screen flickers again"
    teammate.open().click("Create a ticket").click("Create the ticket", Title=title)
    assert "Perhaps there is a ticket for this already" in teammate.text
    teammate.click("R-000008").click("Unlink")
    for words in way:
        teammate.click(words)
    assert teammate.click("Back to the form").field("Title")["value"] == title


@pytest.mark.parametrize(
    "component_id",
    [
        "unlink:UserRequest:8:yes",
        "unlink:UserRequest:6",
        "unlink:User:8:yes",
        "unlink",
        "undo-unlink:99",
        "undo-unlink:x",
        "undo-unlink",
    ],
)
def test_what_is_not_linked_to_this_conversation_cannot_be_unlinked(
    client: Client, linked: Teammate, component_id: str
) -> None:
    stranger = Teammate(client)
    stranger.conversation = linked.conversation | {"id": "999"}
    stranger.open().send_click(component_id)
    assert "Nothing was changed" in stranger.text and list(stranger.clickable())
    assert TicketLink.objects.count() == 1 and Unlinking.objects.count() == 0


def test_the_unlinking_of_another_conversation_cannot_be_undone_here(
    client: Client, linked: Teammate
) -> None:
    unlink(linked)
    stranger = Teammate(client)
    stranger.conversation = linked.conversation | {"id": "999"}
    stranger.open().send_click(f"undo-unlink:{Unlinking.objects.get().pk}")
    assert "Nothing was changed" in stranger.text
    assert TicketLink.objects.count() == 0
