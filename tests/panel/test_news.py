"""The panel shows what is new in iTop and when it was last checked, and lets a teammate send it to the customer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from intercom_bridge.connections import itop_client
from intercom_bridge.events.compare import digest
from intercom_bridge.models import (
    CachedTickets,
    Conversation,
    EventRules,
    ItopPoll,
    OutgoingMessage,
    Ticket,
    TicketEvent,
    TicketLink,
    TicketSnapshot,
    Workspace,
)
from itop_client import LogEntry, read_log
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate

Work = Callable[[], None]
NOW = dt.datetime(2026, 11, 28, 15, 58, tzinfo=dt.UTC)
BEN = {"type": "admin", "id": "9608800", "name": "Ben Cole", "email": "ben@acme.example"}


@pytest.fixture
def linked(talking: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    store_link(talking, itop, "R-000008")
    return talking


@pytest.fixture
def closed(linked: Teammate, itop: Itop) -> Teammate:
    itop.store.update("UserRequest", 8, status="closed")
    CachedTickets.objects.all().delete()
    return linked


def happen(kind: str = "public_entry", **fields: Any) -> TicketEvent:
    """Store a change of R-000008, as a poll does."""
    link = TicketLink.objects.get(ticket__ref="R-000008")
    number = TicketEvent.objects.count()
    defaults: dict[str, Any] = {
        "key": f"public_log:{number}:digest{number}",
        "happened_at": NOW,
        "author_name": "Lea Novak",
        "content": "<p>The export works again.</p>",
    }
    return TicketEvent.objects.create(
        ticket=link.ticket, conversation=link.conversation, kind=kind, **defaults | fields
    )


def resolve(solution: str = "<p>Restarted the export service.</p>", status: str = "resolved") -> None:
    """Let the last poll have found a solution of R-000008."""
    ticket = TicketLink.objects.get(ticket__ref="R-000008").ticket
    TicketSnapshot.objects.update_or_create(ticket=ticket, defaults={"solution": solution, "status": status})


def message_to_customer() -> OutgoingMessage:
    return OutgoingMessage.objects.get(is_note=False)


def colleague(teammate: Teammate) -> Teammate:
    """Return another teammate at the same conversation."""
    other = Teammate(teammate.client, **teammate.conversation)
    other.admin = BEN
    return other


def public_log() -> tuple[LogEntry, ...]:
    ticket = TicketLink.objects.get().ticket
    found = itop_client(ticket.itop).get(ticket.ticket_class, ticket.object_id, fields=["public_log"])
    return read_log(next(iter(found)).fields["public_log"])


# What is new


def test_the_first_screen_shows_the_newest_change_without_a_further_call(
    linked: Teammate, itop: Itop
) -> None:
    happen("status", key="status:1:pending", after="Pending", author_name="")
    happen()
    linked.open()
    itop.calls.clear()
    CachedTickets.objects.all().delete()
    linked.open()
    assert itop.calls == [("core/get", "UserRequest")]
    row = linked.find("Lea Novak answered")
    assert row["subtitle"] == "R-000008 · 28 Nov 2026 15:58"


def test_files_do_not_hide_the_entry_that_they_were_saved_with(linked: Teammate) -> None:
    entry = happen()
    for number in range(12):
        happen("file", key=f"file:{number}", content="", entry=entry)
    linked.open()
    assert linked.find("Lea Novak answered")
    linked.click("answered")
    assert linked.offers("Send to the customer")
    assert "added a file" not in linked.text


def test_without_a_change_the_first_screen_says_when_itop_was_checked(linked: Teammate) -> None:
    TicketSnapshot.objects.update(read_at=NOW)
    assert linked.open().find("Sync on")["subtitle"] == "iTop checked on 28 Nov 2026 15:58"


def test_the_ticket_that_was_checked_longest_ago_counts(linked: Teammate, work: Work) -> None:
    linked.link("R-000007")
    work()
    TicketSnapshot.objects.filter(ticket__ref="R-000007").update(read_at=NOW)
    TicketSnapshot.objects.filter(ticket__ref="R-000008").update(read_at=NOW - dt.timedelta(minutes=4))
    assert "iTop checked on 28 Nov 2026 15:54" in linked.open().click("Sync").text


def test_a_ticket_that_is_gone_does_not_hide_when_itop_was_checked(linked: Teammate, itop: Itop) -> None:
    TicketSnapshot.objects.update_or_create(
        ticket=TicketLink.objects.get().ticket, defaults={"read_at": NOW, "poll_at": None}
    )
    itop.store.remove("UserRequest", 8)
    Ticket.objects.filter(ref="R-000008").update(gone_at=NOW)
    assert "iTop checked on 28 Nov 2026 15:58" in linked.open().click("Sync").text


def test_if_itop_cannot_be_checked_it_says_since_when_and_why(linked: Teammate) -> None:
    TicketSnapshot.objects.update(read_at=NOW)
    ItopPoll.objects.update_or_create(
        itop=TicketLink.objects.get().ticket.itop,
        defaults={"failures_in_a_row": 3, "reason_code": "itop_unreachable"},
    )
    assert linked.open().find("Sync on")["subtitle"] == "iTop not checked since 28 Nov 2026 15:58"
    text = linked.click("Sync on").text
    assert "iTop not checked since 28 Nov 2026 15:58" in text
    assert "iTop cannot be checked for changes: The bridge cannot connect to iTop." in text


def test_the_news_name_each_change_newest_first(linked: Teammate) -> None:
    happen("assignment", key="assignment:1", after="Lea Novak (Helpdesk)", content="", author_name="")
    happen("pending", key="status:2:pending", after="Pending", content="Waiting for a part", author_name="")
    happen("private_entry", key="private_log:3:x", content="<p>Check the cable</p>")
    happen("customer_entry", key="public_log:4:x", author_name="Alice Martin", content="<p>Any news?</p>")
    text = linked.open().click("Portal: Alice Martin wrote").text
    titles = [line.strip("*") for line in text.split("\n") if line.startswith("**")]
    assert titles == [
        "Portal: Alice Martin wrote",
        "Lea Novak wrote a private entry",
        "Pending",
        "Assigned to Lea Novak (Helpdesk)",
    ]
    assert "Waiting for a part" in text and "Any news?" in text
    # Only what an agent wrote for the customer can be sent.
    assert not linked.offers("Send")
    assert linked.click("View R-000008").offers("Unlink")
    assert "News from iTop" in linked.click("Back").text


def test_a_copy_of_a_parents_entry_is_not_listed(linked: Teammate) -> None:
    happen(reason_code="reported_with_parent")
    linked.open()
    assert "answered" not in linked.text and "Nothing has changed" in linked.send_click("news").text


def test_changes_of_a_ticket_that_was_unlinked_are_not_listed(linked: Teammate) -> None:
    happen()
    linked.open().click("R-000008").click("Unlink").click("Unlink")
    assert "answered" not in linked.open().text


# Sending it to the customer


def test_an_answer_is_sent_to_the_customer_in_the_teammates_name(
    linked: Teammate, intercom: Intercom, work: Work
) -> None:
    happen()
    linked.open().click("Lea Novak answered").click("Send to the customer")
    assert "R-000008 · Lea Novak · 28 Nov 2026 15:58" in linked.text
    assert "message from Ada Reyes" in linked.text
    assert linked.field("Message")["value"] == "The export works again."
    linked.click("Send", Message="Hello Alice,\n\nit works again.")
    assert "Sent to the customer" in linked.text and "it works again" in linked.text
    message = message_to_customer()
    assert (message.admin_id, message.admin_name) == (linked.admin["id"], "Ada Reyes")
    assert message.body == "<p>Hello Alice,</p><p>it works again.</p>"
    assert "You sent it to the customer on" in linked.click("Back").text
    assert not linked.offers("Send")
    work()
    message.refresh_from_db()
    assert message.state == "posted"


def test_a_second_click_or_teammate_sends_nothing_again(linked: Teammate) -> None:
    happen()
    linked.open().click("answered").click("Send to")
    other = colleague(linked).open().click("answered").click("Send to")
    linked.click("Send", Message="From Ada")
    linked.again()
    assert "Already sent" in linked.text and "You sent it to the customer on" in linked.text
    other.click("Send", Message="From Ben")
    assert "Already sent" in other.text and "Ada Reyes sent it to the customer on" in other.text
    assert "From Ada" in other.text and "From Ben" not in other.text
    assert message_to_customer().body == "<p>From Ada</p>"
    # An old screen leads to what was sent.
    assert "Ada Reyes sent it" in other.open().click("answered").text


def test_the_automatic_reply_of_a_rule_counts_as_sent(linked: Teammate) -> None:
    event = happen()
    linked.open().click("answered").click("Send to")
    message = OutgoingMessage.objects.create(
        conversation=event.conversation, once_key=f"event:{event.pk}", body="<p>Lea replied</p>"
    )
    TicketEvent.objects.update(message=message)
    linked.click("Send", Message="Once more")
    assert "Sent to the customer automatically on" in linked.text
    assert OutgoingMessage.objects.count() == 1
    assert not linked.open().click("answered").offers("Send")


def test_the_automatic_reply_about_a_solution_is_shown_after_the_ticket_was_reopened(
    linked: Teammate,
) -> None:
    event = happen("resolved", content="<p>Restarted the export service.</p>")
    message = OutgoingMessage.objects.create(
        conversation=event.conversation, once_key=f"event:{event.pk}", body="<p>It was resolved</p>"
    )
    TicketEvent.objects.update(message=message)
    resolve(status="assigned")
    linked.open().click("Resolved")
    assert "Sent to the customer automatically on" in linked.text
    assert not linked.offers("Send")


def test_a_note_about_an_entry_does_not_count_as_sent(linked: Teammate) -> None:
    event = happen()
    note = OutgoingMessage.objects.create(
        conversation=event.conversation, once_key=f"event:{event.pk}", body="<p>x</p>", is_note=True
    )
    TicketEvent.objects.update(message=note)
    assert linked.open().click("answered").offers("Send to the customer")


def test_names_in_an_answer_are_left_out_where_the_workspace_hides_them(linked: Teammate) -> None:
    EventRules.objects.create(workspace=Workspace.objects.get(), shows_agent_names=False)
    happen(content="<p>[[Person:8|Jules Verne]] fixed it.</p>")
    linked.open().click("answered")
    assert "Jules Verne" in linked.text
    assert linked.click("Send to").field("Message")["value"] == "a colleague fixed it."


def test_nothing_is_sent_without_words(linked: Teammate) -> None:
    happen()
    linked.open().click("answered").click("Send to").click("Send", Message=" \n ")
    assert "Required." in linked.text and linked.offers("Send")
    assert not OutgoingMessage.objects.exists()


def test_addresses_of_images_and_of_the_back_office_are_not_offered_to_the_customer(
    linked: Teammate, itop: Itop
) -> None:
    url = f"{itop.url}/pages/ajax.document.php?operation=download_inlineimage&amp;id=7&amp;s=abc123"
    console = f"{itop.url}/pages/UI.php?operation=details&amp;class=UserRequest&amp;id=8"
    links = f'[[UserRequest:8]] <a href="{console}">{console}</a> {console}'
    happen(content=f'<p>See {links}</p><p><img src="{url}" alt="plan.png"></p>')
    linked.open().click("answered")
    assert "abc123" not in linked.text
    text = linked.click("Send to").field("Message")["value"]
    assert "abc123" not in text and "ajax.document" not in text and "operation=details" not in text


def test_a_failed_message_can_be_tried_again(linked: Teammate, intercom: Intercom, work: Work) -> None:
    event = happen()
    OutgoingMessage.objects.create(
        conversation=event.conversation,
        once_key=f"sent:{event.ticket.pk}:{event.key}",
        admin_id=linked.admin["id"],
        admin_name="Ada Reyes",
        body="<p>Works</p>",
        state="failed",
        reason_code="intercom_rejected",
        attempts=1,
    )
    linked.open().click("answered")
    assert "It could not be sent to the customer: Intercom rejected the request." in linked.text
    linked.click("Try again")
    assert "You sent it to the customer" in linked.text
    work()
    assert message_to_customer().state == "posted"


def test_a_message_that_waits_says_why(linked: Teammate) -> None:
    happen()
    linked.open().click("answered").click("Send to").click("Send")
    OutgoingMessage.objects.update(reason_code="intercom_unreachable")
    assert "The bridge will try again: The bridge cannot connect to Intercom." in linked.click("Back").text


def test_without_an_access_token_nothing_can_be_sent(linked: Teammate, workspace: Workspace) -> None:
    happen()
    linked.open().click("answered").click("Send to")
    workspace.access_token = ""
    workspace.save()
    linked.click("Send", Message="x")
    assert "Send" not in [each.get("label") for each in linked.clickable()]
    assert not OutgoingMessage.objects.exists()
    assert not linked.open().click("answered").offers("Send to")


def test_the_entry_can_be_sent_from_the_ticket(linked: Teammate) -> None:
    entries = public_log()
    event = happen(key=f"public_log:1:{digest(entries[1])}", content=entries[1].message_html)
    linked.open().click("R-000008")
    offers = [each for each in linked.clickable() if each.get("label") == "Send to the customer"]
    assert [each["id"] for each in offers] == [f"send:entry:{event.pk}"]
    linked.click("Send to the customer")
    assert linked.field("Message")["value"] == entries[1].message.strip()
    linked.click("Send")
    assert "You sent it to the customer" in linked.click("Back").text


# The solution


def test_the_solution_of_a_ticket_resolved_before_the_link_can_be_sent(linked: Teammate) -> None:
    resolve()
    linked.open().click("R-000008")
    assert "Restarted the export service." in linked.text
    linked.click("Send the solution to the customer")
    assert "R-000008 · Solution" in linked.text
    linked.click("Send")
    assert message_to_customer().body == "<p>Restarted the export service.</p>"
    assert "You sent it to the customer" in linked.click("Back").text


def test_the_solution_is_sent_once_whether_from_the_news_or_from_the_ticket(linked: Teammate) -> None:
    resolve()
    happen(
        "resolved", key="status:1:resolved", after="Resolved", content="<p>Restarted the export service.</p>"
    )
    linked.open().click("Resolved").click("Send the solution").click("Send")
    assert "You sent it" in linked.open().click("R-000008 · ").text
    assert not linked.offers("Send the solution")


def test_another_solution_can_be_sent_too_but_not_from_the_old_form(linked: Teammate) -> None:
    resolve()
    linked.open().click("R-000008").click("Send the solution")
    resolve("<p>Replaced the server.</p>")
    linked.click("Send", Message="The old one")
    assert not OutgoingMessage.objects.exists() and "Alice Martin" in linked.text
    linked.click("R-000008").click("Send the solution").click("Send")
    assert message_to_customer().body == "<p>Replaced the server.</p>"


def test_a_reopened_ticket_has_no_solution_to_send(linked: Teammate) -> None:
    resolve(status="assigned")
    assert not linked.open().click("R-000008").offers("Send the solution")


# Too many posts


def test_posting_that_stopped_is_resumed_with_one_click(linked: Teammate) -> None:
    Conversation.objects.update(posting_stopped_at=timezone.now())
    assert "Changes in iTop are no longer posted here" in linked.open().text
    linked.click("Resume posting")
    assert Conversation.objects.get().posting_stopped_at is None
    assert "Posting of changes" not in linked.text
    Conversation.objects.update(posting_stopped_at=timezone.now())
    assert linked.open().click("Sync").click("Resume posting").offers("News from iTop")
    assert Conversation.objects.get().posting_stopped_at is None


def test_everything_at_once_still_offers_what_to_do(closed: Teammate) -> None:
    happen()
    Conversation.objects.update(posting_stopped_at=timezone.now())
    closed.open()
    assert closed.offers("Create a follow-up ticket") and closed.offers("Resume posting")


# Closed tickets


def test_the_first_screen_says_that_nobody_sees_messages_to_a_closed_ticket(closed: Teammate) -> None:
    assert "R-000008 is closed: nobody will see new messages there." in closed.open().text
    assert closed.offers("Create a follow-up ticket") and closed.offers("Create a ticket")


def test_while_another_linked_ticket_is_open_no_follow_up_is_offered_first(
    closed: Teammate, work: Work
) -> None:
    closed.link("R-000007")
    work()
    assert not closed.open().offers("Create a follow-up")
    assert "R-000008 is closed" in closed.text


def test_a_follow_up_ticket_is_filled_from_the_closed_one(closed: Teammate, itop: Itop, work: Work) -> None:
    row = itop.store.load("UserRequest", 8)
    assert row is not None
    closed.open().click("R-000008").click("Create a follow-up ticket")
    assert closed.field("Title")["value"] == f"Follow-up of R-000008: {row['title']}"
    description = closed.field("Description")["value"]
    assert description.startswith("Follow-up of R-000008, which is closed.\n\n")
    assert closed.field("Urgency")["value"] == row["urgency"]
    before = len(itop.store.all("UserRequest"))
    closed.click("Create ticket")
    if closed.offers("Create anyway"):
        closed.click("Create anyway")
    assert len(itop.store.all("UserRequest")) == before + 1
    made = max(itop.store.all("UserRequest"), key=lambda ticket: int(ticket["id"]))
    assert made["title"].startswith("Follow-up of R-000008") and not made["parent_request_id"]
    # Now one linked ticket is open.
    assert not closed.open().offers("Create a follow-up")


def test_opening_a_follow_up_form_does_not_replace_a_draft(closed: Teammate) -> None:
    closed.open().click("Create a ticket").click("Back", Title="My draft")
    assert closed.open().click("Create a follow-up ticket").field("Title")["value"] != "My draft"
    assert closed.open().click("Create a ticket").field("Title")["value"] == "My draft"


def test_the_news_have_a_way_back(linked: Teammate) -> None:
    happen()
    assert linked.open().click("answered").click("Back").offers("Create a ticket")
