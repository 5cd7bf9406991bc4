"""The panel reports messages that are not in iTop and offers to copy them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, Ticket, TicketLink
from intercom_bridge.panel.components import MAX_FIRST_SCREEN_HEIGHT, estimated_height
from intercom_bridge.panel.screens import home as screen
from intercom_bridge.sync.intake import process_batch
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, half_a_minute_passes, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    store_link(teammate, itop, "R-000008")
    return teammate


@pytest.fixture
def heights() -> Iterator[list[int]]:
    """Record the heights of the first screens that are displayed."""
    seen: list[int] = []
    original = screen.Canvas

    def measured(**parts: Any) -> Any:
        canvas = original(**parts)
        seen.append(estimated_height(canvas.components))
        return canvas

    screen.Canvas = measured  # type: ignore[misc,assignment]
    yield seen
    screen.Canvas = original  # type: ignore[misc]


def new_entries(itop: Itop) -> list[str]:
    return [entry["message"] for entry in itop.store.log(8)][3:]


def say(client: Client, *numbers: int) -> None:
    for number in numbers:
        notify(client, part(37358198300 + number, f"<p>{number}</p>"))


def left_out(client: Client, linked: Teammate, work: Work, count: int) -> None:
    """Receive `count` messages while the sync is paused, then resume it."""
    linked.open().send_click("pause")
    say(client, *range(50, 50 + count))
    work()
    linked.open().send_click("resume")


def failed(count: int = 2, detail: str = "") -> None:
    """Create `count` failed deliveries to R-000008; `detail` is the reason of the last one."""
    link = TicketLink.objects.get()
    for number in range(count):
        Delivery.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind="part",
            part_id=str(37358198390 + number),
            part_created_at=1_768_999_000 + number,
            state="failed",
            reason_code="log_full" if number == count - 1 else "rejected",
            reason_detail=detail if number == count - 1 else "an earlier reason",
            log="public_log",
            solo_failures=5,
            attempts=7,
            part={
                "kind": "part",
                "id": str(37358198390 + number),
                "part_type": "comment",
                "body": f"<p>failed {number}</p>",
                "subject": "",
                "created_at": 1_768_999_000 + number,
                "author": {"type": "user", "id": "1", "name": "Alice Martin", "email": ""},
                "attachments": [],
            },
        )


# The pause


def test_after_a_resume_home_offers_the_skipped_messages(
    client: Client, linked: Teammate, work: Work
) -> None:
    left_out(client, linked, work, 5)
    assert "5 messages were left out while sync was paused" in linked.text
    assert linked.offers("Copy them now") and linked.offers("Leave them out")


def test_a_single_message_is_displayed_in_the_singular(client: Client, linked: Teammate, work: Work) -> None:
    left_out(client, linked, work, 1)
    assert "1 message was left out while sync was paused" in linked.text


def test_messages_during_a_pause_are_counted_and_not_offered(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.open().click("Pause sync")
    say(client, 50, 51)
    work()
    linked.open()
    assert "Sync paused" in linked.text and "2 messages left out" in linked.text
    assert not linked.offers("Copy them now")


def test_skipped_messages_can_be_written_later_once_in_order(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    left_out(client, linked, work, 3)
    linked.click("Copy them now")
    assert "3 messages waiting" in linked.text and not linked.offers("Copy them now")
    linked.again()
    work()
    assert new_entries(itop) == ["<p>50</p>", "<p>51</p>", "<p>52</p>"]
    assert set(Delivery.objects.values_list("state", "reason_code")) == {("written", "")}
    say(client, 50)
    work()
    assert len(new_entries(itop)) == 3


def test_messages_that_stay_skipped_are_not_offered_again(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    left_out(client, linked, work, 2)
    linked.click("Leave them out")
    assert "left out" not in linked.text
    work()
    assert new_entries(itop) == []
    assert set(Delivery.objects.values_list("state", "reason_code")) == {("skipped", "pause_skipped")}
    left_out(client, linked, work, 4)  # Two of them were received before.
    assert "2 messages were left out" in linked.text


def test_messages_of_two_tickets_are_counted_once_and_written_to_both(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    work()
    left_out(client, linked, work, 1)
    assert "1 message was left out" in linked.text
    linked.click("Copy them now")
    work()
    assert new_entries(itop) == ["<p>50</p>"]
    assert itop.store.log(6)[-1]["message"] == "<p>50</p>"


def test_skipped_messages_of_an_unlinked_ticket_are_not_offered(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    work()
    left_out(client, linked, work, 1)
    itop.store.update("UserRequest", 8, intercom_ref="", intercom_sync_activated="no")
    TicketLink.objects.filter(ticket__ref="R-000008").delete()
    linked.open().click("Copy them now")
    work()
    assert new_entries(itop) == []
    assert itop.store.log(6)[-1]["message"] == "<p>50</p>"


def test_messages_of_bots_are_not_offered(client: Client, linked: Teammate, work: Work) -> None:
    linked.open().click("Pause sync")
    bot = {"type": "bot", "id": "1", "name": "Fin", "email": ""}
    notify(client, part(37358198350, "<p>I am a bot</p>", bot))
    work()
    linked.open().click("Resume sync")
    assert "left out" not in linked.text


def test_a_message_deleted_by_retention_is_not_offered(client: Client, linked: Teammate, work: Work) -> None:
    left_out(client, linked, work, 1)
    Delivery.objects.update(part={}, cleaned_at=timezone.now())
    assert not linked.open().offers("Copy them now")


# Failures


def test_home_displays_the_failure_count_and_the_last_reason(linked: Teammate) -> None:
    failed()
    linked.open()
    assert "2 messages could not be copied: The ticket's log is full" in linked.text
    assert linked.offers("Find a ticket") and linked.click("Sync status").offers("Try again")


def test_the_last_reason_is_that_of_the_latest_failure(linked: Teammate) -> None:
    failed()
    newest = Delivery.objects.order_by("pk")[0]
    newest.last_failed_at = timezone.now()
    newest.save()
    assert "an earlier reason" in linked.open().text


def test_retried_messages_are_written(linked: Teammate, itop: Itop, work: Work) -> None:
    failed()
    Delivery.objects.update(reason_code="rejected")
    linked.open().click("Try again")
    assert "2 messages waiting" in linked.text and not linked.offers("Try again")
    assert set(Delivery.objects.values_list("state", "solo_failures")) == {("waiting", 0)}
    work()
    assert new_entries(itop) == ["<p>failed 0</p>", "<p>failed 1</p>"]


def test_failures_of_another_conversation_are_not_retried(linked: Teammate) -> None:
    failed()
    Delivery.objects.update(conversation=linked_elsewhere())
    linked.open()
    assert "could not be copied" not in linked.text
    linked.send_click("try-again")
    assert set(Delivery.objects.values_list("state", flat=True)) == {"failed"}


def test_an_action_is_applied_and_displayed_while_itop_is_away(
    linked: Teammate, itop: Itop, time_machine: Any
) -> None:
    failed()
    Delivery.objects.update(reason_code="rejected")
    linked.open()
    itop.faults.away = True
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=21))
    linked.click("Try again")
    assert "Sync status" in linked.text and "Nothing was changed" not in linked.text
    assert set(Delivery.objects.values_list("state", flat=True)) == {"waiting"}
    linked.click("Pause sync")
    assert "Sync is paused" in linked.text and linked.offers("Resume sync")


def linked_elsewhere() -> Any:
    workspace = TicketLink.objects.get().conversation.workspace
    return workspace.conversations.create(conversation_id="another")


# Counts


def test_the_number_of_written_messages_and_the_last_date_are_on_the_sync_page_only(
    client: Client, linked: Teammate, work: Work
) -> None:
    say(client, *range(50, 64))
    work()
    assert "14 of 14 messages" not in linked.open().text
    assert "14 of 14 messages copied to R-000008, last on 21 Jan 2026 17:10" in linked.click("Sync on").text


def test_waiting_and_failed_messages_are_part_of_the_total(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 50, 51)
    work()
    failed()
    itop.faults.away = True
    say(client, 52)
    work()
    itop.faults.away = False
    linked.open()
    assert "2 of 5 messages copied to R-000008" in linked.click("Sync status").text
    assert "1 waiting, 2 could not be copied" in linked.text


def test_skipped_messages_are_not_part_of_the_total(client: Client, linked: Teammate, work: Work) -> None:
    say(client, 49)
    work()
    left_out(client, linked, work, 3)
    assert "1 of 1 message copied to R-000008" in linked.click("Sync on").text
    assert "3 messages were left out" in linked.text


def test_the_sync_page_has_one_line_per_ticket(client: Client, linked: Teammate, work: Work) -> None:
    say(client, 49)
    work()
    linked.link("R-000006")
    say(client, 50, 51)
    work()
    failed_in("R-000006")
    linked.open().click("Sync status")
    assert "3 of 3 messages copied to R-000008, last on" in linked.text
    assert "3 of 4 messages copied to R-000006, last on" in linked.text


def test_a_ticket_without_messages_is_reported(linked: Teammate) -> None:
    assert "No message for R-000008 yet" in linked.open().click("Sync on").text


def test_messages_of_a_removed_link_are_excluded(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 49)
    work()
    linked.link("R-000006")
    failed_in("R-000008")
    itop.store.update("UserRequest", 8, intercom_ref="", intercom_sync_activated="no")
    TicketLink.objects.filter(ticket__ref="R-000008").delete()
    linked.open()
    assert "could not be copied" not in linked.text and "R-000008" not in linked.text
    linked.send_click("try-again")
    assert Delivery.objects.filter(state="failed").count() == 1


def failed_in(ref: str) -> None:
    link = TicketLink.objects.get(ticket__ref=ref)
    Delivery.objects.create(
        ticket=link.ticket,
        conversation=link.conversation,
        kind="part",
        part_id="37358198399",
        part_created_at=1_768_999_990,
        state="failed",
        reason_code="rejected",
        reason_detail="for this reason",
    )


def test_hundreds_of_tickets_fit_the_sync_page(linked: Teammate) -> None:
    link = TicketLink.objects.get()
    for number in range(200):
        ticket = Ticket.objects.create(
            itop=link.ticket.itop, ticket_class="UserRequest", object_id=1000 + number, ref="R" * 100
        )
        TicketLink.objects.create(conversation=link.conversation, ticket=ticket)
    linked.open().click("Sync on")
    assert "and 181 more tickets" in linked.text


# The sync page


def test_the_sync_page_displays_details_and_offers_all_actions(
    client: Client, linked: Teammate, work: Work
) -> None:
    say(client, 49)
    work()
    left_out(client, linked, work, 3)
    failed()
    linked.open().click("Sync status")
    for text in (
        "Sync status",
        "Sync is on: new messages are copied to the linked tickets.",
        "R-000008**: 1 message could not be copied. The ticket's log is full",
        "1 message could not be copied. iTop rejected the request. (an earlier reason)",
        "3 messages were left out while sync was paused",
        "1 of 3 messages copied to R-000008, last on",
        "2 could not be copied",
    ):
        assert text in linked.text
    for text in ("Try again", "Copy them now", "Leave them out", "Pause sync", "Back"):
        assert linked.offers(text)
    linked.click("Back")
    assert "Alice Martin" in linked.text


def test_the_sync_page_explains_waiting_messages(
    linked: Teammate, client: Client, itop: Itop, work: Work
) -> None:
    itop.faults.away = True
    say(client, 50)
    work()
    itop.faults.away = False
    linked.open()
    assert "1 message waiting" in linked.text
    TicketLink.objects.get().ticket.itop.refresh_from_db()
    linked.click("Sync on")
    assert "0 of 1 message copied to R-000008, 1 waiting" in linked.text
    assert "iTop has a problem, so messages wait" in linked.text or "Last attempt:" in linked.text


def test_messages_that_no_worker_has_processed_are_waiting(
    linked: Teammate, client: Client, work: Work
) -> None:
    say(client, 50, 51)
    # A notification without a message.
    notify(client, topic="conversation.admin.closed", notification_id="closed")
    assert not Delivery.objects.exists()
    linked.open()
    assert "2 messages waiting" in linked.text
    linked.click("Sync on")
    assert "0 of 2 messages copied to R-000008, 2 waiting" in linked.text
    work()
    assert "waiting" not in linked.open().text
    linked.click("Sync on")
    assert "2 of 2 messages copied to R-000008" in linked.text


def test_messages_that_arrive_during_a_pause_are_not_waiting(
    linked: Teammate, client: Client, time_machine: Any
) -> None:
    time_machine.move_to(timezone.now())
    linked.open().click("Pause sync")
    say(client, 50)
    assert "waiting" not in linked.open().text
    time_machine.shift(2)
    linked.click("Resume sync")
    assert "waiting" not in linked.open().text


def test_messages_that_arrived_before_the_link_are_not_waiting(
    teammate: Teammate, client: Client, itop: Itop
) -> None:
    say(client, 50)
    store_link(teammate, itop, "R-000008")
    assert "waiting" not in teammate.open().text


def test_actions_on_the_sync_page_stay_on_it(linked: Teammate) -> None:
    linked.open().click("Sync on").click("Pause sync")
    assert "Sync status" in linked.text and "new messages are not copied" in linked.text
    linked.click("Resume sync")
    assert "Sync status" in linked.text and "Sync is on" in linked.text
    linked.click("Back").click("Pause sync")
    assert "Create a ticket" in linked.text


def test_with_a_single_ticket_nothing_is_counted_twice(linked: Teammate, client: Client) -> None:
    say(client, 50)
    assert process_batch()
    linked.open().click("Sync on")
    assert linked.text.casefold().count("waiting") == 1


def test_a_deleted_ticket_offers_no_retry(linked: Teammate, client: Client, itop: Itop, work: Work) -> None:
    itop.store.remove("UserRequest", 8)
    say(client, 50)
    work()
    linked.open()
    assert "1 message could not be copied: The ticket no longer exists in iTop." in linked.text
    assert not linked.offers("Try again")
    linked.click("Sync status")
    assert not linked.offers("Try again") and linked.offers("Unlink R-000008")


def test_a_restored_ticket_offers_a_retry(
    linked: Teammate, client: Client, itop: Itop, work: Work, time_machine: Any
) -> None:
    row = itop.store.load("UserRequest", 8)
    assert row is not None
    itop.store.remove("UserRequest", 8)
    say(client, 50)
    work()
    assert not linked.open().offers("Try again")
    itop.store.insert_row(row)
    half_a_minute_passes(time_machine)
    linked.open()
    work()
    linked.open().click("Try again")
    work()
    assert len(new_entries(itop)) == 1


def test_a_link_paused_on_its_own_is_named_and_can_be_resumed(linked: Teammate) -> None:
    linked.open().link("R-000006")
    TicketLink.objects.get(ticket__ref="R-000006").switch(on=False, at=1_900_000_000)
    assert "Copying paused for 1 ticket" in linked.open().text
    linked.click("Sync on")
    assert "paused for R-000006: new messages are not copied to those" in linked.text
    linked.click("Resume sync")
    assert "new messages are copied to the linked tickets" in linked.text
    assert TicketLink.objects.syncing().count() == 2


def test_the_sync_page_without_a_linked_ticket_is_reported(teammate: Teammate) -> None:
    teammate.open().send_click("sync")
    assert "No ticket is linked to this conversation" in teammate.text
    assert teammate.offers("Back")


@pytest.mark.parametrize("verb", ["try-again", "write-left-out", "forget-left-out", "pause", "resume"])
def test_sync_actions_without_a_linked_ticket_cause_no_error(teammate: Teammate, verb: str) -> None:
    teammate.open().send_click(verb)
    assert "Alice Martin" in teammate.text


# The height of the first screen

REASON = "iTop refused it: Unexpected value for attribute 'Public log' (public_log): " + "very long " * 40


def test_a_typical_home_screen_displays_everything(
    client: Client, linked: Teammate, heights: list[int], work: Work
) -> None:
    say(client, 49)
    work()
    linked.open()
    assert "R-000008 · Screen flickers\nAssigned" in linked.text and "matched by e-mail" in linked.text
    left_out(client, linked, work, 5)
    assert linked.offers("Copy them now") and "Acme Corp" in linked.text
    assert max(heights) <= MAX_FIRST_SCREEN_HEIGHT


def test_a_sync_page_with_every_problem_is_a_valid_canvas(linked: Teammate) -> None:
    failed(3, REASON)
    conversation = TicketLink.objects.get().conversation
    conversation.reconcile_code, conversation.reconcile_detail = "intercom_rejected", "**" + REASON
    conversation.save()
    itop = TicketLink.objects.get().ticket.itop
    itop.paused_until = timezone.now() + dt.timedelta(minutes=5)
    itop.pause_code, itop.pause_detail = "itop_unavailable", "[x](https://evil.example)"
    itop.save()
    linked.open().send_click("sync")
    assert "The bridge could not ask Intercom for missing messages" in linked.text
    assert "](https://evil" not in linked.text
