"""What the panel says and offers about messages that are not in iTop."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.canvas.components import FIRST_SCREEN_HEIGHT
from intercom_bridge.canvas.screens import home as screen
from intercom_bridge.desk import Desk, SyncStatus
from intercom_bridge.models import Delivery, PersonMatch, Ticket, TicketLink
from intercom_bridge.sync.intake import take_in_batch
from sandbox.itop import Itop
from tests.teammate import Teammate, half_a_minute_passes, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(teammate: Teammate, work: Work) -> Teammate:
    """A teammate whose conversation is linked to R-000008 from now on."""
    teammate.link("R-000008")
    work()
    return teammate


@pytest.fixture
def heights() -> Iterator[list[int]]:
    """The heights of the first screens that are shown."""
    seen: list[int] = []
    original = screen.Canvas

    def measured(**parts: Any) -> Any:
        canvas = original(**parts)
        seen.append(canvas.height())
        return canvas

    screen.Canvas = measured  # type: ignore[misc,assignment]
    yield seen
    screen.Canvas = original  # type: ignore[misc]


def new_entries(itop: Itop) -> list[str]:
    return [one["message"] for one in itop.store.log(8)][3:]


def say(client: Client, *numbers: int) -> None:
    for number in numbers:
        notify(client, part(37358198300 + number, f"<p>{number}</p>"))


def left_out(client: Client, linked: Teammate, work: Work, count: int) -> None:
    """So many messages come while the sync is paused; then it is on again."""
    linked.open().click("Pause the sync")
    say(client, *range(50, 50 + count))
    work()
    linked.open().click("Resume the sync")


def failed(
    count: int = 2, reason: str = "The ticket's log is full: iTop keeps about 300 entries in one."
) -> None:
    """So many messages of the conversation could not be written to R-000008, the last one for this reason."""
    link = TicketLink.objects.get()
    for number in range(count):
        Delivery.objects.create(
            ticket=link.ticket,
            conversation=link.conversation,
            kind="part",
            part_id=str(37358198390 + number),
            part_created_at=1_768_999_000 + number,
            state="failed",
            reason=reason if number == count - 1 else "an earlier reason",
            log="public_log",
            strikes=5,
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


def test_after_resume_home_offers_what_was_left_out(client: Client, linked: Teammate, work: Work) -> None:
    left_out(client, linked, work, 5)
    assert "5 messages were left out while the sync was paused" in linked.text
    assert linked.offers("Write them now") and linked.offers("Leave them out")


def test_one_message_is_spoken_of_as_one(client: Client, linked: Teammate, work: Work) -> None:
    left_out(client, linked, work, 1)
    assert "1 message was left out while the sync was paused" in linked.text


def test_while_it_is_paused_it_is_counted_and_not_offered(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.open().click("Pause the sync")
    say(client, 50, 51)
    work()
    linked.open()
    assert "The sync is paused" in linked.text and "2 left out so far" in linked.text
    assert not linked.offers("Write them now")


def test_what_was_left_out_can_be_written_after_all_in_order_and_once(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    left_out(client, linked, work, 3)
    linked.click("Write them now")
    assert "3 waiting" in linked.text and not linked.offers("Write them now")
    linked.again()
    work()
    assert new_entries(itop) == ["<p>50</p>", "<p>51</p>", "<p>52</p>"]
    assert set(Delivery.objects.values_list("state", "reason")) == {("written", "")}
    say(client, 50)
    work()
    assert len(new_entries(itop)) == 3


def test_what_is_to_stay_left_out_is_not_offered_again(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    left_out(client, linked, work, 2)
    linked.click("Leave them out")
    assert "left out" not in linked.text
    work()
    assert new_entries(itop) == []
    assert set(Delivery.objects.values_list("state", "reason")) == {
        ("skipped", "left out while the sync was paused")
    }
    left_out(client, linked, work, 4)  # Two of them are known already.
    assert "2 messages were left out" in linked.text


def test_messages_for_two_tickets_are_counted_once_and_written_to_both(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    work()
    left_out(client, linked, work, 1)
    assert "1 message was left out" in linked.text
    linked.click("Write them now")
    work()
    assert new_entries(itop) == ["<p>50</p>"]
    assert itop.store.log(6)[-1]["message"] == "<p>50</p>"


def test_what_a_ticket_lacks_that_is_no_longer_linked_is_not_offered(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    linked.link("R-000006")
    work()
    left_out(client, linked, work, 1)
    itop.store.update("UserRequest", 8, intercom_ref="", intercom_sync_activated="no")
    TicketLink.objects.filter(ticket__ref="R-000008").delete()
    linked.open().click("Write them now")
    work()
    assert new_entries(itop) == []
    assert itop.store.log(6)[-1]["message"] == "<p>50</p>"


def test_what_nobody_wrote_is_not_offered(client: Client, linked: Teammate, work: Work) -> None:
    linked.open().click("Pause the sync")
    bot = {"type": "bot", "id": "1", "name": "Fin", "email": ""}
    notify(client, part(37358198350, "<p>I am a bot</p>", bot))
    work()
    linked.open().click("Resume the sync")
    assert "left out" not in linked.text


def test_a_message_that_is_no_longer_kept_is_not_offered(
    client: Client, linked: Teammate, work: Work
) -> None:
    left_out(client, linked, work, 1)
    Delivery.objects.update(part={}, cleaned_at=timezone.now())
    assert not linked.open().offers("Write them now")


# What could not be written


def test_home_says_how_many_failed_and_why_the_last_one_did(linked: Teammate) -> None:
    failed()
    linked.open()
    assert "2 messages could not be written: The ticket's log is full" in linked.text
    assert linked.offers("Try again")


def test_the_last_one_is_the_one_that_failed_last(linked: Teammate) -> None:
    failed()
    newest = Delivery.objects.order_by("pk")[0]
    newest.last_failed_at = timezone.now()
    newest.save()
    assert "an earlier reason" in linked.open().text


def test_try_again_puts_them_back_and_they_are_written(linked: Teammate, itop: Itop, work: Work) -> None:
    failed()
    linked.open().click("Try again")
    assert "2 waiting" in linked.text and not linked.offers("Try again")
    assert set(Delivery.objects.values_list("state", "strikes")) == {("waiting", 0)}
    work()
    assert new_entries(itop) == ["<p>failed 0</p>", "<p>failed 1</p>"]


def test_what_failed_in_another_conversation_is_left_alone(linked: Teammate) -> None:
    failed()
    Delivery.objects.update(conversation=linked_elsewhere())
    linked.open()
    assert "could not be written" not in linked.text
    linked.send_click("try-again")
    assert set(Delivery.objects.values_list("state", flat=True)) == {"failed"}


def test_a_decision_counts_and_is_shown_although_itop_cannot_answer(
    linked: Teammate, itop: Itop, time_machine: Any
) -> None:
    failed()
    linked.open()
    itop.faults.away = True
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=21))
    linked.click("Try again")
    assert "How the sync stands" in linked.text and "Nothing was changed" not in linked.text
    assert set(Delivery.objects.values_list("state", flat=True)) == {"waiting"}
    linked.click("Pause the sync")
    assert "The sync is paused" in linked.text and linked.offers("Resume the sync")


def linked_elsewhere() -> Any:
    workspace = TicketLink.objects.get().conversation.workspace
    return workspace.conversations.create(conversation_id="another")


# How many of how many


def test_home_says_how_many_of_how_many_are_in_the_ticket_and_since_when(
    client: Client, linked: Teammate, work: Work
) -> None:
    say(client, *range(50, 64))
    work()
    assert "14 of 14 messages in R-000008, the last on 21 Jan 2026 17:10" in linked.open().text


def test_what_waits_and_what_failed_is_among_the_how_many(
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
    assert "2 of 5 messages in R-000008" in linked.click("The sync is on").text
    assert "1 waiting, 2 could not be written" in linked.text


def test_what_is_left_out_is_not_among_them(client: Client, linked: Teammate, work: Work) -> None:
    say(client, 49)
    work()
    left_out(client, linked, work, 3)
    assert "1 of 1 message in R-000008" in linked.click("The sync is on").text
    assert "3 messages were left out" in linked.text


def test_with_several_tickets_home_sums_up_and_the_page_has_a_line_for_each(
    client: Client, linked: Teammate, work: Work
) -> None:
    say(client, 49)
    work()
    linked.link("R-000006")
    say(client, 50, 51)
    work()
    failed_in("R-000006")
    assert "3 of 4 messages in 2 tickets" in linked.open().text
    linked.click("The sync is on")
    assert "3 of 3 messages in R-000008, the last on" in linked.text
    assert "3 of 4 messages in R-000006, the last on" in linked.text


def test_a_ticket_without_messages_says_so(linked: Teammate) -> None:
    assert "No message for R-000008 yet" in linked.open().click("The sync is on").text


def test_the_messages_of_an_undone_link_are_nobodys_concern(
    client: Client, linked: Teammate, itop: Itop, work: Work
) -> None:
    say(client, 49)
    work()
    linked.link("R-000006")
    failed_in("R-000008")
    itop.store.update("UserRequest", 8, intercom_ref="", intercom_sync_activated="no")
    TicketLink.objects.filter(ticket__ref="R-000008").delete()
    linked.open()
    assert "could not be written" not in linked.text and "R-000008" not in linked.text
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
        reason="for this reason",
    )


def test_very_many_tickets_fit_the_page(linked: Teammate) -> None:
    link = TicketLink.objects.get()
    for number in range(200):
        ticket = Ticket.objects.create(
            itop=link.ticket.itop, ticket_class="UserRequest", object_id=1000 + number, ref="R" * 100
        )
        TicketLink.objects.create(conversation=link.conversation, ticket=ticket)
    linked.open().click("The sync is on")
    assert "and 181 more tickets" in linked.text


# The page behind it


def test_the_page_tells_the_rest_and_offers_the_same(client: Client, linked: Teammate, work: Work) -> None:
    say(client, 49)
    work()
    left_out(client, linked, work, 3)
    failed()
    linked.open().click("The sync is on")
    for words in (
        "How the sync stands",
        "The sync is on: each new message goes into the linked tickets.",
        "R-000008**: 1 message could not be written. The ticket's log is full: iTop keeps about 300 entries in one.",
        "1 message could not be written. an earlier reason",
        "3 messages were left out while the sync was paused",
        "1 of 3 messages in R-000008, the last on",
        "2 could not be written",
    ):
        assert words in linked.text
    for words in ("Try again", "Write them now", "Leave them out", "Pause the sync", "Back"):
        assert linked.offers(words)
    linked.click("Back")
    assert "Alice Martin" in linked.text


def test_the_page_says_why_messages_wait(linked: Teammate, client: Client, itop: Itop, work: Work) -> None:
    itop.faults.away = True
    say(client, 50)
    work()
    itop.faults.away = False
    linked.open()
    assert "1 waiting" in linked.text
    TicketLink.objects.get().ticket.itop.refresh_from_db()
    linked.click("The sync is on")
    assert "0 of 1 message in R-000008, 1 waiting" in linked.text
    assert "iTop is in trouble, so messages wait" in linked.text or "The last time:" in linked.text


def test_what_is_pressed_on_the_page_is_answered_there(linked: Teammate) -> None:
    linked.open().click("The sync is on").click("Pause the sync")
    assert "How the sync stands" in linked.text and "new messages are left out" in linked.text
    linked.click("Resume the sync")
    assert "How the sync stands" in linked.text and "The sync is on" in linked.text
    linked.click("Back").click("Pause the sync")
    assert "Create a ticket" in linked.text


def test_with_one_ticket_nothing_is_counted_twice(linked: Teammate, client: Client) -> None:
    say(client, 50)
    assert take_in_batch()
    linked.open().click("The sync is on")
    assert linked.text.casefold().count("waiting") == 1


def test_for_a_ticket_that_is_gone_no_other_try_is_offered(
    linked: Teammate, client: Client, itop: Itop, work: Work
) -> None:
    itop.store.remove("UserRequest", 8)
    say(client, 50)
    work()
    linked.open()
    assert "1 message could not be written: The ticket no longer exists in iTop." in linked.text
    assert not linked.offers("Try again")
    linked.click("The sync is on")
    assert not linked.offers("Try again") and linked.offers("Unlink R-000008")


def test_once_a_ticket_is_there_again_another_try_is_offered(
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
    linked.open().click("Try again")
    work()
    assert len(new_entries(itop)) == 1


def test_a_link_whose_own_sync_is_paused_is_named_and_can_be_resumed(linked: Teammate) -> None:
    linked.click("Done").click("ongoing tickets").click("R-000006").click("Link to this conversation")
    if linked.offers("Link from now on"):
        linked.click("Link from now on")
    TicketLink.objects.get(ticket__ref="R-000006").switch(on=False, at=1_900_000_000)
    assert "Paused for 1 ticket" in linked.open().text
    linked.click("The sync is on")
    assert "paused for R-000006: new messages do not go into those" in linked.text
    linked.click("Resume the sync")
    assert "each new message goes into the linked tickets" in linked.text
    assert TicketLink.objects.syncing().count() == 2


def test_the_page_without_a_linked_ticket_says_so(teammate: Teammate) -> None:
    teammate.open().send_click("sync")
    assert "No ticket is linked to this conversation" in teammate.text
    assert teammate.offers("Back")


@pytest.mark.parametrize("verb", ["try-again", "write-left-out", "forget-left-out", "pause", "resume"])
def test_without_a_linked_ticket_no_button_breaks(teammate: Teammate, verb: str) -> None:
    teammate.open().send_click(verb)
    assert "Alice Martin" in teammate.text


# The height of the first screen

LONG = "Bartholomäus Maximilian von und zu Hohenlohe-Schillingsfürst the Third"
WIDE = "株式会社エイビーシーデザイン研究所の山田太郎" * 3
REASON = "iTop refused it: Unexpected value for attribute 'Public log' (public_log): " + "very long " * 40


@pytest.mark.parametrize("name", ["Alice Martin", LONG, WIDE])
@pytest.mark.parametrize("is_on", [True, False])
def test_home_fits_whatever_there_is_to_say(
    linked: Teammate, heights: list[int], monkeypatch: pytest.MonkeyPatch, name: str, is_on: bool
) -> None:
    PersonMatch.objects.update(name=name, org_name=name)
    last_at = dt.datetime(2026, 11, 22, 11, 55, tzinfo=dt.UTC)
    for reason, count, how, refs in itertools.product(
        ("", "short", REASON, WIDE * 4),
        (0, 1, 999),
        PersonMatch.How.values,
        (("R-000008",), (WIDE,), ("R-000008", "R-000006")),
    ):
        status = SyncStatus(
            on=is_on,
            refs=refs,
            total=3232,
            written=1234,
            waiting=count,
            left_out=count,
            failed=999 if reason else 0,
            retriable=999 if reason else 0,
            last_at=last_at,
            last_failure=reason,
        )
        monkeypatch.setattr(Desk, "sync_status", lambda _desk, status=status: status)
        PersonMatch.objects.update(how=how)
        linked.open()
        assert heights[-1] <= FIRST_SCREEN_HEIGHT
        assert not [one for one in linked.components if one.get("style") == "primary"]
        assert linked.offers("Pause the sync" if is_on else "Resume the sync")
        assert linked.offers("Try again") is bool(reason)
        assert linked.offers("Create a ticket") and linked.offers("The sync is")
        # Where there is no room for the offer, the way to it says how many there are.
        assert not count or linked.offers("Write them now") or f"{count} left out so far" in linked.text


def test_in_an_ordinary_case_there_is_room_for_everything(
    client: Client, linked: Teammate, heights: list[int], work: Work
) -> None:
    say(client, 49)
    work()
    linked.open()
    assert (
        "1 of 1 message in R-000008, the last on 21 Jan 2026 17:07" in linked.text
        and "found by e-mail" in linked.text
    )
    left_out(client, linked, work, 5)
    assert linked.offers("Write them now") and "Acme Corp" in linked.text
    assert max(heights) <= FIRST_SCREEN_HEIGHT


def test_a_page_with_everything_is_a_valid_canvas(linked: Teammate) -> None:
    failed(3, REASON)
    conversation = TicketLink.objects.get().conversation
    conversation.reconcile_trouble = "**" + REASON
    conversation.save()
    itop = TicketLink.objects.get().ticket.itop
    itop.paused_until, itop.pause_reason = (
        timezone.now() + dt.timedelta(minutes=5),
        "[x](https://evil.example)",
    )
    itop.save()
    linked.open().send_click("sync")
    assert "Intercom could not be asked whether a message is missing" in linked.text
    assert "](https://evil" not in linked.text
