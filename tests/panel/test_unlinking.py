"""Unlinking asks once, skips waiting messages, can be undone, and writes nothing twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import (
    Conversation,
    Delivery,
    ItopInstance,
    LinkRemoval,
    OutgoingMessage,
    Ticket,
    TicketLink,
    Workspace,
)
from intercom_bridge.models.job import claim
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import ADA, Teammate, half_a_minute_passes, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    store_link(teammate, itop, "R-000008")
    return teammate


@pytest.fixture
def announced(teammate: Teammate, work: Work) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008, which a note tells everyone."""
    teammate.link("R-000008")
    work()
    return teammate


def press_unlink(teammate: Teammate, ref: str = "R-000008") -> Teammate:
    teammate.open()
    if not teammate.offers(ref):
        teammate.click("linked tickets")
    return teammate.click(ref).click("Unlink")


def unlink(teammate: Teammate, ref: str = "R-000008") -> Teammate:
    return press_unlink(teammate, ref).click("Unlink")


def say(client: Client, number: int, text: str = "") -> None:
    notify(client, part(37358198300 + number, f"<p>{text or number}</p>"))


def new_entries(itop: Itop) -> list[str]:
    """Return what was written to R-000008 since it was recorded."""
    return [entry["message"] for entry in itop.store.log(8)][3:]


def written(client: Client, itop: Itop, work: Work, numbers: list[int]) -> None:
    for number in numbers:
        say(client, number)
    work()
    assert new_entries(itop)[-len(numbers) :] == [f"<p>{number}</p>" for number in numbers]


def hold_back(itop: Itop, work: Work) -> None:
    """Let the worker fail to write the waiting messages."""
    itop.faults.away = True
    work()
    itop.faults.away = False


def catch_up(work: Work) -> None:
    """Make all postponed deliveries due."""
    Delivery.objects.waiting().update(due_at=timezone.now())
    ItopInstance.objects.update(paused_until=None)
    work()


def bodies() -> list[str]:
    return list(OutgoingMessage.objects.order_by("pk").values_list("body", flat=True))


# The question


