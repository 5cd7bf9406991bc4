"""A ticket can be created without the conversation so far; what is written later is copied."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Conversation, Delivery, TicketCreation, TicketLink
from intercom_bridge.sync.reconcile import reconcile
from sandbox.intercom import Intercom
from sandbox.itop import Itop
from tests.teammate import Teammate, conversation, notify, part

from .rules import let_itop

FORM = "Create a ticket"
CREATE = "Create ticket"
CHOICE = "Conversation so far"
NOT_COPIED = "The messages so far were not copied."


def logs(itop: Itop) -> str:
    ticket = max(ticket["id"] for ticket in itop.store.all("UserRequest"))
    return str([itop.store.log(ticket, code) for code in ("public_log", "private_log")])


def test_the_conversation_is_copied_by_default(teammate: Teammate, itop: Itop) -> None:
    teammate.open().click(FORM)
    assert teammate.field(CHOICE)["value"] == "yes"
    teammate.click(CREATE)
    assert NOT_COPIED not in teammate.text
    assert "It is urgent" in logs(itop)


def test_only_new_messages_are_copied(
    teammate: Teammate, client: Client, itop: Itop, work: Callable[[], None]
) -> None:
    teammate.open().click(FORM).click(CREATE, **{CHOICE: "no"})
    assert NOT_COPIED in teammate.text and "New messages will be added automatically." in teammate.text
    # A late notification of a message that the teammate chose not to copy.
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    notify(client, part(37358198360, "<p>Written later</p>"))
    work()
    assert "Written later" in logs(itop)
    assert "It is urgent" not in logs(itop) and "export button" not in logs(itop)


def test_a_comparison_with_intercom_adds_nothing_older(
    talking: Teammate, intercom: Intercom, itop: Itop, work: Callable[[], None]
) -> None:
    talking.open().click(FORM).click(CREATE, Title="Quite another matter", **{CHOICE: "no"})
    assert NOT_COPIED in talking.text
    work()
    reconcile(Conversation.objects.get())
    work()
    assert not Delivery.objects.in_itop().exists()
    assert logs(itop) == "[[], []]"


def test_a_message_that_came_before_the_link_is_not_copied(
    teammate: Teammate, client: Client, itop: Itop, work: Callable[[], None]
) -> None:
    notify(client, part(37358198341, "<p>It is urgent</p>"))
    work()
    teammate.open().click(FORM).click(CREATE, **{CHOICE: "no"})
    work()
    assert "It is urgent" not in logs(itop)


def test_a_long_conversation_is_not_fetched(teammate: Teammate, itop: Itop) -> None:
    teammate.conversation = conversation(part(37358198341, "<p>It is urgent</p>"))
    teammate.conversation["conversation_parts"]["total_count"] = 900
    teammate.open().click(FORM).click(CREATE, **{CHOICE: "no"})
    assert "could be copied" not in teammate.text
    link = TicketLink.objects.get()
    assert abs(link.since_part_at - timezone.now().timestamp()) < 60


def test_the_choice_is_kept(
    teammate: Teammate, itop: Itop, work: Callable[[], None], time_machine: Any
) -> None:
    teammate.open().click(FORM).click(CREATE, Title="", **{CHOICE: "no"})
    assert teammate.field(CHOICE)["value"] == "no"
    assert teammate.open().click(FORM).field(CHOICE)["value"] == "no"
    itop.faults.add("drop_before", operation="core/create", count=1)
    teammate.click(CREATE, Title="Something")
    let_itop(itop, "escalation_reason", mandatory=True)
    time_machine.move_to(timezone.now() + dt.timedelta(seconds=60))
    work()
    teammate.open().send_click(f"creation:{TicketCreation.objects.get().form_key}")
    assert teammate.field(CHOICE)["value"] == "no"
    assert teammate.click("Back").click(FORM).field(CHOICE)["value"] == "no"
    # A field that Intercom leaves out has not changed.
    teammate.submit("form:show", {})
    assert teammate.field(CHOICE)["value"] == "no"
    teammate.click("Back", **{CHOICE: "yes"}).click(FORM)
    assert teammate.field(CHOICE)["value"] == "yes"
