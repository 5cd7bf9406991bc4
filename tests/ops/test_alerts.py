"""E-mails to the operators about what needs a person, each of them once."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import (
    Conversation,
    Delivery,
    FileToItop,
    ItopInstance,
    OutgoingMessage,
    Ticket,
    TicketCreation,
    WebhookEvent,
    Workspace,
)
from intercom_bridge.ops.alerts import send_alerts
from intercom_bridge.sync import writer
from intercom_bridge.sync.circuit_breaker import record_failure, record_success
from intercom_bridge.worker import loop
from itop_client import ItopLoginError, ItopUnreachableError

OPERATOR = "ops@example.com"


@pytest.fixture(autouse=True)
def addressee(settings: Any) -> None:
    settings.ALERT_EMAILS = [OPERATOR]
    settings.PUBLIC_URL = "https://bridge.example.com"


@pytest.fixture
def conversation(workspace: Workspace) -> Conversation:
    return Conversation.objects.find_or_create(workspace, "215472621202693")


@pytest.fixture
def fail(workspace: Workspace, conversation: Conversation) -> Callable[..., Delivery]:
    """Return a function that creates a failed delivery."""

    def fail(part_id: str, code: str = "log_full", **values: Any) -> Delivery:
        ticket, _ = Ticket.objects.get_or_create(
            itop=workspace.itop, ticket_class="UserRequest", object_id=6, defaults={"ref": "R-000006"}
        )
        return Delivery.objects.create(
            ticket=ticket,
            conversation=conversation,
            kind="part",
            part_id=part_id,
            part_created_at=0,
            state="failed",
            reason_code=code,
            **values,
        )

    return fail


def subjects() -> list[str]:
    return [message.subject.removeprefix("[Intercom-iTop bridge] ") for message in mail.outbox]


def links(message: Any) -> list[str]:
    return re.findall(r"https://\S+/admin/\S+", message.body)


# Failures


def test_failures_are_counted_by_reason_with_links_to_their_lists(
    fail: Callable[..., Delivery], workspace: Workspace, conversation: Conversation, admin_client: Client
) -> None:
    for number in range(3):
        fail(str(number))
    fail("3", "rejected")
    WebhookEvent.objects.create(
        workspace=workspace,
        notification_id="n",
        topic="t",
        body=b"",
        state="failed",
        reason_code="internal_error",
    )
    OutgoingMessage.objects.create(
        conversation=conversation, body="x", state="failed", reason_code="intercom_rejected"
    )
    delivery = Delivery.objects.filter(reason_code="rejected").get()
    FileToItop.objects.create(
        ticket=delivery.ticket,
        conversation=conversation,
        part_kind="part",
        part_id="3",
        position=0,
        part_created_at=0,
        state="failed",
        reason_code="file_too_large_for_itop",
    )
    TicketCreation.objects.create(
        conversation=conversation, form_key="a", caller_id=1, state="refused", reason_code="gave_up"
    )
    TicketCreation.objects.create(
        conversation=conversation,
        form_key="b",
        caller_id=1,
        state="refused",
        reason_code="rejected",
        rejection_seen=True,
    )
    send_alerts()
    (message,) = mail.outbox
    assert message.to == [OPERATOR]
    assert subjects() == ["8 failures need a person"]
    assert "Messages not copied to a ticket (3): The ticket's log is full" in message.body
    assert "Files not copied to a ticket, or not deleted from it (1): The file is larger" in message.body
    assert "Tickets not created (1)" in message.body
    counts = []
    for link in links(message):
        address = urlsplit(link)
        page = admin_client.get(f"{address.path}?{address.query}")
        counts.append(page.context["cl"].result_count)
    assert counts == [3, 1, 1, 1, 1, 1]


def test_a_failure_is_reported_once_and_the_next_digest_comes_after_fifteen_minutes(
    fail: Callable[..., Delivery], time_machine: Any
) -> None:
    start = timezone.now()
    time_machine.move_to(start, tick=False)
    fail("1")
    send_alerts()
    fail("2", "rejected")
    send_alerts()
    time_machine.move_to(start + dt.timedelta(minutes=14), tick=False)
    send_alerts()
    assert len(mail.outbox) == 1
    time_machine.move_to(start + dt.timedelta(minutes=15), tick=False)
    send_alerts()
    assert subjects() == ["1 failure needs a person"] * 2
    assert "rejected the request" in mail.outbox[1].body
    time_machine.move_to(start + dt.timedelta(days=1), tick=False)
    send_alerts()
    assert len(mail.outbox) == 2


def test_a_message_that_fails_again_after_a_retry_is_reported_again(
    fail: Callable[..., Delivery], time_machine: Any
) -> None:
    fail("1")
    send_alerts()
    Delivery.objects.all().retry_now()
    Delivery.objects.update(state="failed", reason_code="log_full")
    time_machine.move_to(timezone.now() + dt.timedelta(minutes=16))
    send_alerts()
    assert len(mail.outbox) == 2


def test_a_file_that_fails_again_after_a_retry_is_reported_again(
    fail: Callable[..., Delivery], conversation: Conversation, time_machine: Any
) -> None:
    FileToItop.objects.create(
        ticket=fail("1").ticket,
        conversation=conversation,
        part_kind="part",
        part_id="1",
        position=0,
        part_created_at=0,
        state="failed",
        reason_code="file_not_downloaded",
    )
    send_alerts()
    FileToItop.objects.all().retry_now()
    FileToItop.objects.update(state="failed", reason_code="file_not_downloaded")
    time_machine.move_to(timezone.now() + dt.timedelta(minutes=16))
    send_alerts()
    assert subjects() == ["2 failures need a person", "1 failure needs a person"]


def test_what_is_retried_skipped_or_erased_is_not_reported(
    fail: Callable[..., Delivery], conversation: Conversation
) -> None:
    fail("1")
    Delivery.objects.update(state="waiting")
    fail("2")
    Delivery.objects.filter(part_id="2").skip("skipped_by_admin")
    fail("3", cleaned_at=timezone.now())
    send_alerts()
    assert mail.outbox == []


def test_a_failure_whose_e_mail_was_not_sent_is_in_the_next_digest(
    fail: Callable[..., Delivery], settings: Any, time_machine: Any
) -> None:
    settings.EMAIL_BACKEND = "tests.ops.test_alerts.NoBackend"
    fail("1")
    send_alerts()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    time_machine.move_to(timezone.now() + dt.timedelta(minutes=16))
    send_alerts()
    assert len(mail.outbox) == 1


class NoBackend:
    """A mail server that refuses every connection."""

    def __init__(self, **_: Any) -> None:
        pass

    def send_messages(self, _messages: Any) -> int:
        raise ConnectionRefusedError


# An iTop


@pytest.fixture
def paused(workspace: Workspace) -> ItopInstance:
    record_failure(workspace.itop, ItopUnreachableError("refused"))
    return workspace.itop


def lasts(minutes: float) -> None:
    ItopInstance.objects.update(paused_since=timezone.now() - dt.timedelta(minutes=minutes))


def test_an_itop_is_reported_after_ten_minutes_and_once_more_when_it_works_again(
    paused: ItopInstance,
) -> None:
    lasts(9.5)
    send_alerts()
    assert mail.outbox == []
    lasts(10.5)
    for _ in range(3):
        send_alerts()
    assert subjects() == ["iTop “Sandbox” is not available"]
    assert "cannot connect to iTop" in mail.outbox[0].body
    paused.refresh_from_db()
    record_success(paused)
    for _ in range(3):
        send_alerts()
    assert subjects()[1:] == ["iTop “Sandbox” works again"]


def test_a_short_interruption_is_not_reported(paused: ItopInstance) -> None:
    lasts(5)
    send_alerts()
    paused.refresh_from_db()
    record_success(paused)
    send_alerts()
    assert mail.outbox == []


def test_a_refused_account_is_reported_at_once_also_after_an_outage(
    paused: ItopInstance, admin_client: Client
) -> None:
    lasts(11)
    send_alerts()
    record_failure(paused, ItopLoginError("no"))
    for _ in range(3):
        send_alerts()
    record_failure(paused, ItopUnreachableError("refused"))
    send_alerts()
    assert subjects() == ["iTop “Sandbox” is not available", "iTop “Sandbox” refuses the bridge's account"]
    (link,) = links(mail.outbox[1])
    assert admin_client.get(urlsplit(link).path).status_code == 200


def test_an_itop_is_reported_again_if_the_e_mail_was_not_sent(paused: ItopInstance, settings: Any) -> None:
    lasts(11)
    settings.EMAIL_BACKEND = "tests.ops.test_alerts.NoBackend"
    send_alerts()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    send_alerts()
    settings.EMAIL_BACKEND = "tests.ops.test_alerts.NoBackend"
    paused.refresh_from_db()
    record_success(paused)
    send_alerts()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    send_alerts()
    assert subjects() == ["iTop “Sandbox” is not available", "iTop “Sandbox” works again"]


# An access token


@pytest.mark.parametrize("where", ["comparison", "message"])
def test_a_refused_access_token_is_reported_once_a_day(
    conversation: Conversation, admin_client: Client, time_machine: Any, where: str
) -> None:
    if where == "comparison":
        Conversation.objects.update(reconcile_at=timezone.now(), reconcile_code="intercom_token_refused")
    else:
        OutgoingMessage.objects.create(
            conversation=conversation, body="x", reason_code="intercom_token_refused"
        )
    for _ in range(3):
        send_alerts()
    assert subjects() == ["Intercom refuses the access token of Tests (abcd1234)"]
    (link,) = links(mail.outbox[0])
    assert admin_client.get(urlsplit(link).path).status_code == 200
    time_machine.move_to(timezone.now() + dt.timedelta(hours=25))
    send_alerts()
    assert len(mail.outbox) == 2


# The worker


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Yield the event that stops the worker's loop, which checks very often."""
    stopping = threading.Event()
    monkeypatch.setattr(writer, "stopping", stopping)
    monkeypatch.setattr(loop, "CHECK_SECONDS", 0.01)
    yield stopping
    stopping.set()


