"""A teammate tells all conversations of a ticket the same, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from intercom_bridge.models import Conversation, Participant, TicketLink, Workspace
from tests.browser import browser_test

from .inbox import LINKED, Inbox

pytestmark = [*browser_test, pytest.mark.django_db(transaction=True)]

CUSTOMERS = ("Bob Durand", "Dana O'Neil", "Jo Park")


def link_others(inbox: Inbox, workspace: Workspace) -> None:
    """Link the conversations of three more customers, and an older one of Alice."""
    ticket = TicketLink.objects.get().ticket
    store = inbox.intercom.store
    alice = inbox.intercom.contact("Alice Martin")
    started = [inbox.intercom.conversation_of(name) for name in CUSTOMERS]
    started.append(store.start_conversation([alice.id], "<p>My other question</p>", created_at=1_760_000_000))
    for conversation in started:
        row = Conversation.objects.find_or_create(workspace, conversation.id)
        Participant.objects.record(row, conversation.contact_ids)
        TicketLink.objects.create(conversation=row, ticket=ticket)
    TicketLink.objects.filter(conversation__conversation_id=started[-1].id).update(
        created_at="2026-01-01T00:00:00Z"
    )


def picture(inbox: Inbox, name: str) -> None:
    if directory := os.environ.get("PICTURES_OF_BROADCAST"):
        inbox.page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def test_a_message_reaches_each_customer_once_and_its_outcome_is_shown(
    inbox: Inbox, workspace: Workspace
) -> None:
    inbox.open("Alice Martin").link("R-000006")
    link_others(inbox, workspace)
    inbox.open("Alice Martin").click(LINKED)
    picture(inbox, "1-ticket")
    inbox.click("Write to all 5 conversations").fill(
        "Text", "The mail gateway works again.\n\nPlease try it."
    )
    picture(inbox, "2-form")
    inbox.panel.get_by_label("Message to the customers").check()
    inbox.click("Next: check the recipients").sees("New message to 4 customers")
    assert inbox.sees("1 conversation is left out")
    picture(inbox, "3-recipients")
    gone = inbox.intercom.conversation_of("Jo Park").id
    inbox.intercom.delete(gone)
    inbox.click("Send to 4 customers").sees("0 of 4 sent")
    picture(inbox, "4-progress")
    inbox.work()
    inbox.click("Refresh").sees("1 could not be sent")
    assert inbox.sees("The conversation was deleted in Intercom")
    picture(inbox, "5-outcome")
    inbox.open("Dana O'Neil")
    inbox.thread.get_by_text("The mail gateway works again.").wait_for()
    picture(inbox, "6-customer")


def test_the_page_shows_state_assignee_and_attributes(inbox: Inbox) -> None:
    conversation = inbox.intercom.conversation_of("Alice Martin")
    inbox.open("Alice Martin")
    page = inbox.page
    page.get_by_label("Assigned to").select_option(label="Sam Field")
    inbox.thread.get_by_text("Ada Reyes assigned it to Sam Field").wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    page.locator("#state").get_by_text("Closed").wait_for()
    assert inbox.intercom.store.conversation(conversation.id).state == "closed"
    picture(inbox, "7-closed")
    page.get_by_label("Assigned to").select_option(label="Second line (team)")
    page.locator("#state").get_by_text("Open").wait_for()
    page.get_by_role("button", name="Snooze").click()
    page.locator("#state").get_by_text("Snoozed").wait_for()
    page.locator("#conversations").get_by_text("Snoozed").wait_for()
    inbox.intercom.workspace.set_attributes(
        conversation.id, {"iTop ticket": "R-000006", "iTop status": "Assigned"}
    )
    page.locator("#attributes").get_by_text("R-000006").wait_for()
    picture(inbox, "8-attributes")
