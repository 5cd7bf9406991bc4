"""What came of each try is kept on the row, for who wants to know what happened."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from intercom_bridge.models import Delivery, ItopInstance, Submission, Ticket
from intercom_bridge.models.tries import MOST_TRIES, MOST_WORDS
from itop_client import ItopUnreachable
from sandbox.itop import Itop
from tests.teammate import Teammate, notify, part

Work = Callable[[], None]


def outcomes(row: Delivery | Submission) -> list[str]:
    return [outcome for _at, outcome, _why in row.tries]


def waits_are_over() -> None:
    Delivery.objects.update(due_at=timezone.now())
    Submission.objects.update(due_at=timezone.now())
    ItopInstance.objects.exclude(paused_until=None).update(paused_until=timezone.now())


def test_a_message_that_is_written_at_once_has_one_try_with_its_time(
    client: Client, ticket: Ticket, work: Work
) -> None:
    before = time.time()
    notify(client, part(37358198350, "<p>once</p>"))
    work()
    [[at, outcome, why]] = Delivery.objects.get().tries
    assert (outcome, why) == ("written", "")
    assert before - 1 <= at <= time.time() + 1


def test_a_try_of_unknown_outcome_and_the_one_that_found_it_are_kept_in_order(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.faults.add("drop_after", operation="core/update", count=1)
    notify(client, part(37358198350, "<p>once</p>"))
    work()
    assert outcomes(Delivery.objects.get()) == ["unknown"]
    waits_are_over()
    work()
    delivery = Delivery.objects.get()
    assert outcomes(delivery) == ["unknown", "written"]
    assert "closed the connection" in delivery.tries[0][2]
    assert "an earlier try had arrived" in delivery.tries[1][2] or "found in the log" in delivery.tries[1][2]


def test_what_itop_refuses_is_kept_in_its_own_words_and_stays_when_somebody_tries_again(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.store.remove("UserRequest", ticket.object_id)
    notify(client, part(37358198350, "<p>too late</p>"))
    work()
    assert outcomes(Delivery.objects.get()) == ["refused"]
    assert Delivery.objects.all().try_again() == 1
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, outcomes(delivery)) == ("failed", ["refused", "refused"])
    assert str(ticket.object_id) in delivery.tries[0][2]


def test_a_message_that_is_left_out_while_it_is_tried_keeps_the_try(
    client: Client, ticket: Ticket, itop: Itop, work: Work
) -> None:
    itop.faults.add("error500", operation="core/update", count=1)
    itop.pause = lambda: Delivery.objects.all().skip("skipped by admin")
    notify(client, part(37358198350, "<p>x</p>"))
    work()
    itop.pause = lambda: None
    assert len(Delivery.objects.get().tries) == 1


def test_of_a_long_trouble_the_latest_tries_are_kept_and_long_words_are_cut() -> None:
    delivery = Delivery()
    for number in range(MOST_TRIES + 5):
        delivery.note_trouble(ItopUnreachable(f"{number} " + "x" * 1000))
    assert [why.split()[0] for _at, _outcome, why in delivery.tries] == [
        str(number) for number in range(5, MOST_TRIES + 5)
    ]
    assert set(outcomes(delivery)) == {"trouble"}
    assert {len(why) for _at, _outcome, why in delivery.tries} == {MOST_WORDS}


def test_keeping_a_try_costs_no_statement_of_its_own(client: Client, ticket: Ticket, work: Work) -> None:
    notify(client, part(37358198349, "<p>the first, which finds out what iTop can do</p>"))
    work()
    notify(client, part(37358198350, "<p>a</p>"), part(37358198351, "<p>b</p>"))
    with CaptureQueriesContext(connection) as queries:
        work()
    updates = [one["sql"] for one in queries if one["sql"].startswith('UPDATE "intercom_bridge_delivery"')]
    kept = [sql for sql in updates if '"tries"' in sql]
    # Each is rendered once, and its outcome is kept once.
    assert (len(updates), len(kept)) == (4, 2)


def press(teammate: Teammate) -> None:
    teammate.open().click("Create a ticket").click("Create the ticket")


def test_a_creation_of_unknown_outcome_keeps_its_tries(teammate: Teammate, itop: Itop, work: Work) -> None:
    itop.faults.add("drop_after", operation="core/create", count=1)
    press(teammate)
    assert outcomes(Submission.objects.get()) == ["unknown"]
    waits_are_over()
    work()
    submission = Submission.objects.get()
    assert (submission.state, outcomes(submission)) == ("created", ["unknown", "written"])
    assert submission.tries[1][2] == "an earlier try had arrived"


@pytest.mark.parametrize(("waits", "becomes_due"), [(600, True), (5, False)])
def test_a_creation_is_tried_at_once_but_not_while_itop_may_be_executing_the_last_try(
    teammate: Teammate, itop: Itop, waits: int, becomes_due: bool
) -> None:
    itop.faults.add("drop_after", operation="core/create", count=1)
    press(teammate)
    submission = Submission.objects.get()
    now = timezone.now()
    tried_at = now.timestamp() - (60 if becomes_due else 1)
    submission.tries = [[tried_at, "unknown", "x"]]
    submission.due_at = now + dt.timedelta(seconds=waits)
    submission.save()
    assert Submission.objects.all().try_now() == 1
    assert Submission.objects.due().exists() is becomes_due
