"""Tickets on the panel: found, shown, linked, unlinked, moved after a merge, and gone."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from intercom_bridge.models import TicketLink, Workspace
from sandbox.itop import Itop
from tests.browser import browser_test
from tests.teammate import half_a_minute_passes

from . import inbox as words
from .inbox import Inbox
from .logs import messages

pytestmark = browser_test


def linked_conversations() -> list[str]:
    found = TicketLink.objects.order_by("pk").values_list("conversation__conversation_id", flat=True)
    return list(found)


# Find


def test_a_ticket_is_found_by_its_reference_number_or_title(inbox: Inbox) -> None:
    inbox.open("Alice Martin").click(words.FIND)
    for typed in ("8", "R-000008", "r-8", "flickers screen"):
        inbox.press_enter_in(words.WORDS_TO_FIND, typed)
        assert len(inbox.lines) == 1 and inbox.lines[0].startswith("R-000008"), typed


def test_going_back_from_a_ticket_shows_the_search_results(inbox: Inbox) -> None:
    inbox.open("Alice Martin").search("vpn down").sees("VPN [down](again)")
    inbox.click("VPN")
    assert inbox.offers(words.LINK)
    inbox.click(words.BACK).sees("VPN [down](again)")
    assert inbox.value(words.WORDS_TO_FIND) == "vpn down"


def test_search_results_are_shown_ten_per_page(inbox: Inbox, itop: Itop) -> None:
    for number in range(23):
        itop.store.insert(
            "UserRequest",
            ref=f"R-{700 + number:06d}",
            title=f"Barcode reader {number}",
            org_id=4,
            caller_id=41,
            status="new",
            start_date="2026-11-20 10:00:00",
        )
    inbox.open("Alice Martin").search("barcode").sees("Page 1 of 3")
    seen = inbox.lines
    inbox.click(words.NEXT).sees("Page 2 of 3")
    seen += inbox.lines
    inbox.click(words.NEXT).sees("Page 3 of 3")
    assert not inbox.offers(words.NEXT)
    seen += inbox.lines
    assert len(seen) == len(set(seen)) == 23
    inbox.click(words.PREVIOUS).sees("Page 2 of 3")
    inbox.click("R-0007").click(words.BACK).sees("Page 2 of 3")


def test_a_search_without_a_result_says_so_and_can_be_repeated(inbox: Inbox) -> None:
    inbox.open("Alice Martin").search("no such words")
    assert inbox.lines == []
    inbox.press_enter_in(words.WORDS_TO_FIND, "R-000008").sees("R-000008")


# See


def test_a_ticket_shows_its_attributes_last_messages_and_links_to_itop(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").see_ticket("R-000008")
    for said in (
        "Status",
        "Assigned",
        "Agent",
        "Jules Verne",
        "Can you send a picture?",
        "probably the cable",
    ):
        inbox.sees(said)
    with inbox.page.expect_popup() as opened:
        inbox.panel.get_by_role("link", name="Open in iTop", exact=True).click()
    assert opened.value.url.startswith(itop.url)
    assert len(inbox.panel.get_by_role("link").all()) == 2


# Link and unlink


def test_linking_and_unlinking_are_noted_in_the_thread_with_the_teammate(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").link("R-000008").reads_note("Ada Reyes", "linked", "R-000008")
    inbox.go_home()
    inbox.click("R-000008").click(words.UNLINK).click(words.UNLINK).sees("R-000008")
    assert linked_conversations() == []
    # The note waits a minute, because unlinking can be undone.
    time_machine.move_to(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=61))
    inbox.reads_note("Ada Reyes", "unlinked", "R-000008")
    inbox.say("While nobody listens")
    assert "While nobody listens" not in messages(itop, 8)[-1]
    inbox.click(words.UNDO).sees("R-000008")
    inbox.work()
    assert "While nobody listens" in messages(itop, 8)[-1]
    inbox.go_home()
    inbox.sees(words.LINKED)


def test_earlier_messages_are_copied_on_request(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").see_ticket("R-000008").click(words.LINK).click(words.LINK_AND_COPY)
    inbox.work()
    assert any("My laptop does not start any more" in message for message in messages(itop, 8))
    inbox.reload().sees(words.LINKED)


def test_linking_a_ticket_of_another_conversation_asks_first(inbox: Inbox) -> None:
    inbox.open("Alice Martin").link("R-000008")
    inbox.open("Bob Durand").search("R-000008").sees(words.LINKED_TO_OTHERS)
    inbox.click("R-000008").sees(words.LINKED_TO_OTHERS)
    inbox.click(words.LINK).sees(re.compile("1 other conversation"))
    alices = inbox.intercom.conversation_of("Alice Martin").id
    assert inbox.panel.get_by_role("link", name=alices).get_attribute("href").endswith(alices)
    assert linked_conversations() == [alices]
    inbox.click(words.FROM_NOW_ON).sees("R-000008")
    assert linked_conversations() == [alices, inbox.intercom.conversation_of("Bob Durand").id]


def test_messages_of_two_conversations_go_into_their_common_ticket(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008")
    inbox.open("Bob Durand").search("R-000008").click("R-000008").click(words.LINK).click(words.FROM_NOW_ON)
    inbox.say("Mine flickers too")
    inbox.open("Alice Martin").say("Mine still does")
    assert ["flickers too" in messages(itop, 8)[-2], "still does" in messages(itop, 8)[-1]] == [True, True]


# Move


def test_the_link_of_a_merged_conversation_is_moved(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000008").merge("Alice Martin", into="Chloé D'Arcy")
    inbox.reload().sees(words.MERGED_AWAY)
    inbox.work()
    inbox.open("Chloé D'Arcy").click(words.MERGED_IN).sees("R-000008")
    inbox.click(words.MOVE).sees("R-000008")
    assert linked_conversations() == [inbox.intercom.conversation_of("Chloé D'Arcy").id]
    inbox.reads_note("Ada Reyes", "moved", "R-000008", "here")
    inbox.go_home()
    inbox.sees(words.LINKED)
    assert words.MERGED_IN not in inbox.text
    inbox.say("I write here now")
    assert "I write here now" in messages(itop, 8)[-1]
    inbox.open("Alice Martin")
    assert words.MERGED_AWAY not in inbox.text


def test_a_link_is_moved_by_entering_the_other_conversation(inbox: Inbox) -> None:
    target = inbox.intercom.conversation_of("Chloé D'Arcy").id
    inbox.open("Alice Martin").link("R-000008").merge("Alice Martin", into="Chloé D'Arcy")
    inbox.reload().click(words.MERGED_AWAY)
    # Bob's was merged with nothing.
    inbox.press_enter_in(words.OTHER_CONVERSATION, inbox.intercom.conversation_of("Bob Durand").id)
    assert inbox.is_marked(words.OTHER_CONVERSATION)
    assert linked_conversations() == [inbox.intercom.conversation_of("Alice Martin").id]
    address = f"https://app.intercom.com/a/inbox/abcd1234/inbox/shared/all/conversation/{target}"
    inbox.press_enter_in(words.OTHER_CONVERSATION, address).sees("R-000008")
    assert linked_conversations() == [target]
    inbox.open("Chloé D'Arcy").sees(words.LINKED)


# Gone


def test_a_ticket_deleted_in_itop_is_reported_and_can_be_unlinked(
    inbox: Inbox, itop: Itop, time_machine: Any
) -> None:
    inbox.open("Alice Martin").link("R-000008")
    itop.store.remove("UserRequest", 8)
    half_a_minute_passes(time_machine)
    inbox.reload().sees(re.compile("no longer in iTop", re.I))
    inbox.click("R-000008").click(words.UNLINK)
    assert linked_conversations() == []
    inbox.go_home()
    assert not inbox.offers(words.LINKED)


def test_after_a_write_to_a_deleted_ticket_the_sync_status_offers_to_unlink_it(
    inbox: Inbox, itop: Itop
) -> None:
    inbox.open("Alice Martin").link("R-000008")
    itop.store.remove("UserRequest", 8)
    inbox.say("Is anybody there?").reload().click(words.SYNC).sees(re.compile("R-000008.*no longer in iTop"))
    inbox.click(words.UNLINK)
    assert linked_conversations() == []


def test_a_ticket_outside_the_scope_is_not_found(inbox: Inbox, workspace: Workspace) -> None:
    workspace.scope = "SELECT Organization WHERE name LIKE 'Acme%'"
    workspace.save()
    inbox.open("Alice Martin").search("vpn down")
    assert inbox.lines == []
