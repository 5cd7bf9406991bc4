"""A click that was sent before, byte for byte, changes nothing once the state that it was drawn for has passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from intercom_bridge.models import (
    Delivery,
    LinkRemoval,
    OutgoingMessage,
    PersonMatch,
    TicketCreation,
    TicketLink,
)
from intercom_bridge.panel import actions
from intercom_bridge.tickets.errors import OutdatedScreenError
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import ALICE, Teammate, conversation, notify, part

from .test_moving import AWAY, IN

Work = Callable[[], None]
NOTICE = "The panel was out of date, so nothing was changed"


def state() -> dict[str, Any]:
    """Return everything that a teammate's click can change."""
    return {
        "links": list(TicketLink.objects.order_by("pk").values("pk", "conversation", "sync_on", "pauses")),
        "removals": list(LinkRemoval.objects.order_by("pk").values("pk", "undone_at")),
        "messages": list(Delivery.objects.order_by("pk").values("pk", "state", "reason_code")),
        "people": list(PersonMatch.objects.order_by("pk").values("how", "person_id", "picked_at")),
        "notes": OutgoingMessage.objects.count(),
        "tickets": TicketCreation.objects.count(),
    }


@pytest.fixture
def recorded(client: Client) -> Callable[[Teammate], Callable[[], Teammate]]:
    """Return a function that records the last click, and returns one that sends the same bytes again."""

    def record(teammate: Teammate) -> Callable[[], Teammate]:
        path, raw = teammate.last_path, teammate.last_body
        return lambda: Teammate(client).send_bytes(path, raw)

    return record


def assert_ineffective(replay: Callable[[], Teammate]) -> Teammate:
    before = state()
    attacker = replay()
    assert state() == before
    return attacker


@pytest.fixture
def linked(teammate: Teammate, itop: Itop) -> Teammate:
    """Return a teammate whose conversation is linked to R-000008."""
    store_link(teammate, itop, "R-000008")
    return teammate


def fail(client: Client, work: Work) -> None:
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    Delivery.objects.update(state="failed", reason_code="gave_up", part={"body": "x"})


def leave_out(client: Client, teammate: Teammate, work: Work, number: int) -> None:
    teammate.open().send_click("pause")
    notify(client, part(37358198300 + number, "<p>x</p>"))
    work()
    teammate.open().send_click("resume")


def test_a_link(teammate: Teammate, recorded: Any) -> None:
    replay = recorded(teammate.link("R-000008"))
    teammate.open().click("R-000008").click("Unlink").click("Unlink")
    assert NOTICE in assert_ineffective(replay).text
    assert not TicketLink.objects.exists()


def test_an_unlinking(linked: Teammate, recorded: Any) -> None:
    linked.open().click("R-000008").click("Unlink").click("Unlink")
    replay = recorded(linked)
    linked.click("Undo")
    assert NOTICE in assert_ineffective(replay).text
    assert TicketLink.objects.exists()


def test_an_undo(linked: Teammate, recorded: Any) -> None:
    linked.open().click("R-000008").click("Unlink").click("Unlink").click("Undo")
    replay = recorded(linked)
    linked.open().click("R-000008").click("Unlink").click("Unlink")
    assert "This ticket is not linked" in assert_ineffective(replay).text


@pytest.mark.parametrize("page", ["", "sync"])
def test_a_pause_and_a_resume(linked: Teammate, recorded: Any, page: str) -> None:
    linked.open()
    if page:
        linked.send_click(page)
    replays = []
    for _round in range(2):
        for verb in ("pause", "resume"):
            linked.send_click(verb)
            replays.append(recorded(linked))
    pause, resume = replays[:2]
    attacker = assert_ineffective(pause)
    assert NOTICE in attacker.text and ("Sync status" in attacker.text) is bool(page)
    linked.open().send_click("pause")
    assert NOTICE in assert_ineffective(resume).text
    assert not TicketLink.objects.get().sync_on


def test_a_retry(client: Client, linked: Teammate, recorded: Any, work: Work) -> None:
    fail(client, work)
    linked.open().click("Try again")
    replay = recorded(linked)
    assert Delivery.objects.get().state == "waiting"
    Delivery.objects.update(state="failed", reason_code="gave_up")
    assert NOTICE in assert_ineffective(replay).text


