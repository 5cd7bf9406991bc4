"""A link that is undone or moved while messages come loses none, doubles none, and gets none that it should not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from intercom_bridge.models import Delivery, Notification, Ticket, TicketLink
from intercom_bridge.sync import intake, tasks, writer
from intercom_bridge.sync.intake import take_in_batch
from itop_client import ItopNoAnswer
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


@pytest.fixture
def linked(teammate: Teammate, work: Work) -> Teammate:
    teammate.link("R-000008")
    work()
    return teammate


def unlink(teammate: Teammate) -> None:
    teammate.open().click("linked ticket").click("R-000008").click("Unlink").click("Unlink")


def states() -> list[str]:
    return list(Delivery.objects.values_list("state", flat=True))


def test_what_a_writer_takes_in_for_another_ticket_wakes_that_ones_writer(
    client: Client, linked: Teammate, work: Work
) -> None:
    linked.link("R-000006")
    work()
    first, second = Ticket.objects.get(object_id=8), Ticket.objects.get(object_id=6)
    notify(client, part(37358198350, "<p>A</p>"))
    take_in_batch()
    tasks.write_ticket.call_local(second.pk)
    notify(client, part(37358198351, "<p>B</p>"))
    tasks.write_ticket.call_local(first.pk)
    while (task := tasks.huey.dequeue()) is not None:
        if task.name != "sweep":
            tasks.huey.execute(task)
    assert states() == ["written"] * 4


def test_an_undo_finds_what_had_come_just_before_the_unlinking(
    client: Client, linked: Teammate, work: Work
) -> None:
    notify(client, part(37358198350, "<p>A</p>"))
    unlink(linked)
    work()
    assert Notification.objects.get().verdict == "skipped"
    linked.click("Undo")
    work()
    assert states() == ["written"]


def test_an_undo_remembers_when_the_sync_was_paused(linked: Teammate) -> None:
    linked.open().send_click("pause")
    before = TicketLink.objects.get().pauses
    unlink(linked)
    linked.click("Undo")
    assert TicketLink.objects.get().pauses == before != []


def test_what_is_unlinked_while_a_message_is_taken_in_does_not_get_it(
    client: Client, linked: Teammate, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(client, part(37358198350, "<p>A</p>"))
    original = intake.may_be_our_echo

    def unlinked_meanwhile(*args: Any) -> bool:
        if TicketLink.objects.exists():
            unlink(linked)
        return original(*args)

    monkeypatch.setattr(intake, "may_be_our_echo", unlinked_meanwhile)
    take_in_batch()
    work()
    assert not TicketLink.objects.exists()
    assert not Delivery.objects.in_itop().exists()


def test_an_undo_leaves_alone_what_itop_may_still_be_executing(
    client: Client, linked: Teammate, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(client, part(37358198350, "<p>A</p>"))

    def silent(*_: Any, **__: Any) -> None:
        unlink(linked)
        raise ItopNoAnswer("no complete answer")

    monkeypatch.setattr(writer, "append", silent)
    work()
    linked.click("Undo")
    delivery = Delivery.objects.get()
    assert delivery.state == "waiting"
    assert delivery.due_at > timezone.now() + dt.timedelta(seconds=5)


# A ticket that is linked during a pause


def test_what_is_copied_on_a_link_in_a_pause_is_copied_and_the_pause_is_of_what_follows(
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
    assert copied.get(part_id="37358198360").reason == "the sync is paused"


@pytest.mark.parametrize("way", ["link", "create"])
def test_it_knows_since_when_it_is_paused(linked: Teammate, work: Work, way: str) -> None:
    linked.open().send_click("pause")
    if way == "link":
        linked.link("R-000006")
    else:
        linked.open().click("Create a ticket").click("Create the ticket")
        if linked.offers("Create anyway"):
            linked.click("Create anyway")
    work()
    link = TicketLink.objects.exclude(ticket__object_id=8).get()
    assert not link.sync_on
    assert [until for _since, until in link.pauses] == [None]


def test_a_link_that_was_made_paused_has_been_paused_since_then(linked: Teammate) -> None:
    """As the PHP extension leaves one."""
    TicketLink.objects.update(sync_on=False)
    linked.open().click("Resume the sync")
    link = TicketLink.objects.get()
    ((since, until),) = link.pauses
    assert since == link.created_at.timestamp() < until
    assert link.was_paused_at((since + until) / 2)
