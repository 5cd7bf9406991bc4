"""Between a press of Create and the link there is room for everything to go wrong; no message is lost in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopInstance, Notification, Posting, Submission, TicketLink
from intercom_bridge.sync import intake, poster
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def log_of_newest(itop: Itop) -> list[str]:
    newest = max(itop.store.all("UserRequest"), key=lambda one: one["id"])
    return [one["message"] for one in itop.store.log(newest["id"])]


def wait_is_over() -> None:
    Submission.objects.update(due_at=timezone.now())
    Notification.objects.update(due_at=timezone.now())
    Delivery.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


def press(teammate: Teammate) -> Teammate:
    return create(teammate.open().click("Create a ticket"))


def create(teammate: Teammate) -> Teammate:
    """Presses Create, and once more where there is a ticket of this conversation already."""
    teammate.click("Create the ticket")
    return teammate.click("Create anyway") if teammate.offers("Create anyway") else teammate


def test_a_half_created_ticket_is_not_adopted_from_itops_own_attributes(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    work()
    itop.faults.add("drop_after", operation="core/create", count=1)
    press(teammate)
    assert "on its way" in teammate.text
    late = part(37358198350, "<p>said meanwhile</p>")
    notify(client, late)
    work()
    teammate.conversation["conversation_parts"]["conversation_parts"].append(late)
    teammate.open()
    assert TicketLink.objects.count() == 0
    wait_is_over()
    work()
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>said meanwhile</p>"


def test_a_creation_that_takes_long_still_gets_what_was_said_since_the_press(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    teammate.open().click("Create a ticket")
    itop.faults.add("maintenance", operation="core/create", count=1)
    teammate.click("Create the ticket")
    assert "on its way" in teammate.text
    notify(client, part(37358198350, "<p>said meanwhile</p>"))
    work()
    long_ago = timezone.now() - dt.timedelta(hours=2)
    Submission.objects.update(created_at=long_ago)
    Notification.objects.update(received_at=long_ago + dt.timedelta(minutes=1))
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>said meanwhile</p>"


def test_a_message_that_is_taken_in_just_before_the_link_is_made_is_taken_in_again(
    client: Client, teammate: Teammate, itop: Itop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    teammate.open().click("Create a ticket")
    notify(client, part(37358198350, "<p>in between</p>"))
    original = intake._skip

    def press_first(notification: Notification, reason: str) -> set[int]:
        if not TicketLink.objects.exists():
            teammate.click("Create the ticket")
        return original(notification, reason)

    monkeypatch.setattr(intake, "_skip", press_first)
    work()
    work()
    assert log_of_newest(itop)[-1] == "<p>in between</p>"


def test_a_message_that_an_older_link_took_in_reaches_the_new_ticket_as_well(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    work()
    teammate.open().click("Create a ticket")
    notify(client, part(37358198350, "<p>for both</p>"))
    # Intercom's payload was made before the message came.
    work()
    create(teammate)
    work()
    assert log_of_newest(itop)[-1] == "<p>for both</p>"
    assert Delivery.objects.filter(part_id="37358198350", state="written").count() == 2


def test_while_a_creation_is_under_way_another_form_makes_no_second_ticket(
    teammate: Teammate, itop: Itop, work: Work
) -> None:
    before = len(itop.store.all("UserRequest"))
    itop.faults.add("error500", operation="core/create", count=1)
    press(teammate)
    press(teammate)
    assert "on its way" in teammate.text
    wait_is_over()
    work()
    assert len(itop.store.all("UserRequest")) == before + 1
    press(teammate)
    assert "is created" in teammate.text


def test_a_passing_error_of_the_database_fails_no_message(
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
    assert Notification.objects.get().verdict == "received"
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>kept</p>"


def test_a_notification_that_failed_is_taken_up_again_when_intercom_repeats_it(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    work()
    notify(client, part(37358198350, "<p>again</p>"))
    Notification.objects.update(verdict="failed", reason="could not be handled")
    notify(client, part(37358198350, "<p>again</p>"))
    work()
    assert log_of_newest(itop)[-1] == "<p>again</p>"


def test_an_account_that_was_removed_in_itop_neither_fails_a_message_nor_blocks_a_creation(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    work()
    itop.store.remove("UserLocal", 8)
    notify(client, part(37358198350, "<p>from a former account</p>"))
    work()
    newest = max(itop.store.all("UserRequest"), key=lambda one: one["id"])
    last = itop.store.log(newest["id"])[-1]
    assert (last["message"], last["user_login"]) == (
        "<p>from a former account</p>",
        "Alice Martin (Intercom)",
    )
    from intercom_bridge.models import ItopAnswer

    ItopAnswer.objects.filter(question__startswith="account of").update(value=8)
    press(teammate)
    assert "is created" in teammate.text


def test_a_worker_that_dies_between_posting_and_noting_it_does_not_post_twice(
    teammate: Teammate, work: Work, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    from sandbox.intercom import running_intercom

    with running_intercom() as intercom:
        settings.INTERCOM_API_URL = intercom.url
        link = _alices(teammate, intercom)
        posting = Posting.objects.get()
        with monkeypatch.context() as dying:

            def die(*_: Any, **__: Any) -> None:
                raise KeyboardInterrupt

            dying.setattr(poster, "_settle", die)
            with pytest.raises(KeyboardInterrupt):
                poster.post(posting)
        before = len(intercom.store.parts(link))
        poster.post(Posting.objects.get())
        assert len(intercom.store.parts(link)) == before
        assert Posting.objects.get().state == "posted"


def _alices(teammate: Teammate, intercom: Any) -> str:
    """Creates a ticket from Alice's conversation of the sandbox's Intercom; answers the conversation's id."""
    from intercom_bridge.models import Workspace

    Workspace.objects.update(access_token=intercom.token)
    teammate.conversation = intercom.workspace.conversation_json(intercom.conversation_of("Alice Martin"))
    press(teammate)
    return str(teammate.conversation["id"])


def test_the_verdict_of_a_message_that_two_look_at_is_the_first_ones(
    client: Client, teammate: Teammate, work: Work
) -> None:
    press(teammate)
    work()
    notify(client, part(37358198350, "<p>x</p>"))
    first, second = Notification.objects.get(), Notification.objects.get()
    intake.take_in(first)
    intake.take_in(second)
    assert Notification.objects.get().verdict == "handled"


def test_a_post_that_never_ends_holds_up_another_apps_message_for_a_minute_only(
    client: Client, teammate: Teammate, itop: Itop, work: Work
) -> None:
    press(teammate)
    notify(client, part(37358198350, "<p>another app</p>", app_package_code="other"))
    work()
    assert Notification.objects.get().verdict == "received"
    Notification.objects.update(received_at=timezone.now() - dt.timedelta(seconds=61))
    wait_is_over()
    work()
    assert log_of_newest(itop)[-1] == "<p>another app</p>"