def test_clicking_unlink_asks_first_and_changes_nothing(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    press_unlink(linked)
    assert "Existing entries stay" in linked.text
    assert "1 message that is not in iTop yet will not be copied." in linked.text
    assert TicketLink.objects.count() == Delivery.objects.waiting().count() == 1
    assert "Linked to this conversation" in linked.click("Back").text
    assert "Create a ticket" in linked.click("Back").text


def test_unlinking_and_undoing_make_no_calls(linked: Teammate, itop: Itop) -> None:
    press_unlink(linked)
    itop.calls.clear()
    linked.click("Unlink").click("Undo")
    assert itop.calls == []


def test_after_unlinking_new_messages_are_not_copied(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    unlink(linked)
    assert "R-000008 unlinked" in linked.text
    assert "No linked tickets" in linked.click("Done").text
    say(client, 50)
    work()
    assert new_entries(itop) == []


def test_a_second_click_on_unlink_changes_nothing(announced: Teammate) -> None:
    before = unlink(announced).text
    assert announced.again().text == before
    assert LinkRemoval.objects.count() == 1 and len(bodies()) == 2


def test_unlinking_leaves_a_note_with_the_name_of_the_teammate(announced: Teammate) -> None:
    unlink(announced)
    assert OutgoingMessage.objects.filter(is_note=True, admin_id=ADA["id"]).count() == 2
    assert "Ada Reyes unlinked ticket" in bodies()[1] and "R-000008" in bodies()[1]
    assert LinkRemoval.objects.get().unlinked_by == "Ada Reyes"


@pytest.mark.parametrize("way", ["undo", "link"])
def test_a_link_restored_within_a_minute_leaves_no_further_note(
    announced: Teammate, work: Work, time_machine: Any, way: str
) -> None:
    """The thread says that the ticket is linked, and it is."""
    now = dt.datetime.now(dt.UTC)
    time_machine.move_to(now, tick=False)
    unlink(announced)
    time_machine.move_to(now + dt.timedelta(seconds=50), tick=False)
    work()
    if way == "undo":
        announced.click("Undo")
    else:
        announced.link("R-000008")
    work()
    assert TicketLink.objects.exists() and len(bodies()) == 1
    unlink(announced)
    time_machine.move_to(now + dt.timedelta(seconds=115), tick=False)
    work()
    assert "unlinked ticket" in bodies()[-1] and len(bodies()) == 2
    assert OutgoingMessage.objects.order_by("pk").last().state == "waiting"  # type: ignore[union-attr]


def test_a_link_restored_after_a_minute_says_so_in_the_thread(announced: Teammate, time_machine: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    time_machine.move_to(now, tick=False)
    unlink(announced)
    time_machine.move_to(now + dt.timedelta(seconds=61), tick=False)
    announced.click("Undo")
    assert len(bodies()) == 3
    assert "Ada Reyes linked ticket" in bodies()[2] and "again" in bodies()[2]


def test_a_note_that_a_worker_has_taken_is_not_withdrawn(announced: Teammate) -> None:
    """The worker's clock may be ahead of ours, and the note on its way to Intercom."""
    unlink(announced)
    note = OutgoingMessage.objects.order_by("pk").last()
    assert note is not None and claim(note, 120)
    announced.click("Undo")
    assert len(bodies()) == 3 and "again" in bodies()[2]


# Waiting messages


def test_waiting_messages_of_an_unlinked_ticket_are_skipped(
    client: Client, linked: Teammate, workspace: Workspace, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    other = Conversation.objects.find_or_create(workspace, "111")
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
    assert Delivery.objects.get(state="skipped").reason_code == "unlinked"


def test_undo_restores_exactly_the_skipped_messages(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    say(client, 51)
    hold_back(itop, work)
    Delivery.objects.filter(part_id="37358198350").update(
        state="failed", reason_code="rejected", reason_detail="x"
    )
    before = list(
        Delivery.objects.order_by("pk").values("part_id", "state", "reason_code", "due_at", "attempts")
    )
    unlink(linked).click("Undo")
    assert "R-000008 linked again" in linked.text
    assert "2 messages that were left out will be copied." in linked.text
    after = list(
        Delivery.objects.order_by("pk").values("part_id", "state", "reason_code", "due_at", "attempts")
    )
    assert after == before
    catch_up(work)
    assert new_entries(itop) == ["<p>51</p>"]


def test_undo_ignores_messages_skipped_by_an_earlier_unlinking(
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


def test_undo_ignores_messages_handled_since_the_unlinking(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50)
    hold_back(itop, work)
    unlink(linked)
    Delivery.objects.update(reason_code="skipped_by_admin")
    linked.click("Undo")
    catch_up(work)
    assert new_entries(itop) == []


def test_undo_copies_messages_received_since_the_unlinking_in_order(
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


def test_undo_copies_messages_that_another_ticket_received(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    unlink(linked)
    say(client, 51)
    work()
    linked.click("Undo")
    work()
    assert new_entries(itop) == ["<p>51</p>"]


def test_undo_finds_messages_without_a_notification(
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


def test_undo_restores_the_link_unchanged(announced: Teammate) -> None:
    announced.click("Done").click("Pause sync")
    before = TicketLink.objects.values("linked_by", "sync_on", "created_at", "since_part_at").get()
    unlink(announced).click("Undo").again()
    after = TicketLink.objects.values("linked_by", "sync_on", "created_at", "since_part_at").get()
    assert after == before and not after["sync_on"]
    assert len(bodies()) == 1


def test_undo_does_not_change_a_newer_link(client: Client, linked: Teammate, itop: Itop, work: Work) -> None:
    unlink(linked)
    stale = linked.canvas
    linked.link("R-000008")
    notes = len(bodies())
    linked.canvas = stale
    assert "The panel was out of date" in linked.click("Undo").text
    assert TicketLink.objects.count() == 1 and len(bodies()) == notes


# Exactly-once writes


def test_relinking_writes_nothing_twice(client: Client, linked: Teammate, itop: Itop, work: Work) -> None:
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
        assert [entry for entry in new_entries(itop) if entry in ("<p>50</p>", "<p>51</p>")] == [
            "<p>50</p>",
            "<p>51</p>",
        ]


def test_relinking_with_copy_writes_messages_skipped_by_the_unlinking(
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


def test_failures_of_an_unlinked_ticket_are_not_retried(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    say(client, 50)
    hold_back(itop, work)
    Delivery.objects.update(state="failed", reason_code="rejected", reason_detail="x")
    unlink(linked).click("Done").click("Try again")
    catch_up(work)
    assert new_entries(itop) == []


# iTop's own attributes


def attributes(itop: Itop, number: int = 8) -> tuple[Any, ...]:
    row = itop.store.load("UserRequest", number) or {}
    return row["intercom_ref"], row["intercom_url"], row["intercom_sync_activated"]


def test_unlinking_clears_the_attributes_in_itop_and_undo_restores_them(
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


def test_an_undo_before_the_write_leaves_itop_unchanged(linked: Teammate, itop: Itop, work: Work) -> None:
    before = attributes(itop)
    unlink(linked).click("Undo")
    work()
    assert attributes(itop) == before


def test_itop_refers_to_the_latest_remaining_conversation(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    second = Teammate(client)
    second.conversation = linked.conversation | {"id": "222"}
    second.link("R-000008")
    work()
    assert attributes(itop)[0] == "222"
    # A change of the older link does not make it the latest.
    linked.open().click("Pause sync")
    work()
    assert attributes(itop)[0] == "222" and attributes(itop)[2] == "yes"
    unlink(second)
    work()
    assert attributes(itop)[0] == linked.conversation["id"] and attributes(itop)[2] == "no"


def test_a_reference_changed_in_itop_is_not_overwritten(linked: Teammate, itop: Itop, work: Work) -> None:
    itop.store.update("UserRequest", 8, intercom_ref="another", intercom_sync_activated="yes")
    unlink(linked)
    work()
    assert attributes(itop)[0] == "another" and attributes(itop)[2] == "yes"
    assert not LinkRemoval.objects.unsynced().exists()


def test_an_unlinked_ticket_is_not_adopted_again(linked: Teammate, itop: Itop, work: Work) -> None:
    unlink(linked)
    # The worker has not written to iTop yet.
    assert attributes(itop)[0] == linked.conversation["id"]
    assert "No linked tickets" in linked.open().text
    assert "4 open tickets, 1 resolved" in linked.text
    itop.faults.away = True
    work()
    itop.faults.away = False
    assert "No linked tickets" in linked.open().text
    linked.link("R-000008")
    assert "R-000008 · Screen flickers" in linked.open().text


# A deleted ticket


def test_a_deleted_ticket_is_reported_in_the_list_and_can_be_unlinked(linked: Teammate, itop: Itop) -> None:
    itop.store.remove("UserRequest", 8)
    linked.open().send_click("linked:1")
    assert "No longer in iTop" in linked.text
    assert "R-000008 unlinked" in linked.click("R-000008").text
    assert TicketLink.objects.count() == 0
    assert "No linked tickets" in linked.click("Done").text


def test_the_sync_page_reports_a_deleted_ticket_after_a_failed_write(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    itop.store.remove("UserRequest", 8)
    say(client, 50)
    work()
    linked.open().click("Sync status")
    assert "R-000008 is no longer in iTop, so nothing can be copied to it." in linked.text
    assert "R-000008 unlinked" in linked.click("Unlink R-000008").text


def test_the_sync_page_reports_a_deleted_ticket_until_it_is_restored(
    linked: Teammate, itop: Itop, time_machine: Any
) -> None:
    row = itop.store.load("UserRequest", 8) or {}
    itop.store.remove("UserRequest", 8)
    assert "no longer in iTop" in linked.open().click("Sync on").text
    itop.store.insert_row(row)
    half_a_minute_passes(time_machine)
    assert "no longer in iTop" not in linked.open().click("Sync on").text


def test_a_linked_ticket_deleted_while_open_offers_to_unlink(linked: Teammate, itop: Itop) -> None:
    linked.open().send_click("linked:1")
    itop.store.remove("UserRequest", 8)
    linked.click("R-000008")
    assert "R-000008 is no longer in iTop. It is still linked" in linked.text
    assert "R-000008 unlinked" in linked.click("Unlink it").text


# Input


@pytest.mark.parametrize(
    "steps", [("Unlink",), ("Unlink", "Undo"), ("Unlink", "Undo", "View ticket", "Unlink", "Unlink")]
)
def test_unlinking_from_the_form_leads_back_to_it(
    teammate: Teammate, work: Work, steps: tuple[str, ...]
) -> None:
    teammate.link("R-000008")
    title = "Screen flickers again"
    teammate.open().click("Create a ticket").click("Create ticket", Title=title)
    assert "There may already be a ticket for this" in teammate.text
    teammate.click("R-000008").click("Unlink")
    for label in steps:
        teammate.click(label)
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
def test_a_ticket_of_another_conversation_cannot_be_unlinked(
    client: Client, linked: Teammate, component_id: str
) -> None:
    stranger = Teammate(client)
    stranger.conversation = linked.conversation | {"id": "999"}
    stranger.open().send_click(component_id)
    assert "Nothing was changed" in stranger.text and list(stranger.clickable())
    assert TicketLink.objects.count() == 1 and LinkRemoval.objects.count() == 0


def test_an_unlinking_in_another_conversation_cannot_be_undone(client: Client, linked: Teammate) -> None:
    unlink(linked)
    stranger = Teammate(client)
    stranger.conversation = linked.conversation | {"id": "999"}
    stranger.open().send_click(f"undo-unlink:{LinkRemoval.objects.get().pk}")
    assert "Nothing was changed" in stranger.text
    assert TicketLink.objects.count() == 0
