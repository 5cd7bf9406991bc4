"""Messages that arrive while a link is changed are neither lost nor written twice nor written to a wrong ticket."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, Ticket, TicketLink, WebhookEvent
from intercom_bridge.sync import intake, writer
from intercom_bridge.sync.intake import process_batch
from intercom_bridge.sync.writer import write_due
from itop_client import ItopNoResponseError
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    store_link(teammate, itop, "R-000008")
    return teammate


def unlink(teammate: Teammate) -> None:
    teammate.open().click("R-000008").click("Unlink").click("Unlink")


def states() -> list[str]:
    return list(Delivery.objects.values_list("state", flat=True))


def test_deliveries_that_a_writer_creates_for_another_ticket_are_written(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.link("R-000006")
    work()
    first, second = Ticket.objects.get(object_id=8), Ticket.objects.get(object_id=6)
    notify(client, part(37358198350, "<p>A</p>"))
    process_batch()
    write_due(second)
    notify(client, part(37358198351, "<p>B</p>"))
    write_due(first)
    work()
    assert states() == ["written"] * 4


def test_an_undo_restores_the_messages_from_just_before_the_unlinking(
    client: Client, linked: Teammate, work: Work
) -> None:
    notify(client, part(37358198350, "<p>A</p>"))
    unlink(linked)
    work()
    assert WebhookEvent.objects.get().state == "skipped"
    linked.click("Undo")
    work()
    assert states() == ["written"]


def test_an_undo_restores_the_pauses_of_the_sync(linked: Teammate) -> None:
    linked.open().send_click("pause")
    before = TicketLink.objects.get().pauses
    unlink(linked)
    linked.click("Undo")
    assert TicketLink.objects.get().pauses == before != []


def test_a_ticket_that_is_unlinked_during_the_processing_of_an_event_gets_no_message(
    client: Client, linked: Teammate, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(client, part(37358198350, "<p>A</p>"))
    original = intake.may_be_our_echo

    def unlinked_meanwhile(*args: Any) -> bool:
        if TicketLink.objects.exists():
            unlink(linked)
        return original(*args)

    monkeypatch.setattr(intake, "may_be_our_echo", unlinked_meanwhile)
    process_batch()
    work()
    assert not TicketLink.objects.exists()
    assert not Delivery.objects.in_itop().exists()


def test_an_undo_does_not_repeat_a_request_that_itop_may_still_execute(
    client: Client, linked: Teammate, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(client, part(37358198350, "<p>A</p>"))

    def silent(*_: Any, **__: Any) -> None:
        unlink(linked)
        raise ItopNoResponseError("no complete answer")

    monkeypatch.setattr(writer, "append", silent)
    work()
    linked.click("Undo")
    delivery = Delivery.objects.get()
    assert delivery.state == "waiting"
    assert delivery.due_at > timezone.now() + dt.timedelta(seconds=5)


# A ticket that is linked during a pause


def test_linking_during_a_pause_copies_the_history_and_pauses_later_messages(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.open().send_click("pause")
    linked.link("R-000006", copy=True)
    work()
    copied = Delivery.objects.filter(ticket__object_id=6)
    assert set(copied.values_list("state", flat=True)) == {"written"}
    count = copied.count()
    notify(client, part(37358198360, "<p>in the pause</p>"))
    work()
    assert copied.count() == count + 1
    assert copied.get(part_id="37358198360").reason_code == "sync_paused"


@pytest.mark.parametrize("way", ["link", "create"])
def test_a_link_made_during_a_pause_stores_when_its_pause_began(
    linked: Teammate, work: Work, way: str
) -> None:
    linked.open().send_click("pause")
    if way == "link":
        linked.link("R-000006")
    else:
        linked.open().click("Create a ticket").click("Create ticket")
        if linked.offers("Create anyway"):
            linked.click("Create anyway")
    work()
    link = TicketLink.objects.exclude(ticket__object_id=8).get()
    assert not link.sync_on
    assert [pause["until"] for pause in link.pauses] == [None]


def test_a_link_adopted_with_its_sync_off_has_been_paused_since_its_creation(linked: Teammate) -> None:
    """The PHP extension leaves such links."""
    TicketLink.objects.update(sync_on=False, created_at=timezone.now() - dt.timedelta(hours=1))
    linked.open().click("Resume sync")
    link = TicketLink.objects.get()
    [pause] = link.pauses
    since, until = pause["since"], pause["until"]
    assert since == link.created_at.timestamp() < until
    assert link.was_paused_at(int(since))


@pytest.mark.parametrize(
    ("second", "paused"), [(99, False), (100, True), (104, True), (105, False), (106, False)]
)
def test_a_message_of_the_second_in_which_the_sync_was_resumed_is_not_left_out(
    second: int, paused: bool
) -> None:
    """Intercom's times are whole seconds: the message may have been written just after the click."""
    link = TicketLink(pauses=[{"since": 100.8, "until": 105.003}])
    assert link.was_paused_at(second) is paused
