"""No message is lost between the submission of a create form and the link, whatever fails."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from intercom_bridge.events import poster
from intercom_bridge.models import (
    Delivery,
    ItopInstance,
    OutgoingMessage,
    TicketCreation,
    TicketLink,
    WebhookEvent,
)
from intercom_bridge.sync import intake
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def log_of_newest(itop: Itop) -> list[str]:
    newest = max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])
    return [entry["message"] for entry in itop.store.log(newest["id"])]


def wait_is_over() -> None:
    TicketCreation.objects.update(due_at=timezone.now())
    WebhookEvent.objects.update(due_at=timezone.now())
    Delivery.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


def press(teammate: Teammate) -> Teammate:
    return create(teammate.open().click("Create a ticket"))


def create(teammate: Teammate) -> Teammate:
    """Submit the create form, and confirm it if the conversation already has a ticket."""
    teammate.click("Create ticket")
    return teammate.click("Create anyway") if teammate.offers("Create anyway") else teammate


def test_a_half_created_ticket_is_not_adopted_from_itops_own_attributes(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    work()
    itop.faults.add("drop_after", operation="core/create", count=1)
    press(teammate)
    assert "being created" in teammate.text
    late = part(37358198350, "<p>late</p>")
    notify(client, late)
    work()
    teammate.conversation["conversation_parts"]["conversation_parts"].append(late)
    teammate.open()
    assert TicketLink.objects.count() == 0
    wait_is_over()
    work()
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>late</p>"


def test_a_late_creation_gets_the_messages_since_the_submission(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("maintenance", operation="core/create", count=1)
    teammate.click("Create ticket")
    assert "being created" in teammate.text
    notify(client, part(37358198350, "<p>late</p>"))
    work()
    long_ago = timezone.now() - dt.timedelta(hours=2)
    TicketCreation.objects.update(created_at=long_ago)
    WebhookEvent.objects.update(received_at=long_ago + dt.timedelta(minutes=1))
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>late</p>"


def test_an_event_processed_just_before_the_link_exists_is_processed_again(
    client: Client, teammate: Teammate, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    teammate.open().click("Create a ticket")
    notify(client, part(37358198350, "<p>in between</p>"))
    original = intake._skip

    def press_first(event: WebhookEvent, skip: intake.Skip) -> None:
        if not TicketLink.objects.exists():
            teammate.click("Create ticket")
        original(event, skip)

    monkeypatch.setattr(intake, "_skip", press_first)
    work()
    work()
    assert log_of_newest(itop)[-1] == "<p>in between</p>"


def test_a_message_delivered_to_an_older_link_reaches_the_new_ticket_too(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    work()
    teammate.open().click("Create a ticket")
    notify(client, part(37358198350, "<p>for both</p>"))
    # The panel's payload is older than the message.
    work()
    create(teammate)
    work()
    assert log_of_newest(itop)[-1] == "<p>for both</p>"
    assert Delivery.objects.filter(part_id="37358198350", state="written").count() == 2


def test_another_form_creates_no_second_ticket_while_a_creation_is_pending(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    before = len(itop.store.all("UserRequest"))
    itop.faults.add("error500", operation="core/create", count=1)
    press(teammate)
    press(teammate)
    assert "being created" in teammate.text
    wait_is_over()
    work()
    assert len(itop.store.all("UserRequest")) == before + 1
    press(teammate)
    assert "created" in teammate.text


def test_a_temporary_database_error_fails_no_message(
    client: Client, teammate: Teammate, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    press(teammate)
    work()
    notify(client, part(37358198350, "<p>kept</p>"))
    with monkeypatch.context() as broken:

        def locked(*_: Any) -> Any:
            raise OperationalError("database is locked")

        broken.setattr(intake, "deliver", locked)
        work()
    assert WebhookEvent.objects.get().state == "received"
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>kept</p>"


def test_a_failed_event_is_processed_again_when_intercom_repeats_it(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    work()
    notify(client, part(37358198350, "<p>again</p>"))
    WebhookEvent.objects.update(state="failed", reason_code="internal_error")
    notify(client, part(37358198350, "<p>again</p>"))
    work()
    assert log_of_newest(itop)[-1] == "<p>again</p>"


def test_an_account_removed_in_itop_neither_fails_a_message_nor_blocks_a_creation(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    work()
    itop.store.remove("UserLocal", 8)
    notify(client, part(37358198350, "<p>from a former account</p>"))
    work()
    newest = max(itop.store.all("UserRequest"), key=lambda ticket: ticket["id"])
    last = itop.store.log(newest["id"])[-1]
    assert (last["message"], last["user_login"]) == (
        "<p>from a former account</p>",
        "Alice Martin (Intercom)",
    )
    from intercom_bridge.models import CachedAnswer

    CachedAnswer.objects.filter(question__startswith="account of").update(value=8)
    press(teammate)
    assert "created" in teammate.text


def test_a_crash_between_posting_and_saving_does_not_post_twice(
    teammate: Teammate, work: Work, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    from sandbox.intercom import running_intercom

    with running_intercom() as intercom:
        settings.INTERCOM_API_URL = intercom.url
        link = _alices(teammate, intercom)
        posting = OutgoingMessage.objects.get()
        with monkeypatch.context() as dying:

            def die(*_: Any, **__: Any) -> None:
                raise KeyboardInterrupt

            dying.setattr(poster, "_finish", die)
            with pytest.raises(KeyboardInterrupt):
                poster.post(posting)
        before = len(intercom.store.parts(link))
        OutgoingMessage.objects.update(due_at=timezone.now())
        poster.post(OutgoingMessage.objects.get())
        assert len(intercom.store.parts(link)) == before
        assert OutgoingMessage.objects.get().state == "posted"


def _alices(teammate: Teammate, intercom: Any) -> str:
    """Create a ticket from Alice's conversation in the sandbox and return the conversation's id."""
    from intercom_bridge.models import Workspace

    Workspace.objects.update(access_token=intercom.token)
    teammate.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    press(teammate)
    return str(teammate.conversation["id"])


def test_the_first_of_two_workers_decides_the_result_of_an_event(
    client: Client, teammate: Teammate, work: Work
) -> None:
    press(teammate)
    work()
    notify(client, part(37358198350, "<p>x</p>"))
    first, second = WebhookEvent.objects.get(), WebhookEvent.objects.get()
    intake.process_event(first)
    intake.process_event(second)
    assert WebhookEvent.objects.get().state == "handled"


def test_a_pending_post_delays_the_message_of_another_app_by_a_minute_at_most(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    notify(client, part(37358198350, "<p>another app</p>", app_package_code="other"))
    work()
    assert WebhookEvent.objects.get().state == "received"
    WebhookEvent.objects.update(received_at=timezone.now() - dt.timedelta(seconds=61))
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>another app</p>"