def test_the_worker_goes_on_after_an_error(worker: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def break_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError
        worker.set()

    monkeypatch.setattr(loop, "send_alerts", break_once)
    monkeypatch.setattr(loop, "close_old_connections", lambda: None)
    loop._send_alerts()
    assert len(calls) == 2


@pytest.mark.parametrize(("addresses", "is_started"), [([], False), ([OPERATOR], True)])
def test_the_worker_sends_e_mails_only_if_there_is_an_address(
    db: None,
    worker: threading.Event,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    addresses: list[str],
    is_started: bool,
) -> None:
    settings.ALERT_EMAILS = addresses
    sent = threading.Event()
    monkeypatch.setattr(loop, "_send_alerts", sent.set)
    worker.set()
    loop.WorkerLoop(1).run()
    assert sent.wait(0.2) is is_started


def test_without_an_address_nothing_is_sent(fail: Callable[..., Delivery], settings: Any) -> None:
    settings.ALERT_EMAILS = []
    fail("1")
    send_alerts()
    assert mail.outbox == []


def test_another_worker_sends_no_second_e_mail(paused: ItopInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one has claimed the e-mail after this one has looked for it."""
    lasts(11)
    send = mail.send_mail

    def meanwhile(*arguments: Any) -> int:
        monkeypatch.setattr(mail, "send_mail", send)
        send_alerts()
        return send(*arguments)

    monkeypatch.setattr(mail, "send_mail", meanwhile)
    send_alerts()
    assert len(mail.outbox) == 1


def test_another_worker_may_claim_an_e_mail_as_soon_as_a_failed_one_is_released(
    paused: ItopInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker acts after each statement with which the first one releases the alert."""
    lasts(11)
    send_alerts()
    record_failure(paused, ItopLoginError("no"))
    send = mail.send_mail
    stack = ExitStack()

    def act_after(execute: Any, *arguments: Any) -> Any:
        result = execute(*arguments)
        stack.close()
        monkeypatch.setattr(mail, "send_mail", send)
        send_alerts()
        return result

    def fail(*_arguments: Any) -> int:
        stack.enter_context(connection.execute_wrapper(act_after))
        raise ConnectionRefusedError

    monkeypatch.setattr(mail, "send_mail", fail)
    send_alerts()
    send_alerts()
    assert subjects() == ["iTop “Sandbox” is not available", "iTop “Sandbox” refuses the bridge's account"]


def test_a_failed_e_mail_does_not_release_what_another_worker_has_claimed_since(
    paused: ItopInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasts(11)
    send = mail.send_mail

    def meanwhile(*_arguments: Any) -> int:
        """Let the iTop work again and stop again, which another worker reports, before this e-mail fails."""
        monkeypatch.setattr(mail, "send_mail", send)
        paused.refresh_from_db()
        record_success(paused)
        send_alerts()
        record_failure(paused, ItopUnreachableError("refused"))
        lasts(11)
        send_alerts()
        raise ConnectionRefusedError

    monkeypatch.setattr(mail, "send_mail", meanwhile)
    send_alerts()
    send_alerts()
    assert subjects() == ["iTop “Sandbox” works again", "iTop “Sandbox” is not available"]