@pytest.mark.parametrize("verb", ["write-left-out", "forget-left-out"])
def test_a_decision_about_messages_left_out(
    client: Client, linked: Teammate, recorded: Any, work: Work, verb: str
) -> None:
    leave_out(client, linked, work, 50)
    linked.open().send_click(verb)
    replay = recorded(linked)
    leave_out(client, linked, work, 51)
    assert Delivery.objects.filter(reason_code="sync_paused").count() == 1
    assert NOTICE in assert_ineffective(replay).text


def test_the_choice_of_a_person_and_its_end(teammate: Teammate, recorded: Any) -> None:
    teammate.contact = ALICE | {"email": "nobody@acme.example"}
    teammate.open().send_click("who:pick:41")
    pick = recorded(teammate)
    assert PersonMatch.objects.get().person_id == 41
    teammate.open().click("Not this person?").click("Clear this match")
    clear = recorded(teammate)
    assert not PersonMatch.objects.exists()
    assert_ineffective(pick)
    teammate.open().send_click("who:pick:41")
    assert NOTICE in assert_ineffective(clear).text
    assert PersonMatch.objects.get().person_id == 41


@pytest.mark.parametrize("how", ["quiet", "announced"])
def test_a_creation(teammate: Teammate, recorded: Any, itop: Itop, how: str) -> None:
    teammate.open().click("Create a ticket")
    teammate.click("Create without a message" if how == "quiet" else "Create ticket")
    replay = recorded(teammate)
    tickets = len(itop.store.all("UserRequest"))
    assert OutgoingMessage.objects.exists() is (how == "announced")
    teammate.open()
    assert "created" in assert_ineffective(replay).text
    assert len(itop.store.all("UserRequest")) == tickets


def test_a_move_after_a_merge(linked: Teammate, client: Client, recorded: Any, work: Work) -> None:
    linked.conversation = conversation(AWAY)
    linked.open()
    work()
    target = Teammate(client)
    target.conversation = conversation(IN, id="222")
    target.open().click("Another conversation was merged into this one").click("Move the link")
    replay = recorded(target)
    TicketLink.objects.all().delete()
    linked.link("R-000008")
    assert NOTICE in assert_ineffective(replay).text


def test_a_click_on_a_screen_that_a_colleague_has_overtaken_changes_nothing(
    linked: Teammate, client: Client
) -> None:
    colleague = Teammate(client).open()
    linked.open().send_click("pause")
    linked.send_click("resume")
    assert NOTICE in colleague.send_click("pause").text
    assert TicketLink.objects.get().sync_on
    colleague.send_click("pause")
    assert NOTICE not in colleague.text and not TicketLink.objects.get().sync_on


def test_a_second_click_that_finds_its_work_done_is_not_called_out_of_date(linked: Teammate) -> None:
    linked.open().send_click("pause").again()
    assert "Sync paused" in linked.text and NOTICE not in linked.text


@pytest.mark.parametrize("version", [None, "x", -1, 1.5, {"a": 1}, True, 10**30, "9" * 400])
def test_a_forged_version_causes_no_error(linked: Teammate, version: Any) -> None:
    linked.open()
    linked.canvas["stored_data"]["version"] = version
    assert NOTICE in linked.send_click("pause").text
    assert TicketLink.objects.get().sync_on


def test_after_an_error_the_click_can_be_repeated(linked: Teammate, itop: Itop) -> None:
    linked.open().click("open tickets").click("R-000006").click("Link to this conversation")
    itop.faults.away = True
    linked.click("Link without earlier messages")
    itop.faults.away = False
    linked.click("Retry")
    assert "R-000006 linked" in linked.text
    assert TicketLink.objects.count() == 2


def test_an_error_screen_that_is_out_of_date_itself_is_not_built_again(
    linked: Teammate, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked.open().send_click("pause")
    replay = recorded(linked)
    linked.send_click("resume")
    calls: list[None] = []

    def show_home(*_: Any) -> Any:
        calls.append(None)
        raise OutdatedScreenError

    monkeypatch.setattr(actions, "show_home", show_home)
    assert "Internal error" in replay().text
    assert len(calls) == 1


def test_the_current_screen_is_replaced_by_an_error_screen_while_itop_is_away(
    linked: Teammate, recorded: Any, itop: Itop
) -> None:
    linked.open().send_click("pause")
    replay = recorded(linked)
    linked.send_click("resume")
    PersonMatch.objects.all().delete()
    itop.faults.away = True
    assert assert_ineffective(replay).find("Retry")["id"] == "home"
