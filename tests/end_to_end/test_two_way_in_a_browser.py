"""What agents do in iTop, as a teammate and the customer see it in Intercom, in a real browser."""

from __future__ import annotations

import re

from django.db.models.functions import Now

from intercom_bridge.models import EventRules, ItopPoll, TicketSnapshot, Workspace
from itop_client import Client
from sandbox.itop import Itop
from tests.browser import browser_test

from .inbox import Inbox

pytestmark = browser_test

SEND = "Send to the customer"


def poll(inbox: Inbox) -> None:
    """Let the worker compare the tickets with iTop now, and post what is new."""
    TicketSnapshot.objects.update(poll_at=Now())
    ItopPoll.objects.update(due_at=Now())
    inbox.work()


def agent_writes(itop: Itop, ticket: int, text: str) -> None:
    fields = {"public_log": {"add_item": {"message": f"<p>{text}</p>", "format": "html"}}}
    Client(itop.url, token=itop.token).update("UserRequest", ticket, fields, comment="An agent")


def test_an_agents_answer_is_a_note_and_is_sent_to_the_customer_with_a_click(
    inbox: Inbox, itop: Itop
) -> None:
    inbox.open("Alice Martin").link("R-000006").work()
    agent_writes(itop, 6, "Try it again now")
    poll(inbox)
    inbox.open("Alice Martin").reads_note("wrote in ticket R-000006", "Try it again now")
    inbox.click(re.compile("R-000006 · .*")).click(SEND)
    assert inbox.value("Message to the customer") == "Try it again now"
    words = "Please try it again now."
    inbox.fill("Message to the customer", words).click("Send").work()
    inbox.reload()
    inbox.thread.get_by_text(words).wait_for()
    assert inbox.thread.locator(".note").filter(has_text=words).count() == 0
    # It is sent once: the ticket no longer offers it.
    inbox.go_home()
    assert not inbox.click(re.compile("R-000006 · .*")).offers(SEND)


def test_an_agents_answer_reopens_a_closed_conversation_and_the_note_says_why(
    inbox: Inbox, itop: Itop, workspace: Workspace
) -> None:
    EventRules.objects.create(workspace=workspace, reopens_on=["public_entry"])
    inbox.open("Alice Martin").link("R-000006").work()
    inbox.page.get_by_role("button", name="Close", exact=True).click()
    inbox.page.locator("#state").get_by_text("Closed").wait_for()
    agent_writes(itop, 6, "We found the cause")
    poll(inbox)
    inbox.open("Alice Martin").reads_note("We found the cause", "the conversation was reopened")
    inbox.page.locator("#state").get_by_text("Open").wait_for()


def test_the_customers_messages_are_not_reported_back(inbox: Inbox, itop: Itop) -> None:
    inbox.open("Alice Martin").link("R-000006").say("It still does not work").work()
    poll(inbox)
    inbox.open("Alice Martin")
    assert inbox.thread.get_by_text("It still does not work").count() == 1
    assert inbox.thread.get_by_text("wrote in ticket").count() == 0
